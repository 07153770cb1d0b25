"""From the records' scores to the tables of result.json: any lead, cells, calibration, sources, the drawn record."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.noise import Condition
from ecgbench.data.record import LEADS
from ecgbench.metrics.bootstrap import mean_interval
from ecgbench.metrics.calibration import calibrate
from ecgbench.metrics.collection import MetricSpec
from ecgbench.metrics.summary import KEYS, compare, summarise
from ecgbench.scoring.diagnostic import ANY_LEAD
from ecgbench.scoring.reconstruction_records import TRUTH, lead_windows

MEASURED = ("hr_mae_bpm", "hr_failed_pct", "qrs_error_ms", "qt_error_ms", "pr_error_ms")
"""Metrics that a record may lack under one input and have under another, as a beat or a wave was not found."""
PER_LEAD = ("mse:", "pcc:", "r_true:", "r_pred:", TRUTH)
"""Prefixes of columns that tables are made of and that are no metrics."""
DRAWN = ("I", "V2", "III")
"""The inputs from which the drawn record is rebuilt, as far as they were tested."""


def merge_records(lines: pd.DataFrame, data: EcgDataModule, systems: Sequence[str]) -> pd.DataFrame:
    """One row per system, condition and record, in this order, with names instead of numbers.

    Raises RuntimeError unless every record was scored exactly once by every system under every condition.
    """
    expected = len(systems) * len(data.conditions) * len(lead_windows(data).records("test"))
    unique = len(lines.drop_duplicates(["system", "condition", "row"]))
    if not len(lines) == unique == expected:
        raise RuntimeError(f"{expected} scored records were expected, {len(lines)} made, {unique} of them different")
    order = {name: i for i, name in enumerate(systems)}
    lines = lines.assign(order=lines["system"].map(order)).sort_values(["order", "condition", "row"])
    who = data.store.index.loc[lines["row"], ["record_id", "patient_id"]].reset_index(drop=True)
    names = [data.conditions[int(i)].name for i in lines["condition"]]
    values = lines.drop(columns=["system", "condition", "row", "order", "kind"]).reset_index(drop=True)
    keys = pd.DataFrame({"system": lines["system"].to_numpy(), "condition": names})
    return pd.concat([keys, who, values], axis=1)


def with_any_lead(scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The scores with each record's mean over the twelve single-lead inputs as a first condition of each system.

    Errors and correlations are NaN where one of the twelve is; heart rates and intervals, which may not be found,
    are averaged over the inputs that have them. Without all twelve inputs there is no such condition.
    """
    single = scores[scores["condition"].isin(LEADS)]
    if set(single["condition"]) != set(LEADS):
        return scores
    groups = single.groupby(["system", "record_id", "patient_id"], sort=False)
    means = pd.DataFrame(groups[list(metrics)].mean())
    strict = [metric for metric in metrics if metric not in MEASURED]
    means[strict] = means[strict].where(groups[strict].count() == len(LEADS))
    averaged = means.reset_index().assign(condition=ANY_LEAD)
    parts = [part[part["system"] == system] for system in scores["system"].unique() for part in (averaged, scores)]
    return pd.DataFrame(pd.concat(parts, ignore_index=True))


def summaries(scores: pd.DataFrame, specs: Sequence[MetricSpec], model: str) -> dict[str, list[dict[str, Any]]]:
    """`scores` (mean, spread and interval of everything) and `paired` (model minus each baseline) of result.json."""
    paired: list[dict[str, Any]] = []
    for baseline in scores.loc[scores["system"] != model, "system"].unique():
        pair = scores[scores["system"].isin([model, baseline])]
        paired += compare(pair, specs, baseline).to_dict("records")
    return {"scores": summarise(scores, specs).to_dict("records"), "paired": paired}


