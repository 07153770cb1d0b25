"""Tidy tables of a classification: each metric over all records of a split with its interval, by system and by class.

A metric here is one number of all records together, not a mean of numbers of records. Its interval is the percentile
interval of the metric over resamples of whole patients, with replacement, from the same stream of resamples as
`ecgbench.metrics.bootstrap`; a class without a positive in a resample is left out of that resample's mean. With a
column `seed` (several trained runs) every number is the mean over seeds, each resample having the same patients in
all of them: the interval covers the choice of patients, not of the seed.
A resample repeats positives, and repeated positives rank together: the resampled AUPRC of a class with few of them
tends to lie above that of the records, and its interval with it.

The scores hold one row per record: system, condition, record_id, patient_id, and for each class c label/<c>,
score/<c>, decision/<c> (a threshold per class) and decision_global/<c> (one threshold for all).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgbench.metrics import challenge, classification
from ecgbench.metrics.bootstrap import patient_weights
from ecgbench.metrics.classification import Bools, Floats
from ecgbench.metrics.collection import MetricSpec

KEYS = ["system", "condition", "record_id"]
PARTS = ("label", "score", "decision", "decision_global")
LEVEL = 0.95
CHALLENGES = {f"challenge_{year}": year for year in challenge.YEARS}


class Run(NamedTuple):
    """What one system answered in one condition, of one seed; a row per record, a column per class."""

    y: Bools
    scores: Floats
    decisions: Bools
    decisions_global: Bools
    classes: tuple[str, ...]
    patient: NDArray[np.intp]
    """(record,), number of the record's patient."""


Statistic = Callable[[Run, Floats | None], Floats]
"""(run, times) -> (..., entry): numbers of all records together, each record counted `times` times."""


class Estimate(NamedTuple):
    """A statistic of all records and of every resample."""

    value: Floats
    """(entry,)."""
    resampled: Floats
    """(resample, entry)."""
    n_patients: int

    def interval(self) -> tuple[Floats, Floats]:
        """Ends of the percentile interval, (entry,) both; NaN below two patients or where nothing is defined.

        Resamples in which an entry is not defined, as they miss all its positives, are not ranked.
        """
        ends = np.full((2, len(self.value)), np.nan)
        defined = np.isfinite(self.resampled).any(0) & np.isfinite(self.value)
        if self.n_patients >= 2 and defined.any():
            tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
            ends[:, defined] = np.nanquantile(self.resampled[:, defined], tails, axis=0)
        return ends[0], ends[1]

    def p_value(self) -> Floats:
        """Two-sided percentile p-value of no difference from zero, (entry,); NaN as `interval`."""
        defined = np.isfinite(self.resampled)
        sides = [((self.resampled <= 0) & defined).sum(0), ((self.resampled >= 0) & defined).sum(0)]
        p_value = np.minimum(2 * (1 + np.minimum(*sides)) / (1 + defined.sum(0)), 1.0)
        return np.where(np.isfinite(self.interval()[0]), p_value, np.nan)


