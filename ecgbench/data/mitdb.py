"""The MIT-BIH Arrhythmia Database: half-hour two-lead recordings with every beat annotated."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from ecgbench.data.record import EcgRecord, RecordError
from ecgbench.data.source import Source
from ecgbench.data.wfdb_io import Annotations, read_annotations, read_wfdb

FS_HZ = 360.0
POSITIONS = ("upper", "lower")
"""The two signals by their place in the file, which is what is the same in all records."""

VAL = ("118", "124", "207", "223")
TRAIN = (
    "101", "106", "108", "109", "112", "114", "115", "116", "119", "122", "201", "203", "205", "208", "209", "215",
    "220", "230",
)  # fmt: skip
TEST = (
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "210", "212", "213", "214", "219", "221", "222",
    "228", "231", "232", "233", "234",
)  # fmt: skip
MOVED = ("202",)
"""Of DS2 and the man of 201, so trained on."""
PACED = ("102", "104", "107", "217")


@dataclass(kw_only=True)
class MitDb(Source):
    """MIT-BIH Arrhythmia Database: 48 records of 47 people, two leads, 30 minutes at 360 Hz.

    Data card:
        Source: Moody and Mark 2001, IEEE Eng. Med. Biol. 20(3):45-50; physionet.org/content/mitdb. ODC-By 1.0.
        Recorded: 1975-1979, Holter tapes; 11 bit over 10 mV, 200 steps a mV.
        Labels: a beat or rhythm mark at every R wave (`annotations`).
        Leads: mostly MLII above V1, but V5, V2, V4 or MLII also occur below and V5 above; hence 'upper' and 'lower'.
        Split: between patients, after de Chazal et al. 2004, Table III. DS1 is for training, here with 118, 124, 207
            and 223 set aside to choose the checkpoint; DS2 is for the test. One deviation: 201 (DS1) and 202 (DS2)
            are the same man, so 202 is trained on here and the test has 21 records.
        Paced: 102, 104, 107 and 217, which the AAMI's recommendation leaves out; `paced=keep` trains on them.
        `fold` is 1 for DS1, 2 for DS2 and 0 for the paced records.

    A partial download works: without a RECORDS file, the records are those whose headers are there.
    """

    root: str | Path
    """Folder that holds 100.hea, 100.dat, 100.atr, ..."""
    fs_hz: float = FS_HZ
    """Rate of the stored windows: the recordings are at 360 Hz and are resampled where this is another."""
    paced: Literal["skip", "keep"] = "skip"
    """Whether records of paced hearts are left out or trained on."""

    def __post_init__(self) -> None:
        if self.fs_hz <= 0:
            raise ValueError(f"dataset.fs_hz={self.fs_hz:g} is not a rate; set 360, or another above 0 to resample to")
        unknown = [lead for lead in self.leads if lead not in POSITIONS]
        if unknown:
            raise ValueError(
                f"dataset.leads {', '.join(unknown)} is not among {', '.join(POSITIONS)}: the names of mitdb's leads "
                "differ between records, so choose them by their place"
            )

    def manifest(self) -> pd.DataFrame:
        """One row per listed record of the two data sets, by number."""
        place = _places(self.paced)
        rows = [(name, _patient(name), *place[name]) for name in self._listed if name in place]
        return pd.DataFrame(rows, columns=pd.Index(["record_id", "patient_id", "split", "fold"]))

    def notes(self, n_records: int) -> list[str]:
        """Says when only a part of the database is there."""
        part = f"A part of the MIT-BIH Arrhythmia Database: {n_records} of 48 records."
        return [part] if n_records < 44 else []

    def read(self, record_id: str) -> EcgRecord:
        """One record in mV; RecordError when its file is damaged, at another rate, or lacks a lead."""
        record = read_wfdb(Path(self.root) / record_id, record_id)
        if record.fs_hz != FS_HZ:
            raise RecordError(record_id, f"its header says {record.fs_hz:g} Hz, mitdb has {FS_HZ:g}; download it again")
        wanted = [POSITIONS.index(lead) for lead in self.leads]
        if max(wanted) >= len(record.leads):
            raise RecordError(record_id, f"it has {len(record.leads)} of the {len(POSITIONS)} leads of mitdb")
        return EcgRecord(record_id, _patient(record_id), record.signal_mv[wanted], FS_HZ, tuple(self.leads))

    def annotations(self, record_id: str) -> Annotations:
        """The record's beat and rhythm marks, in samples at 360 Hz."""
        return read_annotations(Path(self.root) / record_id)

    def files(self, record_id: str) -> list[Path]:
        """Its header and its samples."""
        return [Path(self.root) / f"{record_id}{suffix}" for suffix in (".hea", ".dat")]

    def identity(self) -> dict[str, object]:
        """The fields that choose records and leads."""
        return {"source": "mitdb", "leads": list(self.leads), "paced": self.paced}

    @cached_property
    def _listed(self) -> list[str]:
        """The records of this copy, by number."""
        root = Path(self.root)
        names = [path.stem for path in root.glob("*.hea")]
        if not names:
            raise FileNotFoundError(
                f"dataset.root={root} holds no WFDB header (*.hea); set dataset.root to the folder with 100.hea, "
                "or get it with `python -m ecgbench.fetch mitdb`"
            )
        listing = root / "RECORDS"
        return sorted(listing.read_text().split() if listing.is_file() else names)


def _places(paced: str) -> dict[str, tuple[str, int]]:
    """Split and fold of each record that takes part."""
    groups = [(TRAIN, "train", 1), (VAL, "val", 1), (TEST, "test", 2), (MOVED, "train", 2)]
    if paced == "keep":
        groups.append((PACED, "train", 0))
    return {name: (split, fold) for names, split, fold in groups for name in names}


def _patient(record_id: str) -> str:
    """The record's number, but for 202, which shows the man of 201 (MIT-BIH Database Directory)."""
    return "201" if record_id == "202" else record_id
