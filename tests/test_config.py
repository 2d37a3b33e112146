import dataclasses
import importlib.util
from pathlib import Path

import pytest

from steady_jax.config import ABLATION, MODELS, POLICIES, ModelConfig, block_settings, sampling_config
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.models.umt5 import UMT5_SIZES
from steady_jax.scenes import blocks_for, pixel_frames

ROOT = Path(__file__).parent.parent
CONFIGS = [ROOT / "configs" / f"{name}.py" for name in ("steady_1_3b", "tiny")]  # of sampling


def get_config(file, *arguments):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_config_gives_settings_for_every_policy(file, policy):
    config = get_config(file, policy)
    settings = block_settings(config)
    assert isinstance(settings.policy, POLICIES[policy])
    assert config.model in MODELS
    frames = pixel_frames(5.0)  # what a prompt without a length gets must be possible
    settings.policy.check(
        settings.frames, blocks_for(frames, settings.frames, MODELS[config.model].vae.temporal_stride)
    )
    stride = MODELS[config.model].pixel_stride
    assert config.height % stride == config.width % stride == 0


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_rows_of_the_ablation_differ_in_the_memory_alone(file):
    configs = {row: get_config(file, f"ablation/{row}") for row in ABLATION}
    memories = {row: config.memory.to_dict() for row, config in configs.items()}
    whole = get_config(file, "steady")
    for config in configs.values():
        block_settings(config).policy.check(config.block_frames, None)
        config.memory = whole.memory
        assert config == whole
    on = {row: {part for part in ("anchor", "ema", "flush") if memory[part]} for row, memory in memories.items()}
    assert on == {
        "none": set(),
        "v_sink": {"anchor"},
        "ema": {"ema"},
        "dual": {"anchor", "ema"},
        "dual_flush": {"anchor", "ema", "flush"},
    }
    assert {row for row, memory in memories.items() if memory["sink"] == 0} == {"none"}


def test_the_published_settings():
    config = get_config(ROOT / "configs" / "steady_1_3b.py")
    assert config == get_config(ROOT / "configs" / "steady_1_3b.py", "ablation/dual_flush")
    settings = block_settings(config)
    assert settings.policy == Steady(window=18, sink=3, alpha=0.99)
    assert (settings.frames, settings.calls.steps, settings.calls.shift) == (6, (1000, 750, 500, 250), 5.0)
    assert (config.height, config.width, config.dtype) == (480, 832, "bfloat16")
    assert config.negative_prompt == (ROOT / "configs" / "prompts" / "wan_negative.txt").read_text().strip()


def test_policy_settings_come_from_the_config():
    config = sampling_config("self_forcing", "tiny")
    config.memory.window, config.memory.sink, config.memory.rolling = 9, 1, True
    assert block_settings(config).policy == SelfForcing(9, 1, rolling=True)


def test_an_unknown_policy_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown memory policy .v_snk.; known are ablation/dual, .*, steady, v_sink"):
        sampling_config("v_snk", "tiny")


def test_settings_of_another_policy_are_refused():
    config = sampling_config("steady", "tiny")
    config.policy = "self_forcing"
    with pytest.raises(ValueError, match=r"choose the policy with the config file: --config=FILE\.py:self_forcing"):
        block_settings(config)


def test_models_compute_as_told_and_keep_their_sizes():
    model = MODELS["1.3b"].computing_in("float32", "xla")
    assert {model.dit.dtype, model.vae.dtype, model.text_encoder.dtype} == {"float32"}
    assert model.dit.attention == "xla"
    assert model.computing_in("bfloat16", "auto") == MODELS["1.3b"]
    assert model.pixel_stride == 16


def test_models_whose_parts_do_not_fit_are_refused():
    tiny = MODELS["tiny"]
    with pytest.raises(ValueError, match="text_width must be the text encoder's width, got 96 and 4096"):
        ModelConfig(tiny.dit, tiny.vae, UMT5_SIZES["xxl"])
    with pytest.raises(ValueError, match="must share their latent channels, got 8 and 16"):
        ModelConfig(dataclasses.replace(tiny.dit, channels=8), tiny.vae, tiny.text_encoder)
