"""What the tiny model's videos are worth: named by a classifier, and measured for stillness and motion.

    python scripts/train_classifier.py --output=runs/tiny/classifier.npz
    python scripts/evaluate_tiny.py --config=configs/evaluate_tiny.py

fills runs/tiny/evaluation: a JSON of every source and kind, contact sheets, and report.md. Without --teacher the
teacher is left out. Hours on two CPU cores; the same command goes on where it was stopped.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Settings of an evaluation."""
    config = ConfigDict()
    config.folder = "runs/tiny/evaluation"
    config.checkpoint = "tiny"  # the student with its VAE
    config.teacher = config_dict.placeholder(str)  # folder of the teacher, runs/tiny/teacher/model
    config.classifier = "runs/tiny/classifier.npz"
    config.kinds = ()  # none: all
    config.prompts = 20  # of each kind, held out from training
    config.seed = 0  # of prompts and noise
    config.batch = 20  # videos that are made together
    config.seconds = 60.0
    config.long_seconds = 240.0
    config.long_prompts = 4  # of each kind, for the long videos
    config.window = "ablation/none"  # the memory that `steady` is compared with: a window without sinks
    config.teacher_steps = 40
    config.teacher_guidance = 1.5
    return config
