"""Finished classification runs made up for the report's tests: every file that one leaves, from known numbers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgbench.report.tasks import TASKS

CLEAN = {"name": "clean", "kind": None, "snr_db": None, "leads": None}
SIX = {"name": "6 leads", "kind": None, "snr_db": None, "leads": ["I", "II", "III", "aVR", "aVL", "aVF"]}
TWO = {"name": "2 leads", "kind": None, "snr_db": None, "leads": ["I", "II"]}
NOISY = {"name": "bw@5dB", "kind": "bw", "snr_db": 5.0, "leads": None}
CLASSES = ("AF", "CLBBB|LBBB", "NSR", "PVC|VPB", "SB")
ALL_26 = (
    "AF", "AFL", "BBB", "Brady", "CLBBB|LBBB", "CRBBB|RBBB", "IAVB", "IRBBB", "LAD", "LAnFB", "LPR", "LQRSV", "LQT",
    "NSIVCB", "NSR", "PAC|SVPB", "PR", "PRWP", "PVC|VPB", "QAb", "RAD", "SA", "SB", "STach", "TAb", "TInv",
)  # fmt: skip
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SOURCES = ("georgia", "ptbxl")


def make_labels(classes: Sequence[str], n_records: int, seed: int = 7) -> np.ndarray:
    """0/1 (record, class); classes are rarer the later they come and the last is the second's companion."""
    rng = np.random.default_rng(seed)
    prevalence = np.geomspace(0.4, 0.06, len(classes))
    label = rng.random((n_records, len(classes))) < prevalence
    label[:, -1] |= label[:, 1] & (rng.random(n_records) < 0.7)
    return label


def make_class_scores(
    systems: dict[str, float],
    conditions: Sequence[dict],
    classes: Sequence[str] = CLASSES,
    n_records: int = 120,
    seed: int = 0,
    absent: Sequence[str] = (),
) -> pd.DataFrame:
    """Scores of which a positive's logit lies `systems[name]` above a negative's, less under every later condition."""
    rng = np.random.default_rng(seed)
    label = make_labels(classes, n_records)
    label[:, [k for k, name in enumerate(classes) if name in absent]] = False
    frames = []
    for system, gap in systems.items():
        for place, condition in enumerate(conditions):
            logit = -1.5 + gap / (1 + place) * label + rng.normal(0, 1.0 if gap else 0.0, label.shape)
            frames.append(_frame(system, condition["name"], classes, label, 1 / (1 + np.exp(-logit))))
    return pd.concat(frames, ignore_index=True)


def _frame(system: str, condition: str, classes: Sequence[str], label: np.ndarray, score: np.ndarray) -> pd.DataFrame:
    n_records = len(label)
    keys = pd.DataFrame({
        "system": system, "condition": condition,
        "record_id": [f"{k:05d}" for k in range(n_records)],
        "patient_id": [f"p{k % max(2, n_records * 2 // 3)}" for k in range(n_records)],
        "source": [SOURCES[k % 3 == 0] for k in range(n_records)],
    })  # fmt: skip
    parts = {
        "label": label,
        "score": score.astype(np.float32),
        "decision": score >= 0.4,
        "decision_global": score >= 0.5,
    }
    columns = [pd.DataFrame(v, columns=[f"{name}/{c}" for c in classes]) for name, v in parts.items()]
    return pd.concat([keys, *columns], axis=1)


def make_class_run(
    path: Path,
    systems: dict[str, float],
    conditions: Sequence[dict] = (CLEAN,),
    classes: Sequence[str] = CLASSES,
    scores: pd.DataFrame | None = None,
    examples: dict[str, Any] | None = None,
    edit: Callable[[dict], None] | None = None,
    left_out: Sequence[str] = ("challenge_2020", "challenge_2021"),
    n_resamples: int = 60,
    **result: Any,
) -> Path:
    """A complete run folder; the first system is the model, `<model> (x)` a head of it, the others baselines.

    `result` overrides what stands in result.json.
    """
    (path / "predictions").mkdir(parents=True)
    scores = make_class_scores(systems, conditions, classes) if scores is None else scores
    names, facts = list(systems), TASKS["classification"]
    specs = [spec for spec in facts.specs if spec.name not in left_out]
    paired = [facts.compare(scores[scores["system"].isin([names[0], other])], specs, other, n_resamples=n_resamples)
              for other in names[1:]]  # fmt: skip
    content = _description(names, conditions, classes) | {
        "scores": _plain(facts.summarise(scores, specs, n_resamples=n_resamples)),
        "paired": [row for table in paired for row in _plain(table)],
        "classes": _class_rows(scores, classes),
        "sources": _source_rows(scores, facts, specs),
    }
    content |= result
    if edit:
        edit(content)
    (path / "result.json").write_text(json.dumps(content))
    scores.to_parquet(path / "scores.parquet")
    scores[scores["condition"] == "clean"].to_parquet(path / "predictions" / "validation.parquet")
    np.savez(path / "examples.npz", **(make_worst() if examples is None else examples))
    _write_side_files(path, content)
    return path


