"""What every data source offers: a manifest, its records, and the files they come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ecgbench.data.record import EcgRecord, RecordError


class Targets(NamedTuple):
    """The labels of some records, as the classification task takes them."""

    classes: tuple[str, ...]
    """The classes, in the order of the columns."""
    y: np.ndarray
    """float32, (row, class): 1 where the record has the class, 0 where it has not."""
    kept: np.ndarray
    """bool, (row,): False where the protocol leaves the record out, as it has no label of the set."""
    notes: list[str]
    """What a reader of scores on these labels must know, one sentence each."""


@dataclass(kw_only=True)
class Source(ABC):
    """A set of recordings. Its fields are the keys of `conf/dataset/<name>.yaml`."""

    leads: Sequence[str]
    """The leads each record yields, in this order."""
    on_bad_record: Literal["error", "skip"] = "error"
    """What to do with records that cannot be used: stop with their names, or leave them out and list them."""
    flat_leads: Literal["error", "keep"] = "error"
    """Whether a lead without any variation makes its record bad."""

    @property
    def source_names(self) -> tuple[str, ...]:
        """The hospitals that the records come from, as far as they are told apart (manifest column `source`)."""
        return (type(self).__name__.lower(),)

    @property
    def patient_disjoint(self) -> bool:
        """Whether the splits are meant to share no patient, which is then checked; False for an optimistic protocol."""
        return True

    @abstractmethod
    def manifest(self) -> pd.DataFrame:
        """One row per listed record, without opening signals.

        Columns: record_id (str, unique), patient_id (str), split ('train' | 'val' | 'test'), fold (int),
        then whatever the source knows (age, sex, labels, ...), all Parquet-compatible.
        """

    @abstractmethod
    def read(self, record_id: str) -> EcgRecord:
        """One record in mV with `self.leads`; raises RecordError when it cannot be used."""

    def read_batch(self, record_ids: Sequence[str]) -> list[EcgRecord | RecordError]:
        """Several records at once, each replaced by its error where it cannot be used."""
        out: list[EcgRecord | RecordError] = []
        for record_id in record_ids:
            try:
                out.append(self.read(record_id))
            except RecordError as error:
                out.append(error)
        return out

    @abstractmethod
    def files(self, record_id: str) -> list[Path]:
        """The files that the record is read from; empty for a source that computes its records."""

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Everything beside the files' bytes that decides what `manifest` and `read` return, as plain values."""

    def notes(self, n_records: int) -> list[str]:
        """What a reader of scores on `n_records` of these records must know, one sentence each."""
        return []

    def targets(self, index: pd.DataFrame) -> Targets:
        """The labels of the rows of `index`, a manifest or a store's index, whose columns include the manifest's.

        Raises ValueError where the source has no labels, or none of the label set asked for.
        """
        raise ValueError(
            f"dataset {type(self).__name__.lower()} has no class labels; "
            "use dataset=simulated, ptbxl, cinc2020 or cinc2021 for task=classification"
        )
