"""The Challenge score of the PhysioNet/CinC Challenges 2020 and 2021, which rewards near misses by clinical weights.

Perez Alday et al. 2020, Physiol. Meas. 41 124003; Reyna et al. 2021, CinC 48. The official numbers stand in
`ecgbench/data/tables`, where their notice is.
"""

import csv
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgbench.metrics.classification import Bools, Floats, as_binary, check_same_shape, total

NORMAL = "NSR"
"""The class that the score 0 always answers: sinus rhythm."""
YEARS = (2020, 2021)


class ChallengeWeights(NamedTuple):
    """The scored classes and the reward of each answer."""

    classes: tuple[str, ...]
    """Codes that are scored as one share a class, its name joined by |."""
    weights: Floats
    """(class, class), the reward for answering the second where the first is true; symmetric, diagonal 1."""


@cache
def challenge_weights(year: int) -> ChallengeWeights:
    """The official weights of a year, 24 classes in 2020 and 26 in 2021; ValueError for another year."""
    if year not in YEARS:
        raise ValueError(f"the Challenge of {year!r} has no weights here; use one of {YEARS}.")
    table = files("ecgbench.data").joinpath(f"tables/challenge_weights_{year}.csv")
    with table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    weights = np.array([row[1:] for row in rows], dtype=np.float64)
    weights.flags.writeable = False
    return ChallengeWeights(tuple(header[1:]), weights)


def challenge_applies(classes: Sequence[str], year: int) -> bool:
    """Whether these classes are those of the year's Challenge, merged or not, each once and in any order."""
    parts = sorted(part for name in classes for part in name.split("|"))
    scored = challenge_weights(year).classes
    known = {part: name for name in scored for part in name.split("|")}
    if parts != sorted(known):
        return False
    return all(len({known[part] for part in name.split("|")}) == 1 for name in classes)


def equivalent_columns(classes: Sequence[str], year: int) -> NDArray[np.intp]:
    """For each given class the column of `challenge_weights(year)` that it counts for, (class,).

    Raises ValueError for classes that are not the Challenge's.
    """
    scored = challenge_weights(year).classes
    if not challenge_applies(classes, year):
        raise ValueError(
            f"the {year} Challenge score needs the classes {', '.join(scored)} (or their parts), got"
            f" {', '.join(classes)}. Use the label set cinc{year}."
        )
    column = {part: k for k, name in enumerate(scored) for part in name.split("|")}
    return np.array([column[name.split("|")[0]] for name in classes])


def merge_decisions(decisions: ArrayLike, classes: Sequence[str], year: int) -> Bools:
    """Labels or decisions in the columns of `challenge_weights(year)`: positive where any equivalent class is."""
    decisions, columns = as_binary(decisions, "the labels or decisions"), equivalent_columns(classes, year)
    merged = np.zeros((len(decisions), len(challenge_weights(year).classes)), dtype=bool)
    for source, target in enumerate(columns):
        merged[:, target] |= decisions[:, source]
    return merged


def merge_scores(scores: ArrayLike, classes: Sequence[str], year: int) -> Floats:
    """Scores in the columns of `challenge_weights(year)`: the mean of the equivalent classes.

    A score that is not finite is 0 in 2020 and is left out of the mean in 2021; 0 where none is finite.
    """
    scores, columns = np.asarray(scores, dtype=np.float64), equivalent_columns(classes, year)
    counted = np.isfinite(scores) | (year == 2020)
    sums, counts = np.zeros((2, len(scores), len(challenge_weights(year).classes)))
    for source, target in enumerate(columns):
        sums[:, target] += np.nan_to_num(scores[:, source], posinf=0.0, neginf=0.0)
        counts[:, target] += counted[:, source]
    return sums / np.maximum(counts, 1)


def challenge_score(
    y: ArrayLike,
    decisions: ArrayLike,
    year_or_weights: int | ArrayLike,
    classes: Sequence[str],
    times: ArrayLike | None = None,
) -> Floats:
    """The Challenge score, (...): 1 for the right decisions, 0 for always answering sinus rhythm; may be negative.

    Each label of a record meets each of its decisions with the reward w / |labels or decisions of the record|; the
    sum over records is scaled by the sums for the right and for the inactive answer. A record without a scored label
    adds nothing, whatever is decided. 0 where the right answer is always sinus rhythm.

    Args:
        y: 0/1 (record, class).
        decisions: 0/1 (record, class).
        year_or_weights: 2020 or 2021 for the official weights, or weights (class, class) in the order of `classes`.
        classes: names of the columns; with a year merged (`CRBBB|RBBB`) or one column per part, in any order.
        times: how often each record counts, see `ecgbench.metrics.classification`.
    """
    y, decisions = as_binary(y, "y"), as_binary(decisions, "decisions")
    check_same_shape(y, decisions, "decisions")
    _check_columns(y, classes)
    if isinstance(year_or_weights, int):
        y, decisions = (merge_decisions(cells, classes, year_or_weights) for cells in (y, decisions))
        classes, weights = challenge_weights(year_or_weights)
    else:
        weights = _own_weights(year_or_weights, classes)
    inactive = np.zeros_like(y)
    inactive[:, list(classes).index(NORMAL)] = True
    observed, right, baseline = (challenge_rewards(y, answer, weights) for answer in (decisions, y, inactive))
    gained, possible = np.moveaxis(total(np.stack([observed - baseline, right - baseline], 1), times), -1, 0)
    return np.divide(gained, possible, out=np.zeros_like(gained), where=possible != 0)[()]


def challenge_rewards(y: Bools, decisions: Bools, weights: Floats) -> Floats:
    """What each record adds to the unscaled score, (record,); weights in the order of the columns.

    Equal to adding 1 / |labels or decisions| to the cell of each label and decision and weighing the cells at the end.
    """
    n_either = np.maximum((y | decisions).sum(1), 1)
    return np.einsum("rc,rc->r", y.astype(np.float64) @ weights, decisions.astype(np.float64)) / n_either


def _own_weights(weights: ArrayLike, classes: Sequence[str]) -> Floats:
    """Weights that were given as an array, checked."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(classes), len(classes)):
        raise ValueError(
            f"weights of shape {weights.shape} do not fit {len(classes)} classes; give one row and column per class."
        )
    if NORMAL not in classes:
        raise ValueError(f"the Challenge score needs the class {NORMAL}, got {', '.join(classes)}. Add its column.")
    return weights


def _check_columns(y: Bools, classes: Sequence[str]) -> None:
    """Refuse names that do not match the columns."""
    if y.shape[1] != len(classes):
        raise ValueError(f"{y.shape[1]} columns have {len(classes)} class names; give one name per column.")
