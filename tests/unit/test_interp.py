"""The interpolation baselines against SciPy trace by trace, and against signals whose interpolant is known."""

import numpy as np
import pytest
import scipy.interpolate
import scipy.signal
import torch

from ecgbench.models.interp import METHODS, Interp

TIME, UPSCALE = 30, 10
GRID = np.arange(TIME) * UPSCALE
POSITIONS = np.arange(TIME * UPSCALE)
INSIDE = slice(0, GRID[-1] + 1)
INTERPOLATING = ["linear", "pchip", "cubic", "fft"]

SCIPY = {
    "linear": lambda x: np.interp(POSITIONS, GRID, x),
    "pchip": lambda x: scipy.interpolate.pchip_interpolate(GRID, x, POSITIONS.clip(max=GRID[-1])),
    "cubic": lambda x: scipy.interpolate.make_interp_spline(GRID, x, k=3)(POSITIONS.clip(max=GRID[-1])),
    "fft": lambda x: scipy.signal.resample(x, TIME * UPSCALE),
    "polyphase": lambda x: scipy.signal.resample_poly(x, UPSCALE, 1, padtype="edge"),
}


def upsample(method: str, *traces: np.ndarray) -> np.ndarray:
    """The traces as leads of one record, at the high rate."""
    return Interp(UPSCALE, method)(torch.from_numpy(np.stack(traces))[None]).numpy()[0]


def test_every_method_is_compared() -> None:
    """The table of this file is complete."""
    assert set(SCIPY) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_batch_equals_scipy_on_each_trace(method: str) -> None:
    """Samples at 0, 10, 20, ...; the last one held by the piecewise methods."""
    x = np.random.default_rng(0).standard_normal((3, 2, TIME))
    expected = np.apply_along_axis(SCIPY[method], -1, x)
    np.testing.assert_allclose(Interp(UPSCALE, method)(torch.from_numpy(x)).numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", INTERPOLATING)
def test_given_samples_are_kept_where_they_were_taken(method: str) -> None:
    """Decimating the result gives the input back."""
    x = np.random.default_rng(1).standard_normal(TIME)
    np.testing.assert_allclose(upsample(method, x)[0, ::UPSCALE], x, atol=1e-12)


@pytest.mark.parametrize("method", ["linear", "pchip", "cubic"])
def test_ramp_is_exact_and_then_held(method: str) -> None:
    """2 mV per low-rate sample stays a ramp up to the last sample, constant after it."""
    ramp = upsample(method, 2.0 * np.arange(TIME))[0]
    np.testing.assert_allclose(ramp[INSIDE], 2.0 * POSITIONS[INSIDE] / UPSCALE, atol=1e-12)
    np.testing.assert_allclose(ramp[GRID[-1] :], 2.0 * (TIME - 1), atol=1e-12)


def test_cubic_spline_reproduces_a_cubic() -> None:
    """Not-a-knot ends make a third-degree polynomial exact to the edges, where natural ends would not."""

    def polynomial(t: np.ndarray) -> np.ndarray:
        return 1 - 2 * t + 0.5 * t**2 - 0.01 * t**3

    spline = upsample("cubic", polynomial(np.arange(TIME)))[0]
    np.testing.assert_allclose(spline[INSIDE], polynomial(POSITIONS[INSIDE] / UPSCALE), rtol=1e-11, atol=1e-10)


def test_pchip_does_not_overshoot_a_step() -> None:
    """It stays within the samples, where the cubic spline rings."""
    pchip, cubic = (upsample(method, np.where(np.arange(TIME) < 15, 0.0, 1.0))[0] for method in ("pchip", "cubic"))
    assert pchip.min() >= 0
    assert pchip.max() <= 1
    assert cubic.max() > 1.05


def test_fft_is_exact_for_a_periodic_band_limited_signal() -> None:
    """Whole cycles below the low Nyquist frequency come back as the sampled sinusoids."""

    def tones(t: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * 3 * t / TIME) + 0.5 * np.cos(2 * np.pi * 11 * t / TIME + 0.4)

    np.testing.assert_allclose(upsample("fft", tones(np.arange(TIME)))[0], tones(POSITIONS / UPSCALE), atol=1e-12)


def test_polyphase_keeps_level_and_slow_waves() -> None:
    """A constant stays within 1 % up to the edges, a slow sine within 1 % away from them."""
    level, sine = upsample("polyphase", np.ones(TIME), np.sin(2 * np.pi * np.arange(TIME) / 15))
    middle = slice(100, 200)
    np.testing.assert_allclose(level, 1, atol=0.01)
    np.testing.assert_allclose(sine[middle], np.sin(2 * np.pi * POSITIONS[middle] / 150), atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_of_the_input_is_kept(dtype: torch.dtype) -> None:
    """And nothing asks for a gradient."""
    y = Interp(4, "linear")(torch.zeros(1, 2, 5, dtype=dtype, requires_grad=True))
    assert y.dtype == dtype
    assert not y.requires_grad


def test_unknown_method_is_refused_with_the_choices() -> None:
    """In one sentence that names the key."""
    with pytest.raises(ValueError, match=r"model.method='spline' is not known: choose one of linear, pchip, cubic"):
        Interp(4, "spline")
