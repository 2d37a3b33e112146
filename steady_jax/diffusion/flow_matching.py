"""Flow matching with a shifted noise schedule.

    x_t = (1 - sigma) * x0 + sigma * noise            (1)
    velocity = noise - x0                             (2)
    x0 = x_t - sigma * velocity                       (3)
    shifted sigma = s * sigma / (1 + (s - 1) * sigma) (4)
    timestep = 1000 * sigma                           (5)

sigma runs from 1 (noise) to 0 (clean), timesteps from 1000 to 0. Schedules are computed in float64 and kept in float32.
Source: Wan2.1 (arXiv 2503.20314) and Self-Forcing (arXiv 2506.08009).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from steady_jax.shapes import Array, Float, Int

TIMESTEPS = 1000  # timesteps per unit of sigma, and entries of the table
SCORED = (20.0, 980.0)  # timesteps between which scores are asked for: at the ends they say nothing


def shifted(sigma: np.ndarray | float, shift: float) -> np.ndarray | float:
    """Equation (4): moves noise levels towards noise for shift > 1."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def sigma_table(shift: float) -> np.ndarray:
    """The 1000 noise levels of the schedule, from 1 down, float32 [1000]."""
    return shifted(1 - np.arange(TIMESTEPS) / TIMESTEPS, shift).astype(np.float32)


def timestep_table(shift: float) -> np.ndarray:
    """The timesteps 0..1000 of `sigma_table`, float32 [1000]."""
    return (shifted(1 - np.arange(TIMESTEPS) / TIMESTEPS, shift) * TIMESTEPS).astype(np.float32)


def nearest_sigma(timesteps: Float[Array, "*shape"], shift: float) -> Float[Array, "*shape"]:
    """The table's noise level nearest to each timestep; the first where two are equally near. Timestep 0 has the
    table's smallest.
    """
    distance = jnp.abs(jnp.asarray(timestep_table(shift)) - timesteps[..., None])
    return jnp.asarray(sigma_table(shift))[jnp.argmin(distance, axis=-1)]


def score_timesteps(entries: Int[Array, "*shape"], shift: float) -> Float[Array, "*shape"]:
    """The timesteps of entries 0..999 (timesteps before the shift), shifted and kept within SCORED."""
    table = shifted(np.arange(TIMESTEPS) / TIMESTEPS, shift) * TIMESTEPS
    return jnp.asarray(np.clip(table, *SCORED).astype(np.float32))[entries]


def training_weights(shift: float) -> np.ndarray:
    """Loss weight of each entry of the table, float32 [1000]: a bell around timestep 500, zero at its lowest, summing
    to 1000.
    """
    bell = np.exp(-2 * ((timestep_table(shift).astype(np.float64) - TIMESTEPS / 2) / TIMESTEPS) ** 2)
    above = bell - bell.min()
    return (above * TIMESTEPS / above.sum()).astype(np.float32)


def add_noise(x0: Float[Array, "..."], noise: Float[Array, "..."], sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """Equation (1); sigma must broadcast against x0."""
    return (1 - sigma) * x0 + sigma * noise


def x0_from_velocity(
    xt: Float[Array, "..."], velocity: Float[Array, "..."], sigma: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Equation (3); sigma must broadcast against xt."""
    return xt - sigma * velocity


def velocity_from_x0(
    xt: Float[Array, "..."], x0: Float[Array, "..."], sigma: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Equation (3) solved for the velocity; sigma must not be 0."""
    return (xt - x0) / sigma


@dataclasses.dataclass(frozen=True)
class FewSteps:
    """The noise levels of a few-step student's denoise calls, and of the refresh call that stores a finished block."""

    steps: tuple = (1000, 750, 500, 250)  # before the shift
    shift: float = 5.0
    context_timestep: float = 0.0  # what the refresh call tells the network about the finished block

    def __post_init__(self) -> None:
        if not all(isinstance(step, int | float) for step in self.steps):
            raise ValueError(f"steps must be numbers, got {self.steps}")
        if not self.steps or list(self.steps) != sorted(set(self.steps), reverse=True):
            raise ValueError(f"steps must fall from call to call, got {self.steps}")
        if self.steps[0] > TIMESTEPS or self.steps[-1] <= 0:
            raise ValueError(f"steps must lie in 1..{TIMESTEPS}, got {self.steps}")
        if not 0 < self.shift < float("inf"):
            raise ValueError(f"shift must be positive, got {self.shift}")
        if not 0 <= self.context_timestep <= TIMESTEPS:
            raise ValueError(f"context_timestep must lie in 0..{TIMESTEPS}, got {self.context_timestep}")

    @property
    def sigmas(self) -> np.ndarray:
        """Noise level of each denoise call, float32 [calls]."""
        return shifted(np.array(self.steps) / TIMESTEPS, self.shift).astype(np.float32)

    @property
    def timesteps(self) -> np.ndarray:
        """Timestep of each denoise call, float32 [calls]: 1000, 937.5, 833.333, 625 as published."""
        return (shifted(np.array(self.steps) / TIMESTEPS, self.shift) * TIMESTEPS).astype(np.float32)
