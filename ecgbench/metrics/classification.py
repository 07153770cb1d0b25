"""Scores of a multi-label classification over all records of a split, as pure functions of arrays.

y is 0/1 (record, class); scores are probabilities or any other ranking (record, class), of which one that is not
finite counts as 0; decisions are 0/1 (record, class). Every function takes `times`, how often each record counts:
None for once each, (record,), or (resample, record) for all resamples of a bootstrap at once, which puts a resample
axis in front of the result. The definitions are those of the official evaluation of the PhysioNet/CinC Challenges
2020 and 2021 (Perez Alday et al. 2020; Reyna et al. 2021), except for the sample-centric F (Radivojac et al. 2013).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

F_GRID: Floats = np.linspace(0, 1, 101)
"""Thresholds over which the sample-centric F is maximised, as in CAFA (Radivojac et al. 2013)."""


def auroc(y: ArrayLike, scores: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """Area under the ROC curve of each class, (..., class); NaN without a positive or without a negative record.

    The share of pairs of a positive and a negative record in which the positive scores higher; a tie counts half.
    """
    return areas(y, scores, times)[0]


def auprc(y: ArrayLike, scores: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """Average precision of each class, (..., class); NaN without a positive record, 1 without a negative one.

    Sum over distinct scores of the gain in recall times the precision there; nothing is interpolated.
    """
    return areas(y, scores, times)[1]


def areas(y: ArrayLike, scores: ArrayLike, times: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """`auroc` and `auprc` together, for little more than the price of one, (..., class) both."""
    y, scores = as_binary(y, "y"), finite_scores(scores)
    check_same_shape(y, scores, "scores")
    drawn = np.ones((len(y), 1)) if times is None else np.ascontiguousarray(np.atleast_2d(times).T, np.float64)
    both = np.empty((2, drawn.shape[1], y.shape[1]))
    for k in range(y.shape[1]):
        both[:, :, k] = _class_areas(y[:, k], scores[:, k], drawn)
    return (both[0], both[1]) if np.ndim(times) == 2 else (both[0, 0], both[1, 0])


def f1(y: ArrayLike, decisions: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """2 TP / (2 TP + FP + FN) of each class, (..., class); NaN where there is neither a label nor a decision."""
    true_positive, false_positive, false_negative = _counts(y, decisions, times, by_label=False)
    return _ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative)


def f_beta(y: ArrayLike, decisions: ArrayLike, beta: float, times: ArrayLike | None = None) -> Floats:
    """(1 + b^2) TP / ((1 + b^2) TP + FP + b^2 FN) of each class, (..., class); NaN where nothing is counted.

    A record counts 1 / (number of its labels, at least 1) in every class (Perez Alday et al. 2020).
    """
    true_positive, false_positive, false_negative = _counts(y, decisions, times, by_label=True)
    weighted = (1 + beta**2) * true_positive
    return _ratio(weighted, weighted + false_positive + beta**2 * false_negative)


def g_beta(y: ArrayLike, decisions: ArrayLike, beta: float, times: ArrayLike | None = None) -> Floats:
    """TP / (TP + FP + b FN) of each class, (..., class), records counted as in `f_beta`; NaN where nothing is."""
    true_positive, false_positive, false_negative = _counts(y, decisions, times, by_label=True)
    return _ratio(true_positive, true_positive + false_positive + beta * false_negative)


def exact_match(y: ArrayLike, decisions: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """Share of records with every class decided right, (...); a record without a label counts as any other."""
    y, decisions = as_binary(y, "y"), as_binary(decisions, "decisions")
    check_same_shape(y, decisions, "decisions")
    right = (y == decisions).all(1)
    return _ratio(total(right, times), total(np.ones_like(right), times))


def sample_f(y: ArrayLike, decisions: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """Sample-centric F, (...): the harmonic mean of the precision and the recall of a record, averaged over records.

    Precision is averaged over records with a decision, recall over records with a label (without one a record has no
    recall). 0 where no label is found, NaN without any label. Radivojac et al. 2013, eq. 1 to 3.
    """
    y, decisions = as_binary(y, "y"), as_binary(decisions, "decisions")
    check_same_shape(y, decisions, "decisions")
    return _sample_f((y & decisions).sum(1), decisions.sum(1), y.sum(1), times)


def sample_f_curve(y: ArrayLike, scores: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """`sample_f` of the decisions score >= t for each t of `F_GRID`, (..., threshold)."""
    y, scores = as_binary(y, "y"), finite_scores(scores)
    check_same_shape(y, scores, "scores")
    # A class is decided at the first `level` thresholds; counting levels is counting decisions at all thresholds.
    level = np.searchsorted(F_GRID, scores, side="right")
    n_levels = len(F_GRID) + 1
    cells = np.arange(len(y))[:, None] * n_levels + level

    def decided(cells: NDArray[np.intp]) -> NDArray[np.intp]:
        at_level = np.bincount(cells.ravel(), minlength=len(y) * n_levels).reshape(len(y), n_levels)
        return at_level[:, :0:-1].cumsum(1)[:, ::-1]

    return _sample_f(decided(cells[y]), decided(cells), y.sum(1)[:, None], times)


def fmax_test_optimal(y: ArrayLike, scores: ArrayLike, times: ArrayLike | None = None) -> Floats:
    """The largest `sample_f` over `F_GRID`, (...): optimistic, as the scored records themselves choose it."""
    return sample_f_curve(y, scores, times).max(-1)


def macro(values: ArrayLike) -> Floats:
    """Mean over the last axis of the entries that are not NaN, NaN where all are."""
    values = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1))


def finite_scores(scores: ArrayLike) -> Floats:
    """The scores as float64 with 0 in place of NaN and the infinities."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.where(np.isfinite(scores), scores, 0.0)


