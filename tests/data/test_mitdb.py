"""The MIT-BIH Arrhythmia Database: splits, leads by place, annotations, partial copies."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgbench.data.mitdb import MOVED, PACED, TEST, TRAIN, VAL, MitDb
from ecgbench.data.record import RecordError
from ecgbench.data.store import StoreSpec, open_store

BOTH = ["upper", "lower"]


def complete(folder: Path) -> Path:
    """A folder that lists every record of the database, without signals."""
    for name in (*TRAIN, *VAL, *TEST, *MOVED, *PACED):
        (folder / f"{name}.hea").touch()
    return folder


def _names(text: str) -> list[str]:
    return text.split()


def test_the_split_is_de_chazals_but_for_202(tmp_path: Path) -> None:
    """De Chazal et al. 2004, Table III, written out again."""
    ds1 = _names("101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230")
    ds2 = _names("100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234")
    manifest = MitDb(root=complete(tmp_path), leads=BOTH).manifest().set_index("record_id")
    assert sorted(manifest.index) == sorted(ds1 + ds2)
    assert set(manifest.index[manifest["split"] == "test"]) == set(ds2) - {"202"}
    assert set(manifest.index[manifest["split"] == "val"]) == {"118", "124", "207", "223"}
    assert manifest["fold"].loc[ds1].eq(1).all()
    assert manifest["fold"].loc[ds2].eq(2).all()
    assert manifest["patient_id"].loc["202"] == manifest["patient_id"].loc["201"]


def test_paced_records_are_trained_on_when_kept(tmp_path: Path) -> None:
    manifest = MitDb(root=complete(tmp_path), leads=BOTH, paced="keep").manifest().set_index("record_id")
    assert manifest["split"].loc[["102", "104", "107", "217"]].eq("train").all()
    assert len(manifest) == 48


def test_a_partial_copy_has_all_three_splits(shared_data: Path) -> None:
    """100, 105, 119, 200, 207 and 231."""
    manifest = MitDb(root=shared_data / "mitdb", leads=BOTH).manifest()
    assert dict(zip(manifest["record_id"], manifest["split"], strict=True)) == {
        "100": "test", "105": "test", "119": "train", "200": "test", "207": "val", "231": "test",
    }  # fmt: skip


def test_a_records_file_decides_what_is_listed(tmp_path: Path) -> None:
    (complete(tmp_path) / "RECORDS").write_text("101\n100\n")
    assert MitDb(root=tmp_path, leads=BOTH).manifest()["record_id"].tolist() == ["100", "101"]


def test_a_record_is_its_file_in_millivolts(shared_data: Path) -> None:
    record = MitDb(root=shared_data / "mitdb", leads=BOTH).read("119")
    expected = wfdb.rdrecord(str(shared_data / "mitdb/119")).p_signal.T.astype(np.float32)
    np.testing.assert_array_equal(record.signal_mv, expected)
    assert (record.fs_hz, record.leads) == (360.0, ("upper", "lower"))
    lower = MitDb(root=shared_data / "mitdb", leads=["lower"]).read("119")
    np.testing.assert_array_equal(lower.signal_mv, expected[1:])


def test_half_an_hour_is_181_windows_of_ten_seconds(shared_data: Path, tmp_path: Path) -> None:
    """650,000 samples at 360 Hz are 180 windows and 2,000 samples; at 250 Hz 451,389, so 1,389 in the last."""
    source = MitDb(root=shared_data / "mitdb", leads=BOTH)
    for fs_hz, n_samples, rest in ((360, 3600, 2000), (250, 2500, 1389)):
        spec = StoreSpec(fs_hz=fs_hz, window_s=10, bandpass_hz=None, bandpass_order=2)
        store = open_store(source, spec, tmp_path, progress=False)
        assert store.signals.shape == (6 * 181, 2, n_samples)
        assert store.index.groupby("record_id")["n_valid"].last().tolist() == [rest] * 6


def test_an_impossible_rate_is_refused(shared_data: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset.fs_hz=0 is not a rate"):
        MitDb(root=shared_data / "mitdb", leads=BOTH, fs_hz=0)


def test_annotations_count_the_beats_of_record_119(shared_data: Path) -> None:
    """1,543 normal and 444 ventricular premature beats: MIT-BIH Database Directory."""
    symbols = MitDb(root=shared_data / "mitdb", leads=BOTH).annotations("119").symbol
    assert ((symbols == "N").sum(), (symbols == "V").sum()) == (1543, 444)


def test_lead_names_are_refused_with_the_places(shared_data: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset.leads MLII is not among upper, lower"):
        MitDb(root=shared_data / "mitdb", leads=["MLII"])


def test_a_wrong_folder_is_told_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no WFDB header .*python -m ecgbench.fetch mitdb"):
        MitDb(root=tmp_path, leads=BOTH).manifest()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("100 2 250 1\n100.dat 16 200\n100.dat 16 200\n", "250 Hz, mitdb has 360"),
        ("100 1 360 2\n100.dat 16 200\n", "1 of the 2 leads"),
    ],
)
def test_records_of_another_kind_are_refused(tmp_path: Path, header: str, reason: str) -> None:
    (tmp_path / "100.hea").write_text(header)
    (tmp_path / "100.dat").write_bytes(bytes(4))
    with pytest.raises(RecordError, match=f"record 100: .*{reason}"):
        MitDb(root=tmp_path, leads=BOTH).read("100")
