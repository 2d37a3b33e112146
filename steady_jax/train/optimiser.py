"""The optimiser of one network: AdamW after clipping, float32 throughout, and the moving average of the weights."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from steady_jax.shapes import Array, Float, Int
from steady_jax.train.state import Trained

SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class OptimiserSettings:
    """Settings of AdamW; the defaults are those of the published distillation, but for the learning rate."""

    learning_rate: float
    b1: float = 0.0
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 10.0  # largest norm of a gradient, over the whole network; 0: any
    schedule: str = "constant"  # or "cosine": down to 0 at the last update
    warmup: int = 0  # updates of a linear rise from 0
    average: float = 0.0  # weight of the old average of weights; 0: no average is kept
    average_from: int = 0  # training step up to which the average is a copy of the weights

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.clip < math.inf:
            raise ValueError(f"clip must not be negative, got {self.clip}; 0 switches clipping off")
        for name in ("b1", "b2", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in 0..1, below 1, got {getattr(self, name)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        for name in ("warmup", "average_from", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def rate(self, updates: int) -> float | optax.Schedule:
        """The learning rate by the number of updates done, of `updates` in all.

        Raises:
            ValueError: the warm-up takes all of them.
        """
        if self.warmup >= updates > 0 and self.warmup:
            raise ValueError(f"warmup must be shorter than the training, got {self.warmup} of {updates} updates")
        if self.schedule == "cosine":
            return optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, self.warmup, updates)
        return optax.linear_schedule(0.0, self.learning_rate, self.warmup) if self.warmup else self.learning_rate

    def make(self, updates: int) -> optax.GradientTransformation:
        """The optimiser of a training of `updates` updates."""
        # without momentum AdamW's first moment is the gradient itself, and need not be kept: 4 bytes per parameter
        adam = (
            optax.scale_by_adam(self.b1, self.b2, self.eps)
            if self.b1
            else optax.scale_by_rms(self.b2, self.eps, eps_in_sqrt=False, bias_correction=True)
        )
        return optax.chain(
            optax.clip_by_global_norm(self.clip) if self.clip else optax.identity(),
            adam,
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_learning_rate(self.rate(updates)),
        )


def updated(
    trained: Trained,
    gradients: nnx.Module,
    optimiser: optax.GradientTransformation,
    settings: OptimiserSettings,
    step: Int[Array, ""],
) -> tuple[Trained, Float[Array, ""]]:
    """One update of a network.

    Args:
        gradients: as its weights, float32.
        optimiser: from `settings.make`.
        step: training steps done before, of which not every one updates this network.
    Returns: the network after it, and the norm of the gradient before clipping.
    """
    norm = optax.tree.norm(gradients)
    steps, state = optimiser.update(gradients, trained.optimiser, trained.weights)
    weights = optax.apply_updates(trained.weights, steps)
    average = trained.average
    if average is not None:
        old = jnp.where(step + 1 > settings.average_from, jnp.float32(settings.average), 0.0)
        average = jax.tree.map(lambda mean, new: old * mean + (1 - old) * new, average, weights)
    return Trained(weights, state, average), norm
