"""The diagnostic level: a classifier sees what its own pipeline would have shown it, and is held to its labels."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from reconstruction_cases import TASK, OneHeart, Same, conditions, made_up, record_mv
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from ecgbench.config import compose
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.record import LEADS
from ecgbench.data.sampler import SampleKey
from ecgbench.data.source import Targets
from ecgbench.data.store import open_store
from ecgbench.scoring.diagnostic import Diagnosis, diagnostic_rows, labels_for, load_classifier
from ecgbench.scoring.reconstruction import ReconstructionScoring

CPU = torch.device("cpu")
SMALL = (
    "task=classification", "model=ecg_mamba_1d_small", "model.d_model=8", "model.n_layer=1", "dataset.n_records=24",
    "dataset.duration_s=6", "preprocessing=compact",
)  # fmt: skip


@pytest.fixture
def classifier_dir(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a finished classification run, its weights random."""

    def make(*overrides: str) -> Path:
        config = compose([*SMALL, f"store_dir={tmp_path / 'store'}", *overrides])
        folder = tmp_path / "classifier"
        (folder / "checkpoints").mkdir(parents=True)
        OmegaConf.save(config, folder / "run.yaml")
        torch.manual_seed(4)
        model = instantiate(config.model, _convert_="all")
        state = {f"model.{name}": value for name, value in model.state_dict().items()}
        torch.save({"state_dict": state | {"loss.weight": torch.ones(1)}}, folder / "checkpoints" / "best.ckpt")
        classes = list(config.dataset.labels)
        rows = [
            {"system": system, "condition": "clean", "class": c, "threshold": 0.1 * k if place == 0 else 9.0}
            for place, system in enumerate((config.choices.model, "majority"))
            for k, c in enumerate(classes)
        ]
        facts = {"model": config.choices.model, "label_names": classes, "conditions": [{"name": "clean"}]}
        (folder / "result.json").write_text(json.dumps({**facts, "classes": rows}))
        return folder

    return make


class EverySample(nn.Module):
    """Logits that depend on every sample of every lead: sums with fixed random weights."""

    def __init__(self, n_classes: int, n_leads: int, n_samples: int) -> None:
        super().__init__()
        weights = np.random.default_rng(11).normal(size=(n_classes, n_leads, n_samples)) / np.sqrt(n_samples)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, lead, time) to (batch, class)."""
        return torch.einsum("blt,clt->bc", x, self.weights)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("preprocessing.normalise=minmax_record", "preprocessing.pad=left"),
        ("preprocessing.normalise=train_scalar", "preprocessing.bandpass_hz=null"),
        (
            "preprocessing.n_samples=400",
            "preprocessing.test_samples=400",
            "preprocessing.stride_samples=400",
            "preprocessing.test_crop=centre",
        ),
        ("preprocessing.normalise=none", "dataset.leads=[I,II,V2]"),
    ],
)
def test_a_classifier_sees_what_its_own_data_module_shows(
    classifier_dir: Callable[..., Path], overrides: tuple[str, ...]
):
    """True records, taken through the stored pipeline and through this one, get the same probabilities."""
    classifier = load_classifier(classifier_dir(*overrides))
    config = classifier.config
    shape = len(classifier.classes), len(config.dataset.leads), classifier.examples.n_samples
    classifier.task.model = EverySample(*shape)
    source = instantiate(config.dataset, _convert_="all")
    data = EcgDataModule(
        source=source,
        store=open_store(source, instantiate(config.task.store, _convert_="all"), Path(config.store_dir)),
        examples_config=classifier.examples,
        noise=instantiate(config.noise, _convert_="all"),
        batch_size=4,
        seed=0,
    )
    rows = data.rows("test")[:3]
    batch = data.dataset("test")[[SampleKey(int(row), 0, 0) for row in rows]]
    with torch.inference_mode():
        wanted = classifier.task.probabilities(classifier.task.model.eval(), batch)[""]
    twelve = instantiate(OmegaConf.merge(config.dataset, {"leads": list(LEADS)}), _convert_="all")
    ids = data.store.index["record_id"].iloc[rows]
    records = np.stack([twelve.read(record_id).signal_mv for record_id in ids])
    found = classifier.probabilities(records.astype(np.float64), 500, CPU)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.05


def test_the_model_s_own_thresholds_are_taken(classifier_dir: Callable[..., Path]):
    """0, 0.1, 0.2, ... by class, and not the baseline's 9."""
    classifier = load_classifier(classifier_dir())
    assert classifier.thresholds == pytest.approx(0.1 * np.arange(len(classifier.classes)))
    assert classifier.name == "ecg_mamba_1d_small (classifier)"


