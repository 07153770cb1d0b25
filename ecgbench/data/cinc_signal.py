"""Signals of the PhysioNet/CinC Challenge records: a MATLAB file with one matrix `val`, to millivolts.

The files are MATLAB version 4 (Level 5 ones are read too): twenty bytes that give type and size, four that spell the
name, then the samples. numpy reads them in place; whatever has another head is left to scipy.
"""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np

from ecgbench.data.amplitude import check_amplitude
from ecgbench.data.cinc_header import CincHeader
from ecgbench.data.record import RecordError

INT16_MATRIX = 30
"""MATLAB 4's type number of a full little-endian int16 matrix."""
V4_HEAD = struct.Struct("<5i4s")
"""Type, rows, columns, whether complex, length of the name, name."""
MISSING = -32768
"""The value that marks a missing sample in WFDB's format 16, which the headers declare."""


def read_signal_mv(folder: Path, header: CincHeader, record_id: str) -> np.ndarray:
    """The record's samples in mV, float32 (lead, time) in the header's order of leads, NaN where one is missing.

    RecordError when the file is missing, is no such matrix, differs in size or checksums from its header, or when the
    amplitude is not an ECG's in mV.
    """
    values = _values(folder / header.file, record_id)
    expected = (len(header.leads), header.n_samples)
    if values.shape != expected:
        found = " x ".join(map(str, values.shape))
        reason = f"{header.file} holds {found} samples, its header says {expected[0]} x {expected[1]}"
        raise _again(record_id, reason)
    _check_sums(values, header, record_id)
    steps_per_mv = np.array(header.steps_per_mv, dtype=np.float32)[:, None]
    signal_mv = values.astype(np.float32)
    if any(header.baseline):
        signal_mv -= np.array(header.baseline, dtype=np.float32)[:, None]
    signal_mv /= steps_per_mv
    if values.min() <= MISSING:
        signal_mv[values == MISSING] = np.nan
    check_amplitude(signal_mv, record_id)
    return signal_mv


def _values(path: Path, record_id: str) -> np.ndarray:
    """The matrix `val`, (lead, time), of whole numbers."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        cause = "missing file" if isinstance(error, FileNotFoundError) else f"unreadable ({error.strerror}) file"
        raise RecordError(record_id, f"{cause} {path.name} in {path.parent}; download it again") from error
    if len(raw) >= V4_HEAD.size:
        kind, n_leads, n_samples, is_complex, _, name = V4_HEAD.unpack_from(raw)
        if (kind, is_complex, name) == (INT16_MATRIX, 0, b"val\0") and n_leads > 0 and n_samples > 0:
            held = (len(raw) - V4_HEAD.size) // 2
            if held < n_leads * n_samples:
                reason = f"truncated: {path.name} holds {held // n_leads} of {n_samples} samples"
                raise _again(record_id, reason)
            values = np.frombuffer(raw, "<i2", n_leads * n_samples, V4_HEAD.size)
            return np.ascontiguousarray(values.reshape(n_samples, n_leads).T)
    return _values_by_scipy(raw, path.name, record_id)


def _values_by_scipy(raw: bytes, name: str, record_id: str) -> np.ndarray:
    """The matrix `val` of any MATLAB file that scipy reads."""
    from scipy.io import loadmat

    try:
        values = np.asarray(loadmat(BytesIO(raw))["val"])
    except Exception as error:  # scipy raises whatever its parsing meets, from KeyError to zlib.error
        reason = f"{name} holds no MATLAB matrix 'val' ({type(error).__name__}: {error})"
        raise _again(record_id, reason) from error
    if values.dtype.kind not in "iuf" or values.size == 0 or (values != np.rint(values)).any():
        raise _again(record_id, f"{name} holds {values.dtype} values in 'val', not the whole numbers of an ADC")
    return values.astype(np.int64)


def _check_sums(values: np.ndarray, header: CincHeader, record_id: str) -> None:
    """RecordError when a lead's sum differs, modulo 2^16, from its header's: a damaged file, or another order."""
    sums = values.sum(axis=1, dtype=np.int64) % 65536
    for lead, found, said in zip(header.leads, sums.tolist(), header.checksum, strict=True):
        if found != said:
            raise _again(record_id, f"checksum of lead {lead} is {found}, its header says {said}")


def _again(record_id: str, reason: str) -> RecordError:
    """The error for a file that cannot be used, with the way on."""
    return RecordError(record_id, f"{reason}; the file is damaged or not this record's, download it again")
