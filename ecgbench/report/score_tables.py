"""The tables of one run: scores by metric, by condition, skipped records, and the sentence that sums them up."""

from collections.abc import Sequence

import pandas as pd

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.run_folder import (
    find_paired,
    find_score,
    has_metric,
    is_clean,
    main_pair,
    noise_conditions,
    paired_systems,
    reference_condition,
    system_names,
)
from ecgbench.report.table import (
    Cell,
    Column,
    Table,
    difference_cell,
    format_interval,
    format_number,
    format_p,
    heading,
    is_number,
    on_one_line,
    p_cell,
    score_cell,
    verdict_of,
)
from ecgbench.report.tasks import headline_spec, task_facts, task_specs

DIFFERENCE_NOTE = (
    "Differences are paired by record and bold where better with an interval that excludes zero; p values are not "
    "corrected for the number of rows."
)


def family_specs(task: str, family: str) -> list[MetricSpec]:
    """The metrics of a task that belong to one family, `standard` or `official`."""
    return [spec for spec in task_specs(task) if spec.family == family]


def score_table(result: dict, family: str = "standard") -> Table:
    """One row per metric of the run under the reference condition: each system's value and the paired differences."""
    condition, facts = reference_condition(result), task_facts(result["task"])
    specs = [spec for spec in family_specs(result["task"], family) if has_metric(result, spec)]
    rows = [(_metric_cell(spec, facts.warnings.get(spec.name)), *_cells(result, condition, spec)) for spec in specs]
    title = f"{family.capitalize()} scores, {condition}"
    note = facts.official_note if family == "official" else f"{facts.value_note} {DIFFERENCE_NOTE}"
    return Table(title, (Column("Metric", numeric=False), *_columns(result)), tuple(rows), (note,))


def condition_table(result: dict, spec: MetricSpec) -> Table:
    """One row per test condition for one metric."""
    rows = [
        (Cell(condition_text(c), hover=_condition_hover(c)), *map(on_one_line, _cells(result, c["name"], spec)))
        for c in result["conditions"]
    ]
    title = f"{heading(spec).title} by condition"
    return Table(title, (Column("Condition", numeric=False), *_columns(result)), tuple(rows), sortable=True)


def condition_tables(result: dict) -> list[Table]:
    """A condition table for every standard metric, the headline first; empty where only clean records were tested."""
    if all(is_clean(condition) for condition in result["conditions"]):
        return []
    headline = headline_spec(result["task"])
    standard = [spec for spec in family_specs(result["task"], "standard") if has_metric(result, spec)]
    others = [spec for spec in standard if spec != headline]
    return [condition_table(result, spec) for spec in (headline, *others)]


def tidy_scores(result: dict) -> pd.DataFrame:
    """The tidy scores as a table, its systems in the order of the run."""
    order = {name: place for place, name in enumerate(system_names(result))}
    return pd.DataFrame(result["scores"]).sort_values("system", key=lambda names: names.map(order), kind="stable")


def skipped_table(skipped: Sequence[dict]) -> Table:
    """Records that were left out, and why."""
    rows = tuple((Cell(str(s["record_id"])), Cell(s["reason"])) for s in skipped)
    return Table("Skipped records", (Column("Record", numeric=False), Column("Reason", numeric=False)), rows)


def _metric_cell(spec: MetricSpec, warning: str | None) -> Cell:
    column = heading(spec)
    detail = warning or (spec.formula if spec.family == "official" else "")
    return Cell(column.title, detail=detail, hover=column.hover)


def condition_text(condition: dict) -> str:
    """How a condition is named in a table: `clean`, `6 leads`, `bw at 5 dB`."""
    if condition["kind"] is None or condition.get("leads") is not None:
        return condition["name"]
    return f"{condition['kind']} at {condition['snr_db']:g} dB"


def _condition_hover(condition: dict) -> str:
    return ", ".join(condition.get("leads") or [condition["name"]])


