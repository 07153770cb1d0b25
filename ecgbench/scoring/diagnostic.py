"""The diagnostic level: whether a classifier trained on real twelve leads still sees the disease in rebuilt ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ecgbench.config import load
from ecgbench.data.classification_examples import ClassificationExamples, LabelledRecords
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.noise import Condition
from ecgbench.data.record import LEADS, EcgBatch
from ecgbench.data.source import Targets
from ecgbench.data.store import open_store
from ecgbench.data.store_build import BANDPASSES, StoreSpec
from ecgbench.metrics.classification_summary import summarise
from ecgbench.metrics.collection import CLASSIFICATION
from ecgbench.signal.normalize import minmax, scalar, zscore
from ecgbench.signal.resample import resample_rate
from ecgbench.tasks.classification import Classification

REAL, ZERO_PADDED, COPY_PADDED = "real", "zero_padded", "copy_padded"
"""What is diagnosed beside the systems: all true leads, and the given ones alone, the others zero or copies."""
SPECS = tuple(spec for spec in CLASSIFICATION if spec.name in ("auroc_macro", "f1_macro"))
ANY_LEAD = "any lead"
"""The mean over the twelve single-lead inputs."""


@dataclass(frozen=True)
class Classifier:
    """A finished classification run, as something that can be asked about any twelve leads."""

    run_dir: Path
    config: DictConfig
    task: Classification
    classes: tuple[str, ...]
    thresholds: np.ndarray
    """(class,), chosen on its own validation records."""

    @property
    def name(self) -> str:
        """Its model and its folder."""
        return f"{self.config.choices.model} ({self.run_dir.name})"

    @torch.inference_mode()
    def probabilities(self, records_mv: np.ndarray, fs_hz: float, device: torch.device) -> np.ndarray:
        """The probability of each class, float32 (record, class), from records (record, lead, time) in mV.

        Filtered, resampled, cropped and normalised as the classifier's own recordings were. `records_mv` holds the
        standard twelve leads; the classifier takes those it knows. Raises ValueError for records too short to filter.
        """
        model = self.task.model.eval().to(device)
        batch = EcgBatch(*(part.to(device) for part in self._batch(self._normalised(records_mv, fs_hz))))
        head = next(iter(self.task.probabilities(model, batch).values()))
        return head.float().cpu().numpy()

    def _normalised(self, records_mv: np.ndarray, fs_hz: float) -> np.ndarray:
        """(record, lead, time) as the classifier's examples are before padding."""
        examples, spec = self.examples, self.store_spec
        signals = records_mv[:, [LEADS.index(lead) for lead in self.config.dataset.leads]].astype(np.float32)
        if spec.bandpass_hz is not None:
            signals = BANDPASSES[spec.bandpass_kind](signals, fs_hz, *spec.bandpass_hz, spec.bandpass_order)
        signals = resample_rate(signals, fs_hz, spec.fs_hz)
        room = max(0, signals.shape[-1] - examples.test_samples)
        start = room // 2 if examples.test_crop == "centre" else 0
        crops = signals[..., start : start + examples.test_samples]
        if examples.normalise == "zscore":
            return np.stack([zscore(crop) for crop in crops])
        if examples.normalise == "minmax_record":
            return np.stack([minmax(*pair) for pair in zip(crops, signals, strict=True)])
        return scalar(crops, *self._train_scale) if examples.normalise == "train_scalar" else crops

    def _batch(self, crops: np.ndarray) -> EcgBatch:
        """The crops filled up to the classifier's length."""
        n, n_leads, n_time = crops.shape
        width = self.examples.test_samples
        place = slice(width - n_time, None) if self.examples.pad == "left" else slice(n_time)
        x, mask = torch.zeros(n, n_leads, width), torch.zeros(n, width, dtype=torch.bool)
        x[..., place], mask[:, place] = torch.from_numpy(np.ascontiguousarray(crops)), True
        nothing = torch.zeros(n, dtype=torch.int64)
        return EcgBatch(x, torch.zeros(n, len(self.classes)), mask, nothing, nothing, torch.empty(n, 0))

    @cached_property
    def examples(self) -> ClassificationExamples:
        """How its records became its input."""
        return instantiate(self.config.task.examples, _convert_="all")

    @cached_property
    def store_spec(self) -> StoreSpec:
        """How its recordings were filtered and resampled."""
        return instantiate(self.config.task.store, _convert_="all")

    @cached_property
    def _train_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of its training records, which no checkpoint holds."""
        source = instantiate(self.config.dataset, _convert_="all")
        store = open_store(source, self.store_spec, Path(self.config.store_dir), progress=False)
        return LabelledRecords(self.examples, source, store).train_scale

    def check_unseen(self, data: EcgDataModule) -> None:
        """ValueError where the classifier was trained or tuned on patients that are tested here."""
        own = self.config.dataset
        if own._target_.rpartition(".")[2] != type(data.source).__name__:
            return
        root = getattr(data.source, "root", None)
        here = OmegaConf.merge(own, {"root": str(root)}) if root is not None else own
        manifest = instantiate(here, _convert_="all").manifest()
        seen = set(manifest.loc[manifest["split"].isin(["train", "val"]), "patient_id"])
        tested = data.store.index.loc[data.store.index["split"] == "test", "patient_id"]
        both = sorted(set(tested) & seen)
        if both:
            raise ValueError(
                f"task.classifier={self.run_dir} was trained or tuned on {len(both)} of the patients tested here "
                f"(first: {both[0]}), so it would know their ECGs; give a classifier with the folds of this run: "
                f"it has train_folds={list(own.get('train_folds', []))} and val_folds={list(own.get('val_folds', []))}"
            )


def load_classifier(run_dir: Path) -> Classifier:
    """The classifier of a finished run's folder, on the CPU, with its best weights.

    Raises ValueError where the folder is no finished classification run, or its model needs more than the signal.
    """
    config = load(run_dir / "run.yaml")
    if config.task.name != "classification":
        raise ValueError(f"task.classifier={run_dir} is a run of {config.task.name}; give one of classification")
    checkpoint, result = run_dir / "checkpoints" / "best.ckpt", run_dir / "result.json"
    missing = [path.name for path in (checkpoint, result) if not path.is_file()]
    if missing:
        raise ValueError(
            f"task.classifier={run_dir} lacks {' and '.join(missing)}; give a run that was trained and ended"
        )
    if config.task.examples.wide != "none":
        raise ValueError(
            f"task.classifier={run_dir} is told facts beside the signal (wide={config.task.examples.wide}), which no "
            "reconstruction has; give a classifier with preprocessing.wide=none"
        )
    task = instantiate(
        config.task.module,
        model=instantiate(config.model, _convert_="all"),
        make_optimizer=_untrained,
        make_schedule=_untrained,
        _convert_="all",
    )
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    own = {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")}
    task.model.load_state_dict(own)
    facts = json.loads(result.read_text())
    classes = tuple(facts["label_names"])
    first = facts["conditions"][0]["name"]
    rows = [row for row in facts["classes"] if (row["system"], row["condition"]) == (facts["model"], first)]
    threshold = {row["class"]: row["threshold"] for row in rows}
    return Classifier(run_dir, config, task, classes, np.array([threshold[c] for c in classes], dtype=np.float64))


def _untrained(*args: Any) -> None:
    """In place of an optimiser and a schedule."""


@dataclass(frozen=True)
class Diagnosis:
    """A classifier's answers to one run's records."""

    classifier: Classifier
    fs_hz: float
    device: torch.device

    def of_system(
        self, system: str, row: int, rebuilt: Sequence[np.ndarray], true_mv: np.ndarray, conditions: Sequence[Condition]
    ) -> list[dict[str, Any]]:
        """Answers to one record's reconstructions (lead, time), the given leads written back as MCMA's protocol has it.

        Conditions with noise are left out.
        """
        quiet = [i for i, condition in enumerate(conditions) if condition.kind is None]
        signals = [_written_back(rebuilt[i], true_mv, conditions[i].leads or LEADS) for i in quiet]
        return self._lines([(system, i) for i in quiet], row, signals)

    def of_truth(self, row: int, true_mv: np.ndarray, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
        """Answers to the true record, and to its given leads with zeros or (a single lead's) copies beside them."""
        names, signals = [(REAL, -1)], [true_mv]
        for i, condition in enumerate(conditions):
            given = condition.leads or LEADS
            if condition.kind is None:
                names.append((ZERO_PADDED, i))
                signals.append(_written_back(np.zeros_like(true_mv), true_mv, given))
            if condition.kind is None and len(given) == 1:
                names.append((COPY_PADDED, i))
                signals.append(np.repeat(true_mv[[LEADS.index(given[0])]], len(LEADS), axis=0))
        return self._lines(names, row, signals)

    def _lines(self, names: Sequence[tuple[str, int]], row: int, signals: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        if not signals:
            return []
        answers = self.classifier.probabilities(np.stack(signals), self.fs_hz, self.device)
        return [
            {"kind": "diagnosis", "system": system, "condition": i, "row": row}
            | {f"probability:{k}": float(p) for k, p in enumerate(answer)}
            for (system, i), answer in zip(names, answers, strict=True)
        ]


def _written_back(rebuilt_mv: np.ndarray, true_mv: np.ndarray, given: Sequence[str]) -> np.ndarray:
    """The rebuilt record with the real leads in their own channels."""
    return np.where(np.isin(LEADS, given)[:, None], true_mv, rebuilt_mv)


def labels_for(classifier: Classifier, data: EcgDataModule) -> Targets | str:
    """The labels that the classifier's answers are held against, or why there are none."""
    try:
        targets = data.source.targets(data.store.index)
    except ValueError as error:
        return f"The diagnostic level is left out: {error}."
    if tuple(targets.classes) != classifier.classes:
        return (
            f"The diagnostic level is left out: the classifier names {len(classifier.classes)} classes "
            f"({', '.join(classifier.classes[:3])}, ...), the records are labelled with {len(targets.classes)} others; "
            "set dataset.labels to the classifier's."
        )
    return targets


def diagnostic_rows(
    answers: pd.DataFrame, classifier: Classifier, targets: Targets, data: EcgDataModule
) -> list[dict[str, Any]]:
    """Macro AUROC and F1 with their intervals (patients resampled) by system and input.

    One dictionary for each: system, input, classifier, auroc_macro, ci_low, ci_high, f1_macro, f1_low, f1_high,
    n_records. The input "any lead" is the mean over the twelve single leads, the same resamples for all. Records
    without a label of the set are left out.

    answers: columns system, condition (-1 for the true record), row, probability:<number of the class>.
    """
    frame = _labelled(answers[targets.kept[answers["row"].to_numpy(dtype=int)]], classifier, targets, data)
    single = frame[frame["condition"].isin(LEADS)]
    if set(single["condition"]) == set(LEADS):
        averaged = single.assign(seed=single["condition"].map(LEADS.index), condition=ANY_LEAD)
        tables = [summarise(averaged, SPECS), summarise(frame, SPECS)]
    else:
        tables = [summarise(frame, SPECS)]
    found = []
    for _, rows in pd.concat(tables).groupby(["system", "condition"], sort=False):
        system, condition = rows[["system", "condition"]].iloc[0]
        auroc, f1 = (rows[rows["metric"] == name].iloc[0] for name in ("auroc_macro", "f1_macro"))
        of_auroc = {"auroc_macro": auroc["mean"], "ci_low": auroc["ci_low"], "ci_high": auroc["ci_high"]}
        of_f1 = {"f1_macro": f1["mean"], "f1_low": f1["ci_low"], "f1_high": f1["ci_high"]}
        key = {"system": system, "input": condition, "classifier": classifier.name}
        found.append({**key, **of_auroc, **of_f1, "n_records": int(auroc["n_records"])})
    return found


def _labelled(answers: pd.DataFrame, classifier: Classifier, targets: Targets, data: EcgDataModule) -> pd.DataFrame:
    """The answers as `classification_summary` takes them."""
    rows = answers["row"].to_numpy(dtype=int)
    names = {i: condition.name for i, condition in enumerate(data.conditions)} | {-1: "all leads"}
    who = data.store.index.loc[rows, ["record_id", "patient_id"]].reset_index(drop=True)
    score = answers[[f"probability:{k}" for k in range(len(classifier.classes))]].to_numpy(dtype=np.float32)
    decision = np.nan_to_num(score, nan=0.0) >= classifier.thresholds
    parts = {
        "label": targets.y[rows].astype(bool),
        "score": score,
        "decision": decision,
        "decision_global": decision,
    }
    columns = [
        pd.DataFrame(values, columns=[f"{part}/{c}" for c in classifier.classes]) for part, values in parts.items()
    ]
    conditions = [names[int(i)] for i in answers["condition"]]
    keys = pd.DataFrame({"system": answers["system"].to_numpy(), "condition": conditions})
    return pd.concat([keys, who, *columns], axis=1)
