"""Numbers as text, and one table in Markdown and in the terminal."""

import io
import math

import pytest
from rich.console import Console

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.table import (
    MISSING,
    Cell,
    Column,
    Table,
    difference_cell,
    format_number,
    format_p,
    format_signed,
    heading,
    p_cell,
    score_cell,
    to_markdown,
    to_rich,
    verdict_of,
    without,
)

SNR = MetricSpec(
    name="snr_db", label="SNR", unit="dB", higher_is_better=True, decimals=1, family="standard", formula="f",
    reference="r",
)  # fmt: skip
MSE = MetricSpec(
    name="mse", label="MSE", unit="10⁻³ mV²", higher_is_better=False, decimals=2, family="standard", formula="f",
    reference="r", scale=1e3,
)  # fmt: skip
SCORE = {
    "mean": 21.44, "std": 2.0, "median": 21.0, "ci_low": 20.06, "ci_high": 22.64, "n_records": 50, "n_patients": 48,
    "n_nonfinite": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (21.44, SNR, "21.4"),
        (-0.26, SNR, "-0.3"),
        (0.00123, MSE, "1.23"),
        (1e-9, MSE, "1.0e-06"),
        (0.0, MSE, "0.00"),
        (12345.678, MSE, "1.23e+07"),
        (None, SNR, MISSING),
        (math.nan, SNR, MISSING),
        (math.inf, SNR, MISSING),
    ],
)
def test_numbers_have_the_metric_s_scale_and_decimals(value, spec, text):
    assert format_number(value, spec) == text


def test_differences_carry_their_sign():
    assert [format_signed(v, SNR) for v in (4.31, -4.31, 0.0, None)] == ["+4.3", "-4.3", "0.0", MISSING]


def test_p_values_stop_at_one_in_a_thousand():
    assert [format_p(p) for p in (0.0005, 0.012, 1.0, None)] == ["p<0.001", "p=0.012", "p=1.000", ""]
    assert [p_cell(p).text for p in (0.0005, 0.012, None)] == ["<0.001", "0.012", MISSING]


def test_headings_state_unit_and_direction():
    assert heading(SNR).title == "SNR (dB) ↑"
    assert heading(MSE).title == "MSE (10⁻³ mV²) ↓"


def test_score_cell_holds_mean_interval_spread_and_counts():
    cell = score_cell(SCORE, SNR)
    assert cell.full_text == "21.4 [20.1, 22.6]"
    assert cell.detail == "sd 2.0 · median 21.0"
    assert cell.hover == "mean over 50 records of 48 patients"
    assert cell.sort == pytest.approx(21.44)


def test_score_cell_says_how_many_records_have_no_finite_value():
    assert "3 without a finite value" in score_cell(SCORE | {"n_nonfinite": 3}, SNR).hover


@pytest.mark.parametrize("score", [None, SCORE | {"mean": None}, SCORE | {"mean": math.nan}])
def test_missing_scores_are_a_dash_with_the_reason(score):
    cell = score_cell(score, SNR)
    assert cell.text == MISSING
    assert cell.hover
    assert cell.sort is None


def test_score_without_an_interval_shows_its_mean_alone():
    assert score_cell(SCORE | {"ci_low": None, "ci_high": None}, SNR).full_text == "21.4"


@pytest.mark.parametrize(
    ("spec", "low", "high", "verdict"),
    [
        (SNR, 0.5, 1.0, "better"),
        (SNR, -1.0, -0.5, "worse"),
        (MSE, -1.0, -0.5, "better"),
        (MSE, 0.5, 1.0, "worse"),
        (SNR, -0.1, 1.0, "level"),
        (SNR, 0.0, 1.0, "level"),
        (SNR, None, None, "level"),
    ],
)
def test_a_difference_counts_only_when_its_interval_excludes_zero(spec, low, high, verdict):
    paired = {"mean": 0.7, "ci_low": low, "ci_high": high}
    assert verdict_of(paired, spec) == verdict
    assert difference_cell(paired, spec).strong == (verdict == "better")


def test_markdown_has_bold_cells_footnotes_and_escaped_pipes():
    table = Table(
        "T", (Column("a|b", numeric=False), Column("n")), ((Cell("x"), Cell("1", "[0, 2]", strong=True)),), ("note",)
    )
    assert to_markdown(table).split("\n") == [
        "| a\\|b | n |", "| :--- | ---: |", "| x | **1 [0, 2]** |", "", "note"
    ]  # fmt: skip


def test_terminal_table_breaks_before_an_interval_and_reads_no_markup():
    table = Table(
        "T", (Column("system", numeric=False), Column("n")), ((Cell("[red]m"), Cell("12.5", "[11.5, 13.5]")),)
    )
    console = Console(width=30, record=True, file=io.StringIO())
    console.print(to_rich(table))
    lines = [line.strip() for line in console.export_text().splitlines()]
    assert "[11.5,13.5]" in " ".join(lines)
    assert any(line.startswith("[red]m") for line in lines)


def test_a_column_can_be_left_out():
    table = Table("T", (Column("a"), Column("p")), ((Cell("1"), Cell("2")),))
    left = without(table, "p")
    assert [c.title for c in left.columns] == ["a"]
    assert left.rows == ((Cell("1"),),)
