"""From scores to decisions: thresholds chosen on validation records, never on those that are scored in the end.

A class is decided where score >= threshold. The Challenge score is maximised class by class in turn (coordinate
ascent, as its value depends on all decisions of a record together).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from ecgbench.metrics.challenge import challenge_weights, equivalent_columns, merge_decisions
from ecgbench.metrics.classification import (
    F_GRID,
    Bools,
    Floats,
    as_binary,
    check_same_shape,
    finite_scores,
    sample_f_curve,
)

Objective = Literal["f1", "challenge_2020", "challenge_2021", "fixed"]

FALLBACK_THRESHOLD = 0.5
"""Threshold where validation holds nothing to choose one by, and of the objective "fixed": the even odds."""

N_QUANTILES = 101
"""Candidates of a class in the Challenge search: so many quantiles of all its scores and of those of its positives.

Both, as nearly all of a rare class's scores lie below any threshold worth trying. A grid, as the best of all distinct
scores follows single records.
"""
MAX_ROUNDS = 50
"""Rounds over all classes; the search ends far earlier, when a round changes no threshold."""


class Thresholds(NamedTuple):
    """One threshold per class, and the classes that had to do without a choice."""

    per_class: Floats
    """(class,), finite."""
    fallback_classes: tuple[str, ...]
    """Classes without a positive validation record: they have `FALLBACK_THRESHOLD`."""


def choose_thresholds(y: ArrayLike, scores: ArrayLike, objective: Objective, classes: Sequence[str]) -> Thresholds:
    """Thresholds per class that maximise the objective on these records.

    Args:
        y: 0/1 (record, class) of the validation split.
        scores: probabilities (record, class); one that is not finite counts as 0.
        objective: "f1" the F1 of each class; "challenge_2020", "challenge_2021" the Challenge score of all classes,
            searched from the thresholds of "f1"; "fixed" is `FALLBACK_THRESHOLD` for all, without a fallback class.
        classes: names of the columns.

    Raises:
        ValueError: another objective, shapes that do not match, classes that are not the Challenge's.
    """
    if objective not in get_args(Objective):
        raise ValueError(f"thresholds cannot be chosen by {objective!r}; use one of {', '.join(get_args(Objective))}.")
    y, scores = as_binary(y, "y"), finite_scores(scores)
    check_same_shape(y, scores, "scores")
    if y.shape[1] != len(classes):
        raise ValueError(f"{y.shape[1]} columns have {len(classes)} class names; give one name per column.")
    thresholds, known = np.full(len(classes), FALLBACK_THRESHOLD), y.any(0)
    if objective == "fixed":
        return Thresholds(thresholds, ())
    for k in np.flatnonzero(known):
        thresholds[k] = _best_f1_threshold(y[:, k], scores[:, k])
    if objective != "f1":
        thresholds = _ascend(y, scores, thresholds, known, int(objective.removeprefix("challenge_")), classes)
    return Thresholds(thresholds, tuple(name for name, found in zip(classes, known, strict=True) if not found))


def choose_global_threshold(y: ArrayLike, scores: ArrayLike) -> float:
    """The threshold of `F_GRID` for all classes that maximises the sample-centric F on these records.

    The middle one of equally good ones; `FALLBACK_THRESHOLD` where no record has a label.
    """
    curve = sample_f_curve(y, scores)
    best = np.flatnonzero(curve == curve.max())
    return float(F_GRID[best[len(best) // 2]]) if len(best) else FALLBACK_THRESHOLD


def decide(scores: ArrayLike, thresholds: ArrayLike | float) -> Bools:
    """Decisions (record, class): score >= threshold; a score that is not finite counts as 0.

    thresholds: (class,), or one number for all classes.
    """
    return finite_scores(scores) >= np.asarray(thresholds, dtype=np.float64)


def _best_f1_threshold(y: Bools, scores: Floats) -> float:
    """The threshold of one class with the largest F1, midway between the scores it separates.

    Of equally good ones the highest; y holds at least one positive.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last_of_tie = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    found = y[order].cumsum()[last_of_tie]
    f1 = 2 * found / (last_of_tie + 1 + y.sum())
    cut = last_of_tie[np.argmax(f1)]
    if cut + 1 == len(falling):
        return float(falling[cut])
    middle = (falling[cut] + falling[cut + 1]) / 2
    # Between neighbouring floats there is no middle.
    return float(middle if middle > falling[cut + 1] else falling[cut])


