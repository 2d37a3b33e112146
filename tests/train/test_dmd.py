"""The DMD stage, by the weights that its steps leave: against plain differentiation of everything at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import (
    CHANNELS,
    COLUMNS,
    DIT,
    ROWS,
    TOKENIZER,
    arrays,
    close,
    copied,
    embeddings,
    held,
    network,
    setup,
    subtracted,
)

from steady_jax import block
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
# of a corner of the last frame, where clips differ enough for their weights to differ
REWARD = HostReward(lambda frames: frames[:, -1, :4, :4].mean((1, 2, 3)) / 32 - 4, "brightness")


def rollout(blocks):
    return RolloutSettings(BlockSettings(POLICY, FewSteps((1000, 500)), FRAMES), blocks, COUNTED, ROWS, COLUMNS)


@pytest.fixture(scope="module")
def learners(model):
    return {GENERATOR: network("dit", model(0)), CRITIC: network("dit", model(1))}


@pytest.fixture(scope="module")
def frozen(model):
    return held(
        {"teacher": network("dit", model(2)), **{name: network(name, model(0)) for name in ("text_encoder", "vae")}}
    )


@pytest.fixture(scope="module")
def plain(learners, frozen):
    """The rollout is the clip."""
    return DMD(setup(learners, frozen), SETTINGS, rollout(COUNTED), negative_prompt=NEGATIVE)


@pytest.fixture(scope="module")
def longer(learners, frozen):
    """One block before the clip, and rewards."""
    return DMD(setup(learners, frozen), SETTINGS, rollout(COUNTED + 1), negative_prompt=NEGATIVE, reward=REWARD)


@pytest.fixture(scope="module")
def begun(plain):
    """The state before the first step; copies of it are used up."""
    return plain.start()


def step(stage, state, *prompts, number=0):
    """One step; gradients of both networks by path, the metrics, and the state after it."""
    before = {name: arrays(trained.weights) for name, trained in state.networks.items()}
    batch = {"embeddings": embeddings(*prompts)}
    state, metrics = stage.train_step(number, copied(state), batch)
    after = {name: arrays(trained.weights) for name, trained in state.networks.items()}
    taken = {name: subtracted(before[name], after[name]) for name in before}
    return taken, {name: float(value) for name, value in metrics.items()}, state


def rolled_out(generator, settings, text, seeds, exit_call):
    """A whole rollout; the exit call of each block has a gradient, nothing else has."""
    noise = block_noise(seeds, settings.calls, (FRAMES, ROWS, COLUMNS, CHANNELS))
    stop, prompt = jax.lax.stop_gradient, generator.encode_prompt(text)
    frozen, cut_off = stop(generator), stop(prompt)

    def one_block(memory, index):
        memory, view = block.open_block(settings.block, DIT, memory, ROWS, COLUMNS)
        xt = block.denoise(frozen, settings.block, memory, view, cut_off, noise(index), exit_call)
        x0 = block.predict_x0(generator, settings.block, memory, view, prompt, stop(xt), exit_call)
        return block.refresh(frozen, settings.block, memory, view, cut_off, stop(x0)), x0

    memory = block.empty_memory(generator, settings.block, len(seeds), ROWS, COLUMNS)
    _, made = jax.lax.scan(one_block, memory, jnp.arange(settings.blocks))
    return self_rollout.joined(made)


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


def naive_loss(settings, clip, critic, teacher, text, negative, by_key, rewards):
    """What teacher and critic say of a clip, in one function."""
    by = scores.draw_noising(by_key, clip, SETTINGS.shift)
    sigma = by.sigma_noise[:, None, None, None, None]
    xt = (1 - sigma) * clip + sigma * by.noise
    conditional, unconditional = x0_of(teacher, xt, by, text), x0_of(teacher, xt, by, negative)
    real = conditional + SETTINGS.guidance * (conditional - unconditional)
    distance = jnp.abs(clip - real).mean((1, 2, 3, 4), keepdims=True)
    gradient = (x0_of(critic, xt, by, text) - real) / distance
    squares = (clip - jax.lax.stop_gradient(clip - gradient)) ** 2 / 2
    if settings.blocks > COUNTED:
        squares = squares[:, FRAMES:]
    return jnp.mean(squares.mean((1, 2, 3, 4)) * jnp.exp(SETTINGS.beta * rewards))


def draws(stage, stream, number=0, items=2):
    """Seeds of the items' noise, and the key of the scores' noise."""
    key = stage.key(jnp.asarray(ids_of(number, stream, 0)))
    return jax.random.bits(jax.random.fold_in(key, 0), (items,)), jax.random.fold_in(key, 1)


def expected(stage, state, text):
    """Loss, rewards and gradient of the generator, for each call that may be the exit."""
    settings, frozen = stage.rollout, stage.frozen
    generator, critic = (state.networks[name].weights for name in (GENERATOR, CRITIC))
    negative = frozen["text_encoder"](*map(jnp.asarray, TOKENIZER.encode([NEGATIVE] * len(text))))
    seeds, by_key = draws(stage, OF_GENERATOR, items=len(text))

    @jax.jit
    def found(generator, exit_call, rewards):
        def loss_of(generator):
            clip = clip_of(rolled_out(generator, settings, text, seeds, exit_call), settings, frozen["vae"])
            return naive_loss(settings, clip, critic, frozen["teacher"], text, negative, by_key, rewards), clip

        return jax.value_and_grad(loss_of, has_aux=True)(generator)

    for exit_call in range(settings.calls):
        rewards = jnp.zeros(len(text))
        if stage.rewards is not None:
            (_, clip), _ = found(generator, exit_call, rewards)
            rewards = jnp.asarray(REWARD(np.asarray(stage.encoders.pixels(clip))))
        (loss, _), gradient = found(generator, exit_call, rewards)
        yield float(loss), rewards, gradient


@pytest.mark.parametrize("name", ["plain", pytest.param("longer", marks=pytest.mark.slow)])
def test_the_generators_gradient_is_that_of_the_whole_loss(name, begun, request):
    stage = request.getfixturevalue(name)
    taken, metrics, _ = step(stage, begun, 5, 6)
    # one exit call holds for all blocks and items: the step is that of exactly one of them
    (loss, rewards, gradient), (far, _, _) = sorted(
        expected(stage, begun, embeddings(5, 6)), key=lambda one: abs(one[0] - metrics["generator/loss"])
    )
    np.testing.assert_allclose(metrics["generator/loss"], loss, rtol=1e-4)
    assert abs(far / loss - 1) > 1e-2
    close(taken[GENERATOR], arrays(gradient))
    if stage.rewards is not None:
        np.testing.assert_allclose(metrics["generator/reward"], rewards.mean(), rtol=1e-4)
        assert abs(rewards[0] - rewards[1]) > 1e-2


def test_the_critic_learns_what_the_generator_now_makes(plain, begun):
    text, ids = embeddings(5, 6), ids_of(0, OF_CRITIC, 0)
    taken, metrics, state = step(plain, begun, 5, 6)
    _, by_key = draws(plain, OF_CRITIC)

    @jax.jit
    def found(critic, clip):
        by = scores.draw_noising(by_key, clip, SETTINGS.shift)

        def loss_of(critic):
            sigma = by.sigma_noise[:, None, None, None, None]
            xt = (1 - sigma) * clip + sigma * by.noise
            velocity = critic(xt, jnp.broadcast_to(by.timesteps[:, None], xt.shape[:2]), critic.encode_prompt(text))
            return jnp.mean((velocity - (by.noise - clip)) ** 2)

        return jax.value_and_grad(loss_of)(critic)

    def of(generator):
        """Loss and gradient for each call that may be the exit."""
        clips = [plain.programs["roll"](generator, text, ids, np.int32(call))[1] for call in range(2)]
        return [found(begun.networks[CRITIC].weights, clip) for clip in clips]

    loss, gradient = min(of(state.networks[GENERATOR].weights), key=lambda one: abs(one[0] - metrics["critic/loss"]))
    np.testing.assert_allclose(metrics["critic/loss"], loss, rtol=1e-4)
    close(taken[CRITIC], arrays(gradient))
    before = [abs(float(loss) - metrics["critic/loss"]) for loss, _ in of(begun.networks[GENERATOR].weights)]
    assert min(before) > 1e-2 * metrics["critic/loss"]  # not what it made before its own step


def test_the_critic_learns_in_every_step_and_the_generator_in_every_second(plain, begun):
    state, changed = begun, []
    for number in range(3):
        taken, metrics, state = step(plain, state, 5, 6, number=number)
        changed.append({name: any(array.any() for array in taken[name].values()) for name in (GENERATOR, CRITIC)})
        assert ("generator/loss" in metrics) == (number % 2 == 0)
        assert int(state.step) == number + 1
    assert [one[GENERATOR] for one in changed] == [True, False, True]
    assert all(one[CRITIC] for one in changed)


def test_items_of_a_batch_do_not_see_each_other(plain, begun):
    """A gradient is a sum over items, so items that change places between two batches leave the sum of both."""
    both = [step(plain, begun, *prompts)[0][GENERATOR] for prompts in ((5, 6), (7, 8))]
    swapped = [step(plain, begun, *prompts)[0][GENERATOR] for prompts in ((5, 8), (7, 6))]
    close(*({path: one[path] + other[path] for path in one} for one, other in (both, swapped)))
    with pytest.raises(AssertionError):
        close(both[0], swapped[0])


def test_every_call_is_the_exit_of_some_steps_and_the_step_decides_which(plain):
    drawn = [int(plain._exit_call(number, OF_GENERATOR)) for number in range(200)]
    assert set(drawn) == {0, 1}
    assert 70 < sum(drawn) < 130
    assert drawn == [int(plain._exit_call(number, OF_GENERATOR)) for number in range(200)]
    assert drawn != [int(plain._exit_call(number, OF_CRITIC)) for number in range(200)]


@pytest.mark.parametrize(("blocks", "reward"), [(COUNTED, REWARD), (COUNTED + 1, None)])
def test_rewards_and_longer_rollouts_need_a_vae(blocks, reward, learners, model):
    made = setup(learners, held({"teacher": network("dit", model(2))}))
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
