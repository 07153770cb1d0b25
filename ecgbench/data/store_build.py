"""Building a store: every record read, checked, filtered, resampled, cut into windows and appended to one array."""

import errno
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import Progress

from ecgbench.data.record import EcgRecord, RecordError
from ecgbench.data.source import Source
from ecgbench.signal.filter import ShortSignalError, bandpass_filtfilt, bandpass_fir
from ecgbench.signal.resample import resample_rate

FORMAT = 2
"""Counted up when what a store holds changes its meaning."""
SIGNALS, INDEX, ABOUT = "signals.npy", "index.parquet", "store.json"
RECORDS_PER_BATCH = 16
"""Records a thread takes at once: enough to vectorise over, few enough to stay in the cache."""

BANDPASSES = {"butterworth": bandpass_filtfilt, "fir": bandpass_fir}
"""The zero-phase band-passes by `StoreSpec.bandpass_kind`."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = list[np.ndarray | RecordError]
"""The prepared signals of some records, (lead, time) each, or why there is none."""


class StoreError(RuntimeError):
    """A store that cannot be built or trusted."""


@dataclass(frozen=True)
class StoreSpec:
    """Every parameter that shapes the stored array."""

    fs_hz: float
    """Rate of the stored windows."""
    window_s: float
    """Length of a window; longer records give several, the last one zero-padded."""
    bandpass_hz: tuple[float, float] | None
    """Edges of the zero-phase Butterworth band-pass over the whole record, before resampling; None leaves it out."""
    bandpass_order: int
    """Its order, see `ecgbench.signal.filter`."""
    bandpass_kind: Literal["butterworth", "fir"] = "butterworth"
    """Its design."""

    def __post_init__(self) -> None:
        samples = self.window_s * self.fs_hz
        if samples < 1 or abs(samples - round(samples)) > 1e-6:
            raise ValueError(
                f"a window of {self.window_s:g} s at {self.fs_hz:g} Hz has {samples:g} samples; "
                "choose a length that gives a whole number of them"
            )

    @property
    def n_samples(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.fs_hz)


def build_store(
    source: Source, manifest: pd.DataFrame, spec: StoreSpec, content: str, path: Path, jobs: int, progress: bool
) -> None:
    """Builds the store `path` beside its place and moves it there complete; the caller holds its lock.

    Records that cannot be used are left out and listed. `content` is the source's data hash. Raises StoreError when
    the disk is full or no record can be used; nothing is left behind then.
    """
    remove_stale(path.parent)
    folder = path.parent / f".{path.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        _write(folder, source, manifest, spec, content, jobs, progress)
        os.rename(folder, path)
        _sync(path.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(_disk_full(path.parent, "more")) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(root: Path) -> None:
    """Removes what builds that were killed left in `root`: partial folders whose lock nobody holds."""
    for folder in root.glob(".*.partial"):
        try:
            with FileLock(folder.with_suffix(".lock"), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue


def _write(
    folder: Path, source: Source, manifest: pd.DataFrame, spec: StoreSpec, content: str, jobs: int, progress: bool
) -> None:
    """The three files of a store."""
    ids = manifest["record_id"].tolist()
    batches = [ids[i : i + RECORDS_PER_BATCH] for i in range(0, len(ids), RECORDS_PER_BATCH)]
    prepared = ordered_map(partial(prepare, source, spec), batches, jobs)
    with (
        open(folder / SIGNALS, "wb") as file,
        Progress(console=Console(stderr=True), disable=not progress) as bar,
    ):
        signals = bar.track(_flat(prepared), total=len(ids), description=f"storing {type(source).__name__.lower()}")
        windows, skipped = _write_signals(file, signals, spec, len(source.leads), len(ids))
    if not windows:
        raise StoreError(f"none of {len(ids)} records can be used (first: {skipped[0]}); check dataset.root")
    index = _index(manifest, windows)
    index.to_parquet(folder / INDEX, index=False)
    about = {
        "format": FORMAT,
        "data_hash": content,
        "spec": asdict(spec),
        "leads": list(source.leads),
        "flat_leads": source.flat_leads,
        "n_windows": len(index),
        "signals_bytes": (folder / SIGNALS).stat().st_size,
        "skipped": skipped,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1))
    for name in (SIGNALS, INDEX, ABOUT):
        _sync(folder / name)
    _sync(folder)


def prepare(source: Source, spec: StoreSpec, record_ids: Sequence[str]) -> Batch:
    """The records' signals as they are to be stored, before cutting."""
    return [_prepared(source, spec, record) for record in source.read_batch(record_ids)]


def _prepared(source: Source, spec: StoreSpec, record: EcgRecord | RecordError) -> np.ndarray | RecordError:
    """One record checked, filtered and resampled."""
    if isinstance(record, RecordError):
        return record
    try:
        check(record, source)
        signal_mv = record.signal_mv
        if spec.bandpass_hz is not None:
            bandpass = BANDPASSES[spec.bandpass_kind]
            signal_mv = bandpass(signal_mv, record.fs_hz, *spec.bandpass_hz, spec.bandpass_order)
    except ShortSignalError as error:
        return RecordError(record.record_id, str(error))
    except RecordError as error:
        return error
    return resample_rate(signal_mv, record.fs_hz, spec.fs_hz)


