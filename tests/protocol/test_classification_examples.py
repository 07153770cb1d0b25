"""What a classifier is given: crops of records, padded, normalised, short of leads, noisy; and their labels."""

import ast
import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import savemat
from torch.utils.data import DataLoader

from ecgbench.config import compose
from ecgbench.data import wide
from ecgbench.data.classification_examples import LabelledRecords
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.record import LEADS, EcgBatch
from ecgbench.data.sampler import GlobalBatches, SampleKey
from ecgbench.data.source import Targets
from ecgbench.experiment import load_data
from ecgbench.signal.wide_features import wide_features

RECORD = 6000
"""Samples of a record: 12 s at 500 Hz, stored as windows of 5, 5 and 2 s."""
RAW = (
    "task=classification",
    "preprocessing=challenge",
    "dataset.n_records=24",
    "dataset.duration_s=12",
    "preprocessing.store_window_s=5",
    "preprocessing.bandpass_hz=null",
    "preprocessing.normalise=none",
    "preprocessing.n_samples=1500",
    "preprocessing.test_samples=2000",
    "preprocessing.stride_samples=500",
    "jobs=1",
)
"""Millivolts as the source gives them, so that a sample can be found again in its record."""
Load = Callable[..., EcgDataModule]


@pytest.fixture
def load(store_dir: Path) -> Load:
    """The data of a classification run: a data module whose records are 12 s of unfiltered millivolts."""
    return lambda *more: load_data(compose([*RAW, f"store_dir={store_dir}", *more]))


def records_of(data: EcgDataModule) -> LabelledRecords:
    assert isinstance(data.examples, LabelledRecords)
    return data.examples


def truth_mv(data: EcgDataModule, row: int) -> np.ndarray:
    """The source's own signal of the record whose first row is `row`."""
    return data.source.read(data.store.index["record_id"][row]).signal_mv


def batch_of(data: EcgDataModule, split: str, epoch: int = 0, condition: int = 0) -> tuple[list[int], EcgBatch]:
    """The first eight samples of a split with their rows."""
    rows = [int(row) for row in data.rows(split)[:8]]  # type: ignore[arg-type]
    return rows, data.dataset(split)[[SampleKey(row, epoch, condition) for row in rows]]  # type: ignore[arg-type]


def start_of(crop: np.ndarray, whole: np.ndarray) -> int:
    """Where the crop lies in the record; an error where it is not a stretch of it."""
    n = crop.shape[1]
    places = [s for s in range(whole.shape[1] - n + 1) if np.array_equal(whole[:, s : s + n], crop)]
    assert len(places) == 1
    return places[0]


def test_a_long_record_is_put_together_again(load: Load) -> None:
    """Windows of 5 s, the last padded: the record and every part of it are the source's own samples."""
    data = load()
    assert len(data.store.index) == 3 * 24
    for row in data.rows("train")[:3]:
        whole = truth_mv(data, row)
        assert whole.shape == (12, RECORD)
        np.testing.assert_array_equal(data.store.record_mv(row), whole)
        for start, n in ((0, 1), (2499, 2), (2500, 2500), (2400, 2700), (4999, 1001), (5990, 50)):
            np.testing.assert_array_equal(data.store.record_mv(row, start, n), whole[:, start : start + n])


def test_a_sample_is_one_record_of_one_split(load: Load) -> None:
    """One row per record, its first, and the splits are the manifest's."""
    data = load()
    manifest = data.source.manifest()
    for split in ("train", "val", "test"):
        rows = data.rows(split)
        assert (data.store.index["start"][rows] == 0).all()
        assert list(data.store.index["record_id"][rows]) == list(manifest["record_id"][manifest["split"] == split])


def test_training_crops_lie_inside_their_record(load: Load) -> None:
    """Each is a stretch of the record, elsewhere in the next epoch, and both ends of the record are reached."""
    data = load("preprocessing.n_samples=5990", "preprocessing.test_samples=5990")
    starts = []
    for epoch in range(12):
        rows, batch = batch_of(data, "train", epoch)
        starts += [start_of(crop[:, :50], truth_mv(data, row)) for row, crop in zip(rows, batch.x.numpy(), strict=True)]
        assert bool(batch.mask.all())
    assert set(starts) == set(range(11))  # 96 draws from 0 to 10


