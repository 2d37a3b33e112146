"""How near students come to their teacher: samples of all of them on the same prompts, as latents."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from steady_jax import parallel
from steady_jax.diffusion import ode
from steady_jax.diffusion.ode import ODE
from steady_jax.evaluation.energy import bootstrap_interval, energy_distances
from steady_jax.models.wan_dit import WanDiT
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Latents, UInt32
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stages import student
from steady_jax.train.stages.teacher import guided_velocity


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Energy distances of students to the teacher, per prompt."""

    distances: Mapping[str, Float[np.ndarray, "p"]]  # by the student's name
    teacher_to_itself: Float[np.ndarray, "p"]  # two halves of its samples: what no distance is, and how it scatters

    def report(self) -> dict[str, object]:
        """Means with 95 % intervals over prompts, and the first student's lead over each other one."""
        rows = {**self.distances, "teacher against itself": self.teacher_to_itself}
        first, *others = self.distances
        leads = {f"{name} minus {first}": self.distances[name] - self.distances[first] for name in others}
        return {
            name: {"mean": float(values.mean()), "interval": bootstrap_interval(values), "prompts": len(values)}
            for name, values in (rows | leads).items()
        }


class Compare:
    """Draws the samples: `frozen` holds "teacher" and the students by their names."""

    def __init__(
        self,
        frozen: Frozen,
        encoders: Encoders,
        rollout: RolloutSettings,
        settings: ODE,
        students: Sequence[str],
        negative_prompt: str,
        seed: int = 0,
    ) -> None:
        self.frozen, self.encoders, self.students, self.seed = frozen, encoders, tuple(students), seed
        self.negative_prompt = negative_prompt
        self._teacher = Program(
            functools.partial(_of_teacher, settings, rollout), results=parallel.replicated(frozen.mesh)
        )
        self._student = student.sampler(rollout, frozen.mesh)

    def __call__(self, prompts: Sequence[str], each: int, batch: int, say: Callable[[str], None]) -> Comparison:
        """Compares on some prompts.

        Args:
            each: samples per prompt and student; the teacher makes twice as many.
            batch: prompts that are sampled together, a divisor of their number.
            say: is told what is done.
        """
        embeddings = self.encoders.of_prompts(prompts)
        negative = self.encoders.of_prompts([self.negative_prompt])
        pieces = np.split(embeddings, len(prompts) // batch)
        say("sampling the teacher")
        teacher = functools.partial(self._teacher, self.frozen["teacher"], negative)
        of_teacher = self._draw(2 * each, pieces, teacher)
        references, others = of_teacher[:, :each], of_teacher[:, each:]
        distances = {}
        for name in self.students:
            say(f"sampling {name}")
            drawn = self._draw(each, pieces, functools.partial(self._student, self.frozen[name]))
            distances[name] = energy_distances(drawn, references)
            self.frozen.release(name)
        return Comparison(distances, energy_distances(others, references))

    def _draw(
        self, count: int, pieces: Sequence[np.ndarray], sample: Callable[[np.ndarray, np.ndarray], Latents]
    ) -> Float[np.ndarray, "p k d"]:
        """`count` samples per prompt as vectors, each with noise of its own."""

        def of_piece(number: int, index: int) -> Float[np.ndarray, "b d"]:
            embeddings = pieces[number]
            rng = np.random.default_rng([self.seed, index, number])
            seeds = rng.integers(2**32, size=len(embeddings), dtype=np.uint32)
            return np.asarray(sample(embeddings, seeds)).reshape(len(embeddings), -1)

        rounds = [np.concatenate([of_piece(number, index) for number in range(len(pieces))]) for index in range(count)]
        return np.stack(rounds, axis=1)


def _of_teacher(
    settings: ODE,
    rollout: RolloutSettings,
    teacher: WanDiT,
    negative: Float[Array, "1 t e"],
    embeddings: Float[Array, "b t e"],
    seeds: UInt32[Array, "b"],
) -> Latents:
    frames = rollout.counted * rollout.block.frames
    shape = (frames, rollout.height, rollout.width, teacher.config.channels)
    noise = jax.vmap(lambda seed: jax.random.normal(jax.random.fold_in(jax.random.key(seed), 1), shape))(seeds)
    return ode.sample(guided_velocity(teacher, embeddings, negative, settings.guidance), noise, settings)