def conditions_of(scores: pd.DataFrame, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """The conditions of result.json, that of any lead first where there is one."""
    first = [Condition(ANY_LEAD, None, None)] if ANY_LEAD in set(scores["condition"]) else []
    return [condition._asdict() for condition in (*first, *conditions)]


def cells(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean MSE (mV^2) and PCC of every output lead from every single input lead, over all scored windows.

    One dictionary for each system, input and output: system, input, output, mse, pcc, n (windows).
    """
    rows = []
    single = scores[scores["condition"].isin(LEADS) & (scores["n_kept"] > 0)]
    for _, own in single.groupby(["system", "condition"], sort=False):
        system, given = own[["system", "condition"]].iloc[0]
        weight = own["n_kept"].to_numpy(dtype=np.float64)
        for lead in LEADS:
            means = {name: float(weight @ own[f"{name}:{lead}"] / weight.sum()) for name in ("mse", "pcc")}
            rows.append({"system": system, "input": given, "output": lead, **means, "n": int(weight.sum())})
    return rows


def calibration(scores: pd.DataFrame, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Rebuilt against true mean R amplitude (uV) over records, for every hidden lead of every input without noise."""
    if f"r_true:{LEADS[0]}" not in scores:
        return []
    given = {condition.name: condition.leads or LEADS for condition in conditions if condition.kind is None}
    rows = []
    for _, own in scores[scores["condition"].isin(given)].groupby(["system", "condition"], sort=False):
        system, name = own[["system", "condition"]].iloc[0]
        for lead in (lead for lead in LEADS if lead not in given[name]):
            line = calibrate(own[f"r_true:{lead}"], own[f"r_pred:{lead}"])
            rows.append({"system": system, "input": name, "lead": lead, **line._asdict()})
    return rows


def truth_row(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """What the true records score by the metrics that need no truth: metric, mean, ci_low, ci_high, n_records."""
    once = scores.drop_duplicates("record_id")
    rows = []
    for column in (name for name in scores.columns if name.startswith(TRUTH)):
        low, high = mean_interval(once[column], once["patient_id"])
        mean = {"metric": column.removeprefix(TRUTH), "mean": once[column].mean()}
        rows.append(
            {**mean, "ci_low": float(low), "ci_high": float(high), "n_records": int(once[column].notna().sum())}
        )
    return rows


def left_out(scores: pd.DataFrame, conditions: Sequence[Condition]) -> dict[str, Any]:
    """`excluded_windows`, the windows with a flat lead, and `flat_inputs`, those among them with a flat given lead."""
    first = scores[(scores["system"] == scores["system"].iloc[0])]
    once = first.drop_duplicates("record_id")
    quiet = [condition.name for condition in conditions if condition.kind is None]
    flat = {name: first[(first["condition"] == name) & (first["n_flat_inputs"] > 0)] for name in quiet}
    return {
        "excluded_windows": int((once["n_windows"] - once["n_kept"]).sum()),
        "scored_windows": int(once["n_kept"].sum()),
        "flat_inputs": [
            {"input": name, "n_windows": int(rows["n_flat_inputs"].sum()), "records": rows["record_id"].tolist()}
            for name, rows in flat.items()
            if len(rows)
        ],
    }


def source_rows(
    scores: pd.DataFrame, specs: Sequence[MetricSpec], data: EcgDataModule, conditions: Sequence[str]
) -> list[dict[str, Any]]:
    """The scores of each source's test records without noise; none where the data set is one source."""
    index = data.store.index
    if "source" not in index:
        return []
    source = index.drop_duplicates("record_id").set_index("record_id")["source"]
    quiet = scores[scores["condition"].isin(conditions)]
    groups = quiet.groupby(quiet["record_id"].map(source), sort=True)
    return [row for name, own in groups for row in summarise(own, specs).assign(source=name).to_dict("records")]


def tidy(scores: pd.DataFrame) -> pd.DataFrame:
    """The columns of scores.parquet: keys, patient, windows and metrics."""
    metrics = [c for c in scores if not c.startswith(PER_LEAD) and c not in (*KEYS, "patient_id")]
    return pd.DataFrame(scores[[*KEYS, "patient_id", *metrics]])


def median_record(scores: pd.DataFrame, system: str, headline: str) -> str:
    """The record with the middle score under the first condition; the first record where none has a score."""
    own = scores[scores["system"] == system]
    own = own[own["condition"] == own["condition"].iloc[0]]
    ranked = own.dropna(subset=[headline]).sort_values(headline, ascending=False, kind="stable")["record_id"].tolist()
    return ranked[len(ranked) // 2] if ranked else str(own["record_id"].iloc[0])


def drawn_conditions(conditions: Sequence[Condition]) -> list[int]:
    """Which conditions the drawn record is rebuilt under: from I, V2 and III, or the first three without noise."""
    quiet = {condition.name: i for i, condition in enumerate(conditions) if condition.kind is None}
    return [quiet[name] for name in DRAWN if name in quiet] or list(quiet.values())[: len(DRAWN)]


def write_examples(
    path: Path, record_id: str, true_mv: np.ndarray, rebuilt: Mapping[str, np.ndarray], fs_hz: float
) -> None:
    """One record and what the model makes of it from each input (name to (lead, time) in mV)."""
    np.savez_compressed(
        path,
        record_id=record_id,
        inputs=list(rebuilt),
        y_true=true_mv.astype(np.float32),
        y_pred=np.stack(list(rebuilt.values())).astype(np.float32),
        leads=list(LEADS),
        fs_hz=fs_hz,
    )
