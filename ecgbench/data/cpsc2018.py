"""The China Physiological Signal Challenge 2018 in its own layout: MATLAB files and a list of labels."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ecgbench.data.amplitude import check_amplitude
from ecgbench.data.cinc_header import Sex, parse_age, parse_sex
from ecgbench.data.ptbxl import select_leads
from ecgbench.data.record import LEADS, EcgRecord, RecordError
from ecgbench.data.record_folds import splits_by_record
from ecgbench.data.source import Source
from ecgbench.data.wfdb_io import WfdbRecord

FS_HZ = 500.0
REFERENCE = "REFERENCE.csv"
N_RECORDS = 6_877
DIAGNOSES = ("NORM", "AF", "IAVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
"""What the labels 1 to 9 stand for."""

COMPRESSED = 15
"""MATLAB 5's type number of a compressed element."""
TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8", 16: "u1"}
"""numpy's names of MATLAB 5's types of numbers and text."""
LOOKED_AT = 4096
"""Bytes of a file, far more than sex and age take, that stand before the samples."""


@dataclass(kw_only=True)
class Cpsc2018(Source):
    """CPSC 2018: 12 leads, 500 Hz, from 6 s to a minute and more, nine diagnoses, eleven Chinese hospitals.

    Data card:
        Source: Liu et al. 2018, J. Med. Imaging Health Inf. 8(7):1368-1373; 2018.icbeb.org/Challenge.html.
        Size: 6,877 public records; the challenge's test records were never published.
        Files: A0001.mat, ...: struct ECG with sex, age and data, (12, time) float64 in mV, nothing filtered.
        Leads: I, II, III, aVR, aVL, aVF, V1-V6; III is II - I to the last bit, the augmented leads to a 1 uV step.
        Labels: REFERENCE.csv, one to three of 1 normal, 2 atrial fibrillation, 3 first-degree AV block, 4 LBBB, 5 RBBB,
            6 premature atrial, 7 premature ventricular, 8 ST depression, 9 ST elevation.
        Patients: not told, so each record counts as one.
        Folds: ten, stratified by the nine labels, dealt over all of REFERENCE.csv; not the challenge's own.
        Shared with: source cpsc_2018 of cinc2020 and cinc2021, which holds the same recordings. Train on one only.

    A partial download works: REFERENCE.csv and some of its files; the other records are left out.
    """

    root: str | Path
    """Folder that holds REFERENCE.csv and A0001.mat, ..."""
    fs_hz: float = FS_HZ
    """Rate of the stored windows: the recordings are at 500 Hz and are resampled where this is another."""
    fold_seed: int = 0
    """Seed of the dealing; independent of the run's seed."""
    train_folds: Sequence[int]
    val_folds: Sequence[int]
    test_folds: Sequence[int]

    def __post_init__(self) -> None:
        if self.fs_hz <= 0:
            raise ValueError(f"dataset.fs_hz={self.fs_hz:g} is not a rate; set 500, or another above 0 to resample to")

    def manifest(self) -> pd.DataFrame:
        """One row per record of the named folds whose file is there, in the order of REFERENCE.csv.

        Columns beside the common ones: diagnoses (names of `DIAGNOSES` joined by commas), age_years (NaN unknown), sex
        ('male' | 'female' | 'unknown'), is_male (1, 0, NaN). Age and sex stand in front of the samples, which are not
        read.
        """
        return self._manifest.copy()

    def read(self, record_id: str) -> EcgRecord:
        """One record in mV; RecordError when its file is missing, damaged or not in mV."""
        signal_mv = _read_mat(self._path(record_id), record_id)
        check_amplitude(signal_mv, record_id)
        signal_mv = select_leads(WfdbRecord(signal_mv, FS_HZ, LEADS), self.leads, record_id)
        return EcgRecord(record_id, record_id, signal_mv, FS_HZ, tuple(self.leads))

    def files(self, record_id: str) -> list[Path]:
        """Its MATLAB file."""
        return [self._path(record_id)]

    def identity(self) -> dict[str, object]:
        """The leads and the listed records; neither folds nor labels, which come from the manifest."""
        listed = "\n".join(self._manifest["record_id"])
        return {
            "source": "cpsc2018",
            "leads": list(self.leads),
            "records_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        }

    def notes(self, n_records: int) -> list[str]:
        """Says what part of CPSC 2018 this is, and that no patient is named."""
        notes = []
        if n_records < N_RECORDS:
            notes.append(
                f"A part of CPSC 2018: {n_records:,} of {N_RECORDS:,} records; not comparable with scores on the whole."
            )
        if absent := len(self._labels) - len(self._present):
            notes.append(
                f"{absent:,} of the {len(self._labels):,} records in {REFERENCE} have no file and are left out."
            )
        return [*notes, "CPSC 2018 names no patient; each record counts as one."]

    def _path(self, record_id: str) -> Path:
        if record_id not in self._labels:
            raise RecordError(record_id, f"not listed in {REFERENCE}; its records are A0001 to A{N_RECORDS}")
        return Path(self.root) / f"{record_id}.mat"

    @cached_property
    def _labels(self) -> dict[str, tuple[int, ...]]:
        """The labels, from 1, of every record in REFERENCE.csv."""
        path = Path(self.root) / REFERENCE
        if not path.is_file():
            raise FileNotFoundError(
                f"dataset.root={self.root} holds no {REFERENCE}; set dataset.root to the folder with {REFERENCE} and "
                "A0001.mat, ... from 2018.icbeb.org/Challenge.html"
            )
        rows = [line.split(",") for line in path.read_text(encoding="utf-8-sig").split()[1:]]
        labels = {name: tuple(int(n) if n.isdecimal() else 0 for n in given if n) for name, *given in rows}
        wrong = [name for name, given in labels.items() if not given or not set(given) <= set(range(1, 10))]
        if wrong or not labels:
            first = f"{wrong[0]} has {labels[wrong[0]]}" if wrong else "it lists none"
            raise ValueError(f"{path} does not give labels 1-9 to every record ({first}); download it again")
        return labels

    @cached_property
    def _present(self) -> set[str]:
        """The listed records whose files are there."""
        present = {path.stem for path in Path(self.root).glob("*.mat")} & self._labels.keys()
        if not present:
            raise FileNotFoundError(
                f"dataset.root={self.root} holds none of the {len(self._labels):,} records of {REFERENCE}; put "
                "A0001.mat, ... beside it"
            )
        return present

    @cached_property
    def _manifest(self) -> pd.DataFrame:
        y = np.zeros((len(self._labels), len(DIAGNOSES)), dtype=bool)
        for row, given in enumerate(self._labels.values()):
            y[row, np.array(given) - 1] = True
        folds = {"train": self.train_folds, "val": self.val_folds, "test": self.test_folds}
        table = splits_by_record(list(self._labels), y, self.fold_seed, folds)
        table["diagnoses"] = [",".join(DIAGNOSES[n - 1] for n in given) for given in self._labels.values()]
        used = table["record_id"].isin(self._present) & table["split"].notna()
        table = pd.DataFrame(table[used]).reset_index(drop=True)
        facts = [_facts(self._path(record_id)) for record_id in table["record_id"]]
        table["age_years"] = pd.Series([age for age, _ in facts], dtype=float)
        table["sex"] = [sex for _, sex in facts]
        table["is_male"] = table["sex"].map({"male": 1.0, "female": 0.0}).astype(float)
        return table


def _read_mat(path: Path, record_id: str) -> np.ndarray:
    """The field `data` of the struct `ECG`, float32 (12, time)."""
    from scipy.io import loadmat

    if not path.is_file():
        raise RecordError(record_id, f"missing file {path.name} in {path.parent}; download it again")
    try:
        data = np.asarray(loadmat(path)["ECG"][0, 0]["data"])
    except Exception as error:  # scipy raises whatever its parsing meets, from KeyError to zlib.error
        reason = f"{path.name} holds no struct ECG with the field data ({type(error).__name__}: {error})"
        raise RecordError(record_id, f"{reason}; download it again") from error
    if data.ndim != 2 or len(data) != len(LEADS) or data.shape[1] == 0 or data.dtype.kind not in "iuf":
        found = f"{data.dtype} {' x '.join(map(str, data.shape))}"
        raise RecordError(record_id, f"{path.name} holds {found} in ECG.data, not 12 leads x time; download it again")
    return data.astype(np.float32)


def _facts(path: Path) -> tuple[float, Sex]:
    """Age in years and sex, unknown where the file's beginning cannot be read; `read` says what is wrong with it."""
    with open(path, "rb") as file:
        head = file.read(LOOKED_AT)[128:]  # behind the text that opens the file
    try:
        kind, content = next(_elements(head))
        if kind == COMPRESSED:
            _, content = next(_elements(zlib.decompressobj().decompress(content, LOOKED_AT)))
        _, _, _, (_, width), (_, names), *fields = _elements(content)
        step = int.from_bytes(width, "little")
        spelled = [names[i : i + step].rstrip(b"\0").decode() for i in range(0, len(names), step)]
        values = {name: _values(matrix) for name, (_, matrix) in zip(spelled, fields, strict=False)}
        sex, age = "".join(map(chr, values["sex"].tolist())), f"{float(values['age'][0]):g}"
    except (ValueError, KeyError, IndexError, StopIteration, zlib.error):
        return np.nan, "unknown"
    return parse_age(age), parse_sex(sex)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each MATLAB 5 element in `content`; the last one may be cut off."""
    while len(content) >= 8:
        kind, size = int.from_bytes(content[:4], "little"), int.from_bytes(content[4:8], "little")
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, 4
        else:
            start = 8
        yield kind, content[start : start + size]
        content = content[8 if start == 4 else 8 + size + -size % 8 :]


def _values(matrix: bytes) -> np.ndarray:
    """The numbers or characters of an array: what follows its flags, its size and its name."""
    _, _, _, (kind, content), *_ = _elements(matrix)
    if kind not in TYPES:
        raise ValueError(f"MATLAB type {kind} is neither number nor text")
    return np.frombuffer(content[: len(content) - len(content) % np.dtype(TYPES[kind]).itemsize], TYPES[kind])
