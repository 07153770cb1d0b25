"""CODE-test: the annotated exams of the Telehealth Network of Minas Gerais, in one HDF5 file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ecgbench.data.amplitude import check_amplitude
from ecgbench.data.cinc_header import parse_age, parse_sex
from ecgbench.data.ptbxl import select_leads
from ecgbench.data.record import LEADS, EcgRecord, RecordError
from ecgbench.data.record_folds import splits_by_record
from ecgbench.data.source import Source
from ecgbench.data.wfdb_io import WfdbRecord
from ecgbench.signal.leads import LIMB_LEADS

FS_HZ = 400.0
TRACINGS, DATASET = "ecg_tracings.hdf5", "tracings"
ATTRIBUTES, GOLD_STANDARD = "attributes.csv", "annotations/gold_standard.csv"
N_RECORDS, N_SAMPLES = 827, 4096
CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
"""The six diagnoses, in the order of the gold standard's columns."""
PRECORDIAL = LEADS[6:]
ORDERS = (LEADS, ("I", "II", "III", "aVL", "aVF", "aVR", *PRECORDIAL))
"""The leads' orders: the one the classifier's documentation gives, then the one that the data's gives."""
TRIED = 32
"""Exams that the order of the leads is told from."""
LARGEST_RESIDUAL = 0.1
"""The right order's bound on what the limb leads lack to Einthoven's and Goldberger's identities, RMS over RMS."""


