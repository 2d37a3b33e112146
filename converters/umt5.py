"""Tables of the umT5 encoder: Wan2.1's original PyTorch layout and transformers' layout (UMT5EncoderModel)."""

from collections.abc import Mapping
from typing import Any, TypeVar

from converters.source import whole_number
from converters.table import LAYER, Rule, layers, linear, same
from steady_jax.models.umt5 import UMT5Config

ORIGINAL = (
    Rule("token_embedding.weight", "token_embedding", same),
    Rule("blocks.{layer}.norm1.weight", "blocks/attn_norm", same),
    Rule("blocks.{layer}.attn.q.weight", "blocks/attn/q/kernel", linear),
    Rule("blocks.{layer}.attn.k.weight", "blocks/attn/k/kernel", linear),
    Rule("blocks.{layer}.attn.v.weight", "blocks/attn/v/kernel", linear),
    Rule("blocks.{layer}.attn.o.weight", "blocks/attn/o/kernel", linear),
    Rule("blocks.{layer}.pos_embedding.embedding.weight", "blocks/attn/position_bias", same),
    Rule("blocks.{layer}.norm2.weight", "blocks/ffn_norm", same),
    Rule("blocks.{layer}.ffn.gate.0.weight", "blocks/ffn/gate/kernel", linear),
    Rule("blocks.{layer}.ffn.fc1.weight", "blocks/ffn/fc1/kernel", linear),
    Rule("blocks.{layer}.ffn.fc2.weight", "blocks/ffn/fc2/kernel", linear),
    Rule("norm.weight", "norm", same),
)

_ATTENTION, _FFN = "encoder.block.{layer}.layer.0", "encoder.block.{layer}.layer.1"

TRANSFORMERS = (
    Rule("shared.weight", "token_embedding", same),
    Rule(f"{_ATTENTION}.layer_norm.weight", "blocks/attn_norm", same),
    Rule(f"{_ATTENTION}.SelfAttention.q.weight", "blocks/attn/q/kernel", linear),
    Rule(f"{_ATTENTION}.SelfAttention.k.weight", "blocks/attn/k/kernel", linear),
    Rule(f"{_ATTENTION}.SelfAttention.v.weight", "blocks/attn/v/kernel", linear),
    Rule(f"{_ATTENTION}.SelfAttention.o.weight", "blocks/attn/o/kernel", linear),
    Rule(f"{_ATTENTION}.SelfAttention.relative_attention_bias.weight", "blocks/attn/position_bias", same),
    Rule(f"{_FFN}.layer_norm.weight", "blocks/ffn_norm", same),
    Rule(f"{_FFN}.DenseReluDense.wi_0.weight", "blocks/ffn/gate/kernel", linear),
    Rule(f"{_FFN}.DenseReluDense.wi_1.weight", "blocks/ffn/fc1/kernel", linear),
    Rule(f"{_FFN}.DenseReluDense.wo.weight", "blocks/ffn/fc2/kernel", linear),
    Rule("encoder.final_layer_norm.weight", "norm", same),
)

LAYOUTS = {"original": ORIGINAL, "transformers": TRANSFORMERS}

# transformers ties these two tensors; a file may hold either name, or both for the same numbers
ALIASES = {"encoder.embed_tokens.weight": "shared.weight"}

_FEED_FORWARD = "gated-gelu"  # the only kind umT5 has
_SIZES = ("token_embedding", "blocks/attn/q/kernel", "blocks/attn/position_bias", "blocks/ffn/fc1/kernel")

T = TypeVar("T")


def tables(config: UMT5Config) -> dict[str, tuple[Rule, ...]]:
    """Rules by layout name. They are the same for every size."""
    del config
    return LAYOUTS


def without_aliases(tensors: Mapping[str, T]) -> dict[str, T]:
    """The same tensors (or shapes), each under the name the tables know; a second name of a tensor is dropped."""
    named = {name: tensor for name, tensor in tensors.items() if name not in ALIASES}
    return {ALIASES[name]: tensors[name] for name in ALIASES if name in tensors} | named


def identify(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The layout in which these tensors are a umT5 encoder, or None if they are something else."""
    for layout, rules in LAYOUTS.items():
        bias = next(rule.torch for rule in rules if rule.path == "blocks/attn/position_bias")
        if bias.replace(LAYER, "0") in shapes:
            return layout
    return None


def config_from(
    shapes: Mapping[str, tuple[int, ...]], layout: str, settings: Mapping[str, Any] | None = None
) -> UMT5Config:
    """Sizes of the network these tensors belong to.

    Args:
        shapes: tensor shapes by PyTorch name.
        layout: from `identify`.
        settings: parsed config.json beside a file in transformers' layout. It tells what shapes cannot: the largest
            relative distance and the norms' epsilon; without it both are umT5's. The original layout has none.

    Raises:
        ValueError: lists the tensors that would tell the sizes and are missing, or names a setting umT5 does not have.
    """
    settings = (settings or {}) if layout == "transformers" else {}
    if settings.get("feed_forward_proj", _FEED_FORWARD) != _FEED_FORWARD:
        raise ValueError(
            f"umT5 has a {_FEED_FORWARD} feed-forward network, config.json says "
            f"feed_forward_proj={settings['feed_forward_proj']!r}; is it another T5?"
        )
    shapes, names = without_aliases(shapes), {rule.path: rule.torch for rule in LAYOUTS[layout]}
    needed = [names[path].replace(LAYER, "0") for path in _SIZES]
    missing = [name for name in needed if name not in shapes]
    if missing:
        raise ValueError(f"the sizes of a umT5 encoder are read from tensors that are missing here: {missing}")
    (vocabulary, width), (inner, _), (buckets, heads), (ffn_width, _) = (shapes[name] for name in needed)
    return UMT5Config(
        vocabulary=vocabulary,
        width=width,
        ffn_width=ffn_width,
        heads=heads,
        head_width=inner // heads,
        layers=layers(shapes, names["blocks/attn/q/kernel"]),
        buckets=buckets,
        max_distance=whole_number(settings, "relative_attention_max_distance", UMT5Config.max_distance),
        eps=settings.get("layer_norm_epsilon", UMT5Config.eps),
    )
