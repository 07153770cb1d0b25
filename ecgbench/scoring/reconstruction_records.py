"""The test records one by one: what every system makes of each under every condition, and how far off it is."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from rich.progress import track
from torch import Tensor, nn

from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.noise import Condition
from ecgbench.data.reconstruction_examples import LeadWindows
from ecgbench.data.record import LEADS
from ecgbench.metrics.reconstruction import (
    has_flat_lead,
    limb_residual_uv,
    mae,
    mse,
    pcc,
    project_limb_leads,
)
from ecgbench.scoring.contract import Systems
from ecgbench.scoring.diagnostic import Diagnosis
from ecgbench.scoring.reconstruction_features import TrueFeatures, compare_features, official_rates, true_features

N_AT_ONCE = 64
"""Windows in one forward pass."""
TRUTH = "truth:"
"""Prefix of what the true record itself scores."""


@dataclass(frozen=True)
class ScoredRecord:
    """One record of the test split, as every system meets it."""

    row: int
    """Its first row in the store's index."""
    record_mv: np.ndarray
    """float64 (lead, time)."""
    true_mv: Tensor
    """float64 (window, lead, time), on the device that scores."""
    mask: Tensor
    """bool (window, time): the samples that count."""
    kept: Tensor
    """bool (window,): False where a lead is flat."""
    features: TrueFeatures | None


@dataclass(frozen=True, kw_only=True)
class RecordScorer:
    """What is the same for all records of a run."""

    task: Any
    systems: Systems
    data: EcgDataModule
    device: torch.device
    features: bool
    """Whether heart rate, R amplitude and intervals are measured."""
    diagnosis: Diagnosis | None

    @property
    def records(self) -> LeadWindows:
        """The examples."""
        return lead_windows(self.data)

    @torch.inference_mode()
    def scores(self, progress: bool) -> pd.DataFrame:
        """One row per system, condition and record of this process, and the classifier's answers (see `Diagnosis`).

        Features are measured in the data module's `num_workers` processes, or in this one.
        """
        for system in self.systems.values():
            system.eval().to(self.device)
        rank, world = (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)
        rows = self.records.records("test")[rank::world]
        with _mapping(self.data.num_workers if self.features else 0) as mapped:
            found = [
                line
                for row in track(rows.tolist(), "test", disable=not progress, transient=True)
                for line in self._record_lines(row, mapped)
            ]
        return pd.DataFrame(found) if found else pd.DataFrame({"kind": [], "system": [], "condition": [], "row": []})

    def _record_lines(self, row: int, mapped: Callable[..., Iterator[Any]]) -> list[dict[str, Any]]:
        """The rows of one record; `mapped` is `map`, or one like it."""
        record, conditions = self.load(row), self.data.conditions
        given = {
            reads: np.stack([self.input_windows(row, condition, reads) for condition in conditions])
            for reads in {_reads_presence(system) for system in self.systems.values()}
        }
        flat = [self._n_flat_inputs(record, condition) for condition in conditions]
        facts = {"n_windows": len(record.kept), "n_kept": int(record.kept.sum()), **_true_scores(record)}
        lines, rebuilt, answers = [], [], []
        for name, system in self.systems.items():
            outputs = self.rebuilt(system, given[_reads_presence(system)])
            stitched = [self.stitched(windows, record) for windows in outputs]
            for i, condition in enumerate(conditions):
                scored = window_scores(outputs[i], record, condition.leads or LEADS)
                key = {"kind": "score", "system": name, "condition": i, "row": row, "n_flat_inputs": flat[i]}
                lines.append({**key, **facts, **scored, "einthoven_uv": _residual_uv(stitched[i])})
            rebuilt += stitched
            if self.diagnosis is not None:
                answers += self.diagnosis.of_system(name, row, stitched, record.record_mv, conditions)
        if record.features is not None:
            given = [condition.leads or LEADS for condition in conditions] * len(self.systems)
            measured = mapped(compare_features, rebuilt, given, repeat(record.features))
            for line, features in zip(lines, measured, strict=True):
                line.update(features)
        if self.diagnosis is not None:
            answers += self.diagnosis.of_truth(row, record.record_mv, conditions)
        return lines + answers

    def load(self, row: int) -> ScoredRecord:
        """The record whose first row is `row`."""
        records = self.records
        windows, mask = records.windows(row)
        if records.config.windows != "overlap":
            mask = np.ones_like(mask)  # the published evaluation scores what it filled up, too
        true = torch.from_numpy(windows).to(self.device).double()
        counted = torch.from_numpy(mask).to(self.device)
        record_mv = records.store.record_mv(row).astype(np.float64)
        inputs = [condition.leads or LEADS for condition in self.data.conditions]
        features = None
        if self.features:
            features = true_features(record_mv, records.store.fs_hz, inputs, self._marks(row))
        return ScoredRecord(row, record_mv, true, counted, ~has_flat_lead(true, counted), features)

    def _marks(self, row: int) -> pd.DataFrame | None:
        """Waves marked by people, where the data set has them."""
        delineation = getattr(self.data.source, "delineation", None)
        return None if delineation is None else delineation(self.records.store.index["record_id"].iloc[row])

    def input_windows(self, row: int, condition: Condition, reads_presence: bool = False) -> np.ndarray:
        """A system's input, float32 (window, lead, time)."""
        records, data = self.records, self.data
        if condition.kind is None:
            windows = records.windows(row)[0]
        else:
            windows = records.noisy_windows(row, condition, data.noise, data.traces["test"])
        given = condition.leads or LEADS
        return records.config.model_input(windows, given, reads_presence).astype(np.float32)

    def rebuilt(self, system: nn.Module, x: np.ndarray) -> Tensor:
        """What a system makes of the inputs (condition, window, lead, time): the same shape, float64, mV."""
        flat = torch.from_numpy(x).flatten(0, 1)
        parts = [self.task.predict(system, part.to(self.device)).double() for part in flat.split(N_AT_ONCE)]
        return torch.cat(parts).reshape(x.shape)

    def stitched(self, windows: Tensor, record: ScoredRecord) -> np.ndarray:
        """Windows as a record, float64 (lead, time)."""
        return self.records.config.stitch(windows.cpu().numpy(), record.record_mv.shape[-1])

    def _n_flat_inputs(self, record: ScoredRecord, condition: Condition) -> int:
        """Windows in which a given lead is flat: it says nothing of the others."""
        places = [LEADS.index(lead) for lead in condition.leads or LEADS]
        return int(has_flat_lead(record.true_mv[:, places], record.mask).sum())


