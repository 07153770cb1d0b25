"""CPSC 2018: labels, ages and samples, partial copies, folds, and what a wrong copy is told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from ecgbench.data.cpsc2018 import DIAGNOSES, Cpsc2018
from ecgbench.data.record import LEADS, RecordError
from ecgbench.data.splits import assert_patient_disjoint
from ecgbench.data.store import StoreSpec, open_store

ALL = {"train_folds": [], "val_folds": [], "test_folds": range(1, 11)}


def cpsc(root: Path, **changes: object) -> Cpsc2018:
    """The source as configured by default."""
    return Cpsc2018(root=root, **({"leads": LEADS} | ALL | changes))


def beats_mv(n_samples: int = 500) -> np.ndarray:
    """Twelve leads with a millivolt-sized beat, (lead, time)."""
    beat = np.exp(-(((np.arange(n_samples) % 400 - 200) / 12) ** 2))
    return np.linspace(0.3, 2, 12)[:, None] * beat


def write(
    folder: Path, labels: dict[str, str], data: np.ndarray | None = None, compress: bool = True, **facts: object
) -> Path:
    """A copy with these lines of REFERENCE.csv and one file for each."""
    lines = [f"{name},{given}" for name, given in labels.items()]
    folder.joinpath("REFERENCE.csv").write_bytes("\r\n".join(["Recording,First_label,,", *lines, ""]).encode())
    ecg = {"sex": "Female", "age": 61, "data": beats_mv() if data is None else data} | facts
    for name in labels:
        savemat(folder / f"{name}.mat", {"ECG": ecg}, do_compression=compress)
    return folder


def test_a_record_is_its_file_in_millivolts(shared_data: Path) -> None:
    """A6791 has 5,000 samples, A1988 27,157, the length that scipy finds."""
    source = cpsc(shared_data / "cpsc2018")
    for name, n_samples in (("A6791", 5000), ("A1988", 27157)):
        expected = loadmat(shared_data / f"cpsc2018/{name}.mat")["ECG"]["data"][0, 0]
        record = source.read(name)
        assert (record.signal_mv.shape, record.signal_mv.dtype) == ((12, n_samples), np.float32)
        np.testing.assert_array_equal(record.signal_mv, expected.astype(np.float32))
        assert (record.fs_hz, record.leads, record.patient_id) == (500.0, LEADS, name)


def test_lead_order_and_unit_are_right_by_the_identities_of_the_limb_leads(shared_data: Path) -> None:
    """A6791: III is II - I to float32's rounding, the others miss by 0.47 to 0.49 uV, its quantisation to 1 uV."""
    one, two, three, avr, avl, avf = cpsc(shared_data / "cpsc2018").read("A6791").signal_mv[:6].astype(np.float64)
    lacking = (three - (two - one), avr + (one + two) / 2, avl - (one - two / 2), avf - (two - one / 2))
    rms_uv = [1e3 * np.sqrt(np.mean(x**2)) for x in lacking]
    assert rms_uv[0] < 1e-4
    np.testing.assert_allclose(rms_uv[1:], [0.478, 0.488, 0.470], atol=1.5e-3)


def test_leads_come_in_the_order_asked_for(shared_data: Path) -> None:
    whole = cpsc(shared_data / "cpsc2018").read("A1980").signal_mv
    some = cpsc(shared_data / "cpsc2018", leads=["V2", "aVR"]).read("A1980")
    np.testing.assert_array_equal(some.signal_mv, whole[[7, 3]])


def test_the_manifest_has_the_labels_ages_and_sexes_of_the_records_that_are_there(shared_data: Path) -> None:
    """Ages and sexes as scipy reads them, labels as the lines of the file."""
    lines = (shared_data / "cpsc2018/REFERENCE.csv").read_text().split()
    label_of = {line.split(",")[0]: line.split(",")[1] for line in lines[1:]}
    manifest = cpsc(shared_data / "cpsc2018").manifest()
    assert manifest["record_id"].tolist() == [*(f"A19{n}" for n in range(80, 90)), "A6791"]
    assert manifest["split"].eq("test").all()
    assert manifest["patient_id"].equals(manifest["record_id"])
    for row in manifest.itertuples():
        ecg = loadmat(shared_data / f"cpsc2018/{row.record_id}.mat")["ECG"][0, 0]
        assert row.age_years == ecg["age"].item()
        assert row.sex == str(ecg["sex"][0]).lower()
        assert row.is_male == float(str(ecg["sex"][0]) == "Male")
        assert row.diagnoses == DIAGNOSES[int(label_of[row.record_id]) - 1]


def test_a_part_says_so(shared_data: Path) -> None:
    """REFERENCE.csv lists 6,877 records, 11 of which are there."""
    notes = cpsc(shared_data / "cpsc2018").notes(11)
    assert any("11 of 6,877 records" in note for note in notes)
    assert any(note.startswith("6,866 of the 6,877 records") for note in notes)


@pytest.mark.parametrize(
    ("compress", "facts", "age_years", "sex"),
    [
        (False, {"sex": "Male", "age": 17}, 17.0, "male"),
        (True, {"sex": "Female", "age": 71.5}, 71.5, "female"),
        (True, {"sex": "Male", "age": np.nan}, np.nan, "male"),
        (True, {"sex": "?", "age": -1}, np.nan, "unknown"),
        (True, {"sex": "", "age": np.zeros((0, 0))}, np.nan, "unknown"),
    ],
)
def test_facts_are_read_without_the_samples(
    tmp_path: Path, compress: bool, facts: dict[str, object], age_years: float, sex: str
) -> None:
    """Files cut off behind the facts still have an age and a sex; unknown ones do not stop the rest."""
    write(tmp_path, {"A0001": "2,5,"}, np.random.default_rng(0).normal(size=(12, 5000)), compress, **facts)
    path = tmp_path / "A0001.mat"
    path.write_bytes(path.read_bytes()[:4096])
    row = cpsc(tmp_path).manifest().iloc[0]
    np.testing.assert_equal(row["age_years"], age_years)
    assert (row["sex"], row["diagnoses"]) == (sex, "AF,RBBB")


