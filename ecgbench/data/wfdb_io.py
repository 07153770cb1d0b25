"""Recordings in the WaveForm DataBase (WFDB) layout, read into millivolts.

Formats 16 and 212, which hold nearly every public ECG, are decoded here with numpy; the `wfdb` package, whose header
parser takes most of its reading time, is imported only for the other layouts. Field by field this follows the header
and signal specifications of the WFDB library (physionet.org/physiotools/wag: header(5), signal(5)).
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgbench.data.record import RecordError

DEFAULT_GAIN = 200.0
"""Units per mV where a header gives gain 0 or none: header(5)."""
DEFAULT_FS_HZ = 250.0
"""Rate where a header gives none: header(5)."""
INVALID = {"16": -32768, "212": -2048}
"""The value that marks a missing sample, by format: signal(5)."""
PER_MV = {"mv": 1.0, "uv": 1e3, "µv": 1e3, "v": 1e-3}
"""How many of a unit make one millivolt."""

RECORD_LINE = re.compile(r"\S+?(/\d+)?\s+(\d+)(?:\s+([\d.eE+-]+)(?:/\S*)?(?:\s+(\d+).*)?)?")
FORMAT_FIELD = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
GAIN_FIELD = re.compile(r"([\d.eE+-]+)(?:\(([+-]?\d+)\))?(?:/(\S+))?")


class WfdbRecord(NamedTuple):
    """The samples of one WFDB record and what its header says of them."""

    signal_mv: np.ndarray
    """float32, (lead, time), in mV; missing samples are NaN."""
    fs_hz: float
    leads: tuple[str, ...]


class Annotations(NamedTuple):
    """The beat and rhythm marks of one record."""

    sample: np.ndarray
    """int64, (mark,): the sample each mark stands at, at the record's own rate."""
    symbol: np.ndarray
    """str, (mark,): its WFDB code (N, V, A, +, ...)."""


class Layout(NamedTuple):
    """How a signal lies in its file."""

    fmt: str
    plain: bool
    """One sample per frame and no skew: what the numpy readers handle."""
    byte_offset: int


class SignalHeader(NamedTuple):
    """One signal line of a header."""

    file: str
    layout: Layout
    gain: float
    """ADC units per `units`."""
    baseline: int
    """ADC value of 0 physical units."""
    units: str
    checksum: int | None
    """Sum of the signal's samples modulo 2^16, or None where the header ends before it."""
    lead: str


class Header(NamedTuple):
    """A parsed `.hea` file."""

    fs_hz: float
    n_samples: int | None
    """Samples per signal; None where the header leaves it to the file's size."""
    signals: tuple[SignalHeader, ...]
    multi_segment: bool

    @property
    def fast(self) -> bool:
        """Whether the numpy readers take it: one file, one known format, one sample per frame."""
        if self.multi_segment or len({signal[:2] for signal in self.signals}) > 1:
            return False
        layout = self.signals[0].layout
        return layout.plain and layout.fmt in INVALID


def read_header(path: Path, record_id: str | None = None) -> Header:
    """The header of the record at `path` (without suffix); RecordError when it is missing or malformed."""
    record_id = record_id or path.name
    text = _bytes_of(path.with_name(path.name + ".hea"), record_id).decode("utf-8", errors="replace")
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    match = RECORD_LINE.fullmatch(lines[0]) if lines else None
    if match is None:
        raise RecordError(record_id, f"malformed header: its record line is {lines[:1]}; download it again")
    segments, n_signals, fs_hz, n_samples = match.groups()
    signals = () if segments else tuple(_signal_header(line, record_id) for line in lines[1 : 1 + int(n_signals)])
    if not segments and (len(signals) != int(n_signals) or not signals):
        reason = f"truncated header: {len(signals)} of {n_signals} signal lines; download it again"
        raise RecordError(record_id, reason)
    return Header(_rate(fs_hz, record_id), int(n_samples) if n_samples else None, signals, segments is not None)


