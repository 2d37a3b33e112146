"""The DMD stage, by the weights that its steps leave: against plain differentiation of everything at once."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import CHANNELS, COLUMNS, DIT, ROWS, TOKENIZER, arrays, close, embeddings, network, setup, subtracted

from steady_jax import block, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.rollout import block_noise
from steady_jax.train import scores, self_rollout
from steady_jax.train.rewards import HostReward
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stages.base import ids_of
from steady_jax.train.stages.dmd import CRITIC, DMD, GENERATOR, OF_CRITIC, OF_GENERATOR, DMDSettings

FRAMES, COUNTED = 2, 2  # latent frames of a block, blocks of the clip
NEGATIVE = "blurred"
SETTINGS = DMDSettings(guidance=3.0, shift=5.0, generator_every=2, beta=2.0)
# frames leave the window for the average within the rollout
POLICY = Steady(window=3, sink=1, anchor=False, flush=False, scene_flush=False, flush_keep=2)
# far enough apart, whatever the noise, that weights by them differ
REWARD = HostReward(lambda frames: frames.astype(np.float64).mean((1, 2, 3, 4)) / 64, "brightness")


def rollout(blocks):
    return RolloutSettings(BlockSettings(POLICY, FewSteps((1000, 500)), FRAMES), blocks, COUNTED, ROWS, COLUMNS)


def make(blocks, reward=None):
    """A stage, a function that gives a fresh copy of its state, and the networks that do not learn."""
    frozen = {"teacher": network("dit", 2), "text_encoder": network("text_encoder", 3), "vae": network("vae", 4)}
    learners = {GENERATOR: network("dit", 0), CRITIC: network("dit", 1)}
    stage = DMD(setup(learners, frozen), SETTINGS, rollout(blocks), negative_prompt=NEGATIVE, reward=reward)
    first = stage.start()
    return types.SimpleNamespace(stage=stage, state=lambda: jax.tree.map(jnp.copy, first), frozen=stage.frozen)


@pytest.fixture(scope="module")
def plain():
    """The rollout is the clip."""
    return make(COUNTED)


@pytest.fixture(scope="module")
def longer():
    """One block before the clip, and rewards."""
    return make(COUNTED + 1, REWARD)


def step(made, *prompts, number=0, state=None):
    """One step from the first state; gradients of both networks by path, the metrics, and the state after it."""
    state = state or made.state()
    before = {name: arrays(trained.weights) for name, trained in state.networks.items()}
    state, metrics = made.stage.train_step(number, state, {"embeddings": embeddings(*prompts)})
    after = {name: arrays(trained.weights) for name, trained in state.networks.items()}
    taken = {name: subtracted(before[name], after[name]) for name in before}
    return taken, {name: float(value) for name, value in metrics.items()}, state


def rolled_out(generator, settings, text, seeds, exit_call):
    """A rollout block by block; the exit call of each block has a gradient, nothing else has."""
    noise = block_noise(seeds, settings.calls, (FRAMES, ROWS, COLUMNS, CHANNELS))
    stop, prompt = jax.lax.stop_gradient, generator.encode_prompt(text)
    frozen, cut_off = stop(generator), stop(prompt)
    memory, made = block.empty_memory(generator, settings.block, len(seeds), ROWS, COLUMNS), []
    for index in range(settings.blocks):
        memory, view = block.open_block(settings.block, DIT, memory, ROWS, COLUMNS)
        xt = block.denoise(frozen, settings.block, memory, view, cut_off, noise(jnp.int32(index)), exit_call)
        made.append(block.predict_x0(generator, settings.block, memory, view, prompt, stop(xt), exit_call))
        memory = block.refresh(frozen, settings.block, memory, view, cut_off, stop(made[-1]))
    return jnp.concatenate(made, axis=1)


def clip_of(latents, settings, vae):
    """The clip that is judged; the first latent frame of one in the middle is encoded from a decode of everything."""
    clip = latents[:, -COUNTED * FRAMES :]
    if settings.blocks == COUNTED:
        return clip
    pixels = vae.decode(latents[:, : latents.shape[1] - clip.shape[1] + 1])
    first, _ = vae.encode_first(jnp.clip(pixels[:, -1], -1, 1))
    return jnp.concatenate([jax.lax.stop_gradient(first)[:, None], clip[:, 1:]], axis=1)


def x0_of(dit, xt, by, text):
    timesteps = jnp.broadcast_to(by.timesteps[:, None], xt.shape[:2])
    return xt - by.sigma_noise[:, None, None, None, None] * dit(xt, timesteps, dit.encode_prompt(text))


def naive_loss(generator, settings, critic, teacher, vae, text, negative, seeds, by_key, exit_call, rewards):
    """All of a generator step in one function of its weights."""
    clip = clip_of(rolled_out(generator, settings, text, seeds, exit_call), settings, vae)
    by = scores.draw_noising(by_key, clip, SETTINGS.shift)
    sigma = by.sigma_noise[:, None, None, None, None]
    xt = jax.lax.stop_gradient((1 - sigma) * clip + sigma * by.noise)
    conditional, unconditional = x0_of(teacher, xt, by, text), x0_of(teacher, xt, by, negative)
    real = conditional + SETTINGS.guidance * (conditional - unconditional)
    distance = jnp.abs(clip - real).mean((1, 2, 3, 4), keepdims=True)
    gradient = (x0_of(critic, xt, by, text) - real) / distance
    squares = (clip - jax.lax.stop_gradient(clip - gradient)) ** 2 / 2
    if settings.blocks > COUNTED:
        squares = squares[:, FRAMES:]
    return jnp.mean(squares.mean((1, 2, 3, 4)) * jnp.exp(SETTINGS.beta * rewards))


def draws(made, stream, number=0, items=2):
    """Seeds of the items' noise, and the key of the scores' noise."""
    key = made.stage.key(ids_of(number, stream, 0))
    return jax.random.bits(jax.random.fold_in(key, 0), (items,)), jax.random.fold_in(key, 1)


def expected_gradient(made, text):
    """That of the generator, for each call that may be the exit."""
    settings, state = made.stage.rollout, made.state()
    generator, critic = (state.networks[name].weights for name in (GENERATOR, CRITIC))
    ids, mask = TOKENIZER.encode([NEGATIVE] * len(text))
    negative = made.frozen["text_encoder"](ids, mask)
    seeds, by_key = draws(made, OF_GENERATOR, items=len(text))
    teacher, vae = made.frozen["teacher"], made.frozen["vae"]

    @jax.jit
    def found(generator, exit_call, rewards):
        fixed = (settings, critic, teacher, vae, text, negative, seeds, by_key, exit_call, rewards)
        return jax.value_and_grad(naive_loss)(generator, *fixed)

    @jax.jit
    def pixels(exit_call):
        return vae.decode(clip_of(rolled_out(generator, settings, text, seeds, exit_call), settings, vae))

    for exit_call in range(settings.calls):
        rewards = np.zeros(len(text), np.float32)
        if made.stage.rewards is not None:
            shown = np.round((np.clip(np.asarray(pixels(exit_call)), -1, 1) + 1) * 127.5).astype(np.uint8)
            rewards = REWARD(shown)
            assert abs(rewards[0] - rewards[1]) > 1e-3
        yield found(generator, exit_call, rewards)


@pytest.mark.parametrize("name", ["plain", "longer"])
def test_the_generators_gradient_is_that_of_the_whole_loss(name, request):
    made = request.getfixturevalue(name)
    taken, metrics, _ = step(made, 5, 6)
    losses = []
    for loss, gradient in expected_gradient(made, embeddings(5, 6)):
        losses.append(float(loss))
        if abs(losses[-1] - metrics["generator/loss"]) < 1e-4 * losses[-1]:
            close(taken[GENERATOR], arrays(gradient))
    # one exit call holds for all blocks and items: the step is that of exactly one of them
    assert sum(abs(loss - metrics["generator/loss"]) < 1e-4 * loss for loss in losses) == 1, (losses, metrics)


def test_the_critic_learns_what_the_generator_now_makes(plain):
    text = embeddings(5, 6)
    taken, metrics, state = step(plain, 5, 6)
    seeds, by_key = draws(plain, OF_CRITIC)

    def loss_of(critic, clip):
        by = scores.draw_noising(by_key, clip, SETTINGS.shift)
        sigma = by.sigma_noise[:, None, None, None, None]
        xt = (1 - sigma) * clip + sigma * by.noise
        velocity = critic(xt, jnp.broadcast_to(by.timesteps[:, None], xt.shape[:2]), critic.encode_prompt(text))
        return jnp.mean((velocity - (by.noise - clip)) ** 2)

    critic, generator = plain.state().networks[CRITIC].weights, state.networks[GENERATOR].weights
    roll = jax.jit(functools.partial(self_rollout.roll, settings=plain.stage.rollout, embeddings=text, seeds=seeds))
    found = [jax.jit(jax.value_and_grad(loss_of))(critic, roll(generator, exit_call=call).clip) for call in range(2)]
    loss, gradient = min(found, key=lambda one: abs(float(one[0]) - metrics["critic/loss"]))
    np.testing.assert_allclose(metrics["critic/loss"], loss, rtol=1e-4)
    close(taken[CRITIC], arrays(gradient))


def test_the_critic_learns_in_every_step_and_the_generator_in_every_second(plain):
    state, changed = plain.state(), []
    for number in range(3):
        taken, metrics, state = step(plain, 5, 6, number=number, state=state)
        changed.append({name: any(array.any() for array in taken[name].values()) for name in (GENERATOR, CRITIC)})
        assert ("generator/loss" in metrics) == (number % 2 == 0)
        assert int(state.step) == number + 1
    assert [one[GENERATOR] for one in changed] == [True, False, True]
    assert all(one[CRITIC] for one in changed)


def test_items_of_a_batch_do_not_see_each_other(longer):
    """A gradient is a sum over items, so swapping items between two batches leaves the sum of both as it is."""
    both = [step(longer, *prompts)[0][GENERATOR] for prompts in ((5, 6), (7, 8))]
    swapped = [step(longer, *prompts)[0][GENERATOR] for prompts in ((5, 8), (7, 6))]
    close(*({path: one[path] + other[path] for path in one} for one, other in (both, swapped)))
    assert any(np.abs(both[0][path] - swapped[0][path]).max() > 1e-5 for path in both[0])


def test_every_call_is_the_exit_of_some_steps_and_seeds_decide_which(plain):
    drawn = [int(plain.stage._exit_call(number, OF_GENERATOR)) for number in range(200)]
    assert 70 < sum(drawn) < 130
    assert set(drawn) == {0, 1}
    assert drawn != [int(plain.stage._exit_call(number, OF_CRITIC)) for number in range(200)]


def test_rewards_and_longer_rollouts_need_a_vae():
    made = setup({GENERATOR: network("dit"), CRITIC: network("dit")}, {"teacher": network("dit")})
    for blocks, reward in ((COUNTED, REWARD), (COUNTED + 1, None)):
        with pytest.raises(ValueError, match=r"need a VAE; name its folder with config\.vae"):
            DMD(made, SETTINGS, rollout(blocks), negative_prompt="", reward=reward)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"generator_every": 0}, "generator_every must be at least 1 step, got 0"),
        ({"guidance": -1.0}, r"guidance must not be negative, shift positive, got -1\.0 and 5\.0"),
        ({"shift": 0.0}, "shift positive, got"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        DMDSettings(**wrong)


def test_samples_are_rollouts_of_the_generator(plain):
    frozen = {"text_encoder": network("text_encoder", 3), "vae": network("vae", 4), "teacher": network("dit", 2)}
    learners = {GENERATOR: network("dit", 0), CRITIC: network("dit", 1)}
    told = {"negative_prompt": NEGATIVE, "sample_prompts": ("Rain!", "a calm sea")}
    stage = DMD(setup(learners, frozen), SETTINGS, rollout(COUNTED), **told)
    clips = stage.samples(plain.state())
    assert list(clips) == ["0-rain", "1-a-calm-sea"]
    assert clips["0-rain"].shape == (1 + 2 * (COUNTED * FRAMES - 1), 4 * ROWS, 4 * COLUMNS, 3)
    assert parameters.named(plain.state().networks)
