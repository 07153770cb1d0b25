"""Tidy tables over records: the mean of each metric with its interval, and each system against a baseline."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ecgbench.metrics.bootstrap import mean_interval, paired_difference
from ecgbench.metrics.collection import MetricSpec

KEYS = ["system", "condition", "record_id"]


def summarise(
    scores: pd.DataFrame, specs: Sequence[MetricSpec], seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """One row per system, condition and metric, in the order of their appearance.

    Columns: system, condition, metric, n_records, n_patients, n_nonfinite, mean, std (of the population), median,
    ci_low, ci_high (patient-clustered bootstrap, 95 %). The statistics are those of the finite values; how many
    others there are (an undefined score, the infinite SNR of an exact record) stands in n_nonfinite. A metric
    without any finite value has NaN statistics.

    scores: columns system, condition, record_id, patient_id and one per metric, one row per scored record.
    """
    _check(scores, specs)
    groups = scores.groupby(["system", "condition"], sort=False)
    return pd.concat([_summary(group, specs, seed, n_resamples) for _, group in groups], ignore_index=True)


def compare(
    scores: pd.DataFrame, specs: Sequence[MetricSpec], baseline: str, seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """Each other system minus `baseline`, record by record: one row per condition, metric and system.

    Columns: condition, metric, system, baseline, mean, ci_low, ci_high, p_value (see `paired_difference`),
    n_nonfinite (pairs left out). Raises ValueError where the two were not scored on the same records.
    """
    _check(scores, specs)
    if baseline not in set(scores["system"]):
        raise ValueError(f"baseline '{baseline}' has no scores; scored systems: {sorted(set(scores['system']))}.")
    others = scores.query("system != @baseline").groupby(["system", "condition"], sort=False)
    rows = [_difference(group, scores, specs, baseline, seed, n_resamples) for _, group in others]
    columns = ["condition", "metric", "system", "baseline", "mean", "ci_low", "ci_high", "p_value", "n_nonfinite"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({name: [] for name in columns})


def _summary(group: pd.DataFrame, specs: Sequence[MetricSpec], seed: int, n_resamples: int) -> pd.DataFrame:
    """The rows of one system under one condition."""
    names = [spec.name for spec in specs]
    values = group[names].to_numpy(dtype=np.float64)
    finite = pd.DataFrame(np.where(np.isfinite(values), values, np.nan))
    low, high = mean_interval(values, group["patient_id"], n_resamples=n_resamples, seed=seed)
    return pd.DataFrame(
        {
            "system": group["system"].iloc[0],
            "condition": group["condition"].iloc[0],
            "metric": names,
            "n_records": len(group),
            "n_patients": group["patient_id"].nunique(),
            "n_nonfinite": (~np.isfinite(values)).sum(axis=0),
            "mean": np.asarray(finite.mean()),
            "std": np.asarray(finite.std(ddof=0)),
            "median": np.asarray(finite.median()),
            "ci_low": low,
            "ci_high": high,
        }
    )


def _difference(
    group: pd.DataFrame, scores: pd.DataFrame, specs: Sequence[MetricSpec], baseline: str, seed: int, n_resamples: int
) -> pd.DataFrame:
    """The rows of one system under one condition against the baseline under the same condition."""
    system, condition = group[["system", "condition"]].iloc[0]
    reference = scores[(scores["system"] == baseline) & (scores["condition"] == condition)].set_index("record_id")
    unpaired = sorted(set(group["record_id"]) ^ set(reference.index))
    if unpaired:
        raise ValueError(
            f"'{system}' and '{baseline}' under '{condition}' were not scored on the same records: {len(unpaired)} have"
            f" one score only, the first is {unpaired[0]}. Score both on the same records."
        )
    names = [spec.name for spec in specs]
    result = paired_difference(
        group[names], reference.loc[group["record_id"], names], group["patient_id"], n_resamples=n_resamples, seed=seed
    )
    return pd.DataFrame(
        {
            "condition": condition,
            "metric": names,
            "system": system,
            "baseline": baseline,
            "mean": result.mean,
            "ci_low": result.low,
            "ci_high": result.high,
            "p_value": result.p_value,
            "n_nonfinite": result.n_nonfinite,
        }
    )


def _check(scores: pd.DataFrame, specs: Sequence[MetricSpec]) -> None:
    """Refuse a table without rows, with a missing column, a record scored twice or a record without its patient."""
    wanted = [*KEYS, "patient_id", *(spec.name for spec in specs)]
    missing = [name for name in wanted if name not in scores.columns]
    if missing:
        raise ValueError(f"the scores have no column {missing}; needed are {wanted}. Score the records again.")
    if scores.empty:
        raise ValueError(
            "the scores have no row; at least one record is needed. Check that the test split is not empty."
        )
    twice = scores.loc[scores.duplicated(KEYS), KEYS]
    if len(twice):
        raise ValueError(
            f"{len(twice)} rows score a record again, the first is {twice.iloc[0].to_dict()};"
            " each record counts once per system and condition. Merge its rows first."
        )
    nameless = scores.loc[scores["patient_id"].isna(), "record_id"]
    if len(nameless):
        raise ValueError(
            f"record {nameless.iloc[0]} has no patient_id; the interval needs one per record. Set it in the manifest."
        )
