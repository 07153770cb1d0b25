"""Pictures of a reconstruction run: lead against lead, scores by what was given, and amplitude calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.heat_map import draw_heat_map
from ecgbench.report.lead_cells import Calibration, LeadCells
from ecgbench.report.plots import CHART_DPI, MARKERS, PALETTE, axis_label, chart

CELL_IN = (0.36, 0.29)
SIDE_IN, HEAD_IN = 0.62, 0.72
"""Room for the names of the given leads on the left, and for title and names of the rebuilt ones above."""
MEAN = "mean"
BAND = "#f3f5f7"


def matrix_figure(
    cells: LeadCells, title: str, limits: tuple[float, float], decimals: int, scale: float = 1.0
) -> Figure:
    """Heat map of given lead (row) against rebuilt lead (column), with the means over hidden cells at its edges.

    `limits` are of the scaled value; a value beyond them has the colour of the nearer end. Cells of leads that were
    given are outlined.
    """
    values = cells.with_means() * scale
    n_rows, n_columns = values.shape
    size_in = (SIDE_IN + CELL_IN[0] * n_columns + 0.1, HEAD_IN + CELL_IN[1] * n_rows + 0.1)
    figure = Figure(figsize=size_in, dpi=CHART_DPI, facecolor="white")
    box_in = (SIDE_IN, 0.1, CELL_IN[0] * n_columns, CELL_IN[1] * n_rows)
    ax = figure.add_axes(tuple(np.divide(box_in, (*size_in, *size_in))))

    def text(i: int, j: int) -> str:
        return f"{values[i, j]:.{decimals}f}".replace("-", "−") if np.isfinite(values[i, j]) else ""

    draw_heat_map(
        ax, values, (*cells.inputs, MEAN), (*cells.outputs, MEAN), limits=limits, text=text,
        outlined=[(int(i), int(j)) for i, j in np.argwhere(cells.given)], font_pt=7.5, label_pt=8, tilted=False,
    )  # fmt: skip
    ax.axhline(n_rows - 1.5, color="white", lw=4)
    ax.axvline(n_columns - 1.5, color="white", lw=4)
    ax.set_ylabel("given lead", fontsize=8.5)
    ax.set_xlabel("rebuilt lead", fontsize=8.5)
    ax.xaxis.set_label_position("top")
    figure.text(0.01, 1 - 0.06 / size_in[1], title, fontsize=9, weight="bold", va="top")
    return figure


def input_figure(
    scores: pd.DataFrame, inputs: Sequence[str], specs: Sequence[MetricSpec], level: float | None = None
) -> Figure | None:
    """Mean and 95 % interval of each system by the leads that were given, one panel per metric.

    `scores` are tidy rows (system, condition, metric, mean, ci_low, ci_high), `inputs` the conditions shown, `level` a
    value to hold them against. Metrics without a finite mean are left out; None with fewer than two inputs or no
    metric left.
    """
    shown = scores.loc[scores["condition"].isin(inputs) & scores["mean"].astype(float).notna()]
    specs = [spec for spec in specs if (shown["metric"] == spec.name).any()]
    if len(inputs) < 2 or not specs:
        return None
    figure, axes = chart(len(specs), width_in=8.6, height_in=3.7)
    for ax, spec in zip(axes, specs, strict=True):
        by_system = shown.loc[shown["metric"] == spec.name].groupby("system", sort=False)
        for index, (name, system) in enumerate(by_system):
            line = system.set_index("condition").reindex(list(inputs))
            mean, low, high = (line[c].to_numpy(float) * spec.scale for c in ("mean", "ci_low", "ci_high"))
            x = np.arange(len(inputs)) + _aside(index, by_system.ngroups)
            _points(ax, x, mean, low, high, index, str(name))
        _category_axis(ax, inputs)
        if level is not None:
            ax.axhline(level * spec.scale, color="#000000", ls=":", lw=1.2)
        if not spec.higher_is_better:
            ax.set_ylim(bottom=0)  # an error's distance from none is what matters
        ax.set_ylabel(axis_label(spec), fontsize=9)
        ax.set_xlabel("given lead", fontsize=9)
    _legend(figure, axes[0])
    return figure


def calibration_figure(found: Mapping[str, Sequence[Calibration]]) -> Figure | None:
    """Slope and R² of generated against true R amplitude by rebuilt lead, `found` by system.

    Points are means over the leads given, bars reach from the least to the largest. None without a slope.
    """
    leads = list(dict.fromkeys(c.lead for own in found.values() for c in own))
    if not leads:
        return None
    figure, (left, right) = chart(2, width_in=8.6, height_in=3.3)
    for ax, name in ((left, "slope"), (right, "r2")):
        for index, (system, own) in enumerate(found.items()):
            values = [getattr(c, name) for c in own]
            kept = [(leads.index(c.lead), v[np.isfinite(v)]) for c, v in zip(own, values, strict=True)]
            kept = [(place, v) for place, v in kept if v.size]
            x = np.array([place for place, _ in kept]) + _aside(index, len(found))
            mean, low, high = (np.array([f(v) for _, v in kept]) for f in (np.mean, np.min, np.max))
            _points(ax, x, mean, low, high, index, system)
        _category_axis(ax, leads)
        ax.set_xlabel("rebuilt lead", fontsize=9)
        ax.axhline(1, color="#000000", ls=":", lw=1.2)
    left.axhline(0, color="#999999", lw=0.8)
    left.set_ylabel("slope (dotted: right amplitude)", fontsize=9)
    right.set_ylim(-0.02, 1.04)
    right.set_ylabel("R² (share explained by the truth)", fontsize=9)
    _legend(figure, left)
    return figure


def _points(
    ax: Axes, x: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, index: int, name: str
) -> None:
    color = PALETTE[index % len(PALETTE)]
    ax.vlines(x, low, high, color=color, alpha=0.4, lw=2.4)
    ax.plot(x, mean, MARKERS[index % len(MARKERS)], color=color, ms=3.8, ls="", label=name)


def _aside(index: int, n_systems: int) -> float:
    """Step aside from the category's middle, so that systems stand next to each other."""
    return 0.7 * ((index + 0.5) / n_systems - 0.5)


def _category_axis(ax: Axes, names: Sequence[str]) -> None:
    for place in range(0, len(names), 2):
        ax.axvspan(place - 0.5, place + 0.5, color=BAND, lw=0, zorder=0)
    ax.set_xticks(range(len(names)), [name.replace("+", "\n+") for name in names], fontsize=7.5)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.grid(visible=False, axis="x")


def _legend(figure: Figure, ax: Axes) -> None:
    handles, _ = ax.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside upper left", ncols=6, frameon=False, fontsize=8)
