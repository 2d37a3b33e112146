"""Every config of the training chain builds its stage, at real sizes too, and what does not fit is refused first."""

import dataclasses
import importlib.util
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers_data import prompt_records, write_shards
from helpers_text import write_tiny_tokenizer

from steady_jax import checkpoint, parallel, parameters
from steady_jax.checkpoint import Part
from steady_jax.config import MODELS
from steady_jax.data.records import TEXT, Field
from steady_jax.train import build
from steady_jax.train.config import STAGES, train_config
from steady_jax.train.stages.dmd import DMD
from steady_jax.train.stages.ode_init import ODEInit
from steady_jax.train.stages.teacher import Teacher
from steady_jax.train.stages.vae import VAEStage

ROOT = Path(__file__).parents[2]
PAIRED = {"steps": [1000, 750, 500, 250], "shift": 3.0}
WIDTH = MODELS["tiny"].text_encoder.width
WIDE, PARTS = 16, ("dit", "vae", "text_encoder")
DISTILLED = [
    ("distill_steady_1_3b", "published"),
    ("distill_steady_1_3b", "inference"),
    ("distill_forcing_1_3b", "self_forcing"),
    ("distill_forcing_1_3b", "infinite_forcing"),
    ("distill_forcing_1_3b", "reward_forcing"),
]


def get_config(name, argument):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(argument)