def as_binary(values: ArrayLike, name: str) -> Bools:
    """The 0/1 array (record, class) as bool; ValueError for any other value or shape."""
    values = np.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {values.shape}; give one row per record and one column per class.")
    if values.dtype == bool:
        return values
    positive = values == 1
    if not (positive | (values == 0)).all():
        odd = values[~(positive | (values == 0))][0]
        raise ValueError(f"{name} holds {odd}; only 0 and 1 are labels or decisions. Apply a threshold first.")
    return positive


def check_same_shape(y: NDArray, other: NDArray, name: str) -> None:
    """Refuse scores or decisions that do not match the labels record by record and class by class."""
    if y.shape != other.shape:
        raise ValueError(
            f"y has shape {y.shape} and {name} {other.shape}; both must be (record, class) of the same records."
        )


def total(values: NDArray, times: ArrayLike | None) -> Floats:
    """Sum over records of values (record, ...), each record counted `times` times, (..., ...)."""
    if times is None:
        return values.sum(0, dtype=np.float64)
    return np.asarray(times, dtype=np.float64) @ values.astype(np.float64)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator != 0, numerator / denominator, np.nan)[()]


def _counts(y: ArrayLike, decisions: ArrayLike, times: ArrayLike | None, by_label: bool) -> tuple[Floats, ...]:
    """True positives, false positives and false negatives of each class, (..., class) each."""
    y, decisions = as_binary(y, "y"), as_binary(decisions, "decisions")
    check_same_shape(y, decisions, "decisions")
    share = 1 / np.maximum(y.sum(1, keepdims=True), 1) if by_label else 1.0
    both, decided, labelled = (total(cells * share, times) for cells in (y & decisions, decisions & ~y, y & ~decisions))
    return both, decided, labelled


def _sample_f(hits: NDArray, n_decided: NDArray, n_labels: NDArray, times: ArrayLike | None) -> Floats:
    """`sample_f` from the counts of each record, (record, ...) each."""
    precision = total(hits / np.maximum(n_decided, 1), times)
    recall = total(hits / np.maximum(n_labels, 1), times)
    precision = precision / np.maximum(total(n_decided > 0, times), 1)
    recall = _ratio(recall, total(n_labels > 0, times))
    return np.where(recall > 0, _ratio(2 * precision * recall, precision + recall), recall)[()]


def _class_areas(y: Bools, scores: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """Both areas of one class for every resample, (resample,) each; drawn: (record, resample).

    Only positives and the records tied with them are told apart: all others are summed between them, which makes a
    rare class cheap.
    """
    order = np.argsort(-scores, kind="stable")
    falling, positives = -scores[order], np.flatnonzero(y[order])
    if len(positives) == 0:
        return np.full(drawn.shape[1], np.nan), np.full(drawn.shape[1], np.nan)
    # One group for every distinct score of a positive: records start to end, sorted from the highest score.
    start, first = np.unique(np.searchsorted(falling, falling[positives], "left"), return_index=True)
    end = np.unique(np.searchsorted(falling, falling[positives], "right"))
    bounds = np.unique(np.concatenate([[0], start, end, [len(y)]]))
    ranked = np.zeros((len(bounds), drawn.shape[1]))
    np.cumsum(np.add.reduceat(drawn[order], bounds[:-1], axis=0), axis=0, out=ranked[1:])
    above, reached = ranked[np.searchsorted(bounds, start)], ranked[np.searchsorted(bounds, end)]
    found = np.add.reduceat(drawn[order[positives]], first, axis=0)
    recalled = found.cumsum(0)
    n_positive, n_negative = recalled[-1], ranked[-1] - recalled[-1]
    # Negatives above the group in full and those within it by half are lost to its positives.
    lost = (above + reached - 2 * recalled + found) / 2
    won = n_positive * n_negative - (found * lost).sum(0)
    precision = np.divide(recalled, reached, out=np.zeros_like(reached), where=reached > 0)
    return _ratio(won, n_positive * n_negative), _ratio((found * precision).sum(0), n_positive)
