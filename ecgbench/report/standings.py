"""Runs that may stand in one table, one standing per label, and which of them leads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgbench.metrics.bootstrap import PairedDifference, paired_difference
from ecgbench.metrics.collection import MetricSpec
from ecgbench.metrics.summary import summarise
from ecgbench.report.run_folder import RunFolder, read_run, reference_condition, system_names, task_specs


class GroupKey(NamedTuple):
    """What must be equal for two runs to stand in one table."""

    task: str
    protocol: str
    dataset: str
    data_hash: str
    test_hash: str


@dataclass(frozen=True)
class Standing:
    """One label's result: its runs (one per seed), tidy scores, and scores by record, both averaged over seeds."""

    label: str
    role: str
    runs: tuple[RunFolder, ...]
    tidy: pd.DataFrame
    records: pd.DataFrame

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs, in order."""
        return tuple(run.result["seed"] for run in self.runs)

    def seed_std(self, condition: str, metric: str) -> float:
        """Sample standard deviation over seeds of the mean over records; NaN for one seed."""
        means = [model_scores(run).set_index(["condition", "metric"])["mean"] for run in self.runs]
        return float(pd.Series([m[condition, metric] for m in means], dtype=float).std(ddof=1))


@dataclass(frozen=True)
class RunGroup:
    """Runs of one task, protocol and data set, as standings: models in the order given, then their baselines."""

    key: GroupKey
    standings: tuple[Standing, ...]

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The metrics of the group's task."""
        return task_specs(self.key.task)

    @property
    def runs(self) -> list[RunFolder]:
        """All runs of the group."""
        return [run for standing in self.standings if standing.role == "model" for run in standing.runs]

    @property
    def condition(self) -> str:
        """The condition that the group is ranked under."""
        return reference_condition(self.runs[0].result)

    @property
    def conditions(self) -> list[dict]:
        """Every condition that any run was tested under."""
        found = {c["name"]: c for run in self.runs for c in run.result["conditions"]}
        return list(found.values())


class Ranking(NamedTuple):
    """Standings from best to worst on their common records, each with its paired difference to the best."""

    order: list[Standing]
    means: list[float]
    to_best: list[PairedDifference | None]
    n_records: int
    clear: bool
    """Whether the interval of the best's difference to the next excludes zero."""


def gather(run_dirs: Iterable[Path], failures: Sequence[dict] = ()) -> tuple[list[RunGroup], list[dict]]:
    """Groups of comparable runs, and the failures given plus one for each folder that cannot be read."""
    failed, by_key = list(failures), {}
    for run_dir in run_dirs:
        try:
            run = read_run(run_dir)
        except (OSError, ValueError) as error:
            failed.append({"label": Path(run_dir).name, "error": str(error)})
            continue
        by_key.setdefault(GroupKey(*(run.result[name] for name in GroupKey._fields)), []).append(run)
    return [RunGroup(key, _standings(runs)) for key, runs in by_key.items()], failed


def _standings(runs: Sequence[RunFolder]) -> tuple[Standing, ...]:
    by_label: dict[str, list[RunFolder]] = {}
    for run in runs:
        label = run.result["label"]
        if any(other.result["seed"] == run.result["seed"] for other in by_label.get(label, [])):
            label = f"{label} #{run.result['config_hash']}"  # not another seed of the same: never averaged with it
        by_label.setdefault(label, []).append(run)
    models = [_model_standing(label, sorted(same, key=_seed)) for label, same in by_label.items()]
    baselines = {name: run for run in reversed(runs) for name in system_names(run.result, "baseline")}
    others = [_baseline_standing(name, run) for name, run in baselines.items() if name not in by_label]
    return (*models, *others)


def _seed(run: RunFolder) -> int:
    return run.result["seed"]


def model_scores(run: RunFolder) -> pd.DataFrame:
    """The tidy scores of the run's model."""
    return _tidy(run, system_names(run.result, "model")[0])


def _tidy(run: RunFolder, system: str) -> pd.DataFrame:
    tidy = pd.DataFrame(run.result["scores"])
    return tidy.loc[tidy["system"] == system]


def _records(run: RunFolder, system: str) -> pd.DataFrame:
    return run.scores.loc[run.scores["system"] == system]


def _model_standing(label: str, runs: Sequence[RunFolder]) -> Standing:
    systems = [system_names(run.result, "model")[0] for run in runs]
    if len(runs) == 1:
        tidy, records = _tidy(runs[0], systems[0]), _records(runs[0], systems[0])
    else:
        records = _mean_over_seeds([_records(r, s) for r, s in zip(runs, systems, strict=True)], label)
        tidy = summarise(records, task_specs(runs[0].result["task"]))
    return Standing(label, "model", tuple(runs), tidy.assign(system=label), records)


def _baseline_standing(name: str, run: RunFolder) -> Standing:
    return Standing(name, "baseline", (run,), _tidy(run, name), _records(run, name))


def _mean_over_seeds(frames: Sequence[pd.DataFrame], label: str) -> pd.DataFrame:
    """Each record's scores averaged over seeds, for the records that every seed has."""
    pooled = pd.concat(frames).assign(system=label)
    groups = pooled.groupby(["system", "condition", "record_id", "patient_id"], sort=False)
    means = pd.DataFrame(groups.mean(numeric_only=True))
    return means.loc[groups.size() == len(frames)].reset_index()


def rank(group: RunGroup, spec: MetricSpec) -> Ranking | None:
    """The group's standings ranked by one metric on the records that all have a finite score of; None without any."""
    values, patients = _common_values(group, spec)
    if values.empty:
        return None
    overall = {label: float(values[label].mean()) for label in values}
    order = sorted(overall, key=overall.__getitem__, reverse=spec.higher_is_better)
    best = values[order[0]].to_numpy()
    to_best = [None, *(paired_difference(values[label].to_numpy(), best, patients) for label in order[1:])]
    clear = len(to_best) > 1 and _excludes_zero(to_best[1])
    by_label = {standing.label: standing for standing in group.standings}
    means = [overall[label] for label in order]
    return Ranking([by_label[label] for label in order], means, to_best, len(values), clear)


def _excludes_zero(difference: PairedDifference | None) -> bool:
    return difference is not None and bool(difference.low > 0 or difference.high < 0)


def _common_values(group: RunGroup, spec: MetricSpec) -> tuple[pd.DataFrame, np.ndarray]:
    """One column of scores per label over the common records, and the patient of each record."""
    frames = [s.records.loc[s.records["condition"] == group.condition].set_index("record_id") for s in group.standings]
    columns = {s.label: frame[spec.name].astype(float) for s, frame in zip(group.standings, frames, strict=True)}
    common = reduce(lambda a, b: a.intersection(b, sort=False), (frame.index for frame in frames))
    values = pd.DataFrame({label: column.loc[common] for label, column in columns.items()})
    values = values.loc[np.isfinite(values.to_numpy()).all(1)]
    return values, frames[0].loc[values.index, "patient_id"].to_numpy()
