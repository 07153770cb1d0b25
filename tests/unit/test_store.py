"""The store: what it holds, that it is built once and whole, and what bad records and full disks lead to."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, filtfilt

from ecgbench.data import file_hash, store_build
from ecgbench.data.record import EcgRecord, RecordError
from ecgbench.data.source import Source
from ecgbench.data.store import BadRecordsError, StoreError, StoreSpec, data_hash, load_store, open_store

SPEC = StoreSpec(fs_hz=100.0, window_s=2.0, bandpass_hz=None, bandpass_order=2)
FS_HZ = 100.0


@dataclass(kw_only=True)
class Toy(Source):
    """Records of two leads in .npy files; the split is the first letter of their name."""

    folder: Path
    leads: Sequence[str] = ("I", "II")
    seconds_per_batch: float = 0.0

    def manifest(self) -> pd.DataFrame:
        names = json.loads((self.folder / "names.json").read_text())
        split = {"a": "train", "b": "val", "c": "test"}
        rows = [(name, f"p-{name}", split[name[0]], ord(name[0]), len(name)) for name in names]
        return pd.DataFrame(rows, columns=["record_id", "patient_id", "split", "fold", "age"])

    def read(self, record_id: str) -> EcgRecord:
        if not self.files(record_id)[0].is_file():
            raise RecordError(record_id, "missing file")
        return EcgRecord(record_id, f"p-{record_id}", np.load(self.files(record_id)[0]), FS_HZ, ("I", "II"))

    def read_batch(self, record_ids: Sequence[str]) -> list[EcgRecord | RecordError]:
        with open(self.folder / "reads.log", "a") as log:
            log.write("".join(f"{record_id}\n" for record_id in record_ids))
        time.sleep(self.seconds_per_batch)
        return super().read_batch(record_ids)

    def files(self, record_id: str) -> list[Path]:
        return [self.folder / f"{record_id}.npy"]

    def identity(self) -> dict[str, object]:
        return {"source": "toy"}


def toy(folder: Path, lengths: dict[str, int] | None = None, **fields: Any) -> Toy:
    """A source of random records with the given numbers of samples."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lengths = lengths or {"a1": 200, "a2": 450, "b1": 200, "c1": 150}
    for name, n_samples in lengths.items():
        np.save(folder / f"{name}.npy", rng.normal(size=(2, n_samples)).astype(np.float32))
    (folder / "names.json").write_text(json.dumps(list(lengths)))
    return Toy(folder=folder, **fields)


def n_reads(source: Toy) -> int:
    """How many records were read so far."""
    log = source.folder / "reads.log"
    return len(log.read_text().split()) if log.exists() else 0


def change(source: Toy, name: str, alter: Callable[[np.ndarray], Any]) -> None:
    """Damages one record in place, or by what `alter` returns."""
    signal_mv = np.load(source.folder / f"{name}.npy")
    altered = alter(signal_mv)
    np.save(source.folder / f"{name}.npy", signal_mv if altered is None else altered)


