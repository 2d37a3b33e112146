"""Tables of the Wan transformer: the original PyTorch layout and diffusers' layout (WanTransformer3DModel)."""

from collections.abc import Mapping
from typing import Any

from converters.source import whole_number
from converters.table import LAYER, Rule, conv3d, layers, linear, same, squeezed
from steady_jax.models.wan_dit import DiTConfig

PUBLISHED_HEAD_WIDTH = 128  # of every released Wan transformer; shapes alone do not tell the number of heads


def _linear(torch: str, path: str) -> tuple[Rule, Rule]:
    return Rule(f"{torch}.weight", f"{path}/kernel", linear), Rule(f"{torch}.bias", f"{path}/bias", same)


ORIGINAL = (
    Rule("patch_embedding.weight", "patch_embed/kernel", conv3d),
    Rule("patch_embedding.bias", "patch_embed/bias", same),
    *_linear("text_embedding.0", "text_embed/fc1"),
    *_linear("text_embedding.2", "text_embed/fc2"),
    *_linear("time_embedding.0", "time_embed/fc1"),
    *_linear("time_embedding.2", "time_embed/fc2"),
    *_linear("time_projection.1", "time_project"),
    Rule("blocks.{layer}.modulation", "blocks/modulation", squeezed),
    *_linear("blocks.{layer}.self_attn.q", "blocks/self_attn/q"),
    *_linear("blocks.{layer}.self_attn.k", "blocks/self_attn/k"),
    *_linear("blocks.{layer}.self_attn.v", "blocks/self_attn/v"),
    *_linear("blocks.{layer}.self_attn.o", "blocks/self_attn/o"),
    Rule("blocks.{layer}.self_attn.norm_q.weight", "blocks/self_attn/norm_q", same),
    Rule("blocks.{layer}.self_attn.norm_k.weight", "blocks/self_attn/norm_k", same),
    Rule("blocks.{layer}.norm3.weight", "blocks/norm_weight", same),
    Rule("blocks.{layer}.norm3.bias", "blocks/norm_bias", same),
    *_linear("blocks.{layer}.cross_attn.q", "blocks/cross_attn/q"),
    *_linear("blocks.{layer}.cross_attn.k", "blocks/cross_attn/k"),
    *_linear("blocks.{layer}.cross_attn.v", "blocks/cross_attn/v"),
    *_linear("blocks.{layer}.cross_attn.o", "blocks/cross_attn/o"),
    Rule("blocks.{layer}.cross_attn.norm_q.weight", "blocks/cross_attn/norm_q", same),
    Rule("blocks.{layer}.cross_attn.norm_k.weight", "blocks/cross_attn/norm_k", same),
    *_linear("blocks.{layer}.ffn.0", "blocks/ffn/fc1"),
    *_linear("blocks.{layer}.ffn.2", "blocks/ffn/fc2"),
    Rule("head.modulation", "head/modulation", squeezed),
    *_linear("head.head", "head/linear"),
)

DIFFUSERS = (
    Rule("patch_embedding.weight", "patch_embed/kernel", conv3d),
    Rule("patch_embedding.bias", "patch_embed/bias", same),
    *_linear("condition_embedder.text_embedder.linear_1", "text_embed/fc1"),
    *_linear("condition_embedder.text_embedder.linear_2", "text_embed/fc2"),
    *_linear("condition_embedder.time_embedder.linear_1", "time_embed/fc1"),
    *_linear("condition_embedder.time_embedder.linear_2", "time_embed/fc2"),
    *_linear("condition_embedder.time_proj", "time_project"),
    Rule("blocks.{layer}.scale_shift_table", "blocks/modulation", squeezed),
    *_linear("blocks.{layer}.attn1.to_q", "blocks/self_attn/q"),
    *_linear("blocks.{layer}.attn1.to_k", "blocks/self_attn/k"),
    *_linear("blocks.{layer}.attn1.to_v", "blocks/self_attn/v"),
    *_linear("blocks.{layer}.attn1.to_out.0", "blocks/self_attn/o"),
    Rule("blocks.{layer}.attn1.norm_q.weight", "blocks/self_attn/norm_q", same),
    Rule("blocks.{layer}.attn1.norm_k.weight", "blocks/self_attn/norm_k", same),
    Rule("blocks.{layer}.norm2.weight", "blocks/norm_weight", same),
    Rule("blocks.{layer}.norm2.bias", "blocks/norm_bias", same),
    *_linear("blocks.{layer}.attn2.to_q", "blocks/cross_attn/q"),
    *_linear("blocks.{layer}.attn2.to_k", "blocks/cross_attn/k"),
    *_linear("blocks.{layer}.attn2.to_v", "blocks/cross_attn/v"),
    *_linear("blocks.{layer}.attn2.to_out.0", "blocks/cross_attn/o"),
    Rule("blocks.{layer}.attn2.norm_q.weight", "blocks/cross_attn/norm_q", same),
    Rule("blocks.{layer}.attn2.norm_k.weight", "blocks/cross_attn/norm_k", same),
    *_linear("blocks.{layer}.ffn.net.0.proj", "blocks/ffn/fc1"),
    *_linear("blocks.{layer}.ffn.net.2", "blocks/ffn/fc2"),
    Rule("scale_shift_table", "head/modulation", squeezed),
    *_linear("proj_out", "head/linear"),
)

