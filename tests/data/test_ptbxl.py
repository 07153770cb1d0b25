"""PTB-XL: what the database file says, what the records hold, and what a wrong copy is told."""

import ast
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgbench.data.ptbxl import PtbXl
from ecgbench.data.record import LEADS, RecordError
from ecgbench.data.store import BadRecordsError, StoreSpec, open_store

SPEC = StoreSpec(fs_hz=500, window_s=10, bandpass_hz=None, bandpass_order=2)


def ptbxl(root: Path, **changes: object) -> PtbXl:
    """The source as configured by default."""
    fields = {"leads": LEADS, "train_folds": range(1, 9), "val_folds": [9], "test_folds": [10]}
    return PtbXl(root=root, **(fields | changes))


def part(shared_data: Path, folder: Path, ids: list[int], absent: tuple[int, ...] = ()) -> Path:
    """A copy of PTB-XL with the rows of `ids` (rows without a model are copies of row 1), without the files of
    `absent`."""
    whole = shared_data / "ptb-xl"
    with open(whole / "ptbxl_database.csv", newline="") as file:
        header, *rows = csv.reader(file)
    row_of = {int(row[0]): row for row in rows}
    chosen = [[str(i), *row_of.get(i, rows[0])[1:]] for i in ids]
    with open(folder / "ptbxl_database.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *chosen])
    for i in set(ids) - set(absent):
        for suffix in (".hea", ".dat"):
            name = f"records500/00000/{i:05d}_hr{suffix}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(whole / name, folder / name)
    return folder


@pytest.mark.parametrize(("fs_hz", "n_samples", "name"), [(500, 5000, "00017_hr"), (100, 1000, "00017_lr")])
def test_a_record_is_its_file_in_millivolts(shared_data: Path, fs_hz: int, n_samples: int, name: str) -> None:
    record = ptbxl(shared_data / "ptb-xl", fs_hz=fs_hz).read("17")
    expected = wfdb.rdrecord(str(shared_data / f"ptb-xl/records{fs_hz}/00000/{name}")).p_signal
    assert record.signal_mv.shape == (12, n_samples)
    np.testing.assert_array_equal(record.signal_mv, expected.T.astype(np.float32))
    assert (record.fs_hz, record.leads) == (fs_hz, LEADS)


def test_leads_come_in_the_order_asked_for(shared_data: Path) -> None:
    """The file calls aVR AVR; of its twelve leads V2 is the eighth and aVR the fourth."""
    whole = ptbxl(shared_data / "ptb-xl").read("1").signal_mv
    some = ptbxl(shared_data / "ptb-xl", leads=["V2", "aVR"]).read("1")
    np.testing.assert_array_equal(some.signal_mv, whole[[7, 3]])
    assert some.leads == ("V2", "aVR")


def test_an_unknown_lead_is_refused(shared_data: Path) -> None:
    with pytest.raises(RecordError, match="record 1: no lead V9 among its I, II"):
        ptbxl(shared_data / "ptb-xl", leads=["I", "V9"]).read("1")


def test_the_manifest_keeps_every_column_and_label(shared_data: Path) -> None:
    with open(shared_data / "ptb-xl/ptbxl_database.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    manifest = ptbxl(shared_data / "ptb-xl").manifest()
    assert manifest["record_id"].tolist() == [row["ecg_id"] for row in rows]
    assert manifest["patient_id"].tolist() == [row["patient_id"].removesuffix(".0") for row in rows]
    assert manifest["fold"].tolist() == [int(row["strat_fold"]) for row in rows]
    assert [json.loads(codes) for codes in manifest["scp_codes"]] == [ast.literal_eval(r["scp_codes"]) for r in rows]
    assert set(rows[0]) - {"ecg_id", "strat_fold"} <= set(manifest.columns)


def test_folds_left_out_are_left_out(shared_data: Path) -> None:
    manifest = ptbxl(shared_data / "ptb-xl", train_folds=[1], val_folds=[2], test_folds=[3]).manifest()
    assert set(manifest["fold"]) == {1, 2, 3}


def test_an_impossible_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset.fs_hz=250 is not a rate of PTB-XL; set 500 or 100"):
        ptbxl(tmp_path, fs_hz=250)


def test_a_wrong_folder_is_told_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no ptbxl_database.csv; .*python -m ecgbench.fetch ptbxl"):
        ptbxl(tmp_path / "nowhere").manifest()


@pytest.mark.parametrize(
    ("ids", "release"),
    [
        (range(1, 21838), "1.0.1"),  # complete
        ([*range(1, 137), *range(160, 21823)], "1.0.3"),  # 21,799 rows
        ([136, 137, 138], "1.0.1"),  # lists a removed duplicate
        ([138, 144], "1.0.3"),  # lists the neighbours of 139-143 only
        ([1, 2, 3], "unknown"),
    ],
)
def test_releases_are_told_apart(shared_data: Path, tmp_path: Path, ids: list[int], release: str) -> None:
    source = ptbxl(part(shared_data, tmp_path, list(ids), absent=tuple(ids)))
    assert source.release == release
    assert source.identity()["release"] == release


def test_the_cut_of_release_1_0_3_is_recognised(shared_data: Path) -> None:
    assert ptbxl(shared_data / "ptb-xl").release == "1.0.3"


def test_a_record_at_another_rate_is_refused(shared_data: Path, tmp_path: Path) -> None:
    root = part(shared_data, tmp_path, [1])
    header = root / "records500/00000/00001_hr.hea"
    header.write_text(header.read_text().replace("00001_hr 12 500 5000", "00001_hr 12 250 5000"))
    with pytest.raises(RecordError, match=r"record 1: its header says 250 Hz where dataset.fs_hz=500"):
        ptbxl(root).read("1")


def test_rows_without_files_are_named_with_the_way_on(shared_data: Path, tmp_path: Path) -> None:
    root = part(shared_data, tmp_path, [1, 2, 3, 4, 5], absent=(2, 4))
    with pytest.raises(BadRecordsError, match=r"2 of 5 records .*2: missing file 00002_hr.hea.*on_bad_record=skip"):
        open_store(ptbxl(root), SPEC, tmp_path / "store", progress=False)


def test_rows_without_files_are_listed_when_skipped(shared_data: Path, tmp_path: Path) -> None:
    root = part(shared_data, tmp_path, [1, 2, 3, 4, 5], absent=(2, 4))
    store = open_store(ptbxl(root, on_bad_record="skip"), SPEC, tmp_path / "store", progress=False)
    assert store.index["record_id"].tolist() == ["1", "3", "5"]
    assert [bad["record_id"] for bad in store.skipped] == ["2", "4"]


def test_a_changed_label_changes_the_data_hash(shared_data: Path, tmp_path: Path) -> None:
    before = open_store(ptbxl(part(shared_data, tmp_path, [1, 2])), SPEC, tmp_path / "store", progress=False)
    database = tmp_path / "ptbxl_database.csv"
    database.write_text(database.read_text().replace("'NORM': 100.0", "'NORM': 50.0"))
    after = open_store(ptbxl(tmp_path), SPEC, tmp_path / "store", progress=False)
    assert before.data_hash != after.data_hash
    assert before.path != after.path
