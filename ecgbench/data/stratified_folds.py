"""Folds that keep groups of records whole and every label's share equal, and the file that fixes them."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLUMNS = ("record_id", "patient_id", "fold")


class FoldRow(NamedTuple):
    """One line of a fold file."""

    patient_id: str
    fold: int


def stratified_folds(y: np.ndarray, groups: Sequence[str], n_folds: int, seed: int) -> np.ndarray:
    """The fold of each record, int64 (record,), 1 to `n_folds`; records of one group share their fold.

    `y` is bool (record, label). Iterative stratification (Sechidis et al. 2011, Algorithm 1) with groups in the place
    of examples: of the labels still to be dealt, the rarest is dealt first; each of its groups goes to the fold that
    lacks most records of that label, of equal ones to that which lacks most records altogether. Large groups are
    dealt before small ones, and groups without a label at the end.

    The result depends on the seed and the groups' names, sizes and labels, not on the order of the records: ties are
    broken by a hash, which also makes it independent of the numpy version.
    """
    if n_folds < 2:
        raise ValueError(f"{n_folds} folds cannot hold out any record; ask for 2 or more")
    if len(y) != len(groups):
        raise ValueError(f"{len(y)} rows of labels for {len(groups)} records; give one row to each record")
    names, group_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    counts = np.zeros((len(names), y.shape[1]), dtype=np.int64)
    np.add.at(counts, group_of, y.astype(np.int64))
    sizes = np.bincount(group_of, minlength=len(names))
    turns = [_turn(seed, str(name)) for name in names]
    order = sorted(range(len(names)), key=lambda group: (-sizes[group], turns[group]))
    return np.asarray(_deal(counts, sizes.tolist(), turns, order, n_folds), dtype=np.int64)[group_of] + 1


def write_fold_file(path: str | Path, rows: Mapping[str, FoldRow]) -> str:
    """Writes record_id, patient_id and fold of each record as CSV, and its SHA-256 beside it; returns the hash.

    The hash file has the layout of `sha256sum`, so that `sha256sum -c` checks it too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((record_id, *row) for record_id, row in sorted(rows.items()))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    _hash_file(path).write_text(f"{found}  {path.name}\n")
    return found


def read_fold_file(path: str | Path) -> dict[str, FoldRow]:
    """Patient and fold of each record in a file of `write_fold_file`.

    Raises FileNotFoundError when the file or its hash is missing, ValueError when they do not belong together, a line
    is malformed or a record stands there twice.
    """
    path = Path(path)
    for needed in (path, _hash_file(path)):
        if not needed.is_file():
            raise FileNotFoundError(
                f"dataset.fold_file={path} needs {needed}, which is not there; write both with `write_folds`, or set "
                "dataset.fold_file=null to compute the folds"
            )
    content, said = path.read_bytes(), _hash_file(path).read_text().split()[:1]
    found = hashlib.sha256(content).hexdigest()
    if said != [found]:
        raise ValueError(
            f"dataset.fold_file={path} has the SHA-256 {found[:12]}..., {_hash_file(path).name} says "
            f"{''.join(said)[:12]}...: one of them was changed; take both from where they came from"
        )
    lines = list(csv.reader(content.decode("utf-8").splitlines()))
    header = lines.pop(0) if lines else []
    if tuple(header) != COLUMNS:
        raise ValueError(f"dataset.fold_file={path} has the columns {', '.join(header)}; expected {', '.join(COLUMNS)}")
    rows: dict[str, FoldRow] = {}
    for number, line in enumerate(lines, start=2):
        if len(line) != 3 or not line[2].isdecimal() or line[0] in rows:
            raise ValueError(f"dataset.fold_file={path}, line {number} is {line}; expected a new record with its fold")
        rows[line[0]] = FoldRow(line[1], int(line[2]))
    return rows


def _hash_file(path: Path) -> Path:
    """Where the SHA-256 of a fold file stands."""
    return path.with_name(path.name + ".sha256")


def _turn(seed: int, name: str) -> int:
    """A number that looks random and depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _deal(counts: np.ndarray, sizes: list[int], turns: list[int], order: list[int], n_folds: int) -> list[int]:
    """The fold of each group, from 0; `counts` is (group, label), `order` the order in which groups are dealt."""
    fold_of = [-1] * len(sizes)
    wanted = [sum(sizes) / n_folds] * n_folds
    wanted_of = [[total / n_folds] * n_folds for total in counts.sum(axis=0).tolist()]
    labels_of = [[(int(label), int(row[label])) for label in np.flatnonzero(row)] for row in counts]
    left = counts.sum(axis=0)

    def give(group: int, first: list[float]) -> None:
        """Deals one group to the fold that wants most of `first`, then most records."""
        fold = max(range(n_folds), key=lambda f: (first[f], wanted[f], (f + turns[group]) % n_folds))
        fold_of[group] = fold
        wanted[fold] -= sizes[group]
        for label, n in labels_of[group]:
            wanted_of[label][fold] -= n
            left[label] -= n

    while (left > 0).any():
        label = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        for group in order:
            if fold_of[group] < 0 and counts[group, label]:
                give(group, wanted_of[label])
    for group in order:
        if fold_of[group] < 0:
            give(group, wanted)
    return fold_of
