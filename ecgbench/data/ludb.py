"""The Lobachevsky University Database: ten seconds of twelve leads with every wave's borders set by cardiologists."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ecgbench.data.amplitude import check_amplitude
from ecgbench.data.cinc_header import parse_age, parse_sex
from ecgbench.data.ptbxl import select_leads
from ecgbench.data.record import LEADS, EcgRecord, RecordError
from ecgbench.data.record_folds import splits_by_record
from ecgbench.data.source import Source
from ecgbench.data.wfdb_io import PER_MV, Annotations, Header, WfdbRecord, read_annotations, read_header, read_wfdb

FS_HZ = 500.0
TABLE = "ludb.csv"
N_RECORDS = 200
WAVES = {"p": "P", "N": "QRS", "t": "T"}
"""What the marks of a peak stand for; `(` before and `)` behind it are its onset and its end."""
WAVE = re.compile(r"(\()?([pNt])(?:(\))|(\(\)))?")
"""One wave in the row of marks. A downward QRS may have its peak marked just before its onset: `N()`."""


@dataclass(kw_only=True)
class Ludb(Source):
    """LUDB: 200 people, 12 leads, 10 s, 500 Hz, onset, peak and end of P, QRS and T in every lead.

    Data card:
        Source: Kalyakulina et al. 2020, IEEE Access 8:186181-186190; physionet.org/content/ludb, 1.0.1. ODC-By 1.0.
        Size: 200 records of 200 people, 85 women and 115 men aged 11 to 90; 58,429 waves over all leads (21,966 QRS,
            19,666 T, 16,797 P).
        Recorded: Schiller Cardiovit AT-101; 16 bit.
        Unit: the headers scale every lead of every record to a range of exactly 1 "mV", so their values are no
            millivolts, and neither is III II - I in them. The converter's steps, baseline included, do fulfil
            Einthoven's and Goldberger's identities to the rounding, and their amplitudes are those of PTB-XL (also
            Schiller) in uV, so a step is taken for 1 uV; `unit=header` gives the headers' values instead.
        Facts: ludb.csv (rhythm, axis, conduction, hypertrophy, pacing, ...), '>89' stands for everyone above 89.
        Annotations: `delineation`. The first and the last beat of a record are mostly not marked. Some deep QRS have no
            onset, or one behind the peak; record 116 has the marks of several T waves inside each other.
        Folds: ten, stratified by rhythm, dealt over all of ludb.csv; the database has none of its own.
        Known quirks: leads are named i, ii, ..., v6; the records lie in data/.

    A partial download works: records of RECORDS without files are left out.
    """

    root: str | Path
    """Folder that holds ludb.csv, RECORDS and data/1.hea, ..."""
    fs_hz: float = FS_HZ
    """Rate of the stored windows: the recordings are at 500 Hz and are resampled where this is another."""
    unit: Literal["steps", "header"] = "steps"
    """Whether a converter step is 1 uV, or every lead is scaled to a range of 1 as its header says."""
    fold_seed: int = 0
    """Seed of the dealing; independent of the run's seed."""
    train_folds: Sequence[int]
    val_folds: Sequence[int]
    test_folds: Sequence[int]

    def __post_init__(self) -> None:
        if self.unit not in ("steps", "header"):
            raise ValueError(f"dataset.unit={self.unit} is unknown; use steps or header")
        if self.fs_hz <= 0:
            raise ValueError(f"dataset.fs_hz={self.fs_hz:g} is not a rate; set 500, or another above 0 to resample to")

    def manifest(self) -> pd.DataFrame:
        """One row per record of the named folds whose files are there, by number.

        Columns beside the common ones: rhythm (several joined by commas), paced (bool), age_years (90 for 'above 89',
        NaN unknown), sex ('male' | 'female' | 'unknown'), is_male (1, 0, NaN).
        """
        return self._manifest.copy()

    def read(self, record_id: str) -> EcgRecord:
        """One record in mV; RecordError when a file is damaged, at another rate, not in mV, or lacks a lead."""
        record = read_wfdb(self._path(record_id), record_id)
        if record.fs_hz != FS_HZ:
            raise RecordError(record_id, f"its header says {record.fs_hz:g} Hz, ludb has {FS_HZ:g}; download it again")
        if self.unit == "steps":
            record = record._replace(signal_mv=1e-3 * _steps(record, read_header(self._path(record_id), record_id)))
        check_amplitude(record.signal_mv, record_id)
        signal_mv = select_leads(record, self.leads, record_id)
        return EcgRecord(record_id, record_id, signal_mv, FS_HZ, tuple(self.leads))

    def delineation(self, record_id: str) -> pd.DataFrame:
        """The marked waves of every lead: lead, wave ('P' | 'QRS' | 'T'), onset, peak, offset.

        In samples at 500 Hz from the record's start, float64, NaN for an onset or an end that is not marked; by lead,
        then by time. Raises RecordError when a lead's file is missing.
        """
        path = self._path(record_id)
        rows = [(lead, *wave) for lead in LEADS for wave in _waves(read_annotations(path, lead.lower()))]
        table = pd.DataFrame(rows, columns=pd.Index(["lead", "wave", "onset", "peak", "offset"]))
        return table.astype({"onset": float, "peak": float, "offset": float})

    def files(self, record_id: str) -> list[Path]:
        """Its header and its samples."""
        path = self._path(record_id)
        return [path.with_name(path.name + suffix) for suffix in (".hea", ".dat")]

    def identity(self) -> dict[str, object]:
        """The leads and the listed records; neither folds nor facts, which come from the manifest."""
        listed = "\n".join(self._manifest["record_id"])
        return {
            "source": "ludb",
            "leads": list(self.leads),
            "unit": self.unit,
            "records_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        }

    def notes(self, n_records: int) -> list[str]:
        """Says what is taken for a millivolt, and when only a part of the database is there."""
        taken = {
            "steps": "LUDB's headers scale every lead to a range of 1; a step of the converter is taken for 1 uV.",
            "header": "LUDB's headers scale every lead to a range of 1, so amplitudes are no millivolts.",
        }
        notes = [taken[self.unit]]
        if n_records < N_RECORDS:
            notes.append(
                f"A part of LUDB: {n_records} of {N_RECORDS} records; not comparable with scores on the whole."
            )
        if absent := len(self._listed) - len(self._present):
            notes.append(f"{absent} of the {len(self._listed)} listed records have no files and are left out.")
        return notes

    def _path(self, record_id: str) -> Path:
        """The record's path without suffix."""
        if record_id not in self._listed:
            raise RecordError(record_id, f"not listed in {self.root}; its records are 1 to {N_RECORDS}")
        return Path(self.root) / "data" / record_id

    @cached_property
    def _table(self) -> pd.DataFrame:
        """ludb.csv by record, without the line ends inside its fields."""
        path = Path(self.root) / TABLE
        if not path.is_file():
            raise FileNotFoundError(
                f"dataset.root={self.root} holds no {TABLE}; set dataset.root to the folder with {TABLE} and "
                "data/1.hea of physionet.org/content/ludb, release 1.0.1"
            )
        table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("ID")
        return pd.DataFrame({name: table[name].str.strip().str.replace("\n", ",") for name in table})

    @cached_property
    def _listed(self) -> list[str]:
        """The records of RECORDS, or of ludb.csv where there is none."""
        listing = Path(self.root) / "RECORDS"
        lines = listing.read_text().split() if listing.is_file() else list(self._table.index)
        names = [Path(line).name for line in lines]
        if unknown := [name for name in names if name not in self._table.index]:
            raise ValueError(f"{listing} lists {unknown[0]}, which {TABLE} does not; download both again")
        return names

    @cached_property
    def _present(self) -> set[str]:
        """The listed records with header and samples."""
        present = {name for name in self._listed if all(path.is_file() for path in self.files(name))}
        if not present:
            raise FileNotFoundError(
                f"dataset.root={self.root} holds no data/*.hea with *.dat; get them from physionet.org/content/ludb"
            )
        return present

    @cached_property
    def _manifest(self) -> pd.DataFrame:
        facts = self._table.reset_index()
        rhythms = facts["Rhythms"].str.get_dummies(",").to_numpy(dtype=bool)
        folds = {"train": self.train_folds, "val": self.val_folds, "test": self.test_folds}
        table = splits_by_record(facts["ID"].tolist(), rhythms, self.fold_seed, folds)
        table["rhythm"] = facts["Rhythms"]
        table["paced"] = facts["Cardiac pacing"] != ""
        table["age_years"] = facts["Age"].map(parse_age).astype(float)
        table["sex"] = facts["Sex"].map(parse_sex)
        table["is_male"] = table["sex"].map({"male": 1.0, "female": 0.0}).astype(float)
        table = pd.DataFrame(table[table["record_id"].isin(self._present) & table["split"].notna()])
        return pd.DataFrame(table.sort_values("record_id", key=lambda names: names.astype(int))).reset_index(drop=True)


def _steps(record: WfdbRecord, header: Header) -> np.ndarray:
    """The values of the converter, whole numbers in float32, (lead, time); NaN where a sample is missing."""
    per_mv = np.array([[signal.gain * PER_MV[signal.units.lower()]] for signal in header.signals])
    baseline = np.array([[signal.baseline] for signal in header.signals])
    return np.rint(record.signal_mv * per_mv + baseline).astype(np.float32)


def _waves(marks: Annotations) -> Iterator[tuple[str, float, float, float]]:
    """Wave, onset, peak and end of each wave of one lead."""
    sample = [*marks.sample.astype(float), np.nan]  # place -1 is NaN: a mark that is not there
    for match in WAVE.finditer("".join(marks.symbol)):
        opened, peak, closed, behind = (match.start(group) for group in (1, 2, 3, 4))
        onset, offset = (opened, closed) if behind < 0 else (behind, behind + 1)
        yield WAVES[match[2]], sample[onset], sample[peak], sample[offset]
