"""The generalisation matrix: trained on one source, tested on each other one, and on fewer leads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.heat_map import draw_heat_map
from ecgbench.report.html import picture, render
from ecgbench.report.plots import CHART_DPI, axis_label
from ecgbench.report.table import Cell, Column, Table, format_interval, format_number, heading, is_number
from ecgbench.report.tasks import headline_spec

COLUMNS = ("train", "test", "leads", "n_records", "value", "ci_low", "ci_high")
"""Of a tidy matrix: sources, leads given at the test, test records, and the score with its 95 % interval."""
CELL_IN = (1.0, 0.46)
LABEL_PT = 8.0
MATRIX_NOTE = (
    "Rows: the source that the model was trained on. Columns: the source that it was tested on, and its number of "
    "test records. Outlined: tested on held-out patients of its own source. Small: 95 % interval, patients resampled. "
    "Sources differ in their classes and in how often each occurs, so compare down a column rather than along a row."
)


def matrix_figure(
    values: pd.DataFrame,
    low: pd.DataFrame | None = None,
    high: pd.DataFrame | None = None,
    spec: MetricSpec | None = None,
    n_records: Mapping[str, int] | None = None,
    title: str = "",
) -> Figure:
    """Heat map of scores, train source (row) x test source (column), each cell with its number and its interval.

    `low` and `high` are the ends of the intervals, of the shape of `values`; a cell that is NaN is empty. Cells whose
    row and column have the same name are outlined. `spec` gives scale, decimals and name; by default it is the
    headline metric of classification. `n_records` are the test records of each column.
    """
    spec = spec or headline_spec("classification")
    return _panels([_Panel(values, low, high, title)], spec, n_records or {})


class _Panel:
    """One matrix of a figure, its interval ends aligned with its values."""

    def __init__(self, values: pd.DataFrame, low: pd.DataFrame | None, high: pd.DataFrame | None, title: str) -> None:
        self.values = values.astype(float)
        empty = self.values * np.nan
        self.low, self.high = (
            empty if ends is None else ends.reindex_like(values).astype(float) for ends in (low, high)
        )
        self.title = title


def _panels(panels: Sequence[_Panel], spec: MetricSpec, n_records: Mapping[str, int]) -> Figure:
    """Matrices under each other, on one colour scale."""
    names = [str(name) for panel in panels for name in (*panel.values.index, *panel.values.columns)]
    left_in = 0.45 + 0.0085 * LABEL_PT * max(map(len, names))
    head_in, foot_in, bar_in = 0.75, 0.15, 0.9
    heights = [head_in + CELL_IN[1] * len(panel.values) + foot_in for panel in panels]
    n_columns = max(panel.values.shape[1] for panel in panels)
    size = (left_in + CELL_IN[0] * n_columns + bar_in, sum(heights))
    figure = Figure(figsize=size, dpi=CHART_DPI, facecolor="white")
    limits = _limits([panel.values.to_numpy() * spec.scale for panel in panels])
    top_in, axes, image = size[1], [], None
    for panel, height in zip(panels, heights, strict=True):
        n_rows, n = panel.values.shape
        box_in = (left_in, top_in - head_in - CELL_IN[1] * n_rows, CELL_IN[0] * n, CELL_IN[1] * n_rows)
        ax = figure.add_axes(tuple(np.divide(box_in, (*size, *size))))
        image = _draw_matrix(ax, panel, spec, limits, n_records)
        axes.append(ax)
        top_in -= height
    corner = axes[0].get_position()
    bar = figure.add_axes((corner.x0 + corner.width + 0.15 / size[0], corner.y0, 0.14 / size[0], corner.height))
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=7)
    bar.set_title(axis_label(spec), fontsize=8, loc="left")
    return figure


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """The range of all finite values; a range of one value has that value in its middle."""
    pooled = np.concatenate([v.ravel() for v in values])
    finite = pooled[np.isfinite(pooled)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _draw_matrix(
    ax: Axes, panel: _Panel, spec: MetricSpec, limits: tuple[float, float], n_records: Mapping[str, int]
) -> object:
    rows, columns = list(map(str, panel.values.index)), list(map(str, panel.values.columns))
    heads = [f"{name}\nn = {n_records[name]:,}" if name in n_records else name for name in columns]
    own = [(rows.index(name), j) for j, name in enumerate(columns) if name in rows]

    def text(i: int, j: int) -> str:
        value, low, high = (table.iat[i, j] for table in (panel.values, panel.low, panel.high))
        interval = format_interval(low, high, spec)
        return "\n".join(part for part in (format_number(value, spec), interval) if part)

    image = draw_heat_map(
        ax, panel.values.to_numpy() * spec.scale, rows, heads, limits=limits, text=text, outlined=own,
        font_pt=7, tilted=False, label_pt=LABEL_PT,
    )  # fmt: skip
    ax.set_xlabel(f"{panel.title}: tested on" if panel.title else "tested on", fontsize=8.5, weight="bold")
    ax.xaxis.set_label_position("top")
    ax.set_ylabel("trained on", fontsize=8.5, weight="bold")
    return image


def write_matrix(
    folder: Path,
    table: pd.DataFrame,
    spec: MetricSpec | None = None,
    title: str = "Generalisation matrix",
    notes: Sequence[str] = (),
) -> Path:
    """Writes `generalisation.html`, `.png` and `.csv` into `folder`; returns the path of the page.

    `table` holds one row per trained model and test (COLUMNS); each value of `leads` has a matrix of its own, in the
    order of appearance. `notes` stand on top of the page. Raises ValueError for a table that lacks a column, has no
    row, or has two rows for one cell.
    """
    _check(table)
    spec = spec or headline_spec("classification")
    folder.mkdir(parents=True, exist_ok=True)
    n_records = _n_records(table)
    panels = [_panel_of(part, str(leads)) for leads, part in table.groupby("leads", sort=False)]
    alt = f"{spec.label} by training source and test source"
    drawn = picture(_panels(panels, spec, n_records), alt, MATRIX_NOTE, wide=True)
    (folder / "generalisation.png").write_bytes(drawn.png)
    table[list(COLUMNS)].to_csv(folder / "generalisation.csv", index=False)
    page = {"title": title, "notes": list(notes), "picture": drawn, "table": _score_table(table, spec)}
    path = folder / "generalisation.html"
    path.write_text(render("generalisation.html.jinja", **page), encoding="utf-8")
    return path


def _check(table: pd.DataFrame) -> None:
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ValueError(f"the matrix has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    if table.empty:
        raise ValueError("the matrix has no row; give at least one trained model with one test")
    twice = table.loc[table.duplicated(["train", "test", "leads"]), ["train", "test", "leads"]]
    if len(twice):
        raise ValueError(
            f"the matrix has two rows for {twice.iloc[0].to_dict()}; average seeds or keep one before drawing it"
        )


def _n_records(table: pd.DataFrame) -> dict[str, int]:
    """Test records of each column, where they are the same in all its rows."""
    counts = table.groupby("test")["n_records"].agg(["min", "max"])
    alike = counts.loc[counts["min"] == counts["max"], "max"]
    return {str(name): int(count) for name, count in alike.items()}


def _panel_of(part: pd.DataFrame, leads: str) -> _Panel:
    """The matrix of one number of leads; rows and columns in the order in which they appear."""
    rows, columns = (list(dict.fromkeys(part[name])) for name in ("train", "test"))
    tables = [
        part.pivot(index="train", columns="test", values=name).reindex(index=rows, columns=columns)
        for name in ("value", "ci_low", "ci_high")
    ]
    return _Panel(*tables, title=f"{leads} leads" if leads.isdigit() else leads)


def _score_table(table: pd.DataFrame, spec: MetricSpec) -> Table:
    rows = []
    for row in table.to_dict("records"):
        value, n = row["value"], row["n_records"]
        score = Cell(
            format_number(value, spec),
            format_interval(row["ci_low"], row["ci_high"], spec),
            sort=value * spec.scale if is_number(value) else None,
            strong=row["train"] == row["test"],
        )
        names = [Cell(str(row[name])) for name in ("train", "test", "leads")]
        rows.append((*names, Cell(f"{n:,.0f}", sort=n), score))
    columns = (*(Column(name, numeric=False) for name in ("Trained on", "Tested on", "Leads")), Column("Records"))
    note = "Bold: tested on its own source."
    return Table("Every pair", (*columns, heading(spec)), tuple(rows), (note,), sortable=True)
