"""The public recordings of the PhysioNet/Computing in Cardiology Challenges 2020 and 2021: what both years share."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ecgbench.data.cinc_files import find_headers, read_header, read_headers
from ecgbench.data.cinc_header import CincHeader
from ecgbench.data.cinc_labels import cinc_targets
from ecgbench.data.cinc_signal import read_signal_mv
from ecgbench.data.label_sets import CLASS_OF_CODE, LABEL_SETS
from ecgbench.data.ptbxl import select_leads
from ecgbench.data.record import EcgRecord, RecordError
from ecgbench.data.source import Source, Targets
from ecgbench.data.splits import split_by_fold
from ecgbench.data.stratified_folds import FoldRow, read_fold_file, stratified_folds, write_fold_file
from ecgbench.data.wfdb_io import WfdbRecord

Labels = Literal["cinc2021", "cinc2020", "cinc2020_unmerged"]

N_FOLDS = 10
STRATIFIED_BY = "cinc2021"
"""The label set that folds are stratified by whatever is scored, so that both years share their folds."""
UNUSED = "unused"
"""The split of the records that are neither trained on nor scored: those of sources that the protocol leaves out."""


@dataclass(kw_only=True)
class Cinc(Source):
    """Twelve-lead recordings of several hospitals with SNOMED CT codes, in the challenges' folder layout.

    Splits. Ten folds are dealt inside each source, stratified by the 26 classes of 2021 (Sechidis et al. 2011), so
    they do not change with `sources`, `labels` or the year. The headers name no patient. Records of one source that
    agree in age, sex and all codes therefore count as one patient, which keeps repeated recordings together and binds
    some strangers too; `patient_file` names the true patients where they are known.
    """

    root: str | Path
    """Folder that holds training/<source>/g1/*.hea."""
    labels: Labels
    """Label set: 26 classes, 24 classes, or the 27 codes of 2020 each on its own."""
    sources: Sequence[str] | None = None
    """Source folders to use; None for all of the challenge's that are there."""
    fs_hz: float = 500.0
    """Rate of the stored windows: recordings at another rate are resampled."""
    missing: Literal["error", "zero"] = "error"
    """Whether missing samples make a record bad or become 0 mV."""
    folds: Literal["grouped", "record"] = "grouped"
    """Whether a patient's records share a fold, or each record is dealt alone (optimistic)."""
    fold_seed: int = 0
    """Seed of the dealing; independent of the run's seed."""
    fold_file: str | Path | None = None
    """A file of `write_folds` to take patients and folds from; None to compute them."""
    patient_file: str | Path | None = None
    """CSV with the columns record_id, patient_id of the records whose patient is known; None for no such file."""
    train_folds: Sequence[int]
    val_folds: Sequence[int]
    test_folds: Sequence[int]
    train_sources: Sequence[str] | None = None
    """Sources whose records are split by fold; None for all but `test_sources`."""
    test_sources: Sequence[str] | None = None
    """Sources of which every record is tested on; None for all but `train_sources`."""

    year: ClassVar[int]
    official: ClassVar[Mapping[str, int]]
    """The challenge's source folders and their numbers of records."""

    def __post_init__(self) -> None:
        if self.labels not in CLASS_OF_CODE:
            raise ValueError(
                f"dataset.labels={self.labels} is no label set here; use one of {', '.join(CLASS_OF_CODE)}"
            )
        if self.fs_hz <= 0:
            raise ValueError(f"dataset.fs_hz={self.fs_hz:g} is not a rate; set 500, or another above 0 to resample to")
        if self.fold_file is not None and self.patient_file is not None:
            raise ValueError("dataset.fold_file names the patients already; set dataset.patient_file=null beside it")

    @property
    def source_names(self) -> tuple[str, ...]:
        """The source folders in use."""
        return tuple(self._sources)

    @property
    def patient_disjoint(self) -> bool:
        """Whether a patient's records share a fold."""
        return self.folds == "grouped"

    def manifest(self) -> pd.DataFrame:
        """One row per record by source and name; split is 'unused' for sources left out of training and test.

        Columns beside the common ones: source, dx (codes joined by commas, '' where the header is bad), age and
        age_years (NaN unknown), sex ('male' | 'female' | 'unknown'), is_male (1, 0, NaN), fs_hz and n_samples of the
        recording. Records whose header cannot be read are listed; `read` says what is wrong with them.
        """
        return self._manifest.copy()

    def targets(self, index: pd.DataFrame) -> Targets:
        """The classes of `labels` for each row; see `cinc_targets`."""
        return cinc_targets(index, self.labels)

    def read(self, record_id: str) -> EcgRecord:
        """One record in mV at its own rate; RecordError when a file is bad, not in mV, or lacks a lead."""
        path = self._paths.get(record_id)
        if path is None:
            raise RecordError(record_id, f"not among the records of {', '.join(self._sources)} in {self.root}")
        header = read_header(path)
        signal_mv = read_signal_mv(path.parent, header, record_id)
        if self.missing == "zero":
            np.nan_to_num(signal_mv, copy=False)
        signal_mv = select_leads(WfdbRecord(signal_mv, header.fs_hz, header.leads), self.leads, record_id)
        return EcgRecord(record_id, self._rows[record_id].patient_id, signal_mv, header.fs_hz, tuple(self.leads))

    def files(self, record_id: str) -> list[Path]:
        """Its header and its samples."""
        path = self._paths[record_id]
        header = self._headers[record_id]
        return [path, path.with_name(header.file if isinstance(header, CincHeader) else f"{record_id}.mat")]

    def identity(self) -> dict[str, object]:
        """The listed records and how they are read; neither folds nor labels, which come from the manifest."""
        listed = "\n".join(self._manifest["record_id"])
        return {
            "source": f"cinc{self.year}",
            "leads": list(self.leads),
            "missing": self.missing,
            "records_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        }

    def notes(self, n_records: int) -> list[str]:
        """Says what part of the challenge this is, how patients are told apart, and which sources were trained on."""
        whole = sum(self.official.values())
        part = f"{n_records:,} of the {whole:,} public records" if n_records < whole else "All public records"
        notes = [
            f"{part} of the Challenge {self.year}; its hidden test set is not among them, so no leaderboard score."
        ]
        notes += self._notes_on_patients()
        if unread := sorted(set(self._found) - set(self._sources)):
            notes.append(f"Folders under dataset.root that were not read: {', '.join(unread)}.")
        if foreign := [name for name in self._sources if name not in self.official]:
            notes.append(f"Not of the Challenge {self.year}: {', '.join(foreign)}.")
        if self.missing == "zero":
            notes.append("Missing samples are set to 0 mV.")
        if (rule := self._by_source) is not None:
            trained, tested = rule
            whole_test = f"; every record of {', '.join(tested)} is a test record" if tested else ""
            notes.append(f"Trained on {', '.join(trained)} alone{whole_test}.")
        return notes

    def write_folds(self, path: str | Path) -> str:
        """Writes patient and fold of every record of `sources` for `fold_file`, SHA-256 beside it; returns the hash."""
        return write_fold_file(path, self._rows)

    def _notes_on_patients(self) -> list[str]:
        notes = []
        if self.folds == "record":
            notes.append(
                "Optimistic: folds are dealt by record, as in the source paper, so records of one patient may be "
                "trained and tested on; set dataset.folds=grouped."
            )
        if self.fold_file is not None:
            notes.append(f"Patients and folds come from {Path(self.fold_file).name}.")
        else:
            known = "; a file names the patients of some" if self.patient_file is not None else ""
            notes.append(f"Patients are a proxy: one source, age, sex and list of codes count as one patient{known}.")
        table = self._manifest
        no_age, no_sex = int(table["age_years"].isna().sum()), int((table["sex"] == "unknown").sum())
        if no_age or no_sex:
            notes.append(f"Age is unknown of {no_age:,} and sex of {no_sex:,} of {len(table):,} records.")
        return notes

    @cached_property
    def _found(self) -> dict[str, dict[str, Path]]:
        """Every header under the root, by source."""
        return find_headers(Path(self.root))

    @cached_property
    def _sources(self) -> list[str]:
        """The sources in use, in alphabetical order."""
        present = [name for name, headers in self._found.items() if headers]
        if self.sources is None:
            chosen = [name for name in present if name in self.official]
            if not chosen:
                raise ValueError(
                    f"dataset.root={self.root} holds {', '.join(present)}, none of the Challenge {self.year}'s sources "
                    f"({', '.join(self.official)}); name those to use in dataset.sources"
                )
            return chosen
        self._check_sources("sources", self.sources, present)
        return sorted(set(self.sources))

    def _check_sources(self, key: str, given: Sequence[str], allowed: Sequence[str]) -> None:
        """ValueError when `given` is empty or names a source without records."""
        unknown = [name for name in given if name not in allowed]
        if not given or unknown:
            what = f"names {', '.join(unknown)}, which has no record" if unknown else "is empty"
            raise ValueError(
                f"dataset.{key} {what} in {self.root}; use null, or some of those there: {', '.join(allowed)}"
            )

    @cached_property
    def _by_source(self) -> tuple[list[str], list[str]] | None:
        """The sources that are split by fold and those only tested on; None where all are split by fold."""
        if self.train_sources is None and self.test_sources is None:
            return None
        for key in ("train_sources", "test_sources"):
            if (given := getattr(self, key)) is not None:
                self._check_sources(key, given, self._sources)
        trained = self._others(self.test_sources) if self.train_sources is None else list(self.train_sources)
        tested = self._others(self.train_sources) if self.test_sources is None else list(self.test_sources)
        if shared := sorted(set(trained) & set(tested)):
            raise ValueError(
                f"dataset.train_sources and dataset.test_sources both name {', '.join(shared)}; a source that is "
                "trained on is tested on in its test folds, so take it out of test_sources"
            )
        if not trained:
            raise ValueError(f"dataset.test_sources names every source ({', '.join(tested)}); leave one for training")
        return trained, tested

    def _others(self, names: Sequence[str] | None) -> list[str]:
        """The sources in use that are not among `names`."""
        return [name for name in self._sources if name not in (names or ())]

    @cached_property
    def _paths(self) -> dict[str, Path]:
        """Every record's header file, by source and name."""
        return {record_id: path for source in self._sources for record_id, path in self._found[source].items()}

    @cached_property
    def _headers(self) -> dict[str, CincHeader | RecordError]:
        return dict(zip(self._paths, read_headers(list(self._paths.values())), strict=True))

    @cached_property
    def _facts(self) -> pd.DataFrame:
        """What the headers say, one row per record."""
        source_of = {record_id: source for source in self._sources for record_id in self._found[source]}
        rows = []
        for record_id, header in self._headers.items():
            known = header if isinstance(header, CincHeader) else None
            age, sex = (known.age_years, known.sex) if known else (np.nan, "unknown")
            is_male = {"male": 1.0, "female": 0.0}.get(sex, np.nan)
            dx = ",".join(known.dx) if known else ""
            fs_hz, n_samples = (known.fs_hz, known.n_samples) if known else (np.nan, 0)
            rows.append((record_id, source_of[record_id], dx, age, age, sex, is_male, fs_hz, n_samples))
        columns = ["record_id", "source", "dx", "age", "age_years", "sex", "is_male", "fs_hz", "n_samples"]
        return pd.DataFrame(rows, columns=pd.Index(columns))

    @cached_property
    def _rows(self) -> dict[str, FoldRow]:
        """Patient and fold of each record, from the fold file where one is given."""
        record_ids = self._facts["record_id"].tolist()
        if self.fold_file is None:
            return self._computed_rows()
        rows = read_fold_file(self.fold_file)
        if missing := [record_id for record_id in record_ids if record_id not in rows]:
            raise ValueError(
                f"dataset.fold_file={self.fold_file} lacks {len(missing):,} of {len(record_ids):,} records (first: "
                f"{', '.join(missing[:5])}); write one from all sources with `write_folds`, or name fewer in "
                "dataset.sources"
            )
        return {record_id: rows[record_id] for record_id in record_ids}

    def _computed_rows(self) -> dict[str, FoldRow]:
        """Patient and fold of each record, dealt source by source."""
        facts, patients = self._facts, self._patients()
        column = {code: LABEL_SETS[STRATIFIED_BY].index(name) for code, name in CLASS_OF_CODE[STRATIFIED_BY].items()}
        y = np.zeros((len(facts), len(LABEL_SETS[STRATIFIED_BY])), dtype=bool)
        for row, dx in enumerate(facts["dx"]):
            y[row, [column[code] for code in dx.split(",") if code in column]] = True
        record_ids = facts["record_id"].tolist()
        groups = patients if self.folds == "grouped" else record_ids
        fold = np.zeros(len(facts), dtype=np.int64)
        for rows in facts.groupby("source").indices.values():
            fold[rows] = stratified_folds(y[rows], [groups[row] for row in rows], N_FOLDS, self.fold_seed)
        return {r: FoldRow(p, f) for r, p, f in zip(record_ids, patients, fold.tolist(), strict=True)}

    def _patients(self) -> list[str]:
        """The patient of each record: known, or one for all records of a source with equal age, sex and codes."""
        known = {} if self.patient_file is None else _read_patients(Path(self.patient_file))
        if self.patient_file is not None and known.keys().isdisjoint(self._paths):
            theirs, ours = (", ".join(list(ids)[:3]) for ids in (known, self._paths))
            raise ValueError(
                f"dataset.patient_file={self.patient_file} names none of the {len(self._paths):,} records: it has "
                f"{theirs}, ... where dataset.root has {ours}, ...; give a file of these records, or null"
            )
        patients = []
        for row in self._facts.itertuples():
            if row.record_id in known:
                patients.append(f"{row.source}/{known[row.record_id]}")
            elif not row.dx:  # a header that says nothing is like no other
                patients.append(f"{row.source}/{row.record_id}")
            else:
                codes = "+".join(sorted(row.dx.split(",")))
                patients.append(f"{row.source}/{row.age_years:g}/{row.sex}/{codes}")
        return patients

    @cached_property
    def _manifest(self) -> pd.DataFrame:
        facts, rows = self._facts, self._rows
        patients, fold = zip(*(rows[record_id] for record_id in facts["record_id"]), strict=True)
        self._check_folds(set(fold))
        folds = {"train": self.train_folds, "val": self.val_folds, "test": self.test_folds}
        split = split_by_fold(pd.Series(fold), folds).astype(object)
        if self._by_source is not None:
            trained, tested = self._by_source
            split[facts["source"].isin(tested)] = "test"
            split[~facts["source"].isin([*trained, *tested])] = UNUSED
        ours = pd.DataFrame({"record_id": facts["record_id"], "patient_id": patients, "split": split, "fold": fold})
        manifest = pd.concat([ours, facts.drop(columns="record_id")], axis=1)
        return manifest.dropna(subset=["split"]).reset_index(drop=True)

    def _check_folds(self, held: set[int]) -> None:
        """ValueError when a split names a fold that no protocol has."""
        allowed = held | set(range(1, N_FOLDS + 1))
        for key in ("train_folds", "val_folds", "test_folds"):
            if unknown := sorted(set(getattr(self, key)) - allowed):
                raise ValueError(f"dataset.{key} names fold {unknown[0]}; folds run from 1 to {max(allowed)}")


def _read_patients(path: Path) -> dict[str, str]:
    """The patients of a patient file, by record."""
    if not path.is_file():
        raise FileNotFoundError(f"dataset.patient_file={path} is not there; give a CSV with record_id, patient_id")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"record_id", "patient_id"} <= rows[0].keys():
        raise ValueError(f"dataset.patient_file={path} has no rows with the columns record_id and patient_id")
    return {row["record_id"]: row["patient_id"] for row in rows}
