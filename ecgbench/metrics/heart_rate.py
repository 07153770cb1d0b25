"""Whether the leads of a record agree on one heart rate, and whether it is the right one.

`*_bpm` are float arrays (record, lead), NaN where no heart rate was found (`ecgbench.signal.peaks.heart_rate_bpm`);
every result is one number for each record, float64.

Spread measures consistency and not correctness: twelve leads that all show 0 bpm have none. The error measures
correctness. Definitions after Chen et al. 2024 (MCMA).
"""

from typing import Literal, NamedTuple

import numpy as np

Failures = Literal["exclude", "zero"]


class Spread(NamedTuple):
    """How far a record's leads disagree on its heart rate, (record,) each."""

    sd_bpm: np.ndarray
    """Population standard deviation over the leads."""
    cv_pct: np.ndarray
    """The same over the mean, in %; NaN where the mean is 0."""
    range_bpm: np.ndarray
    """Largest minus smallest."""
    n_failed: np.ndarray
    """int64: leads without a heart rate."""


def spread(rate_bpm: np.ndarray, failures: Failures) -> Spread:
    """The spread of heart rates (record, lead) over the leads of each record.

    failures: 'exclude' takes the leads that have a heart rate, and gives NaN where fewer than two have one; 'zero'
    counts a failure as 0 bpm, as the published evaluation does.
    """
    rate, failed = _counted(rate_bpm, failures)
    n = np.isfinite(rate).sum(axis=1)
    enough = n > 1
    total = np.nansum(rate, axis=1)
    mean = np.divide(total, n, out=np.full(len(rate), np.nan), where=enough)
    squares = np.nansum((rate - mean[:, None]) ** 2, axis=1)
    sd = np.sqrt(np.divide(squares, n, out=np.full(len(rate), np.nan), where=enough))
    cv = 100 * np.divide(sd, mean, out=np.full(len(rate), np.nan), where=enough & (mean != 0))
    known = np.isfinite(rate)
    highest = np.where(known, rate, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(known, rate, np.inf).min(axis=1, initial=np.inf)
    span = np.subtract(highest, lowest, out=np.full(len(rate), np.nan), where=enough)
    return Spread(sd, cv, span, failed.sum(axis=1))


def heart_rate_mae_bpm(true_bpm: np.ndarray, pred_bpm: np.ndarray, failures: Failures) -> np.ndarray:
    """Mean over leads of |true - predicted heart rate|, bpm, (record,).

    failures: 'exclude' takes the leads in which both have a heart rate, and gives NaN where no lead has; report
    `n_failed` beside it, as a system that fails on every hard lead has a small error. 'zero' counts a failure as
    0 bpm, as the published evaluation does.
    """
    true, _ = _counted(true_bpm, failures)
    pred, _ = _counted(pred_bpm, failures)
    if true.shape != pred.shape:
        raise ValueError(f"true {true.shape} and predicted {pred.shape} heart rates must have one shape (record, lead)")
    error = np.abs(true - pred)
    n = np.isfinite(error).sum(axis=1)
    return np.divide(np.nansum(error, axis=1), n, out=np.full(len(error), np.nan), where=n > 0)


def _counted(rate_bpm: np.ndarray, failures: Failures) -> tuple[np.ndarray, np.ndarray]:
    """The heart rates as they count, and which are failures."""
    rate = np.asarray(rate_bpm, dtype=np.float64)
    if rate.ndim != 2:
        raise ValueError(f"heart rates {rate.shape} must be (record, lead)")
    if failures not in ("exclude", "zero"):
        raise ValueError(f"failures={failures!r} is unknown; use 'exclude' or 'zero'")
    failed = ~np.isfinite(rate)
    return (np.where(failed, 0.0, rate) if failures == "zero" else np.where(failed, np.nan, rate)), failed
