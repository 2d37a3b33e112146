"""Trains stages for two steps on a mesh of 8 virtual devices and on one device, and prints what differs as JSON.

JAX_PLATFORMS=cpu python -m check_stages '{"mesh": {"data": 2, "fsdp": 2, "context": 2}, "cut": "all"}' dmd teacher
"""

import json
import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np
from check_mesh import HEIGHT, TINY, WIDTH, piece
from jax.sharding import Mesh

from steady_jax import parallel, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.memory.steady import Steady
from steady_jax.models.umt5 import UMT5Config, UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import VAEConfig, WanVAE
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.feeding import put
from steady_jax.train.networks import Learner, Network
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.rewards import HostReward, MotionReward
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stages.base import BaseStage, Setup, ids_of
from steady_jax.train.stages.dmd import CRITIC, DMD, GENERATOR, DMDSettings
from steady_jax.train.stages.ode_init import ODEInit
from steady_jax.train.stages.teacher import DIT, TEXT_ENCODER, Teacher, TeacherSettings
from steady_jax.train.stages.vae import VAE, VAESettings, VAEStage

STEPS, BATCH, FRAMES = 2, 8, 2  # frames of a block
TEXT = UMT5Config(vocabulary=32, width=TINY.text_width, ffn_width=64, heads=4, head_width=8, layers=2, dtype="float32")
PICTURES = VAEConfig(
    width=8, multipliers=(1, 2, 2), res_blocks=1, temporal_downsample=(True, True), patch=2, dtype="float32"
)
# eps far above most gradients: an update is proportional to its gradient, where Adam's would be roundings made large
OPTIMISER = OptimiserSettings(1e-2, b1=0.9, eps=1e-2, average=0.9, average_from=1)


def dit(seed: int) -> Network:
    return Network(WanDiT, TINY, "dit", seed=seed)


def vae(seed: int) -> Network:
    return Network(WanVAE, PICTURES, "vae", seed=seed)


def text_encoder(seed: int) -> Network:
    return Network(UMT5Encoder, TEXT, "text_encoder", seed=seed)


class Letters:
    """A tokenizer: a letter is a token."""

    length, vocabulary = TINY.text_length, TEXT.vocabulary

    def encode(self, prompts, *, allow_empty=False):
        rows = [[ord(letter) % 31 + 1 for letter in prompt] + [1] for prompt in prompts]
        padded = [row + [0] * (self.length - len(row)) for row in rows]
        return np.int32(padded), np.int32(np.array(padded) != 0)

    def overflow(self, prompt):
        return ""


def setup(
    mesh: Mesh, asked: Mapping[str, object], learners: Mapping[str, Network], frozen: Mapping[str, Network]
) -> Setup:
    held = Frozen(frozen, mesh)
    trained = {name: Learner(network, OPTIMISER, STEPS) for name, network in learners.items()}
    how = {"accumulate": asked.get("accumulate", 1), "cut": asked.get("cut", "all")}
    return Setup(mesh, trained, held, Encoders(held, Letters()), BATCH, **how)


def rollout(blocks: int) -> RolloutSettings:
    """The last two blocks count. The window holds less than two of them, so frames leave it for the average."""
    policy = Steady(window=3, sink=1, flush=False, scene_flush=False, flush_keep=2)
    made = BlockSettings(policy, FewSteps((1000, 500)), FRAMES)
    return RolloutSettings(made, blocks, 2, HEIGHT, WIDTH)


def make_dmd(mesh: Mesh, asked: Mapping[str, object]) -> DMD:
    learners = {GENERATOR: dit(0), CRITIC: dit(1)}
    frozen = {"teacher": dit(1), TEXT_ENCODER: text_encoder(2)}
    made = setup(mesh, asked, learners, frozen)
    return DMD(made, DMDSettings(generator_every=STEPS), rollout(2), negative_prompt="blurred")


def make_redmd(mesh: Mesh, asked: Mapping[str, object]) -> DMD:
    """With a rollout that is longer than its clip, and motion or, with "host", brightness as the reward."""
    learners = {GENERATOR: dit(0), CRITIC: dit(1)}
    frozen = {"teacher": dit(1), TEXT_ENCODER: text_encoder(2), "vae": vae(3)}
    of_host = HostReward(lambda frames: frames.mean((1, 2, 3, 4)) / 255, "brightness")
    reward = of_host if asked.get("host") else MotionReward(least=0.01, full=0.5)
    made = setup(mesh, asked, learners, frozen)
    return DMD(made, DMDSettings(generator_every=STEPS), rollout(3), negative_prompt="blurred", reward=reward)


def make_teacher(mesh: Mesh, asked: Mapping[str, object]) -> Teacher:
    made = setup(mesh, asked, {DIT: dit(0), TEXT_ENCODER: text_encoder(1)}, {})
    return Teacher(made, TeacherSettings(ODE(steps=2), dropout=0.3), tokenizer=Letters(), negative_prompt="blurred")


def make_ode_init(mesh: Mesh, asked: Mapping[str, object]) -> ODEInit:
    return ODEInit(setup(mesh, asked, {GENERATOR: dit(0)}, {TEXT_ENCODER: text_encoder(1)}), rollout(2))


def make_vae(mesh: Mesh, asked: Mapping[str, object]) -> VAEStage:
    return VAEStage(setup(mesh, asked, {VAE: vae(0)}, {}), VAESettings(), held_out=tuple)


