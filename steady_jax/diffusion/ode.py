"""A teacher's videos: Euler steps along the velocity, from noise to clean latents.

    sigma_i = shifted(1 - i / n), i = 0..n                                    (1)
    velocity = conditional + g * (conditional - unconditional)                (2)
    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) * velocity(x_i, sigma_i)          (3)

Deterministic: the noise decides all. Source: Wan2.1 (arXiv 2503.20314); stored states for a student that starts from
them: CausVid (arXiv 2412.07772).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from steady_jax.diffusion.flow_matching import TIMESTEPS, FewSteps, shifted
from steady_jax.shapes import Array, Float, Latents

# (noisy latents, timestep) -> velocity
Velocity = Callable[[Latents, Float[Array, ""]], Latents]


@dataclasses.dataclass(frozen=True)
class ODE:
    """Settings of a teacher's sampling."""

    steps: int = 40  # calls, each of them two with guidance
    shift: float = 5.0
    guidance: float = 5.0  # g of equation (2); 0: no guidance, half the work

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps of the ODE must be at least 1, got {self.steps}")
        if not self.shift > 0 or self.guidance < 0:
            raise ValueError(f"shift must be positive, guidance not negative, got {self.shift} and {self.guidance}")

    @property
    def sigmas(self) -> np.ndarray:
        """Noise levels between the steps, float32 [steps + 1], from 1 to 0."""
        return shifted(1 - np.arange(self.steps + 1) / self.steps, self.shift).astype(np.float32)

    def kept(self, calls: FewSteps) -> tuple[int, ...]:
        """The steps of this ODE that stand at a few-step student's noise levels.

        Raises:
            ValueError: the student's levels are none of this schedule's.
        """
        if calls.shift != self.shift:
            raise ValueError(
                f"student and ODE need one shift, got {calls.shift} and {self.shift}; set ode.shift to shift"
            )
        places = [self.steps * (1 - step / TIMESTEPS) for step in calls.steps]
        if any(abs(place - round(place)) > 1e-6 for place in places):
            raise ValueError(
                f"the student's timesteps {calls.steps} must be steps of the ODE, so ode.steps must be a multiple of "
                f"what divides them (4 for 1000, 750, 500, 250), got {self.steps}"
            )
        return tuple(round(place) for place in places)


def sample(velocity: Velocity, noise: Latents, settings: ODE) -> Latents:
    """Clean latents from noise."""
    return trajectory(velocity, noise, settings, (settings.steps,))[0]


def trajectory(velocity: Velocity, noise: Latents, settings: ODE, kept: tuple[int, ...]) -> Float[Array, "k b f h w c"]:
    """The latents at some steps of the way from noise to clean.

    Args:
        velocity: of latents at a timestep 0..1000, guidance included.
        kept: rising step numbers, 0 (the noise) to settings.steps (clean).
    """
    sigmas, places = jnp.asarray(settings.sigmas), jnp.asarray(kept)

    def step(index: Array, carry: tuple[Latents, Array]) -> tuple[Latents, Array]:
        x, states = carry
        x = x + (sigmas[index + 1] - sigmas[index]) * velocity(x, TIMESTEPS * sigmas[index])
        return x, _keep(states, x, places == index + 1)

    states = _keep(jnp.zeros((len(kept), *noise.shape), noise.dtype), noise, places == 0)
    return jax.lax.fori_loop(0, settings.steps, step, (noise, states))[1]


def _keep(states: Array, x: Array, here: Array) -> Array:
    return jnp.where(here.reshape(-1, *[1] * x.ndim), x, states)
