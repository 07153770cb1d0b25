"""Spread and error of heart rates over leads, with failures left out or counted as 0 bpm; numbers by hand."""

import numpy as np
import pytest

from ecgbench.metrics.heart_rate import heart_rate_mae_bpm, spread

NAN = np.nan


def test_spread_by_hand() -> None:
    """60, 70, 80: mean 70, squares 100, 0, 100; the second record agrees in all leads."""
    got = spread(np.array([[60.0, 70, 80], [75, 75, 75]]), "exclude")
    np.testing.assert_allclose(got.sd_bpm, [np.sqrt(200 / 3), 0])
    np.testing.assert_allclose(got.cv_pct, [100 * np.sqrt(200 / 3) / 70, 0])
    np.testing.assert_array_equal(got.range_bpm, [20, 0])
    np.testing.assert_array_equal(got.n_failed, [0, 0])


def test_spread_is_numpys_population_deviation() -> None:
    rate_bpm = np.random.default_rng(0).uniform(40, 160, (20, 12))
    for failures in ("exclude", "zero"):
        got = spread(rate_bpm, failures)
        np.testing.assert_allclose(got.sd_bpm, rate_bpm.std(axis=1))
        np.testing.assert_allclose(got.cv_pct, 100 * rate_bpm.std(axis=1) / rate_bpm.mean(axis=1))
        np.testing.assert_allclose(got.range_bpm, np.ptp(rate_bpm, axis=1))


def test_failures_are_left_out_and_counted() -> None:
    """Of the four records one has two heart rates left, one a single one, one none."""
    got = spread(np.array([[60.0, NAN, 80], [NAN, 70, NAN], [NAN, NAN, NAN], [60, 70, 80]]), "exclude")
    np.testing.assert_allclose(got.sd_bpm, [10, NAN, NAN, np.sqrt(200 / 3)])
    np.testing.assert_allclose(got.cv_pct, [100 * 10 / 70, NAN, NAN, 100 * np.sqrt(200 / 3) / 70])
    np.testing.assert_array_equal(got.range_bpm, [20, NAN, NAN, 20])
    np.testing.assert_array_equal(got.n_failed, [1, 2, 3, 0])


def test_failures_as_0_bpm() -> None:
    """60, 0, 60: mean 40, squares 400, 1600, 400; all leads failed: no spread, and no mean to divide by."""
    got = spread(np.array([[60.0, NAN, 60], [NAN, NAN, NAN]]), "zero")
    np.testing.assert_allclose(got.sd_bpm, [np.sqrt(800), 0])
    np.testing.assert_allclose(got.cv_pct, [100 * np.sqrt(800) / 40, NAN])
    np.testing.assert_array_equal(got.range_bpm, [60, 0])
    np.testing.assert_array_equal(got.n_failed, [1, 3])


def test_error_by_hand() -> None:
    """|60 - 63|, |70 - 65|, then pairs of which one or both failed."""
    true = np.array([[60.0, 70], [60, 70], [NAN, 70], [NAN, NAN]])
    pred = np.array([[63.0, 65], [NAN, 65], [63, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(heart_rate_mae_bpm(true, pred, "exclude"), [4, 5, NAN, NAN])
    np.testing.assert_array_equal(heart_rate_mae_bpm(true, pred, "zero"), [4, 32.5, 66.5, 0])


def test_an_infinite_rate_is_a_failure() -> None:
    got = spread(np.array([[60.0, np.inf, 80]]), "exclude")
    assert (got.sd_bpm[0], got.n_failed[0]) == (10, 1)
    assert heart_rate_mae_bpm(np.array([[60.0]]), np.array([[np.inf]]), "zero").tolist() == [60]


def test_no_record_gives_no_number() -> None:
    """And no warning: a split may be empty after flat records are left out."""
    got = spread(np.zeros((0, 12)), "exclude")
    assert [len(part) for part in got] == [0, 0, 0, 0]
    assert len(heart_rate_mae_bpm(np.zeros((0, 12)), np.zeros((0, 12)), "zero")) == 0


def test_the_input_is_left_alone() -> None:
    rate_bpm = np.array([[60.0, NAN]])
    spread(rate_bpm, "zero"), heart_rate_mae_bpm(rate_bpm, rate_bpm, "zero")
    np.testing.assert_array_equal(rate_bpm, [[60, NAN]])


def test_wrong_shapes_and_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) must be \(record, lead\)"):
        spread(np.zeros(3), "exclude")
    with pytest.raises(ValueError, match="failures='drop' is unknown; use 'exclude' or 'zero'"):
        spread(np.zeros((1, 3)), "drop")
    with pytest.raises(ValueError, match="must have one shape"):
        heart_rate_mae_bpm(np.zeros((1, 3)), np.zeros((1, 2)), "zero")
