"""The one key of dimension letters, and the array types of the package.

Letters, in the order they stand in a shape:

====  =====================================================================
l     layers, stacked
b     batch: items (one prompt and one seed each)
f     frames: latent frames in the networks, pixel frames where a name says so
h w   rows and columns: of latents, of patches or of pixels, as the name says
c     channels
t     tokens of the block in work (queries)
s     tokens of a memory, all slots (keys)
n h   attention heads, width of one head
d     model width
====  =====================================================================

A *frame* is a latent frame, a *block* is the frames denoised together, a *slot* is one frame's place in the key/value
buffer.
"""

from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

__all__ = ["UNROTATED", "Array", "Bool", "Float", "Index", "Int", "Latents", "UInt8", "UInt32"]

Latents = Float[Array, "b f h w c"]
Index = Int[Array, ""] | int  # of a block, a call, a layer or a slot; whole numbers where jit is off

UNROTATED = -1  # as a temporal position: this frame's keys are read, or stored, without rotation