def start_build(source: Toy, root: Path) -> subprocess.Popen[str]:
    """Another process that opens the store."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_store as t;"
        "source = t.Toy(folder=Path(sys.argv[2]), seconds_per_batch=float(sys.argv[4]));"
        "store = t.open_store(source, t.SPEC, Path(sys.argv[3]), progress=False);"
        "print(store.path, store.signals.shape)"
    )
    command = [sys.executable, "-c", code, Path(__file__).parent, source.folder, root, source.seconds_per_batch]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([str(part) for part in command], env=here, stdout=subprocess.PIPE, text=True)


# What it holds


def test_records_are_cut_into_windows_and_padded_with_zeros(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    store = open_store(source, SPEC, tmp_path / "store", progress=False)
    rows = store.index[["record_id", "start", "n_valid"]].to_numpy().tolist()
    assert rows == [["a1", 0, 200], ["a2", 0, 200], ["a2", 200, 200], ["a2", 400, 50], ["b1", 0, 200], ["c1", 0, 150]]
    assert (store.signals.shape, store.signals.dtype) == ((6, 2, 200), np.float32)
    a2 = np.load(source.folder / "a2.npy")
    np.testing.assert_array_equal(store.signals[2], a2[:, 200:400])
    np.testing.assert_array_equal(store.signals[3, :, :50], a2[:, 400:])
    assert not store.signals[3, :, 50:].any()


def test_the_index_repeats_the_manifest_for_each_window(tmp_path: Path) -> None:
    store = open_store(toy(tmp_path / "data"), SPEC, tmp_path / "store", progress=False)
    assert store.index.columns.tolist() == ["record_id", "patient_id", "split", "fold", "start", "n_valid", "age"]
    assert store.index["split"].tolist() == ["train"] * 4 + ["val", "test"]
    assert store.index["patient_id"].tolist() == ["p-a1", "p-a2", "p-a2", "p-a2", "p-b1", "p-c1"]
    assert (store.fs_hz, store.leads, store.skipped) == (100.0, ("I", "II"), [])


def test_the_whole_record_is_filtered_before_it_is_cut(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    store = open_store(source, replace(SPEC, bandpass_hz=(1.0, 20.0)), tmp_path / "store", progress=False)
    filtered = filtfilt(*butter(2, [1, 20], "band", fs=100), np.load(source.folder / "a2.npy").astype(float))
    np.testing.assert_allclose(store.signals[2], filtered[:, 200:400], atol=1e-6)


def test_windows_are_at_the_rate_asked_for(tmp_path: Path) -> None:
    """A 5 Hz sine at 100 Hz, asked for at 50 Hz in windows of 1 s."""
    source = toy(tmp_path / "data", {"a1": 400})
    change(source, "a1", lambda x: np.tile(np.sin(2 * np.pi * 5 * np.arange(400) / 100), (2, 1)).astype(np.float32))
    store = open_store(source, replace(SPEC, fs_hz=50.0, window_s=1.0), tmp_path / "store", progress=False)
    assert store.signals.shape == (4, 2, 50)
    assert store.index["start"].tolist() == [0, 50, 100, 150]
    np.testing.assert_allclose(store.signals[1, 0], np.sin(2 * np.pi * 5 * np.arange(50) / 50), atol=5e-3)


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", {f"a{i}": 150 + i for i in range(100)})
    one = open_store(source, SPEC, tmp_path / "one", jobs=1, progress=False)
    many = open_store(source, SPEC, tmp_path / "many", jobs=3, progress=False)
    assert one.path.name == many.path.name
    for name in ("signals.npy", "store.json"):
        assert (one.path / name).read_bytes() == (many.path / name).read_bytes()
    pd.testing.assert_frame_equal(one.index, many.index)


def test_a_pickled_store_is_mapped_again_and_not_copied(tmp_path: Path) -> None:
    store = open_store(toy(tmp_path / "data", {"a1": 20_000}), SPEC, tmp_path / "store", progress=False)
    pickled = pickle.dumps(store)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert isinstance(again.signals, np.memmap)
    np.testing.assert_array_equal(again.signals, store.signals)


def test_the_progress_bar_goes_to_stderr_if_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_store(toy(tmp_path / "data"), SPEC, tmp_path / "with", progress=True)
    shown = capfd.readouterr()
    assert "storing toy" in shown.err
    open_store(toy(tmp_path / "data"), SPEC, tmp_path / "without", progress=False)
    assert shown.out + "".join(capfd.readouterr()) == ""


# Its name


def test_a_second_opening_reads_no_record(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    first = open_store(source, SPEC, tmp_path / "store", progress=False)
    assert open_store(source, SPEC, tmp_path / "store", progress=False).path == first.path
    assert n_reads(source) == 4


@pytest.mark.parametrize(
    "changed",
    [{"fs_hz": 50.0}, {"window_s": 1.0}, {"bandpass_hz": (1.0, 30.0)}, {"bandpass_hz": None}, {"bandpass_order": 3}],
)
def test_every_parameter_gives_a_store_of_its_own(tmp_path: Path, changed: dict[str, Any]) -> None:
    source, spec = toy(tmp_path / "data"), replace(SPEC, bandpass_hz=(1.0, 20.0))
    first = open_store(source, spec, tmp_path / "store", progress=False)
    second = open_store(source, replace(spec, **changed), tmp_path / "store", progress=False)
    assert first.path != second.path
    assert first.data_hash == second.data_hash


def test_whole_numbers_name_the_same_store_as_floats(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    floats = open_store(source, StoreSpec(100.0, 2.0, (1.0, 20.0), 2), tmp_path / "store", progress=False)
    assert open_store(source, StoreSpec(100, 2, (1, 20), 2), tmp_path / "store", progress=False).path == floats.path


@pytest.mark.parametrize("window_s", [0.0, 0.005, 1.234567])
def test_a_window_has_a_whole_number_of_samples(window_s: float) -> None:
    with pytest.raises(ValueError, match="choose a length that gives a whole number"):
        replace(SPEC, window_s=window_s)


def test_the_hash_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    moved = Toy(folder=tmp_path / "elsewhere")
    shutil.copytree(source.folder, moved.folder)
    assert data_hash(source) == data_hash(moved)
    change(moved, "a1", lambda x: x + 1)
    assert data_hash(source) != data_hash(moved)


def test_a_missing_file_changes_the_hash(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    before = data_hash(source)
    (source.folder / "a1.npy").unlink()
    assert data_hash(source) != before


def test_unchanged_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = file_hash._sha256
    monkeypatch.setattr(file_hash, "_sha256", lambda name: read.append(Path(name).name) or plain(name))
    source = toy(tmp_path / "data")
    first = data_hash(source, tmp_path / "store")
    assert sorted(read) == ["a1.npy", "a2.npy", "b1.npy", "c1.npy"]
    assert data_hash(source, tmp_path / "store") == first
    assert len(read) == 4
    change(source, "b1", lambda x: x * 2)
    assert data_hash(source, tmp_path / "store") == data_hash(source) != first
    assert read[4] == "b1.npy"


def test_an_unreadable_note_of_hashes_is_made_anew(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    (tmp_path / file_hash.MEMO).write_text("{half a no")
    assert data_hash(source, tmp_path) == data_hash(source)
    assert json.loads((tmp_path / file_hash.MEMO).read_text())


# Bad records

DAMAGE: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "nan": (lambda x: x.__setitem__((1, slice(7)), np.nan), r"missing samples \(NaN\): II 7"),
    "flat": (lambda x: x.__setitem__(0, 0.25), "flat lead I"),
    "lead": (lambda x: x[:1], "asked for were I, II"),
    "short": (lambda x: x[:, :15], "15 samples are too few"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_record_is_named_with_its_reason_and_the_way_on(tmp_path: Path, kind: str) -> None:
    source = toy(tmp_path / "data")
    alter, reason = DAMAGE[kind]
    change(source, "b1", alter)
    spec = replace(SPEC, bandpass_hz=(1.0, 20.0))
    with pytest.raises(BadRecordsError, match=f"1 of 4 records .*b1: .*{reason}.*on_bad_record=skip"):
        open_store(source, spec, tmp_path / "store", progress=False)


def test_all_bad_records_are_counted_and_the_first_five_named(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", {f"a{i}": 200 for i in range(60)})
    for i in range(0, 60, 5):
        (source.folder / f"a{i}.npy").unlink()
    with pytest.raises(BadRecordsError, match=r"12 of 60 records.*a0: .*a20: .*and 7 more") as error:
        open_store(source, SPEC, tmp_path / "store", jobs=2, progress=False)
    assert "a25" not in str(error.value)


def test_skipped_records_are_listed_and_the_others_kept(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", on_bad_record="skip")
    change(source, "a2", lambda x: x.__setitem__((0, 0), np.nan))
    store = open_store(source, SPEC, tmp_path / "store", progress=False)
    assert store.index["record_id"].tolist() == ["a1", "b1", "c1"]
    np.testing.assert_array_equal(store.signals[1], np.load(source.folder / "b1.npy"))
    assert store.skipped == [{"record_id": "a2", "reason": "missing samples (NaN): I 1"}]


def test_changing_ones_mind_about_bad_records_costs_no_second_build(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    (source.folder / "a1.npy").unlink()
    for _ in range(2):
        with pytest.raises(BadRecordsError, match="a1: missing file"):
            open_store(source, SPEC, tmp_path / "store", progress=False)
    store = open_store(replace(source, on_bad_record="skip"), SPEC, tmp_path / "store", progress=False)
    assert len(store.skipped) == 1
    assert n_reads(source) == 4


def test_flat_leads_can_be_kept(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", flat_leads="keep")
    change(source, "a1", lambda x: x.__setitem__(0, 0))
    store = open_store(source, SPEC, tmp_path / "store", progress=False)
    assert store.skipped == []
    assert not store.signals[0, 0].any()


def test_no_usable_record_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", {"a1": 200}, on_bad_record="skip")
    (source.folder / "a1.npy").unlink()
    with pytest.raises(StoreError, match=r"none of 1 records can be used .*a1.*missing file"):
        open_store(source, SPEC, tmp_path / "store", progress=False)
    assert not list((tmp_path / "store").glob("*toy-*/"))


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    (source.folder / "names.json").write_text("[]")
    with pytest.raises(ValueError, match="toy lists no record"):
        open_store(source, SPEC, tmp_path / "store", progress=False)


def test_a_patient_in_two_splits_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    manifest = source.manifest().assign(patient_id="one")
    source.manifest = lambda: manifest  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="1 patients are in more than one split"):
        open_store(source, SPEC, tmp_path / "store", progress=False)
    assert n_reads(source) == 0


# Damage, full disks, several processes, sudden death


@pytest.mark.parametrize("name", ["signals.npy", "index.parquet", "store.json"])
def test_a_store_without_one_of_its_files_is_refused(tmp_path: Path, name: str) -> None:
    source = toy(tmp_path / "data")
    path = open_store(source, SPEC, tmp_path / "store", progress=False).path
    (path / name).unlink()
    with pytest.raises(StoreError, match=f"the store {path} is damaged: .*{name}.*delete that folder"):
        open_store(source, SPEC, tmp_path / "store", progress=False)


@pytest.mark.parametrize("cut", [1, 1600, 9600])
def test_a_truncated_array_is_refused_with_the_way_on(tmp_path: Path, cut: int) -> None:
    source = toy(tmp_path / "data")
    path = open_store(source, SPEC, tmp_path / "store", progress=False).path
    os.truncate(path / "signals.npy", (path / "signals.npy").stat().st_size - cut)
    with pytest.raises(StoreError, match=r"is damaged.*delete that folder and start again"):
        load_store(path, source.manifest())


def test_another_format_is_refused(tmp_path: Path) -> None:
    source = toy(tmp_path / "data")
    path = open_store(source, SPEC, tmp_path / "store", progress=False).path
    about = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps(about | {"format": 0}))
    with pytest.raises(StoreError, match="its format is 0, this version reads 2"):
        load_store(path, source.manifest())


class FullDisk:
    """A file on a disk that takes 20,000 more bytes."""

    def __init__(self, *args: Any) -> None:
        self.file, self.left = open(*args), 20_000  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> int:
        self.left -= memoryview(data).nbytes
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)


def test_a_disk_that_fills_up_leaves_nothing_half_and_earlier_stores_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = open_store(toy(tmp_path / "data"), SPEC, tmp_path / "store", progress=False)
    held = (earlier.path / "signals.npy").read_bytes()
    source = toy(tmp_path / "more", {f"a{i}": 200 for i in range(40)})
    with monkeypatch.context() as patch:
        patch.setattr(store_build, "open", FullDisk, raising=False)
        with pytest.raises(StoreError, match=f"no space for a store in {tmp_path / 'store'}: .*untouched"):
            open_store(source, SPEC, tmp_path / "store", progress=False)
    folders = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    assert folders == [earlier.path]
    assert (earlier.path / "signals.npy").read_bytes() == held
    assert len(open_store(source, SPEC, tmp_path / "store", progress=False).index) == 40


def test_too_little_space_is_noticed_at_the_first_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 records of 2 x 200 float32 take 64,000 bytes."""
    source = toy(tmp_path / "data", {f"a{i}": 200 for i in range(40)})
    for free, enough in ((63_999, False), (64_000, True)):
        monkeypatch.setattr(store_build.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if enough:
            open_store(source, SPEC, tmp_path / "store", progress=False)
        else:
            with pytest.raises(StoreError, match=r"needs about 0\.00 GB; free some"):
                open_store(source, SPEC, tmp_path / "store", progress=False)
            assert n_reads(source) <= store_build.RECORDS_PER_BATCH


def test_two_processes_build_once(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", {f"a{i}": 200 for i in range(40)}, seconds_per_batch=0.7)
    processes = [start_build(source, tmp_path / "store") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert outputs[0] == outputs[1]
    assert "(40, 2, 200)" in outputs[0]
    assert n_reads(source) == 40


def test_a_killed_build_leaves_no_half_store_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    source = toy(tmp_path / "data", {f"a{i}": 200 for i in range(40)}, seconds_per_batch=5)
    process = start_build(source, tmp_path / "store")
    deadline = time.monotonic() + 60
    while not n_reads(source) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    root = tmp_path / "store"
    assert not list(root.glob("toy-*"))
    assert len(list(root.glob(".toy-*.partial"))) == 1
    (root / ".other-123.partial").mkdir()
    store = open_store(replace(source, seconds_per_batch=0.0), SPEC, root, progress=False)
    assert store.signals.shape == (40, 2, 200)
    np.testing.assert_array_equal(store.signals[39], np.load(source.folder / "a39.npy"))
    assert not list(root.glob("*.partial"))
    assert not list(root.glob(".*.partial"))


def test_a_build_in_progress_elsewhere_is_not_cleaned_away(tmp_path: Path) -> None:
    partial = tmp_path / ".toy-123.partial"
    partial.mkdir()
    with store_build.FileLock(tmp_path / ".toy-123.lock", thread_local=False):
        store_build.remove_stale(tmp_path)
    assert partial.is_dir()
    store_build.remove_stale(tmp_path)
    assert not partial.exists()