def read_wfdb(path: Path, record_id: str | None = None) -> WfdbRecord:
    """The record at `path` (without suffix) in mV.

    Raises RecordError naming `record_id` (default: the file's name) when a file is missing, shorter than its header
    promises, differs from its header's checksums, or holds units that are not volts.
    """
    record_id = record_id or path.name
    header = read_header(path, record_id)
    if not header.fast:
        return _read_by_wfdb(path, record_id)
    digital = _digital(path.parent / header.signals[0].file, header, record_id)
    _check_sums(digital, header, record_id)
    signal_mv = _millivolts(digital, header.signals, record_id)
    return WfdbRecord(signal_mv, header.fs_hz, tuple(s.lead for s in header.signals))


def read_annotations(path: Path, extension: str = "atr") -> Annotations:
    """The marks of the record at `path` (without suffix); RecordError when their file is missing."""
    import wfdb

    if not path.with_name(f"{path.name}.{extension}").is_file():
        raise RecordError(path.name, f"missing file {path.name}.{extension}; download it again")
    marks = wfdb.rdann(str(path), extension)
    return Annotations(np.asarray(marks.sample, dtype=np.int64), np.asarray(marks.symbol, dtype=str))


def _bytes_of(path: Path, record_id: str) -> bytes:
    """The file's bytes; a RecordError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        cause = "missing file" if isinstance(error, FileNotFoundError) else f"unreadable ({error.strerror}) file"
        raise RecordError(record_id, f"{cause} {path.name} in {path.parent}; download it again") from error


def _rate(field: str | None, record_id: str) -> float:
    """The sampling frequency of a record line, in Hz."""
    try:
        fs_hz = float(field) if field else DEFAULT_FS_HZ
    except ValueError:
        fs_hz = 0.0
    if fs_hz <= 0:
        raise RecordError(record_id, f"malformed header: rate {field!r} is not a positive number of Hz")
    return fs_hz


def _signal_header(line: str, record_id: str) -> SignalHeader:
    """One signal line: file, format, gain(baseline)/units, resolution, ADC zero, first value, checksum, block, name."""
    fields = line.split(None, 8)
    fields += [""] * (9 - len(fields))
    file, layout, scale, _, adc_zero, _, checksum, _, lead = fields
    try:
        gain, baseline, units = _scale(scale)
        if baseline is None:
            baseline = int(adc_zero or 0)
        return SignalHeader(file, _layout(layout), gain, baseline, units, int(checksum) if checksum else None, lead)
    except ValueError as error:
        reason = f"malformed header: {error} in the signal line {line!r}; download it again"
        raise RecordError(record_id, reason) from error


@lru_cache(maxsize=1024)
def _layout(field: str) -> Layout:
    """The format field, `format[xSAMPLES_PER_FRAME][:SKEW][+BYTE_OFFSET]`."""
    match = FORMAT_FIELD.fullmatch(field)
    if match is None:
        raise ValueError(f"format {field!r} is not a number")
    fmt, per_frame, skew, offset = match.groups()
    return Layout(fmt, int(per_frame or 1) == 1 and int(skew or 0) == 0, int(offset or 0))


@lru_cache(maxsize=1024)
def _scale(field: str) -> tuple[float, int | None, str]:
    """Gain, baseline and units of the field `gain[(baseline)][/units]`, which may be absent."""
    match = GAIN_FIELD.fullmatch(field or "0")
    if match is None:
        raise ValueError(f"gain {field!r} is not a number")
    gain, baseline, units = match.groups()
    return float(gain) or DEFAULT_GAIN, None if baseline is None else int(baseline), units or "mV"


def _digital(path: Path, header: Header, record_id: str) -> np.ndarray:
    """The file's ADC values, int16, (lead, time)."""
    n_signals, (fmt, _, offset) = len(header.signals), header.signals[0].layout
    raw = np.frombuffer(_bytes_of(path, record_id), dtype=np.uint8)[offset:]
    held = raw.size // 2 if fmt == "16" else raw.size * 2 // 3
    n_samples = held // n_signals if header.n_samples is None else header.n_samples
    if held < n_samples * n_signals or n_samples == 0:
        reason = f"truncated: {path.name} holds {held // n_signals} of {n_samples} samples; download it again"
        raise RecordError(record_id, reason)
    decode = _decode_16 if fmt == "16" else _decode_212
    return np.ascontiguousarray(decode(raw, n_samples * n_signals).reshape(n_samples, n_signals).T)