def _ascend(y: Bools, scores: Floats, thresholds: Floats, free: Bools, year: int, classes: Sequence[str]) -> Floats:
    """Thresholds of a local maximum of the Challenge score, reached from the given ones; only `free` classes move.

    Only the rewards of the decisions are compared, as those of the right and the inactive answer are constant.
    """
    thresholds, columns = thresholds.copy(), equivalent_columns(classes, year)
    state = _Rewards(merge_decisions(y, classes, year), challenge_weights(year).weights)
    decisions = decide(scores, thresholds)
    for k, column in enumerate(columns):
        state.add(decisions[:, k], column)
    searches = {k: _Search(y[:, k], scores[:, k]) for k in np.flatnonzero(free)}
    for _ in range(MAX_ROUNDS):
        moved = False
        for k, search in searches.items():
            state.remove(decisions[:, k], columns[k])
            better = search.better_threshold(state.gain(columns[k]), thresholds[k])
            if better is not None:
                thresholds[k], moved = better, True
                decisions[:, k] = scores[:, k] >= better
            state.add(decisions[:, k], columns[k])
        if not moved:
            break
    return thresholds


class _Rewards:
    """The reward of each record for the decisions so far, changed one class at a time."""

    def __init__(self, labels: Bools, weights: Floats) -> None:
        self.labels = labels
        self.reward = labels @ weights
        """(record, merged class), what deciding the class adds before the division."""
        self.n_deciding = np.zeros(labels.shape, dtype=np.int64)
        """(record, merged class), by how many of its equivalent classes it is decided."""
        self.n_either = labels.sum(1)
        """(record,), labels and decisions together."""
        self.rewarded = np.zeros(len(labels))

    def add(self, decided: Bools, column: int) -> None:
        """Decide a merged class in these records."""
        self._change(decided & (self.n_deciding[:, column] == 0), column, 1)
        self.n_deciding[:, column] += decided

    def remove(self, decided: Bools, column: int) -> None:
        """Take the decisions of `add` back."""
        self.n_deciding[:, column] -= decided
        self._change(decided & (self.n_deciding[:, column] == 0), column, -1)

    def gain(self, column: int) -> Floats:
        """What deciding the merged class changes in each record's share of the score, (record,)."""
        n_with = self.n_either + ~self.labels[:, column]
        share_with = (self.rewarded + self.reward[:, column]) / np.maximum(n_with, 1)
        gain = share_with - self.rewarded / np.maximum(self.n_either, 1)
        return np.where(self.n_deciding[:, column] > 0, 0.0, gain)

    def _change(self, changed: Bools, column: int, sign: int) -> None:
        self.rewarded += sign * changed * self.reward[:, column]
        self.n_either += sign * (changed & ~self.labels[:, column])


class _Search:
    """The candidates of one class, and its records by falling score."""

    def __init__(self, y: Bools, scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.rising = scores[self.order[::-1]]
        shares = np.linspace(0, 1, N_QUANTILES)
        never = np.nextafter(self.rising[-1], np.inf)
        grid = [np.quantile(scores, shares), np.quantile(scores[y], shares), [never]]
        self.candidates = np.unique(np.concatenate(grid))[::-1]

    def better_threshold(self, gain: Floats, current: float) -> float | None:
        """The candidate that gains most, the highest of equally good ones; None where the current one is as good."""
        gained = np.append(0.0, gain[self.order].cumsum())
        candidates = np.append(current, self.candidates)
        n_decided = len(self.rising) - np.searchsorted(self.rising, candidates, side="left")
        value = gained[n_decided]
        best = int(value[1:].argmax()) + 1
        # Sums in another order differ by rounding; following that would never end.
        return float(candidates[best]) if value[best] > value[0] + 1e-9 else None
