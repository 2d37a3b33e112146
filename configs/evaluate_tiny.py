"""What the tiny model's videos are worth: named by a classifier, and measured for stillness and motion.

    python scripts/train_classifier.py --output=runs/tiny/classifier.npz
    python scripts/evaluate_tiny.py --config=configs/evaluate_tiny.py

fills runs/tiny/evaluation: a JSON of every source and kind, contact sheets, and report.md. Without --teacher the
teacher is left out. Hours on two CPU cores; the same command goes on where it was stopped, and of other weights or
settings nothing is mixed into the folder.
"""

from ml_collections import ConfigDict, config_dict

OWN_WORDS = {  # prompts as nobody's grammar wrote them; three in four have words that the model never read
    "sea": (
        "The Atlantic ocean at golden hour, gentle waves, 4K drone-free tripod footage",
        "Turquoise water washing over a tropical shore",
        "A rough North Sea on a gloomy morning, seen from the coast",
        "seaside",
    ),
    "river": (
        "A calm river meandering past a tiny Alpine village",
        "Cold mountain stream with crystal clear water, spring time",
        "The Thames on an autumn afternoon",
        "brook in the grass",
    ),
    "waterfall": (
        "Niagara-like waterfall with a thundering curtain of water",
        "A hidden jungle waterfall over mossy stones",
        "Icelandic waterfall, basalt columns, slow shutter look",
        "waterfall",
    ),
    "fire": (
        "A cosy fireplace-like campfire on a winter night",
        "Bonfire with sparks at a summer party on the beach",
        "Burning logs, warm glow, relaxing ambience",
        "fire!!!",
    ),
    "clouds": (
        "Time-lapse of cumulus clouds above wheat fields",
        "White clouds wandering through an endless blue sky over the savanna",
        "Heavy clouds gathering before a storm over farmland",
        "clouds",
    ),
    "fog": (
        "Mysterious fog among ancient pines, horror movie mood",
        "Morning mist hanging over the valley while the village sleeps",
        "San Francisco style fog rolling over hills",
        "fog",
    ),
    "smoke": (
        "An erupting volcano with a dark column of smoke",
        "Smoke from a farmhouse chimney on a frosty morning",
        "A smouldering heap of wood after the fire went out, lots of smoke",
        "smoke",
    ),
    "rain": (
        "Monsoon rain seen from inside through the window",
        "A cosy rainy evening on the porch",
        "Pouring rain in front of a medieval archway",
        "rain",
    ),
    "snow": (
        "Christmas snowfall outside the window of a cabin",
        "Gentle snowflakes in front of a cave in the mountains",
        "First snow of the year, view from the veranda",
        "snow",
    ),
}


def get_config() -> ConfigDict:
    """Settings of an evaluation."""
    config = ConfigDict()
    config.workdir = "runs/tiny/evaluation"
    config.checkpoint = "tiny"  # the student with its VAE
    # folder of the teacher, runs/tiny/teacher_long/model; a folder of results that was begun without it stays without
    config.teacher = config_dict.placeholder(str)
    config.classifier = "runs/tiny/classifier.npz"
    config.kinds = ()  # none: all; some: --config.kinds="('sea', 'fire')"
    config.prompts = 20  # of each kind, those of held-out clips
    config.seed = 0  # of prompts and noise
    config.batch = 20  # videos that are made together, at most
    config.seconds = 60.0
    config.own_words = ConfigDict(OWN_WORDS)
    config.long_seconds = 240.0
    config.long_prompts = 4  # of each kind, for the long videos
    config.window = "none"  # row of the ablation that `steady` is compared with: a window without sinks
    config.teacher_steps = 40
    config.teacher_guidance = 1.5  # 0: none; the scale that others call 2.5
    return config
