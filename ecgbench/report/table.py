"""One table model and its three renderings: Markdown, terminal and (by the templates) HTML."""

import math
from dataclasses import dataclass, replace
from typing import TypeGuard

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from ecgbench.metrics.collection import MetricSpec

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in one place: text and interval, a smaller second line, a hover text, a number to sort by."""

    text: str
    interval: str = ""
    detail: str = ""
    hover: str = ""
    sort: float | None = None
    strong: bool = False

    @property
    def full_text(self) -> str:
        """Text and interval on one line."""
        return f"{self.text} {self.interval}".rstrip()


@dataclass(frozen=True)
class Column:
    """A heading, what it means in a hover text, and whether its cells are numbers."""

    title: str
    hover: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with a title and footnotes; sortable where a column holds one quantity."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...] = ()
    sortable: bool = False


def without(table: Table, title: str) -> Table:
    """The table less the columns of that title."""
    kept = [index for index, column in enumerate(table.columns) if column.title != title]
    rows = tuple(tuple(row[index] for index in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[index] for index in kept), rows=rows)


def is_number(value: float | None) -> TypeGuard[float]:
    """True for a finite number; None and NaN (pandas' None) are not."""
    return value is not None and math.isfinite(value)


def format_number(value: float | None, spec: MetricSpec) -> str:
    """The value at the metric's scale and decimals, or a dash where there is none.

    A value too small or too large for its decimals is written with two or three significant digits instead.
    """
    if not is_number(value):
        return MISSING
    shown = value * spec.scale
    if shown != 0 and abs(shown) < 0.5 * 10**-spec.decimals:
        return f"{shown:.1e}"
    return f"{shown:.{spec.decimals}f}" if abs(shown) < 1e6 else f"{shown:.3g}"


def format_interval(low: float | None, high: float | None, spec: MetricSpec) -> str:
    """`[low, high]`, or nothing where either end is missing."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f"[{format_number(low, spec)}, {format_number(high, spec)}]"


def format_signed(value: float | None, spec: MetricSpec) -> str:
    """The value with its sign, for differences."""
    text = format_number(value, spec)
    return f"+{text}" if is_number(value) and value > 0 else text


def format_p(p_value: float | None) -> str:
    """`p<0.001`, `p=0.012`, or nothing."""
    if not is_number(p_value):
        return ""
    return "p<0.001" if p_value < 0.001 else f"p={p_value:.3f}"


def p_cell(p_value: float | None) -> Cell:
    """A p value under a heading that already says p."""
    if not is_number(p_value):
        return Cell(MISSING, hover="too few patients for a test")
    return Cell(format_p(p_value).removeprefix("p").removeprefix("="), sort=float(p_value))


def heading(spec: MetricSpec) -> Column:
    """A metric's column: label, unit and the arrow that points to better."""
    unit = f" ({spec.unit})" if spec.unit else ""
    arrow = "↑" if spec.higher_is_better else "↓"
    return Column(f"{spec.label}{unit} {arrow}", hover=f"{spec.formula}. {spec.reference}".strip())


def score_cell(score: dict | None, spec: MetricSpec, strong: bool = False) -> Cell:
    """`mean [low, high]` of one tidy score row, its second line the spread over records where it has one."""
    if score is None or not is_number(score["mean"]):
        return Cell(MISSING, hover=_why_missing(score))
    interval = format_interval(score["ci_low"], score["ci_high"], spec)
    has_spread = is_number(score["std"])
    spread = f"sd {format_number(score['std'], spec)} · median {format_number(score['median'], spec)}"
    hover = f"{score['n_records']:.0f} records of {score['n_patients']:.0f} patients"
    if has_spread:
        hover = f"mean over {hover}"
    if score["n_nonfinite"]:
        hover += f"; {score['n_nonfinite']:.0f} without a finite value{' left out' if has_spread else ''}"
    shown, detail = format_number(score["mean"], spec), spread if has_spread else ""
    return Cell(shown, interval, detail, hover, score["mean"] * spec.scale, strong)


def on_one_line(cell: Cell) -> Cell:
    """The cell with its second line moved to the hover text."""
    return replace(cell, detail="", hover="; ".join(part for part in (cell.hover, cell.detail) if part))


def _why_missing(score: dict | None) -> str:
    if score is None:
        return "not computed in this run"
    return f"no finite value in {score['n_records']:.0f} records"


def difference_cell(paired: dict | None, spec: MetricSpec) -> Cell:
    """A paired difference with its interval; strong where it is better and the interval excludes zero."""
    if paired is None or not is_number(paired["mean"]):
        return Cell(MISSING, hover="no pair of finite values")
    interval = format_interval(paired["ci_low"], paired["ci_high"], spec)
    strong = verdict_of(paired, spec) == "better"
    return Cell(format_signed(paired["mean"], spec), interval, sort=paired["mean"] * spec.scale, strong=strong)


def verdict_of(paired: dict, spec: MetricSpec) -> str:
    """`better`, `worse`, or `level` where the interval of the difference holds zero or is missing."""
    low, high = paired["ci_low"], paired["ci_high"]
    if not (is_number(low) and is_number(high)) or low <= 0 <= high:
        return "level"
    return "better" if (low > 0) == spec.higher_is_better else "worse"


def to_markdown(table: Table) -> str:
    """A pipe table; strong cells are bold and second lines are left out."""
    lines = [[c.title for c in table.columns], ["---:" if c.numeric else ":---" for c in table.columns]]
    lines += [[f"**{c.full_text}**" if c.strong else c.full_text for c in row] for row in table.rows]
    body = "\n".join("| " + " | ".join(_escape_pipes(text) for text in line) + " |" for line in lines)
    return "\n\n".join([body, *table.footnotes])


def _escape_pipes(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_rich(table: Table) -> RichTable:
    """The table for a terminal, without its footnotes; text from files is never read as markup."""
    rich_table = RichTable(title=Text(table.title, style="bold"), title_justify="left", box=SIMPLE_HEAD)
    for column in table.columns:
        rich_table.add_column(Text(column.title), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        rich_table.add_row(*map(_rich_cell, row))
    return rich_table


def _rich_cell(cell: Cell) -> Text:
    # Without the blank inside the interval, a line that is too long breaks before it and not in it.
    interval = cell.interval.replace(", ", ",")
    return Text(f"{cell.text} {interval}".rstrip(), style="bold" if cell.strong else "")
