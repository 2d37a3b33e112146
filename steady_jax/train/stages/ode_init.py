"""ODE initialisation: a causal student learns, in one block-causal pass, where a teacher's trajectories end.

A pair is a state x_t of a trajectory at one of the student's noise levels, drawn per item, and the trajectory's clean
end x0. The clean end itself may be drawn too, as in the published training; such an item does not count. (So with
`accumulate` the means of micro-batches are over unequal numbers of items, and weigh the same.)

Source: CausVid (arXiv 2412.07772), Self-Forcing (arXiv 2506.08009).
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from steady_jax import parallel
from steady_jax.diffusion.flow_matching import x0_from_velocity
from steady_jax.models.wan_dit import WanDiT
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Int, UInt8
from steady_jax.train.losses import regression_loss
from steady_jax.train.networks import laid_out
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stage import Batch, Metrics
from steady_jax.train.stages import student
from steady_jax.train.stages.base import BaseStage, Setup, best, ids_of
from steady_jax.train.state import TrainState

GENERATOR = "generator"
OF_TRAINING, OF_HELD_OUT = range(2)  # streams of random numbers


class ODEInit(BaseStage):
    """The stage. Its learner is "generator"; the data are the pairs that the stage ode_pairs writes."""

    exported: Mapping[str, str] = {"dit": GENERATOR}

    def __init__(
        self,
        setup: Setup,
        rollout: RolloutSettings,
        *,
        held_out: Callable[[], Iterable[Batch]] = tuple,
        sample_prompts: Sequence[str] = (),
    ) -> None:
        """Args: rollout: noise levels and frames of a block, and how samples are rolled out."""
        super().__init__(setup)
        self.rollout, self.held_out_batches, self.sample_prompts = rollout, held_out, tuple(sample_prompts)
        loss = functools.partial(_loss, self.key, rollout)
        self.programs = {
            "gradient": Program(
                functools.partial(_gradient, loss), results=({GENERATOR: self.gradient_places(GENERATOR)}, None)
            ),
            "loss": Program(loss, results=parallel.replicated(self.mesh)),
            "sample": student.sampler(rollout, self.mesh),
        }

    def train_step(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """See Stage."""

        def gradients_of(piece: int) -> tuple[Mapping[str, WanDiT], Metrics]:
            inputs = self._inputs(self.update.piece(batch, piece))
            ids = ids_of(step, OF_TRAINING, piece)
            return self.programs["gradient"](state.networks[GENERATOR].weights, inputs, ids)

        state, metrics = self.update(state, step, [GENERATOR], gradients_of)
        return self.update.advance(state), metrics

    def held_out(self, state: TrainState) -> Mapping[str, float]:
        """See Stage. The loss of the averaged weights, at the same noise levels each time."""
        found = [
            float(self.programs["loss"](best(state, GENERATOR), self._inputs(batch), ids_of(0, OF_HELD_OUT, index)))
            for index, batch in enumerate(self.held_out_batches())
        ]
        return {"loss": float(np.mean(found))} if found else {}

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """See Stage."""
        return student.samples(self.programs["sample"], best(state, GENERATOR), self.encoders, self.sample_prompts)

    def _inputs(self, batch: Batch) -> Batch:
        return {"trajectory": batch["trajectory"], "embeddings": self.encoders.embeddings(batch)}


def _loss(key, rollout: RolloutSettings, weights: WanDiT, batch: Batch, ids: Int[Array, "3"]) -> Float[Array, ""]:
    calls, states = rollout.block.calls, batch["trajectory"].astype(jnp.float32)
    if states.shape[1] != rollout.calls + 1:
        raise ValueError(
            f"a trajectory has a state for each of the student's {rollout.calls} noise levels and the clean end, got "
            f"{states.shape[1]} states; write the pairs with the same steps and shift"
        )
    drawn = jax.random.randint(key(ids), states.shape[:1], 0, rollout.calls + 1)
    xt = jax.vmap(lambda states, index: states[index])(states, drawn)
    timesteps, sigmas = (jnp.append(jnp.asarray(table), 0.0)[drawn] for table in (calls.timesteps, calls.sigmas))
    prompt = weights.encode_prompt(batch["embeddings"])
    per_frame = jnp.broadcast_to(timesteps[:, None], xt.shape[:2])
    velocity = weights.block_causal(xt, per_frame, prompt, rollout.block.frames)
    x0 = x0_from_velocity(xt, velocity, sigmas[:, None, None, None, None])
    return regression_loss(x0, states[:, -1], drawn < rollout.calls)


def _gradient(loss: Callable[..., Array], weights: WanDiT, *rest: Any) -> tuple[Mapping[str, WanDiT], Metrics]:
    value, gradient = jax.value_and_grad(loss)(weights, *rest)
    return {GENERATOR: laid_out(gradient)}, {"loss": value}
