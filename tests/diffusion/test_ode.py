import jax.numpy as jnp
import numpy as np
import pytest

from steady_jax.diffusion import ode
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE

CALLS = FewSteps((1000, 750, 500, 250))


def latents(seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((2, 3, 2, 2, 4)), jnp.float32)


NOISE, CLEAN = latents(0), latents(1)


def straight(x, timestep):
    """The velocity of straight ways from NOISE to CLEAN, wherever one stands."""
    del x, timestep
    return NOISE - CLEAN


@pytest.mark.parametrize("steps", [1, 8])
def test_a_straight_way_ends_where_it_should(steps):
    np.testing.assert_allclose(ode.sample(straight, NOISE, ODE(steps)), CLEAN, atol=1e-6)


def test_states_on_a_straight_way_lie_at_their_noise_levels():
    settings = ODE(steps=8, shift=5.0)
    kept = (*settings.kept(CALLS), settings.steps)
    assert kept == (0, 2, 4, 6, 8)
    states = ode.trajectory(straight, NOISE, settings, kept)
    for state, sigma in zip(states, (*CALLS.sigmas, 0.0), strict=True):
        np.testing.assert_allclose(state, (1 - sigma) * CLEAN + sigma * NOISE, atol=1e-6)


def test_steps_of_a_velocity_that_depends_on_place_and_time():
    """By a loop of equation (3)."""
    settings = ODE(steps=5, shift=3.0)
    x = np.asarray(NOISE, np.float64)
    expected = [x]
    for before, after in zip(settings.sigmas[:-1], settings.sigmas[1:], strict=True):
        x = x + (after - before) * (0.5 * x + before)
        expected.append(x)
    found = ode.trajectory(lambda x, timestep: 0.5 * x + timestep / 1000, NOISE, settings, (0, 1, 4, 5))
    np.testing.assert_allclose(found, np.stack([expected[number] for number in (0, 1, 4, 5)]), atol=1e-5)


def test_more_steps_come_nearer():
    """dx/dsigma = x from sigma 1 to 0 shrinks x by e."""
    away = [abs(ode.sample(lambda x, _: x, NOISE, ODE(steps)) - NOISE / np.e).max() for steps in (4, 8, 16)]
    assert away[0] > 1.8 * away[1] > 3.2 * away[2] > 0


def test_noise_levels_are_those_of_the_shifted_schedule():
    np.testing.assert_allclose(ODE(4, shift=5.0).sigmas, [1, 0.9375, 5 / 6, 0.625, 0], rtol=1e-6)
    np.testing.assert_allclose(ODE(48).sigmas[list(ODE(48).kept(CALLS))], CALLS.sigmas, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "calls", "message"),
    [
        (ODE(6), CALLS, r"ode\.steps must be a multiple of what divides them .*, got 6"),
        (ODE(8, shift=3.0), CALLS, r"one shift, got 5\.0 and 3\.0; set ode\.shift to shift"),
    ],
)
def test_levels_that_the_schedule_does_not_have_are_refused(settings, calls, message):
    with pytest.raises(ValueError, match=message):
        settings.kept(calls)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps of the ODE must be at least 1, got 0"),
        ({"shift": 0.0}, "shift must be positive"),
        ({"guidance": -1.0}, "guidance not negative"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        ODE(**wrong)
