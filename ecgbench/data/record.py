"""The nouns of the data layer: what a source yields, what a dataset yields, and the error that names a record."""

from typing import NamedTuple

import numpy as np
import torch

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard twelve leads, in the order used everywhere."""

LEAD_SETS: dict[int, tuple[str, ...]] = {
    12: LEADS,
    8: ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"),
    6: ("I", "II", "III", "aVR", "aVL", "aVF"),
    4: ("I", "II", "III", "V2"),
    3: ("I", "II", "V2"),
    2: ("I", "II"),
}
"""Subsets of leads by their number: the independent ones, and those of PhysioNet/CinC 2021 (Reyna et al. 2021)."""


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
    """Model input, (batch, lead, time): in mV, or normalised as the task's preprocessing says."""
    y: torch.Tensor
    """Target: a signal in mV, (batch, lead, time), or 0 and 1 by class, (batch, class)."""
    mask: torch.Tensor
    """bool, (batch, time): True where the sample is real, False where it is padding; on a signal target's grid."""
    row: torch.Tensor
    """int64, (batch,): the row of the store's window index that each sample comes from."""
    condition: torch.Tensor
    """int64, (batch,): the index of the test condition (clean, bw@10dB, ...); 0 in training."""
    wide: torch.Tensor
    """float32, (batch, feature): what is known beside the signal (age, sex, measured intervals); no column for most."""


class RecordError(ValueError):
    """A record that cannot be used, with its name and the reason in words."""

    def __init__(self, record_id: str, reason: str) -> None:
        super().__init__(f"record {record_id}: {reason}")
        self.record_id = record_id
        self.reason = reason

    def __reduce__(self) -> tuple[type["RecordError"], tuple[str, str]]:
        return RecordError, (self.record_id, self.reason)
