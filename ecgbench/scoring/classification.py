"""Classification's protocol and scores: probabilities of test records, thresholds from validation, worst records."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from ecgbench.data.classification_examples import LabelledRecords, records_table
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.label_sets import LABEL_SETS
from ecgbench.data.record import EcgBatch
from ecgbench.metrics.challenge import challenge_applies
from ecgbench.metrics.classification_summary import compare, per_class, summarise
from ecgbench.metrics.thresholds import Thresholds, choose_global_threshold, choose_thresholds
from ecgbench.scoring.contract import Systems
from ecgbench.tasks.classification import PROTOCOL_VERSION, Classification
from ecgbench.train.schedule import n_parameters

N_DRAWN = 4
"""How many of the records with the largest error the report draws."""


@dataclass(frozen=True, kw_only=True)
class ClassificationScoring:
    """The protocol of classification, and its scores over the test split."""

    labels: Any
    """The label set's name, or the list of classes."""
    thresholds: str
    """What the decision thresholds maximise on validation."""

    def __post_init__(self) -> None:
        """Refuse thresholds that these labels cannot have."""
        name, _, year = self.thresholds.partition("_")
        if name == "challenge":
            one_set = isinstance(self.labels, str)
            classes = LABEL_SETS[self.labels] if one_set else tuple(dict.fromkeys(self.labels))
            if not challenge_applies(classes, int(year)):
                given = self.labels if one_set else f"{len(classes)} classes of no Challenge"
                raise ValueError(
                    f"task.thresholds={self.thresholds} is for the label set cinc{year} and dataset.labels is {given}; "
                    f"use task.thresholds=f1, or dataset.labels=cinc{year}"
                )

    def protocol(self, noise_variant: str) -> str:
        """Label set, what thresholds maximise, noise. Preprocessing is the system's own, as published, and no part."""
        labels = self.labels if isinstance(self.labels, str) else f"{len(self.labels)}classes"
        parts = ["classification", labels, f"thresholds:{self.thresholds}", noise_variant, f"v{PROTOCOL_VERSION}"]
        return "-".join(part for part in parts if part)

    def conditions_of_test(self, data: EcgDataModule) -> dict[str, Any]:
        """Records, classes and labels of the test split."""
        records = _records(data)
        rows = records.rows("test")
        digest = hashlib.sha256("\n".join(data.store.index["record_id"].iloc[rows]).encode())
        digest.update(np.ascontiguousarray(records.targets.y[rows], dtype=np.uint8).tobytes())
        return {"labels": digest.hexdigest(), "classes": list(records.targets.classes)}

    def notes(self, data: EcgDataModule, max_epochs: int | None) -> list[str]:
        """What the labels leave out, and what noise does not reach."""
        records = _records(data)
        found = list(records.targets.notes)
        if records.config.wide == "prna" and any(condition.kind for condition in data.conditions):
            found.append("The measured features beside the signal come from the clean recording under noise, too.")
        return found

    def check(self, data: EcgDataModule) -> None:
        """Nothing that the constructors do not check."""

    def predict(
        self, task: Classification, systems: Systems, data: EcgDataModule, device: torch.device, progress: bool
    ) -> pd.DataFrame:
        """One row per system (and head), split, condition and record of this process: the probability of each class."""
        for system in systems.values():
            system.eval().to(device)
        loaders = {"val": data.val_dataloader(), "test": data.test_dataloader()}
        frames = [
            frame
            for split, loader in loaders.items()
            for batch in track(loader, split, total=len(loader.sampler), disable=not progress, transient=True)  # type: ignore[arg-type]
            for frame in _batch_frames(task, systems, EcgBatch(*(part.to(device) for part in batch)), split)
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def finish(
        self,
        run_dir: Path,
        shares: pd.DataFrame,
        task: Classification,
        systems: Systems,
        data: EcgDataModule,
        device: torch.device,
    ) -> dict[str, Any]:
        """Writes scores.parquet, validation.parquet and the examples; returns the task's parts of result.json."""
        records, names = _records(data), list(dict.fromkeys(head_names(systems)))
        check_complete(shares, data, names)
        frames = {split: _labelled(part, data, names) for split, part in shares.groupby("split", sort=False)}
        per_system = {name: self._chosen(frames["val"], name, records.targets.classes) for name in names}
        frames = {split: decide(frame, per_system) for split, frame in frames.items()}
        frames["val"].to_parquet(run_dir / "predictions" / "validation.parquet")
        frames["test"].to_parquet(run_dir / "scores.parquet")
        write_worst(run_dir / "examples.npz", frames["test"], names[0], data)
        return self._result(frames["test"], per_system, systems, data)

    def _chosen(self, validation: pd.DataFrame, system: str, classes: Sequence[str]) -> tuple[Thresholds, float]:
        """Thresholds by class, and the one for all classes, of one system."""
        own = validation[validation["system"] == system]
        y, scores = (matrix(own, part, classes) for part in ("label", "score"))
        chosen = choose_thresholds(y, scores, self.thresholds, classes)  # type: ignore[arg-type]
        return chosen, choose_global_threshold(y, scores)

    def _result(
        self,
        test: pd.DataFrame,
        thresholds: Mapping[str, tuple[Thresholds, float]],
        systems: Systems,
        data: EcgDataModule,
    ) -> dict[str, Any]:
        records = _records(data)
        classes, specs = records.targets.classes, Classification.metrics
        names = list(thresholds)
        rows = pd.concat(
            [compare(test[test["system"].isin([names[0], b])], specs, b) for b in names[1:]] or [pd.DataFrame()]
        )
        fallback = thresholds[names[0]][0].fallback_classes
        return {
            "label_names": list(classes),
            "systems": _system_rows(systems),
            "scores": summarise(test, specs).to_dict("records"),
            "paired": rows.to_dict("records"),
            "classes": _class_rows(test, thresholds, records),
            "sources": _source_rows(test, [c.name for c in data.conditions if c.kind is None]),
            "global_threshold": {name: one for name, (_, one) in thresholds.items()},
            "threshold_fallback": list(fallback),
            "fewest_positives": int(records.targets.y[records.rows("test")].sum(0).min()),
        }


def _records(data: EcgDataModule) -> LabelledRecords:
    assert isinstance(data.examples, LabelledRecords)
    return data.examples


def head_names(systems: Systems) -> list[str]:
    """The systems' names as they are scored: a model with several heads gives one for each, its own name first."""
    return [
        f"{name} ({head})" if i else name
        for name, system in systems.items()
        for i, head in enumerate(getattr(system, "heads", ("",)))
    ]


def _system_rows(systems: Systems) -> list[dict[str, Any]]:
    """Name, role and size of everything that is scored; the second head of the model is no baseline."""
    rows = []
    for place, (name, system) in enumerate(systems.items()):
        for scored in head_names({name: system}):
            role = "baseline" if place else "model"
            rows.append({"name": scored, "role": role, "n_parameters": n_parameters(system)})
    return rows


@torch.inference_mode()
def _batch_frames(task: Classification, systems: Systems, batch: EcgBatch, split: str) -> list[pd.DataFrame]:
    """The probabilities of one batch by every system and head."""
    keys = {"split": split, "condition": batch.condition.cpu().numpy(), "row": batch.row.cpu().numpy()}
    frames = []
    for name, system in systems.items():
        heads = task.probabilities(system, batch).values()
        for scored, probability in zip(head_names({name: system}), heads, strict=True):
            values = probability.float().cpu().numpy()
            frame = pd.DataFrame(values, columns=[f"score/{i}" for i in range(values.shape[1])])
            frames.append(pd.concat([pd.DataFrame({"system": scored, **keys}), frame], axis=1))
    return frames


def check_complete(shares: pd.DataFrame, data: EcgDataModule, systems: Sequence[str]) -> None:
    """RuntimeError unless every record was predicted exactly once by every system under every condition."""
    expected = len(systems) * (len(data.rows("val")) + len(data.conditions) * len(data.rows("test")))
    unique = len(shares.drop_duplicates(["system", "split", "condition", "row"]))
    if not len(shares) == unique == expected:
        raise RuntimeError(f"{expected} predictions were expected, {len(shares)} made, {unique} of them different")


def _labelled(shares: pd.DataFrame, data: EcgDataModule, systems: Sequence[str]) -> pd.DataFrame:
    """Predictions with names instead of numbers, in a fixed order, beside the labels."""
    order = {name: i for i, name in enumerate(systems)}
    shares = shares.assign(order=shares["system"].map(order)).sort_values(["order", "condition", "row"])
    rows, targets = shares["row"].to_numpy(), _records(data).targets
    keys = pd.DataFrame({
        "system": shares["system"].to_numpy(),
        "condition": [data.conditions[i].name for i in shares["condition"]],
    })  # fmt: skip
    who = records_table(data.store.index, rows, type(data.source).__name__.lower())
    labels = pd.DataFrame(targets.y[rows].astype(bool), columns=[f"label/{c}" for c in targets.classes])
    scores = shares[[f"score/{i}" for i in range(len(targets.classes))]].reset_index(drop=True)
    scores.columns = [f"score/{c}" for c in targets.classes]
    return pd.concat([keys, who, labels, scores], axis=1)


def matrix(frame: pd.DataFrame, part: str, classes: Sequence[str]) -> np.ndarray:
    """The columns `part/<class>` as an array (record, class)."""
    return frame[[f"{part}/{c}" for c in classes]].to_numpy()


def decide(frame: pd.DataFrame, thresholds: Mapping[str, tuple[Thresholds, float]]) -> pd.DataFrame:
    """The frame with the decisions of each system's own thresholds: at or above is positive."""
    classes = [c.removeprefix("score/") for c in frame.columns if c.startswith("score/")]
    score = matrix(frame, "score", classes)
    own = np.stack([thresholds[name][0].per_class for name in frame["system"]])
    one = np.array([thresholds[name][1] for name in frame["system"]])[:, None]
    by_class = pd.DataFrame(score >= own, columns=[f"decision/{c}" for c in classes])
    by_one = pd.DataFrame(score >= one, columns=[f"decision_global/{c}" for c in classes])
    return pd.concat([frame.reset_index(drop=True), by_class, by_one], axis=1)


def _class_rows(
    test: pd.DataFrame, thresholds: Mapping[str, tuple[Thresholds, float]], records: LabelledRecords
) -> list[dict[str, Any]]:
    """The per-class table of result.json."""
    table = per_class(test)
    classes = list(records.targets.classes)
    for split in ("train", "val"):
        counts = records.targets.y[records.rows(split)].sum(0).astype(int)
        table[f"n_{split}"] = table["class"].map(dict(zip(classes, counts.tolist(), strict=True)))
    place = {c: i for i, c in enumerate(classes)}
    table["threshold"] = [
        float(thresholds[s][0].per_class[place[c]]) for s, c in zip(table["system"], table["class"], strict=True)
    ]
    return table.to_dict("records")


def _source_rows(test: pd.DataFrame, conditions: Sequence[str]) -> list[dict[str, Any]]:
    """The scores of each source's test records, without added noise."""
    quiet = test[test["condition"].isin(conditions)]
    tables = [summarise(own, Classification.metrics).assign(source=source) for source, own in quiet.groupby("source")]
    return pd.concat(tables).to_dict("records")


def write_worst(path: Path, test: pd.DataFrame, system: str, data: EcgDataModule) -> None:
    """The records that the model gets most wrong, by mean cross-entropy over the classes: the scored part in mV."""
    records = _records(data)
    classes, width = records.targets.classes, records.input_samples
    own = test[(test["system"] == system) & (test["condition"] == data.conditions[0].name)].reset_index(drop=True)
    y, score = matrix(own, "label", classes).astype(float), np.clip(matrix(own, "score", classes), 1e-7, 1 - 1e-7)
    error = -(y * np.log(score) + (1 - y) * np.log1p(-score)).mean(1)
    worst = np.argsort(-error, kind="stable")[:N_DRAWN]
    decided = matrix(own, "decision", classes)
    first_row = data.store.index.reset_index().groupby("record_id")["index"].min()
    signals, lengths = np.zeros((len(worst), len(data.store.leads), width), dtype=np.float32), []
    for place, i in enumerate(worst):
        row = int(first_row[own["record_id"][i]])
        signal_mv = data.store.record_mv(row, records.config.test_start(int(data.store.n_total[row])), width)
        signals[place, :, : signal_mv.shape[-1]] = signal_mv
        lengths.append(signal_mv.shape[-1])
    np.savez_compressed(
        path,
        role=[f"worst {place + 1}" for place in range(len(worst))],
        record_id=own["record_id"].to_numpy(dtype=str)[worst],
        x=signals,
        n_valid=lengths,
        fs_hz=data.store.fs_hz,
        leads=list(data.store.leads),
        truth=[_names(classes, y[i] > 0) for i in worst],
        decided=[_names(classes, decided[i]) for i in worst],
        scores_text=[_top(classes, score[i]) for i in worst],
        error=error[worst],
    )


def _names(classes: Sequence[str], chosen: np.ndarray) -> str:
    return ", ".join(np.asarray(classes)[chosen]) or "none"


def _top(classes: Sequence[str], score: np.ndarray) -> str:
    """The three most probable classes."""
    return ", ".join(f"{classes[i]} {score[i]:.2f}" for i in np.argsort(-score)[:3])
