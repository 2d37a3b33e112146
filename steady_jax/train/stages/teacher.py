"""The teacher: a bidirectional transformer on whole clips, by flow matching, with conditioning dropout for guidance."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from steady_jax import parallel
from steady_jax.diffusion import ode
from steady_jax.diffusion.flow_matching import TIMESTEPS, sigma_table, timestep_table
from steady_jax.diffusion.ode import ODE, Velocity
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import PromptKV, WanDiT
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Int, Latents, UInt8
from steady_jax.text import PromptTokenizer
from steady_jax.train import scores
from steady_jax.train.losses import flow_matching_loss, guided
from steady_jax.train.moving import MOVING, check_moving, moving_share, moving_weights
from steady_jax.train.networks import laid_out
from steady_jax.train.scores import Noising
from steady_jax.train.stage import Batch, Metrics
from steady_jax.train.stages.base import BaseStage, Setup, best, ids_of
from steady_jax.train.state import TrainState

DIT, TEXT_ENCODER = "dit", "text_encoder"
OF_TRAINING, OF_HELD_OUT = range(2)  # streams of random numbers


@dataclasses.dataclass(frozen=True)
class TeacherSettings:
    """How a teacher learns, and how its samples are made."""

    ode: ODE
    shift: float = 5.0  # of the schedule that noise levels are drawn from
    dropout: float = 0.1  # share of items that get the negative prompt instead of their own
    moving: float = 0.0  # v of steady_jax.train.moving; above 0 the data must have "moving"

    def __post_init__(self) -> None:
        if not self.shift > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"shift must be positive and dropout lie in 0..1, below 1, got {self.shift} and {self.dropout}"
            )
        if self.moving < 0:
            raise ValueError(f"moving, a weight of the loss, must not be negative, got {self.moving}")


class Teacher(BaseStage):
    """The stage. Its learners are "dit" and, where prompts are learnt with it, "text_encoder"."""

    def __init__(
        self,
        setup: Setup,
        settings: TeacherSettings,
        *,
        tokenizer: PromptTokenizer | None,
        negative_prompt: str = "",
        held_out: Callable[[], Iterable[Batch]] = tuple,
        sample_prompts: Sequence[str] = (),
        sample_shape: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None:
        """Args:
        tokenizer: where the text encoder is trained; the data then has "ids" and "mask".
        held_out: batches that are not trained on, the same ones each time.
        sample_shape: frames, rows, columns and channels of the latents of a sample.
        """
        super().__init__(setup)
        self.settings, self.tokenizer, self.negative_prompt = settings, tokenizer, negative_prompt
        self.held_out_batches, self.sample_prompts, self.sample_shape = held_out, tuple(sample_prompts), sample_shape
        self.names = tuple(setup.learners)
        self.exported = {name: name for name in self.names}
        loss = functools.partial(_loss, self.key, settings)
        self.programs = {
            "gradient": Program(
                functools.partial(_gradient, loss),
                results=({name: self.gradient_places(name) for name in self.names}, None),
            ),
            "loss": Program(functools.partial(loss, stream=OF_HELD_OUT), results=parallel.replicated(self.mesh)),
            "sample": Program(functools.partial(_sample, settings.ode), results=parallel.replicated(self.mesh)),
        }

    @functools.cached_property
    def negative(self) -> Mapping[str, np.ndarray]:
        """What takes the place of a dropped prompt: ids and mask where prompts are learnt, embeddings elsewhere."""
        if TEXT_ENCODER not in self.names:
            return {"embeddings": self.encoders.of_prompts([self.negative_prompt])}
        ids, mask = self.tokenizer.encode([self.negative_prompt], allow_empty=True)
        return {"ids": ids, "mask": mask}

    def train_step(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """See Stage."""
        weights = {name: state.networks[name].weights for name in self.names}

        def gradients_of(piece: int) -> tuple[Mapping[str, nnx.Module], Metrics]:
            inputs = self._inputs(self.update.piece(batch, piece))
            return self.programs["gradient"](weights, inputs, self.negative, ids_of(step, OF_TRAINING, piece))

        state, metrics = self.update(state, step, self.names, gradients_of)
        return self.update.advance(state), metrics

    def held_out(self, state: TrainState) -> Mapping[str, float]:
        """See Stage. The loss of the averaged weights, with the same noise each time."""
        weights = {name: best(state, name) for name in self.names}
        found = [
            float(self.programs["loss"](weights, self._inputs(batch), self.negative, ids_of(0, OF_HELD_OUT, index)))
            for index, batch in enumerate(self.held_out_batches())
        ]
        return {"loss": float(np.mean(found))} if found else {}

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """See Stage."""
        if not self.sample_prompts:
            return {}
        filled = parallel.filled_up(self.sample_prompts, self.mesh)
        return self.encoders.videos(self.sample_prompts, self.sample(state, filled, seed=0))

    def sample(self, state: TrainState, prompts: Sequence[str], seed: int) -> Latents:
        """Latents of one clip per prompt, by the averaged weights."""
        weights = {name: best(state, name) for name in self.names}
        if TEXT_ENCODER in self.names:
            ids, mask = self.tokenizer.encode(prompts)
            given = {"ids": ids, "mask": mask}
        else:
            given = {"embeddings": self.encoders.of_prompts(prompts)}
        noise = np.asarray(jax.random.normal(jax.random.key(seed), (len(prompts), *self.sample_shape)))
        return self.programs["sample"](weights, given, self.negative, noise)

    def _inputs(self, batch: Batch) -> Batch:
        """The batch as the programs take it: latents, ids with mask or embeddings, and what moves if that counts."""
        check_moving(self.settings.moving, batch)
        known = {"latents": self.encoders.latents(batch)}
        if self.settings.moving:
            known[MOVING] = batch[MOVING]
        text = (
            {"ids": batch["ids"], "mask": batch["mask"]}
            if TEXT_ENCODER in self.names
            else {"embeddings": self.encoders.embeddings(batch)}
        )
        return {**known, **text}


def guided_velocity(
    dit: WanDiT, embeddings: Float[Array, "b t e"], negative: Float[Array, "1 t e"], guidance: float
) -> Velocity:
    """The velocity that a teacher's samples follow; without guidance the unconditional call is left out."""
    own, unconditional = (dit.encode_prompt(x) for x in (embeddings, jnp.broadcast_to(negative, embeddings.shape)))
    return _guided(dit, own, unconditional, guidance)


