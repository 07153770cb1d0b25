"""Finished reconstruction runs made up for the report's tests: every file that one leaves, from known numbers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgbench.report.tasks import TASKS

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
ANY = {"name": "any lead", "kind": None, "snr_db": None, "leads": None}
SINGLE = [{"name": lead, "kind": None, "snr_db": None, "leads": [lead]} for lead in LEADS]
THREE = {"name": "I+II+V3", "kind": None, "snr_db": None, "leads": ["I", "II", "V3"]}
NOISY = [
    {"name": f"I {kind}@{snr_db:g}dB", "kind": kind, "snr_db": snr_db, "leads": ["I"]}
    for kind in ("bw", "ma")
    for snr_db in (-5.0, 5.0, 20.0)
]
ALL = [ANY, *SINGLE, THREE, *NOISY]
EASE = dict(zip(LEADS, (0.0, 0.03, -0.05, 0.02, -0.04, -0.01, 0.01, 0.03, 0.02, 0.03, 0.03, 0.02), strict=True))
"""What a given lead adds to the correlation of every system."""
MSE_OF_ZERO = 0.04
"""Mean energy of the made-up truth, mV^2."""


def make_rebuilt_scores(systems: dict[str, float], conditions: Sequence[dict], n_records: int = 54) -> pd.DataFrame:
    """Scores whose correlation is about the number of each system plus the ease of the given lead.

    `any lead` is each record's mean over the twelve single leads. QRS errors of every ninth record are missing.
    """
    rng = np.random.default_rng(0)
    difficulty = np.random.default_rng(99).normal(0, 0.05, n_records)
    names = [c for c in conditions if c["leads"] is not None]
    frames = []
    for system, level in systems.items():
        for condition in names:
            ease = max(EASE[lead] for lead in condition["leads"]) + 0.04 * (len(condition["leads"]) - 1)
            noise = 0.0 if condition["snr_db"] is None else 0.3 / (1 + np.exp((condition["snr_db"] - 2) / 4))
            r = np.clip(level + (ease + difficulty - noise) * (level > 0) + rng.normal(0, 0.01, n_records), -1, 1)
            frames.append(_frame(system, condition["name"], r))
    scores = pd.concat(frames, ignore_index=True)
    if not any(c["name"] == "any lead" for c in conditions):
        return scores
    single = scores.loc[scores["condition"].isin(LEADS)]
    means = single.groupby(["system", "record_id", "patient_id"], sort=False).mean(numeric_only=True).reset_index()
    return pd.concat([means.assign(condition="any lead"), scores], ignore_index=True)


def _frame(system: str, condition: str, r: np.ndarray) -> pd.DataFrame:
    n_records = len(r)
    mse = MSE_OF_ZERO * (1 - r**2)
    lost_ms = np.where(np.arange(n_records) % 9 == 0, np.nan, 40 * (1 - r))
    values = {
        "pcc_hidden": r, "mse_hidden": mse, "mae_hidden": 0.6 * mse**0.5, "mse_projected": 0.9 * mse,
        "einthoven_uv": 80 * (1 - r), "hr_mae_bpm": 6 * (1 - r), "hr_failed_pct": 10 * (1 - r),
        "r_amplitude_error_uv": 900 * (1 - r), "qrs_error_ms": lost_ms, "qt_error_ms": 2 * lost_ms,
        "pr_error_ms": 1.5 * lost_ms, "official_mse": mse * 11 / 12, "official_pcc": (11 * r + 1) / 12,
        "official_hr_sd_bpm": 4 * (1 - r), "official_hr_cv_pct": 6 * (1 - r), "official_hr_range_bpm": 11 * (1 - r),
        "official_hr_mae_bpm": 9 * (1 - r),
    }  # fmt: skip
    keys = {
        "system": system, "condition": condition, "record_id": [f"{k:05d}" for k in range(n_records)],
        "patient_id": [f"p{k % max(2, n_records * 2 // 3)}" for k in range(n_records)],
    }  # fmt: skip
    return pd.DataFrame(keys | values)


def make_cells(systems: dict[str, float]) -> list[dict]:
    """12 x 12 cells per system: correlation falls with the distance of two leads in the list, given leads have 0.99."""
    rows = []
    for system, level in systems.items():
        for i, given in enumerate(LEADS):
            for j, output in enumerate(LEADS):
                r = 0.99 if i == j else level + EASE[given] - 0.01 * abs(i - j)
                rows.append({"system": system, "input": given, "output": output, "mse": MSE_OF_ZERO * (1 - r**2),
                             "pcc": r, "n": 270})  # fmt: skip
    return rows


def make_calibration(systems: dict[str, float]) -> list[dict]:
    """Slopes of every lead from every single lead: a system's correlation less 0.02 per place of the given lead."""
    return [
        {"system": system, "input": given, "lead": lead, "slope": level - 0.02 * i + 0.01 * j, "intercept": 0.2,
         "r2": max(0.0, level - 0.03 * i), "n": 54 - j}
        for system, level in systems.items()
        for i, given in enumerate(LEADS)
        for j, lead in enumerate(LEADS)
    ]  # fmt: skip


def make_diagnostic(systems: Sequence[str], inputs: Sequence[str] = ("any lead", "I", "V2")) -> list[dict]:
    """What one classifier sees in real leads, in reconstructions and in padded leads."""

    def row(system: str, given: str, auroc: float) -> dict:
        return {"system": system, "input": given, "classifier": "xresnet1d101", "auroc_macro": auroc,
                "f1_macro": auroc - 0.2, "ci_low": auroc - 0.03, "ci_high": auroc + 0.02,
                "f1_low": auroc - 0.25, "f1_high": auroc - 0.15, "n_records": 54}  # fmt: skip

    rows = [row(name, given, 0.85 - 0.05 * k) for given in inputs for k, name in enumerate(systems)]
    padded = [row(name, given, 0.6) for given in inputs for name in ("zero_padded", "copy_padded")]
    return [*rows, row("real", "all leads", 0.92), *padded]


