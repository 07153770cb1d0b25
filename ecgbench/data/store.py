"""Windows of a source's records, read, filtered and resampled once and memory-mapped from then on.

A store is a folder `<source>-<key>` that holds `signals.npy` (float32 mV, (window, lead, time)), `index.parquet` (one
row per window, in the order of the array) and `store.json` (what it was made from, and what was left out). The key is
a hash of the source files' bytes and of every parameter that shapes the array, so a store is never out of date, only
unused. Splits and labels are no part of it: they come from the source's manifest whenever the store is opened. float32
and not int16, although the files hold int16: a filtered sample is no whole number of ADC steps.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from ecgbench.data.file_hash import data_hash
from ecgbench.data.source import Source
from ecgbench.data.splits import assert_patient_disjoint
from ecgbench.data.store_build import ABOUT, FORMAT, INDEX, SIGNALS, StoreError, StoreSpec, build_store

__all__ = ["BadRecordsError", "Store", "StoreError", "StoreSpec", "data_hash", "open_store"]

N_SHOWN = 5
"""How many bad records an error names."""


class BadRecordsError(ValueError):
    """Records that cannot be used, where the source is told to stop for them."""


@dataclass(frozen=True)
class Store:
    """An opened, complete store."""

    path: Path
    signals: np.memmap
    """float32, (window, lead, time), in mV; zeros after `n_valid`."""
    index: pd.DataFrame
    """One row per window, in the order of `signals`: record_id, patient_id, split, fold, start (the window's first
    sample in its record, at `fs_hz`), n_valid (samples before the padding), then the manifest's other columns."""
    skipped: list[dict[str, str]]
    """The records left out: record_id and reason."""
    data_hash: str
    """Of the recordings' bytes, everything that decides how they are read, and the splits."""
    fs_hz: float
    leads: tuple[str, ...]

    manifest: pd.DataFrame
    """One row per record of the source, as it was when the store was opened."""

    @cached_property
    def n_total(self) -> np.ndarray:
        """Samples of the whole record that each row of the index belongs to."""
        return self.index.groupby("record_id", sort=False)["n_valid"].transform("sum").to_numpy()

    def record_mv(self, row: int, start: int = 0, n_samples: int | None = None) -> np.ndarray:
        """Samples of the record whose first row is `row`, (lead, time) in mV; to its end unless `n_samples` says less.

        A record's windows lie behind one another, so only those that hold the samples asked for are read.
        """
        width, total = self.signals.shape[-1], int(self.n_total[row])
        stop = total if n_samples is None else min(total, start + n_samples)
        first, last = start // width, -(-stop // width)
        windows = self.signals[row + first : row + last]
        joined = windows.swapaxes(0, 1).reshape(windows.shape[1], -1)
        return joined[:, start - first * width : stop - first * width]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its path, so that another process maps the file instead of receiving a copy."""
        return load_store, (self.path, self.manifest)


def open_store(source: Source, spec: StoreSpec, root: Path, jobs: int = 1, progress: bool = True) -> Store:
    """The store of `source` under `root`, built first where there is none.

    Building happens once however many processes ask, in `jobs` threads, with a progress bar on stderr if `progress`.
    Raises BadRecordsError when records cannot be used and `source.on_bad_record` is 'error', StoreError when the
    store is damaged or the disk is full, ValueError when the source lists nothing or a patient is in two splits.
    """
    root = Path(root)
    manifest = source.manifest()
    if manifest.empty:
        raise ValueError(f"{_name(source)} lists no record in its folds; check dataset.root and the dataset's folds")
    if source.patient_disjoint:
        assert_patient_disjoint(manifest)
    content = data_hash(source, root)
    path = root / f"{_name(source)}-{_key(source, spec, content)}"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{path.name}.lock"):
            if not path.exists():
                build_store(source, manifest, spec, content, path, jobs, progress)
    store = load_store(path, manifest)
    if store.skipped and source.on_bad_record == "error":
        raise BadRecordsError(_refusal(store.skipped, len(manifest)))
    return store


def load_store(path: Path, manifest: pd.DataFrame) -> Store:
    """The complete store in the folder `path`; StoreError when a part is missing, cut off or of another format.

    `manifest` is the one of the source that the store was opened for: the index takes all but the windows' places
    from it.
    """
    try:
        about = json.loads((path / ABOUT).read_text())
        n_bytes = (path / SIGNALS).stat().st_size
        signals = np.load(path / SIGNALS, mmap_mode="r")
        index = pd.read_parquet(path / INDEX)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if about["format"] != FORMAT:
        raise _damaged(path, f"its format is {about['format']}, this version reads {FORMAT}")
    if n_bytes != about["signals_bytes"] or len(index) != about["n_windows"]:
        held = f"{n_bytes} bytes of signals and {len(index)} windows"
        raise _damaged(path, f"it holds {held} where {about['signals_bytes']} and {about['n_windows']} were written")
    return Store(
        path,
        signals,
        _join(index, manifest),
        about["skipped"],
        _with_splits(about["data_hash"], manifest),
        about["spec"]["fs_hz"],
        tuple(about["leads"]),
        manifest,
    )


def _join(places: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Every window's place with its record's row of the manifest."""
    rows = manifest.set_index("record_id").loc[places["record_id"]].reset_index()
    first = ["record_id", "patient_id", "split", "fold"]
    return pd.concat([rows[first], places[["start", "n_valid"]], rows.drop(columns=first)], axis=1)


def _with_splits(content: str, manifest: pd.DataFrame) -> str:
    """The hash of the recordings and of who is trained on, validated on and tested."""
    table = manifest[["record_id", "patient_id", "split", "fold"]].to_csv(index=False)
    return hashlib.sha256(f"{content}\n{table}".encode()).hexdigest()


def _name(source: Source) -> str:
    """What stores of this kind of source are called."""
    return type(source).__name__.lower()


def _key(source: Source, spec: StoreSpec, content: str) -> str:
    """A hash of everything that decides what the store holds; 500 and 500.0 Hz are the same."""
    band = spec.bandpass_hz
    bandpass = None if band is None else [spec.bandpass_kind, *map(float, band), spec.bandpass_order]
    parts = [FORMAT, content, float(spec.fs_hz), spec.n_samples, bandpass, list(source.leads), source.flat_leads]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _damaged(path: Path, reason: str) -> StoreError:
    """The error for a store that cannot be trusted."""
    return StoreError(f"the store {path} is damaged: {reason}; delete that folder and start again, it is built anew")


def _refusal(skipped: list[dict[str, str]], n_records: int) -> str:
    """One sentence on all bad records: how many, the first few with their reasons, the way on."""
    shown = "; ".join(f"{bad['record_id']}: {bad['reason']}" for bad in skipped[:N_SHOWN])
    more = f"; and {len(skipped) - N_SHOWN} more" if len(skipped) > N_SHOWN else ""
    return (
        f"{len(skipped)} of {n_records} records cannot be used ({shown}{more}); "
        "mend them, or set dataset.on_bad_record=skip to leave them out and list them in the result"
    )
