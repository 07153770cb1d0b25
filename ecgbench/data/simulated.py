"""Simulated twelve-lead recordings: the data set that is always there.

Data card
    What it is: recordings computed from a closed-form model (`ecgbench.signal.simulate`), 500 Hz and ten seconds by
    default, with eleven diagnoses, age, sex, heart rate and intervals, and the true time of every wave. Each patient
    has one diagnosis; every fourth patient has two recordings. Folds are cut by patient as in PTB-XL: 1-8 train,
    9 validation, 10 test.
    What it is for: running, testing and timing every part of the benchmark without a download.
    What it is not: evidence about patients. It has no baseline wander, muscle artefact or electrode motion of its own
    (`noise` adds those), its diagnoses are textbook cases that never combine, and its variability is that of
    the model. A score on it says nothing about a score on recordings.
    Licence: computed by this package, under the package's licence. No person's data is in it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ecgbench.data.record import LEADS, EcgRecord, RecordError
from ecgbench.data.source import Source, Targets
from ecgbench.data.target_notes import absent_from_training
from ecgbench.signal import draws, heart_dipole, patients, rhythm, simulate

FOLD_STREAM = 3
N_FOLDS = 10
SPLIT_OF_FOLD = {**dict.fromkeys(range(1, 9), "train"), 9: "val", 10: "test"}


@dataclass(kw_only=True)
class Simulated(Source):
    """Recordings computed from a seed; its fields are the keys of `conf/dataset/simulated.yaml`."""

    leads: Sequence[str] = LEADS
    n_records: int = 300
    """Number of recordings."""
    seed: int = 0
    """Seed of the data; independent of the run's seed."""
    fs_hz: float = 500.0
    """Sampling rate."""
    duration_s: float = 10.0
    """Length of each recording."""
    labels: Sequence[str] = field(default_factory=lambda: list(patients.DIAGNOSES))
    """Diagnoses, dealt to the patients in turn; one listed twice is dealt twice as often."""
    noise_uv: float = 5.0
    """Standard deviation of the recorder's white noise; 0 for none."""

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise ValueError(f"dataset.labels is {self.labels!r}; give a list of {', '.join(patients.DIAGNOSES)}")
        self.leads, self.labels = tuple(self.leads), tuple(self.labels)
        _check_known("leads", self.leads, LEADS)
        _check_known("labels", self.labels, patients.DIAGNOSES)
        for name, low in (("n_records", 1), ("seed", 0), ("fs_hz", 50), ("duration_s", 4), ("noise_uv", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"dataset.{name} is {getattr(self, name)}; it must be {low} or more.")

    def notes(self, n_records: int) -> list[str]:
        """Says that nothing here was recorded from a person."""
        return ["All recordings are simulated: scores say nothing about patients, nor about scores on recordings."]

    def manifest(self) -> pd.DataFrame:
        """One row per recording, with its diagnosis, the patient and the intervals that it was made with."""
        numbers = np.arange(self.n_records)
        owners, plan = _patient_of(numbers), self._plan(numbers)
        folds = _folds(self.seed, owners)
        _check_splits(folds, self.n_records)
        return pd.DataFrame(
            {
                "record_id": [_record_id(number) for number in range(self.n_records)],
                "patient_id": [_patient_id(owner) for owner in owners.tolist()],
                "split": [SPLIT_OF_FOLD[fold] for fold in folds],
                "fold": folds,
                "label": self._labels(owners),
                "age": plan.patient.age_years.astype(int),
                "age_years": plan.patient.age_years.astype(int).astype(float),
                "sex": np.where(plan.patient.is_male, "male", "female"),
                "is_male": plan.patient.is_male.astype(float),
                "heart_rate_bpm": simulate.heart_rate_bpm(simulate.fiducials(plan).r_peak, self.duration_s),
                "pr_ms": np.where(plan.fibrillates, np.nan, plan.pr_s * 1e3),
                "qrs_ms": plan.qrs_s * 1e3,
                "qt_ms": plan.qt_s * 1e3,
            }
        )

    def targets(self, index: pd.DataFrame) -> Targets:
        """The one diagnosis of each row; the classes are those of `labels`, in that order, each once.

        Raises ValueError when a row has another diagnosis.
        """
        classes = tuple(dict.fromkeys(self.labels))
        y = (index["label"].to_numpy()[:, None] == np.asarray(classes)).astype(np.float32)
        if strange := sorted(set(index["label"][y.sum(axis=1) == 0])):
            raise ValueError(
                f"the records have the diagnoses {', '.join(strange)}, which dataset.labels={list(classes)} does not "
                "list; take records and labels from one dataset"
            )
        return Targets(classes, y, np.ones(len(index), dtype=bool), absent_from_training(index, y, classes))

    def read(self, record_id: str) -> EcgRecord:
        """One recording in mV; raises RecordError for an id that is not in the manifest."""
        record = self.read_batch([record_id])[0]
        if isinstance(record, RecordError):
            raise record
        return record

    def read_batch(self, record_ids: Sequence[str]) -> list[EcgRecord | RecordError]:
        """Several recordings computed together; each is the same as when computed alone."""
        known = {record_id: int(record_id[4:]) for record_id in record_ids if self._is_known(record_id)}
        numbers = np.array(list(known.values()), dtype=np.int64)
        signal_mv = self._render(numbers) if known else []
        records = dict(zip(known, (self._record(*pair) for pair in zip(numbers, signal_mv, strict=True)), strict=True))
        return [records.get(record_id) or self._unknown(record_id) for record_id in record_ids]

    def truth(self, record_id: str) -> pd.DataFrame:
        """The true times of the recording's beats, in samples (float) from its start.

        One row per beat whose R peak lies in the recording. Columns: kind ('sinus', 'PAC', 'PVC') and the onsets,
        peaks and offsets of `simulate.Fiducials`; NaN where a beat has no P wave, and outside the recording where the
        wave is cut off by its start or end. Raises RecordError for an id that is not in the manifest.
        """
        if not self._is_known(record_id):
            raise self._unknown(record_id)
        plan = self._plan(np.array([int(record_id[4:])]))
        times = simulate.fiducials(plan)
        inside = (times.r_peak[0] >= 0) & (times.r_peak[0] < self.duration_s)
        kinds = np.array(["sinus", "PAC", "PVC"])[plan.kind[0]]
        columns = {name: time_s[0, inside] * self.fs_hz for name, time_s in times._asdict().items()}
        return pd.DataFrame({"kind": kinds[inside], **columns})

    def files(self, record_id: str) -> list[Path]:
        """No files: recordings are computed."""
        return []

    def identity(self) -> dict[str, object]:
        """All parameters and a hash of the simulator's source, so that a change of either changes the data's hash."""
        return {
            "source": "simulated",
            "leads": list(self.leads),
            "n_records": self.n_records,
            "seed": self.seed,
            "fs_hz": float(self.fs_hz),
            "duration_s": float(self.duration_s),
            "labels": list(self.labels),
            "noise_uv": float(self.noise_uv),
            "version": _source_hash(),
        }

    def _labels(self, owners: np.ndarray) -> np.ndarray:
        return np.asarray(self.labels)[owners % len(self.labels)]

    def _plan(self, numbers: np.ndarray) -> simulate.Plan:
        owners = _patient_of(numbers)
        return simulate.plan(self.seed, self.duration_s, numbers, owners, self._labels(owners))

    def _render(self, numbers: np.ndarray) -> np.ndarray:
        n_samples = round(self.duration_s * self.fs_hz)
        signal_mv = simulate.render(self._plan(numbers), self.fs_hz, n_samples, self.noise_uv, self.seed)
        return signal_mv if self.leads == LEADS else signal_mv[:, [LEADS.index(lead) for lead in self.leads]]

    def _record(self, number: int, signal_mv: np.ndarray) -> EcgRecord:
        patient_id = _patient_id(int(_patient_of(np.array(number))))
        return EcgRecord(_record_id(number), patient_id, signal_mv, float(self.fs_hz), tuple(self.leads))

    def _is_known(self, record_id: str) -> bool:
        number = record_id.removeprefix("sim-")
        return number.isdecimal() and int(number) < self.n_records and record_id == _record_id(int(number))

    def _unknown(self, record_id: str) -> RecordError:
        last = _record_id(self.n_records - 1)
        return RecordError(record_id, f"no such simulated record; they run from {_record_id(0)} to {last}")


def _record_id(number: int) -> str:
    return f"sim-{number:06d}"


def _patient_id(number: int) -> str:
    return f"sim-p{number:06d}"


def _patient_of(numbers: np.ndarray) -> np.ndarray:
    """The patient of each recording: of five recordings, the last two belong to one patient."""
    return 4 * (numbers // 5) + np.minimum(numbers % 5, 3)


def _folds(seed: int, owners: np.ndarray) -> np.ndarray:
    """The fold of each recording, 1-10: every ten patients are dealt to the ten folds in random order."""
    blocks, member = np.divmod(owners, N_FOLDS)
    order = draws.Draws(seed, FOLD_STREAM, blocks).uniform(0, 1, N_FOLDS)
    return order.argsort(axis=1)[np.arange(len(owners)), member] + 1


def _check_splits(folds: np.ndarray, n_records: int) -> None:
    missing = sorted(set(SPLIT_OF_FOLD.values()) - {SPLIT_OF_FOLD[fold] for fold in folds})
    if missing:
        raise ValueError(
            f"dataset.n_records={n_records} leaves the split {' and '.join(missing)} without a record; "
            "12 records are enough to fill every split, set dataset.n_records=12 or more."
        )


def _check_known(key: str, given: Sequence[str], allowed: Iterable[str]) -> None:
    unknown = [name for name in given if name not in allowed]
    if unknown or not given:
        raise ValueError(f"dataset.{key} is {list(given)}; use one or more of {', '.join(allowed)}.")


@cache
def _source_hash() -> str:
    """SHA-256 over the simulator's source files."""
    modules = (draws, heart_dipole, patients, rhythm, simulate)
    paths = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
