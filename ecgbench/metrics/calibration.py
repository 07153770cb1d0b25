"""Whether amplitudes are reproduced or drawn towards their mean."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Calibration(NamedTuple):
    """The line through predicted against true values."""

    slope: float
    """1 for a prediction that follows the truth; 0 for one that is the same for everyone (regression to the mean)."""
    intercept: float
    """In the values' unit: what is predicted where the truth is 0."""
    r2: float
    """Share of the predictions' variance that the truth explains, 0 to 1."""
    n: int
    """Pairs with both values."""


def calibrate(true: ArrayLike, predicted: ArrayLike) -> Calibration:
    """The least-squares line predicted = slope * true + intercept over the pairs with two finite values.

    NaN for fewer than two pairs and for truths that are all equal; r2 is NaN too where the predictions are all equal.
    Raises ValueError for arrays that are not of one length.
    """
    x, y = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"true values {x.shape} and predicted ones {y.shape} must be of one length; give pairs")
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 2 or np.ptp(x) == 0:
        return Calibration(np.nan, np.nan, np.nan, len(x))
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    r2 = float((dx @ dy) ** 2 / ((dx @ dx) * (dy @ dy))) if np.ptp(y) > 0 else np.nan
    return Calibration(slope, float(y.mean() - slope * x.mean()), r2, len(x))