def described(folder, tokenizer, sizes, parts=PARTS):
    """A checkpoint folder that says what it holds, and holds the tokenizer alone: weights are loaded later."""
    folder.mkdir(parents=True)
    found = [Part(part, "", {}, checkpoint.sizes(getattr(sizes, part))) for part in parts]
    checkpoint.save_description(folder, [*found, checkpoint.save_tokenizer(folder, tokenizer)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the configs name, as if the stages before had run."""
    folder = tmp_path_factory.mktemp("chain")
    tokenizer = write_tiny_tokenizer(folder / "pieces")
    for name in (
        "vae",
        "vae_short",
        "vae_decoder",
        "teacher",
        "teacher_middle",
        "teacher_long",
        "ode_init",
        "dmd_short",
        "dmd",
    ):
        described(folder / "runs/tiny" / name / "model", tokenizer, MODELS["tiny"])
    described(folder / "runs/tiny/tokenizer", tokenizer, MODELS["tiny"], ())
    described(folder / "1.3b", tokenizer, MODELS["1.3b"])
    described(folder / "14b", tokenizer, MODELS["14b"])
    described(folder / "no-vae", tokenizer, MODELS["tiny"], ("dit",))
    fields = {"latents": Field("float16", (21, 8, 8, 16)), "moving": Field("float16", (8, 8)), "prompt": TEXT}
    latents = {name: np.zeros(fields[name].shape, np.float16) for name in ("latents", "moving")}
    latents["prompt"] = prompt_records(1)[0]["prompt"]
    write_shards(folder / "runs/tiny/latents", [latents] * 98, fields, 98)
    del fields["moving"], latents["moving"]
    write_shards(folder / "unknown-motion", [latents] * 98, fields, 98)
    pair = {
        "trajectory": np.zeros((5, 9, 8, 8, 16), np.float16),
        "embeddings": np.zeros((3, WIDTH), np.float16),
    }
    fields = {"trajectory": Field("float16", (5, 9, 8, 8, 16)), "embeddings": Field("float16", (None, WIDTH))}
    write_shards(folder / "runs/tiny/ode_pairs", [pair] * 66, fields, 66, PAIRED)
    write_shards(folder / "other-levels", [pair] * 66, fields, 66, {**PAIRED, "steps": [1000, 800, 600, 400]})
    write_shards(folder / "prompt-shards", prompt_records(20), {"prompt": TEXT}, 20)
    clips = {"pixels": np.zeros((9, 64, 80, 3), np.uint8), "prompt": prompt_records(1)[0]["prompt"]}
    write_shards(folder / "clip-shards", [clips] * 98, {"pixels": Field("uint8", (9, 64, 80, 3)), "prompt": TEXT}, 98)
    (folder / "prompts.txt").write_text("Rain on a pond.\nA calm sea.\n")
    return folder


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def one_device():
    return parallel.make_mesh({}, jax.devices()[:1])


def distilled(name, recipe):
    """A config with the folders that a person would name."""
    config = get_config(name, recipe)
    config.init = config.critic = config.vae = config.text_encoder = "1.3b"
    config.teacher, config.data.kind, config.data.path = "14b", "prompts", "prompts.txt"
    return config


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("vae", VAEStage), ("teacher", Teacher))),
        ("ode_init", ODEInit),
        ("dmd", DMD),
    ],
)
def test_the_tiny_chain_builds(stage, kind, there):
    config = get_config("train_tiny", stage)
    built = build.training(config, build.mesh_of(config))
    assert isinstance(built.stage, kind)
    assert (built.settings.steps, built.settings.held_out_every) == (config.train_steps, config.held_out_every)
    batch = next(built.batches)
    assert {len(array) for array in batch.values()} == {config.batch}
    assert (
        set(batch)
        == {
            "vae": {"pixels", "moving"},
            "teacher": {"latents", "moving", "ids", "mask"},
            "ode_init": {"trajectory", "embeddings"},
            "dmd": {"ids", "mask"},
        }[stage]
    )
    if config.data.held_out and stage != "vae":
        kept = list(built.stage.held_out_batches())
        assert len(kept) == config.data.held_out // config.batch


@pytest.mark.parametrize("stage", ["latents", "ode_pairs", "compare", "tokenizer"])
def test_stages_that_write_build(stage, there):
    config = get_config("train_tiny", stage)
    if stage == "tokenizer":
        assert build.prompts_of(config).kind == "nature_prompts"
        return
    make = {"latents": build.encoding, "ode_pairs": build.pairing, "compare": build.comparing}[stage]
    made, items = make(config, build.mesh_of(config))
    assert len(items) >= config.get("prompts", config.get("records"))
    if stage != "compare":
        fields = made.fields(items)
        shape = (21, 8, 8, 16) if stage == "latents" else (5, 9, 8, 8, 16)
        assert fields["latents" if stage == "latents" else "trajectory"].shape == shape


@pytest.mark.parametrize(
    ("name", "recipe"), [DISTILLED[0], *(pytest.param(*one, marks=pytest.mark.slow) for one in DISTILLED[1:])]
)
def test_real_sizes_build_without_weights(name, recipe, there):
    config = distilled(name, recipe)
    built = build.training(config, build.mesh_of(config))
    state, teacher = built.stage.abstract(), built.stage.frozen.networks["teacher"]
    weights = count(state.networks["generator"].weights)
    assert 1.3e9 < weights < 1.5e9
    assert count(state.networks["critic"].weights) == weights
    assert count(state.networks["generator"].average) == weights
    assert state.networks["critic"].average is None
    # without momentum one moment is kept
    assert weights <= count(state.networks["generator"].optimiser) < 1.001 * weights
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.networks["critic"].weights)} == {"float32"}
    assert (teacher.config.layers, teacher.dtype) == (40, "bfloat16")
    assert 14e9 < count(parameters.abstract(teacher.kind, teacher.config)) < 14.5e9
    rollout = built.stage.rollout
    assert (rollout.counted * rollout.block.frames, rollout.height, rollout.width) == (21, 60, 104)
    assert (built.stage.rewards is not None) == (recipe == "reward_forcing")


@pytest.mark.parametrize("flush", [False, True])
def test_a_flush_may_come_sooner_in_training_than_in_sampling(flush, there):
    config = changed("train_tiny", "dmd", {"rollout_flush_period": 2, "memory.flush": flush})
    stage = build.training(config, build.mesh_of(config)).stage
    policy, sampling = stage.rollout.block.policy, stage.setup.sampling["memory"]
    assert (policy.flush, policy.flush_period) == (True, 2)
    assert (sampling["flush"], sampling["flush_period"]) == (flush, 21)


def test_the_memory_is_left_as_it_is_without_a_period_of_its_own(there):
    config = changed("train_tiny", "dmd", {"rollout_flush_period": 0})
    policy = build.training(config, build.mesh_of(config)).stage.rollout.block.policy
    assert (policy.flush, policy.flush_period) == (False, 21)


def test_a_periodic_flush_is_one_of_the_memory_steady(there):
    config = distilled("distill_forcing_1_3b", "self_forcing")
    config.rollout_flush_period = 2
    with pytest.raises(ValueError, match=r"rollout_flush_period 2 is for .* steady, got SelfForcing\(.*set it to 0"):
        build.training(config, one_device())


@pytest.mark.slow
def test_the_published_recipes_settings(there):
    made = {recipe: build.training(distilled(name, recipe), one_device()).stage for name, recipe in DISTILLED[:2]}
    published, inference = made["published"], made["inference"]
    assert (published.settings.guidance, published.settings.generator_every) == (5.0, 5)
    learning = {name: learner.optimiser for name, learner in published.setup.learners.items()}
    assert (learning["generator"].learning_rate, learning["critic"].learning_rate) == (2e-6, 4e-7)
    assert (learning["generator"].b1, learning["generator"].clip, learning["generator"].average) == (0.0, 10.0, 0.99)
    assert (published.rollout.blocks, published.rollout.block.policy.window) == (7, 21)
    assert (inference.rollout.blocks, inference.rollout.block.policy.window, inference.is_longer) == (28, 18, True)
    assert published.setup.learners["generator"].updates == 1200  # of 6000 steps


def changed(name, argument, changes):
    """A config with other values."""
    config = get_config(name, argument)
    for key, value in changes.items():
        change(config, key, value)
    return config


def change(config, key, value):
    *above, last = key.split(".")
    for name in above:
        config = config[name]
    with config.unlocked(), config.ignore_type():
        config[last] = value


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("dmd", {"teacher": None}, r"name the checkpoint folders of config\.teacher"),
        ("dmd", {"init": None, "critic": None}, r"name the checkpoint folders of config\.init, config\.critic"),
        ("dmd", {"sample_prompts": ()}, "sample_every needs sample_prompts, and a VAE"),
        ("dmd", {"vae": None}, "sample_every needs sample_prompts, and a VAE"),
        ("dmd", {"clip_frames": 10}, r"clip_frames must be a multiple of block_frames \(3\), got 10"),
        ("dmd", {"rollout_frames": 10}, r"rollout_frames must be a multiple of block_frames \(3\), got 10"),
        (
            "dmd",
            {"clip_frames": 3},
            r"first block is judged and not taught, .* 2 blocks at least, got 1; raise clip_frames",
        ),
        ("dmd", {"rollout_flush_period": -1}, "rollout_flush_period must be at least 1 block, or 0 .* got -1"),
        ("dmd", {"rollout_flush_period": 7}, r"7 flushes before none of the 7 blocks .* \(memory\.flush_warmup\)"),
        ("dmd", {"memory.flush_warmup": 16}, "5 flushes before none of the 7 blocks .* first 16 frames"),
        ("dmd", {"rollout_frames": 18}, "1 <= counted blocks <= blocks must hold, got 7 of 6; raise rollout_frames"),
        (
            "dmd",
            {"vae": None, "sample_every": 0, "rollout_frames": 42},
            r"need a VAE; name its folder with config\.vae",
        ),
        ("dmd", {"teacher": "runs/no"}, r"runs/no is not a checkpoint folder: .* scripts/convert\.py"),
        ("dmd", {"vae": "no-vae"}, r"(?s)no-vae is incomplete:\s+vae: not in this checkpoint"),
        ("dmd", {"accumulate": 3}, "in 3 micro-batches, got 8 items; change batch, accumulate or mesh"),
        ("dmd", {"accumulate": 0}, "accumulate must be at least 1 micro-batch, got 0"),
        ("dmd", {"cut": "none"}, "cut must be one of all, optimiser, got 'none'"),
        (
            "teacher_short",
            {"model": "2b", "data.path": "runs/tiny/latents"},
            "unknown model '2b'; known are 1.3b, 14b, tiny",
        ),
        ("dmd", {"height": 60}, "pixel height and width must be multiples of 8, got 60x64"),
        ("dmd", {"text_encoder": None}, r"prompts and the negative prompt .* name .* config\.text_encoder"),
        ("dmd", {"memory.window": 5}, "window"),
        ("dmd", {"critic_optimiser.learning_rate": 0.0}, "learning_rate must be positive, got 0"),
        ("dmd", {"data.kind": "prompts"}, "every source but .* has a path, got prompts with path None"),
        (
            "vae",
            {"data.held_out": 30},
            r"data\.held_out must be whole batches of 4 items \(batch / accumulate\), got 30",
        ),
        ("vae_decoder", {"init": None}, r"trains the decoder of a VAE that is there; .* config\.init"),
        ("vae_decoder", {"optimiser.weight_decay": 0.01}, r"set optimiser\.weight_decay to 0, got 0\.01"),
        ("vae", {"data.held_out": 0}, "spread over held-out clips; set data.held_out above 0"),
        ("vae", {"optimiser.warmup": 1500}, "warmup must be shorter than the training, got 1500 of 1500 updates"),
        (
            "vae",
            {"data.kind": "shards", "data.path": "clip-shards", "clip_frames": 2},
            r"moving 2\.0 weighs what is known to move, and the data have no 'moving'; set it to 0",
        ),
        ("teacher", {"data.path": "unknown-motion"}, r"moving 2\.0 weighs .* the data have no 'moving'"),
        ("teacher", {"text_encoder": None}, r"train_text_encoder needs a tokenizer: .* config\.tokenizer"),
        ("teacher", {"data.path": "runs/no"}, "runs/no does not exist; name a folder of shards"),
        ("teacher", {"dropout": 1.0}, "dropout lie in 0..1, below 1, got 3.0 and 1.0"),
        ("ode_init", {"init": None}, r"name the checkpoint folders of config\.init"),
        ("ode_init", {"data.path": "runs/tiny/latents"}, "ode_init learns from what the stage ode_pairs writes"),
        (
            "ode_init",
            {"data.path": "other-levels"},
            r"have steps \(1000, 800, 600, 400\), not \(1000, 750, 500, 250\): ",
        ),
        ("ode_init", {"clip_frames": 6}, r"have shape \(5, 9, 8, 8, 16\), not \(5, 6, 8, 8, 16\): write them"),
        ("ode_init", {"clip_frames": 10}, r"clip_frames must be a multiple of block_frames \(3\), got 10"),
    ],
)
def test_what_does_not_fit_is_refused(stage, changes, message, there):
    config = changed("train_tiny", stage, changes)
    with pytest.raises((ValueError, OSError), match=message):
        build.training(config, build.mesh_of(config))


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("ode_pairs", {"ode.steps": 6}, "ode.steps must be a multiple of what divides them .*, got 6"),
        ("ode_pairs", {"ode.shift": 5.0}, "student and ODE need one shift, got 3.0 and 5.0; set ode.shift to shift"),
        ("ode_pairs", {"teacher": None}, r"trajectories are a teacher's: .* config\.teacher"),
        ("ode_pairs", {"text_encoder": None}, r"the negative prompt .* name .* config\.text_encoder"),
        ("compare", {"text_encoder": None}, r"the negative prompt .* name .* config\.text_encoder"),
        ("compare", {"students": ()}, r"name config\.teacher, and config\.students"),
        ("compare", {"students": ("runs/tiny/dmd/model",)}, "a student is NAME=FOLDER, got"),
        ("compare", {"each": 1}, r"distances take at least 2 samples \(each\) per prompt and student, got 1"),
        ("compare", {"prompts": 60}, r"prompts must be whole batches of 16 \(batch\), got 60"),
    ],
)
def test_what_does_not_fit_is_refused_by_stages_that_write(stage, changes, message, there):
    config = changed("train_tiny", stage, changes)
    make = {"ode_pairs": build.pairing, "compare": build.comparing}[stage]
    with pytest.raises(ValueError, match=message):
        make(config, build.mesh_of(config))


def test_a_stage_that_writes_is_no_training(there):
    config = get_config("train_tiny", "ode_pairs")
    with pytest.raises(ValueError, match="stage 'ode_pairs' does not train a network; known are vae, teacher"):
        build.training(config, one_device())


@pytest.mark.parametrize(
    ("stage", "path", "changes", "names"),
    [
        ("dmd", "prompt-shards", {}, {"ids", "mask"}),
        ("teacher", "clip-shards", {"clip_frames": 2, "moving": 0.0}, {"pixels", "ids", "mask"}),
        pytest.param(
            *("vae", "clip-shards", {"clip_frames": 2, "loss.moving": 0.0}, {"pixels"}), marks=pytest.mark.slow
        ),
    ],
)
def test_shards_give_what_they_hold(stage, path, changes, names, there):
    config = changed("train_tiny", stage, {"data.kind": "shards", "data.path": path, **changes})
    batch = next(build.training(config, build.mesh_of(config)).batches)
    assert set(batch) == names
    if "pixels" in names:
        assert batch["pixels"].shape == (config.batch, 5, 64, 64, 3)  # of 9 frames of 64x80


def test_held_out_items_come_in_micro_batches(there):
    config = get_config("train_tiny", "teacher")
    change(config, "accumulate", 2)
    (first, *_) = build.training(config, build.mesh_of(config)).stage.held_out_batches()
    assert len(first["latents"]) == config.batch // 2


def test_inputs_are_known_by_what_they_hold(place, there, tmp_path):
    config = get_config("train_tiny", "ode_init")
    found = build.inputs(config)
    assert set(found) == {"init", "vae", "text_encoder", "data"}
    for name in ("init", "vae", "text_encoder"):
        change(config, name, shutil.copytree(place / config[name], tmp_path / name))
    change(config, "data.path", str(shutil.copytree(place / config.data.path, tmp_path / "data")))
    assert build.inputs(config) == found
    (tmp_path / "vae" / "more").write_text("another")
    change(config, "data.path", "other-levels")
    other = build.inputs(config)
    assert {name for name in found if other[name] != found[name]} == {"vae", "data"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_keys_that_say_what_it_needs(stage):
    config = train_config(stage, model="tiny")
    assert config.stage == stage
    assert "workdir" in config
    assert not any(dataclasses.is_dataclass(value) for value in config.values())


def test_stages_and_recipes_that_are_not_known_are_refused():
    for make in (
        lambda: train_config("distil", model="tiny"),
        lambda: get_config("train_tiny", "redmd2"),
        lambda: get_config("distill_steady_1_3b", "other"),
        lambda: get_config("distill_forcing_1_3b", "other"),
    ):
        with pytest.raises(ValueError, match=r"unknown (stage|recipe) '.*'; known are"):
            make()
