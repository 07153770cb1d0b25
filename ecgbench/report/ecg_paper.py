"""ECG paper: traces on a millimetre grid at 25 mm/s and 10 mm/mV, with truth, prediction and residual.

Everything is laid out in millimetres of paper and the figure is exactly that large, so a small square is
40 ms x 0.1 mV and square. `zoom` enlarges the printed sheet, grid included, as a magnifying glass would.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

MM_PER_S = 25.0
MM_PER_MV = 10.0
SHEET_S = 10.0
"""Longest stretch of time that one sheet shows."""
PX_PER_MM = 6
"""A whole number, so that grid lines fall on pixels and squares stay even."""
DPI = PX_PER_MM * 25.4

MARGIN_MM = 10.0
LEAST_WIDTH_MM = 110.0
HALF_RESIDUAL_MM = 5.0
RESIDUAL_GAINS = (500.0, 200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0)
"""Candidate scales of the residual strip, in mm/mV."""
RHYTHM_LEAD = 1

PAPER, MINOR, MAJOR, BAND = "#fffafa", "#f7dede", "#eeb4b4", "#ffffff"

Layout = Literal["auto", "3x4", "rows", "grid"]


class Pen(NamedTuple):
    """How one trace is drawn."""

    color: str
    width: float
    dashes: str
    zorder: int
    marker: str = ""


TRUTH = Pen("#000000", 1.4, "-", 4)
PREDICTION = Pen("#1e9be8", 0.7, "-", 5)
BASELINE = Pen("#8a8a8a", 0.8, "--", 3)
POINTS = Pen("#b0006d", 0.0, "", 6, marker="o")


class Trace(NamedTuple):
    """A signal in millivolts, (lead, time), its pen, and its name in the legend; without a name it is not listed."""

    name: str
    signal_mv: np.ndarray
    pen: Pen


class Span(NamedTuple):
    """A stretch of one lead."""

    lead: int
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class Strip:
    """A span's place on the sheet: x of its start, y of its isoelectric line, and the room above and below it."""

    span: Span
    x_mm: float
    y_mm: float
    above_mm: float
    below_mm: float
    first_in_row: bool

    @property
    def width_mm(self) -> float:
        """Length of paper that the span takes."""
        return (self.span.stop_s - self.span.start_s) * MM_PER_S

    @property
    def residual_y_mm(self) -> float:
        """The zero line of the residual strip beneath."""
        return self.y_mm - self.below_mm - HALF_RESIDUAL_MM


@dataclass(frozen=True)
class Sheet:
    """A page of ECG paper: its size in millimetres, where each lead goes, and how much it is enlarged."""

    width_mm: float
    height_mm: float
    footer_mm: float
    header_mm: float
    strips: tuple[Strip, ...]
    residual_mm_per_mv: float | None
    zoom: float
    calibrate: bool


def lay_out(n_leads: int, duration_s: float, layout: Layout = "auto") -> list[list[Span]]:
    """Rows of spans: which lead is shown where and when.

    "3x4" is the clinical page: four columns of consecutive quarters and a rhythm strip of lead II. "rows" gives each
    lead a row. "grid" shows every lead over the whole time in up to four columns. "auto" takes the clinical page for
    twelve leads of at least 4 s, rows for what fills more than half a sheet, and the grid for short crops.
    """
    shown_s = min(duration_s, SHEET_S)
    if layout == "auto":
        layout = "3x4" if n_leads == 12 and shown_s >= 4 else "rows" if shown_s > SHEET_S / 2 else "grid"
    if layout == "3x4":
        return _clinical_page(n_leads, shown_s / 4)
    n_columns = 1 if layout == "rows" else min(4, n_leads, max(1, int(SHEET_S / shown_s)))
    n_rows = math.ceil(n_leads / n_columns)
    return [[Span(lead, 0.0, shown_s) for lead in range(row, n_leads, n_rows)] for row in range(n_rows)]