def test_a_partial_copy_keeps_the_folds_of_the_whole(shared_data: Path, tmp_path: Path) -> None:
    """The folds come from REFERENCE.csv, not from the files beside it; no record is in two."""
    reference = (shared_data / "cpsc2018/REFERENCE.csv").read_bytes()
    (tmp_path / "REFERENCE.csv").write_bytes(reference)
    names = [line.split(",")[0] for line in reference.decode().split()[1:]]
    for name in names:
        (tmp_path / f"{name}.mat").touch()
    whole = cpsc(tmp_path, train_folds=range(1, 9), val_folds=[9], test_folds=[10]).manifest().set_index("record_id")
    assert_patient_disjoint(whole.reset_index())
    assert sorted(whole.index) == sorted(names)
    for split, tenths in (("train", 8), ("val", 1), ("test", 1)):
        rows = whole[whole["split"] == split]
        assert len(rows) == pytest.approx(687.7 * tenths, abs=10)
        assert rows["diagnoses"].str.contains("LBBB").sum() == pytest.approx(23.6 * tenths, abs=4)  # 236 in all
    part = cpsc(shared_data / "cpsc2018").manifest().set_index("record_id")
    assert part["fold"].equals(whole["fold"].loc[part.index])


def test_a_record_of_a_fold_that_no_split_names_is_left_out(shared_data: Path) -> None:
    """A1980 and A1981 are in fold 2 by default."""
    root = shared_data / "cpsc2018"
    fold = cpsc(root).manifest().set_index("record_id")["fold"]
    held = cpsc(root, test_folds=[fold["A1980"]]).manifest()
    assert set(held["record_id"]) == set(fold.index[fold == fold["A1980"]])
    assert len(held) < len(fold)


@pytest.mark.parametrize(("factor", "guess"), [(1e-3, "volts"), (1e3, "microvolts")])
def test_volts_and_microvolts_are_refused(tmp_path: Path, factor: float, guess: str) -> None:
    write(tmp_path, {"A0001": "1,,"}, beats_mv() * factor)
    with pytest.raises(RecordError, match=rf"record A0001: .*{guess}"):
        cpsc(tmp_path).read("A0001")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (beats_mv().T, "float64 500 x 12 in ECG.data, not 12 leads"),
        (np.zeros((12, 0)), "12 x 0 in ECG.data"),
        (np.array(["x"]), "in ECG.data, not 12 leads"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, data: np.ndarray, reason: str) -> None:
    write(tmp_path, {"A0001": "1,,"}, data)
    with pytest.raises(RecordError, match=f"record A0001: .*{reason}"):
        cpsc(tmp_path).read("A0001")


def test_damaged_missing_and_unlisted_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"A0001": "1,,", "A0002": "1,,"})
    source = cpsc(tmp_path)
    path = tmp_path / "A0001.mat"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RecordError, match=r"record A0001: A0001.mat holds no struct ECG"):
        source.read("A0001")
    (tmp_path / "A0002.mat").unlink()
    with pytest.raises(RecordError, match=r"record A0002: missing file A0002.mat"):
        source.read("A0002")
    with pytest.raises(RecordError, match=r"record A9999: not listed in REFERENCE.csv"):
        source.read("A9999")


def test_wrong_folders_lists_and_folds_are_told_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no REFERENCE.csv"):
        cpsc(tmp_path).manifest()
    reference = tmp_path / "REFERENCE.csv"
    reference.write_text("Recording,First_label\nA0001,1,,\n")
    with pytest.raises(FileNotFoundError, match=r"none of the 1 records of REFERENCE.csv"):
        cpsc(tmp_path).manifest()
    for wrong in ("10", "", "x", "0"):
        reference.write_text(f"Recording,First_label\nA0001,{wrong},,\n")
        with pytest.raises(ValueError, match=r"does not give labels 1-9 to every record \(A0001"):
            cpsc(tmp_path).manifest()
    write(tmp_path, {"A0001": "1,,"})
    with pytest.raises(ValueError, match=r"dataset.val_folds names fold 11; folds run from 1 to 10"):
        cpsc(tmp_path, val_folds=[11]).manifest()
    with pytest.raises(ValueError, match=r"fold 3 is in val_folds and in test_folds"):
        cpsc(tmp_path, val_folds=[3]).manifest()
    with pytest.raises(ValueError, match=r"dataset.fs_hz=0 is not a rate"):
        cpsc(tmp_path, fs_hz=0)


def test_records_of_any_length_become_windows(shared_data: Path, tmp_path: Path) -> None:
    """15 windows of 1024 samples hold A1989's 8,500 and A1985's 5,517 samples: 9 and 6, the last two 308 and 397."""
    for name in ("A1985", "A1989"):
        (tmp_path / f"{name}.mat").symlink_to(shared_data / f"cpsc2018/{name}.mat")
    (tmp_path / "REFERENCE.csv").symlink_to(shared_data / "cpsc2018/REFERENCE.csv")
    spec = StoreSpec(fs_hz=500, window_s=1024 / 500, bandpass_hz=None, bandpass_order=2)
    store = open_store(cpsc(tmp_path), spec, tmp_path / "store", progress=False)
    last: pd.Series = store.index.groupby("record_id")["n_valid"].last()
    assert (store.signals.shape, last.tolist()) == ((15, 12, 1024), [397, 308])
