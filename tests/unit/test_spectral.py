"""The split of the squared error by frequency against tones, scipy's periodogram and Parseval's theorem."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.signal import periodogram

from ecgbench.metrics.spectral import mse_bands

FS_HZ, CUTOFF_HZ = 500.0, 25.0


def bands(error: np.ndarray, lengths: list[int] | None = None, cutoff_hz: float = CUTOFF_HZ) -> np.ndarray:
    """(band, batch) for a zero truth and the given error (batch, lead, time)."""
    pred = torch.tensor(error)
    mask = torch.arange(error.shape[-1]) < torch.tensor(lengths or [error.shape[-1]] * len(error))[:, None]
    return torch.stack(mse_bands(pred, torch.zeros_like(pred), mask, FS_HZ, cutoff_hz)).numpy()


def tone(frequency_hz: float, amplitude_mv: float, time: int = 1000) -> np.ndarray:
    """A sine as the error of one record with one lead."""
    return amplitude_mv * np.sin(2 * np.pi * frequency_hz * np.arange(time) / FS_HZ + 0.3)[None, None]


@pytest.mark.parametrize(
    ("frequency_hz", "expected"),
    [(0.5, (0.02, 0)), (24.5, (0.02, 0)), (25.0, (0, 0.02)), (25.5, (0, 0.02)), (200.0, (0, 0.02))],
)
def test_a_tone_lands_on_its_side(frequency_hz, expected):
    """A tone of 0.2 mV has a mean square of 0.02 mV^2; at the cutoff itself it counts as above."""
    np.testing.assert_allclose(bands(tone(frequency_hz, 0.2))[:, 0], expected, atol=1e-12)


def test_tones_on_both_sides_are_told_apart():
    """0.4 mV at 10 Hz below, 0.1 mV at 40 Hz above, and an offset of 0.3 mV below."""
    error = tone(10.0, 0.4) + tone(40.0, 0.1) + 0.3
    np.testing.assert_allclose(bands(error)[:, 0], (0.08 + 0.09, 0.005), rtol=1e-12)


def test_the_highest_frequency_counts_once():
    """Alternating +-0.1 mV at an even length is the Nyquist bin: mean square 0.01 mV^2."""
    error = 0.1 * (-1.0) ** np.arange(1000)[None, None]
    np.testing.assert_allclose(bands(error)[:, 0], (0, 0.01), atol=1e-15)


@pytest.mark.parametrize("time", [1, 2, 7, 250, 501, 1000])
def test_equal_to_scipys_periodogram(time):
    """The mean over leads of scipy's boxcar spectrum, summed on either side of the cutoff."""
    error = np.random.default_rng(time).standard_normal((2, 3, time))
    frequency, power = periodogram(error, FS_HZ, detrend=False, scaling="spectrum")
    expected = [power[..., side].sum(-1).mean(1) for side in (frequency < CUTOFF_HZ, frequency >= CUTOFF_HZ)]
    np.testing.assert_allclose(bands(error), expected, rtol=1e-10, atol=1e-14)


def test_the_bands_add_up_to_the_mean_squared_error():
    """For any length and mask, low + high is the mean square of the real samples."""
    error = np.random.default_rng(0).standard_normal((4, 3, 333))
    lengths = [333, 332, 100, 1]
    expected = [np.mean(error[i, :, :n] ** 2) for i, n in enumerate(lengths)]
    np.testing.assert_allclose(bands(error, lengths).sum(0), expected, rtol=1e-12)


def test_padding_changes_neither_band():
    """A record's bands are those of its real samples: no padding widens its transform or reaches it."""
    error = np.random.default_rng(0).standard_normal((2, 3, 400))
    padded = bands(error, [300, 400])
    error[0, :, 300:] = np.nan
    np.testing.assert_array_equal(bands(error, [300, 400]), padded)
    np.testing.assert_allclose(padded[:, :1], bands(error[:1, :, :300]), rtol=1e-12)


def test_the_cutoff_is_exact_on_its_bin():
    """360 Hz, low rate 36 Hz, 1,001 to 1,100 samples: bins fall on the side that exact fractions say."""
    for time in range(1001, 1101):
        error = np.random.default_rng(time).standard_normal((1, 1, time))
        mask = torch.ones(1, time, dtype=torch.bool)
        pred = torch.tensor(error)
        low, _ = mse_bands(pred, torch.zeros_like(pred), mask, 360.0, 18.0)
        power = np.abs(np.fft.rfft(error[0, 0])) ** 2 / time**2
        below = [k for k in range(len(power)) if Fraction(360 * k, time) < 18]
        expected = power[0] + 2 * power[below[1:]].sum()
        assert low.item() == pytest.approx(expected, rel=1e-10)