@dataclass(kw_only=True)
class CodeTest(Source):
    """CODE-test: 827 exams of 827 people, 12 leads, 7 or 10 s, 400 Hz, six diagnoses by three cardiologists.

    Data card:
        Source: Ribeiro et al. 2020, Nature Communications 11:1760; doi.org/10.5281/zenodo.3625006. CC BY 4.0.
        Files: ecg_tracings.hdf5, dataset `tracings` (827, 4096, 12); attributes.csv (age, sex);
            annotations/gold_standard.csv (0/1 for 1dAVb, RBBB, LBBB, SB, AF, ST).
        Size: gold counts 28, 34, 30, 16, 13, 37; 681 exams have none of the six.
        Padding: 10 s exams are 4,000 samples, 7 s exams 2,800, centred between zeros to 4,096. `padding=trim` drops
            the zeros, `extent` says where the recording lies.
        Leads: two documents of the authors give two orders of the augmented leads. The data decide: the order must
            fulfil Einthoven's and Goldberger's identities, and where neither does, nothing is read.
        Unit: the documentation contradicts itself. The values are taken for mV, as the classifier's authors do; their
            amplitudes look about twice too large beside other collections. `code_gain=0.5` is the other reading.
        Folds: ten, stratified by the six diagnoses; the collection has none, as it is a test set.

    Reading needs h5py, which this package does not install.
    """

    root: str | Path
    """Folder that holds ecg_tracings.hdf5, attributes.csv and annotations/gold_standard.csv."""
    fs_hz: float = 500.0
    """Rate of the stored windows: the exams are at 400 Hz and are resampled where this is another."""
    code_gain: float = 1.0
    """Factor from the file's values to mV; divide by it what goes to a classifier of the file's own values."""
    padding: Literal["trim", "keep"] = "trim"
    """Whether the zeros around an exam are dropped, or every exam keeps its 4,096 samples."""
    fold_seed: int = 0
    """Seed of the dealing; independent of the run's seed."""
    train_folds: Sequence[int]
    val_folds: Sequence[int]
    test_folds: Sequence[int]

    def __post_init__(self) -> None:
        if self.fs_hz <= 0:
            raise ValueError(f"dataset.fs_hz={self.fs_hz:g} is not a rate; set 500, or 400 to keep the exams' own")
        if not 0 < self.code_gain < np.inf:
            raise ValueError(f"dataset.code_gain={self.code_gain:g} is not a gain; set 1 or 0.5, or another above 0")

    def manifest(self) -> pd.DataFrame:
        """One row per exam of the named folds, in the file's order; record_id is the exam's row, from '0000'.

        Columns beside the common ones: diagnoses (names of `CLASSES` joined by commas, '' for none), age_years (NaN
        unknown), sex ('male' | 'female' | 'unknown'), is_male (1, 0, NaN).
        """
        return self._manifest.copy()

    def read(self, record_id: str) -> EcgRecord:
        """One exam in mV at 400 Hz; RecordError when it is empty or its amplitude is not an ECG's."""
        start, stop, values = self._values(record_id)
        signal_mv = np.ascontiguousarray(values.T[:, start:stop] * np.float32(self.code_gain))
        try:
            check_amplitude(signal_mv, record_id)
        except RecordError as error:
            reason = f"dataset.code_gain={self.code_gain:g} does not give mV: {error.reason}"
            raise RecordError(record_id, reason) from error
        if self.padding == "keep":
            signal_mv = np.ascontiguousarray(values.T * np.float32(self.code_gain))
        signal_mv = select_leads(WfdbRecord(signal_mv, FS_HZ, self.lead_order), self.leads, record_id)
        return EcgRecord(record_id, record_id, signal_mv, FS_HZ, tuple(self.leads))

    def extent(self, record_id: str) -> tuple[int, int]:
        """First sample of the recording in the file's 4,096, and the one after its last; all others are padding."""
        return self._values(record_id)[:2]

    @cached_property
    def lead_order(self) -> tuple[str, ...]:
        """The leads in the file's order, told by the identities between the limb leads.

        Raises ValueError where no documented order fulfils them.
        """
        with _open(self._file) as file:
            some = np.asarray(file[DATASET][:TRIED], dtype=np.float64)
        residuals = [_residual(some, order) for order in ORDERS]
        best = int(np.argmin(residuals))
        if not residuals[best] <= LARGEST_RESIDUAL:
            tried = "; ".join(f"{', '.join(o[3:6])}: {r:.2f}" for o, r in zip(ORDERS, residuals, strict=True))
            raise ValueError(
                f"no known order of leads fits {self._file}: the limb leads miss Einthoven's and Goldberger's "
                f"identities by more than {LARGEST_RESIDUAL:g} of their RMS ({tried}); is it CODE-test's {TRACINGS}?"
            )
        return ORDERS[best]

    def files(self, record_id: str) -> list[Path]:
        """The HDF5 file, which holds all exams."""
        return [self._file]

    def identity(self) -> dict[str, object]:
        """What decides an exam's samples, and the listed exams."""
        listed = "\n".join(self._manifest["record_id"])
        return {
            "source": "code_test",
            "leads": list(self.leads),
            "code_gain": self.code_gain,
            "padding": self.padding,
            "records_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        }

    def notes(self, n_records: int) -> list[str]:
        """Says what part of CODE-test this is, which order of leads was found, and what was taken for a millivolt."""
        notes = [
            f"CODE-test's augmented leads stand in the order {', '.join(self.lead_order[3:6])}, told by Goldberger's "
            "identities.",
            f"CODE-test's unit is not documented clearly; its values times {self.code_gain:g} are taken for mV.",
        ]
        if n_records < N_RECORDS:
            notes.insert(0, f"A part of CODE-test: {n_records} of {N_RECORDS} exams.")
        if self.padding == "keep":
            notes.append("The zeros around CODE-test's exams are kept, as in the published protocol.")
        return notes

    def _values(self, record_id: str) -> tuple[int, int, np.ndarray]:
        """Where the recording starts and stops, and the file's values, float32 (4096, 12)."""
        if record_id not in self._rows:
            raise RecordError(record_id, f"not among the {len(self._rows)} exams of {self._file}, from 0000 on")
        with _open(self._file) as file:
            values = np.asarray(file[DATASET][self._rows[record_id]], dtype=np.float32)
        recorded = np.flatnonzero(values.any(axis=1))
        if not recorded.size:
            raise RecordError(record_id, "all its samples are 0; the file is damaged, download it again")
        return int(recorded[0]), int(recorded[-1]) + 1, values

    @cached_property
    def _file(self) -> Path:
        path = Path(self.root) / TRACINGS
        if not path.is_file():
            raise FileNotFoundError(
                f"dataset.root={self.root} holds no {TRACINGS}; set dataset.root to the folder with it, {ATTRIBUTES} "
                "and annotations/, from doi.org/10.5281/zenodo.3625006"
            )
        return path

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each exam in the file."""
        with _open(self._file) as file:
            shape = tuple(file[DATASET].shape) if DATASET in file else ()
        if len(shape) != 3 or shape[1:] != (N_SAMPLES, len(LEADS)) or shape[0] == 0:
            found = " x ".join(map(str, shape)) or "none"
            raise ValueError(
                f"{self._file} should hold a dataset {DATASET!r} of exams x {N_SAMPLES} samples x {len(LEADS)} leads, "
                f"its shape is {found}; download it again"
            )
        return {f"{row:04d}": row for row in range(shape[0])}

    @cached_property
    def _manifest(self) -> pd.DataFrame:
        exams = list(self._rows)
        facts, gold = self._csv(ATTRIBUTES, ("age", "sex")), self._csv(GOLD_STANDARD, CLASSES)
        y = gold[list(CLASSES)].astype(float).to_numpy() > 0
        folds = {"train": self.train_folds, "val": self.val_folds, "test": self.test_folds}
        table = splits_by_record(exams, y, self.fold_seed, folds)
        table["diagnoses"] = [",".join(name for name, has in zip(CLASSES, row, strict=True) if has) for row in y]
        table["age_years"] = facts["age"].map(parse_age).astype(float)
        table["sex"] = facts["sex"].map(parse_sex)
        table["is_male"] = table["sex"].map({"male": 1.0, "female": 0.0}).astype(float)
        return table.dropna(subset=["split"]).reset_index(drop=True)

    def _csv(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """A table with one row per exam, as text."""
        path = Path(self.root) / name
        if not path.is_file():
            raise FileNotFoundError(f"dataset.root={self.root} holds no {name}; it is published with {TRACINGS}")
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not set(columns) <= set(table.columns) or len(table) != len(self._rows):
            raise ValueError(
                f"{path} has {len(table)} rows of {', '.join(table.columns)}; expected is one row with "
                f"{', '.join(columns)} for each of the {len(self._rows)} exams in {TRACINGS}"
            )
        return table


def _open(path: Path) -> Any:
    """The HDF5 file, to be closed by `with`."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"dataset code_test reads {path.name} with h5py, which is not installed; run `pip install h5py`, or use "
            "another dataset"
        ) from error
    return h5py.File(path, "r")


def _residual(values: np.ndarray, order: Sequence[str]) -> float:
    """Median over exams of what the limb leads lack to the identities, by RMS, over the limb leads' own RMS.

    `values` is (exam, time, lead) with leads in `order`; exams without any signal do not count.
    """
    place = {lead: order.index(lead) for lead in LIMB_LEADS}
    limb = values[:, :, list(place.values())]
    expected = values[:, :, [place["I"], place["II"]]] @ np.array(list(LIMB_LEADS.values())).T
    energy = (limb**2).sum(axis=(1, 2))
    lacking = ((limb - expected) ** 2).sum(axis=(1, 2))
    return float(np.median(np.sqrt(lacking[energy > 0] / energy[energy > 0]))) if energy.any() else np.inf
