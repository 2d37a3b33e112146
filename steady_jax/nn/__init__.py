"""Layers: pure maths first, thin modules after."""