def _clinical_page(n_leads: int, quarter_s: float) -> list[list[Span]]:
    if n_leads != 12:
        raise ValueError(f"layout '3x4' needs 12 leads, got {n_leads}; use layout='rows' or 'grid'")
    rows = [[Span(row + 3 * c, c * quarter_s, (c + 1) * quarter_s) for c in range(4)] for row in range(3)]
    return [*rows, [Span(RHYTHM_LEAD, 0.0, 4 * quarter_s)]]


def residual_gain(residuals_mv: Sequence[np.ndarray]) -> float:
    """The largest residual scale, in mm/mV, at which 99.5 % of all samples stay inside their strip."""
    pooled = np.concatenate([np.abs(r).ravel() for r in residuals_mv])
    typical_mv = float(np.nanquantile(pooled, 0.995)) if np.isfinite(pooled).any() else 0.0
    return next((g for g in RESIDUAL_GAINS if typical_mv * g <= HALF_RESIDUAL_MM), RESIDUAL_GAINS[-1])


def plan_sheet(
    signals_mv: Sequence[np.ndarray],
    fs_hz: float,
    layout: Layout = "auto",
    residual_mm_per_mv: float | None = None,
    zoom: float = 1.0,
    calibrate: bool = True,
) -> Sheet:
    """A sheet with room for every signal (lead, time), each row as high as its tallest wave, to the next 5 mm."""
    n_leads, n_samples = signals_mv[0].shape
    rows = lay_out(n_leads, n_samples / fs_hz, layout)
    footer_mm, header_mm = 9.0 / zoom, 9.0 / zoom
    residual_mm = 0.0 if residual_mm_per_mv is None else 2 * HALF_RESIDUAL_MM
    strips: list[Strip] = []
    floor_mm = footer_mm
    for row in reversed(rows):
        above_mm, below_mm = _room_mm(signals_mv, fs_hz, row, least_mm=15.0 if calibrate else 5.0)
        y_mm = floor_mm + residual_mm + below_mm
        strips += _place(row, MARGIN_MM if calibrate else 1.0, y_mm, above_mm, below_mm)
        floor_mm = y_mm + above_mm
    right_mm = max(s.x_mm + s.width_mm for s in strips) + (MARGIN_MM / 2 if calibrate else 1.0)
    width_mm = max(right_mm, math.ceil(LEAST_WIDTH_MM / zoom))
    height_mm = floor_mm + header_mm
    return Sheet(width_mm, height_mm, footer_mm, header_mm, tuple(strips), residual_mm_per_mv, zoom, calibrate)


def _place(row: list[Span], x_mm: float, y_mm: float, above_mm: float, below_mm: float) -> list[Strip]:
    strips = []
    for index, span in enumerate(row):
        strip = Strip(span, x_mm, y_mm, above_mm, below_mm, first_in_row=index == 0)
        strips.append(strip)
        x_mm += strip.width_mm
    return strips


def _room_mm(signals_mv: Sequence[np.ndarray], fs_hz: float, row: list[Span], least_mm: float) -> tuple[float, float]:
    """Room above and below a row's isoelectric line, in whole 5 mm squares; very tall waves may run over."""
    shown = np.concatenate([_cut(s, fs_hz, span) for s in signals_mv for span in row])
    finite = shown[np.isfinite(shown)]
    high_mv, low_mv = (finite.max(), finite.min()) if finite.size else (0.0, 0.0)
    above_mm = 5.0 * math.ceil(MM_PER_MV * high_mv / 5.0 + 0.3)
    below_mm = 5.0 * math.ceil(-MM_PER_MV * low_mv / 5.0)
    return min(max(above_mm, least_mm), 45.0), min(max(below_mm, 5.0), 30.0)


def _cut(signal_mv: np.ndarray, fs_hz: float, span: Span) -> np.ndarray:
    return signal_mv[span.lead, round(span.start_s * fs_hz) : round(span.stop_s * fs_hz)]


