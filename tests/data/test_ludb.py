"""LUDB: samples, facts, the cardiologists' borders of the waves, partial copies, folds."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgbench.data.ludb import Ludb
from ecgbench.data.record import LEADS, RecordError
from ecgbench.data.splits import assert_patient_disjoint

ALL = {"train_folds": [], "val_folds": [], "test_folds": range(1, 11)}


def ludb(root: Path, **changes: object) -> Ludb:
    """The source as configured by default."""
    return Ludb(root=root, **({"leads": LEADS} | ALL | changes))


def part(shared_data: Path, folder: Path, *names: str) -> Path:
    """A copy with the files of some records, the whole table and no RECORDS."""
    (folder / "data").mkdir()
    shutil.copyfile(shared_data / "ludb/ludb.csv", folder / "ludb.csv")
    for name in names:
        for path in (shared_data / "ludb/data").glob(f"{name}.*"):
            shutil.copyfile(path, folder / "data" / path.name)
    return folder


def annotate(folder: Path, extension: str, samples: list[int], symbols: str) -> None:
    """Marks of record 1 in one lead."""
    wfdb.wrann("1", extension, np.array(samples), list(symbols), write_dir=str(folder / "data"))


def test_a_record_is_its_file_in_converter_steps_of_a_microvolt(shared_data: Path) -> None:
    """Every lead has its own gain and baseline in the header; the file itself holds neither."""
    record = ludb(shared_data / "ludb").read("1")
    raw = np.fromfile(shared_data / "ludb/data/1.dat", "<i2").reshape(5000, 12).T
    np.testing.assert_array_equal(record.signal_mv, np.float32(1e-3) * raw.astype(np.float32))
    assert (record.signal_mv.dtype, record.fs_hz, record.leads, record.patient_id) == (np.float32, 500.0, LEADS, "1")


def test_header_unit_gives_the_published_values_whose_range_is_one(shared_data: Path) -> None:
    record = ludb(shared_data / "ludb", unit="header").read("1")
    expected = wfdb.rdrecord(str(shared_data / "ludb/data/1")).p_signal.T
    np.testing.assert_allclose(record.signal_mv, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.ptp(record.signal_mv, axis=1), 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match=r"dataset.unit=mV is unknown; use steps or header"):
        ludb(shared_data / "ludb", unit="mV")


def test_every_record_that_is_there_fulfils_the_identities(shared_data: Path) -> None:
    """III = II - I to float32's rounding, aVR, aVL, aVF to half a step of 1 uV: order, scale and offset are right."""
    source = ludb(shared_data / "ludb")
    for record_id in source.manifest()["record_id"]:
        one, two, three, avr, avl, avf = source.read(record_id).signal_mv[:6].astype(np.float64)
        lacking = (three - (two - one), avr + (one + two) / 2, avl - (one - two / 2), avf - (two - one / 2))
        rms_uv = [1e3 * np.sqrt(np.mean(x**2)) for x in lacking]
        assert rms_uv[0] < 1e-3
        assert max(rms_uv) < 0.5


def test_leads_come_in_the_order_asked_for(shared_data: Path) -> None:
    """The files call V2 v2 and aVR avr."""
    whole = ludb(shared_data / "ludb").read("2").signal_mv
    some = ludb(shared_data / "ludb", leads=["V2", "aVR"]).read("2")
    np.testing.assert_array_equal(some.signal_mv, whole[[7, 3]])
    with pytest.raises(RecordError, match="record 2: no lead V9"):
        ludb(shared_data / "ludb", leads=["V9"]).read("2")


def test_the_first_waves_of_record_1_are_those_of_its_file(shared_data: Path) -> None:
    """Lead i: `( N ) ( t ) ( p )` at these samples, read with the wfdb package; in lead v2 others."""
    waves = ludb(shared_data / "ludb").delineation("1")
    assert waves.columns.tolist() == ["lead", "wave", "onset", "peak", "offset"]
    assert tuple(dict.fromkeys(waves["lead"])) == LEADS
    of_i = waves[waves["lead"] == "I"].head(3).drop(columns="lead").to_numpy().tolist()
    assert of_i == [["QRS", 641, 664, 690], ["T", 773, 840, 887], ["P", 1252, 1282, 1301]]
    assert waves[waves["lead"] == "V2"].iloc[0].tolist() == ["V2", "QRS", 641, 660, 681]
    assert len(waves[waves["lead"] == "I"]) == 16  # 48 marks


def test_every_mark_of_a_peak_is_a_wave(shared_data: Path) -> None:
    """Over three records with regular, missing, late and nested marks as many waves as peaks, in order."""
    source = ludb(shared_data / "ludb")
    for record_id in ("7", "8", "116"):
        waves = source.delineation(record_id)
        for lead in LEADS:
            marks = wfdb.rdann(str(shared_data / f"ludb/data/{record_id}"), lead.lower())
            peaks = [s for s, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol in "pNt"]
            assert waves.loc[waves["lead"] == lead, "peak"].tolist() == peaks


