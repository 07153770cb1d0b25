"""Reconstruction's protocol and scores: ECGGenEval (Chen et al. 2024) by record, and the record to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ecgbench.data.datamodule import EcgDataModule
from ecgbench.metrics.collection import RECONSTRUCTION, MetricSpec
from ecgbench.scoring.contract import Systems
from ecgbench.scoring.diagnostic import Classifier, Diagnosis, diagnostic_rows, labels_for, load_classifier
from ecgbench.scoring.reconstruction_records import RecordScorer, lead_windows
from ecgbench.scoring.reconstruction_tables import (
    calibration,
    cells,
    conditions_of,
    drawn_conditions,
    left_out,
    median_record,
    merge_records,
    source_rows,
    summaries,
    tidy,
    truth_row,
    with_any_lead,
    write_examples,
)
from ecgbench.tasks.reconstruction import PROTOCOL_VERSION, Reconstruction


@dataclass(frozen=True, kw_only=True)
class ReconstructionScoring:
    """The protocol of reconstruction, and its scores by record."""

    n_samples: int
    """Length of a window."""
    windows: Literal["overlap", "published_repeat", "published_zero"]
    """As `ReconstructionExamples.windows`; the published rules score what they fill up, too."""
    padding: Literal["zero", "copy"]
    bandpass_hz: Sequence[float] | None
    bandpass_order: int
    features: bool
    """Whether heart rate, R amplitude and intervals are measured, which takes most of the time."""
    classifier: str | None
    """Folder of a finished classification run; None leaves the diagnostic level out."""

    def protocol(self, noise_variant: str) -> str:
        """Windows, band and noise. Which leads are given, and what stands in the others, is the condition's."""
        band = "unfiltered" if self.bandpass_hz is None else "{:g}-{:g}Hz".format(*self.bandpass_hz)
        parts = ["reconstruction", self.windows, f"{self.n_samples}samples", band, noise_variant]
        return "-".join(part for part in [*parts, f"v{PROTOCOL_VERSION}"] if part)

    def conditions_of_test(self, data: EcgDataModule) -> dict[str, Any]:
        """Rate, windows and filter.

        The padding of absent leads is no part: it is what a system is given, and what it must rebuild is the same.
        """
        band = self.bandpass_hz and list(self.bandpass_hz)
        return {"window": [data.store.fs_hz, self.n_samples, self.windows, band, self.bandpass_order]}

    def notes(self, data: EcgDataModule, max_epochs: int | None) -> list[str]:
        """Says what was given beside the leads, what was not measured, and why there is no diagnostic level."""
        found = []
        if self.padding == "copy":
            found.append(
                "The leads that are not given hold copies of the one that is, so the model is not told which it is; "
                "baselines that fit one filter or gain per lead get zeros instead, and know it."
            )
        if any(condition.kind for condition in data.conditions):
            found.append("Noisy rows have no published counterpart: noise is added to the given leads only.")
        if not self.features:
            found.append("Heart rates, R amplitudes and intervals were not measured (task.features=false).")
        if self.features and hasattr(data.source, "delineation"):
            found.append("The true intervals are those that cardiologists marked.")
        note = self._no_diagnosis(data)
        return [*found, note] if note else found

    def check(self, data: EcgDataModule) -> None:
        """ValueError where the classifier cannot be asked about these records; costs a second, training hours."""
        if self.classifier is not None:
            load_classifier(Path(self.classifier)).check_unseen(data)

    def predict(
        self, task: Reconstruction, systems: Systems, data: EcgDataModule, device: torch.device, progress: bool
    ) -> pd.DataFrame:
        """One row per system, condition and test record of this process: its metrics, and the classifier's answers."""
        return self._scorer(task, systems, data, device, self._unseen_classifier(data)).scores(progress)

    def finish(
        self,
        run_dir: Path,
        shares: pd.DataFrame,
        task: Reconstruction,
        systems: Systems,
        data: EcgDataModule,
        device: torch.device,
    ) -> dict[str, Any]:
        """Writes scores.parquet and the examples; returns the task's parts of result.json."""
        model = next(iter(systems))
        is_score = shares["kind"] == "score"
        by_input = merge_records(_own_columns(shares[is_score]), data, list(systems))
        specs = self._specs()
        scores = with_any_lead(by_input, [spec.name for spec in specs])
        tidy(scores).to_parquet(run_dir / "scores.parquet")
        record_id = median_record(scores, model, RECONSTRUCTION[0].name)
        self._write_examples(run_dir / "examples.npz", record_id, task, systems, data, device)
        quiet = [c["name"] for c in conditions_of(scores, data.conditions) if c["kind"] is None]
        return {
            "conditions": conditions_of(scores, data.conditions),
            **summaries(scores, specs, model),
            "cells": cells(by_input),
            "calibration": calibration(by_input, data.conditions),
            "truth": truth_row(by_input),
            "diagnostic": self._diagnostic(shares[~is_score], data),
            "diagnostic_note": self._no_diagnosis(data),
            "sources": source_rows(scores, specs, data, quiet),
            **left_out(by_input, data.conditions),
        }

    def _specs(self) -> list[MetricSpec]:
        """The metrics that are measured."""
        features = ("hr_", "r_amplitude", "qrs_", "qt_", "pr_", "official_hr_")
        return [spec for spec in RECONSTRUCTION if self.features or not spec.name.startswith(features)]

    def _scorer(
        self,
        task: Reconstruction,
        systems: Systems,
        data: EcgDataModule,
        device: torch.device,
        classifier: Classifier | None,
    ) -> RecordScorer:
        diagnosis = None if classifier is None else Diagnosis(classifier, data.store.fs_hz, device)
        return RecordScorer(
            task=task, systems=systems, data=data, device=device, features=self.features, diagnosis=diagnosis
        )

    def _unseen_classifier(self, data: EcgDataModule) -> Classifier | None:
        """The classifier, where the records have labels to hold its answers against."""
        if self.classifier is None or self._no_diagnosis(data):
            return None
        classifier = load_classifier(Path(self.classifier))
        classifier.check_unseen(data)
        return classifier

    def _no_diagnosis(self, data: EcgDataModule) -> str | None:
        """Why there is no diagnostic level; None where there is one."""
        if self.classifier is None:
            return "The diagnostic level was left out (task.classifier=null)."
        found = labels_for(load_classifier(Path(self.classifier)), data)
        return found if isinstance(found, str) else None

    def _diagnostic(self, answers: pd.DataFrame, data: EcgDataModule) -> list[dict[str, Any]]:
        """The diagnostic level's table."""
        if self.classifier is None or answers.empty:
            return []
        classifier = load_classifier(Path(self.classifier))
        targets = labels_for(classifier, data)
        return [] if isinstance(targets, str) else diagnostic_rows(answers, classifier, targets, data)

    @torch.inference_mode()
    def _write_examples(
        self,
        path: Path,
        record_id: str,
        task: Reconstruction,
        systems: Systems,
        data: EcgDataModule,
        device: torch.device,
    ) -> None:
        """The record with the middle score, rebuilt by the model from a few inputs."""
        scorer = self._scorer(task, systems, data, device, None)
        index = data.store.index
        row = next(int(r) for r in lead_windows(data).records("test") if index["record_id"].iloc[r] == record_id)
        record = scorer.load(row)
        drawn = [data.conditions[i] for i in drawn_conditions(data.conditions)]
        outputs = scorer.rebuilt(
            next(iter(systems.values())), np.stack([scorer.input_windows(row, condition) for condition in drawn])
        )
        rebuilt = {
            condition.name: scorer.stitched(windows, record) for condition, windows in zip(drawn, outputs, strict=True)
        }
        write_examples(path, record_id, record.record_mv, rebuilt, data.store.fs_hz)


def _own_columns(lines: pd.DataFrame) -> pd.DataFrame:
    """The scores without the classifier's columns."""
    return pd.DataFrame(lines[[name for name in lines.columns if not name.startswith("probability:")]])