def blank_sheet(sheet: Sheet) -> tuple[Figure, Axes]:
    """A figure of the sheet's size with its grid; the axes' data coordinates are millimetres of paper."""
    size_in = (sheet.width_mm * sheet.zoom / 25.4, sheet.height_mm * sheet.zoom / 25.4)
    figure = Figure(figsize=size_in, dpi=DPI, facecolor=PAPER)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, sheet.width_mm), ylim=(0, sheet.height_mm))
    ax.set_axis_off()
    low, high = sheet.footer_mm, sheet.height_mm - sheet.header_mm
    for step_mm, color, width in ((1, MINOR, 0.45), (5, MAJOR, 0.75)):
        xs = np.arange(0, sheet.width_mm + 1e-6, step_mm)
        ys = np.arange(low, high + 1e-6, step_mm)
        lines = [[(x, low), (x, high)] for x in xs] + [[(0, y), (sheet.width_mm, y)] for y in ys]
        ax.add_collection(LineCollection(lines, colors=color, linewidths=width, zorder=1))
    return figure, ax


def draw_ecg(ax: Axes, sheet: Sheet, signal_mv: np.ndarray, fs_hz: float, pen: Pen = TRUTH) -> None:
    """Draws a signal (lead, time), in millivolts, on every strip of a sheet."""
    for strip in sheet.strips:
        values_mv = _cut(signal_mv, fs_hz, strip.span)
        x_mm = strip.x_mm + np.arange(len(values_mv)) * (MM_PER_S / fs_hz)
        _draw_line(ax, x_mm, strip.y_mm + MM_PER_MV * values_mv, pen, sheet.zoom)


def draw_residual(ax: Axes, sheet: Sheet, residual_mv: np.ndarray, fs_hz: float, pen: Pen) -> None:
    """Draws a residual (lead, time) in the strips beneath the leads, cut off at their edges."""
    gain = sheet.residual_mm_per_mv
    if gain is None:
        raise ValueError("this sheet has no residual strips; plan it with residual_mm_per_mv=<scale in mm/mV>")
    for strip in sheet.strips:
        values_mm = np.clip(gain * _cut(residual_mv, fs_hz, strip.span), -HALF_RESIDUAL_MM, HALF_RESIDUAL_MM)
        x_mm = strip.x_mm + np.arange(len(values_mm)) * (MM_PER_S / fs_hz)
        _draw_line(ax, x_mm, strip.residual_y_mm + values_mm, pen._replace(width=0.8), sheet.zoom)


def _draw_line(ax: Axes, x_mm: np.ndarray, y_mm: np.ndarray, pen: Pen, zoom: float) -> None:
    # Enlarged lines grow less than the paper does: that is what an enlargement is for.
    width = pen.width * zoom**0.3
    style = {"color": pen.color, "lw": width, "ls": pen.dashes, "marker": pen.marker, "ms": 3.5}
    ax.plot(x_mm, y_mm, zorder=pen.zorder, **style)


def _draw_furniture(ax: Axes, sheet: Sheet, leads: Sequence[str]) -> None:
    """Calibration pulses, lead names, borders between leads and the bands of the residual strips."""
    for strip in sheet.strips:
        if strip.first_in_row:
            _draw_calibration(ax, sheet, strip)
            _draw_band(ax, sheet, strip)
        else:
            top, bottom = strip.y_mm + 5, strip.y_mm - 5
            ax.plot([strip.x_mm] * 2, [bottom, top], color="#777777", lw=0.7, zorder=2)
        x_mm, y_mm = strip.x_mm + 0.8 / sheet.zoom, strip.y_mm + strip.above_mm - 0.8 / sheet.zoom
        ax.text(x_mm, y_mm, leads[strip.span.lead], va="top", fontsize=9, weight="bold", zorder=6)


def _draw_calibration(ax: Axes, sheet: Sheet, strip: Strip) -> None:
    """One millivolt for 200 ms."""
    if not sheet.calibrate:
        return
    x_mm = np.array([1.5, 2.5, 2.5, 7.5, 7.5, 8.5])
    y_mm = strip.y_mm + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0])
    ax.plot(x_mm, y_mm, color="black", lw=1.0, zorder=4)


