"""Amplitude without unit: z-score, min-max of a record and one scalar, against numpy and by hand."""

import numpy as np
import pytest

from ecgbench.signal.normalize import SPREAD_FLOOR, minmax, scalar, zscore


@pytest.fixture
def signal_mv() -> np.ndarray:
    """Three leads with levels and amplitudes of their own, float32 (lead, time)."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(3, 500)) * [[0.1], [1.0], [4.0]] + [[5.0], [0.0], [-2.0]]).astype(np.float32)


def test_zscore_by_hand() -> None:
    """1, 3 has mean 2 and population deviation 1: -1, 1; each lead by its own numbers."""
    np.testing.assert_array_equal(zscore(np.array([[1.0, 3.0], [10.0, 50.0]])), [[-1, 1], [-1, 1]])


def test_zscore_of_each_lead(signal_mv: np.ndarray) -> None:
    """Numpy's own mean and standard deviation in double precision; the type is single, the input is left alone."""
    before = signal_mv.copy()
    found, exact = zscore(signal_mv), signal_mv.astype(np.float64)
    expected = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(signal_mv, before)


def test_zscore_of_a_small_signal_on_a_large_offset() -> None:
    """10 uV around 300 mV, single precision: the mean is taken in double, so the deviation is still 1."""
    signal_mv = (300 + 0.01 * np.sin(np.arange(20_000) / 7.0)).astype(np.float32)[None]
    found = zscore(signal_mv).astype(np.float64)
    assert abs(found.mean()) < 1e-4
    assert found.std() == pytest.approx(1, abs=1e-4)


def test_a_flat_lead_becomes_zero() -> None:
    """At any level, in both ways of scaling, without a warning and without touching the other lead."""
    signal_mv = np.stack([np.full(100, 0.7), np.linspace(-1, 1, 100)]).astype(np.float32)
    with np.errstate(all="raise"):
        for found in (zscore(signal_mv), minmax(signal_mv, signal_mv)):
            assert (found[0] == 0).all()
            assert found[1].std() > 0.5
    assert (minmax(signal_mv + 0.2, signal_mv)[0] == 0).all()


def test_the_floor_divides_flat_from_faint() -> None:
    """A deviation of twice the floor is stretched to 1, one of half the floor is flat."""
    square = np.tile([1.0, -1.0], 50)
    faint, flat = zscore(np.stack([2 * SPREAD_FLOOR * square, 0.5 * SPREAD_FLOOR * square]))
    np.testing.assert_allclose(faint, square, rtol=1e-6)
    assert (flat == 0).all()


def test_minmax_takes_the_whole_record(signal_mv: np.ndarray) -> None:
    """The record spans -1 to 1 in each lead; a part of it keeps the values that it has in the record."""
    whole = minmax(signal_mv, signal_mv)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.min(1), -1, atol=1e-6)
    np.testing.assert_allclose(whole.max(1), 1, atol=1e-6)
    np.testing.assert_array_equal(minmax(signal_mv[:, 100:200], signal_mv), whole[:, 100:200])


def test_minmax_by_hand() -> None:
    """0 to 4 mV: 1 mV is at -0.5, and 5 mV, of added noise, beyond 1."""
    np.testing.assert_allclose(minmax(np.array([[1.0, 5.0]]), np.array([[0.0, 4.0, 2.0]])), [[-0.5, 1.5]])


def test_scalar_is_the_same_for_all_leads() -> None:
    """(x - 0.5) / 2, whatever the lead; a deviation of zero does not divide by zero."""
    signal_mv = np.array([[0.5, 2.5], [-1.5, 4.5]], dtype=np.float32)
    found = scalar(signal_mv, 0.5, 2.0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0, 1], [-1, 2]])
    assert np.isfinite(scalar(signal_mv, 0.5, 0.0)).all()
