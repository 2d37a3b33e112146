"""PyTorch checkpoints to Flax parameters and back. The only package of the project that imports torch."""
