"""Wide features: the measures of a trace whose beats are set by hand, and that nothing makes them fail."""

import itertools
import math

import numpy as np
import pytest

from ecgbench.signal.wide_features import MEASURES, WIDE_NAMES, measure, multiscale_permutation_entropy, wide_features

WAVES = [(-0.16, 0.020, 0.15), (-0.03, 0.008, -0.1), (0.0, 0.010, 1.0), (0.03, 0.008, -0.2), (0.28, 0.040, 0.3)]
"""P, Q, R, S and T as Gaussians: centre after R in s, width in s, height in mV."""


def trace(r_s: np.ndarray, fs_hz: float = 500.0, duration_s: float = 10.0, waves: list = WAVES) -> np.ndarray:
    """A trace in mV with R waves at `r_s`."""
    time_s = np.arange(round(duration_s * fs_hz)) / fs_hz
    return sum(
        height * np.exp(-((time_s - r - centre) ** 2) / (2 * width**2)) for r in r_s for centre, width, height in waves
    )  # pyright: ignore[reportReturnType]


def measured(signal: np.ndarray, fs_hz: float = 500.0) -> dict[str, float]:
    return dict(zip((m.name for m in MEASURES), measure(signal, fs_hz), strict=True))


REGULAR_S = np.arange(0.5, 9.6, 0.8)
EARLY_S = np.array([0.5, 1.3, 2.1, 2.9, 3.4, 4.5, 5.3, 6.1, 6.9, 7.7, 8.5, 9.3])
"""One beat 0.3 s early, followed by a pause that makes up for it: RR 0.5 s, then 1.1 s, else 0.8 s."""


def test_rhythm_of_a_premature_beat_is_worked_by_hand() -> None:
    """11 intervals: nine of 0.8 s, one of 0.5 s, one of 1.1 s, so steps of -0.3, 0.6 and -0.3 s and seven of zero."""
    found = measured(trace(EARLY_S))
    assert found["hr_max_bpm"] == pytest.approx(60 / 0.5, rel=0.01)
    assert found["hr_min_bpm"] == pytest.approx(60 / 1.1, rel=0.01)
    assert found["hr_mean_bpm"] == pytest.approx(60 / 0.8, rel=0.01)
    assert found["rr_median_s"] == pytest.approx(0.8, abs=0.004)
    assert found["rr_rmssd_s"] == pytest.approx(math.sqrt((0.09 + 0.36 + 0.09) / 10), abs=0.005)
    assert found["rr_std_s"] == pytest.approx(math.sqrt(2 * 0.09 / 10), abs=0.005)
    assert found["rr_range_ratio"] == pytest.approx(0.6 / 0.8, abs=0.01)
    assert found["rr_early_share"] == pytest.approx(1 / 11)


def test_waves_of_a_regular_rhythm_are_those_put_in() -> None:
    """P begins two to three widths before its top; T ends two to three behind its own.

    The cleaning averages 20 ms, of variance 400 / 12 ms^2, which takes R, 10 ms wide, to sqrt(100 / 133).
    """
    found = measured(trace(REGULAR_S))
    assert found["r_amplitude_mv"] == pytest.approx(math.sqrt(100 / (100 + 400 / 12)), abs=0.08)
    assert found["p_amplitude_mv"] == pytest.approx(0.15, abs=0.04)
    assert found["t_amplitude_mv"] == pytest.approx(0.3, abs=0.05)
    assert 0.16 + 2 * 0.02 - 0.05 < found["pr_interval_s"] < 0.16 + 3 * 0.02 - 0.03
    assert 2 * 0.03 < found["qrs_duration_s"] < 2 * (0.03 + 2 * 0.008)
    assert 0.03 + 0.28 + 2 * 0.04 < found["qtc_s"] * np.cbrt(0.8) < 0.05 + 0.28 + 3 * 0.04
    assert found["st_level_mv"] == pytest.approx(0, abs=0.05)
    assert found["p_correlation"] > 0.99
    assert found["qrs_correlation"] > 0.99
    assert found["r_amplitude_std_mv"] < 0.05


@pytest.mark.parametrize(("wave", "name"), [(0, "p_amplitude_mv"), (4, "t_amplitude_mv")])
def test_an_amplitude_follows_its_own_wave(wave: int, name: str) -> None:
    """A wave higher by 0.1 mV is measured higher by 0.1 mV."""
    higher = [(c, w, h + 0.1 * (k == wave)) for k, (c, w, h) in enumerate(WAVES)]
    gain = measured(trace(REGULAR_S, waves=higher))[name] - measured(trace(REGULAR_S))[name]
    assert gain == pytest.approx(0.1, abs=0.02)


def test_a_later_t_wave_makes_the_qt_interval_longer() -> None:
    """By the 20 ms that it is moved, over the cube root of the RR interval."""
    later = [*WAVES[:4], (0.30, 0.040, 0.3)]
    gain = measured(trace(REGULAR_S, waves=later))["qtc_s"] - measured(trace(REGULAR_S))["qtc_s"]
    assert gain == pytest.approx(0.02 / np.cbrt(0.8), abs=0.005)


def test_an_ectopic_shape_lowers_the_qrs_correlation_of_few_and_raises_the_spread_of_r() -> None:
    """Every second R wave at half its height."""
    r_s = REGULAR_S
    found = measured(trace(r_s[::2]) + 0.5 * trace(r_s[1::2]))
    assert found["r_amplitude_std_mv"] == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize("fs_hz", [250.0, 257.0, 1000.0])
