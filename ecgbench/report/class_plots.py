"""Pictures of a classification run: its curves, which classes go together or are mistaken, and its calibration."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.class_curves import (
    ClassScores,
    Curve,
    Reliability,
    co_occurrence,
    confusion,
    macro_pr,
    macro_roc,
    pr_curve,
    reliability,
    roc_curve,
    thinned,
)
from ecgbench.report.heat_map import FOOT_IN, draw_heat_map, heat_figure, label_room_in
from ecgbench.report.plots import MARKERS, PALETTE, axis_label, chart

THIN = "#b9c0c8"
MACRO, MICRO, BEST, WORST = PALETTE[0], "#000000", PALETTE[2], PALETTE[1]
MOST_NUMBERED = 30
"""A heat map of more classes than this has colours alone."""
CELL_IN = (0.5, 0.29, 0.15)
"""Edge of a heat map's cells: of a few classes, of a numbered one, of one without numbers."""
FEW_PAIRS = 10
"""A bin of the reliability diagram with fewer pairs is drawn hollow."""


def curves_figure(found: ClassScores) -> Figure | None:
    """Precision-recall and ROC side by side: a thin line per class, macro and micro average, and the extremes named.

    None where no class has a positive record.
    """
    if not found.n_positive.any():
        return None
    figure, (left, right) = chart(2, width_in=8.6, height_in=4.95)
    steps = {"drawstyle": "steps-pre"}
    _draw_curves(left, found, pr_curve, macro_pr, steps)
    _draw_curves(right, found, roc_curve, macro_roc, {})
    share = float(found.label.mean())
    left.axhline(share, color="#555555", ls=":", lw=1.2)
    left.annotate(
        f"prevalence {share:.3f}", (0.02, share), (0, 3), textcoords="offset points", fontsize=7, color="#555555"
    )
    right.plot([0, 1], [0, 1], color="#555555", ls=":", lw=1.2)
    left.set(xlabel="recall (sensitivity)", ylabel="precision", title="Precision-recall")
    right.set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC")
    for ax in (left, right):
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), box_aspect=1)
        ax.title.set_fontsize(9)
        ax.xaxis.label.set_fontsize(9)
        ax.yaxis.label.set_fontsize(9)
    return figure


def _draw_curves(
    ax: Axes,
    found: ClassScores,
    curve_of: Callable[[np.ndarray, np.ndarray], Curve | None],
    macro_of: Callable[[np.ndarray, np.ndarray], Curve | None],
    style: dict,
) -> None:
    """Every class's curve thin, the ones with the largest and smallest area in colour, and the averages thick."""
    curves = {
        name: curve
        for k, name in enumerate(found.classes)
        if (curve := curve_of(found.label[:, k], found.score[:, k])) is not None
    }
    areas = {name: _area(curve, bool(style)) for name, curve in curves.items()}
    for curve in map(thinned, curves.values()):
        ax.plot(curve.x, curve.y, color=THIN, lw=0.7, zorder=2, **style)
    ranked = sorted(areas, key=areas.__getitem__)
    ends = [(ranked[-1], BEST, "best"), (ranked[0], WORST, "worst")] if len(ranked) > 2 else []
    lines = [(curves[name], f"{word}: {name} {areas[name]:.3f}", color, 1.3, "-") for name, color, word in ends]
    micro = curve_of(found.label.ravel(), found.score.ravel())
    macro = macro_of(found.label, found.score)
    averages = [(micro, "micro", MICRO, 1.4, "--"), (macro, "macro", MACRO, 2.2, "-")]
    shown = [(c, name, *rest) for c, name, *rest in averages if c is not None]
    lines += [
        (c, f"{name} average {np.mean(list(areas.values())) if name == 'macro' else _area(c, bool(style)):.3f}", *rest)
        for c, name, *rest in shown
    ]
    for curve, text, color, width, dashes in lines:
        drawn = thinned(curve)
        ax.plot(drawn.x, drawn.y, color=color, lw=width, ls=dashes, label=text, zorder=3, **style)
    handles, names = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], names[::-1], loc="upper left", bbox_to_anchor=(0, -0.13), fontsize=7.5, frameon=False, ncols=2,
        handlelength=1.6, columnspacing=1.0,
    )  # fmt: skip


def _area(curve: Curve, steps: bool) -> float:
    widths = np.diff(curve.x)
    return float((widths * (curve.y[1:] if steps else (curve.y[1:] + curve.y[:-1]) / 2)).sum())


