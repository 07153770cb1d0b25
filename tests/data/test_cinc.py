"""The challenge sources: what they list, how they split it, what they say of labels, and what wrong input is told."""

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from challenge_files import adc, write_headers, write_record

from ecgbench.config import CONF_DIR
from ecgbench.data.cinc import Cinc
from ecgbench.data.cinc2020 import Cinc2020
from ecgbench.data.cinc2021 import Cinc2021
from ecgbench.data.record import LEADS, RecordError
from ecgbench.data.splits import assert_patient_disjoint
from ecgbench.data.store import BadRecordsError, StoreSpec, data_hash, open_store

NSR, AF, AFL, LBBB = "426783006", "164889003", "164890007", "164909002"
RBBB, CRBBB = "59118001", "713427006"
SPEC = StoreSpec(fs_hz=500, window_s=1, bandpass_hz=None, bandpass_order=2)


def cinc(root: Path, source: type[Cinc] = Cinc2021, **changes: object) -> Cinc:
    """The source as configured by default."""
    fields = {"leads": LEADS, "train_folds": range(1, 9), "val_folds": [9], "test_folds": [10]}
    return source(root=root, **(fields | changes))


def people(n: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Age, sex and codes of `n` records of about n/2 people."""
    rng = np.random.default_rng(seed)
    ages, kinds = rng.integers(20, 90, n), rng.integers(0, 4, n)
    return [(str(age), "Male", (NSR, AF, f"{NSR},{LBBB}", RBBB)[kind]) for age, kind in zip(ages, kinds, strict=True)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Headers of three sources of 2021, of which two are in 2020."""
    folder = tmp_path_factory.mktemp("cinc")
    return write_headers(folder, {"georgia": people(200), "ningbo": people(150, 1), "ptb-xl": people(100, 2)})


class TestManifest:
    @pytest.mark.parametrize(("source", "year"), [(Cinc2020, 2020), (Cinc2021, 2021)])
    def test_config_builds_the_source(self, source: type[Cinc], year: int):
        """The challenge's records number 43,101 and 88,253."""
        config = yaml.safe_load((CONF_DIR / f"dataset/cinc{year}.yaml").read_text())
        assert config.pop("_target_") == f"{source.__module__}.{source.__name__}"
        assert source(**config).labels == f"cinc{year}"
        assert sum(source.official.values()) == {2020: 43_101, 2021: 88_253}[year]

    def test_rows_say_what_the_headers_say(self, tmp_path: Path):
        """By source and record; age and sex as numbers too, NaN where unknown."""
        facts = {"georgia": [("37", "F", NSR), ("NaN", "NaN", f"{AF},{LBBB}")], "ningbo": [("300", "Male", AFL)]}
        rows = cinc(write_headers(tmp_path, facts)).manifest()
        assert rows["record_id"].tolist() == ["G0000", "G0001", "N0000"]
        assert rows["source"].tolist() == ["georgia", "georgia", "ningbo"]
        assert rows["dx"].tolist() == [NSR, f"{AF},{LBBB}", AFL]
        assert rows["sex"].tolist() == ["female", "unknown", "male"]
        np.testing.assert_array_equal(rows["age_years"], [37, np.nan, 90])
        np.testing.assert_array_equal(rows["is_male"], [0, np.nan, 1])
        assert rows["fs_hz"].tolist() == [500.0] * 3
        assert rows["n_samples"].tolist() == [5] * 3
        rows.to_parquet(tmp_path / "m.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "m.parquet"), rows)

    def test_order_of_creation_does_not_matter(self, tmp_path: Path, root: Path):
        """A copy written backwards gives the same table, folds included."""
        for path in sorted(root.rglob("*.hea"), reverse=True):
            copy = tmp_path / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        pd.testing.assert_frame_equal(cinc(tmp_path).manifest(), cinc(root).manifest())

    def test_the_folder_training_may_be_absent(self, root: Path):
        """The root may be the folder training/ itself."""
        pd.testing.assert_frame_equal(cinc(root / "training").manifest(), cinc(root).manifest())

    def test_2020_takes_its_own_sources_and_says_what_it_left(self, root: Path):
        """Ningbo came in 2021."""
        source = cinc(root, Cinc2020)
        assert set(source.manifest()["source"]) == {"georgia", "ptb-xl"}
        assert "Folders under dataset.root that were not read: ningbo." in source.notes(300)
        assert "300 of the 43,101 public records" in source.notes(300)[0]

    def test_sources_can_be_chosen(self, root: Path):
        """Also one of another year, which is then said."""
        chosen = cinc(root, sources=["ptb-xl", "ningbo"])
        assert chosen.manifest()["source"].unique().tolist() == ["ningbo", "ptb-xl"]
        assert any("Not of the Challenge 2020: ningbo." in n for n in cinc(root, Cinc2020, sources=["ningbo"]).notes(9))


class TestFolds:
    def test_patients_share_a_fold_and_a_split(self, root: Path):
        """A patient is whoever agrees in source, age, sex and codes."""
        rows = cinc(root).manifest()
        who = rows["source"] + rows["age"].astype(str) + rows["sex"] + rows["dx"]
        assert (rows.groupby(who)["fold"].nunique() == 1).all()
        assert rows["patient_id"].nunique() == who.nunique() < len(rows)
        assert_patient_disjoint(rows)
        assert rows["split"].tolist() == [{9: "val", 10: "test"}.get(fold, "train") for fold in rows["fold"]]

    def test_the_order_of_codes_does_not_make_another_patient(self, tmp_path: Path):
        """Nor does the spelling of the sex; the age does."""
        facts = {"georgia": [("37", "F", f"{NSR},{AF}"), ("37", "Female", f"{AF},{NSR}"), ("38", "F", f"{AF},{NSR}")]}
        a, b, c = cinc(write_headers(tmp_path, facts)).manifest()["patient_id"]
        assert a == b != c

    def test_a_record_keeps_its_fold_in_every_choice(self, root: Path):
        """Whatever the year, the labels and the other sources."""
        whole = cinc(root).manifest().set_index("record_id")["fold"]
        for part in (cinc(root, Cinc2020), cinc(root, sources=["ningbo"]), cinc(root, labels="cinc2020_unmerged")):
            fold = part.manifest().set_index("record_id")["fold"]
            pd.testing.assert_series_equal(fold, whole[fold.index])

    def test_labels_are_spread_over_the_folds_of_each_source(self, root: Path):
        """About as many of each list of codes in every fold: patients here have few records."""
        rows = cinc(root).manifest()
        counts = rows.groupby(["source", "dx", "fold"]).size().unstack(fill_value=0)
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 2

    def test_the_record_mode_is_called_optimistic(self, root: Path):
        """There, records of one patient are in several splits, and the check for that is off."""
        source = cinc(root, folds="record")
        rows = source.manifest()
        assert (rows.groupby("patient_id")["split"].nunique() > 1).any()
        assert not source.patient_disjoint
        assert cinc(root).patient_disjoint
        assert any(note.startswith("Optimistic") for note in source.notes(450))
        assert not any(note.startswith("Optimistic") for note in cinc(root).notes(450))

    def test_the_seed_changes_folds_but_not_the_stored_records(self, root: Path):
        """One store serves every way of dealing."""
        other = cinc(root, fold_seed=1)
        assert (other.manifest()["fold"] != cinc(root).manifest()["fold"]).any()
        assert other.identity() == cinc(root).identity()

    def test_known_patients_stand_before_the_proxy(self, root: Path, tmp_path: Path):
        """All of G0000 to G0049 are one person, of one fold."""
        with open(tmp_path / "p.csv", "w", newline="") as file:
            csv.writer(file).writerows([("record_id", "patient_id"), *((f"G{i:04d}", "ann") for i in range(50))])
        rows = cinc(root, patient_file=tmp_path / "p.csv").manifest().set_index("record_id")
        assert set(rows["patient_id"][[f"G{i:04d}" for i in range(50)]]) == {"georgia/ann"}
        assert rows["fold"][[f"G{i:04d}" for i in range(50)]].nunique() == 1
        assert_patient_disjoint(rows)

    def test_a_written_file_is_read_again(self, root: Path, tmp_path: Path):
        """Also for fewer sources, and without looking at the seed."""
        cinc(root, fold_seed=3).write_folds(tmp_path / "folds.csv")
        again = cinc(root, fold_file=tmp_path / "folds.csv")
        pd.testing.assert_frame_equal(again.manifest(), cinc(root, fold_seed=3).manifest())
        assert len(cinc(root, sources=["ptb-xl"], fold_file=tmp_path / "folds.csv").manifest()) == 100
        assert any("Patients and folds come from folds.csv." in note for note in again.notes(450))

    def test_a_file_without_some_records_names_them(self, root: Path, tmp_path: Path):
        """A fold file of one source does not do for three."""
        cinc(root, sources=["ptb-xl"]).write_folds(tmp_path / "folds.csv")
        with pytest.raises(ValueError, match=r"lacks 350 of 450 records \(first: G0000, G0001.*name fewer in"):
            cinc(root, fold_file=tmp_path / "folds.csv").manifest()

    def test_records_of_unnamed_folds_are_left_out(self, root: Path):
        """And the stored records are then others."""
        rows = cinc(root, train_folds=[1, 2], val_folds=[3], test_folds=[4]).manifest()
        assert set(rows["fold"]) == {1, 2, 3, 4}
        assert cinc(root, train_folds=[1, 2], val_folds=[3], test_folds=[4]).identity() != cinc(root).identity()


class TestSourceShift:
    def test_a_source_left_out_is_wholly_tested(self, root: Path):
        """The others go by fold."""
        rows = cinc(root, test_sources=["ningbo"]).manifest()
        by_fold = cinc(root).manifest()
        out = (rows["source"] == "ningbo").to_numpy()
        assert set(rows["split"][out]) == {"test"}
        assert rows["split"][~out].tolist() == by_fold["split"][~out].tolist()

    def test_training_on_one_source_tests_on_all_others(self, root: Path):
        """Whatever their fold."""
        source = cinc(root, train_sources=["georgia"])
        rows = source.manifest()
        assert set(rows["source"][rows["split"].isin(["train", "val"])]) == {"georgia"}
        assert (rows["split"][rows["source"] != "georgia"] == "test").all()
        assert "Trained on georgia alone; every record of ningbo, ptb-xl is a test record." in source.notes(450)

    def test_sources_of_neither_list_are_in_no_split(self, root: Path):
        """They stay in the manifest, unused."""
        rows = cinc(root, train_sources=["georgia"], test_sources=["ptb-xl"]).manifest()
        assert set(rows["split"][rows["source"] == "ningbo"]) == {"unused"}
        assert set(rows["split"][rows["source"] == "ptb-xl"]) == {"test"}

    def test_the_stored_records_are_the_same(self, root: Path):
        """One store serves the whole generalisation matrix."""
        assert cinc(root, train_sources=["georgia"]).identity() == cinc(root).identity()
        assert data_hash(cinc(root, test_sources=["georgia"])) == data_hash(cinc(root))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"train_sources": []},
                "dataset.train_sources is empty in .*use null, or some of those there: georgia",
            ),
            ({"train_sources": ["mars"]}, "dataset.train_sources names mars, which has no record"),
            ({"test_sources": ["georgia", "mars"]}, "dataset.test_sources names mars, .*: georgia, ningbo, ptb-xl"),
            ({"train_sources": ["ptb-xl"], "test_sources": ["ptb-xl"]}, "both name ptb-xl; a source that is trained"),
            ({"test_sources": ["georgia", "ningbo", "ptb-xl"]}, "names every source .*; leave one for training"),
            ({"sources": ["georgia"], "train_sources": ["ningbo"]}, "names ningbo, .* some of those there: georgia$"),
        ],
    )
    def test_impossible_choices_are_refused(self, root: Path, given: dict[str, object], message: str):
        """Each with what is there."""
        with pytest.raises(ValueError, match=message):
            cinc(root, **given).manifest()


