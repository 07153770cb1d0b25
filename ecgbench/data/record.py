"""The nouns of the data layer: what a source yields, what a dataset yields, and the error that names a record."""

from typing import NamedTuple

import numpy as np
import torch

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard twelve leads, in the order used everywhere."""


class EcgRecord(NamedTuple):
    """One recording as its source holds it: unfiltered, at its own rate, in millivolts."""

    record_id: str
    patient_id: str
    signal_mv: np.ndarray
    """float32, (lead, time); missing samples are NaN."""
    fs_hz: float
    leads: tuple[str, ...]


class EcgBatch(NamedTuple):
    """What a dataset yields and a task consumes: model input, target, mask and identity."""

    x: torch.Tensor
    """Model input in mV, (batch, lead, time)."""
    y: torch.Tensor
    """Target in mV, (batch, lead, time)."""
    mask: torch.Tensor
    """bool, (batch, time) on the target's grid: True where the sample is real, False where it is padding."""
    row: torch.Tensor
    """int64, (batch,): the row of the store's window index that each sample comes from."""
    condition: torch.Tensor
    """int64, (batch,): the index of the test condition (clean, bw@10dB, ...); 0 in training."""


class RecordError(ValueError):
    """A record that cannot be used, with its name and the reason in words."""

    def __init__(self, record_id: str, reason: str) -> None:
        super().__init__(f"record {record_id}: {reason}")
        self.record_id = record_id
        self.reason = reason

    def __reduce__(self) -> tuple[type["RecordError"], tuple[str, str]]:
        return RecordError, (self.record_id, self.reason)