def class_panels(found: ClassScores) -> Figure | None:
    """A small precision-recall panel per class with positives, each with its area and its prevalence line."""
    names = [(k, name) for k, name in enumerate(found.classes) if found.n_positive[k]]
    if not names:
        return None
    n_columns = min(6, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = Figure(
        figsize=(1.45 * n_columns + 0.4, 1.6 * n_rows + 0.3), dpi=144, facecolor="white", layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(n_rows, n_columns, sharex=True, sharey=True)).ravel()
    for ax, (k, name) in zip(panels, names, strict=False):
        curve = pr_curve(found.label[:, k], found.score[:, k])
        assert curve is not None  # it has positives
        drawn = thinned(curve)
        ax.fill_between(drawn.x, drawn.y, step="pre", color=MACRO, alpha=0.15, lw=0)
        ax.plot(drawn.x, drawn.y, color=MACRO, lw=1.2, drawstyle="steps-pre")
        ax.axhline(found.label[:, k].mean(), color="#555555", ls=":", lw=1)
        ax.set_title(f"{name}  {_area(curve, True):.2f}\n{found.n_positive[k]:,} positive", fontsize=7)
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.tick_params(labelsize=6)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in panels[len(names) :]:
        ax.set_axis_off()
    figure.supxlabel("recall", fontsize=8)
    figure.supylabel("precision", fontsize=8)
    return figure


def co_occurrence_figure(found: ClassScores) -> Figure | None:
    """Share of the records of each class (row) that also have each other class (column); None without a label."""
    shares = co_occurrence(found.label)
    names = [f"{name}  {n:,}" for name, n in zip(found.classes, found.n_positive, strict=True)]
    others = shares.copy()
    np.fill_diagonal(others, np.nan)
    return _class_map(others, names, found.classes, "also has") if np.isfinite(shares).any() else None


def confusion_figure(found: ClassScores) -> Figure | None:
    """Multilabel confusion as `class_curves.confusion` defines it, in percent; None without a record."""
    shares = confusion(found.label, found.decided)
    counts = [*found.n_positive, int((found.label.sum(1) == 0).sum())]
    rows = [f"{name}  {n:,}" for name, n in zip((*found.classes, "no class"), counts, strict=True)]
    if not counts[-1]:
        shares, rows = shares[:-1], rows[:-1]
    diagonal = [(k, k) for k in range(len(found.classes)) if found.n_positive[k]]
    if not np.isfinite(shares).any():
        return None
    return _class_map(shares, rows, (*found.classes, "nothing"), "decided as", diagonal)


def _class_map(
    shares: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, outlined: Sequence = ()
) -> Figure:
    """A heat map of shares from 0 to 1, in percent where there is room for numbers."""
    numbered = len(columns) <= MOST_NUMBERED
    size = CELL_IN[0] if len(columns) <= 8 else CELL_IN[1] if numbered else CELL_IN[2]
    room = (label_room_in(rows), label_room_in(columns) + 0.2)
    figure = heat_figure(len(rows), len(columns), (size, size), room)
    width, height = figure.get_size_inches()
    box = (room[0] / width, FOOT_IN / height, size * len(columns) / width, size * len(rows) / height)
    ax = figure.add_axes(box)

    def text(i: int, j: int) -> str:
        share = shares[i, j]
        return f"{100 * share:.0f}" if numbered and np.isfinite(share) and share >= 0.005 else ""

    image = draw_heat_map(
        ax, shares, rows, columns, limits=(0, 1), text=text, outlined=outlined if numbered else (),
        font_pt=9 if size == CELL_IN[0] else 7,
    )  # fmt: skip
    ax.set_xlabel(title, fontsize=8)
    ax.xaxis.set_label_position("top")
    bar_height = min(1.6, size * len(rows)) / height
    bar = figure.add_axes((box[0] + box[2] + 0.12 / width, box[1] + box[3] - bar_height, 0.12 / width, bar_height))
    figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1], format=lambda value, _: f"{100 * value:.0f} %")
    bar.tick_params(labelsize=7)
    return figure


