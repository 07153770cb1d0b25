"""What the pages know of each task: its metrics, how they are summed up over records, and the words for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from ecgbench.metrics import classification_summary, summary
from ecgbench.metrics.collection import CLASSIFICATION, RECONSTRUCTION, SUPERRES, MetricSpec


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """One task as every table, verdict and ranking reads it."""

    specs: tuple[MetricSpec, ...]
    """The metrics, in the order of the tables."""
    headline: str
    """The metric that the first sentence, the curves and the ranking speak of."""
    summarise: Callable[..., pd.DataFrame]
    """(scores, specs, seed, n_resamples) -> tidy rows by system, condition and metric."""
    compare: Callable[..., pd.DataFrame]
    """(scores, specs, baseline, seed, n_resamples) -> paired differences to one system."""
    per_record: bool
    """Whether `scores.parquet` holds a column for each metric, to be averaged over records; else a metric is a
    number of the whole split."""
    achievement: str
    """The verdict's main clause, with {model}, {n_records}, {condition}, {amount}, {label} and {interval}."""
    records_under: str = "{condition} {records}"
    """How the records of a condition are named, `clean test records`, with {records} for what they are called."""
    comparison_over: Literal["noise", "inputs"] = "noise"
    """What the picture of a comparison has on its horizontal axis: levels of noise, or the leads that are given."""
    curve_note: str
    """Beneath curves of the score against noise."""
    value_note: str
    """What one number of a score table is."""
    official_note: str
    """What the scores of the official family are."""
    nonfinite_note: str
    """What became of scores that are not finite, with {n}, {most}, {n_records}, {metric}, {system} and {condition}."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """What stands beneath the name of a metric that must not be read as the others are."""

    def warnings_of(self, specs: Sequence[MetricSpec]) -> list[str]:
        """A sentence for each of these metrics that has a warning."""
        return [f"{spec.label}: {self.warnings[spec.name]}." for spec in specs if spec.name in self.warnings]


TASKS = {
    "superres": TaskFacts(
        specs=SUPERRES,
        headline="snr_db",
        summarise=summary.summarise,
        compare=summary.compare,
        per_record=True,
        achievement="{model} reconstructs {n_records} {condition} test records at {amount} {label} {interval}",
        curve_note="Mean over test records with its 95 % interval; dashed, the same system without added noise.",
        value_note="Mean over records with its 95 % interval, patients resampled.",
        official_note=(
            "These formulas follow the published code of the system and are comparable only among themselves."
        ),
        nonfinite_note=(
            "{n} means leave out records whose score is not finite; the most, {most} of {n_records}, in {metric} of "
            "{system} under {condition}."
        ),
    ),
    "classification": TaskFacts(
        specs=CLASSIFICATION,
        headline="auroc_macro",
        summarise=classification_summary.summarise,
        compare=classification_summary.compare,
        per_record=False,
        achievement="{model} reaches a macro {label} of {amount} {interval} on {n_records} {condition} test records",
        curve_note="Score of all test records with its 95 % interval; dashed, the same system without added noise.",
        value_note=(
            "Each number is one of all test records together, with its 95 % interval, patients resampled; AUROC, "
            "AUPRC, F1, F2 and G2 are means over classes."
        ),
        official_note=(
            "These follow the published evaluation code to the letter. They were computed on this run's own test "
            "records and not on a challenge's hidden ones, so they stand beside no leaderboard."
        ),
        nonfinite_note=(
            "{n} scores count a probability that is not finite as 0; the most, in {most} of {n_records} records, by "
            "{system} under {condition}."
        ),
        warnings={"fmax_test_optimal": "optimistic: its threshold was chosen on the test records"},
    ),
    "reconstruction": TaskFacts(
        specs=RECONSTRUCTION,
        headline="pcc_hidden",
        summarise=summary.summarise,
        compare=summary.compare,
        per_record=True,
        achievement=(
            "{model} rebuilds {n_records} test records from {condition} at {label} {amount} {interval} over the hidden "
            "leads"
        ),
        records_under="{records} from {condition}",
        comparison_over="inputs",
        curve_note="Mean over test records with its 95 % interval, by the leads that were given.",
        value_note=(
            "Mean over records with its 95 % interval, patients resampled; from any lead, a record's score is its mean "
            "over the single leads given in turn. Hidden leads are those that were not given."
        ),
        official_note=(
            "These follow the published evaluation to the letter: the given lead counts among the twelve, and heart "
            "rates come from signals that were not cleaned. They are comparable only among themselves."
        ),
        nonfinite_note=(
            "{n} means leave out records whose score is not finite; the most, {most} of {n_records}, in {metric} of "
            "{system} from {condition}."
        ),
        warnings={
            name: "agreement among the generated leads, right or wrong"
            for name in ("official_hr_sd_bpm", "official_hr_cv_pct", "official_hr_range_bpm")
        },
    ),
}
"""Every task that has a report."""


def task_facts(task: str) -> TaskFacts:
    """The facts of a task; ValueError for a task without any."""
    if task not in TASKS:
        raise ValueError(f"task '{task}' has no metric table; known tasks: {', '.join(TASKS)}")
    return TASKS[task]


def task_specs(task: str) -> tuple[MetricSpec, ...]:
    """The metrics of a task, in the order of its tables; ValueError for a task without any."""
    return task_facts(task).specs


def headline_spec(task: str) -> MetricSpec:
    """The metric that runs of a task are summed up by."""
    facts = task_facts(task)
    return next(spec for spec in facts.specs if spec.name == facts.headline)
