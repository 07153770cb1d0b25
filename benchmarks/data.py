"""Rates of the data path against `wfdb.rdrecord`, on one core and in one run: python benchmarks/data.py [--root PTBXL].

Every round measures each path once; the fastest round of each counts, as the slower ones measure what else the machine
does. The table gives that rate and its ratio to wfdb's. Rows called filtered include MSECG's
band-pass. Files are in the page cache after the first round.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import wfdb
from rich.console import Console
from rich.table import Table

from ecgbench.data.file_hash import hash_files
from ecgbench.data.noise import NoNoise
from ecgbench.data.ptbxl import PtbXl
from ecgbench.data.record import LEADS
from ecgbench.data.sampler import SampleKey
from ecgbench.data.store import Store, StoreSpec, open_store
from ecgbench.data.store_build import prepare
from ecgbench.data.superres_examples import EcgWindowDataset, SuperresExamples

BATCH = 64
PLAIN = StoreSpec(fs_hz=500, window_s=10, bandpass_hz=None, bandpass_order=2)
FILTERED = StoreSpec(fs_hz=500, window_s=10, bandpass_hz=(1.0, 45.0), bandpass_order=2)


def main() -> None:
    """Measures and prints the table."""
    options = arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    source = PtbXl(root=options.root, leads=LEADS, train_folds=range(1, 9), val_folds=[9], test_folds=[10])
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        paths = measured_paths(source, Path(scratch))
        rates = {name: [] for name in paths}
        for _ in range(options.rounds):
            for name, path in paths.items():
                rates[name].append(rate(path))
        show({name: max(values) for name, values in rates.items()})


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="../shared/data/ptb-xl", help="a full or partial PTB-XL download, 500 Hz")
    parser.add_argument("--scratch", default=None, help="folder for the stores; /dev/shm leaves out the disk")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


def measured_paths(source: PtbXl, scratch: Path) -> dict[str, Callable[[], int]]:
    """What is measured: functions that return how many records or windows they got."""
    ids = source.manifest()["record_id"].tolist()
    files = [path for record_id in ids for path in source.files(record_id)]
    store = open_store(source, FILTERED, scratch, progress=False)
    rows = np.random.default_rng(0).integers(0, len(store.index), (20, BATCH))
    digital = int16_copy(store, scratch)
    loader = dataset(store)
    return {
        "wfdb.rdrecord": lambda: sum(wfdb.rdrecord(str(path.with_suffix(""))).sig_len > 0 for path in files[:80:2]),
        "read to mV": lambda: sum(source.read(record_id).fs_hz > 0 for record_id in ids[:160]),
        "read to mV, filtered": lambda: sum(len(prepare(source, FILTERED, ids[i : i + 16])) for i in range(0, 80, 16)),
        "hash the files": lambda: len(hash_files(files)) // 2,
        "build the store": builder(source, PLAIN, scratch),
        "build the store, filtered": builder(source, FILTERED, scratch),
        "stored window": lambda: sum(np.array(store.signals[row]).ndim > 0 for row in rows.flat),
        f"stored batch of {BATCH}": lambda: sum(len(store.signals[batch]) for batch in rows),
        f"batch of {BATCH} from int16": lambda: sum(len(digital[batch] * np.float32(1e-3)) for batch in rows),
        f"loader, batch of {BATCH}": lambda: sum(len(loader[keys(batch)].x) for batch in rows),
    }


def builder(source: PtbXl, spec: StoreSpec, scratch: Path) -> Callable[[], int]:
    """A function that builds a store anew, with the hashes of the files known, as after a change of parameters."""
    numbers = count()

    def build() -> int:
        root = scratch / f"build{next(numbers)}"
        root.mkdir()
        shutil.copy(scratch / "file_hashes.json", root)
        n_windows = len(open_store(source, spec, root, progress=False).index)
        shutil.rmtree(root)
        return n_windows

    return build


def int16_copy(store: Store, scratch: Path) -> np.ndarray:
    """The same windows as whole microvolts, memory-mapped: what a store of half the size would be."""
    np.save(scratch / "int16.npy", np.round(store.signals * 1000).astype(np.int16))
    return np.load(scratch / "int16.npy", mmap_mode="r")


def dataset(store: Store) -> EcgWindowDataset:
    """Super-resolution samples of whole windows, official protocol, without noise."""
    noise = NoNoise()
    examples = SuperresExamples(fs_hz=500, upscale=10, protocol="official", window_s=10, crop_s=None, augment=None)
    return EcgWindowDataset(
        store=store, split="val", examples=examples, noise=noise, conditions=noise.conditions(), traces={},
        seed=0,
    )  # fmt: skip


def keys(rows: np.ndarray) -> list[SampleKey]:
    """The samples of these windows."""
    return [SampleKey(int(row), 0, 0) for row in rows]


def rate(path: Callable[[], int]) -> float:
    """Records or windows per second of one call."""
    start = time.perf_counter()
    return path() / (time.perf_counter() - start)


def show(rates: dict[str, float]) -> None:
    """The table: rate and ratio to the first row."""
    table = Table(title="12 x 5000 samples, one core", caption=f"load {os.getloadavg()[0]:.1f}")
    for column in ("path", "records/s", "ratio"):
        table.add_column(column, justify="left" if column == "path" else "right")
    reference = next(iter(rates.values()))
    for name, value in rates.items():
        table.add_row(name, f"{value:,.0f}", f"{value / reference:,.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