def make_worst(n_records: int = 2, n_samples: int = 6000, n_valid: int = 5000, fs_hz: float = 500.0) -> dict[str, Any]:
    """Stored records: one beat a second, padded with zeros after `n_valid` samples."""
    time_s = np.arange(n_samples) / fs_hz
    beat = np.exp(-(((time_s % 1) - 0.4) ** 2) / 2e-4) + 0.2 * np.exp(-(((time_s % 1) - 0.7) ** 2) / 4e-3)
    gains = np.array([0.6, 1.1, 0.5, -0.8, 0.2, 0.8, -0.7, 0.4, 0.7, 1.1, 1.2, 0.9])
    x = np.repeat((gains[:, None] * beat * (np.arange(n_samples) < n_valid))[None], n_records, 0)
    return {
        "role": np.array([f"worst {k + 1}" for k in range(n_records)]),
        "record_id": np.array([f"A{k:04d}" for k in range(n_records)]),
        "x": x.astype(np.float32), "n_valid": np.full(n_records, n_valid), "fs_hz": fs_hz, "leads": np.array(LEADS),
        "truth": np.array(["AF, PVC|VPB", "none"][:n_records]), "decided": np.array(["NSR", "SB"][:n_records]),
        "scores_text": np.array(["NSR 0.93, AF 0.12", "SB 0.88, NSR 0.31"][:n_records]),
        "error": np.array([1.52, 0.87])[:n_records],
    }  # fmt: skip


def _class_rows(scores: pd.DataFrame, classes: Sequence[str]) -> list[dict]:
    """Per-class table by scikit-learn, with intervals of a fixed width."""
    rows = []
    for (system, condition), own in scores.groupby(["system", "condition"], sort=False):
        for name in classes:
            y, score = own[f"label/{name}"].to_numpy(), own[f"score/{name}"].to_numpy()
            n, both = int(y.sum()), 0 < y.sum() < len(y)
            auroc = float(roc_auc_score(y, score)) if both else None
            auprc = float(average_precision_score(y, score)) if n else None
            f1 = float(f1_score(y, own[f"decision/{name}"], zero_division=0)) if n else None
            row = {"system": system, "condition": condition, "class": name, "n_train": 6 * n, "n_val": n, "n_test": n,
                   "prevalence": n / len(y), "f1": f1, "threshold": 0.4}  # fmt: skip
            for key, value in (("auroc", auroc), ("auprc", auprc)):
                ends = (None, None) if value is None else (max(0.0, value - 0.05), min(1.0, value + 0.04))
                row |= {key: value, f"{key}_low": ends[0], f"{key}_high": ends[1]}
            rows.append(row)
    return rows


def _source_rows(scores: pd.DataFrame, facts: Any, specs: Sequence[Any]) -> list[dict]:
    clean = scores[scores["condition"] == "clean"]
    tables = [facts.summarise(own, specs, n_resamples=20).assign(source=s) for s, own in clean.groupby("source")]
    return [row for table in tables for row in _plain(table)]


def _plain(frame: pd.DataFrame) -> list[dict]:
    """Rows as JSON values, null where a number is not finite."""
    rows = frame.astype(object).to_dict("records")
    return [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows]


def _description(names: Sequence[str], conditions: Sequence[dict], classes: Sequence[str]) -> dict[str, Any]:
    counts = {"train": 720, "val": 120, "test": 120, "skipped": 0}
    roles = ["model" if name.startswith(names[0]) else "baseline" for name in names]
    return {
        "schema_version": 1, "task": "classification", "protocol": "classification-cinc2021-thresholds:f1-v1",
        "comparable_to_published": False, "notes": ["A cut of 960 records of the data set, not the data set."],
        "dataset": "cinc2021", "model": names[0], "label": names[0], "seed": 0, "config_hash": "0123abcd",
        "data_hash": "d" * 64, "test_hash": "e" * 64, "n_parameters": 17171354, "records": counts, "patients": counts,
        "skipped": [], "conditions": list(conditions), "label_names": list(classes),
        "fit": {"epochs": 3, "best_epoch": 2, "monitor": "val/auprc_macro", "best_score": 0.641, "seconds": 61.2},
        "timing": {"seconds_total": 90.1, "predict_seconds": 3.0},
        "systems": [{"name": n, "role": r, "n_parameters": 0} for n, r in zip(names, roles, strict=True)],
        "global_threshold": {name: 0.31 for name in names},
    }  # fmt: skip


def _write_side_files(path: Path, result: dict[str, Any]) -> None:
    env = {
        "ecgbench": "0.1.0", "python": "3.11.9", "packages": {"torch": "2.6.0"}, "data_hash": result["data_hash"],
        "git": {"commit": "abc1234", "dirty": False}, "hardware": {"cpu": "made-up CPU", "cores": 2},
        "scan_backend": {"name": "torch", "reason": "no compiler"}, "argv": ["ecgbench", "task=classification"],
        "started": "2025-01-02T03:04:05",
    }  # fmt: skip
    (path / "env.json").write_text(json.dumps(env))
    (path / "run.yaml").write_text(f"seed: {result['seed']}\nmodel:\n  n_leads: 12\n")
    rows = ["epoch,step,train/loss,val/loss,val/auprc_macro,lr", "0,9,0.9,,,0.001", "0,9,,0.5,0.42,",
            "1,19,0.4,,,0.0005", "1,19,,0.3,0.641,"]  # fmt: skip
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