def _draw_band(ax: Axes, sheet: Sheet, strip: Strip) -> None:
    if sheet.residual_mm_per_mv is None:
        return
    corner = (0, strip.residual_y_mm - HALF_RESIDUAL_MM)
    ax.add_patch(Rectangle(corner, sheet.width_mm, 2 * HALF_RESIDUAL_MM, fc=BAND, ec="#cccccc", lw=0.5, zorder=1.5))
    ax.axhline(strip.residual_y_mm, color="#999999", lw=0.5, zorder=2)
    limit_mv = HALF_RESIDUAL_MM / sheet.residual_mm_per_mv
    label = f"±{limit_mv:.3g}\nmV"
    ax.text(MARGIN_MM / 2, strip.residual_y_mm, label, ha="center", va="center", fontsize=6, color="#555555", zorder=6)


def _draw_captions(ax: Axes, sheet: Sheet, traces: Sequence[Trace], fs_hz: float, title: str) -> None:
    edge_mm = 1.5 / sheet.zoom
    top_mm, foot_mm = sheet.height_mm - sheet.header_mm / 2, sheet.footer_mm / 2
    scale = f"{MM_PER_S:.0f} mm/s   {MM_PER_MV:.0f} mm/mV   {fs_hz:g} Hz"
    if sheet.zoom != 1:
        scale += f"   enlarged {sheet.zoom:g}×"
    if sheet.residual_mm_per_mv is not None:
        scale += f"   residual (minus truth) {sheet.residual_mm_per_mv:g} mm/mV"
    ax.text(edge_mm, top_mm, title, va="center", fontsize=9.5, weight="bold")
    ax.text(edge_mm, foot_mm, scale, va="center", fontsize=7.5, color="#444444")
    named = [trace for trace in traces if trace.name]
    if not named:
        return
    handles = [Line2D([], [], color=t.pen.color, lw=t.pen.width + 0.4, ls=t.pen.dashes, label=t.name) for t in named]
    anchor = (1, 1 - sheet.header_mm / 2 / sheet.height_mm)
    ax.legend(handles=handles, ncols=len(handles), loc="center right", bbox_to_anchor=anchor, frameon=False, fontsize=8)


def ecg_figure(
    traces: Sequence[Trace],
    fs_hz: float,
    leads: Sequence[str],
    *,
    title: str = "",
    layout: Layout = "auto",
    residual_mm_per_mv: float | None = None,
    zoom: float | None = None,
    calibrate: bool = True,
    points: tuple[np.ndarray, float] | None = None,
) -> Figure:
    """ECG paper with one or more traces (lead, time) on top of each other; the first is the truth.

    With `residual_mm_per_mv`, strips beneath the leads show every other trace minus the first at that scale.
    `zoom=None` enlarges short crops by a whole factor to about a full sheet's width. `points` are samples at
    another rate, as (signal_mv, fs_hz), drawn as dots: the input of a super-resolution model.
    `calibrate` draws the 1 mV pulse in the left margin.
    """
    signals_mv = [trace.signal_mv for trace in traces]
    if zoom is None:
        zoom = _zoom_to_fill(signals_mv[0].shape, fs_hz, layout)
    sheet = plan_sheet(signals_mv, fs_hz, layout, residual_mm_per_mv, zoom, calibrate)
    figure, ax = blank_sheet(sheet)
    _draw_furniture(ax, sheet, leads)
    for trace in traces:
        draw_ecg(ax, sheet, trace.signal_mv, fs_hz, trace.pen)
    if residual_mm_per_mv is not None:
        for trace in traces[1:]:
            draw_residual(ax, sheet, trace.signal_mv - signals_mv[0], fs_hz, trace.pen)
    if points is not None:
        draw_ecg(ax, sheet, *points, pen=POINTS)
    _draw_captions(ax, sheet, traces, fs_hz, title)
    return figure


def _zoom_to_fill(shape: tuple[int, ...], fs_hz: float, layout: Layout) -> float:
    rows = lay_out(shape[0], shape[1] / fs_hz, layout)
    widest_s = max(sum(span.stop_s - span.start_s for span in row) for row in rows)
    return float(max(1, min(4, SHEET_S // (widest_s + MARGIN_MM / MM_PER_S))))


def png_bytes(figure: Figure, dpi: float | None = None) -> bytes:
    """The figure as PNG, at its own resolution unless told."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi or figure.dpi, pil_kwargs={"optimize": True})
    return buffer.getvalue()
