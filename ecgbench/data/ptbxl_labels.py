"""From PTB-XL's SCP-ECG statements to the classes of its six label sets."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from ecgbench.data.label_sets import PTBXL_LABEL_SETS
from ecgbench.data.source import Targets
from ecgbench.data.target_notes import absent_from_training

STATEMENTS = "scp_statements.csv"
MEMBERS = {
    "ptbxl_all": (None, None),
    "ptbxl_diagnostic": ("diagnostic", None),
    "ptbxl_subdiagnostic": ("diagnostic", "diagnostic_subclass"),
    "ptbxl_superdiagnostic": ("diagnostic", "diagnostic_class"),
    "ptbxl_form": ("form", None),
    "ptbxl_rhythm": ("rhythm", None),
}
"""For each label set, the column of `STATEMENTS` that is 1 for its codes and the one that names their class."""


def ptbxl_targets(index: pd.DataFrame, labels: str, root: Path) -> Targets:
    """The classes of each row of `index` (columns record_id, split, scp_codes: JSON of code and likelihood).

    A code counts whatever its likelihood, also 0, which stands for unknown. Rows without a class of the set are not
    kept, except for ptbxl_all, which keeps every record (Strodthoff et al. 2021, and its published code). Raises
    FileNotFoundError without `scp_statements.csv`, ValueError when that does not give the set or no record has a class.
    """
    classes, class_of = PTBXL_LABEL_SETS[labels], class_of_code(root, labels)
    known = class_of_code(root, "ptbxl_all")
    codes = [list(json.loads(text)) for text in index["scp_codes"]]
    y = np.zeros((len(index), len(classes)), dtype=np.float32)
    for row, row_codes in enumerate(codes):
        for code in row_codes:
            if code in class_of:
                y[row, classes.index(class_of[code])] = 1.0
    labelled = y.sum(axis=1) > 0
    if not labelled.any():
        raise ValueError(f"none of {len(index):,} records has a class of dataset.labels={labels}; choose another set")
    kept = labelled | (labels == "ptbxl_all")
    once = np.flatnonzero(~index["record_id"].duplicated().to_numpy())
    notes = [
        *_unlabelled(labelled[once], labels),
        *_unknown([[code for code in codes[row] if code not in known] for row in once]),
        *absent_from_training(index, y * kept[:, None], classes),
    ]
    return Targets(classes, y, kept, notes)


def class_of_code(root: Path, labels: str) -> dict[str, str]:
    """The class of each SCP-ECG code of the set, from `scp_statements.csv` under `root`."""
    path = root / STATEMENTS
    if not path.is_file():
        raise FileNotFoundError(
            f"dataset.root={root} holds no {STATEMENTS}, which dataset.labels={labels} is made from; "
            f"get it with `python -m ecgbench.fetch ptbxl --only {STATEMENTS}`"
        )
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), reader.fieldnames or []
    member, class_column = MEMBERS[labels]
    if absent := [name for name in (member, class_column) if name is not None and name not in columns]:
        raise ValueError(f"{path} lacks the column {', '.join(absent)}; download it again")
    code = columns[0]
    members = [row for row in rows if member is None or row[member] in ("1", "1.0")]
    class_of = {row[code]: row[class_column or code] for row in members}
    if set(class_of.values()) != set(PTBXL_LABEL_SETS[labels]):
        raise ValueError(
            f"{path} gives {len(set(class_of.values()))} classes for dataset.labels={labels}, which has "
            f"{len(PTBXL_LABEL_SETS[labels])}: {_difference(set(class_of.values()), labels)}; download it again"
        )
    return class_of


def _difference(found: set[str], labels: str) -> str:
    """The classes that only one of the file and the label set has."""
    expected = set(PTBXL_LABEL_SETS[labels])
    parts = {"missing": sorted(expected - found), "unknown": sorted(found - expected)}
    return ", ".join(f"{name} are {' '.join(classes[:5])}" for name, classes in parts.items() if classes)


def _unlabelled(labelled: np.ndarray, labels: str) -> list[str]:
    """Counts the records without a class, and says what becomes of them."""
    n = int((~labelled).sum())
    if not n:
        return []
    fate = "they stay, without any class" if labels == "ptbxl_all" else "they are left out of training and test"
    return [f"{n:,} of {len(labelled):,} records have no statement of {labels}; {fate}."]


def _unknown(outside: list[list[str]]) -> list[str]:
    """Counts the codes that `scp_statements.csv` does not list."""
    counts = Counter(code for codes in outside for code in codes)
    if not counts:
        return []
    shown = ", ".join(f"{code} {n:,}" for code, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:5])
    return [
        f"{len(counts)} codes that {STATEMENTS} does not list occur {counts.total():,} times (most frequent: {shown}); "
        "they count for no class."
    ]
