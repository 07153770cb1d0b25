"""Challenge records made for tests, in every published spelling of their headers."""

import struct
from pathlib import Path

import numpy as np

from ecgbench.data.record import LEADS

SPELLINGS = {
    "challenge": ("500 {n} 12-May-2020 12:33:59", "16+24", "1000/mV", "#{key}: {value}"),
    "lower case": ("500 {n}", "16+24", "1000/mv", "#{key}: {value}"),
    "physionet": ("500 {n}", "16x1+24", "1000.0(0)/mV", "# {key}: {value}"),
}
"""Rest of the record line, format, gain and comment lines of each generation."""


def adc(n_samples: int = 500, seed: int = 0) -> np.ndarray:
    """Samples of twelve leads with a millivolt-sized beat, int16 (lead, time) at 1 uV a step."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples)
    beat = 1000 * np.exp(-(((time % 400 - 200) / 12) ** 2))
    return (np.arange(1, 13)[:, None] / 6 * beat + rng.normal(0, 20, (12, n_samples))).round().astype(np.int16)


def v4_bytes(values: np.ndarray) -> bytes:
    """A MATLAB 4 file of the int16 matrix `val`, after the format's description: type, rows, columns, imaginary, name
    length, name, columns one after the other."""
    return struct.pack("<5i4s", 30, *values.shape, 0, 4, b"val\0") + values.astype("<i2").T.tobytes()


def header(
    record_id: str,
    values: np.ndarray,
    spelling: str = "challenge",
    dx: str | None = "426783006",
    age: str | None = "56",
    sex: str | None = "Male",
    leads: tuple[str, ...] = LEADS,
    name: str | None = None,
) -> str:
    """The text of a header; None leaves a comment line out."""
    rest, layout, gain, comment = SPELLINGS[spelling]
    lines = [f"{name or record_id} {len(values)} {rest.format(n=values.shape[1])}"]
    for lead, trace in zip(leads, values, strict=True):
        checksum = sum(trace.tolist()) & 0xFFFF
        checksum = checksum - 0x10000 if checksum >= 0x8000 else checksum
        lines.append(f"{record_id}.mat {layout} {gain} 16 0 {trace[0]} {checksum} 0 {lead}")
    facts = {"Age": age, "Sex": sex, "Dx": dx, "Rx": "Unknown", "Hx": "Unknown", "Sx": "Unknown"}
    lines += [comment.format(key=key, value=value) for key, value in facts.items() if value is not None]
    return "\n".join(lines) + "\n"


def write_record(folder: Path, record_id: str, values: np.ndarray | None = None, **changes: object) -> Path:
    """One record's two files; returns its header's path."""
    values = adc() if values is None else values
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{record_id}.mat").write_bytes(v4_bytes(values))
    path = folder / f"{record_id}.hea"
    path.write_text(header(record_id, values, **changes))
    return path


def write_headers(root: Path, sources: dict[str, list[tuple[str, str, str]]]) -> Path:
    """A download without signals: (age, sex, dx) of each record of each source; ids are the source's letter and a
    number."""
    values = np.zeros((12, 5), dtype=np.int16)
    for source, people in sources.items():
        for number, (age, sex, dx) in enumerate(people):
            folder = root / "training" / source / f"g{1 + number // 50}"
            folder.mkdir(parents=True, exist_ok=True)
            record_id = f"{source[0].upper()}{number:04d}"
            (folder / f"{record_id}.hea").write_text(header(record_id, values, age=age, sex=sex, dx=dx))
    return root