def lead_windows(data: EcgDataModule) -> LeadWindows:
    """The examples of a reconstruction."""
    assert isinstance(data.examples, LeadWindows)
    return data.examples


def window_scores(pred_mv: Tensor, record: ScoredRecord, given: Sequence[str]) -> dict[str, float]:
    """The signal level: means over the windows without a flat lead, NaN where there is none.

    Beside the metrics, `mse:<lead>` and `pcc:<lead>` of every output lead.
    """
    hidden = ~np.isin(LEADS, given)
    names = [*(f"{metric}:{lead}" for metric in ("mse", "pcc") for lead in LEADS)]
    if not record.kept.any():
        metrics = ("pcc_hidden", "mse_hidden", "mae_hidden", "mse_projected", "official_mse", "official_pcc")
        return dict.fromkeys([*metrics, *names], np.nan)
    pred, true, mask = pred_mv[record.kept], record.true_mv[record.kept], record.mask[record.kept]
    error, r = _array(mse(pred, true, mask)), _array(pcc(pred, true, mask))
    projected = _array(mse(project_limb_leads(pred), true, mask))
    by_lead = [*error.mean(axis=0), *r.mean(axis=0)]
    return {
        "pcc_hidden": float(r[:, hidden].mean()),
        "mse_hidden": float(error[:, hidden].mean()),
        "mae_hidden": float(_array(mae(pred, true, mask))[:, hidden].mean()),
        "mse_projected": float(projected[:, hidden].mean()),
        "official_mse": float(error.mean()),
        "official_pcc": float(np.where(np.isnan(r), 0.0, r).mean()),
        **dict(zip(names, map(float, by_lead), strict=True)),
    }


def _true_scores(record: ScoredRecord) -> dict[str, float]:
    """What the true record scores by the metrics that need no truth."""
    scores = {"einthoven_uv": _residual_uv(record.record_mv)}
    if record.features is not None:
        rates = record.features.rate_bpm
        scores |= {k: v for k, v in official_rates(rates, rates).items() if k != "official_hr_mae_bpm"}
    return {TRUTH + name: value for name, value in scores.items()}


def _residual_uv(record_mv: np.ndarray) -> float:
    """RMS of what the limb leads of a record lack to the identities, uV."""
    record = torch.from_numpy(record_mv)[None]
    return float(limb_residual_uv(record, torch.ones(1, record.shape[-1], dtype=torch.bool)))


@contextmanager
def _mapping(n_processes: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, or the same over some processes, which are started fresh: one that holds a GPU cannot be forked."""
    if n_processes < 1:
        yield map
        return
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        yield pool.map


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()


def _reads_presence(system: nn.Module) -> bool:
    """Whether a system tells absent leads by their zeros."""
    return bool(getattr(system, "reads_presence", False))


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
