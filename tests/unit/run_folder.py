"""Run folders made up for the report's tests: every file that a finished run leaves, from known numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgbench.metrics.collection import SUPERRES
from ecgbench.metrics.summary import compare, summarise

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CLEAN = {"name": "clean", "kind": None, "snr_db": None}


def noise_grid(levels: tuple[float, ...] = (-5.0, 5.0, 20.0)) -> list[dict]:
    """Clean and every kind of noise at every input SNR."""
    kinds = ("bw", "em", "ma")
    noisy = [{"name": f"{kind}@{level:g}dB", "kind": kind, "snr_db": level} for kind in kinds for level in levels]
    return [CLEAN, *noisy]


def make_scores(
    systems: dict[str, float], conditions: list[dict], n_records: int = 20, seed: int = 0, spread_db: float = 2.0
) -> pd.DataFrame:
    """Scores whose clean SNR is about the number given for each system; one patient has every third record."""
    rng = np.random.default_rng(seed)
    difficulty_db = np.random.default_rng(99).normal(0, spread_db, n_records)
    rows = []
    for system, level_db in systems.items():
        for condition in conditions:
            ceiling_db = np.inf if condition["snr_db"] is None else condition["snr_db"] + 8
            snr_db = np.minimum(level_db, ceiling_db) + difficulty_db + rng.normal(0, 0.2, n_records)
            for index, value in enumerate(snr_db):
                key = {"system": system, "condition": condition["name"], "record_id": f"{index:05d}", "n_windows": 1}
                rows.append(key | {"patient_id": f"p{index % max(2, n_records // 3)}"} | _metrics(value))
    return pd.DataFrame(rows)


def _metrics(snr_db: float) -> dict[str, float]:
    """Metric values that follow from an SNR for a truth of 0.04 mV² mean energy."""
    mse = 0.04 * 10 ** (-snr_db / 10)
    values = {"mse": mse, "rmse": mse**0.5, "mae": 0.7 * mse**0.5, "snr_db": snr_db, "psnr_db": snr_db + 12}
    values |= {"ssim": 1 - 2 * mse**0.5, "cosine": 1 - mse, "prd_pct": 100 * (mse / 0.04) ** 0.5}
    values |= {"mse_low_band": 0.2 * mse, "mse_high_band": 0.8 * mse}
    return values | {s.name: values[s.name.removeprefix("official_")] for s in SUPERRES if s.family == "official"}


def make_examples(model: str, baseline: str, leads: tuple[str, ...] = LEADS, n_samples: int = 1000) -> dict[str, Any]:
    """Best, median and worst of a sum of sines; the model's error is half the baseline's."""
    fs_hz, upscale, k = 500.0, 10, 3
    time_s = np.arange(n_samples) / fs_hz
    truth = (
        np.stack(
            [
                np.sin(2 * np.pi * (1 + i % 3) * time_s) * np.exp(-(((time_s % 1) - 0.5) ** 2) / 0.01)
                for i in range(k * len(leads))
            ]
        )
        .reshape(k, len(leads), n_samples)
        .astype(np.float32)
    )
    error = 0.1 * np.sin(2 * np.pi * 40 * time_s).astype(np.float32)
    return {
        "record_id": np.array(["00001", "00002", "00003"]), "role": np.array(["best", "median", "worst"]),
        "condition": np.array(["clean"] * k), "x": truth[..., ::upscale], "y_true": truth, "y_pred": truth + error / 2,
        "y_baseline": truth + error, "snr_db": np.array([24.0, 21.0, np.nan]), "snr_baseline_db": np.full(k, 16.0),
        "leads": np.array(leads), "fs_hz": fs_hz, "upscale": upscale, "baseline": baseline,
    }  # fmt: skip


def make_run(
    path: Path,
    systems: dict[str, float],
    conditions: list[dict] | None = None,
    scores: pd.DataFrame | None = None,
    examples: dict[str, Any] | None = None,
    edit: Callable[[dict], None] | None = None,
    **result: Any,
) -> Path:
    """A complete run folder; the first system is the model, the others baselines. `result` overrides result.json."""
    path.mkdir(parents=True)
    names = list(systems)
    conditions = conditions or [CLEAN]
    scores = make_scores(systems, conditions) if scores is None else scores
    paired = compare(scores, SUPERRES, names[1], n_resamples=200) if len(names) > 1 else pd.DataFrame()
    content = _result(names, conditions) | {
        "scores": _plain(summarise(scores, SUPERRES, n_resamples=200)), "paired": _plain(paired)
    }  # fmt: skip
    content |= result
    if edit:
        edit(content)
    (path / "result.json").write_text(json.dumps(content))
    scores.to_parquet(path / "scores.parquet")
    np.savez(path / "examples.npz", **(examples or make_examples(names[0], [*names, ""][1])))
    _write_side_files(path, content)
    return path


def _plain(frame: pd.DataFrame) -> list[dict]:
    """Rows as JSON values, null where a number is not finite."""
    rows = frame.astype(object).to_dict("records")
    return [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows]


def _result(names: list[str], conditions: list[dict]) -> dict[str, Any]:
    counts = {"train": 300, "val": 50, "test": 20, "skipped": 0}
    roles = ["model"] + ["baseline"] * (len(names) - 1)
    return {
        "schema_version": 1, "task": "superres", "protocol": "superres-official-v1", "comparable_to_published": False,
        "notes": ["The recordings are simulated."], "dataset": "simulated", "model": names[0], "label": names[0],
        "seed": 0, "config_hash": "0123abcd", "data_hash": "d" * 64,
        "test_hash": "e" * 64, "n_parameters": 1911672, "records": counts,
        "patients": counts, "skipped": [], "conditions": conditions,
        "fit": {"epochs": 3, "best_epoch": 2, "monitor": "val/loss", "best_score": 0.001, "seconds": 61.2},
        "timing": {"seconds_total": 90.1, "predict_seconds": 3.0},
        "systems": [{"name": n, "role": r, "n_parameters": 0} for n, r in zip(names, roles, strict=True)],
    }  # fmt: skip


def _write_side_files(path: Path, result: dict[str, Any]) -> None:
    env = {
        "ecgbench": "0.1.0", "python": "3.11.9", "packages": {"torch": "2.6.0"}, "data_hash": result["data_hash"],
        "git": {"commit": "abc1234", "dirty": True}, "hardware": {"cpu": "made-up CPU", "cores": 2},
        "scan_backend": {"name": "torch", "reason": "no compiler"}, "argv": ["ecgbench", "task=superres"],
        "started": "2025-01-02T03:04:05",
    }  # fmt: skip
    (path / "env.json").write_text(json.dumps(env))
    (path / "run.yaml").write_text(f"seed: {result['seed']}\nmodel:\n  n_leads: 12\n")
    rows = ["epoch,step,train/loss,val/loss,lr", "0,9,0.9,,0.001", "0,9,,0.5,", "1,19,0.4,,0.0005", "1,19,,0.3,"]
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
