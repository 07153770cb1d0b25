"""The tables of one run: scores by metric, by condition, skipped records, and the sentence that sums them up."""

from collections.abc import Sequence

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.run_folder import (
    find_paired,
    find_score,
    headline_spec,
    noise_conditions,
    paired_systems,
    reference_condition,
    system_names,
    task_specs,
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

OFFICIAL_NOTE = "These formulas follow the published code of the system and are comparable only among themselves."
INTERVAL_NOTE = (
    "Mean over records with its 95 % interval, patients resampled. Differences are paired by record and bold where "
    "better with an interval that excludes zero; p values are not corrected for the number of rows."
)


def family_specs(task: str, family: str) -> list[MetricSpec]:
    """The metrics of a task that belong to one family, `standard` or `official`."""
    return [spec for spec in task_specs(task) if spec.family == family]


def score_table(result: dict, family: str = "standard") -> Table:
    """One row per metric under the reference condition: each system's mean and the paired differences."""
    condition = reference_condition(result)
    rows = [(_metric_cell(spec), *_cells(result, condition, spec)) for spec in family_specs(result["task"], family)]
    title = f"{family.capitalize()} scores, {condition}"
    note = OFFICIAL_NOTE if family == "official" else INTERVAL_NOTE
    return Table(title, (Column("Metric", numeric=False), *_columns(result)), tuple(rows), (note,))


def condition_table(result: dict, spec: MetricSpec) -> Table:
    """One row per test condition for one metric."""
    rows = [
        (Cell(_condition_text(c), hover=c["name"]), *map(on_one_line, _cells(result, c["name"], spec)))
        for c in result["conditions"]
    ]
    title = f"{heading(spec).title} by condition"
    return Table(title, (Column("Condition", numeric=False), *_columns(result)), tuple(rows), sortable=True)


def condition_tables(result: dict) -> list[Table]:
    """A condition table for every standard metric, the headline metric first; empty where there is no noise."""
    if not noise_conditions(result):
        return []
    headline = headline_spec(result["task"])
    others = [spec for spec in family_specs(result["task"], "standard") if spec != headline]
    return [condition_table(result, spec) for spec in (headline, *others)]


def skipped_table(skipped: Sequence[dict]) -> Table:
    """Records that were left out, and why."""
    rows = tuple((Cell(str(s["record_id"])), Cell(s["reason"])) for s in skipped)
    return Table("Skipped records", (Column("Record", numeric=False), Column("Reason", numeric=False)), rows)


def _metric_cell(spec: MetricSpec) -> Cell:
    column = heading(spec)
    return Cell(column.title, detail=spec.formula if spec.family == "official" else "", hover=column.hover)


def _condition_text(condition: dict) -> str:
    if condition["kind"] is None:
        return condition["name"]
    return f"{condition['kind']} at {condition['snr_db']:g} dB"


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
        return f"{model} has no finite {spec.label} on the {condition} test records."
    interval = format_interval(score["ci_low"], score["ci_high"], spec)
    amount = f"{format_number(score['mean'], spec)} {spec.unit}".strip()
    head = f"{model} reconstructs {score['n_records']} {condition} test records at {amount} {spec.label} {interval}"
    pair = next((pair for pair in paired_systems(result) if pair[0] == model), None)
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
    pairs = paired_systems(result)
    if not noisy:
        return "Only the clean condition was tested, so there are no curves against noise."
    if not pairs:
        return f"{len(noisy)} noise conditions were tested, without a baseline to compare with."
    system, baseline = pairs[0]
    found = [find_paired(result, pairs[0], c["name"], spec.name) for c in noisy]
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
        notes.append(
            f"{len(lost)} means leave out records whose score is not finite; the most, {worst['n_nonfinite']} of "
            f"{worst['n_records']}, in {worst['metric']} of {worst['system']} under {worst['condition']}."
        )
    return notes
