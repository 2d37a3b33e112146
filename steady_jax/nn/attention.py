"""Attention over a prefix of keys, softmax(q k^T / sqrt(h)) v, by the fastest way of the platform.

No backend builds a mask or a bias of t x s: the prefix is a number, and slots behind it may hold anything finite.
"""

import jax
import jax.numpy as jnp
from einops import rearrange

from steady_jax import parallel
from steady_jax.nn.attention_chunked import chunked
from steady_jax.nn.attention_tpu import splash
from steady_jax.shapes import Array, Float, Int

CUDNN_WIDEST_HEAD = 128  # on every GPU that has the kernel; the newer ones take 256
CUDNN_HEAD_STEP = 8


def attention(
    q: Float[Array, "b *t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    *,
    valid_tokens: Int[Array, ""] | int | None = None,
    backend: str = "auto",
) -> Float[Array, "b *t n h"]:
    """Attends from every query to the first `valid_tokens` keys, with float32 softmax.

    On a mesh every device attends from its own queries, with its own heads of its own items, to all keys.

    Args:
        q: queries; with an axis for frames before the tokens, the tokens of each frame are cut over the mesh.
        k: keys, cast to q's dtype.
        v: values, cast to q's dtype.
        valid_tokens: how many keys take part, 1..s, the same for all items; None: all of them.
        backend: "auto" asks `choose_backend` about JAX's default platform, at trace time. A program that is lowered for
            another platform names its backend:
            "xla" (plain float32 scores, the reference), "chunked" (CPU), "cudnn" (GPU, bfloat16 or float16), "tpu".

    Returns:
        The attended values in q's dtype. Reverse-mode differentiable in q, k and v.

    Raises:
        ValueError: unknown backend, or `valid_tokens` is a Python int outside 1..s.
    """
    slots = k.shape[1]
    if isinstance(valid_tokens, int) and not 1 <= valid_tokens <= slots:
        raise ValueError(f"valid_tokens must lie in 1..{slots} (the number of keys), got {valid_tokens}")
    if backend == "auto":
        backend = choose_backend(jax.default_backend(), q.dtype, q.shape[-1])
    check_backend(backend)
    k, v = k.astype(q.dtype), v.astype(q.dtype)

    def local(q: Array, k: Array, v: Array, valid_tokens: Array | int | None) -> Array:
        flat = rearrange(q, "b ... n h -> b (...) n h")
        return BACKENDS[backend](flat, k, v, valid_tokens).reshape(q.shape)

    layouts = ("b f t n h" if q.ndim == 5 else "b t n h", "b s n h", "b s n h", "")
    return parallel.per_device(local, (q, k, v, valid_tokens), layouts)


def clip_attention(
    q: Float[Array, "b f t n h"],
    k: Float[Array, "b f t n h"],
    v: Float[Array, "b f t n h"],
    *,
    frames: int | None = None,
    backend: str = "auto",
) -> Float[Array, "b f t n h"]:
    """Attends from every token of a clip to all of them or, block by block, to its own block and those before.

    Args:
        q, k, v: of t tokens in each of f frames.
        frames: of a block, divides f; None: no blocks.
        backend: as in `attention`.
    """
    total, tokens = q.shape[1:3]
    block = frames or total

    def local(q: Array, k: Array, v: Array) -> Array:
        k, v = (rearrange(parallel.all_tokens(x, tokens), "b f t n h -> b (f t) n h") for x in (k, v))

        def of_block(end: int) -> Array:  # a prefix of keys for each block: no mask of t x s
            return attention(q[:, end - block : end], k[:, : end * tokens], v[:, : end * tokens], backend=backend)

        return jnp.concatenate([of_block(end) for end in range(block, total + 1, block)], axis=1)

    return parallel.per_device(local, (q, k, v), ["b f t n h"] * 3)


def check_backend(backend: str) -> None:
    """Raises ValueError, which lists the known ones, for the name of an unknown backend."""
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"unknown attention backend {backend!r}, choose one of: {', '.join(['auto', *BACKENDS])}")


def check_runs_here(backend: str, dtype: jax.typing.DTypeLike) -> None:
    """Raises ValueError if JAX's default platform does not run a backend, or not in this dtype."""
    platform = jax.default_backend()
    if backend not in ("auto", *available_backends(platform)):
        known = ", ".join(["auto", *available_backends(platform)])
        raise ValueError(f"attention backend {backend!r} does not run on {platform!r}, choose one of: {known}")
    if backend == "cudnn" and choose_backend("gpu", dtype) != "cudnn":
        raise ValueError(f"attention backend 'cudnn' takes bfloat16 or float16, got {dtype}; choose 'auto' or 'xla'")


def choose_backend(platform: str, dtype: jax.typing.DTypeLike, head_width: int = CUDNN_WIDEST_HEAD) -> str:
    """Returns the backend for a platform, as `jax.default_backend()` names it: all that "auto" means."""
    if platform == "gpu":
        narrow = head_width <= CUDNN_WIDEST_HEAD and head_width % CUDNN_HEAD_STEP == 0
        return "cudnn" if jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16) and narrow else "xla"
    return {"cpu": "chunked", "tpu": "tpu"}.get(platform, "xla")


def available_backends(platform: str) -> tuple[str, ...]:
    """Returns the backends made for a platform, "xla" first, which runs on all."""
    return ("xla", *{"cpu": ("chunked",), "gpu": ("cudnn",), "tpu": ("tpu",)}.get(platform, ()))


def xla(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    valid_tokens: Int[Array, ""] | int | None,
) -> Float[Array, "b t n h"]:
    """Plain attention with float32 scores of b x n x t x s."""
    scale = q.shape[-1] ** -0.5
    # Softmax in float32, and no shortened products on GPU and TPU: the other backends are measured against this one.
    exact = {"precision": jax.lax.Precision.HIGHEST, "preferred_element_type": jnp.float32}
    scores = jnp.einsum("btnh,bsnh->bnts", q, k, **exact) * scale
    if valid_tokens is not None:
        scores = jnp.where(jnp.arange(k.shape[1]) < valid_tokens, scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, v.astype(jnp.float32), **exact).astype(q.dtype)


def cudnn(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    valid_tokens: Int[Array, ""] | int | None,
) -> Float[Array, "b t n h"]:
    """cuDNN's flash attention: bfloat16 or float16, heads of a multiple of 8 up to 128 (256 from Hopper on)."""
    lengths = {}
    if valid_tokens is not None:  # without lengths cuDNN takes its faster kernel, which masks nothing
        items = q.shape[:1]
        lengths["query_seq_lengths"] = jnp.full(items, q.shape[1], jnp.int32)
        lengths["key_value_seq_lengths"] = jnp.full(items, valid_tokens, jnp.int32)
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn", **lengths)


BACKENDS = {"xla": xla, "chunked": chunked, "cudnn": cudnn, "tpu": splash}