@pytest.mark.parametrize(("crop", "start"), [("first", 0), ("centre", 2000)])
def test_the_scored_part_is_fixed(load: Load, crop: str, start: int) -> None:
    """The first 2,000 of 6,000 samples, or the middle ones, of validation and test, in any epoch."""
    data = load(f"preprocessing.test_crop={crop}")
    for split in ("val", "test"):
        rows, batch = batch_of(data, split)
        for row, x in zip(rows, batch.x.numpy(), strict=True):
            np.testing.assert_array_equal(x, truth_mv(data, row)[:, start : start + 2000])
        assert torch.equal(batch.x, batch_of(data, split, epoch=7)[1].x)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_short_record_is_padded_after_its_zscore(load: Load, side: str) -> None:
    """6,000 of 8,000 samples are real: mean 0 and deviation 1 over those, by numpy; zeros and no mask elsewhere."""
    data = load(
        "preprocessing.n_samples=8000", "preprocessing.test_samples=8000", "preprocessing.normalise=zscore",
        f"preprocessing.pad={side}",
    )  # fmt: skip
    real = slice(RECORD) if side == "right" else slice(2000, None)
    padding = slice(RECORD, None) if side == "right" else slice(2000)
    for split in ("train", "test"):
        rows, batch = batch_of(data, split)
        assert bool(batch.mask[:, real].all())
        assert not batch.mask[:, padding].any()
        assert not batch.x[..., padding].any()
        for row, x in zip(rows, batch.x.numpy(), strict=True):
            whole = truth_mv(data, row).astype(np.float64)
            expected = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)
            np.testing.assert_allclose(x[:, real], expected, atol=1e-4)