def check(record: EcgRecord, source: Source) -> None:
    """RecordError when a lead is missing, holds missing or infinite samples, or (unless kept) does not vary."""
    if tuple(record.leads) != tuple(source.leads) or len(record.signal_mv) != len(record.leads):
        reason = f"its leads are {', '.join(record.leads)}, asked for were {', '.join(source.leads)}"
        raise RecordError(record.record_id, reason)
    lowest, highest = record.signal_mv.min(axis=1), record.signal_mv.max(axis=1)  # NaN where any sample is NaN
    if not (np.isfinite(lowest) & np.isfinite(highest)).all():
        n_missing = (~np.isfinite(record.signal_mv)).sum(axis=1)
        leads = ", ".join(f"{lead} {n}" for lead, n in zip(record.leads, n_missing, strict=True) if n)
        raise RecordError(record.record_id, f"missing samples (NaN): {leads}")
    if source.flat_leads == "error" and (lowest == highest).any():
        flat = ", ".join(lead for lead, level in zip(record.leads, lowest == highest, strict=True) if level)
        raise RecordError(record.record_id, f"flat lead {flat}; dataset.flat_leads=keep takes such records")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """`map` in `jobs` threads, in order, never more than 2 `jobs` results ahead of the reader.

    Threads and not processes: decoding, filtering and writing release the interpreter lock, nothing is copied between
    processes, and a killed build leaves no orphans.
    """
    if jobs <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _flat(batches: Iterable[Batch]) -> Iterator[np.ndarray | RecordError]:
    """The members of all batches, one after the other."""
    for batch in batches:
        yield from batch


def _write_signals(
    file: BinaryIO, signals: Iterable[np.ndarray | RecordError], spec: StoreSpec, n_leads: int, n_records: int
) -> tuple[list[tuple[int, int, int]], list[dict[str, str]]]:
    """Appends every record's windows; returns (record's position, start, n_valid) per window, and the records skipped.

    Appending, not writing into a memory map: on a full disk a write fails with an error, a mapped page kills.
    """
    windows: list[tuple[int, int, int]] = []
    skipped: list[dict[str, str]] = []
    _npy_header(file, (0, n_leads, spec.n_samples))
    for position, signal_mv in enumerate(signals):
        if isinstance(signal_mv, RecordError):
            skipped.append({"record_id": signal_mv.record_id, "reason": signal_mv.reason})
            continue
        cut = cut_windows(signal_mv, spec.n_samples)
        if not windows:
            _require_space(Path(file.name), cut.nbytes * n_records)
        file.write(cut.data)
        n_time = signal_mv.shape[-1]
        starts = range(0, n_time, spec.n_samples)
        windows += [(position, start, min(spec.n_samples, n_time - start)) for start in starts]
    file.seek(0)
    _npy_header(file, (len(windows), n_leads, spec.n_samples))
    return windows, skipped


def _npy_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The header of a float32 .npy file; numpy pads it so that its size does not depend on the first dimension."""
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f4"})


def cut_windows(signal_mv: np.ndarray, n_samples: int) -> np.ndarray:
    """(lead, time) as consecutive windows (window, lead, n_samples), float32, zeros after the end."""
    n_leads, n_time = signal_mv.shape
    if n_time % n_samples:
        signal_mv = np.pad(signal_mv, ((0, 0), (0, -n_time % n_samples)))
    windows = signal_mv.reshape(n_leads, -1, n_samples).swapaxes(0, 1)
    return np.ascontiguousarray(windows, dtype=np.float32)


def _index(manifest: pd.DataFrame, windows: list[tuple[int, int, int]]) -> pd.DataFrame:
    """One row per window: its record and its place there."""
    position, start, n_valid = map(list, zip(*windows, strict=True))
    record_id = manifest["record_id"].iloc[position].to_numpy()
    return pd.DataFrame({"record_id": record_id, "start": start, "n_valid": n_valid})


def _require_space(file: Path, n_bytes: int) -> None:
    """StoreError when the disk has less room than the whole array takes, as far as the first record tells."""
    if shutil.disk_usage(file.parent).free < n_bytes:
        raise StoreError(_disk_full(file.parents[1], f"about {n_bytes / 1e9:.2f} GB"))


def _disk_full(root: Path, needed: str) -> str:
    """The message for a disk without room for a store."""
    return (
        f"no space for a store in {root}: {shutil.disk_usage(root).free / 1e9:.2f} GB are free and it needs {needed}; "
        "free some or put the stores on another disk (earlier stores are untouched)"
    )


def _sync(path: Path) -> None:
    """Makes the disk hold what was written to a file or a folder, so that a power cut cannot undo the order."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
