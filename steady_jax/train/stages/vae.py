"""The VAE: reconstruction of clips. Needed for small models; the real ones take Wan's.

    L = mean w |x - y| + g * mean |differences of x - differences of y| + k * KL + s * mean |e - its mean in time|  (1)

x are the pixels, y the decoded sample of the latents' distribution, e = x - y, differences those of neighbours in rows
and columns (they keep edges sharp), KL the divergence from a standard normal distribution, a mean over all numbers. w
is 1, or shifts weight to what moves where the data know it (steady_jax.train.moving). The last part is against errors
that come and go, only where nothing moves if that is known: a causal decoder has no past at the first frames, and what
stands still seems to change after them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from steady_jax import parallel, parameters
from steady_jax.models.wan_vae import VAEConfig, WanVAE
from steady_jax.pixels import from_uint8, to_uint8
from steady_jax.program import Program
from steady_jax.shapes import Array, Bool, Float, Int, UInt8
from steady_jax.train.export import export
from steady_jax.train.moving import MOVING, check_moving, moving_weights
from steady_jax.train.networks import laid_out, whole
from steady_jax.train.stage import Batch, Metrics
from steady_jax.train.stages.base import BaseStage, Setup, best, ids_of
from steady_jax.train.state import TrainState

VAE = "vae"
BIAS = "to_moments/bias"  # path of a parameter; its second half is the log variance's
OF_TRAINING, OF_HELD_OUT = range(2)  # streams of random numbers
LOG_VARIANCES = (-30.0, 20.0)  # kept within, or an exponential overflows early in training

Pixels = Float[Array, "b f height width rgb"]


@dataclasses.dataclass(frozen=True)
class VAESettings:
    """Weights of the loss's parts, and where the training begins."""

    gradient: float = 0.5  # g of equation (1)
    kl: float = 2e-4  # k
    still: float = 0.0  # s
    moving: float = 0.0  # v of steady_jax.train.moving; above 0 the data must have "moving"
    # False: latents stay what they are, and with them all that was learnt from them; the decoder alone is trained
    train_encoder: bool = True
    # of latents in a network that begins with random weights; at 0 the decoder would begin with almost pure noise
    log_variance: float = -5.0

    def __post_init__(self) -> None:
        if min(self.gradient, self.still, self.kl, self.moving) < 0:
            raise ValueError(
                f"weights of a loss must not be negative, got gradient {self.gradient}, kl {self.kl}, "
                f"still {self.still} and moving {self.moving}"
            )
        if not LOG_VARIANCES[0] <= self.log_variance <= LOG_VARIANCES[1]:
            raise ValueError(f"log_variance must lie in {LOG_VARIANCES}, got {self.log_variance}")