def summarise(
    scores: pd.DataFrame, specs: Sequence[MetricSpec], seed: int = 0, n_resamples: int = 1000
) -> pd.DataFrame:
    """One row per system, condition and metric, in the order of their appearance.

    Columns: those of `ecgbench.metrics.summary.summarise`; mean is the metric of all records, std and median are NaN
    (a record has no value of its own), n_nonfinite counts records with a score that is not finite in some class,
    which count as score 0. The Challenge scores have rows only where the classes are that Challenge's.

    Raises:
        ValueError: a column is missing, a record is there twice or has no patient, a metric is unknown.
    """
    classes = _check(scores)
    names = _applicable(specs, classes)
    tables = []
    for _, group in scores.groupby(["system", "condition"], sort=False):
        system, condition = group[["system", "condition"]].iloc[0]
        estimate = _estimate(group, classes, _metrics(names), seed, n_resamples)
        low, high = estimate.interval()
        table = {
            "system": system,
            "condition": condition,
            "metric": names,
            "n_records": group["record_id"].nunique(),
            "n_patients": estimate.n_patients,
            "n_nonfinite": _n_nonfinite(group, classes),
            "mean": estimate.value,
            "std": np.nan,
            "median": np.nan,
            "ci_low": low,
            "ci_high": high,
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def compare(
    scores: pd.DataFrame, specs: Sequence[MetricSpec], baseline: str, seed: int = 0, n_resamples: int = 1000
) -> pd.DataFrame:
    """Each other system minus `baseline` on the same records: one row per condition, metric and system.

    Columns: those of `ecgbench.metrics.summary.compare`. Both systems are scored on the same resampled patients; the
    interval is that of the difference. p_value is two-sided, from the same resamples: twice the smaller of the shares
    of differences at most and at least zero, each share (1 + count) / (1 + n_resamples), never above 1. It is the
    level at which the percentile interval touches zero (Efron & Tibshirani 1993, sec. 15.4); NaN below two patients.
    n_nonfinite counts records with a score that is not finite in either.

    Raises:
        ValueError: as `summarise`, and where the two were not scored on the same records.
    """
    classes = _check(scores)
    names = _applicable(specs, classes)
    if baseline not in set(scores["system"]):
        raise ValueError(f"baseline '{baseline}' has no scores; scored systems: {sorted(set(scores['system']))}.")
    estimates: dict[str, Estimate] = {}
    columns = ["condition", "metric", "system", "baseline", "mean", "ci_low", "ci_high", "p_value", "n_nonfinite"]
    tables = []
    for _, group in scores.query("system != @baseline").groupby(["system", "condition"], sort=False):
        system, condition = group[["system", "condition"]].iloc[0]
        reference = scores[(scores["system"] == baseline) & (scores["condition"] == condition)]
        _check_paired(group, reference, baseline)
        if condition not in estimates:
            estimates[condition] = _estimate(reference, classes, _metrics(names), seed, n_resamples)
        difference = _minus(_estimate(group, classes, _metrics(names), seed, n_resamples), estimates[condition])
        low, high = difference.interval()
        n_nonfinite = _n_nonfinite(pd.concat([group, reference]), classes)
        values = (condition, names, system, baseline, difference.value, low, high, difference.p_value(), n_nonfinite)
        tables.append(pd.DataFrame(dict(zip(columns, values, strict=True))))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({name: [] for name in columns})


def per_class(scores: pd.DataFrame, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """One row per system, condition and class, in the order of their appearance.

    Columns: system, condition, class, n_test (records with the label), prevalence (their share), auroc and auprc each
    with its interval (auroc_low, auroc_high, ...) and f1 of the decisions. NaN where the class has no positive.

    Raises:
        ValueError: as `summarise`.
    """
    classes = _check(scores)
    tables = []
    for _, group in scores.groupby(["system", "condition"], sort=False):
        system, condition = group[["system", "condition"]].iloc[0]
        estimate = _estimate(group, classes, _areas, seed, n_resamples)
        (auroc, auprc), low, high = (np.split(ends, 2) for ends in (estimate.value, *estimate.interval()))
        runs = _runs(group, classes)
        table = {
            "system": system,
            "condition": condition,
            "class": classes,
            "n_test": runs[0].y.sum(0),
            "prevalence": runs[0].y.mean(0),
            "auroc": auroc,
            "auroc_low": low[0],
            "auroc_high": high[0],
            "auprc": auprc,
            "auprc_low": low[1],
            "auprc_high": high[1],
            "f1": _over_seeds([classification.f1(run.y, run.decisions) for run in runs]),
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def _metrics(names: Sequence[str]) -> Statistic:
    """The statistic with one entry per metric."""

    def statistic(run: Run, times: Floats | None) -> Floats:
        values = {}
        if {"auroc_macro", "auprc_macro"} & set(names):
            auroc, auprc = classification.areas(run.y, run.scores, times)
            values = {"auroc_macro": classification.macro(auroc), "auprc_macro": classification.macro(auprc)}
        columns = [values[name] if name in values else METRICS[name](run, times) for name in names]
        # Without any applicable metric the axes still stand.
        return np.stack(columns, axis=-1) if columns else np.empty((*np.shape(times)[:-1], 0))

    return statistic


def _areas(run: Run, times: Floats | None) -> Floats:
    """The statistic with the AUROC of every class, then the AUPRC of every class."""
    return np.concatenate(classification.areas(run.y, run.scores, times), axis=-1)


def _challenge(year: int) -> Statistic:
    """The Challenge score of a year."""
    return lambda run, times: challenge.challenge_score(run.y, run.decisions, year, run.classes, times)


METRICS: dict[str, Statistic] = {
    "auroc_macro": lambda run, times: classification.macro(classification.auroc(run.y, run.scores, times)),
    "auprc_macro": lambda run, times: classification.macro(classification.auprc(run.y, run.scores, times)),
    "f1_macro": lambda run, times: classification.macro(classification.f1(run.y, run.decisions, times)),
    "accuracy": lambda run, times: classification.exact_match(run.y, run.decisions, times),
    "fbeta2_macro": lambda run, times: classification.macro(classification.f_beta(run.y, run.decisions, 2, times)),
    "gbeta2_macro": lambda run, times: classification.macro(classification.g_beta(run.y, run.decisions, 2, times)),
    "fmax": lambda run, times: classification.sample_f(run.y, run.decisions_global, times),
    "fmax_test_optimal": lambda run, times: classification.fmax_test_optimal(run.y, run.scores, times),
    **{name: _challenge(year) for name, year in CHALLENGES.items()},
}
"""Each metric of the table, (...) of a run."""


def _estimate(
    group: pd.DataFrame, classes: tuple[str, ...], statistic: Statistic, seed: int, n_resamples: int
) -> Estimate:
    """The statistic of one system under one condition, the mean over its seeds."""
    runs, n_patients = _runs(group, classes), group["patient_id"].nunique()
    resampled = [
        _over_seeds([statistic(run, times[:, run.patient]) for run in runs])
        for times in patient_weights(n_patients, n_resamples, np.random.default_rng(seed))
    ]
    return Estimate(_over_seeds([statistic(run, None) for run in runs]), np.concatenate(resampled), n_patients)


def _minus(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two statistics of the same resamples."""
    return Estimate(a.value - b.value, a.resampled - b.resampled, a.n_patients)


def _over_seeds(values: Sequence[Floats]) -> Floats:
    """Mean over seeds of the defined values, entry by entry."""
    return classification.macro(np.stack(values, axis=-1))


def _runs(group: pd.DataFrame, classes: tuple[str, ...]) -> list[Run]:
    """The answers of one system under one condition, seed by seed."""
    patient = np.unique(group["patient_id"].to_numpy(), return_inverse=True)[1]
    seeds = group["seed"].to_numpy() if "seed" in group else np.zeros(len(group))
    y, scores, decisions, decisions_global = (
        group[[f"{part}/{name}" for name in classes]].to_numpy() for part in PARTS
    )
    return [
        Run(y[rows], scores[rows], decisions[rows], decisions_global[rows], classes, patient[rows])
        for rows in (seeds == seed for seed in np.unique(seeds))
    ]


def _n_nonfinite(group: pd.DataFrame, classes: Sequence[str]) -> int:
    """Records with a score that is not finite in some class."""
    lost = ~np.isfinite(group[[f"score/{name}" for name in classes]].to_numpy(np.float64)).all(1)
    return group.loc[lost, "record_id"].nunique()


def _applicable(specs: Sequence[MetricSpec], classes: Sequence[str]) -> list[str]:
    """Names of the metrics that these classes have; ValueError for a metric that is none of a classification."""
    unknown = [spec.name for spec in specs if spec.name not in METRICS]
    if unknown:
        raise ValueError(f"{unknown} are no metrics of a classification; known are {', '.join(METRICS)}.")
    names = [spec.name for spec in specs]
    return [name for name in names if name not in CHALLENGES or challenge.challenge_applies(classes, CHALLENGES[name])]


def _check(scores: pd.DataFrame) -> tuple[str, ...]:
    """The classes of a score table; refuses one that lacks a column or a row, or counts a record twice."""
    classes = tuple(name.removeprefix("label/") for name in scores.columns if name.startswith("label/"))
    wanted = [*KEYS, "patient_id", *(f"{part}/{name}" for name in classes or ["<class>"] for part in PARTS)]
    missing = [name for name in wanted if name not in scores.columns]
    if missing:
        raise ValueError(f"the scores have no column {', '.join(missing)}. Score the records again.")
    if scores.empty:
        raise ValueError(
            "the scores have no row; at least one record is needed. Check that the test split is not empty."
        )
    keys = [*KEYS, "seed"] if "seed" in scores else KEYS
    twice = scores.loc[scores.duplicated(keys), keys]
    if len(twice):
        raise ValueError(
            f"{len(twice)} rows score a record again, the first is {twice.iloc[0].to_dict()};"
            " each record counts once per system, condition and seed. Merge its rows first."
        )
    if "seed" in scores:
        _check_seeds(scores)
    nameless = scores.loc[scores["patient_id"].isna(), "record_id"]
    if len(nameless):
        raise ValueError(
            f"record {nameless.iloc[0]} has no patient_id; the interval needs one per record. Set it in the manifest."
        )
    return classes


def _check_seeds(scores: pd.DataFrame) -> None:
    """Refuse a record that some seeds of a system scored and others did not."""
    of_system, of_record = (scores.groupby(keys)["seed"].transform("nunique").to_numpy() for keys in (KEYS[:2], KEYS))
    partial = scores.loc[of_record < of_system, KEYS]
    if len(partial):
        raise ValueError(
            f"{partial.iloc[0].to_dict()} was not scored by every seed; a mean over seeds needs the same records in"
            " each. Score all records with every seed."
        )


def _check_paired(group: pd.DataFrame, reference: pd.DataFrame, baseline: str) -> None:
    """Refuse two systems that were not scored on the same records."""
    unpaired = sorted(set(group["record_id"]) ^ set(reference["record_id"]))
    if unpaired:
        system, condition = group[["system", "condition"]].iloc[0]
        raise ValueError(
            f"'{system}' and '{baseline}' under '{condition}' were not scored on the same records: {len(unpaired)} have"
            f" one score only, the first is {unpaired[0]}. Score both on the same records."
        )