def _decode_16(raw: np.ndarray, n: int) -> np.ndarray:
    """The first `n` little-endian 16-bit values."""
    return raw[: 2 * n].view("<i2")


def _decode_212(raw: np.ndarray, n: int) -> np.ndarray:
    """The first `n` 12-bit values; three bytes hold two, the middle byte their high nibbles (second, first)."""
    triples = np.zeros((n + 1) // 2 * 3, dtype=np.uint8)
    used = min(raw.size, triples.size)
    triples[:used] = raw[:used]
    low, middle, high = triples.reshape(-1, 3).T.astype(np.int16)
    pairs = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=-1)
    return ((pairs << 4) >> 4).reshape(-1)[:n]  # the shifts carry bit 11, the sign, up to bit 15


def _check_sums(digital: np.ndarray, header: Header, record_id: str) -> None:
    """RecordError when a signal's sum differs, modulo 2^16, from its header's."""
    sums = digital.sum(axis=1, dtype=np.int16).view(np.uint16)  # int16 wraps around, which is the modulus wanted
    for signal, found in zip(header.signals, sums.tolist(), strict=True):
        if signal.checksum is not None and signal.checksum % 65536 != found:
            reason = f"checksum of lead {signal.lead or '?'} is {found}, its header says {signal.checksum % 65536}"
            raise RecordError(record_id, f"{reason}; the file is damaged, download it again")


def _millivolts(digital: np.ndarray, signals: tuple[SignalHeader, ...], record_id: str) -> np.ndarray:
    """(digital - baseline) / gain in mV, float32, NaN where the format's mark of a missing sample stands."""
    per_mv = np.array([[s.gain * _units_per_mv(s.units, s.lead, record_id)] for s in signals])
    baseline = np.array([[s.baseline] for s in signals], dtype=np.int64)
    # Integers below 2^24 and gains that float32 holds exactly give the correctly rounded quotient in float32 already.
    exact = (per_mv == per_mv.astype(np.float32)).all() and abs(baseline).max() < 2**23
    dtype = np.float32 if exact else np.float64
    centred = np.subtract(digital, baseline, dtype=dtype) if baseline.any() else digital
    signal_mv = np.divide(centred, per_mv, dtype=dtype).astype(np.float32, copy=False)
    invalid = INVALID[signals[0].layout.fmt]
    if digital.min() <= invalid:
        signal_mv[digital == invalid] = np.nan
    return signal_mv


def _units_per_mv(units: str, lead: str, record_id: str) -> float:
    """How many of a lead's physical units make one mV."""
    per_mv = PER_MV.get(units.lower())
    if per_mv is None:
        reason = f"unit {units!r} of lead {lead or '?'} is not mV, uV or V; give the signals in volts"
        raise RecordError(record_id, reason)
    return per_mv


def _read_by_wfdb(path: Path, record_id: str) -> WfdbRecord:
    """The record by way of the `wfdb` package: every layout it knows, at its pace."""
    import wfdb

    try:
        samples, fields = wfdb.rdsamp(str(path))
    except Exception as error:  # wfdb raises whatever its parsing meets, from KeyError to OSError
        raise RecordError(record_id, f"wfdb cannot read it ({type(error).__name__}: {error})") from error
    per_mv = [
        _units_per_mv(unit, lead, record_id) for unit, lead in zip(fields["units"], fields["sig_name"], strict=True)
    ]
    signal_mv = np.ascontiguousarray((np.asarray(samples) / per_mv).T, dtype=np.float32)
    return WfdbRecord(signal_mv, float(fields["fs"]), tuple(fields["sig_name"]))
