"""Steady-Forcing in JAX: fixed-camera nature video from text, streamed for minutes (arXiv 2606.14732)."""
