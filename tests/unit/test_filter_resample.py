"""Band-pass and changes of rate, against sines whose fate is known and against scipy used directly."""

import numpy as np
import pytest
from scipy.signal import butter, filtfilt, sosfiltfilt

from ecgbench.signal.filter import ShortSignalError, bandpass_filtfilt, bandpass_fir
from ecgbench.signal.resample import decimate_antialiased, decimate_stride, resample_rate

FS_HZ = 500.0


def sine(frequency_hz: float, fs_hz: float = FS_HZ, duration_s: float = 10.0) -> np.ndarray:
    """One lead of a 1 mV sine, (1, time)."""
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * fs_hz)) / fs_hz)[None]


def rms(x: np.ndarray) -> float:
    """Root mean square of the inner 60 %, away from the edges."""
    n = x.shape[-1]
    return float(np.sqrt(np.mean(np.square(x[..., n // 5 : -n // 5]))))


def test_bandpass_is_the_published_filter() -> None:
    """MSECG's: butter(2, [1, 45]) as (b, a), filtfilt with default padding, per lead, stored as float32."""
    x = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    filtered = bandpass_filtfilt(x, FS_HZ, 1.0, 45.0, 2)
    b, a = butter(2, [1 / 250, 45 / 250], "band")
    expected = np.stack([filtfilt(b, a, lead.astype(float)) for lead in x])
    assert filtered.dtype == np.float32
    np.testing.assert_allclose(filtered, expected, rtol=0, atol=1e-6)


def test_transfer_function_form_is_accurate_enough() -> None:
    """Second-order sections, the numerically safe form, agree where the padding does not differ."""
    x = np.random.default_rng(1).normal(size=(1, 5000))
    sections = sosfiltfilt(butter(2, [1, 45], "bandpass", fs=500, output="sos"), x, padlen=15)
    np.testing.assert_allclose(bandpass_filtfilt(x, FS_HZ, 1.0, 45.0, 2), sections, atol=1e-6)


@pytest.mark.parametrize(
    ("frequency_hz", "gain"),
    [(1.0, 0.5), (45.0, 0.5), (8.0, 1.0)],  # the edges are at -3 dB, twice
)
def test_bandpass_gain(frequency_hz: float, gain: float) -> None:
    x = sine(frequency_hz, duration_s=20)
    assert rms(bandpass_filtfilt(x, FS_HZ, 1.0, 45.0, 2)) / rms(x) == pytest.approx(gain, rel=5e-3)


def test_bandpass_removes_an_offset() -> None:
    """Up to what the transfer-function form rounds: 1e-7 of it."""
    assert np.abs(bandpass_filtfilt(np.full((1, 5000), 100.0), FS_HZ, 1.0, 45.0, 2)).max() < 1e-4


def test_bandpass_refuses_short_signals_and_impossible_bands() -> None:
    with pytest.raises(ShortSignalError, match=r"15 samples are too few .* more than 15"):
        bandpass_filtfilt(np.zeros((1, 15)), FS_HZ, 1.0, 45.0, 2)
    assert bandpass_filtfilt(np.zeros((1, 16)), FS_HZ, 1.0, 45.0, 2).shape == (1, 16)
    with pytest.raises(ValueError, match="1-60 Hz at 100 Hz needs 0 < low < high < 50 Hz"):
        bandpass_filtfilt(np.zeros((1, 500)), 100.0, 1.0, 60.0, 2)


def windowed_sinc(order: int, low_hz: float, high_hz: float, fs_hz: float) -> np.ndarray:
    """The ideal band-pass's impulse response under a Hamming window, with gain 1 in the middle of the band."""
    t = (np.arange(order + 1) - order / 2) / fs_hz
    ideal = 2 * high_hz * np.sinc(2 * high_hz * t) - 2 * low_hz * np.sinc(2 * low_hz * t)
    taps = ideal * (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(order + 1) / order))
    return taps / np.abs(np.sum(taps * np.exp(-1j * np.pi * (low_hz + high_hz) * t)))


@pytest.mark.parametrize("order", [150, 151])
def test_fir_bandpass_is_the_windowed_sinc_applied_forwards_and_backwards(order: int) -> None:
    """Prna's 3-45 Hz of order 0.3 fs at 500 Hz, by convolution away from the edges; an even number of taps as well."""
    x = np.random.default_rng(2).normal(size=(12, 5000)).astype(np.float32)
    filtered = bandpass_fir(x, FS_HZ, 3.0, 45.0, order)
    taps = windowed_sinc(order, 3.0, 45.0, FS_HZ)
    twice = np.convolve(taps, taps[::-1])
    expected = np.stack([np.convolve(lead, twice, mode="same") for lead in x.astype(float)])
    assert (filtered.shape, filtered.dtype) == (x.shape, np.float32)
    np.testing.assert_allclose(filtered[:, 400:-400], expected[:, 400:-400], rtol=0, atol=1e-6)


def test_fir_bandpass_moves_no_wave() -> None:
    """A beat of 30 ms at 5 s keeps its place, and a record backwards is filtered backwards."""
    beat = np.exp(-np.square((np.arange(5000) - 2500) / 15))[None]
    filtered = bandpass_fir(beat, FS_HZ, 3.0, 45.0, 150)
    assert filtered.argmax() == 2500
    x = np.random.default_rng(3).normal(size=(2, 2000))
    np.testing.assert_allclose(
        bandpass_fir(x[:, ::-1], FS_HZ, 3.0, 45.0, 150), bandpass_fir(x, FS_HZ, 3.0, 45.0, 150)[:, ::-1], atol=1e-6
    )


@pytest.mark.parametrize(("frequency_hz", "gain"), [(20.0, 1.0), (45.0, 0.25), (100.0, 0.0)])
def test_fir_bandpass_gain(frequency_hz: float, gain: float) -> None:
    """One in the middle, one half per pass at the edge, nothing beyond."""
    x = sine(frequency_hz, duration_s=20)
    assert rms(bandpass_fir(x, FS_HZ, 3.0, 45.0, 150)) / rms(x) == pytest.approx(gain, abs=0.02)


def test_fir_bandpass_refuses_short_signals_and_impossible_bands() -> None:
    """In the words of the other band-pass."""
    with pytest.raises(ShortSignalError, match=r"453 samples are too few .* order 150, which needs more than 453"):
        bandpass_fir(np.zeros((1, 453)), FS_HZ, 3.0, 45.0, 150)
    assert bandpass_fir(np.zeros((1, 454)), FS_HZ, 3.0, 45.0, 150).shape == (1, 454)
    with pytest.raises(ValueError, match="3-60 Hz at 100 Hz needs 0 < low < high < 50 Hz"):
        bandpass_fir(np.zeros((1, 500)), 100.0, 3.0, 60.0, 30)


def test_stride_folds_what_lies_above_the_new_nyquist_frequency() -> None:
    """30 Hz sampled at 50 Hz is 20 Hz upside down."""
    np.testing.assert_allclose(decimate_stride(sine(30.0), 10), -sine(20.0, fs_hz=50.0), atol=1e-9)


@pytest.mark.parametrize("frequency_hz", [25.5, 30.0, 45.0, 249.0])
def test_antialiased_decimation_lets_nothing_above_the_new_nyquist_frequency_through(frequency_hz: float) -> None:
    assert np.abs(decimate_antialiased(sine(frequency_hz), 10)).max() < 1e-9


@pytest.mark.parametrize("frequency_hz", [0.5, 10.0, 24.5])
def test_antialiased_decimation_keeps_what_lies_below(frequency_hz: float) -> None:
    """On the same instants as the stride: sample k is sample 10 k."""
    np.testing.assert_allclose(decimate_antialiased(sine(frequency_hz), 10), sine(frequency_hz, fs_hz=50.0), atol=1e-9)


def test_antialiased_decimation_works_on_batches_in_float32() -> None:
    x = np.stack([sine(10.0), sine(30.0)]).astype(np.float32)
    low = decimate_antialiased(x, 10)
    assert (low.shape, low.dtype) == ((2, 1, 500), np.float32)
    np.testing.assert_allclose(low[0], sine(10.0, fs_hz=50.0), atol=1e-5)
    np.testing.assert_allclose(low[1], 0, atol=1e-5)


def test_antialiased_decimation_refuses_a_length_that_is_no_multiple() -> None:
    with pytest.raises(ValueError, match="5001 samples cannot be decimated by 10"):
        decimate_antialiased(np.zeros((1, 5001)), 10)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(360.0, 500.0), (500.0, 360.0), (360.0, 50.0), (100.0, 500.0)])
def test_resampled_sine_is_the_sine_at_the_other_rate(from_hz: float, to_hz: float) -> None:
    resampled = resample_rate(sine(5.0, from_hz), from_hz, to_hz)
    expected = sine(5.0, to_hz)
    assert resampled.shape == expected.shape
    assert rms(resampled - expected) < 2e-3


def test_resampling_to_a_lower_rate_does_not_alias() -> None:
    """100 Hz cannot be held at 50 Hz."""
    assert rms(resample_rate(sine(100.0, 360.0), 360.0, 50.0)) < 1e-3


def test_resampling_keeps_offset_and_trend_to_the_edges() -> None:
    line = np.linspace(3.0, 5.0, 3600)[None]
    resampled = resample_rate(line, 360.0, 500.0)
    slope = 2.0 / 3599 * 360 / 500
    np.testing.assert_allclose(resampled[0], 3.0 + slope * np.arange(5000), atol=1e-9)


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    x = sine(5.0).astype(np.float32)
    assert resample_rate(x, 500.0, 500.0) is x


def test_resampling_keeps_the_dtype_and_rounds_the_length_up() -> None:
    """1,001 samples at 500 Hz last to sample 200.2 at 100 Hz: 201 samples."""
    resampled = resample_rate(np.zeros((2, 1001), np.float32), 500.0, 100.0)
    assert (resampled.shape, resampled.dtype) == ((2, 201), np.float32)


@pytest.mark.parametrize("to_hz", [0.0, -50.0, 359.99999])
def test_resampling_refuses_rates_without_a_usable_ratio(to_hz: float) -> None:
    with pytest.raises(ValueError, match="cannot resample from 360"):
        resample_rate(np.zeros((1, 360)), 360.0, to_hz)