def test_folders_that_hold_no_classifier_are_refused(classifier_dir: Callable[..., Path], tmp_path: Path):
    """No run, a run without weights, one of another task, one that needs the patient's age: each says so."""
    with pytest.raises(ValueError, match=r"no run\.yaml"):
        load_classifier(tmp_path / "nowhere")
    folder = classifier_dir()
    (folder / "result.json").rename(folder / "other.json")
    with pytest.raises(ValueError, match=r"lacks result\.json"):
        load_classifier(folder)
    config = OmegaConf.load(folder / "run.yaml")
    config.task.examples.wide = "age_sex"
    (folder / "other.json").rename(folder / "result.json")
    OmegaConf.save(config, folder / "run.yaml")
    with pytest.raises(ValueError, match=r"wide=age_sex.*preprocessing\.wide=none"):
        load_classifier(folder)
    config.task.name = "superres"
    OmegaConf.save(config, folder / "run.yaml")
    with pytest.raises(ValueError, match="a run of superres"):
        load_classifier(folder)


def test_records_that_it_was_trained_on_are_refused(classifier_dir: Callable[..., Path]):
    """Patients of its training folds among the tested ones stop the run; the same folds do not, nor another source."""
    classifier = load_classifier(classifier_dir())
    source = instantiate(classifier.config.dataset, _convert_="all")
    manifest = source.manifest()
    test_patient = manifest.loc[manifest["split"] == "test", "patient_id"].iloc[0]
    train_patient = manifest.loc[manifest["split"] == "train", "patient_id"].iloc[0]

    def tested(patient: str, source: Any = source) -> Any:
        index = pd.DataFrame({"patient_id": [patient], "split": ["test"]})
        return SimpleNamespace(source=source, store=SimpleNamespace(index=index))

    classifier.check_unseen(tested(test_patient))
    classifier.check_unseen(tested(train_patient, SimpleNamespace()))
    with pytest.raises(ValueError, match=f"trained or tuned on 1 of the patients.*{train_patient}"):
        classifier.check_unseen(tested(train_patient))


class Recorder:
    """Stands in for a classifier: keeps what it is shown, and answers with the highest value of leads I and V1."""

    classes = ("a", "b")
    thresholds = np.array([0.5, 0.25])
    name = "recorder"

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def probabilities(self, records_mv: np.ndarray, fs_hz: float, device: torch.device) -> np.ndarray:
        """(record, 2)."""
        self.shown.append(records_mv)
        return records_mv[:, [0, 6]].max(-1).clip(0, 1)


def test_what_is_diagnosed():
    """Real leads over the rebuilt ones, then the truth, its given leads beside zeros, and a single lead's copies."""
    true, rebuilt, recorder = record_mv(1024), np.full((12, 1024), 0.25), Recorder()
    tested = conditions("V1", "I+II")
    diagnosis = Diagnosis(recorder, 500, CPU)  # type: ignore[arg-type]
    lines = diagnosis.of_system("model", 3, [rebuilt, rebuilt], true, tested) + diagnosis.of_truth(3, true, tested)
    names = [("model", 0), ("model", 1), ("real", -1), ("zero_padded", 0), ("copy_padded", 0), ("zero_padded", 1)]
    assert [(line["system"], line["condition"]) for line in lines] == names
    from_v1, from_limb = recorder.shown[0]
    np.testing.assert_array_equal(from_v1[6], true[6])
    assert (from_v1[[0, 11]] == 0.25).all()
    np.testing.assert_array_equal(from_limb[:2], true[:2])
    assert (from_limb[2:] == 0.25).all()
    real, zeros, copies, zeros_limb = recorder.shown[1]
    np.testing.assert_array_equal(real, true)
    np.testing.assert_array_equal(zeros.any(1), np.arange(12) == 6)
    np.testing.assert_array_equal(copies, np.tile(true[6], (12, 1)))
    np.testing.assert_array_equal(zeros_limb.any(1), np.arange(12) < 2)
    assert lines[0]["probability:0"] == 0.25


