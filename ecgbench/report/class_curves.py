"""Curves and counts behind the pictures of a classification run: numbers only, nothing is drawn here.

Throughout, `label` is 0/1 and `score` a probability, both (record,) or (record, class); `decided` is 0/1 as `label`.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRID = np.linspace(0.0, 1.0, 501)
"""Recall, or false-positive rate, at which curves of several classes are averaged."""
MOST_POINTS = 800
"""A drawn curve has at most about this many points."""


class ClassScores(NamedTuple):
    """One system's scores of the records of one condition."""

    classes: tuple[str, ...]
    label: NDArray[np.bool_]
    score: Floats
    decided: NDArray[np.bool_]

    @property
    def n_positive(self) -> NDArray[np.int64]:
        """Test records that have each class, (class,)."""
        return self.label.sum(0)


class Curve(NamedTuple):
    """Points of a curve from its strictest threshold to its laxest."""

    x: Floats
    y: Floats


class Reliability(NamedTuple):
    """Equal-width bins of the predicted probability: mean prediction, observed share and number of pairs of each."""

    edges: Floats
    predicted: Floats
    observed: Floats
    n: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the bins' |observed - predicted|, weighted by their share of the pairs."""
        filled = self.n > 0
        gap = np.abs(self.observed[filled] - self.predicted[filled])
        return float((gap * self.n[filled]).sum() / self.n.sum()) if self.n.sum() else float("nan")


def class_scores(scores: pd.DataFrame, classes: tuple[str, ...], system: str, condition: str) -> ClassScores:
    """The labels, probabilities and decisions of one system under one condition; a non-finite score counts as 0."""
    rows = scores.loc[(scores["system"] == system) & (scores["condition"] == condition)]
    label, score, decided = (
        rows[[f"{part}/{name}" for name in classes]].to_numpy() for part in ("label", "score", "decision")
    )
    finite = np.nan_to_num(score.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return ClassScores(classes, label.astype(bool), finite, decided.astype(bool))


def _counts(label: np.ndarray, score: np.ndarray) -> tuple[Floats, Floats]:
    """True and false positives at every distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    true = np.cumsum(label[order].astype(np.float64))[last_of_tie]
    total = np.flatnonzero(last_of_tie) + 1.0
    return true, total - true


def roc_curve(label: np.ndarray, score: np.ndarray) -> Curve | None:
    """Sensitivity (y) over false-positive rate (x); None without positives or without negatives."""
    true, false = _counts(label, score)
    if not len(true) or true[-1] == 0 or false[-1] == 0:
        return None
    return Curve(np.concatenate(([0.0], false / false[-1])), np.concatenate(([0.0], true / true[-1])))


def pr_curve(label: np.ndarray, score: np.ndarray) -> Curve | None:
    """Precision (y) over recall (x), to be drawn as steps whose area is the average precision; None without positives.

    Between two thresholds the curve has the precision of the laxer one (scikit-learn's average_precision_score).
    """
    true, false = _counts(label, score)
    if not len(true) or true[-1] == 0:
        return None
    precision = true / (true + false)
    return Curve(np.concatenate(([0.0], true / true[-1])), np.concatenate((precision[:1], precision)))


def macro_roc(label: np.ndarray, score: np.ndarray) -> Curve | None:
    """Mean over classes of the sensitivity at each false-positive rate; classes without a curve are left out."""
    curves = [c for k in range(label.shape[1]) if (c := roc_curve(label[:, k], score[:, k]))]
    if not curves:
        return None
    return Curve(GRID, np.mean([np.interp(GRID, c.x, c.y) for c in curves], axis=0))


def macro_pr(label: np.ndarray, score: np.ndarray) -> Curve | None:
    """Mean over classes of the precision at each recall; classes without positives are left out."""
    curves = [c for k in range(label.shape[1]) if (c := pr_curve(label[:, k], score[:, k]))]
    if not curves:
        return None
    return Curve(GRID, np.mean([c.y[np.searchsorted(c.x, GRID - 1e-12)] for c in curves], axis=0))


def thinned(curve: Curve) -> Curve:
    """The curve with at most about MOST_POINTS of its points, both ends among them."""
    if len(curve.x) <= MOST_POINTS:
        return curve
    kept = np.unique(np.linspace(0, len(curve.x) - 1, MOST_POINTS).round().astype(int))
    return Curve(curve.x[kept], curve.y[kept])


def co_occurrence(label: np.ndarray) -> Floats:
    """Share of the records with class j (row) that also have class k (column); NaN in the row of an absent class."""
    together = label.T.astype(np.float64) @ label
    return _row_shares(together, label.sum(0))


def confusion(label: np.ndarray, decided: np.ndarray) -> Floats:
    """Multilabel confusion, (class + 1, class + 1), each row divided by its number of records.

    Row j holds the records that have class j: on the diagonal the share decided j (sensitivity), in column k the share
    decided k although they do not have it, in the last column the share decided nothing. The last row holds the
    records without any class. NaN in a row without records.
    """
    label, decided = label.astype(np.float64), decided.astype(np.float64)
    rows = np.column_stack([label, label.sum(1) == 0])
    wrong = np.column_stack([decided * (1 - label), decided.sum(1) == 0])
    counts = rows.T @ wrong
    diagonal = np.arange(label.shape[1])
    counts[diagonal, diagonal] = (label * decided).sum(0)
    return _row_shares(counts, rows.sum(0))


def _row_shares(counts: np.ndarray, n_records: np.ndarray) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n_records[:, None] > 0, counts / n_records[:, None], np.nan)


def reliability(label: np.ndarray, score: np.ndarray, n_bins: int = 10) -> Reliability:
    """Bins over all (record, class) pairs; a bin without a pair has NaN for its two means."""
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    place = np.clip(np.digitize(score.ravel(), edges[1:-1], right=False), 0, n_bins - 1)
    n = np.bincount(place, minlength=n_bins)
    sums = [np.bincount(place, weights=v.ravel().astype(np.float64), minlength=n_bins) for v in (score, label)]
    with np.errstate(invalid="ignore"):
        predicted, observed = (total / n for total in sums)
    return Reliability(edges, predicted, observed, n)


def class_calibration_error(label: np.ndarray, score: np.ndarray, n_bins: int = 10) -> float:
    """Mean over classes of the expected calibration error; NaN without a class or record."""
    errors = [reliability(label[:, k], score[:, k], n_bins).error for k in range(label.shape[1])]
    return float(np.mean(errors)) if errors else float("nan")
