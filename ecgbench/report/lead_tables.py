"""The tables that only a reconstruction run has: by given lead, limb lead consistency, amplitudes and diagnosis."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.lead_cells import calibrations
from ecgbench.report.run_folder import find_score, has_metric, reference_condition, system_names
from ecgbench.report.score_tables import condition_table, family_specs
from ecgbench.report.table import (
    MISSING,
    Cell,
    Column,
    Table,
    format_interval,
    format_number,
    heading,
    is_number,
    on_one_line,
    score_cell,
)
from ecgbench.report.tasks import headline_spec

CONTROLS = {
    "real": "twelve real leads",
    "zero_padded": "given leads, others 0",
    "copy_padded": "given lead in every channel",
}
"""What a classifier is given in place of a reconstruction, by its name in `diagnostic`."""
RESIDUAL, HIDDEN_ERROR, PROJECTED_ERROR = "einthoven_uv", "mse_hidden", "mse_projected"


def input_tables(result: dict, conditions: Sequence[dict], by: str = "by given lead") -> list[Table]:
    """A table for every standard metric of the run, the headline first, with a row per condition.

    `by` ends the titles.
    """
    headline = headline_spec(result["task"])
    standard = [spec for spec in family_specs(result["task"], "standard") if has_metric(result, spec)]
    part = result | {"conditions": list(conditions)}
    tables = [condition_table(part, spec) for spec in sorted(standard, key=lambda spec: spec != headline)]
    first = Column("Given", numeric=False)
    return [
        replace(
            table,
            title=f"{table.title.removesuffix('by condition')}{by}",
            columns=(first, *table.columns[1:]),
        )
        for table in tables
    ]


def consistency_table(result: dict) -> Table | None:
    """Per system: what the limb leads lack to one heart, and the error before and after making them consistent.

    None where the run has no such score.
    """
    condition = reference_condition(result)
    by_name = {spec.name: spec for spec in family_specs(result["task"], "standard") if has_metric(result, spec)}
    specs = [by_name[name] for name in (RESIDUAL, HIDDEN_ERROR, PROJECTED_ERROR) if name in by_name]
    if RESIDUAL not in by_name:
        return None
    rows = []
    for system in system_names(result):
        scores = [find_score(result, system, condition, spec.name) for spec in specs]
        cells = [on_one_line(score_cell(score, spec)) for score, spec in zip(scores, specs, strict=True)]
        rows.append((Cell(system), *cells, _gain_cell(result, system, condition)))
    residual = find_truth(result, RESIDUAL)
    if residual:
        own = on_one_line(_truth_cell(residual, by_name[RESIDUAL]))
        rows.append((Cell("the recordings themselves"), own, *[Cell("")] * len(specs)))
    columns = (Column("System", numeric=False), *map(heading, specs), Column("Change of MSE", hover="of the means"))
    note = (
        "The residual is the RMS of III, aVR, aVL and aVF minus what leads I and II make of them; recordings rounded "
        "to 1 µV have about 0.5 µV. Projection replaces the six limb leads by the nearest ones that fulfil "
        "the identities: the error it takes away was pure inconsistency."
    )
    return Table(f"Limb leads, from {condition}", columns, tuple(rows), (note,), sortable=True)


def find_truth(result: dict, metric: str) -> dict | None:
    """What the true records score by a metric that needs no truth; None where the run does not say."""
    return next((row for row in result.get("truth") or [] if row["metric"] == metric), None)


def truth_note(result: dict) -> str | None:
    """A sentence on what the true records score by the official metrics; None where the run does not say."""
    specs = family_specs(result["task"], "official")
    found = [(spec, _truth_cell(row, spec)) for spec in specs if (row := find_truth(result, spec.name))]
    shown = [f"{spec.label.removesuffix(' (official)')} {cell.full_text} {spec.unit}".strip() for spec, cell in found]
    return f"The recordings themselves have: {'; '.join(shown)}." if shown else None


def _truth_cell(row: dict, spec: MetricSpec) -> Cell:
    text, interval = format_number(row["mean"], spec), format_interval(row["ci_low"], row["ci_high"], spec)
    return Cell(text, interval, hover=f"mean over {row['n_records']:,} records")


def _gain_cell(result: dict, system: str, condition: str) -> Cell:
    before, after = (find_score(result, system, condition, name) for name in (HIDDEN_ERROR, PROJECTED_ERROR))
    if before is None or after is None or not (is_number(before["mean"]) and is_number(after["mean"])):
        return Cell(MISSING)
    if before["mean"] == 0:
        return Cell(MISSING, hover="there is no error to take away")
    change = 100 * (after["mean"] / before["mean"] - 1)
    return Cell(f"{change:+.1f} %".replace("-", "−"), sort=change)


def calibration_table(result: dict) -> Table | None:
    """Slope of the generated against the true R amplitude by rebuilt lead, for each system; None without any."""
    names = system_names(result)
    found = {name: {c.lead: c for c in calibrations(result, name)} for name in names}
    leads = list(dict.fromkeys(lead for own in found.values() for lead in own))
    if not leads:
        return None
    rows = []
    for lead in leads:
        own = [found[name].get(lead) for name in names]
        cells = [_range_cell(c and c.slope) for c in own]
        n = max((c.n for c in own if c), default=0)
        rows.append((Cell(lead), *cells, _range_cell(own[0] and own[0].r2), Cell(f"{n:,}", sort=n)))
    columns = (
        Column("Rebuilt", numeric=False),
        *(Column(f"{name}, slope") for name in names),
        Column(f"{names[0]}, R²"),
        Column("Records", hover="fewest behind one of the slopes"),
    )
    note = (
        "Generated R amplitude as a line over the true one, over records: mean over the leads given, in brackets the "
        "least and the largest of them."
    )
    return Table("R amplitude by rebuilt lead", columns, tuple(rows), (note,), sortable=True)


def _range_cell(values: np.ndarray | None) -> Cell:
    finite = values[np.isfinite(values)] if values is not None else np.array([])
    if not finite.size:
        return Cell(MISSING)
    ends = f"[{_plain(finite.min())}, {_plain(finite.max())}]" if finite.size > 1 else ""
    return Cell(_plain(finite.mean()), ends, sort=float(finite.mean()))


def _plain(value: float) -> str:
    """Two decimals with a true minus sign, and none before zero."""
    return f"{round(float(value), 2) + 0.0:.2f}".replace("-", "−")


def diagnostic_tables(result: dict, every_input: bool = False) -> list[Table]:
    """A table per classifier: what it still sees in reconstructions, against real leads and padded ones.

    The mean over single leads stands for all inputs where the run has it, unless `every_input`; with it, classifiers
    whose table would be the same again have none.
    """
    rows = result.get("diagnostic") or []
    tables = []
    for name in dict.fromkeys(row["classifier"] for row in rows):
        own = [row for row in rows if row["classifier"] == name]
        mean = [row for row in own if row["system"] == "real" or row["input"] == reference_condition(result)]
        is_short = any(row["system"] != "real" for row in mean) and len(mean) < len(own)
        if every_input and is_short:
            tables.append(_diagnostic_table(f"What {name} still sees, by given lead", own))
        elif not every_input:
            tables.append(_diagnostic_table(f"What {name} still sees", mean if is_short else own))
    return tables


def _diagnostic_table(title: str, rows: Sequence[dict]) -> Table:
    real = real_area(rows)
    inputs = list(dict.fromkeys(row["input"] for row in rows))
    ordered = sorted(rows, key=lambda row: (row["system"] != "real", inputs.index(row["input"])))
    cells = tuple(
        (
            Cell(seen_text(row["system"]), strong=row["system"] == "real"),
            Cell(_given(row)),
            _area_cell(row, "auroc_macro", "ci"),
            _lost_cell(row, real),
            _area_cell(row, "f1_macro", "f1"),
        )
        for row in ordered
    )
    columns = (
        Column("The classifier sees", numeric=False),
        Column("Given", numeric=False),
        Column("AUROC ↑", hover="macro average over classes"),
        Column("Against real leads", hover="AUROC minus that of the twelve real leads"),
        Column("F1 ↑", hover="macro average over classes, at the classifier's own thresholds"),
    )
    note = "Trained on real twelve-lead records, never on reconstructions. Intervals: 95 %, patients resampled."
    return Table(title, columns, cells, (note,), sortable=True)


def real_area(rows: Sequence[dict]) -> float | None:
    """The AUROC of the twelve real leads among rows of `diagnostic`."""
    return next((row["auroc_macro"] for row in rows if row["system"] == "real"), None)


def seen_text(system: str) -> str:
    """What a classifier is shown under the name of a system in `diagnostic`."""
    return CONTROLS.get(system, system)


def _given(row: dict) -> str:
    return "all" if row["system"] == "real" else row.get("input") or MISSING


def _area_cell(row: dict, name: str, ends: str) -> Cell:
    value, low, high = row[name], row.get(f"{ends}_low"), row.get(f"{ends}_high")
    if not is_number(value):
        return Cell(MISSING)
    interval = f"[{low:.3f}, {high:.3f}]" if is_number(low) and is_number(high) else ""
    return Cell(f"{value:.3f}", interval, sort=value)


def _lost_cell(row: dict, real: float | None) -> Cell:
    if row["system"] == "real":
        return Cell("")
    if not (is_number(real) and is_number(row["auroc_macro"])):
        return Cell(MISSING)
    lost = row["auroc_macro"] - real
    return Cell(f"{lost:+.3f}".replace("-", "−"), sort=lost)
