"""Folds: groups stay whole, labels are dealt evenly, and a fold file is what it was when it was written."""

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ecgbench.data.stratified_folds import FoldRow, read_fold_file, stratified_folds, write_fold_file

PREVALENCE = np.geomspace(0.004, 0.33, 26)
"""Rare to frequent, about as the challenge's classes are."""


def labels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, len(PREVALENCE))) < PREVALENCE


def per_fold(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Sums over each fold's records."""
    return np.stack([values[folds == fold].sum(axis=0) for fold in range(1, 11)])


def test_one_label_each_is_dealt_to_within_one_record() -> None:
    """With one label a record, every fold can have the floor or the ceiling of a tenth, and has."""
    kind = np.random.default_rng(0).integers(0, 5, 987)
    y = kind[:, None] == np.arange(5)
    folds = stratified_folds(y, [str(i) for i in range(987)], 10, seed=0)
    counts = per_fold(y, folds)
    assert (counts >= np.floor(y.sum(axis=0) / 10)).all()
    assert (counts <= np.ceil(y.sum(axis=0) / 10)).all()


def test_a_case_worked_by_hand() -> None:
    """Two folds; a wants 3 records of each label in all, so 1.5 a fold.

    B (two records) is rarest and is dealt first, the pair p to one fold, q to the other (equal sizes: the hash
    decides which). A's groups r (2 records) then s, t go to whichever fold lacks most of A: r to one, s and t to the
    other, and the unlabelled u evens out the sizes.
    """
    rows = {"p": ["B", "B"], "q": ["B", "B"], "r": ["A", "A"], "s": ["A"], "t": ["A"], "u": [""]}
    groups = [name for name, members in rows.items() for _ in members]
    y = np.array([[label == "A", label == "B"] for members in rows.values() for label in members])
    fold = dict(zip(groups, stratified_folds(y, groups, 2, seed=0).tolist(), strict=True))
    assert fold["p"] != fold["q"]
    assert fold["s"] == fold["t"] != fold["r"]


@pytest.mark.parametrize(("n_groups", "better", "apart"), [(3000, 0.25, 40), (400, 0.6, 70)])
def test_groups_stay_whole_and_shares_stay_equal(n_groups: int, better: float, apart: int) -> None:
    """Labels are spread more evenly than where groups are dealt at random; groups of 15 leave less room than of 2."""
    rng, y = np.random.default_rng(1), labels(6000)
    group_of = rng.integers(0, n_groups, 6000)
    folds = stratified_folds(y, [f"g{i}" for i in group_of], 10, seed=0)
    assert all(len(set(folds[group_of == group])) == 1 for group in set(group_of))
    assert set(folds) == set(range(1, 11))
    at_random = rng.integers(1, 11, n_groups)[group_of]
    ours, theirs = (np.abs(per_fold(y, f) - y.sum(axis=0) / 10).mean() for f in (folds, at_random))
    assert ours < better * theirs
    assert np.abs(np.bincount(folds)[1:] - 600).max() < apart


def test_order_does_not_matter_and_the_seed_does() -> None:
    """Records in any order get the same folds."""
    y, groups = labels(800), np.array([f"g{i // 2}" for i in range(800)])
    folds = stratified_folds(y, groups, 10, seed=0)
    order = np.random.default_rng(2).permutation(800)
    np.testing.assert_array_equal(stratified_folds(y[order], groups[order], 10, seed=0), folds[order])
    assert (stratified_folds(y, groups, 10, seed=1) != folds).any()


def test_folds_are_the_same_on_every_machine() -> None:
    """Frozen: folds are a protocol, and another version of this package must deal the same."""
    y = np.array([[(i * i + i) % (label + 3) == 0 for label in range(26)] for i in range(500)])
    folds = stratified_folds(y, [f"g{i % 300}" for i in range(500)], 10, seed=0)
    assert hashlib.sha256(folds.astype("<i8").tobytes()).hexdigest()[:16] == "84dea2703a435832"


def test_records_without_labels_are_dealt_evenly() -> None:
    """Ten to each fold."""
    folds = stratified_folds(np.zeros((100, 3), dtype=bool), [str(i) for i in range(100)], 10, seed=0)
    assert np.bincount(folds)[1:].tolist() == [10] * 10


def test_impossible_requests_are_refused() -> None:
    """Too few folds, too few groups."""
    with pytest.raises(ValueError, match="1 folds cannot hold out any record; ask for 2 or more"):
        stratified_folds(labels(3), list("abc"), 1, seed=0)
    with pytest.raises(ValueError, match="3 rows of labels for 2 records"):
        stratified_folds(labels(3), list("ab"), 2, seed=0)


ROWS = {"E2": FoldRow("georgia/1", 10), "E1": FoldRow("georgia/37/male/1+2, 3", 1)}


def test_a_fold_file_keeps_what_was_written(tmp_path: Path) -> None:
    """Sorted by record, and its hash is one that sha256sum accepts."""
    found = write_fold_file(tmp_path / "deep/folds.csv", ROWS)
    assert read_fold_file(tmp_path / "deep/folds.csv") == ROWS
    lines = (tmp_path / "deep/folds.csv").read_text().splitlines()
    assert lines == ["record_id,patient_id,fold", 'E1,"georgia/37/male/1+2, 3",1', "E2,georgia/1,10"]
    assert found == hashlib.sha256((tmp_path / "deep/folds.csv").read_bytes()).hexdigest()
    check = subprocess.run(["sha256sum", "-c", "folds.csv.sha256"], cwd=tmp_path / "deep", capture_output=True)
    assert check.returncode == 0


def test_a_changed_fold_file_is_refused(tmp_path: Path) -> None:
    """One digit is enough."""
    path = tmp_path / "folds.csv"
    write_fold_file(path, ROWS)
    path.write_text(path.read_text().replace(",10", ",9"))
    with pytest.raises(ValueError, match=r"folds.csv has the SHA-256 .*, folds.csv.sha256 says .*: one of them was"):
        read_fold_file(path)


@pytest.mark.parametrize("gone", ["folds.csv", "folds.csv.sha256"])
def test_a_missing_part_is_named(tmp_path: Path, gone: str) -> None:
    """The table and its hash belong together."""
    write_fold_file(tmp_path / "folds.csv", ROWS)
    (tmp_path / gone).unlink()
    with pytest.raises(FileNotFoundError, match=f"needs .*{gone}, which is not there; write both with"):
        read_fold_file(tmp_path / "folds.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,c\n", "has the columns a, b, c; expected record_id, patient_id, fold"),
        ("", "has the columns ; expected record_id, patient_id, fold"),
        ("record_id,patient_id,fold\nE1,p\n", r"line 2 is \['E1', 'p'\]"),
        ("record_id,patient_id,fold\nE1,p,x\n", r"line 2 is \['E1', 'p', 'x'\]"),
        ("record_id,patient_id,fold\nE1,p,1\nE1,p,1\n", "line 3 is .*; expected a new record with its fold"),
    ],
)
def test_a_malformed_fold_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """With the line, though its hash is right."""
    path = tmp_path / "folds.csv"
    path.write_text(content)
    (tmp_path / "folds.csv.sha256").write_text(f"{hashlib.sha256(content.encode()).hexdigest()}  folds.csv\n")
    with pytest.raises(ValueError, match=message):
        read_fold_file(path)
