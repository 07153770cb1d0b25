"""From the SNOMED CT codes of the challenge records to the classes of a label set."""

from collections import Counter

import numpy as np
import pandas as pd

from ecgbench.data.label_sets import CLASS_OF_CODE, LABEL_SETS
from ecgbench.data.source import Targets
from ecgbench.data.target_notes import absent_from_training

N_SHOWN = 5
"""How many codes a note names."""


def cinc_targets(index: pd.DataFrame, labels: str) -> Targets:
    """The classes of each row of `index` (columns record_id, split, dx: codes joined by commas).

    Every row is kept: a record without a code of the set has no class, as in the official scores. The notes count
    such records, the codes outside the set, and the classes that no training record has. Raises ValueError when no
    record has any class.
    """
    classes, class_of = LABEL_SETS[labels], CLASS_OF_CODE[labels]
    column = {code: classes.index(name) for code, name in class_of.items()}
    codes = [dx.split(",") if dx else [] for dx in index["dx"]]
    y = np.zeros((len(index), len(classes)), dtype=np.float32)
    for row, row_codes in enumerate(codes):
        for code in row_codes:
            if code in column:
                y[row, column[code]] = 1.0
    once = np.flatnonzero(~index["record_id"].duplicated().to_numpy())
    if not y.any():
        raise ValueError(_no_label(labels, [codes[row] for row in once]))
    notes = [
        *_unknown([codes[row] for row in once], column, labels),
        *_unlabelled(y[once], labels),
        *absent_from_training(index, y, classes),
    ]
    return Targets(classes, y, np.ones(len(index), dtype=bool), notes)


def _unknown(codes: list[list[str]], column: dict[str, int], labels: str) -> list[str]:
    """Counts the codes that are no class of the set."""
    outside = [[code for code in row if code not in column] for row in codes]
    counts = Counter(code for row in outside for code in row)
    if not counts:
        return []
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{code} {n:,}" for code, n in ranked[:N_SHOWN])
    return [
        f"{len(counts):,} SNOMED CT codes outside the label set {labels} occur {counts.total():,} times in "
        f"{sum(map(bool, outside)):,} of {len(codes):,} records (most frequent: {shown}); they count for no class."
    ]


def _unlabelled(y: np.ndarray, labels: str) -> list[str]:
    """Counts the records without a class."""
    n = int((y.sum(axis=1) == 0).sum())
    return [f"{n:,} of {len(y):,} records have no code of {labels}; they stay, without any class."] if n else []


def _no_label(labels: str, codes: list[list[str]]) -> str:
    """The message for records none of which has a class."""
    ranked = Counter(code for row in codes for code in row).most_common(N_SHOWN)
    shown = ", ".join(f"{code} {n:,}" for code, n in ranked) or "none"
    return (
        f"none of {len(codes):,} records has a code of the label set dataset.labels={labels} (their codes: {shown}); "
        f"choose another of {', '.join(CLASS_OF_CODE)}, or other dataset.sources"
    )