_HEAD_COUNT_KEYS = ("num_heads", "num_attention_heads")  # in config.json: original, diffusers
_TEXT_LENGTH_KEY = "text_len"


def tables(config: DiTConfig) -> dict[str, tuple[Rule, ...]]:
    """Rules by layout name. They are the same for every size."""
    del config
    return {"original": ORIGINAL, "diffusers": DIFFUSERS}


def identify(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The layout in which these tensors are a Wan transformer, or None if they are something else."""
    if "patch_embedding.weight" not in shapes:
        return None
    if "head.head.weight" in shapes or "blocks.0.self_attn.q.weight" in shapes:
        return "original"
    return "diffusers" if "proj_out.weight" in shapes or "blocks.0.attn1.to_q.weight" in shapes else None


def config_from(
    shapes: Mapping[str, tuple[int, ...]], layout: str, settings: Mapping[str, Any] | None = None
) -> DiTConfig:
    """Sizes of the network these tensors belong to.

    Args:
        shapes: tensor shapes by PyTorch name.
        layout: from `identify`.
        settings: parsed config.json beside the file. It alone tells the number of heads; without it, heads are 128
            channels wide as in every released Wan transformer.
    Raises:
        ValueError: lists the tensors that would tell the sizes and are missing, names a setting that is no number, or
            lists what config.json says of another network than these tensors are.
    """
    settings = settings or {}
    name = {rule.path: rule.torch for rule in tables(DiTConfig())[layout]}
    needed = [name[path] for path in ("patch_embed/kernel", "text_embed/fc1/kernel", "time_embed/fc1/kernel")]
    ffn_name = name["blocks/ffn/fc1/kernel"]
    needed.append(ffn_name.replace(LAYER, "0"))
    missing = [tensor for tensor in needed if tensor not in shapes]
    if missing:
        raise ValueError(f"the sizes of a Wan transformer are read from tensors that are missing here: {missing}")
    patch, text, time, ffn = (shapes[tensor] for tensor in needed)
    width, depth = patch[0], layers(shapes, ffn_name)
    _check_settings(settings, {"dim": width, "ffn_dim": ffn[0], "num_layers": depth})
    head_count = next((key for key in _HEAD_COUNT_KEYS if key in settings), _HEAD_COUNT_KEYS[0])
    return DiTConfig(
        width=width,
        ffn_width=ffn[0],
        heads=whole_number(settings, head_count, width // PUBLISHED_HEAD_WIDTH),
        layers=depth,
        channels=patch[1],
        text_width=text[1],
        text_length=whole_number(settings, _TEXT_LENGTH_KEY, DiTConfig.text_length),
        frequency_width=time[1],
        patch=patch[-1],
    )


def _check_settings(settings: Mapping[str, Any], found: Mapping[str, int]) -> None:
    wrong = [f"{key} {settings[key]}, not {size}" for key, size in found.items() if settings.get(key, size) != size]
    if wrong:
        raise ValueError(
            f"config.json does not belong to these tensors: it says {', '.join(wrong)}; "
            "put the file of the same model beside them, or take it away"
        )
