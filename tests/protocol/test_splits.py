"""No patient in two splits, no fold in two splits, no split empty without a word."""

from pathlib import Path

import pandas as pd
import pytest

from ecgbench.data.mitdb import MitDb
from ecgbench.data.ptbxl import PtbXl
from ecgbench.data.record import LEADS
from ecgbench.data.splits import assert_patient_disjoint, require_split, split_by_fold


def index(**patients: list[str]) -> pd.DataFrame:
    """An index with the given patients in each split."""
    return pd.DataFrame([(p, split) for split, ps in patients.items() for p in ps], columns=["patient_id", "split"])


def test_disjoint_patients_pass() -> None:
    assert_patient_disjoint(index(train=["a", "a", "b"], val=["c"], test=["d"]))


def test_a_shared_patient_is_named() -> None:
    with pytest.raises(ValueError, match=r"1 patients are in more than one split \(first: b\)"):
        assert_patient_disjoint(index(train=["a", "b"], val=["c"], test=["b"]))


def test_folds_become_splits_and_unnamed_folds_none() -> None:
    split = split_by_fold(pd.Series([1, 9, 10, 2, 8]), {"train": [1, 2], "val": [9], "test": [10]})
    assert split.tolist()[:4] == ["train", "val", "test", "train"]
    assert pd.isna(split[4])


def test_a_fold_in_two_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="fold 9 is in train_folds and in val_folds"):
        split_by_fold(pd.Series([1]), {"train": [1, 9], "val": [9], "test": [10]})


def test_an_empty_split_says_what_is_there() -> None:
    held = index(train=["a", "b"], test=["c"])
    assert len(require_split(held, "train")) == 2
    with pytest.raises(ValueError, match=r"split 'val' is empty \(windows held: train 2, val 0, test 1\)"):
        require_split(held, "val")


def test_ptbxl_splits_share_no_patient(shared_data: Path) -> None:
    source = PtbXl(root=shared_data / "ptb-xl", leads=LEADS, train_folds=range(1, 9), val_folds=[9], test_folds=[10])
    manifest = source.manifest()
    assert manifest["split"].value_counts().to_dict() == {"train": 271, "val": 68, "test": 54}
    assert_patient_disjoint(manifest)


def test_mitdb_splits_share_no_patient_in_a_complete_download(tmp_path: Path) -> None:
    """All 48 numbers, of which 201 and 202 are one man."""
    numbers = [*range(100, 125), *range(200, 235)]
    absent = {110, 120, 204, 206, 211, 216, 218, 224, 225, 226, 227, 229}
    for number in sorted(set(numbers) - absent):
        (tmp_path / f"{number}.hea").touch()
    manifest = MitDb(root=tmp_path, leads=["upper"], paced="keep").manifest()
    assert len(manifest) == 48
    assert manifest["patient_id"].nunique() == 47
    assert_patient_disjoint(manifest)
