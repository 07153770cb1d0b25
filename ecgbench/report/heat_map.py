"""Heat maps whose numbers can be read on every cell."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecgbench.report.plots import CHART_DPI, PALETTE

BLUES = LinearSegmentedColormap.from_list(
    "ecgbench blues", [(0.0, "#ffffff"), (0.6, "#8cc3ea"), (0.75, PALETTE[0]), (1.0, "#00304d")]
)
"""White to dark; steep in the middle tones, on which neither black nor white text stands out."""
EMPTY = "#eeeeee"
DARK, LIGHT = "#000000", "#ffffff"
LABEL_PT = 7.0
BAR_IN, FOOT_IN = 0.9, 0.12
"""Room for the colour bar on the right, and beneath the cells."""


def contrast_ratio(a: str, b: str) -> float:
    """Contrast of two colours by WCAG 2.1, from 1 to 21."""
    high, low = sorted((_luminance(to_rgb(a)), _luminance(to_rgb(b))), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def text_color(background: str) -> str:
    """Black or white, whichever can be told better from the background; always at least 4.5 to 1."""
    return max((DARK, LIGHT), key=lambda color: contrast_ratio(color, background))


def heat_figure(n_rows: int, n_columns: int, cell_in: tuple[float, float], labels_in: tuple[float, float]) -> Figure:
    """A figure with room for that many cells, and (left, top) room in inches for their labels."""
    width_in = labels_in[0] + cell_in[0] * n_columns + BAR_IN
    height_in = labels_in[1] + cell_in[1] * n_rows + FOOT_IN
    return Figure(figsize=(width_in, height_in), dpi=CHART_DPI, facecolor="white")


def label_room_in(labels: Sequence[str]) -> float:
    """Room that the longest label takes, in inches."""
    return 0.2 + 0.0085 * LABEL_PT * max((len(part) for label in labels for part in label.split("\n")), default=0)


def draw_heat_map(
    ax: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limits: tuple[float, float],
    text: Callable[[int, int], str],
    outlined: Collection[tuple[int, int]] = (),
    font_pt: float = 7.0,
    label_pt: float = LABEL_PT,
    tilted: bool = True,
) -> Any:
    """Cells coloured by `values` (row, column) within `limits`, grey where not finite, each with its text.

    `outlined` cells, as (row, column), have a border. Returns the image, for a colour bar.
    """
    norm = Normalize(*limits, clip=True)
    ax.set_facecolor(EMPTY)
    image = ax.imshow(np.ma.masked_invalid(values), cmap=BLUES, norm=norm, aspect="auto", interpolation="none")
    for i, j in np.ndindex(values.shape):
        shown = text(i, j)
        if shown:
            color = text_color(cell_color(values[i, j], norm))
            ax.text(j, i, shown, ha="center", va="center", fontsize=font_pt, color=color, linespacing=1.25)
    for i, j in outlined:
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec=PALETTE[1], lw=2.2, zorder=3, clip_on=False))
    turn: dict[str, Any] = {"rotation": 90} if tilted else {}
    ax.set_xticks(range(len(columns)), columns, fontsize=label_pt, **turn)
    ax.set_yticks(range(len(rows)), rows, fontsize=label_pt)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    ax.set_yticks(np.arange(-0.5, len(rows)), minor=True)
    ax.grid(which="minor", color="white", lw=0.8)
    ax.tick_params(which="minor", length=0)
    ax.spines[:].set_visible(False)
    return image


def cell_color(value: float, norm: Normalize) -> str:
    """The colour of a cell, as hexadecimal."""
    if not math.isfinite(value):
        return EMPTY
    red, green, blue, _ = BLUES(float(norm(value)), bytes=True)
    return f"#{red:02x}{green:02x}{blue:02x}"
