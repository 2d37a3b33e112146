"""The VAE: reconstruction of clips. Needed for small models; the real ones take Wan's.

    L = mean |x - y| + g * mean |differences of x - differences of y| + k * KL                (1)

x are the pixels, y the decoded sample of the latents' distribution, differences those of neighbours in rows and columns
(they keep edges sharp), KL the divergence from a standard normal distribution, a mean over all numbers.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from steady_jax import parallel
from steady_jax.models.wan_vae import WanVAE
from steady_jax.pixels import from_uint8, to_uint8
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Int, UInt8
from steady_jax.train.export import export
from steady_jax.train.networks import laid_out, whole
from steady_jax.train.stage import Batch, Metrics
from steady_jax.train.stages.base import BaseStage, Setup, best, ids_of
from steady_jax.train.state import TrainState

VAE = "vae"
OF_TRAINING, OF_HELD_OUT = range(2)  # streams of random numbers
LOG_VARIANCES = (-30.0, 20.0)  # kept within, or an exponential overflows early in training

Pixels = Float[Array, "b f height width rgb"]


@dataclasses.dataclass(frozen=True)
class VAESettings:
    """Weights of the loss's parts."""

    gradient: float = 0.5  # g of equation (1)
    kl: float = 2e-4  # k

    def __post_init__(self) -> None:
        if self.gradient < 0 or self.kl < 0:
            raise ValueError(f"weights of a loss must not be negative, got gradient {self.gradient} and kl {self.kl}")


class VAEStage(BaseStage):
    """The stage. Its learner is "vae"; the data have "pixels"."""

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
        self.held_out_batches, self.count = held_out, samples
        loss = functools.partial(_loss, self.key, settings)
        whole = {"results": parallel.replicated(self.mesh)}
        self.programs = {
            "gradient": Program(functools.partial(_gradient, loss), results=({VAE: self.gradient_places(VAE)}, None)),
            "loss": Program(loss, **whole),
            "reconstruct": Program(_reconstructed, **whole),
            "moments": Program(_sums, **whole),
        }

    def train_step(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """See Stage."""

        def gradients_of(piece: int) -> tuple[Mapping[str, WanVAE], Metrics]:
            pixels = self.update.piece(batch, piece)["pixels"]
            return self.programs["gradient"](state.networks[VAE].weights, pixels, ids_of(step, OF_TRAINING, piece))

        state, metrics = self.update(state, step, [VAE], gradients_of)
        return self.update.advance(state), metrics

    def held_out(self, state: TrainState) -> Mapping[str, float]:
        """See Stage. The loss of the averaged weights and its parts, and how near reconstructions come (PSNR, dB)."""
        found = []
        for index, batch in enumerate(self.held_out_batches()):
            loss, parts = self.programs["loss"](best(state, VAE), batch["pixels"], ids_of(0, OF_HELD_OUT, index))
            found.append({"loss": float(loss), **{name: float(value) for name, value in parts.items()}})
        return {name: float(np.mean([each[name] for each in found])) for name in (found[0] if found else {})}

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """See Stage. Clips and their reconstructions side by side."""
        batch = next(iter(self.held_out_batches()), None)
        if batch is None or not self.count:
            return {}
        both = np.asarray(self.programs["reconstruct"](best(state, VAE), batch["pixels"]))
        return {f"{index}-reconstruction": clip for index, clip in enumerate(both[: self.count])}

    def export(self, state: TrainState, folder: Path) -> None:
        """See Stage. Latents are normalised by their mean and deviation over the held-out batches."""
        config, weights = self.setup.learners[VAE].network.config, best(state, VAE)
        sums = [self.programs["moments"](weights, batch["pixels"]) for batch in self.held_out_batches()]
        if not sums:
            raise ValueError("latents are normalised by their spread over held-out clips; set data.held_out above 0")
        mean, square = (np.mean([np.asarray(each[part]) for each in sums], axis=0) for part in range(2))
        spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
        config = dataclasses.replace(config, latent_mean=mean.tolist(), latent_std=spread.tolist())
        export(folder, {"vae": weights}, {"vae": config}, self.setup.copied)


def _loss(
    key, settings: VAESettings, vae: WanVAE, pixels: UInt8[Array, "b f height width rgb"], ids: Int[Array, "3"]
) -> tuple[Float[Array, ""], Metrics]:
    x, vae = from_uint8(pixels), whole(vae)
    mean, log_variance = vae.moments(x)
    log_variance = jnp.clip(log_variance, *LOG_VARIANCES)
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key(ids), mean.shape)
    y = vae.decode_at_once(vae.normalised(z))
    kl = jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance) / 2
    parts = {
        "l1": jnp.mean(jnp.abs(x - y)),
        "gradient_l1": _of_differences(x, y),
        "kl": kl,
        "psnr": -10 * jnp.log10(jnp.mean(jnp.square(x - y)) / 4),  # pixels span 2
    }
    return parts["l1"] + settings.gradient * parts["gradient_l1"] + settings.kl * kl, parts


def _of_differences(x: Pixels, y: Pixels) -> Float[Array, ""]:
    """Mean distance of the differences between neighbouring pixels, over rows and over columns."""
    return sum(jnp.mean(jnp.abs(jnp.diff(x - y, axis=axis))) for axis in (2, 3)) / 2


def _gradient(
    loss: Callable[..., tuple[Array, Metrics]], weights: WanVAE, *rest: Array
) -> tuple[Mapping[str, WanVAE], Metrics]:
    (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(weights, *rest)
    return {VAE: laid_out(gradient)}, {"loss": value, **parts}


def _reconstructed(vae: WanVAE, pixels: UInt8[Array, "b f height width rgb"]) -> UInt8[Array, "b f height both rgb"]:
    vae = whole(vae)
    return jnp.concatenate([pixels, to_uint8(vae.decode(vae.encode(from_uint8(pixels))))], axis=3)


def _sums(vae: WanVAE, pixels: UInt8[Array, "b f height width rgb"]) -> tuple[Float[Array, "c"], Float[Array, "c"]]:
    """Means of the latents and of their squares per channel, before they are normalised."""
    mean, _ = whole(vae).moments(from_uint8(pixels))
    return jnp.mean(mean, axis=(0, 1, 2, 3)), jnp.mean(jnp.square(mean), axis=(0, 1, 2, 3))