STAGES: Mapping[str, Callable[[Mesh, Mapping[str, object]], BaseStage]] = {
    "vae": make_vae,
    "teacher": make_teacher,
    "ode_init": make_ode_init,
    "dmd": make_dmd,
    "redmd": make_redmd,
}


def batch_of(name: str, step: int) -> dict[str, np.ndarray]:
    """A batch of a stage's data."""
    random = np.random.default_rng(step)
    ids, mask = Letters().encode(["a calm sea", "rain", "fire at night", "", "hills", "smoke", "fog", "snow"])
    text = {"ids": np.roll(ids, step, 0), "mask": np.roll(mask, step, 0)}
    clip = (2 * FRAMES, HEIGHT, WIDTH, TINY.channels)
    if name == "vae":
        return {"pixels": random.integers(0, 256, (BATCH, 5, 16, 32, 3)).astype(np.uint8)}
    if name == "teacher":
        return {"latents": random.standard_normal((BATCH, *clip)).astype(np.float32), **text}
    if name == "ode_init":
        return {"trajectory": random.standard_normal((BATCH, 3, *clip)).astype(np.float16), **text}
    return text


def train(name: str, mesh: Mesh, asked: Mapping[str, object]):
    """The stage, its state before and after, and the metrics of each step."""
    stage = STAGES[name](mesh, asked)
    with jax.set_mesh(mesh):
        state, told = stage.start(), []
        first = {path: np.asarray(array) for path, array in parameters.named(state).items()}
        for step in range(STEPS):
            state, metrics = stage.train_step(step, state, put(batch_of(name, step), mesh))
            told.append({key: float(value) for key, value in metrics.items()})
    return stage, first, state, told


def report(name: str, asked: Mapping[str, object]) -> dict[str, object]:
    mesh = parallel.make_mesh(asked["mesh"])
    _, first, alone, alone_told = train(name, parallel.make_mesh({}, jax.devices()[:1]), asked)
    stage, _, state, told = train(name, mesh, asked)
    found, expected = parameters.named(state), parameters.named(alone)
    return {
        "metrics": [told, alone_told],
        "differences": differences(found, expected, first),
        "elsewhere": elsewhere(found, stage.abstract()),
        "share": {network: share(trained) for network, trained in state.networks.items()},
        "pieces": pieces(stage, state, mesh) if isinstance(stage, DMD) else {},
    }


def differences(found, expected, first) -> dict[str, float]:
    """Of each array the largest difference, as a share of what training changed in it.

    An array that hardly changes (the bias of keys has no gradient but roundings) counts by a thousandth of the largest
    change of arrays of its kind.
    """
    changed = {path: float(np.abs(np.asarray(array) - first[path]).max()) for path, array in expected.items()}
    largest: dict[str, float] = {}
    for path, change in changed.items():
        largest[kind(path)] = max(change, largest.get(kind(path), 0))
    return {
        path: float(np.abs(np.asarray(found[path]) - np.asarray(array)).max())
        / max(changed[path], 1e-3 * largest[kind(path)])
        for path, array in expected.items()
    }


def kind(path: str) -> str:
    """Weights, averages, or moments of one network."""
    return path.split("/blocks/")[0] if "/blocks/" in path else path.rsplit("/", 2)[0]


def elsewhere(found, abstract) -> list[str]:
    """Arrays of a state that do not lie where it is said."""
    said = parameters.named(abstract)
    return [path for path, x in found.items() if not x.sharding.is_equivalent_to(said[path].sharding, x.ndim)]


def share(trained) -> dict[str, float]:
    """Which part of a network's weights, optimiser state and average one device holds."""

    def of(tree) -> float:
        leaves = jax.tree.leaves(tree)
        return sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)

    return {"weights": of(trained.weights), "optimiser": of(trained.optimiser), "average": of(trained.average)}


def pieces(stage: DMD, state, mesh: Mesh) -> dict[str, tuple[int, ...]]:
    """What one device holds of what travels between the programs of DMD."""
    weights, critic = (state.networks[name].weights for name in (GENERATOR, CRITIC))
    with jax.set_mesh(mesh):
        embeddings = stage.encoders.embeddings(stage.update.piece(put(batch_of("dmd", 0), mesh), 0))
        ids, exit_call = ids_of(0, 0, 0), np.int32(1)
        rolled, clip = stage.programs["roll"](weights, embeddings, ids, exit_call)
        if stage.is_longer:
            clip = stage.programs["continue_clip"](stage.frozen["vae"], rolled)
        of_items = None if stage.rewards is None else stage.rewards(stage.encoders.pixels(clip))
        given = (weights, critic, stage.frozen["teacher"], embeddings, stage.negative)
        gradient, _ = stage.programs["generator"](*given, rolled, clip, ids, exit_call, of_items)
        of_critic, _ = stage.programs["critic"](critic, embeddings, clip, ids)
    return {
        "embeddings": piece(embeddings),
        "memory keys": piece(rolled.memory.k),
        "xt": piece(rolled.xt),
        "clip": piece(clip),
        "gradient": piece(gradient.blocks.self_attn.q.kernel[...]),
        "critic's gradient": piece(of_critic.blocks.self_attn.q.kernel[...]),
        "teacher": piece(stage.frozen["teacher"].blocks.self_attn.q.kernel[...]),
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    settings = json.loads(sys.argv[1])
    print(json.dumps({name: report(name, settings) for name in sys.argv[2:]}))
