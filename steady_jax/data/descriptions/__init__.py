"""Fixed-camera nature scenes in words, 400 to 600 characters each, without end: prompts of large models.

A description names a place with its season, light and weather, what stands still there in front and behind, the one
thing that moves and how, and a camera that does not. It is a function of (seed, index). The texts hang together: what
may meet is written down in tables (`moments` has the seasons of each climate and the lights, a mover of `water`, `air`,
`wind` or `heat` the lights, seasons and places that go with it), and chance picks among them.
"""

from steady_jax.data.descriptions.compose import LENGTHS, MOVERS, Described, described, description

__all__ = ["LENGTHS", "MOVERS", "Described", "described", "description"]