def test_zscore_is_of_the_crop(load: Load) -> None:
    """The mean and deviation are those of the 2,000 samples that are scored, not of the record."""
    rows, batch = batch_of(load("preprocessing.normalise=zscore"), "test")
    np.testing.assert_allclose(batch.x.numpy().mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(batch.x.numpy().std(-1), 1, atol=1e-5)
    assert len(rows) > 1


def test_minmax_is_of_the_whole_record(load: Load) -> None:
    """Extremes that lie outside of the crop scale it too."""
    data = load("preprocessing.normalise=minmax_record")
    rows, batch = batch_of(data, "test")
    for row, x in zip(rows, batch.x.numpy(), strict=True):
        whole = truth_mv(data, row).astype(np.float64)
        low, high = whole.min(1, keepdims=True), whole.max(1, keepdims=True)
        np.testing.assert_allclose(x, 2 * (whole[:, :2000] - low) / (high - low) - 1, atol=1e-5)


def test_the_train_scalar_is_of_training_alone(load: Load) -> None:
    """Numpy's mean and deviation over all samples of all leads of the training records, also for test samples."""
    data = load("preprocessing.normalise=train_scalar")
    pooled = np.stack([truth_mv(data, row) for row in data.rows("train")]).astype(np.float64)
    assert records_of(data).train_scale == pytest.approx((pooled.mean(), pooled.std()), rel=1e-6)
    rows, batch = batch_of(data, "test")
    expected = (truth_mv(data, rows[0])[:, :2000] - pooled.mean()) / pooled.std()
    np.testing.assert_allclose(batch.x[0].numpy(), expected, atol=1e-4)


def test_smaller_lead_sets_zero_exactly_the_other_leads(load: Load) -> None:
    """Conditions of 6, 4, 3 and 2 leads after the clean one: the leads named are as with all twelve, the rest zero."""
    data = load("preprocessing.test_leads=[12,6,4,3,2]", "preprocessing.normalise=zscore")
    assert [c.name for c in data.conditions] == ["clean", "6 leads", "4 leads", "3 leads", "2 leads"]
    whole = batch_of(data, "test")[1].x
    given = {1: "I II III aVR aVL aVF", 2: "I II III V2", 3: "I II V2", 4: "I II"}
    for condition, names in given.items():
        x = batch_of(data, "test", condition=condition)[1].x
        there = [lead in names.split() for lead in LEADS]
        assert torch.equal(x[:, there], whole[:, there])
        assert not x[:, [not t for t in there]].any()


def test_random_leads_are_drawn_by_seed_epoch_and_record(load: Load) -> None:
    """The same for the same three whatever the batch; another epoch or seed gives others; all sizes occur evenly."""
    leads = "preprocessing.train_leads=[12,8,6,4,3,2]"
    data, other = load(leads), load(leads, "seed=1")
    sizes = [(batch_of(data, "train", epoch)[1].x != 0).any(-1).sum(1).tolist() for epoch in range(30)]
    assert sizes[0] != sizes[1]
    assert sizes[0] != (batch_of(other, "train", 0)[1].x != 0).any(-1).sum(1).tolist()
    counts = pd.Series(np.ravel(sizes)).value_counts()
    assert set(counts.index) == {12, 8, 6, 4, 3, 2}
    assert counts.min() > 0.4 * counts.sum() / 6  # 240 draws, 40 expected of each
    rows, batch = batch_of(data, "train", 3)
    alone = data.dataset("train")[[SampleKey(rows[5], 3, 0)]]
    assert torch.equal(alone.x[0], batch.x[5])
    assert bool((batch_of(data, "val")[1].x != 0).any(-1).all())


def test_samples_do_not_depend_on_the_number_of_workers(load: Load) -> None:
    """Random crops, leads and noise: two loader processes yield what the main process yields."""
    data = load("preprocessing.train_leads=[12,2]", "noise=gaussian")
    batches = GlobalBatches(data.rows("train"), 6, seed=0)
    serial, parallel = (list(DataLoader(data.dataset("train"), None, sampler=batches, num_workers=n)) for n in (0, 2))
    assert len(serial) == len(parallel) > 2
    for one, two in zip(serial, parallel, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_test_noise_has_the_named_strength_and_comes_before_normalisation(load: Load) -> None:
    """At 5 dB each lead has ten to the half times the noise's energy; z-scored, the sum of both has deviation 1."""
    data = load("noise=gaussian", "noise.test_snr_db=[5]")
    assert [c.name for c in data.conditions] == ["clean", "gaussian@5dB"]
    clean, noisy = (batch_of(data, "test", condition=c)[1].x.double() for c in (0, 1))
    energy = clean.square().sum(-1) / (noisy - clean).square().sum(-1)
    np.testing.assert_allclose(energy, 10**0.5, rtol=1e-3)
    scaled = load("noise=gaussian", "noise.test_snr_db=[5]", "preprocessing.normalise=zscore")
    np.testing.assert_allclose(batch_of(scaled, "test", condition=1)[1].x.std(-1, correction=0), 1, atol=1e-4)


def test_a_diagnosis_is_the_simulated_one(load: Load) -> None:
    """Each record's only class is the label that its patient was made with."""
    data = load()
    label = data.source.manifest().set_index("record_id")["label"]
    for split in ("train", "val", "test"):
        rows, batch = batch_of(data, split)
        found = [data.source.labels[i] for i in batch.y.argmax(1)]  # type: ignore[attr-defined]
        assert found == label[data.store.index["record_id"][rows]].tolist()
        assert batch.y.sum(1).tolist() == [1.0] * len(rows)


@pytest.fixture
def load_ptbxl(store_dir: Path, shared_data: Path) -> Load:
    """The data of the real PTB-XL cut at 100 Hz with a label set."""
    own = [o for o in RAW if not o.startswith("dataset.") and "samples" not in o and "store_window" not in o]
    cut = (
        "dataset=ptbxl", f"dataset.root={shared_data / 'ptb-xl'}", "dataset.fs_hz=100", "dataset.flat_leads=keep",
        "preprocessing.fs_hz=100", "preprocessing.n_samples=250", "preprocessing.test_samples=1000",
        "preprocessing.stride_samples=125",
    )  # fmt: skip
    return lambda labels, *more: load_data(
        compose([*own, *cut, f"dataset.labels={labels}", f"store_dir={store_dir}", *more])
    )


def test_ptbxl_labels_of_records_read_by_hand(load_ptbxl: Load) -> None:
    """Five records of the database read by eye; a statement counts at likelihood 0 as well."""
    by_hand = {
        "ptbxl_superdiagnostic": {"1": "NORM", "8": "MI", "32": "CD", "39": "MI STTC", "45": "CD HYP"},
        "ptbxl_form": {"1": "LVOLT", "17": "ABQRS", "26": "DIG NST_", "39": "ABQRS DIG LNGQT NST_"},
        "ptbxl_rhythm": {"1": "SR", "2": "SBRAD", "11": "SARRH", "17": "AFIB AFLT", "18": "AFLT"},
    }
    for labels, expected in by_hand.items():
        data = load_ptbxl(labels)
        targets = records_of(data).targets
        row = data.store.index.reset_index().set_index("record_id")["index"]
        found = {name: " ".join(np.array(targets.classes)[targets.y[row[name]] > 0]) for name in expected}
        assert found == expected


def test_records_without_a_label_of_the_set_are_in_no_split(load_ptbxl: Load, shared_data: Path) -> None:
    """Most of PTB-XL has no statement of form: those records are neither trained on, nor scored, nor in the scale."""
    with open(shared_data / "ptb-xl" / "scp_statements.csv", newline="") as file:
        form = {row[""] for row in csv.DictReader(file) if row["form"] == "1.0"}
    database = pd.read_csv(shared_data / "ptb-xl" / "ptbxl_database.csv")
    has_form = database["scp_codes"].map(lambda text: not form.isdisjoint(ast.literal_eval(text)))
    data = load_ptbxl("ptbxl_form", "preprocessing.normalise=train_scalar")
    for split, folds in {"train": range(1, 9), "val": [9], "test": [10]}.items():
        expected = database["ecg_id"][has_form & database["strat_fold"].isin(folds)].astype(str)
        assert list(data.store.index["record_id"][data.rows(split)]) == list(expected)
        assert 0 < len(expected) < database["strat_fold"].isin(folds).sum()
    pooled = np.stack([truth_mv(data, row) for row in data.rows("train")]).astype(np.float64)
    assert records_of(data).train_scale == pytest.approx((pooled.mean(), pooled.std()), rel=1e-5)


def test_splits_without_use_are_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test split whose records have no place in the protocol, and a validation split without any class."""
    data = load()
    whole = records_of(data).targets
    split = data.store.index["split"].to_numpy()
    no_test = whole._replace(kept=split != "test")
    no_class = whole._replace(y=whole.y * (split != "val")[:, None])
    for targets, message in ((no_test, "no record of the test split has a label"), (no_class, "val split has any of")):
        monkeypatch.setattr(data.source, "targets", lambda index, found=targets: found)
        with pytest.raises(ValueError, match=message):
            data.examples_config.bind(data.source, data.store)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["preprocessing.test_samples=1000"], r"n_samples is 1500 and test_samples 1000; needed are"),
        (["preprocessing.train_leads=[12,5]"], r"train_leads is \[12, 5\]; allowed are 12, 8, 6, 4, 3, 2"),
        (["preprocessing.test_leads=[]"], r"test_leads is \[\]; allowed are"),
        (["preprocessing.test_leads=[6,12]"], r"start it with 12"),
        (["dataset.leads=[I,II,V1]", "preprocessing.test_leads=[12,3]"], r"3 leads need V2, which dataset\.leads="),
        (["dataset.leads=[I,V1]", "preprocessing.wide=prna"], r"wide=prna measures lead II"),
    ],
)
def test_inputs_that_cannot_be_are_refused(load: Load, overrides: list[str], sentence: str) -> None:
    """Lengths, lead sets and leads, each in one sentence."""
    with pytest.raises(Exception, match=sentence):
        load(*overrides)


def test_wide_features_are_those_of_each_record_and_are_measured_once(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lead II of the first window with age and sex; read back the second time, measured again for other ages."""
    data = load("preprocessing.wide=prna", "dataset.n_records=12", "dataset.duration_s=6")
    rows, batch = batch_of(data, "train")
    facts = data.source.manifest().set_index("record_id").loc[data.store.index["record_id"][rows]]
    for row, found, age, male in zip(rows, batch.wide.numpy(), facts["age_years"], facts["is_male"], strict=True):
        np.testing.assert_allclose(found, wide_features(truth_mv(data, row)[1, :2500], 500.0, age, male), atol=1e-5)

    calls = []
    original = wide.wide_features.wide_features
    monkeypatch.setattr(wide.wide_features, "wide_features", lambda *a: calls.append(1) or original(*a))
    again = wide.wide_table(data.store, "prna")
    np.testing.assert_array_equal(again[rows], batch.wide.numpy())
    assert not calls
    older = dataclasses.replace(data.store, index=data.store.index.assign(age_years=99.0))
    assert (wide.wide_table(older, "prna")[:, 20] == np.float32((99 - 60) / 20)).all()
    assert len(calls) == 12


def test_age_and_sex_alone_leave_the_measures_at_their_typical_value(load: Load) -> None:
    """Twenty zeros, then (years - 60) / 20 and 1 for a man, -1 for a woman; without wide there is no column."""
    data = load("preprocessing.wide=age_sex")
    rows, batch = batch_of(data, "test")
    facts = data.source.manifest().set_index("record_id").loc[data.store.index["record_id"][rows]]
    assert not batch.wide[:, :20].any()
    np.testing.assert_allclose(batch.wide[:, 20], (facts["age_years"] - 60) / 20, atol=1e-6)
    assert batch.wide[:, 21].tolist() == [1.0 if sex == "male" else -1.0 for sex in facts["sex"]]
    assert batch_of(load(), "test")[1].wide.shape == (len(rows), 0)


def test_targets_are_those_of_the_first_row(load: Load) -> None:
    """Labels of a split are the rows' own, also where a record has several stored windows."""
    data = load()
    records = records_of(data)
    assert isinstance(records.targets, Targets)
    batch = data.dataset("val")[[SampleKey(int(row), 0, 0) for row in data.rows("val")]]
    assert torch.equal(batch.y, records.labels("val"))


def test_challenge_records_at_other_rates_become_500_hz(tmp_path: Path) -> None:
    """A 5 Hz sine of 4 s recorded at 257, 500 and 1000 Hz is one and the same sine of 2,000 samples."""
    folder = tmp_path / "training" / "georgia" / "g1"
    folder.mkdir(parents=True)
    for i, fs_hz in enumerate((257, 500, 1000) * 10):
        sine = 1000 * np.sin(2 * np.pi * 5 * np.arange(4 * fs_hz) / fs_hz)
        savemat(folder / f"E{i}.mat", {"val": np.tile(sine.round().astype(np.int16), (12, 1))}, format="4")
        leads = [f"E{i}.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
        facts = [f"#Age: {30 + i}", "#Sex: Male", "#Dx: 426783006"]
        (folder / f"E{i}.hea").write_text("\n".join([f"E{i} 12 {fs_hz} {4 * fs_hz}", *leads, *facts]) + "\n")
    own = [o for o in RAW if not o.startswith("dataset.") and "samples" not in o]
    data = load_data(
        compose([*own, "dataset=cinc2021", f"dataset.root={tmp_path}", f"store_dir={tmp_path / 'stores'}"])
    )
    assert set(data.store.n_total) == {2000}
    expected = np.sin(2 * np.pi * 5 * np.arange(2000) / 500)
    for row in data.rows("train"):
        inner = data.store.record_mv(row)[:, 100:-100]
        np.testing.assert_allclose(inner, np.tile(expected[100:-100], (12, 1)), atol=0.01)