def answered(n_records: int, seed: int = 0) -> tuple[pd.DataFrame, Targets, Any]:
    """Random answers of one system from each lead, and to the real leads; labels; the data they belong to."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n_records, 2)) < 0.4).astype(np.float32)
    y[-1] = 0
    keys = [("model", i) for i in range(12)] + [("real", -1)]
    parts = []
    for system, condition in keys:
        score = (0.3 * y + 0.7 * rng.random((n_records, 2))).astype(np.float32)
        columns = {"system": system, "condition": condition, "row": np.arange(n_records)}
        parts.append(pd.DataFrame({**columns, "probability:0": score[:, 0], "probability:1": score[:, 1]}))
    data = made_up([record_mv(1024)] * n_records, conditions(*LEADS))
    kept = np.arange(n_records) < n_records - 1
    return pd.concat(parts, ignore_index=True), Targets(("a", "b"), y, kept, []), data


def test_the_table_is_scikit_learns():
    """Macro AUROC and F1 by input; any lead is the mean of the twelve; a record without a label is left out."""
    answers, targets, data = answered(40)
    rows = diagnostic_rows(answers, Recorder(), targets, data)  # type: ignore[arg-type]
    found = {(row["system"], row["input"]): row for row in rows}
    assert len(found) == 14
    y = targets.y[:-1]
    wanted = {}
    for (system, condition), own in answers.groupby(["system", "condition"]):
        score = own[["probability:0", "probability:1"]].to_numpy()[:-1]
        auroc = roc_auc_score(y, score, average="macro")
        f1 = f1_score(y, score >= [0.5, 0.25], average="macro")
        name = "all leads" if condition == -1 else LEADS[int(condition)]
        wanted[system, name] = auroc, f1
        row = found[system, name]
        assert (row["auroc_macro"], row["f1_macro"]) == pytest.approx((auroc, f1)), name
        assert row["ci_low"] < auroc < row["ci_high"]
        assert row["n_records"] == 39
    any_lead = found["model", "any lead"]
    of_leads = np.array([wanted["model", lead] for lead in LEADS])
    assert (any_lead["auroc_macro"], any_lead["f1_macro"]) == pytest.approx(tuple(of_leads.mean(0)))
    assert any_lead["ci_high"] - any_lead["ci_low"] < found["model", "I"]["ci_high"] - found["model", "I"]["ci_low"]


def test_other_labels_are_a_note():
    """Records without labels, or with those of another set, leave the level out and say why."""
    recorder: Any = Recorder()

    def labelled(targets: Callable[..., Any]) -> Any:
        return SimpleNamespace(source=SimpleNamespace(targets=targets), store=SimpleNamespace(index=None))

    def none(index: pd.DataFrame) -> Targets:
        raise ValueError("dataset ludb has no class labels")

    note = labels_for(recorder, labelled(none))
    assert isinstance(note, str)
    assert "no class labels" in note
    other = Targets(("a", "c"), np.zeros((1, 2)), np.ones(1, dtype=bool), [])
    note = labels_for(recorder, labelled(lambda index: other))
    assert isinstance(note, str)
    assert "set dataset.labels" in note
    same = other._replace(classes=("a", "b"))
    assert labels_for(recorder, labelled(lambda index: same)) is same


def test_a_run_diagnoses_its_reconstructions(classifier_dir: Callable[..., Path], tmp_path: Path):
    """From folder to table: a system that adds nothing to its given lead is diagnosed as that lead beside zeros."""
    folder = classifier_dir("preprocessing.normalise=zscore")
    classes = list(load_classifier(folder).classes)
    rng = np.random.default_rng(2)
    records = [record_mv(3000, a) + 0.05 * rng.normal(size=(12, 1)) * record_mv(3000) ** 2 for a in (0.5, 1.0, 1.5, 2)]
    y = np.zeros((4, len(classes)), dtype=np.float32)
    y[[0, 1, 2, 3], [0, 1, 0, 1]] = 1
    targets = Targets(tuple(classes), y, np.ones(4, dtype=bool), [])
    data = made_up(
        records, conditions("I", "V2"), source=SimpleNamespace(targets=lambda index: targets), store_window=4096
    )
    truth = {row: data.store.record_mv(int(row)) for row in data.examples.records("test")}
    own = ReconstructionScoring(
        n_samples=1024, windows="overlap", padding="zero", bandpass_hz=None, bandpass_order=2, features=False,
        classifier=str(folder),
    )  # fmt: skip
    own.check(data)
    systems: dict[str, nn.Module] = {"same": Same(), "silent": OneHeart(0.0)}
    shares = own.predict(TASK, systems, data, CPU, progress=False)
    (tmp_path / "out").mkdir()
    result = own.finish(tmp_path / "out", shares, TASK, systems, data, CPU)
    assert result["diagnostic_note"] is None
    table = {(row["system"], row["input"]): row["auroc_macro"] for row in result["diagnostic"]}
    assert set(table) == {
        *((system, given) for system in ("same", "silent", "zero_padded", "copy_padded") for given in ("I", "V2")),
        ("real", "all leads"),
    }
    # The first hands the given lead on and the second gives nothing: written back, both are the lead beside zeros.
    for given in ("I", "V2"):
        assert table["same", given] == table["silent", given] == table["zero_padded", given]
    answers = shares[shares["kind"] == "diagnosis"]
    real = answers[answers["system"] == "real"].sort_values("row")
    wanted = load_classifier(folder).probabilities(np.stack(list(truth.values())).astype(np.float64), 500, CPU)
    columns = [f"probability:{k}" for k in range(len(classes))]
    np.testing.assert_allclose(real[columns].to_numpy(), wanted, atol=1e-5)
    assert not [name for name in pd.read_parquet(tmp_path / "out" / "scores.parquet") if "probability" in name]