def reliability_figure(found: ClassScores) -> Figure | None:
    """Observed share against predicted probability over all record-class pairs, and how many pairs each bin has."""
    if not found.score.size:
        return None
    bins = reliability(found.label, found.score)
    figure, (left, right) = chart(2, width_in=7.8, height_in=3.5)
    left.plot([0, 1], [0, 1], color="#555555", ls=":", lw=1.2)
    _draw_bins(left, bins)
    left.set_title(f"expected calibration error {bins.error:.3f}", fontsize=9)
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    left.set_xlabel("mean predicted probability", fontsize=9)
    left.set_ylabel("observed share of positives", fontsize=9)
    right.bar(bins.edges[:-1], bins.n, width=np.diff(bins.edges), align="edge", color=MACRO, alpha=0.35, ec=MACRO, lw=1)
    right.set_yscale("log")
    right.set_ylim(0.7, None)
    right.set(xlim=(-0.02, 1.02))
    right.set_xlabel("predicted probability", fontsize=9)
    right.set_ylabel("record-class pairs", fontsize=9)
    right.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    right.set_title(f"{bins.n.sum():,} pairs", fontsize=9)
    return figure


def _draw_bins(ax: Axes, bins: Reliability) -> None:
    filled = bins.n > 0
    x, y, few = bins.predicted[filled], bins.observed[filled], bins.n[filled] < FEW_PAIRS
    ax.vlines(x, x, y, color=MACRO, alpha=0.35, lw=3)
    ax.plot(x, y, color=MACRO, lw=1.2)
    ax.plot(x[~few], y[~few], "o", color=MACRO, ms=5)
    ax.plot(x[few], y[few], "o", mfc="white", mec=MACRO, ms=5)


def class_intervals(rows: Sequence[dict]) -> Figure | None:
    """AUROC and AUPRC of each class with its 95 % interval, best AUROC on top; a tick is the class's prevalence.

    `rows` are one system's entries of `classes` in result.json; classes without an AUROC are left out.
    """
    scored = sorted((r for r in rows if r["auroc"] is not None), key=lambda r: r["auroc"])
    if not scored:
        return None
    figure, (left, right) = chart(2, width_in=8.2, height_in=0.9 + 0.2 * len(scored), sharey=True)
    for y, row in enumerate(scored):
        _draw_interval(left, y, row, "auroc")
        if row["auprc"] is not None:
            _draw_interval(right, y, row, "auprc")
        right.plot([row["prevalence"]] * 2, [y - 0.35, y + 0.35], color="#555555", lw=1.4)
    left.axvline(0.5, color="#555555", ls=":", lw=1.2)
    names = [f"{row['class']}  {row['n_test']:,}" for row in scored]
    left.set_yticks(range(len(scored)), names, fontsize=7.5)
    left.set_ylim(-0.7, len(scored) - 0.3)
    left.set_xlabel("AUROC (dotted: chance)", fontsize=9)
    right.set_xlabel("AUPRC (tick: prevalence)", fontsize=9)
    left.set_xlim(None, 1.01)
    right.set_xlim(-0.01, 1.01)
    return figure


def _draw_interval(ax: Axes, y: float, row: dict, name: str) -> None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is not None and high is not None:
        ax.plot([low, high], [y, y], color=MACRO, lw=4, alpha=0.35, solid_capstyle="butt")
    ax.plot(row[name], y, "o", color=MACRO, ms=4.5)


def lead_figure(scores: pd.DataFrame, subsets: Sequence[tuple[str, str]], spec: MetricSpec) -> Figure | None:
    """Score by lead subset with its 95 % interval, one line per system; `subsets` are (condition, shown name).

    None where there are fewer than two.
    """
    if len(subsets) < 2:
        return None
    rows = scores.loc[scores["metric"] == spec.name]
    figure, (ax,) = chart(width_in=6.0, height_in=3.4)
    place = {condition: x for x, (condition, _) in enumerate(subsets)}
    for index, (name, system) in enumerate(rows.groupby("system", sort=False)):
        line = system.loc[system["condition"].isin(place)].sort_values("condition", key=lambda c: c.map(place))
        x = line["condition"].map(place).to_numpy(float) + 0.06 * index
        mean, low, high = (line[c].to_numpy(float) * spec.scale for c in ("mean", "ci_low", "ci_high"))
        color = PALETTE[index % len(PALETTE)]
        ax.vlines(x, low, high, color=color, alpha=0.35, lw=4)
        ax.plot(x, mean, color=color, marker=MARKERS[index % len(MARKERS)], ms=5, lw=1.4, label=str(name))
    ax.set_xticks(range(len(subsets)), [shown for _, shown in subsets])
    ax.set_ylabel(axis_label(spec), fontsize=9)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, frameon=False, borderaxespad=0.2)
    return figure
