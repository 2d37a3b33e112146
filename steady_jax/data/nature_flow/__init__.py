"""Procedural nature clips from a fixed camera: a still background, one moving region, its mask and a prompt."""

from steady_jax.data.nature_flow.clips import KINDS, Clip, clip, prompt

__all__ = ["KINDS", "Clip", "clip", "prompt"]