def _guided(dit: WanDiT, prompt: PromptKV, unconditional: PromptKV, guidance: float) -> Velocity:
    def velocity(x: Latents, timestep: Float[Array, ""]) -> Latents:
        timesteps = jnp.broadcast_to(timestep, x.shape[:2])
        conditional = dit(x, timesteps, prompt)
        return guided(conditional, dit(x, timesteps, unconditional), guidance) if guidance else conditional

    return velocity


def _loss(
    key,
    settings: TeacherSettings,
    weights: Mapping[str, nnx.Module],
    batch: Batch,
    negative: Mapping[str, Array],
    ids: Int[Array, "3"],
    *,
    stream: int = OF_TRAINING,
) -> Float[Array, ""]:
    x0 = batch["latents"]
    of_noise, of_levels, of_dropout = jax.random.split(key(ids), 3)
    noise = jax.random.normal(of_noise, x0.shape)
    entries = jax.random.randint(of_levels, x0.shape[:1], 0, TIMESTEPS)
    sigma = jnp.asarray(sigma_table(settings.shift))[entries]
    by = Noising(noise, jnp.asarray(timestep_table(settings.shift))[entries], sigma, sigma)
    text = {name: array for name, array in batch.items() if name not in ("latents", MOVING)}
    if stream == OF_TRAINING:
        dropped = jax.random.bernoulli(of_dropout, settings.dropout, x0.shape[:1])
        text = {name: _chosen(dropped, negative[name], array) for name, array in text.items()}
    prompt = weights[DIT].encode_prompt(_embedded(weights, text))
    velocity = scores.velocity(weights[DIT], scores.noisy(x0, by), by, prompt)
    return flow_matching_loss(velocity, x0, noise, _weights(settings.moving, batch))


def _weights(weight: float, batch: Batch) -> Float[Array, "b 1 h w 1"] | None:
    """Weights of the loss where it counts what moves; None: all alike."""
    if not weight:
        return None
    share = moving_share(batch[MOVING], *batch["latents"].shape[2:4])
    return moving_weights(share, weight)[:, None, :, :, None]


def _gradient(
    loss: Callable[..., Array], weights: Mapping[str, nnx.Module], *rest: Any
) -> tuple[Mapping[str, nnx.Module], Metrics]:
    value, gradients = jax.value_and_grad(loss)(weights, *rest)
    return {name: laid_out(gradient) for name, gradient in gradients.items()}, {"loss": value}


def _sample(
    settings: ODE,
    weights: Mapping[str, nnx.Module],
    given: Mapping[str, Array],
    negative: Mapping[str, Array],
    noise: Latents,
) -> Latents:
    def prompt_of(text: Mapping[str, Array]) -> PromptKV:
        whole = {name: jnp.broadcast_to(x, (noise.shape[0], *x.shape[1:])) for name, x in text.items()}
        return weights[DIT].encode_prompt(_embedded(weights, whole))

    velocity = _guided(weights[DIT], prompt_of(given), prompt_of(negative), settings.guidance)
    return ode.sample(velocity, noise, settings)


def _embedded(weights: Mapping[str, nnx.Module], text: Mapping[str, Array]) -> Float[Array, "b t c"]:
    if "embeddings" in text:
        return text["embeddings"]
    encoder: UMT5Encoder = weights[TEXT_ENCODER]
    return encoder(text["ids"], text["mask"])


def _chosen(flags: Array, instead: Array, own: Array) -> Array:
    return jnp.where(flags.reshape(-1, *[1] * (own.ndim - 1)), instead.astype(own.dtype), own)