def make_record(n_samples: int = 5000, fs_hz: float = 500.0, inputs: Sequence[str] = ("I", "V2", "III")) -> dict:
    """One record with a beat a second; from the k-th input amplitudes are 0.9 - 0.1 k of the truth."""
    time_s = np.arange(n_samples) / fs_hz
    phase = time_s % 1
    qrs = np.exp(-((phase - 0.4) ** 2) / 2e-4) - 0.25 * np.exp(-((phase - 0.44) ** 2) / 2e-4)
    waves = qrs + 0.12 * np.exp(-((phase - 0.24) ** 2) / 1e-3) + 0.25 * np.exp(-((phase - 0.7) ** 2) / 4e-3)
    gains = np.array([0.6, 1.1, 0.5, -0.8, 0.2, 0.8, -0.7, 0.4, 0.7, 1.3, 1.2, 0.9])
    true = gains[:, None] * waves + 0.01 * np.sin(2 * np.pi * 0.3 * time_s)
    wander = np.stack([0.05 * np.sin(2 * np.pi * (0.7 + 0.4 * k) * time_s) for k in range(len(inputs))])
    pred = np.stack([(0.9 - 0.1 * k) * true + wander[k] for k in range(len(inputs))])
    return {
        "record_id": np.array("07042"), "inputs": np.array(inputs), "fs_hz": fs_hz, "leads": np.array(LEADS),
        "y_true": true.astype(np.float32), "y_pred": pred.astype(np.float32),
    }  # fmt: skip


def make_rebuilt_run(
    path: Path,
    systems: dict[str, float],
    conditions: Sequence[dict] = (ANY, *SINGLE),
    scores: pd.DataFrame | None = None,
    examples: dict[str, Any] | None = None,
    edit: Callable[[dict], None] | None = None,
    n_resamples: int = 40,
    **result: Any,
) -> Path:
    """A complete run folder; the first system is the model, the others baselines. `result` overrides result.json."""
    path.mkdir(parents=True)
    scores = make_rebuilt_scores(systems, conditions) if scores is None else scores
    names, facts = list(systems), TASKS["reconstruction"]
    paired = [facts.compare(scores[scores["system"].isin([names[0], other])], facts.specs, other,
                            n_resamples=n_resamples) for other in names[1:]]  # fmt: skip
    content = _description(names, conditions) | {
        "scores": _plain(facts.summarise(scores, facts.specs, n_resamples=n_resamples)),
        "paired": [row for table in paired for row in _plain(table)],
        "cells": make_cells(systems), "calibration": make_calibration(systems),
        "diagnostic": make_diagnostic(names), "excluded_windows": 0, "flat_inputs": [],
        "truth": [{"metric": name, "mean": value, "ci_low": 0.9 * value, "ci_high": 1.1 * value, "n_records": 54}
                  for name, value in (("einthoven_uv", 0.48), ("official_hr_sd_bpm", 0.2))],
    }  # fmt: skip
    content |= result
    if edit:
        edit(content)
    (path / "result.json").write_text(json.dumps(content))
    scores.to_parquet(path / "scores.parquet")
    np.savez(path / "examples.npz", **(make_record() if examples is None else examples))
    _write_side_files(path, content)
    return path


def _plain(frame: pd.DataFrame) -> list[dict]:
    """Rows as JSON values, null where a number is not finite."""
    rows = frame.astype(object).to_dict("records")
    return [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows]


def _description(names: Sequence[str], conditions: Sequence[dict]) -> dict[str, Any]:
    counts = {"train": 420, "val": 53, "test": 54, "skipped": 0}
    roles = ["model"] + ["baseline"] * (len(names) - 1)
    return {
        "schema_version": 1, "task": "reconstruction", "protocol": "reconstruction-overlap-1024-v1",
        "comparable_to_published": False, "notes": ["A cut of 527 records of the data set, not the data set."],
        "dataset": "ptbxl", "model": names[0], "label": names[0], "seed": 0, "config_hash": "0123abcd",
        "data_hash": "d" * 64, "test_hash": "e" * 64, "n_parameters": 7003604, "records": counts, "patients": counts,
        "skipped": [], "conditions": list(conditions),
        "fit": {"epochs": 2, "best_epoch": 2, "monitor": "val/pcc_hidden", "best_score": 0.77, "seconds": 61.2},
        "timing": {"seconds_total": 90.1, "predict_seconds": 3.0},
        "systems": [{"name": n, "role": r, "n_parameters": 0} for n, r in zip(names, roles, strict=True)],
    }  # fmt: skip


def _write_side_files(path: Path, result: dict[str, Any]) -> None:
    env = {
        "ecgbench": "0.1.0", "python": "3.11.9", "packages": {"torch": "2.6.0"}, "data_hash": result["data_hash"],
        "git": {"commit": "abc1234", "dirty": False}, "hardware": {"cpu": "made-up CPU", "cores": 2},
        "scan_backend": {"name": "torch", "reason": "no compiler"}, "argv": ["ecgbench", "task=reconstruction"],
        "started": "2025-01-02T03:04:05",
    }  # fmt: skip
    (path / "env.json").write_text(json.dumps(env))
    (path / "run.yaml").write_text(f"seed: {result['seed']}\nmodel:\n  kernel_size: 5\n")
    rows = ["epoch,step,train/loss,val/loss,val/pcc_hidden,lr", "0,9,0.09,,,0.001", "0,9,,0.05,0.62,",
            "1,19,0.04,,,0.0005", "1,19,,0.03,0.77,"]  # fmt: skip
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
