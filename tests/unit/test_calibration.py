"""The line through predicted against true amplitudes, held against scipy and lines worked out by hand."""

import numpy as np
import pytest
from scipy.stats import linregress

from ecgbench.metrics.calibration import calibrate


def test_a_noisy_line_is_scipys():
    """Slope, intercept and r2 are those of scipy's regression of prediction on truth, not the other way round."""
    rng = np.random.default_rng(3)
    true = rng.normal(800, 250, 60)
    predicted = 0.4 * true + 300 + rng.normal(0, 80, 60)
    wanted = linregress(true, predicted)
    found = calibrate(true, predicted)
    assert found.n == 60
    assert found[:3] == pytest.approx((wanted.slope, wanted.intercept, wanted.rvalue**2), rel=1e-10)


def test_three_points_by_hand():
    """(0, 1), (1, 1), (2, 4): slope 3/2, intercept 1/2, r2 = 3^2 / (2 * 6) = 3/4."""
    assert calibrate([0, 1, 2], [1, 1, 4]) == pytest.approx((1.5, 0.5, 0.75, 3))


def test_a_pair_without_a_value_is_left_out():
    """NaN or infinite on either side: the pair goes, the others stay as they are."""
    found = calibrate([0, 1, 2, np.nan, 9], [1, 1, 4, 100, np.inf])
    assert found == pytest.approx((1.5, 0.5, 0.75, 3))


def test_the_same_prediction_for_everyone_has_slope_zero():
    """A constant prediction is not explained by anything: slope 0, no r2."""
    found = calibrate([1, 2, 3], [5, 5, 5])
    assert (found.slope, found.intercept) == (0, 5)
    assert np.isnan(found.r2)


@pytest.mark.parametrize("true", [[], [1.0], [2.0, 2.0, 2.0]])
def test_without_two_different_truths_there_is_no_line(true: list[float]):
    """No line through nothing, a point, or points above each other; how many there were is still told."""
    found = calibrate(true, [1.0, 2.0, 3.0][: len(true)])
    assert np.isnan(found[:3]).all()
    assert found.n == len(true)


def test_unequal_lengths_are_refused():
    """Values that are no pairs are a caller's mistake."""
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\).*pairs"):
        calibrate([1, 2], [1, 2, 3])
