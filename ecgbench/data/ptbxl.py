"""PTB-XL, the large public 12-lead data set."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ecgbench.data.label_sets import PTBXL_LABEL_SETS
from ecgbench.data.ptbxl_labels import ptbxl_targets
from ecgbench.data.record import EcgRecord, RecordError
from ecgbench.data.source import Source, Targets
from ecgbench.data.splits import split_by_fold
from ecgbench.data.wfdb_io import WfdbRecord, read_wfdb

DATABASE = "ptbxl_database.csv"
ROWS_OF_RELEASE = {21_837: "1.0.1", 21_799: "1.0.3"}
"""How many records each complete release lists."""
IS_MALE = {0: 1.0, 1: 0.0}
"""What the column sex stands for."""
ABOVE_89 = 300
"""The age of everyone above 89."""
REMOVED = frozenset({137, 139, 140, 141, 142, 143, 145, 456, 458, 459, 461, 462, 2506, 2511})
"""Those of the 38 duplicates that release 1.0.3 dropped which tell a partial copy's release."""


@dataclass(kw_only=True)
class PtbXl(Source):
    """PTB-XL: 12 leads, 10 s, 500 Hz and a 100 Hz copy, from 52 % men and 48 % women aged 0 to 95.

    Data card:
        Source: Wagner et al. 2020, Scientific Data 7:154; physionet.org/content/ptb-xl. Licence CC BY 4.0.
        Size: release 1.0.3 has 21,799 records of 18,869 patients; 1.0.1 has 21,837 of 18,885, 38 of them duplicates.
        Recorded: 1989-1996 with Schiller devices; 16 bit, 1 uV a step; units mV, nothing normalised here.
        Labels: `scp_codes` (SCP-ECG statements with a likelihood of 0-100, 0 for unknown), kept as a JSON string; the
            six label sets of Strodthoff et al. 2021 are made from them.
        Folds: `strat_fold` 1-10, stratified by label, no patient in two; 9 and 10 are checked by a person.
        Known quirks: an age of 300 stands for "above 89"; the leads are named AVR, AVL, AVF in the files.

    A partial download works: list fewer rows in `ptbxl_database.csv`, or set `on_bad_record=skip` to leave out the
    rows without files.
    """

    root: str | Path
    """Folder that holds ptbxl_database.csv."""
    fs_hz: int = 500
    """500 reads records500/, 100 reads records100/."""
    labels: Literal[
        "ptbxl_all",
        "ptbxl_diagnostic",
        "ptbxl_subdiagnostic",
        "ptbxl_superdiagnostic",
        "ptbxl_form",
        "ptbxl_rhythm",
    ] = "ptbxl_superdiagnostic"
    """Label set: 71 statements, 44 diagnostic ones, their 23 sub- and 5 super-classes, 19 of form, 12 of rhythm."""
    train_folds: Sequence[int]
    val_folds: Sequence[int]
    test_folds: Sequence[int]

    def __post_init__(self) -> None:
        if self.fs_hz not in (100, 500):
            raise ValueError(f"dataset.fs_hz={self.fs_hz} is not a rate of PTB-XL; set 500 or 100")
        if self.labels not in PTBXL_LABEL_SETS:
            raise ValueError(
                f"dataset.labels={self.labels} is no label set here; use one of {', '.join(PTBXL_LABEL_SETS)}"
            )

    def manifest(self) -> pd.DataFrame:
        """One row per record of the named folds, in the database's order, with every column of the database.

        Beside them age_years (90 for 'above 89', NaN unknown) and is_male (1, 0, NaN).
        """
        return self._manifest.copy()

    def targets(self, index: pd.DataFrame) -> Targets:
        """The classes of `labels` for each row; see `ptbxl_targets`."""
        return ptbxl_targets(index, self.labels, Path(self.root))

    def notes(self, n_records: int) -> list[str]:
        """Says when only a part of PTB-XL is there."""
        whole = 21_837 if self.release == "1.0.1" else 21_799
        part = f"A part of PTB-XL: {n_records:,} of {whole:,} records; not comparable with scores on the whole."
        return [part] if n_records < whole else []

    def read(self, record_id: str) -> EcgRecord:
        """One record in mV; RecordError when its file is damaged, at another rate, or lacks a lead."""
        record = read_wfdb(self._path(record_id), record_id)
        if record.fs_hz != self.fs_hz:
            reason = f"its header says {record.fs_hz:g} Hz where dataset.fs_hz={self.fs_hz}; download it again"
            raise RecordError(record_id, reason)
        signal_mv = select_leads(record, self.leads, record_id)
        return EcgRecord(record_id, self._patients[record_id], signal_mv, record.fs_hz, tuple(self.leads))

    def files(self, record_id: str) -> list[Path]:
        """Its header and its samples."""
        path = self._path(record_id)
        return [path.with_name(path.name + suffix) for suffix in (".hea", ".dat")]

    def identity(self) -> dict[str, object]:
        """The release, the database file's hash, and the fields that choose records and leads."""
        return {
            "source": "ptbxl",
            "release": self.release,
            "database_sha256": hashlib.sha256((Path(self.root) / DATABASE).read_bytes()).hexdigest(),
            "fs_hz": self.fs_hz,
            "leads": list(self.leads),
            "folds": [list(self.train_folds), list(self.val_folds), list(self.test_folds)],
        }

    @property
    def release(self) -> str:
        """'1.0.1' (or older), '1.0.3', or 'unknown' for a part that holds no clue.

        A complete database is told by its number of rows. A part of one is 1.0.1 when it lists a removed duplicate,
        and 1.0.3 when it lists both neighbours of a removed run of ids and not the run.
        """
        ids = frozenset(self._database["ecg_id"])
        if len(ids) in ROWS_OF_RELEASE:
            return ROWS_OF_RELEASE[len(ids)]
        if ids & REMOVED:
            return "1.0.1"
        before_and_after = ((_step_out(removed, -1), _step_out(removed, 1)) for removed in REMOVED)
        return "1.0.3" if any(a in ids and b in ids for a, b in before_and_after) else "unknown"

    @cached_property
    def _database(self) -> pd.DataFrame:
        path = Path(self.root) / DATABASE
        if not path.is_file():
            raise FileNotFoundError(
                f"dataset.root={self.root} holds no {DATABASE}; set dataset.root to the PTB-XL folder that does, "
                "or get it with `python -m ecgbench.fetch ptbxl`"
            )
        return pd.read_csv(path)

    @cached_property
    def _manifest(self) -> pd.DataFrame:
        database = self._database
        folds = {"train": self.train_folds, "val": self.val_folds, "test": self.test_folds}
        ours = pd.DataFrame({
            "record_id": database["ecg_id"].astype(str),
            "patient_id": database["patient_id"].astype(int).astype(str),  # 15709.0 in the file
            "split": split_by_fold(pd.Series(database["strat_fold"]), folds),
            "fold": database["strat_fold"].astype(int),
            "age_years": database["age"].astype(float).replace(ABOVE_89, 90.0),
            "is_male": database["sex"].map(IS_MALE).astype(float),
        })  # fmt: skip
        labels = database.drop(columns=["ecg_id", "patient_id", "strat_fold"])
        labels["scp_codes"] = labels["scp_codes"].str.replace("'", '"')  # Python's quotes to JSON's
        manifest = pd.concat([ours, labels], axis=1)
        return manifest.dropna(subset=["split"]).reset_index(drop=True)

    @cached_property
    def _patients(self) -> dict[str, str]:
        return dict(zip(self._manifest["record_id"], self._manifest["patient_id"], strict=True))

    @cached_property
    def _paths(self) -> dict[str, Path]:
        names = self._database["filename_hr" if self.fs_hz == 500 else "filename_lr"]
        return {str(i): Path(self.root) / name for i, name in zip(self._database["ecg_id"], names, strict=True)}

    def _path(self, record_id: str) -> Path:
        """The record's path without suffix."""
        if record_id not in self._paths:
            raise RecordError(record_id, f"not listed in {DATABASE}; its ids are those of the column ecg_id")
        return self._paths[record_id]


def select_leads(record: WfdbRecord, leads: Sequence[str], record_id: str) -> np.ndarray:
    """The signals of the named leads, in that order, whatever the case of their names: (lead, time)."""
    position = {name.lower(): i for i, name in enumerate(record.leads)}
    missing = [lead for lead in leads if lead.lower() not in position]
    if missing:
        reason = f"no lead {', '.join(missing)} among its {', '.join(record.leads)}; choose dataset.leads among them"
        raise RecordError(record_id, reason)
    wanted = [position[lead.lower()] for lead in leads]
    return record.signal_mv if wanted == list(range(len(record.leads))) else record.signal_mv[wanted]


def _step_out(removed: int, step: int) -> int:
    """The nearest id beyond a run of removed ones."""
    while removed in REMOVED:
        removed += step
    return removed