class TestRecords:
    def test_leads_come_in_the_order_asked_for_whatever_the_file_has(self, tmp_path: Path):
        """The header names the rows: V6 first and I last here."""
        folder = tmp_path / "training/georgia/g1"
        write_record(folder, "E1", adc(), leads=LEADS[::-1])
        two = cinc(tmp_path, leads=["I", "V6"]).read("E1")
        np.testing.assert_allclose(two.signal_mv, adc()[[11, 0]] / 1000, rtol=1e-6)
        assert (two.leads, two.fs_hz, two.record_id) == (("I", "V6"), 500.0, "E1")

    def test_a_lead_that_is_not_there_is_named(self, tmp_path: Path):
        """With the leads that are."""
        write_record(tmp_path / "training/georgia/g1", "E1", leads=("I", "II", "X", *LEADS[3:]))
        with pytest.raises(RecordError, match="record E1: no lead III among its I, II, X"):
            cinc(tmp_path).read("E1")

    def test_missing_samples_become_zero_or_an_error(self, tmp_path: Path):
        """NaN by default, which the store refuses."""
        values = adc()
        values[2, :4] = -32768
        write_record(tmp_path / "training/georgia/g1", "E1", values)
        assert np.isnan(cinc(tmp_path).read("E1").signal_mv[2, :4]).all()
        zeroed = cinc(tmp_path, missing="zero")
        assert zeroed.read("E1").signal_mv[2, :4].tolist() == [0] * 4
        assert zeroed.identity() != cinc(tmp_path).identity()
        assert "Missing samples are set to 0 mV." in zeroed.notes(1)

    def test_other_rates_are_stored_at_the_rate_asked_for(self, tmp_path: Path):
        """257 and 1000 Hz: a 5 Hz sine keeps its phase and amplitude away from the ends."""
        time_s = {"A0": np.arange(257 * 8) / 257, "A1": np.arange(8000) / 1000, "A2": np.arange(4000) / 500}
        for record_id, t in time_s.items():
            values = np.broadcast_to(1000 * np.sin(2 * np.pi * 5 * t), (12, len(t))).round().astype(np.int16)
            path = write_record(tmp_path / f"training/ptb{record_id}/g1", record_id, values)
            path.write_text(path.read_text().replace(" 12 500 ", f" 12 {len(t) // 8} "))
        source = cinc(
            tmp_path, sources=["ptbA0", "ptbA1", "ptbA2"], train_folds=range(1, 11), val_folds=[], test_folds=[]
        )
        spec = StoreSpec(fs_hz=500, window_s=8, bandpass_hz=None, bandpass_order=2)
        store = open_store(source, spec, tmp_path / "store", progress=False)
        assert store.index["fs_hz"].tolist() == [257, 1000, 500]
        expected = np.sin(2 * np.pi * 5 * np.arange(4000) / 500)
        for window in store.signals:
            np.testing.assert_allclose(window[0, 200:-200], expected[200:-200], atol=0.01)

    def test_bad_records_are_named_or_listed(self, tmp_path: Path):
        """One without labels, one without samples: both stand in the manifest, neither in the store."""
        folder = tmp_path / "training/georgia/g1"
        for number in range(3):
            write_record(folder, f"E{number}", dx=None if number == 1 else NSR, age=str(40 + number))
        (folder / "E2.mat").unlink()
        everywhere = {"train_folds": range(1, 11), "val_folds": [], "test_folds": []}
        with pytest.raises(BadRecordsError, match=r"2 of 3 records .*E1: its header has no Dx line.*E2: missing file"):
            open_store(cinc(tmp_path, **everywhere), SPEC, tmp_path / "store", progress=False)
        store = open_store(cinc(tmp_path, on_bad_record="skip", **everywhere), SPEC, tmp_path / "store", progress=False)
        assert store.index["record_id"].tolist() == ["E0"]
        assert [bad["record_id"] for bad in store.skipped] == ["E1", "E2"]

    def test_an_unknown_record_is_named(self, root: Path):
        """With the sources that were looked through."""
        with pytest.raises(RecordError, match="record X9: not among the records of georgia, ningbo, ptb-xl"):
            cinc(root).read("X9")


