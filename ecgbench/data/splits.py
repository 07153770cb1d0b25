"""Which record belongs to which split, and the checks that no patient and no split is lost on the way."""

from collections.abc import Mapping, Sequence

import pandas as pd

SPLITS = ("train", "val", "test")
"""The names of the splits, in the order of use."""


def split_by_fold(fold: pd.Series, folds: Mapping[str, Sequence[int]]) -> pd.Series:
    """The split of each record from its fold; NA for a fold that no split names.

    Raises ValueError when two splits name the same fold.
    """
    split_of: dict[int, str] = {}
    for split, members in folds.items():
        for number in members:
            if number in split_of:
                raise ValueError(
                    f"fold {number} is in {split_of[number]}_folds and in {split}_folds; a fold belongs to one split, "
                    f"so take it out of dataset.{split_of[number]}_folds or dataset.{split}_folds"
                )
            split_of[number] = split
    return fold.map(split_of)


def assert_patient_disjoint(index: pd.DataFrame) -> None:
    """ValueError naming the patients that appear in more than one split (columns patient_id, split)."""
    n_splits = index.groupby("patient_id")["split"].nunique()
    shared = [patient for patient, n in n_splits.items() if n > 1]
    if shared:
        raise ValueError(
            f"{len(shared)} patients are in more than one split (first: {', '.join(map(str, shared[:5]))}); "
            "scores on patients seen in training are not test scores, so give each patient to one split"
        )


def require_split(index: pd.DataFrame, split: str) -> pd.DataFrame:
    """The rows of `index` in `split`; ValueError when there are none."""
    rows = index.loc[index["split"] == split]
    if rows.empty:
        counts = index["split"].value_counts()
        held = ", ".join(f"{name} {counts.get(name, 0)}" for name in SPLITS)
        raise ValueError(
            f"split {split!r} is empty (windows held: {held}); a partial download may lack its records, "
            "so get more records or choose the folds that are there"
        )
    return rows
