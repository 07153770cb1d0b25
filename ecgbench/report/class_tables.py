"""The tables that only a classification run has: by class, by source, and the records it gets most wrong."""

from collections.abc import Sequence

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.mistakes import Mistake
from ecgbench.report.run_folder import reference_condition, system_names
from ecgbench.report.score_tables import family_specs
from ecgbench.report.table import MISSING, Cell, Column, Table, heading, is_number, on_one_line, score_cell

AREA_DECIMALS = 3
NO_POSITIVES = "no positives"
SOURCE_NOTE = "A macro average of one source is over the classes that it has; it is not the same classes in every row."


def class_rows(result: dict, system: str) -> list[dict]:
    """One system's entries of `classes` under the reference condition, in column order."""
    condition = reference_condition(result)
    return [row for row in result.get("classes", []) if row["system"] == system and row["condition"] == condition]


def class_table(result: dict, system: str) -> Table:
    """One row per class: its positives in each split, areas with intervals, F1 and threshold."""
    rows = tuple(_class_row(row) for row in class_rows(result, system))
    columns = (
        Column("Class", numeric=False),
        Column("Train", hover="training records with the class"),
        Column("Val", hover="validation records with the class"),
        Column("Test", hover="test records with the class"),
        Column("Prevalence", hover="share of the test records; the AUPRC of a score without any information"),
        Column("AUROC ↑", hover="area under the ROC curve; 0.5 without any information"),
        Column("AUPRC ↑", hover="average precision"),
        Column("F1 ↑", hover="2 TP / (2 TP + FP + FN) at the class's threshold"),
        Column("Threshold", hover="chosen on the validation records, never on the test ones"),
    )
    return Table(
        f"{system} by class, {reference_condition(result)}", columns, rows, _class_notes(result), sortable=True
    )


def _class_row(row: dict) -> tuple[Cell, ...]:
    counts = [Cell(f"{row[key]:,}", sort=row[key]) for key in ("n_train", "n_val", "n_test")]
    prevalence = row["prevalence"]
    share = Cell(f"{100 * prevalence:.1f} %", sort=prevalence) if is_number(prevalence) else Cell(MISSING)
    if not row["n_test"]:
        unscored = Cell(NO_POSITIVES, hover="no test record has this class, so neither area exists")
        areas = [unscored, unscored]
    else:
        areas = [_area_cell(row, name) for name in ("auroc", "auprc")]
    plain = [_plain_cell(row[key]) for key in ("f1", "threshold")]
    name = Cell(row["class"], hover="" if row["n_train"] else "no training record has this class")
    return (name, *counts, share, *areas, *plain)


def _area_cell(row: dict, name: str) -> Cell:
    if not is_number(row[name]):
        return Cell(MISSING, hover="every test record has this class, so there is no negative to tell it from")
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    has_ends = is_number(low) and is_number(high)
    interval = f"[{low:.{AREA_DECIMALS}f}, {high:.{AREA_DECIMALS}f}]" if has_ends else ""
    return Cell(f"{row[name]:.{AREA_DECIMALS}f}", interval, sort=row[name])


def _plain_cell(value: float | None) -> Cell:
    return Cell(f"{value:.{AREA_DECIMALS}f}", sort=value) if is_number(value) else Cell(MISSING)


def _class_notes(result: dict) -> tuple[str, ...]:
    found = [
        "95 % intervals, patients resampled. F1 and every decision use the class's own threshold, chosen on validation."
    ]
    threshold = result.get("global_threshold", {}).get(system_names(result, "model")[0])
    if is_number(threshold):
        found.append(f"Fmax uses one threshold for all classes, {threshold:.3f}, chosen on validation too.")
    fallback = result.get("threshold_fallback") or []
    if fallback:
        found.append(f"Validation held nothing to choose a threshold by for {len(fallback)}: {', '.join(fallback)}.")
    return (*found, *absent_notes(result, named=True))


def absent_notes(result: dict, named: bool = False) -> list[str]:
    """A sentence on the classes without a positive test record and on those without a training one, where any.

    `named` lists the classes, which may be many.
    """
    rows = class_rows(result, system_names(result, "model")[0])
    untested = [row["class"] for row in rows if not row["n_test"]]
    untrained = [row["class"] for row in rows if not row["n_train"]]
    facts = (
        (untested, "have no positive test record and count in no macro average"),
        (untrained, "have no positive training record"),
    )
    return [
        f"{len(names)} of {len(rows)} classes {fact}{': ' + ', '.join(names) if named else ''}."
        for names, fact in facts
        if names
    ]


def source_tables(result: dict, note: str = SOURCE_NOTE) -> list[Table]:
    """A table per system with a row per source of the test records and a footnote; empty with one source or none."""
    rows = result.get("sources", [])
    sources = list(dict.fromkeys(row["source"] for row in rows))
    if len(sources) < 2:
        return []
    specs = [s for s in family_specs(result["task"], "standard") if any(r["metric"] == s.name for r in rows)]
    return [_source_table(result, system, sources, specs, note) for system in system_names(result)]


def _source_table(result: dict, system: str, sources: Sequence[str], specs: Sequence[MetricSpec], note: str) -> Table:
    condition = reference_condition(result)
    own = [r for r in result["sources"] if r["system"] == system and r["condition"] == condition]
    by_key = {(row["source"], row["metric"]): row for row in own}
    rows = []
    for source in sources:
        scores = [by_key.get((source, spec.name)) for spec in specs]
        n_records = next((score["n_records"] for score in scores if score), None)
        count = Cell(MISSING) if n_records is None else Cell(f"{n_records:,}", sort=n_records)
        cells = [on_one_line(score_cell(score, spec)) for score, spec in zip(scores, specs, strict=True)]
        rows.append((Cell(source), count, *cells))
    columns = (Column("Source", numeric=False), Column("Records"), *map(heading, specs))
    return Table(f"{system} by source, {condition}", columns, tuple(rows), (note,) if note else (), sortable=True)


def mistake_table(mistakes: Sequence[Mistake]) -> Table:
    """The drawn records: what they have, what was decided, and the probabilities behind it."""
    rows = tuple(
        (Cell(m.record_id), Cell(m.role), Cell(m.truth), Cell(m.decided), Cell(m.scores_text),
         Cell(MISSING) if not is_number(m.error) else Cell(f"{m.error:.3f}", sort=m.error))
        for m in mistakes
    )  # fmt: skip
    titles = ("Record", "Role", "True classes", "Decided", "Probabilities")
    columns = (*(Column(title, numeric=False) for title in titles), Column("Cross-entropy ↓"))
    return Table("Records drawn", columns, rows)