class TestBadInput:
    def test_a_wrong_folder_is_told_the_layout(self, tmp_path: Path):
        """Whether it is empty or not there at all."""
        for folder in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(FileNotFoundError, match=r"holds no challenge record; expected is training/<source>/g1"):
                cinc(folder).manifest()

    def test_a_source_without_records_is_named(self, tmp_path: Path):
        """An empty folder is no source, and neither is an empty list."""
        write_headers(tmp_path, {"georgia": people(20)})
        (tmp_path / "training/ningbo/g1").mkdir(parents=True)
        with pytest.raises(
            ValueError, match=r"dataset.sources names ningbo, which has no record in .* there: georgia$"
        ):
            cinc(tmp_path, sources=["georgia", "ningbo"]).manifest()
        with pytest.raises(ValueError, match=r"dataset.sources is empty"):
            cinc(tmp_path, sources=[]).manifest()

    def test_sources_of_another_year_alone_are_refused(self, tmp_path: Path):
        """They would be taken if named."""
        write_headers(tmp_path, {"ningbo": people(20)})
        with pytest.raises(ValueError, match=r"holds ningbo, none of the Challenge 2020's sources \(cpsc_2018, "):
            cinc(tmp_path, Cinc2020).manifest()

    def test_two_records_of_one_name_are_refused(self, tmp_path: Path):
        """In two sources, and in two folders of one."""
        write_headers(tmp_path, {"georgia": people(2), "gamma": people(1)})
        with pytest.raises(ValueError, match=r"1 headers under dataset.root have the name of another one .*G0000.hea"):
            cinc(tmp_path).manifest()
        shutil.rmtree(tmp_path / "training/gamma")
        shutil.copytree(tmp_path / "training/georgia/g1", tmp_path / "training/georgia/g2")
        with pytest.raises(ValueError, match=r"2 headers under dataset.root have the name of another one"):
            cinc(tmp_path).manifest()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"labels": "ptbxl_all"},
                "dataset.labels=ptbxl_all is no label set here; use one of cinc2021, cinc",
            ),
            ({"fs_hz": 0}, "dataset.fs_hz=0 is not a rate; set 500"),
            ({"test_folds": [11]}, "dataset.test_folds names fold 11; folds run from 1 to 10"),
            ({"val_folds": [1]}, "fold 1 is in train_folds and in val_folds"),
            ({"fold_file": "a", "patient_file": "b"}, "dataset.fold_file names the patients already"),
        ],
    )
    def test_impossible_fields_are_refused(self, root: Path, given: dict[str, object], message: str):
        """Before any signal is read."""
        with pytest.raises(ValueError, match=message):
            cinc(root, **given).manifest()

    def test_useless_patient_files_are_refused(self, root: Path, tmp_path: Path):
        """Absent, without the columns, or of other records."""
        with pytest.raises(FileNotFoundError, match=r"dataset.patient_file=.* is not there; give a CSV"):
            cinc(root, patient_file=tmp_path / "no.csv").manifest()
        (tmp_path / "p.csv").write_text("record_id,patient\nG0000,1\n")
        with pytest.raises(ValueError, match="has no rows with the columns record_id and patient_id"):
            cinc(root, patient_file=tmp_path / "p.csv").manifest()
        (tmp_path / "p.csv").write_text("record_id,patient_id\nH0000,1\n")
        with pytest.raises(ValueError, match=r"names none of the 450 records: it has H0000, .* has G0000, G0001"):
            cinc(root, patient_file=tmp_path / "p.csv").manifest()


