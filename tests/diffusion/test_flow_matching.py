import jax.numpy as jnp
import numpy as np
import pytest

from steady_jax.diffusion import flow_matching as fm

SHIFTS = (5.0, 8.0)


@pytest.mark.fixtures
@pytest.mark.parametrize("shift", SHIFTS)
def test_published_tables(published, shift):
    numbers, name = published("scheduler"), f"out:shift{shift:.0f}"
    np.testing.assert_allclose(fm.sigma_table(shift), numbers[f"{name}_sigmas"], rtol=1e-6)
    np.testing.assert_allclose(fm.timestep_table(shift), numbers[f"{name}_timesteps"], rtol=1e-6)
    np.testing.assert_allclose(fm.training_weights(shift), numbers[f"{name}_training_weights"], atol=1e-4)
    warped = fm.FewSteps(shift=shift).timesteps
    np.testing.assert_allclose(warped, numbers[f"{name}_warped_denoising_step_list"], rtol=1e-6)
    timesteps = fm.score_timesteps(jnp.arange(1000), shift)
    np.testing.assert_allclose(timesteps, numbers[f"{name}_dmd_timestep_warp_clamp_0_999"], rtol=1e-6)


@pytest.mark.fixtures
@pytest.mark.parametrize("shift", SHIFTS)
def test_published_conversions(published, shift):
    numbers, name = published("scheduler"), f"out:shift{shift:.0f}"
    x0, noise, velocity = (jnp.asarray(numbers[f"in:{key}"]) for key in ("x0", "noise", "flow"))
    sigma = fm.nearest_sigma(jnp.asarray(numbers["in:t"]), shift)[:, None, None, None]
    if f"{name}_timestep_id_at_t" in numbers:
        expected = numbers[f"{name}_sigmas"][numbers[f"{name}_timestep_id_at_t"]]
        np.testing.assert_allclose(sigma[:, 0, 0, 0], expected, rtol=1e-6)
    xt = fm.add_noise(x0, noise, sigma)
    np.testing.assert_allclose(xt, numbers[f"{name}_add_noise"], atol=1e-5)
    np.testing.assert_allclose(fm.x0_from_velocity(xt, velocity, sigma), numbers[f"{name}_x0_from_flow"], atol=1e-5)
    expected = numbers[f"{name}_flow_from_x0"]
    np.testing.assert_allclose(fm.velocity_from_x0(xt, x0, sigma), expected, atol=1e-4 * np.abs(expected).max())


def test_velocity_and_x0_undo_each_other():
    rng = np.random.default_rng(0)
    x0, noise = (jnp.asarray(rng.standard_normal((2, 3)), jnp.float32) for _ in range(2))
    xt = fm.add_noise(x0, noise, jnp.float32(0.3))
    np.testing.assert_allclose(fm.x0_from_velocity(xt, noise - x0, jnp.float32(0.3)), x0, atol=1e-6)
    np.testing.assert_allclose(fm.velocity_from_x0(xt, x0, jnp.float32(0.3)), noise - x0, atol=1e-5)


def test_timestep_zero_has_the_smallest_sigma_of_the_table():
    assert fm.nearest_sigma(jnp.zeros(()), 5.0) == pytest.approx(0.00498, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": ()}, "must fall from call to call, got ()"),
        ({"steps": (250, 500)}, "must fall from call to call"),
        ({"steps": (1200, 500)}, "must lie in 1..1000"),
        ({"steps": (1000, "a")}, "steps must be numbers"),
        ({"shift": float("nan")}, "shift must be positive, got nan"),
        ({"shift": 0.0}, "shift must be positive, got 0.0"),
        ({"context_timestep": -1.0}, "got -1.0"),
    ],
)
def test_steps_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        fm.FewSteps(**settings)
