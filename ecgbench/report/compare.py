"""A comparison of runs: one page, its Markdown and its numbers as CSV; runs that differ in data stand apart."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.figure import Figure
from rich.table import Table as RichTable

from ecgbench.metrics.bootstrap import PairedDifference
from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.ecg_paper import png_bytes
from ecgbench.report.html import Picture, render
from ecgbench.report.lead_plots import input_figure
from ecgbench.report.plots import noise_curves
from ecgbench.report.run_folder import RunFolder, clean_inputs, find_score
from ecgbench.report.score_tables import notes_of
from ecgbench.report.standings import RunGroup, Standing, gather, rank
from ecgbench.report.table import (
    MISSING,
    Cell,
    Column,
    Table,
    difference_cell,
    format_number,
    heading,
    p_cell,
    score_cell,
    to_rich,
)
from ecgbench.report.tasks import headline_spec

BEST_NOTE = (
    "Bold: the best, where its paired difference to the next on their common records has an interval that excludes "
    "zero."
)
PICTURE_ALTS = {"noise": "Score against noise", "inputs": "Score by given lead"}


def compare(run_dirs: Iterable[Path], out_dir: Path, failures: Sequence[dict] = ()) -> Path:
    """Writes `comparison.html`, `.md` and `.csv` over finished runs into `out_dir`; returns the path of the page.

    Runs are put in one table only where task, protocol, data set and data hash are equal. `failures` are jobs without
    a result, as {"label", "error"}; a folder that cannot be read is listed with them.
    """
    groups, failed = gather(run_dirs, failures)
    out_dir.mkdir(parents=True, exist_ok=True)
    page = {
        "title": "Comparison of runs",
        "groups": [_group_content(group, out_dir) for group in groups],
        "failures": _failure_table(failed) if failed else None,
    }
    path = out_dir / "comparison.html"
    path.write_text(render("comparison.html.jinja", **page), encoding="utf-8")
    (out_dir / "comparison.md").write_text(render("comparison.md.jinja", **page), encoding="utf-8")
    _all_scores(groups).to_csv(out_dir / "comparison.csv", index=False)
    return path


def terminal_comparison(run_dirs: Iterable[Path], failures: Sequence[dict] = ()) -> list[RichTable]:
    """The ranking of each group of comparable runs, then the jobs without a result if any, for the terminal."""
    groups, failed = gather(run_dirs, failures)
    tables = [replace(table, title=_group_title(group)) for group in groups for table in _ranking_tables(group)]
    return [to_rich(table) for table in (*tables, *([_failure_table(failed)] if failed else []))]


def _group_title(group: RunGroup) -> str:
    return f"{group.key.task} on {group.key.dataset}, {group.key.protocol}"


def _group_content(group: RunGroup, out_dir: Path) -> dict[str, object]:
    figure, over = _curves(group), group.facts.comparison_over
    return {
        "title": _group_title(group),
        "data_hash": group.key.data_hash,
        "notes": list(dict.fromkeys(note for run in group.runs for note in notes_of(run.result))),
        "tables": [table for family in ("standard", "official") if (table := _score_table(group, family)).rows],
        "ranking": _ranking_tables(group),
        "by_condition": [_condition_table(group)] if len(group.conditions) > 1 else [],
        "curve_note": group.facts.curve_note,
        "picture": Picture(png_bytes(figure), PICTURE_ALTS[over], wide=True) if figure else None,
        "differences": _config_differences(group.runs),
        "links": [(_run_name(run), _relative(run.path / "report.html", out_dir)) for run in group.runs],
    }


def _run_name(run: RunFolder) -> str:
    return f"{run.result['label']}, seed {run.result['seed']}"


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


def _score_table(group: RunGroup, family: str) -> Table:
    """Rows for each run, then the mean over seeds where there are several; columns for each metric of a family."""
    specs = [spec for spec in group.specs if spec.family == family]
    best = {spec.name: _clear_best(group, spec) for spec in specs}
    rows = [row for standing in group.standings for row in _standing_rows(group, standing, specs, best)]
    columns = (Column("System", numeric=False), Column("Seed"), Column("Parameters"), *map(heading, specs))
    title = f"{family.capitalize()} scores, {group.condition}"
    footnotes = (f"{group.facts.value_note} {BEST_NOTE}",)
    if family == "official":
        footnotes += (group.facts.official_note, *group.facts.warnings_of(specs))
    return Table(title, columns, tuple(rows) if specs else (), footnotes, sortable=True)


def _clear_best(group: RunGroup, spec: MetricSpec) -> str | None:
    ranking = rank(group, spec)
    return ranking.order[0].label if ranking and ranking.clear else None


def _standing_rows(
    group: RunGroup, standing: Standing, specs: Sequence[MetricSpec], best: dict[str, str | None]
) -> list[tuple[Cell, ...]]:
    """One row per seed where there are several, then the standing itself, which alone can be the best."""
    several = standing.runs if len(standing.runs) > 1 else ()
    rows = [
        (*_run_cells(run, standing.run_label(run)), *_score_cells(standing.run_scores(run), group.condition, specs))
        for run in several
    ]
    cells = _score_cells(standing.tidy, group.condition, specs)
    if several:
        cells = [_with_seed_spread(cell, standing, group.condition, s) for cell, s in zip(cells, specs, strict=True)]
    marked = [replace(cell, strong=best[s.name] == standing.label) for cell, s in zip(cells, specs, strict=True)]
    return [*rows, (*_standing_cells(standing), *marked)]


def _score_cells(tidy: pd.DataFrame, condition: str, specs: Sequence[MetricSpec]) -> list[Cell]:
    scores = {score["metric"]: score for score in tidy.loc[tidy["condition"] == condition].to_dict("records")}
    return [score_cell(scores.get(spec.name), spec) for spec in specs]


def _with_seed_spread(cell: Cell, standing: Standing, condition: str, spec: MetricSpec) -> Cell:
    spread = format_number(standing.seed_std(condition, spec.name), spec)
    return replace(cell, hover=f"{cell.hover}; sd over seeds {spread}")


def _run_cells(run: RunFolder, label: str) -> tuple[Cell, Cell, Cell]:
    """Label, seed and parameter count."""
    result = run.result
    count = result["n_parameters"]
    return Cell(label), Cell(str(result["seed"]), sort=result["seed"]), Cell(f"{count:,}", sort=count)


def _standing_cells(standing: Standing) -> tuple[Cell, Cell, Cell]:
    name, seed, count = _run_cells(standing.runs[0], standing.run_label(standing.runs[0]))
    if standing.role == "baseline":
        n_parameters = next(
            s["n_parameters"] for s in standing.runs[0].result["systems"] if s["name"] == standing.label
        )
        return Cell(f"{standing.label} (baseline)"), Cell(MISSING, hover="no seed"), Cell(f"{n_parameters:,}")
    if len(standing.runs) > 1:
        seed = Cell(f"mean of {len(standing.runs)}", hover=f"seeds {', '.join(map(str, standing.seeds))}")
    return name, seed, count


def _ranking_tables(group: RunGroup) -> list[Table]:
    """The headline metric on the common records, best first, with each paired difference to the best."""
    spec = headline_spec(group.key.task)
    ranking = rank(group, spec)
    if ranking is None:
        return []
    rows = []
    for standing, mean, difference in zip(ranking.order, ranking.means, ranking.to_best, strict=True):
        leads = difference is None
        cells = (Cell("best"), Cell("")) if leads else _difference_cells(difference, spec)
        name = Cell(standing.label, strong=leads and ranking.clear)
        rows.append((name, Cell(format_number(mean, spec), sort=mean), *cells))
    columns = (Column("System", numeric=False), heading(spec), Column("Difference to best"), Column("p"))
    records = group.facts.records_under.format(condition=group.condition, records="records")
    title = f"{spec.label} on the {ranking.n_records} common {records}"
    return [Table(title, columns, tuple(rows))]


def _difference_cells(difference: PairedDifference, spec: MetricSpec) -> tuple[Cell, Cell]:
    paired = {"mean": difference.mean, "ci_low": difference.low, "ci_high": difference.high}
    return difference_cell(paired, spec), p_cell(float(difference.p_value))


def _condition_table(group: RunGroup) -> Table:
    """The headline metric of every standing under every condition."""
    spec = headline_spec(group.key.task)
    rows = []
    for standing in group.standings:
        scores = standing.tidy.to_dict("records")
        found = [find_score({"scores": scores}, standing.label, c["name"], spec.name) for c in group.conditions]
        rows.append((Cell(standing.label), *(score_cell(score, spec) for score in found)))
    columns = (Column("System", numeric=False), *(Column(c["name"]) for c in group.conditions))
    return Table(f"{heading(spec).title} by condition", columns, tuple(rows), sortable=True)


def _curves(group: RunGroup) -> Figure | None:
    tidy = pd.concat([standing.tidy for standing in group.standings])
    spec = headline_spec(group.key.task)
    if group.facts.comparison_over == "inputs":
        return input_figure(tidy, [c["name"] for c in clean_inputs({"conditions": group.conditions})], [spec])
    return noise_curves(tidy, group.conditions, spec)


def _config_differences(runs: Sequence[RunFolder]) -> Table | None:
    """The configuration keys that all runs have and whose values differ between them."""
    flat = [_flatten(yaml.safe_load(run.config_text) or {}) for run in runs]
    shared = [key for key in flat[0] if all(key in other for other in flat)]
    keys = [key for key in shared if len({str(config[key]) for config in flat}) > 1]
    rows = tuple((Cell(key), *(Cell(str(config[key])) for config in flat)) for key in keys)
    columns = (Column("Key", numeric=False), *(Column(_run_name(run), numeric=False) for run in runs))
    return Table("Configuration keys that differ", columns, rows) if rows else None


def _flatten(config: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _failure_table(failures: Sequence[dict]) -> Table:
    rows = tuple((Cell(str(f["label"])), Cell(str(f["error"]))) for f in failures)
    columns = (Column("Job", numeric=False), Column("Reason", numeric=False))
    return Table("Jobs without a result", columns, rows)


def _all_scores(groups: Sequence[RunGroup]) -> pd.DataFrame:
    """Every tidy score of every run's model and of every baseline, with what identifies its run."""
    frames = []
    for group in groups:
        for standing in group.standings:
            for run in standing.runs:
                tidy = standing.run_scores(run)
                identity = group.key._asdict() | {"label": standing.label, "seed": run.result["seed"]}
                frames.append(tidy.assign(**identity, run_dir=str(run.path)))
    return pd.concat(frames) if frames else pd.DataFrame()
