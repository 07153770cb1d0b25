"""Charts of a run's scores: curves against noise, band errors, score distribution, error spectrum and training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy.signal import welch

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.run_folder import is_clean, is_noisy

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Okabe & Ito's colours, told apart with any colour vision; the first is the model's."""
MARKERS = "osD^vPX"
NOISE_NAMES = {"bw": "baseline wander (bw)", "em": "electrode motion (em)", "ma": "muscle artefact (ma)"}
CHART_DPI = 144.0


def chart(
    n_columns: int = 1, width_in: float = 7.6, height_in: float = 3.4, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes in a row, in the charts' common style."""
    figure = Figure(figsize=(width_in, height_in), dpi=CHART_DPI, facecolor="white", layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, n_columns, **subplots))
    for ax in axes:
        ax.grid(color="#e6e6e6", lw=0.7)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(which="both", labelsize=8)
    return figure, axes


def axis_label(spec: MetricSpec) -> str:
    """`SNR (dB)`."""
    return f"{spec.label} ({spec.unit})" if spec.unit else spec.label


def noise_curves(scores: pd.DataFrame, conditions: Sequence[dict], spec: MetricSpec) -> Figure | None:
    """Score against input SNR, one panel per noise kind, 95 % interval as a band; None where nothing is noisy.

    `scores` are tidy rows (system, condition, metric, mean, ci_low, ci_high); the clean level is a dashed line.
    """
    noisy = pd.DataFrame([c for c in conditions if is_noisy(c)])
    if noisy.empty:
        return None
    rows = scores.loc[scores["metric"] == spec.name]
    clean = [c["name"] for c in conditions if is_clean(c)]
    kinds = list(dict.fromkeys(noisy["kind"]))
    figure, axes = chart(len(kinds), width_in=max(4.5, 3.2 * len(kinds)), height_in=3.6, sharey=True)
    for ax, kind in zip(axes, kinds, strict=True):
        for index, (_, system) in enumerate(rows.groupby("system", sort=False)):
            curve = noisy.loc[noisy["kind"] == kind].merge(system, left_on="name", right_on="condition")
            _curve(ax, curve.sort_values("snr_db"), system.loc[system["condition"].isin(clean)], spec, index)
        ax.set_title(NOISE_NAMES.get(kind, kind), fontsize=9)
        ax.set_xlabel("input SNR (dB)", fontsize=9)
    # The input is measured in dB as well, so a score in dB has to say that it is the output's.
    axes[0].set_ylabel(f"{'output ' if spec.unit == 'dB' else ''}{axis_label(spec)}", fontsize=9)
    handles, _ = axes[0].get_legend_handles_labels()
    if clean:
        handles.append(Line2D([], [], color="#777777", ls="--", lw=1.1, label="without added noise"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def _curve(ax: Axes, curve: pd.DataFrame, clean: pd.DataFrame, spec: MetricSpec, index: int) -> None:
    if curve.empty:
        return
    color, name = PALETTE[index % len(PALETTE)], curve["system"].iloc[0]
    x, mean, low, high = (curve[c].to_numpy(float) for c in ("snr_db", "mean", "ci_low", "ci_high"))
    ax.fill_between(x, low * spec.scale, high * spec.scale, color=color, alpha=0.18, lw=0)
    ax.plot(x, mean * spec.scale, color=color, marker=MARKERS[index % len(MARKERS)], ms=4, lw=1.6, label=name)
    if len(clean):
        ax.axhline(clean["mean"].iloc[0] * spec.scale, color=color, ls="--", lw=1.1)
    ax.set_xticks(x)


def interval_chart(scores: pd.DataFrame, specs: Sequence[MetricSpec]) -> Figure | None:
    """Mean and 95 % interval of each system, one row per metric, on one logarithmic axis of their common unit.

    Means that are missing or not positive are left out; None where none is left.
    """
    scores = scores.loc[scores["metric"].isin([spec.name for spec in specs]) & (scores["mean"].astype(float) > 0)]
    if scores.empty:
        return None
    n_systems = scores["system"].nunique()
    pitch = n_systems + 0.8
    figure, (ax,) = chart(height_in=0.9 + 0.24 * pitch * len(specs))
    for row, spec in enumerate(specs):
        found = scores.loc[scores["metric"] == spec.name].to_dict("records")
        for index, score in enumerate(found):
            y, color = -pitch * row - index, PALETTE[index % len(PALETTE)]
            ax.plot(
                np.array([score["ci_low"], score["ci_high"]], float) * spec.scale, [y, y], color=color, lw=4, alpha=0.35
            )
            label = score["system"] if row == 0 else None
            ax.plot(score["mean"] * spec.scale, y, MARKERS[index % len(MARKERS)], color=color, ms=6, ls="", label=label)
    middles = [-pitch * row - (n_systems - 1) / 2 for row in range(len(specs))]
    ax.set_yticks(middles, [spec.label for spec in specs], fontsize=9)
    ax.set(xscale="log", ylim=(-pitch * len(specs) + 0.2, 0.8))
    ax.set_xlabel(specs[0].unit, fontsize=9)
    _plain_ticks(ax.xaxis)
    _legend_above(ax)
    return figure


def _plain_ticks(axis: Axis) -> None:
    """0.02 rather than 2 x 10^-2 on a logarithmic axis, at 1, 2 and 5 of each decade."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend_above(ax: Axes) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8, frameon=False, borderaxespad=0.2)


def score_distribution(scores: pd.DataFrame, systems: Sequence[str], spec: MetricSpec) -> Figure | None:
    """Every record's score: a histogram per system, and the first system against the second record by record.

    `scores` holds one row per (system, record_id) of one condition. None where no score is finite.
    """
    wide = scores.pivot(index="record_id", columns="system", values=spec.name).astype(float) * spec.scale
    wide = wide[[s for s in systems if s in wide]].replace([np.inf, -np.inf], np.nan)
    if not wide.notna().to_numpy().any():
        return None
    pairs = wide.iloc[:, :2].dropna()
    scatter = wide.shape[1] > 1 and len(pairs) > 0
    figure, axes = chart(2 if scatter else 1, width_in=8.2 if scatter else 5.0)
    _histograms(axes[0], wide, spec)
    if scatter:
        _paired_scatter(axes[1], pairs, spec)
    return figure


def _histograms(ax: Axes, wide: pd.DataFrame, spec: MetricSpec) -> None:
    values = wide.to_numpy()
    edges = np.histogram_bin_edges(values[np.isfinite(values)], bins=min(40, max(8, len(wide) // 4))).tolist()
    for index, name in enumerate(wide):
        column, color = wide[name].dropna(), PALETTE[index % len(PALETTE)]
        ax.hist(column, bins=edges, color=color, alpha=0.35, histtype="stepfilled")
        ax.hist(column, bins=edges, color=color, histtype="step", lw=1.3, label=name)
        ax.axvline(float(column.median()), color=color, ls="--", lw=1.1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(axis_label(spec), fontsize=9)
    ax.set_ylabel("records (dashed: median)", fontsize=9)
    _legend_above(ax)


def _paired_scatter(ax: Axes, pairs: pd.DataFrame, spec: MetricSpec) -> None:
    model, baseline = pairs.columns
    better = (pairs[model].to_numpy() > pairs[baseline].to_numpy()) == spec.higher_is_better
    ax.scatter(pairs[baseline], pairs[model], s=18, color=PALETTE[0], alpha=0.7, lw=0)
    ends = [pairs.to_numpy().min(), pairs.to_numpy().max()]
    ax.plot(ends, ends, color="#555555", lw=1, ls=":")
    ax.set_xlabel(f"{baseline}, {axis_label(spec)}", fontsize=9)
    ax.set_ylabel(f"{model}, {axis_label(spec)}", fontsize=9)
    ax.set_title(f"{model} better in {np.count_nonzero(better)} of {len(pairs)} records", fontsize=9)


def error_spectrum(
    truth_mv: np.ndarray, others_mv: dict[str, np.ndarray], fs_hz: float, low_nyquist_hz: float | None = None
) -> Figure:
    """Power spectrum of the truth and of each system's error, averaged over records and leads, (record, lead, time).

    Leads with a missing sample are left out.
    """
    figure, (ax,) = chart(width_in=7.6)
    n = min(truth_mv.shape[-1], round(2 * fs_hz))
    signals = {"truth": truth_mv} | {f"error of {name}": y - truth_mv for name, y in others_mv.items()}
    for (name, signal), color in zip(signals.items(), ("#000000", *PALETTE), strict=False):
        complete = signal[np.isfinite(signal).all(-1)]
        if not len(complete):
            continue
        frequency_hz, power = welch(complete, fs_hz, nperseg=n, axis=-1)
        mean_power = power.mean(0)
        ax.semilogy(frequency_hz[1:], np.maximum(mean_power[1:], 1e-12), color=color, lw=1.4, label=name)
    if low_nyquist_hz is not None:
        ax.axvline(low_nyquist_hz, color="#777777", ls=":", lw=1.2)
        ax.annotate("low Nyquist", (low_nyquist_hz, 0.98), xycoords=("data", "axes fraction"), fontsize=8, va="top")
    ax.set_xlim(0, min(fs_hz / 2, 4 * low_nyquist_hz if low_nyquist_hz else fs_hz / 2))
    ax.set_xlabel("frequency (Hz)", fontsize=9)
    ax.set_ylabel("power (mV²/Hz)", fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    return figure


LOSSES = ("train/loss", "train/loss_epoch", "val/loss")
"""Columns of a training table that share the panel of losses."""


def training_curves(curves: pd.DataFrame, best_epoch: int | None = None, monitor: str | None = None) -> Figure | None:
    """Training and validation loss, the monitored score, and the learning rate, by epoch; None without a finite loss.

    `curves` is the sparse table of Lightning's CSVLogger: one row per logging event, empty where not logged; its epochs
    count from 0, and `best_epoch` from 1. `monitor`, the score that chose the best epoch, has a panel of its own unless
    it is a loss; it and the learning rate are left out where they were not logged.
    """
    losses = [c for c in LOSSES if c in curves]
    monitored = [monitor] if monitor in curves and monitor not in LOSSES else []
    rates = [c for c in curves if c == "lr" or c.startswith("lr-")][:1]
    if not losses or "epoch" not in curves:
        return None
    # Learning rates are logged without their epoch, before the losses of the same epoch; epochs are shown from 1.
    epochs = curves["epoch"].bfill().ffill() + 1
    others = [*monitored, *rates]
    finite = curves[losses + others].replace([np.inf, -np.inf], np.nan)
    by_epoch = pd.DataFrame(finite.groupby(epochs).mean())
    if by_epoch.loc[:, losses].isna().all(axis=None):
        return None
    figure, axes = chart(1 + len(others), width_in=(5.0, 7.6, 10.0)[len(others)], height_in=3.0)
    for name, color in zip(losses, PALETTE, strict=False):
        column = by_epoch.loc[:, name].dropna()
        axes[0].plot(column.index, column, color=color, lw=1.5, marker="." if len(column) < 40 else "", label=name)
    if (by_epoch.loc[:, losses].stack() > 0).all():
        axes[0].set_yscale("log")
        _plain_ticks(axes[0].yaxis)
    if best_epoch is not None:
        axes[0].axvline(best_epoch, color="#777777", ls=":", lw=1.2, label="best epoch")
    axes[0].set_ylabel("loss", fontsize=9)
    _legend_above(axes[0])
    for ax, name in zip(axes[1:], others, strict=True):
        column = by_epoch[name].dropna()
        ax.plot(column.index, column, color=PALETTE[2], lw=1.5)
        ax.set_ylabel("learning rate" if name in rates else name, fontsize=9)
        if name in monitored and best_epoch is not None:
            ax.axvline(best_epoch, color="#777777", ls=":", lw=1.2)
    for ax in axes:
        ax.set_xlabel("epoch", fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