class TestRealRecords:
    def test_all_are_read_labelled_and_split(self, shared_data: Path):
        """The labels of 2021 over the 105 records, counted from the headers' text."""
        source = cinc(shared_data / "cinc2021")
        rows = source.manifest()
        assert Counter(rows["source"]) == {
            "chapman_shaoxing": 7, "cpsc_2018": 4, "cpsc_2018_extra": 16, "georgia": 15, "ningbo": 42, "ptb-xl": 21,
        }  # fmt: skip
        records = source.read_batch(rows["record_id"].tolist())
        assert [record for record in records if isinstance(record, RecordError)] == []
        assert set(rows["split"]) == {"train", "val", "test"}
        targets = source.targets(rows)
        text = [path.read_text() for path in (shared_data / "cinc2021").rglob("*.hea")]
        for name, codes in {"NSR": [NSR], "CRBBB|RBBB": [RBBB, CRBBB], "AFL": [AFL]}.items():
            n = sum(any(code in t for code in codes) for t in text)
            assert targets.y[:, targets.classes.index(name)].sum() == n > 0

    def test_files_are_the_header_and_the_samples(self, shared_data: Path):
        """What the data hash is taken of."""
        source = cinc(shared_data / "cinc2021")
        for record_id in source.manifest()["record_id"]:
            header, samples = source.files(record_id)
            assert os.path.splitext(header)[0] == os.path.splitext(samples)[0]
            assert (header.suffix, samples.suffix) == (".hea", ".mat")