class VAEStage(BaseStage):
    """The stage. Its learner is "vae"; the data have "pixels", and may have "moving", bool [b height width]."""

    exported: Mapping[str, str] = {"vae": VAE}

    def __init__(
        self,
        setup: Setup,
        settings: VAESettings,
        *,
        held_out: Callable[[], Iterable[Batch]],
        samples: int = 4,
    ) -> None:
        """Args:
        held_out: batches that are not trained on, the same ones each time; also latents are normalised by them.
        samples: clips of the first of them whose reconstructions show how far it is.
        """
        super().__init__(setup)
        self.settings, self.held_out_batches, self.count = settings, held_out, samples
        loss = functools.partial(_loss, self.key, settings)
        replicated = {"results": parallel.replicated(self.mesh)}
        self.programs = {
            "gradient": Program(functools.partial(_gradient, loss), results=({VAE: self.gradient_places(VAE)}, None)),
            "loss": Program(loss, **replicated),
            "reconstruct": Program(_reconstructed, **replicated),
            "moments": Program(_sums, **replicated),
        }

    def start(self) -> TrainState:
        """See Stage."""
        state = super().start()
        if self.setup.learners[VAE].network.folder is not None:
            return state
        trained, value = state.networks[VAE], self.settings.log_variance
        begun = dataclasses.replace(
            trained,
            weights=_with_log_variance(trained.weights, value),
            average=None if trained.average is None else _with_log_variance(trained.average, value),
        )
        return dataclasses.replace(state, networks={**state.networks, VAE: begun})

    def train_step(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """See Stage."""

        def gradients_of(piece: int) -> tuple[Mapping[str, WanVAE], Metrics]:
            clips = self._clips(self.update.piece(batch, piece))
            return self.programs["gradient"](state.networks[VAE].weights, clips, ids_of(step, OF_TRAINING, piece))

        state, metrics = self.update(state, step, [VAE], gradients_of)
        return self.update.advance(state), metrics

    def held_out(self, state: TrainState) -> Mapping[str, float]:
        """See Stage. The loss of the averaged weights and its parts, and how near reconstructions come (PSNR, dB).

        Where the data know what moves: "moving_l1", the mean error there.
        """
        found = []
        for index, batch in enumerate(self.held_out_batches()):
            loss, parts = self.programs["loss"](best(state, VAE), self._clips(batch), ids_of(0, OF_HELD_OUT, index))
            found.append({"loss": float(loss), **{name: float(value) for name, value in parts.items()}})
        return {name: float(np.mean([each[name] for each in found])) for name in (found[0] if found else {})}

    def _clips(self, batch: Batch) -> Batch:
        check_moving(self.settings.moving, batch)
        return {name: batch[name] for name in ("pixels", MOVING) if name in batch}

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """See Stage. Clips and their reconstructions side by side."""
        batch = next(iter(self.held_out_batches()), None)
        if batch is None or not self.count:
            return {}
        both = np.asarray(self.programs["reconstruct"](best(state, VAE), batch["pixels"]))
        return {f"{index}-reconstruction": clip for index, clip in enumerate(both[: self.count])}

    def export(self, state: TrainState, folder: Path) -> None:
        """See Stage. Latents are normalised by their mean and deviation over the held-out batches, if they are new."""
        config, weights = self.setup.learners[VAE].network.config, best(state, VAE)
        if self.settings.train_encoder:
            config = self._normalising(config, weights)
        export(folder, {"vae": weights}, {"vae": config}, self.setup.copied)

    def _normalising(self, config: VAEConfig, weights: WanVAE) -> VAEConfig:
        sums = [self.programs["moments"](weights, batch["pixels"]) for batch in self.held_out_batches()]
        if not sums:
            raise ValueError("latents are normalised by their spread over held-out clips; set data.held_out above 0")
        mean, square = (np.mean([np.asarray(each[part]) for each in sums], axis=0) for part in range(2))
        spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
        return dataclasses.replace(config, latent_mean=mean.tolist(), latent_std=spread.tolist())


def weighted_l1(
    x: Pixels, y: Pixels, moving: Bool[Array, "b height width"] | None, weight: float
) -> tuple[Float[Array, ""], Metrics]:
    """The first part of (1); and to log, the mean error of all pixels, and of those that move.

    Args:
        x: pixels, -1..1.
        y: pixels.
        moving: where anything may move; None: not known, and all count the same.
        weight: v of steady_jax.train.moving.
    """
    errors = jnp.mean(jnp.abs(x - y), axis=(1, 4))  # of frames and colours
    found = {"l1": jnp.mean(errors)}
    if moving is None:
        return found["l1"], found
    weighted = jnp.mean(moving_weights(moving, weight) * errors)
    return weighted, {**found, "moving_l1": jnp.sum(moving * errors) / jnp.maximum(jnp.sum(moving), 1)}


def changes(error: Pixels, moving: Bool[Array, "b height width"] | None) -> Float[Array, ""]:
    """The last part of (1): the mean distance of an error from its own mean over time, where nothing moves.

    Args:
        error: of pixels.
        moving: where anything may move; None: not known, and all pixels count.
    """
    distances = jnp.mean(jnp.abs(error - jnp.mean(error, axis=1, keepdims=True)), axis=(1, 4))
    if moving is None:
        return jnp.mean(distances)
    return jnp.sum(~moving * distances) / jnp.maximum(jnp.sum(~moving), 1)


def _with_log_variance(vae: WanVAE, value: float) -> WanVAE:
    arrays, channels = parameters.named(vae), vae.config.channels
    bias = arrays[BIAS]
    changed = jax.jit(lambda bias: bias.at[channels:].set(value), out_shardings=bias.sharding)(bias)
    return parameters.filled(vae, {**arrays, BIAS: changed})


def _loss(key, settings: VAESettings, vae: WanVAE, clips: Batch, ids: Int[Array, "3"]) -> tuple[Array, Metrics]:
    x, vae = from_uint8(clips["pixels"]), whole(vae)
    mean, log_variance = vae.moments(x)
    if not settings.train_encoder:
        mean, log_variance = jax.lax.stop_gradient((mean, log_variance))
    log_variance = jnp.clip(log_variance, *LOG_VARIANCES)
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key(ids), mean.shape)
    y = vae.decode_at_once(vae.normalised(z))
    kl = jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance) / 2
    l1, errors = weighted_l1(x, y, clips.get(MOVING), settings.moving)
    parts = {
        **errors,
        "gradient_l1": _of_differences(x, y),
        "still_l1": changes(x - y, clips.get(MOVING)),
        "kl": kl,
        "psnr": -10 * jnp.log10(jnp.mean(jnp.square(x - y)) / 4),  # pixels span 2
    }
    loss = l1 + settings.gradient * parts["gradient_l1"] + settings.still * parts["still_l1"] + settings.kl * kl
    return loss, parts


def _of_differences(x: Pixels, y: Pixels) -> Float[Array, ""]:
    """Mean distance of the differences between neighbouring pixels, over rows and over columns."""
    return sum(jnp.mean(jnp.abs(jnp.diff(x - y, axis=axis))) for axis in (2, 3)) / 2


def _gradient(
    loss: Callable[..., tuple[Array, Metrics]], weights: WanVAE, clips: Batch, ids: Int[Array, "3"]
) -> tuple[Mapping[str, WanVAE], Metrics]:
    (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(weights, clips, ids)
    return {VAE: laid_out(gradient)}, {"loss": value, **parts}


def _reconstructed(vae: WanVAE, pixels: UInt8[Array, "b f height width rgb"]) -> UInt8[Array, "b f height both rgb"]:
    vae = whole(vae)
    return jnp.concatenate([pixels, to_uint8(vae.decode(vae.encode(from_uint8(pixels))))], axis=3)


def _sums(vae: WanVAE, pixels: UInt8[Array, "b f height width rgb"]) -> tuple[Float[Array, "c"], Float[Array, "c"]]:
    """Means of the latents and of their squares per channel, before they are normalised."""
    mean, _ = whole(vae).moments(from_uint8(pixels))
    return jnp.mean(mean, axis=(0, 1, 2, 3)), jnp.mean(jnp.square(mean), axis=(0, 1, 2, 3))