def test_missing_late_and_nested_marks(tmp_path: Path, shared_data: Path) -> None:
    """`N()` is a peak just before its onset, `N)` one without onset, `()` no wave, `((t))` one between the inner."""
    root = part(shared_data, tmp_path, "1")
    annotate(root, "i", [10, 12, 30, 40, 50, 60, 70, 80, 90, 95, 99, 110, 115], "N()N)()((t))N")
    waves = ludb(root).delineation("1")
    found = waves[waves["lead"] == "I"].drop(columns="lead").reset_index(drop=True)
    expected = [("QRS", 12, 10, 30), ("QRS", np.nan, 40, 50), ("T", 90, 95, 99), ("QRS", np.nan, 115, np.nan)]
    columns = ["wave", "onset", "peak", "offset"]
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, columns=columns), check_dtype=False)


def test_a_lead_without_marks_has_no_wave(tmp_path: Path, shared_data: Path) -> None:
    root = part(shared_data, tmp_path, "1")
    annotate(root, "avr", [10], "+")
    assert "aVR" not in set(ludb(root).delineation("1")["lead"])
    (root / "data/1.avf").unlink()
    with pytest.raises(RecordError, match=r"record 1: missing file 1.avf"):
        ludb(root).delineation("1")


def test_the_manifest_has_the_facts_of_the_table(shared_data: Path) -> None:
    """As in ludb.csv: record 1 is a woman of 51 with bradycardia; 85 women, 115 men, '>89' years, ten paced."""
    manifest = ludb(shared_data / "ludb").manifest().set_index("record_id")
    row = manifest.loc["1"]
    assert (row["rhythm"], row["age_years"], row["sex"], row["is_male"]) == ("Sinus bradycardia", 51, "female", 0)
    assert manifest.index.tolist() == [str(n) for n in range(1, 161)]
    assert manifest["split"].eq("test").all()
    table = pd.read_csv(shared_data / "ludb/ludb.csv").set_index("ID").loc[1:160]
    assert manifest["is_male"].sum() == table["Sex"].str.contains("M").sum()
    assert manifest["age_years"].tolist() == [90.0 if ">" in age else float(age) for age in table["Age"]]
    assert manifest["paced"].tolist() == table["Cardiac pacing"].notna().tolist()


def test_a_part_says_so_and_keeps_its_folds(shared_data: Path, tmp_path: Path) -> None:
    """RECORDS lists 200 records, 160 of which are there; a copy of three has them in the same folds."""
    whole = ludb(shared_data / "ludb")
    notes = whole.notes(160)
    assert "a step of the converter is taken for 1 uV" in notes[0]
    assert any("160 of 200 records" in note for note in notes)
    assert any(note.startswith("40 of the 200 listed records") for note in notes)
    few = ludb(part(shared_data, tmp_path, "3", "20", "100")).manifest().set_index("record_id")
    assert few.index.tolist() == ["3", "20", "100"]
    assert few["fold"].equals(whole.manifest().set_index("record_id")["fold"].loc[few.index])


def test_folds_hold_twenty_people_each_and_share_the_rhythms(shared_data: Path, tmp_path: Path) -> None:
    """200 people; 25 with sinus bradycardia, so two or three in each fold."""
    root = part(shared_data, tmp_path)
    for n in range(1, 201):
        for suffix in ("hea", "dat"):
            (root / f"data/{n}.{suffix}").touch()
    manifest = ludb(root, train_folds=range(1, 9), val_folds=[9], test_folds=[10]).manifest()
    assert_patient_disjoint(manifest)
    assert manifest["fold"].value_counts().between(19, 21).all()
    slow = manifest[manifest["rhythm"].str.contains("Sinus bradycardia")]
    assert slow["fold"].value_counts().reindex(range(1, 11)).between(2, 3).all()
    assert manifest["split"].value_counts().to_dict().keys() == {"train", "val", "test"}


def test_damaged_foreign_and_missing_files_are_named(shared_data: Path, tmp_path: Path) -> None:
    root = part(shared_data, tmp_path, "1", "2", "3")
    (root / "data/1.dat").write_bytes((root / "data/2.dat").read_bytes())
    with pytest.raises(RecordError, match="record 1: checksum of lead i is"):
        ludb(root).read("1")
    header = root / "data/2.hea"
    text = header.read_text()
    header.write_text(text.replace("2 12 500", "2 12 250"))
    with pytest.raises(RecordError, match="record 2: its header says 250 Hz, ludb has 500"):
        ludb(root).read("2")
    header.write_text(text.replace("/mV", "/uV"))
    with pytest.raises(RecordError, match=r"record 2: the median lead's amplitude is .* looks like volts"):
        ludb(root, unit="header").read("2")
    (root / "data/3.dat").unlink()
    assert ludb(root).manifest()["record_id"].tolist() == ["1", "2"]
    with pytest.raises(RecordError, match="record 201: not listed"):
        ludb(root).read("201")


def test_wrong_folders_and_folds_are_told_what_is_wrong(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no ludb.csv"):
        ludb(tmp_path).manifest()
    root = part(shared_data, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no data/\*.hea with \*.dat"):
        ludb(root).manifest()
    (root / "RECORDS").write_text("data/1\ndata/999\n")
    with pytest.raises(ValueError, match=r"lists 999, which ludb.csv does not"):
        ludb(root).manifest()
    with pytest.raises(ValueError, match=r"dataset.train_folds names fold 0; folds run from 1 to 10"):
        ludb(shared_data / "ludb", train_folds=[0]).manifest()
    with pytest.raises(ValueError, match=r"dataset.fs_hz=-1 is not a rate"):
        ludb(tmp_path, fs_hz=-1)