def _columns(result: dict) -> list[Column]:
    baselines = set(system_names(result, "baseline"))
    columns = [Column(name + (" (baseline)" if name in baselines else "")) for name in system_names(result)]
    for system, baseline in paired_systems(result):
        columns += [Column(f"{system} − {baseline}", hover="mean of the paired differences"), Column("p")]
    return columns


def _cells(result: dict, condition: str, spec: MetricSpec) -> list[Cell]:
    cells = [score_cell(find_score(result, name, condition, spec.name), spec) for name in system_names(result)]
    for pair in paired_systems(result):
        paired = find_paired(result, pair, condition, spec.name)
        cells += [difference_cell(paired, spec), p_cell(None if paired is None else paired["p_value"])]
    return cells


def verdict(result: dict) -> str:
    """The run in one sentence: the headline score, its interval, and how it stands to the baseline."""
    spec, condition = headline_spec(result["task"]), reference_condition(result)
    model = system_names(result, "model")[0]
    score = find_score(result, model, condition, spec.name)
    if score is None or not is_number(score["mean"]):
        records = task_facts(result["task"]).records_under.format(condition=condition, records="test records")
        return f"{model} has no finite {spec.label} on the {records}."
    interval = format_interval(score["ci_low"], score["ci_high"], spec)
    amount = f"{format_number(score['mean'], spec)} {spec.unit}".strip()
    head = task_facts(result["task"]).achievement.format(
        model=model, n_records=score["n_records"], condition=condition, amount=amount, label=spec.label,
        interval=interval,
    )  # fmt: skip
    head = " ".join(head.split())
    pair = main_pair(result)
    paired = find_paired(result, pair, condition, spec.name) if pair else None
    if paired is None or not is_number(paired["mean"]):
        return f"{head.strip()}."
    return f"{head.strip()}, {_standing(paired, spec)}."


def _standing(paired: dict, spec: MetricSpec) -> str:
    difference, baseline = paired["mean"], paired["baseline"]
    side = "above" if difference >= 0 else "below"
    amount = f"{format_number(abs(difference), spec)} {spec.unit}".strip()
    interval = format_interval(paired["ci_low"], paired["ci_high"], spec)
    if verdict_of(paired, spec) == "level":
        return f"{amount} {side} {baseline}, which the paired interval {interval} does not tell from no difference"
    evidence = ", ".join(part for part in ("paired", interval, format_p(paired["p_value"])) if part)
    return f"{amount} {side} {baseline} ({evidence})"


def noise_verdict(result: dict) -> str:
    """How often the model beats the baseline over the noise conditions, in one sentence."""
    spec, noisy = headline_spec(result["task"]), noise_conditions(result)
    pair = main_pair(result)
    if not noisy:
        return "Only the clean condition was tested, so there are no curves against noise."
    if pair is None:
        return f"{len(noisy)} noise conditions were tested, without a baseline to compare with."
    system, baseline = pair
    found = [find_paired(result, pair, c["name"], spec.name) for c in noisy]
    readings = [verdict_of(p, spec) for p in found if p is not None]
    counts = ", ".join(f"{word} in {readings.count(word)}" for word in ("better", "level", "worse"))
    return (
        f"{spec.label} of {system} against {baseline} over {len(noisy)} noise conditions: {counts} (paired interval)."
    )


def notes_of(result: dict) -> list[str]:
    """What a reader must know before comparing a number: the run's own notes and what its scores leave out."""
    notes = list(result["notes"])
    if not result["comparable_to_published"]:
        notes.append("The numbers of this run are not comparable to published ones.")
    lost = [s for s in result["scores"] if s["n_nonfinite"]]
    if lost:
        worst = max(lost, key=lambda s: s["n_nonfinite"])
        told = {key: worst[key] for key in ("n_records", "metric", "system", "condition")}
        note = task_facts(result["task"]).nonfinite_note
        notes.append(note.format(n=len(lost), most=worst["n_nonfinite"], **told))
    return notes