def test_measures_do_not_depend_on_the_rate(fs_hz: float) -> None:
    """The same beats recorded at another rate give the same features, to a tenth of the spread between people."""
    at_500 = wide_features(trace(EARLY_S), 500.0)
    np.testing.assert_allclose(wide_features(trace(EARLY_S, fs_hz), fs_hz), at_500, atol=0.3)


def test_fast_beats_with_a_deep_s_wave_are_counted() -> None:
    """177 per minute, where slopes alone do not tell QRS complexes from what lies between them."""
    waves = [(-0.1, 0.03, 0.45), (0.0, 0.012, -0.75), (0.12, 0.04, 0.2)]
    assert measured(trace(np.arange(0.1, 10, 0.339), waves=waves))["hr_mean_bpm"] == pytest.approx(177, rel=0.02)


def naive_entropy(x: np.ndarray) -> float:
    """Permutation entropy of triples by counting sorted orders, over log 6."""
    orders = [tuple(np.argsort(x[i : i + 3], kind="stable")) for i in range(len(x) - 2)]
    shares = [orders.count(p) / len(orders) for p in itertools.permutations(range(3))]
    return -sum(s * math.log(s) for s in shares if s) / math.log(6)


def test_entropy_is_the_mean_over_scales_counted_one_by_one() -> None:
    """Against a loop, with ties, over five scales and a length that none of 2 to 5 divides."""
    x = np.random.default_rng(0).integers(0, 6, (4, 101)).astype(float)
    for row, value in zip(x, multiscale_permutation_entropy(x), strict=True):
        scales = [[np.mean(row[i : i + s]) for i in range(0, 101 - s + 1, s)] for s in range(1, 6)]
        assert value == pytest.approx(np.mean([naive_entropy(np.array(scale)) for scale in scales]), abs=0.02)
    assert multiscale_permutation_entropy(x, 1) == pytest.approx([naive_entropy(row) for row in x])


def test_entropy_of_a_slope_is_zero_and_of_noise_is_one() -> None:
    """One order only, and all six alike."""
    slope, noise = np.arange(4000.0), np.random.default_rng(0).normal(size=4000)
    np.testing.assert_allclose(multiscale_permutation_entropy(np.stack([slope, noise])), [0, 1], atol=0.01)


def test_features_are_scaled_measures_then_age_and_sex() -> None:
    """(value - centre) / scale; 80 years is one spread above 60; male is 1, female -1, unknown 0."""
    signal = trace(EARLY_S)
    features, raw = wide_features(signal, 500.0, 80, True), measure(signal, 500.0)
    assert (features.shape, features.dtype, len(WIDE_NAMES)) == ((22,), np.float32, 22)
    assert WIDE_NAMES[-2:] == ("age_years", "is_male")
    expected = [np.clip((v - m.centre) / m.scale, -5, 5) for v, m in zip(raw, MEASURES, strict=True)]
    np.testing.assert_allclose(features[:20], expected, rtol=1e-6)
    np.testing.assert_array_equal(features[20:], [1, 1])
    np.testing.assert_array_equal(wide_features(signal, 500.0, 40, False)[20:], [-1, -1])
    np.testing.assert_array_equal(wide_features(signal, 500.0)[20:], [0, 0])
    np.testing.assert_array_equal(wide_features(signal, 500.0, math.nan, None)[20:], [0, 0])


FAILING = {
    "flat": np.zeros(5000),
    "constant": np.full(5000, 3.0),
    "missing": np.full(5000, np.nan),
    "empty": np.zeros(0),
    "one sample": np.ones(1),
    "short": np.random.default_rng(0).normal(size=30),
    "one beat": trace(np.array([0.5]), duration_s=1.0),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fs_hz", [500.0, 257.0])
@pytest.mark.parametrize("name", FAILING)
def test_without_two_beats_every_measure_is_missing(name: str, fs_hz: float) -> None:
    """NaN in the measures, 0 in the features, no exception and no warning."""
    assert np.isnan(measure(FAILING[name], fs_hz)).all()
    np.testing.assert_array_equal(wide_features(FAILING[name], fs_hz)[:20], 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("duration_s", [1.0, 2.0, 10.0])
def test_noise_gives_finite_bounded_features(scale: float, duration_s: float) -> None:
    """White noise of any amplitude, with some samples missing and one infinite."""
    x = scale * np.random.default_rng(1).normal(size=round(500 * duration_s))
    x[100:120], x[200] = np.nan, np.inf
    features = wide_features(x, 500.0, 1e9, True)
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 5


def test_beats_without_waves_keep_their_rhythm(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the delineator fails the rhythm is measured and the waves are missing."""
    import neurokit2

    def fail(*_args: object, **_options: object) -> None:
        raise IndexError("as neurokit2 does")

    monkeypatch.setattr(neurokit2, "ecg_delineate", fail)
    found = measured(trace(REGULAR_S))
    assert found["rr_median_s"] == pytest.approx(0.8, abs=0.004)
    assert math.isnan(found["qtc_s"])
    assert math.isnan(found["p_correlation"])
    assert found["qrs_correlation"] > 0.99


def test_input_is_left_alone() -> None:
    """Not even its NaN."""
    x = trace(REGULAR_S)
    x[3] = np.nan
    before = x.copy()
    wide_features(x, 500.0)
    np.testing.assert_array_equal(x, before)
