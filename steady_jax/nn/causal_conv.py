"""Causal convolution over the frames of a video, with the frames that came before carried from call to call.

(1)  out[j] = bias + sum_t K[t] * seen[stride j + t],   seen = past ++ x      (* convolves rows and columns)

computed as one 2-D convolution: the frames that one output sees are stacked on channels, and the outputs lie in the
batch. So a call on 1, 2 or 4 frames is the same code, and calls on the pieces of a clip give what one call gives.
"""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from steady_jax.nn.modules import precision_of
from steady_jax.shapes import Array, Float

__all__ = ["CausalConv", "Past", "causal_conv"]

Past = Array | dict[str, Any]  # frames [b p h w i] that a convolution has to remember, or {} where it is none


def causal_conv(
    x: Float[Array, "b f h w i"],
    past: Float[Array, "b p h w i"],
    kernel: Float[Array, "t y x i o"],
    bias: Float[Array, "o"],
    stride: int = 1,
) -> tuple[Float[Array, "b _ h w o"], Float[Array, "b p h w i"]]:
    """Convolves the frames of x, see (1).

    Args:
        x: new frames, a multiple of `stride` of them.
        past: the t - stride frames before them.
        kernel: t frames, odd numbers of rows and columns.
        bias: one per output channel.
        stride: in frames.
    Returns: f / stride frames, and the past of the next call.
    """
    frames, taps = x.shape[1], kernel.shape[0]
    seen = jnp.concatenate([past, x], axis=1)
    stacked = jnp.concatenate([seen[:, tap : tap + frames : stride] for tap in range(taps)], axis=-1)
    out = jax.lax.conv_general_dilated(
        rearrange(stacked, "b f h w ti -> (b f) h w ti"),
        rearrange(kernel, "t y x i o -> y x (t i) o"),
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision_of(str(x.dtype)),
    )
    return rearrange(out, "(b f) h w o -> b f h w o", b=x.shape[0]) + bias, seen[:, frames:]


class CausalConv(nnx.Module):
    """Weights of a causal convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: tuple[int, int, int] = (3, 3, 3),
        *,
        stride: int = 1,
        dtype: str,
        rngs: nnx.Rngs,
    ) -> None:
        """Args: channels in and out; frames, rows and columns of the kernel; stride in frames; compute dtype."""
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (*shape, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.stride = stride
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "b f h w i"], past: Past | None = None
    ) -> tuple[Float[Array, "b _ h w o"], Past]:
        """Convolves new frames; `past` is what the last call returned, None (zeros) where a clip starts.

        A kernel of one frame remembers nothing: its past is {}, as arrays without elements could not be saved.
        """
        x = x.astype(self.dtype)
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        if not self.remembered:
            return causal_conv(x, self.no_past(x), kernel, bias, self.stride)[0], {}
        return causal_conv(x, self.no_past(x) if past is None else past, kernel, bias, self.stride)

    @property
    def remembered(self) -> int:
        """Frames that the next call needs."""
        return self.kernel.shape[0] - self.stride

    def no_past(self, x: Float[Array, "b f h w i"]) -> Float[Array, "b p h w i"]:
        """Zeros in the place of the frames before the clip that x belongs to."""
        return jnp.zeros((x.shape[0], self.remembered, *x.shape[2:]), self.dtype)
