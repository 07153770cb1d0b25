"""Splits of collections in which every record is one patient."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ecgbench.data.splits import split_by_fold
from ecgbench.data.stratified_folds import stratified_folds

N_FOLDS = 10


def splits_by_record(
    record_ids: Sequence[str], y: np.ndarray, seed: int, folds: Mapping[str, Sequence[int]]
) -> pd.DataFrame:
    """Record_id, patient_id (the same), split and fold of each record; split is NA where no split names the fold.

    `y` is bool (record, label): ten folds are dealt with equal shares of every label (`stratified_folds`), so give all
    records of the collection, whether their files are there or not, and a partial copy keeps its folds. `folds` names
    the folds of each split. Raises ValueError for a fold that is not 1 to 10, or that two splits name.
    """
    for split, members in folds.items():
        if unknown := sorted(set(members) - set(range(1, N_FOLDS + 1))):
            raise ValueError(f"dataset.{split}_folds names fold {unknown[0]}; folds run from 1 to {N_FOLDS}")
    fold = pd.Series(stratified_folds(y, record_ids, N_FOLDS, seed))
    split = split_by_fold(fold, folds).astype(object)
    return pd.DataFrame({"record_id": record_ids, "patient_id": record_ids, "split": split, "fold": fold})
