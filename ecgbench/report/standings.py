"""Runs that may stand in one table, one standing per label, and which of them leads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgbench.metrics.bootstrap import PairedDifference
from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.run_folder import RunFolder, has_metric, read_run, reference_condition, system_names
from ecgbench.report.tasks import TaskFacts, task_facts


class GroupKey(NamedTuple):
    """What must be equal for two runs to stand in one table."""

    task: str
    protocol: str
    dataset: str
    data_hash: str
    test_hash: str


@dataclass(frozen=True)
class Standing:
    """One label's result: its runs (one per seed), tidy scores averaged over them, and scores by record.

    The scores by record are averaged over seeds too where metrics are per record; else each seed's rows are kept, told
    apart by their column `seed`.
    """

    label: str
    role: str
    """`model`, `head` (another output of the same model) or `baseline`."""
    runs: tuple[RunFolder, ...]
    tidy: pd.DataFrame
    records: pd.DataFrame
    head: int = 0
    """Place among the outputs of the run's model."""

    def run_scores(self, run: RunFolder) -> pd.DataFrame:
        """The tidy scores of this standing in one of its runs, under the system's own name."""
        if self.role == "baseline":
            return self.tidy
        return _tidy(run, system_names(run.result, "model")[self.head])

    def run_label(self, run: RunFolder) -> str:
        """What one of its runs is called: the run's label, with the head's name where it is not the first."""
        return f"{run.result['label']}{_head_name(run, self.head)}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs, in order."""
        return tuple(run.result["seed"] for run in self.runs)

    def seed_std(self, condition: str, metric: str) -> float:
        """Sample standard deviation over seeds of a metric's value; NaN for one seed."""
        means = [self.run_scores(run).set_index(["condition", "metric"])["mean"] for run in self.runs]
        return float(pd.Series([m[condition, metric] for m in means], dtype=float).std(ddof=1))


@dataclass(frozen=True)
class RunGroup:
    """Runs of one task, protocol and data set, as standings: models in the order given, then their baselines."""

    key: GroupKey
    standings: tuple[Standing, ...]

    @property
    def facts(self) -> TaskFacts:
        """What is known of the group's task."""
        return task_facts(self.key.task)

    @property
    def specs(self) -> list[MetricSpec]:
        """The metrics of the group's task that any of its runs was scored by."""
        return [spec for spec in self.facts.specs if any(has_metric(run.result, spec) for run in self.runs)]

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
    models = [s for label, same in by_label.items() for s in _model_standings(label, sorted(same, key=_seed))]
    taken = {standing.label for standing in models}
    baselines = {name: run for run in reversed(runs) for name in system_names(run.result, "baseline")}
    others = [_baseline_standing(name, run) for name, run in baselines.items() if name not in taken]
    return (*models, *others)


def _model_standings(label: str, runs: Sequence[RunFolder]) -> list[Standing]:
    """One standing for each output of the model that all of its runs have."""
    names = [system_names(run.result, "model") for run in runs]
    return [_model_standing(label, runs, list(head)) for head in zip(*names, strict=False)]


def _seed(run: RunFolder) -> int:
    return run.result["seed"]


def _tidy(run: RunFolder, system: str) -> pd.DataFrame:
    tidy = pd.DataFrame(run.result["scores"])
    return tidy.loc[tidy["system"] == system]


def _records(run: RunFolder, system: str) -> pd.DataFrame:
    return run.scores.loc[run.scores["system"] == system].assign(seed=_seed(run))


def _model_standing(label: str, runs: Sequence[RunFolder], systems: Sequence[str]) -> Standing:
    names = system_names(runs[0].result, "model")
    head = names.index(systems[0])
    label += _head_name(runs[0], head)
    records = [_records(run, system) for run, system in zip(runs, systems, strict=True)]
    if len(runs) == 1:
        tidy, pooled = _tidy(runs[0], systems[0]), records[0]
    else:
        facts = task_facts(runs[0].result["task"])
        pooled = _pooled(records, facts).assign(system=label)
        tidy = facts.summarise(pooled, [spec for spec in facts.specs if has_metric(runs[0].result, spec)])
    role = "head" if head else "model"
    return Standing(label, role, tuple(runs), tidy.assign(system=label), pooled.assign(system=label), head)


def _head_name(run: RunFolder, head: int) -> str:
    """What a head's name adds to the first one's: ` (p)` for `isibrno (p)`, nothing for the first."""
    names = system_names(run.result, "model")
    return names[head].removeprefix(names[0]) if head else ""


def _baseline_standing(name: str, run: RunFolder) -> Standing:
    return Standing(name, "baseline", (run,), _tidy(run, name), _records(run, name))


def _pooled(frames: Sequence[pd.DataFrame], facts: TaskFacts) -> pd.DataFrame:
    """The scores of the records that every seed has: their mean over seeds, or every seed's rows."""
    pooled = pd.concat(frames, ignore_index=True)
    keys = ["condition", "record_id"]
    complete = pooled.groupby(keys)["seed"].transform("size") == len(frames)
    pooled = pooled.loc[complete]
    if not facts.per_record:
        return pooled
    means = pooled.drop(columns="seed").groupby([*keys, "patient_id"], sort=False).mean(numeric_only=True)
    return pd.DataFrame(means).reset_index()


def rank(group: RunGroup, spec: MetricSpec) -> Ranking | None:
    """The group's standings ranked by one metric on the records that all have a finite score of; None without any."""
    records = _common_records(group, spec)
    if records.empty:
        return None
    facts, by_label = group.facts, {standing.label: standing for standing in group.standings}
    found = facts.summarise(records, [spec], n_resamples=1).set_index("system")["mean"].dropna()
    order = sorted(found.index, key=found.__getitem__, reverse=spec.higher_is_better)
    if not order:
        return None
    differences = facts.compare(records, [spec], order[0]).set_index("system") if len(order) > 1 else pd.DataFrame()
    to_best = [None, *(_paired(differences.loc[label]) for label in order[1:])]
    clear = len(to_best) > 1 and _excludes_zero(to_best[1])
    means = [float(found[label]) for label in order]
    return Ranking([by_label[label] for label in order], means, to_best, records["record_id"].nunique(), clear)


def _paired(row: pd.Series) -> PairedDifference:
    return PairedDifference(*row[["mean", "ci_low", "ci_high", "p_value", "n_nonfinite"]])


def _excludes_zero(difference: PairedDifference | None) -> bool:
    return difference is not None and bool(difference.low > 0 or difference.high < 0)


def _common_records(group: RunGroup, spec: MetricSpec) -> pd.DataFrame:
    """Every standing's scores of the records that all have, in one order; finite ones where scores are per record."""
    frames = [s.records.loc[s.records["condition"] == group.condition] for s in group.standings]
    if group.facts.per_record:
        frames = [frame.loc[np.isfinite(frame[spec.name].astype(float))] for frame in frames]
    indexed = [frame.set_index("record_id") for frame in frames]
    common = reduce(lambda a, b: a.intersection(b, sort=False), (frame.index.unique() for frame in indexed))
    return pd.concat([frame.loc[common].reset_index() for frame in indexed], ignore_index=True)
