"""Distribution matching distillation of a causal few-step student on its own rollouts (DMD), plain or weighed by
rewards (Re-DMD).

Every step trains the critic on what the student makes; every few steps also the student, by what teacher and critic say
of it. One exit call, drawn per step, holds for all blocks and all devices.

Source: Self-Forcing (arXiv 2506.08009), Steady-Forcing (arXiv 2606.14732), Reward-Forcing.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from steady_jax import parallel
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Index, Int, Latents, UInt8, UInt32
from steady_jax.train import losses, scores, self_rollout
from steady_jax.train.networks import laid_out, whole, with_shardings
from steady_jax.train.rewards import Reward, Rewards
from steady_jax.train.self_rollout import Rolled, RolloutSettings
from steady_jax.train.stage import Batch, Metrics
from steady_jax.train.stages import student
from steady_jax.train.stages.base import BaseStage, Setup, best, ids_of
from steady_jax.train.state import TrainState

GENERATOR, CRITIC = "generator", "critic"
OF_GENERATOR, OF_CRITIC, OF_EXIT = range(3)  # streams of random numbers


@dataclasses.dataclass(frozen=True)
class DMDSettings:
    """How critic and teacher judge."""

    guidance: float = 5.0  # g of conditional + g * (conditional - unconditional)
    shift: float = 5.0  # of the schedule of noise levels
    generator_every: int = 5  # steps per generator update; the critic learns in every step
    beta: float = 2.0  # of Re-DMD's weights exp(beta * reward)

    def __post_init__(self) -> None:
        if self.generator_every < 1:
            raise ValueError(f"generator_every must be at least 1 step, got {self.generator_every}")
        if self.guidance < 0 or not self.shift > 0:
            raise ValueError(f"guidance must not be negative, shift positive, got {self.guidance} and {self.shift}")


class DMD(BaseStage):
    """The stage. Its learners are "generator" and "critic"; "teacher" is frozen, and "vae" where pixels are needed."""

    exported: Mapping[str, str] = {"dit": GENERATOR}

    def __init__(
        self,
        setup: Setup,
        settings: DMDSettings,
        rollout: RolloutSettings,
        *,
        negative_prompt: str,
        sample_prompts: Sequence[str] = (),
        reward: Reward | None = None,
    ) -> None:
        """Args: sample_prompts: of the videos that show how far it is; reward: weighs items (Re-DMD), None: plain DMD.

        Raises:
            ValueError: rewards, or rollouts longer than the clip, without a VAE; or such rollouts that teach no block.
        """
        super().__init__(setup)
        self.settings, self.rollout = settings, rollout
        self.rewards = None if reward is None else Rewards(reward, self.mesh)
        self.negative_prompt, self.sample_prompts = negative_prompt, tuple(sample_prompts)
        if (reward is not None or self.is_longer) and "vae" not in self.frozen:
            raise ValueError("rewards, and rollouts longer than the clip, need a VAE; name its folder with config.vae")
        if self.is_longer and rollout.counted < 2:
            raise ValueError(
                "of a rollout longer than its clip the clip's first block is judged and not taught, so the clip has 2 "
                f"blocks at least, got {rollout.counted}; raise clip_frames"
            )
        self.programs = {
            "roll": Program(functools.partial(_roll, self.key, rollout)),
            "sample": student.sampler(rollout, self.mesh),
            "continue_clip": Program(_continued),
            "generator": Program(
                functools.partial(_generator_gradient, self.key, settings, rollout),
                results=(self.gradient_places(GENERATOR), None),
            ),
            "critic": Program(
                functools.partial(_critic_gradient, self.key, settings), results=(self.gradient_places(CRITIC), None)
            ),
        }

    @property
    def is_longer(self) -> bool:
        """Whether rollouts have blocks before the clip that is judged."""
        return self.rollout.blocks > self.rollout.counted

    @functools.cached_property
    def negative(self) -> Float[np.ndarray, "1 t c"]:
        """Embeddings of what guidance steers away from."""
        return self.encoders.of_prompts([self.negative_prompt])

    def train_step(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """See Stage."""
        pieces = [self.update.piece(batch, index) for index in range(self.setup.accumulate)]
        embeddings = [self.encoders.embeddings(piece) for piece in pieces]
        metrics: dict[str, Array] = {}
        if step % self.settings.generator_every == 0:
            of = functools.partial(self._of_generator, state, step, embeddings)
            state, metrics = self.update(state, step, [GENERATOR], of)
        state, more = self.update(state, step, [CRITIC], functools.partial(self._of_critic, state, step, embeddings))
        return self.update.advance(state), {**metrics, **more}

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """See Stage. Rollouts of the student with all its calls."""
        return student.samples(self.programs["sample"], best(state, GENERATOR), self.encoders, self.sample_prompts)

    def abstract_calls(
        self, state: TrainState, frozen: Mapping[str, nnx.Module]
    ) -> dict[str, tuple[Program, tuple[Any, ...], Any]]:
        """The programs of a step in the order of their calls, for a look at their memory. Computes nothing.

        Args: abstract, with their shardings: the state, and the frozen networks by name.
        Returns: by name, a program, its arguments (abstract, with their shardings), and what else the step holds while
            it runs, beside networks.
        """
        weights, critic = (state.networks[name].weights for name in (GENERATOR, CRITIC))
        embeddings, negative, rolled, clip, of_items = self._abstract_arrays(weights)
        ids, number, share = (_placed(self.mesh, *of) for of in (((3,), "int32"), ((), "int32"), ((), "float32")))
        slopes = {name: self._abstract_gradient(state, name) for name in (GENERATOR, CRITIC)}
        sums = slopes if self.setup.accumulate > 1 else dict.fromkeys(slopes)  # over the pieces of the batch before
        judged = (weights, critic, frozen["teacher"], embeddings, negative, rolled, clip, ids, number, of_items)
        calls = {
            "roll": ((weights, embeddings, ids, number), sums[GENERATOR]),
            **({"continue_clip": ((frozen["vae"], rolled), sums[GENERATOR])} if self.is_longer else {}),
            "generator": (judged, sums[GENERATOR]),
            "update_generator": ((state.networks[GENERATOR], slopes[GENERATOR], share, number), None),
            "critic": ((critic, embeddings, clip, ids), (sums[CRITIC], rolled)),
            "update_critic": ((state.networks[CRITIC], slopes[CRITIC], share, number), None),
        }
        programs = {**self.programs, **self.update.programs}
        return {name: (programs[name], *call) for name, call in calls.items()}

    def _abstract_arrays(self, weights: WanDiT) -> tuple[Any, ...]:
        """Of a micro-batch: embeddings, the negative prompt's, the rollout, its clip, the items' rewards."""
        dit, mesh = weights.config, self.mesh
        items, prompt = self.setup.batch // self.setup.accumulate, (dit.text_length, dit.text_width)
        embeddings = _placed(mesh, (items, *prompt), dit.dtype, "b t c")
        ids, number = _placed(mesh, (3,), "int32"), _placed(mesh, (), "int32")
        with jax.set_mesh(mesh):
            shapes, clip = jax.eval_shape(
                functools.partial(_roll, self.key, self.rollout), weights, embeddings, ids, number
            )

        def laid(leaf: jax.ShapeDtypeStruct, layout: str) -> jax.ShapeDtypeStruct:
            return _placed(mesh, leaf.shape, leaf.dtype, layout if leaf.ndim else None)

        rolled = Rolled(
            laid(shapes.before, "b f h w c"),
            jax.tree.map(lambda leaf: laid(leaf, "l b s d"), shapes.memory),
            laid(shapes.xt, "i b f h w c"),
            laid(shapes.x0, "i b f h w c"),
        )
        of_items = None if self.rewards is None else _placed(mesh, (items,), "float32")
        return embeddings, _placed(mesh, (1, *prompt), "float32"), rolled, laid(clip, "b f h w c"), of_items

    def _abstract_gradient(self, state: TrainState, name: str) -> Any:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "float32"), state.networks[name].weights)
        return with_shardings(shapes, self.gradient_places(name))

    def _of_generator(
        self, state: TrainState, step: int, embeddings: Sequence[Array], piece: int
    ) -> tuple[dict[str, WanDiT], Metrics]:
        weights, critic = (state.networks[name].weights for name in (GENERATOR, CRITIC))
        ids, exit_call = ids_of(step, OF_GENERATOR, piece), self._exit_call(step, OF_GENERATOR)
        rolled, clip = self._rolled(weights, embeddings[piece], ids, exit_call)
        of_items = None if self.rewards is None else self.rewards(self.encoders.pixels(clip))
        arguments = (weights, critic, self.frozen["teacher"], embeddings[piece], self.negative)
        gradient, metrics = self.programs["generator"](*arguments, rolled, clip, ids, exit_call, of_items)
        return {GENERATOR: gradient}, metrics

    def _of_critic(
        self, state: TrainState, step: int, embeddings: Sequence[Array], piece: int
    ) -> tuple[dict[str, WanDiT], Metrics]:
        weights, critic = (state.networks[name].weights for name in (GENERATOR, CRITIC))
        ids, exit_call = ids_of(step, OF_CRITIC, piece), self._exit_call(step, OF_CRITIC)
        _, clip = self._rolled(weights, embeddings[piece], ids, exit_call)
        gradient, metrics = self.programs["critic"](critic, embeddings[piece], clip, ids)
        return {CRITIC: gradient}, metrics

    def _rolled(
        self, weights: WanDiT, embeddings: Array, ids: Int[np.ndarray, "3"], exit_call: np.int32
    ) -> tuple[Rolled, Latents]:
        """A rollout, and the clip of it that is judged."""
        rolled, clip = self.programs["roll"](weights, embeddings, ids, exit_call)
        return rolled, self.programs["continue_clip"](self.frozen["vae"], rolled) if self.is_longer else clip

    def _exit_call(self, step: int, stream: int) -> np.int32:
        """The same in every process."""
        rng = np.random.default_rng([self.setup.seed, step, stream, OF_EXIT])
        return np.int32(rng.integers(self.rollout.calls))


def _roll(
    key, rollout: RolloutSettings, weights: WanDiT, embeddings: Array, ids: Array, exit_call: Array
) -> tuple[Rolled, Latents]:
    rolled = self_rollout.roll(weights, rollout, embeddings, _seeds(key(ids), embeddings), exit_call)
    return rolled, rolled.clip


def _continued(vae: WanVAE, rolled: Rolled) -> Latents:
    """The clip with its first latent frame encoded anew from the pixel frame there, as the first of a clip is.

    Teacher and critic know clips whose first latent frame stands for one pixel frame, not for four.
    """
    vae = whole(vae)
    latents = jnp.concatenate([rolled.before, rolled.clip[:, :1]], axis=1)
    latents = latents[:, -(vae.config.decoder_reach + 1) :]  # the decoder knows nothing of what came before
    frame, cache = vae.decode_first(latents[:, 0])

    def step(carry: tuple[Array, dict], latent: Array) -> tuple[tuple[Array, dict], None]:
        frames, cache = vae.decode_next(latent, carry[1])
        return (frames[:, -1], cache), None

    (frame, _), _ = jax.lax.scan(step, (frame[:, -1], cache), jnp.swapaxes(latents[:, 1:], 0, 1))
    first, _ = vae.encode_first(jnp.clip(frame, -1, 1))
    return jnp.concatenate([first[:, None], rolled.clip[:, 1:]], axis=1)


def _generator_gradient(
    key,
    settings: DMDSettings,
    rollout: RolloutSettings,
    weights: WanDiT,
    critic: WanDiT,
    teacher: WanDiT,
    embeddings: Float[Array, "b t e"],
    negative: Float[Array, "1 t e"],
    rolled: Rolled,
    clip: Latents,
    ids: Int[Array, "3"],
    exit_call: Index,
    of_items: Float[Array, "b"] | None,
) -> tuple[WanDiT, Metrics]:
    """The gradient of a micro-batch by the student's weights.

    Args:
        clip: what is judged: `rolled.clip`, its first latent frame encoded anew in longer rollouts.
        ids, exit_call: as the rollout got them.
        of_items: their rewards; None: plain DMD.
    """
    seeds = _seeds(key(ids), embeddings)
    by = scores.draw_noising(jax.random.fold_in(key(ids), 1), clip, settings.shift)
    xt = scores.noisy(clip, by)
    unconditional = teacher.encode_prompt(jnp.broadcast_to(negative, embeddings.shape).astype(embeddings.dtype))
    real = scores.guided_score(teacher, xt, by, teacher.encode_prompt(embeddings), unconditional, settings.guidance)
    fake = scores.score(critic, xt, by, critic.encode_prompt(embeddings))
    gradient = losses.distribution_matching_gradient(clip, fake, real)

    # a clip in the middle of a rollout begins with what was encoded anew: its first block is judged, not taught
    longer = rollout.blocks > rollout.counted
    counted = jnp.arange(clip.shape[1]) >= rollout.block.frames if longer else None
    weigh = None if of_items is None else losses.reward_weights(of_items, settings.beta)
    loss_of = functools.partial(losses.distribution_matching_loss, gradient=gradient, counted=counted, weights=weigh)
    loss, slope = jax.value_and_grad(loss_of)(clip)
    by_weights = self_rollout.gradient(weights, rollout, embeddings, seeds, exit_call, rolled, slope)
    metrics = {
        "generator/loss": loss,
        "generator/score_difference": jnp.mean(jnp.abs(fake - real)),
        "generator/distance_to_teacher": jnp.mean(jnp.abs(clip - real)),
        "generator/gradient_size": jnp.mean(jnp.abs(gradient)),
        **({} if of_items is None else {"generator/reward": jnp.mean(of_items)}),
    }
    return laid_out(by_weights), metrics


def _critic_gradient(
    key, settings: DMDSettings, critic: WanDiT, embeddings: Float[Array, "b t e"], clip: Latents, ids: Int[Array, "3"]
) -> tuple[WanDiT, Metrics]:
    """The gradient of a micro-batch by the critic's weights."""
    by = scores.draw_noising(jax.random.fold_in(key(ids), 1), clip, settings.shift)

    def loss_of(critic: WanDiT) -> Float[Array, ""]:
        return scores.critic_loss(critic, clip, by, critic.encode_prompt(embeddings))

    loss, gradient = jax.value_and_grad(loss_of)(critic)
    return laid_out(gradient), {"critic/loss": loss}


def _placed(mesh: Mesh, shape: tuple[int, ...], dtype: Any, layout: str | None = None) -> jax.ShapeDtypeStruct:
    """An abstract array of one of parallel.ACTIVATIONS' layouts; None: whole on every device."""
    place = parallel.replicated(mesh) if layout is None else parallel.activation_sharding(shape, layout, mesh)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def _seeds(key: Array, items: Array) -> UInt32[Array, "b"]:
    return jax.random.bits(jax.random.fold_in(key, 0), items.shape[:1])
