"""A run folder, read back: everything the pages need and nothing else is opened."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.tasks import headline_spec, task_facts, task_specs

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """One finished run; files are read when first asked for."""

    path: Path
    result: dict

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The metrics of the run's task."""
        return task_specs(self.result["task"])

    @property
    def headline(self) -> MetricSpec:
        """The metric that the run is summed up by."""
        return headline_spec(self.result["task"])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per (system, condition, record_id)."""
        return pd.read_parquet(self.path / "scores.parquet")

    @cached_property
    def config_text(self) -> str:
        """The resolved configuration as YAML text; empty where the file is missing."""
        return _read_text(self.path / "run.yaml")

    @cached_property
    def env(self) -> dict:
        """Versions, hardware and source of the run; empty where the file is missing."""
        return json.loads(_read_text(self.path / "env.json") or "{}")

    @cached_property
    def curves(self) -> pd.DataFrame | None:
        """Training curves as logged, or None where nothing was trained."""
        path = self.path / "metrics.csv"
        return pd.read_csv(path) if path.is_file() and path.stat().st_size else None

    @cached_property
    def examples(self) -> dict[str, np.ndarray] | None:
        """The stored records by name, or None where the run kept none."""
        path = self.path / "examples.npz"
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            return dict(arrays)


def read_run(run_dir: Path) -> RunFolder:
    """The run in a folder; FileNotFoundError or ValueError says what is wrong with it."""
    path = Path(run_dir)
    result_path = path / "result.json"
    if not result_path.is_file():
        raise FileNotFoundError(
            f"{path} has no result.json, which a finished run writes last; finish the run or name another folder"
        )
    try:
        result = json.loads(result_path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{result_path} is not JSON ({error}); run the experiment again") from error
    version = result.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{result_path} has schema_version {version}, this version of ecgbench reads {SCHEMA_VERSION}; "
            "read it with the version named in its env.json"
        )
    task_facts(result["task"])
    return RunFolder(path, result)


def reference_condition(result: dict) -> str:
    """The condition that headline numbers come from: the first one with all leads and no noise, else the first."""
    conditions = result["conditions"]
    return next((c["name"] for c in conditions if is_clean(c)), conditions[0]["name"])


def is_clean(condition: dict) -> bool:
    """Whether a condition has no added noise and all leads."""
    return condition["kind"] is None and condition.get("leads") is None


def is_noisy(condition: dict) -> bool:
    """Whether a condition adds noise to all leads; a lead subset is neither clean nor noisy."""
    return condition["kind"] is not None and condition.get("leads") is None


def noise_conditions(result: dict) -> list[dict]:
    """The conditions with added noise and all leads."""
    return [c for c in result["conditions"] if is_noisy(c)]


def lead_conditions(result: dict) -> list[dict]:
    """The conditions in which only some of the leads are given."""
    return [c for c in result["conditions"] if c.get("leads") is not None]


def clean_inputs(result: dict) -> list[dict]:
    """The conditions in which nothing but the given leads differs: no noise, a lead set each."""
    return [c for c in result["conditions"] if c["kind"] is None and c.get("leads")]


def noisy_inputs(result: dict) -> list[dict]:
    """The conditions with noise on the given leads."""
    return [c for c in result["conditions"] if c["kind"] is not None]


def has_metric(result: dict, spec: MetricSpec) -> bool:
    """Whether the run was scored by a metric; some exist for some label sets only."""
    return any(score["metric"] == spec.name for score in result["scores"])


def system_names(result: dict, role: str | None = None) -> list[str]:
    """The systems scored in the run, or those of one role (`model` or `baseline`)."""
    return [s["name"] for s in result["systems"] if role is None or s["role"] == role]


def find_score(result: dict, system: str, condition: str, metric: str) -> dict | None:
    """The tidy score row of one system, condition and metric."""
    return _find(result["scores"], system=system, condition=condition, metric=metric)


def find_paired(result: dict, pair: tuple[str, str], condition: str, metric: str) -> dict | None:
    """The paired difference of a (system, baseline) pair under one condition."""
    return _find(result["paired"], system=pair[0], baseline=pair[1], condition=condition, metric=metric)


def paired_systems(result: dict) -> list[tuple[str, str]]:
    """The (system, baseline) pairs that the run compares, in their stored order."""
    return list(dict.fromkeys((row["system"], row["baseline"]) for row in result["paired"]))


def main_pair(result: dict) -> tuple[str, str] | None:
    """The model and the first baseline it is compared with; another head of the model only where there is no other."""
    model, baselines = system_names(result, "model")[0], system_names(result, "baseline")
    own = [pair for pair in paired_systems(result) if pair[0] == model]
    return next((pair for pair in own if pair[1] in baselines), own[0] if own else None)


def _find(rows: list[dict], **wanted: str) -> dict | None:
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
