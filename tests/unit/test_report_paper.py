"""ECG paper: scales, layouts, room for the waves, and what is drawn where."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from ecgbench.report.ecg_paper import (
    BASELINE,
    DPI,
    PREDICTION,
    TRUTH,
    Span,
    Trace,
    blank_sheet,
    draw_ecg,
    draw_residual,
    ecg_figure,
    lay_out,
    plan_sheet,
    png_bytes,
    residual_gain,
)

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def pixels(png: bytes) -> tuple[int, int]:
    """Width and height from the PNG header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_clinical_page_has_four_columns_of_consecutive_quarters_and_a_rhythm_strip():
    rows = lay_out(12, 10.0)
    assert [[LEADS[s.lead] for s in row] for row in rows] == [
        ["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], ["II"]
    ]  # fmt: skip
    assert [(s.start_s, s.stop_s) for s in rows[0]] == [(0, 2.5), (2.5, 5), (5, 7.5), (7.5, 10)]
    assert rows[3] == [Span(1, 0.0, 10.0)]


@pytest.mark.parametrize(
    ("n_leads", "duration_s", "shape"),
    [(2, 10.0, [1, 1]), (12, 1.0, [4, 4, 4]), (2, 1.0, [2]), (5, 1.0, [3, 2]), (1, 4.0, [1]), (3, 4.0, [2, 1])],
)
def test_other_leads_and_lengths_show_every_lead_over_the_whole_time(n_leads, duration_s, shape):
    rows = lay_out(n_leads, duration_s)
    assert [len(row) for row in rows] == shape
    assert sorted(s.lead for row in rows for s in row) == list(range(n_leads))
    assert {(s.start_s, s.stop_s) for row in rows for s in row} == {(0.0, duration_s)}


def test_twelve_rows_show_at_most_ten_seconds():
    rows = lay_out(12, 30.0, "rows")
    assert [row[0] for row in rows] == [Span(lead, 0.0, 10.0) for lead in range(12)]


def test_clinical_page_of_other_than_twelve_leads_is_refused():
    with pytest.raises(ValueError, match="needs 12 leads, got 2; use layout='rows'"):
        lay_out(2, 10.0, "3x4")


@pytest.mark.parametrize("zoom", [1.0, 3.0])
def test_a_millimetre_is_as_long_across_as_up_and_true_to_size(zoom):
    sheet = plan_sheet([np.zeros((12, 5000))], 500.0, zoom=zoom)
    figure, ax = blank_sheet(sheet)
    (x0, y0), (x1, y1) = ax.transData.transform([(0, 0), (1, 1)])
    one_mm_px = zoom * DPI / 25.4
    assert x1 - x0 == pytest.approx(one_mm_px)
    assert y1 - y0 == pytest.approx(one_mm_px)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(sheet.width_mm * zoom)


def test_grid_has_a_line_each_millimetre_and_a_bold_one_each_five():
    _, ax = blank_sheet(plan_sheet([np.zeros((2, 1000))], 100.0))
    minor, major = [c for c in ax.collections if isinstance(c, LineCollection)]
    for lines, step_mm in ((minor, 1.0), (major, 5.0)):
        upright_x = [s[0, 0] for s in lines.get_segments() if s[0, 0] == s[1, 0]]
        level_y = [s[0, 1] for s in lines.get_segments() if s[0, 1] == s[1, 1]]
        np.testing.assert_allclose(np.diff(upright_x), step_mm)
        np.testing.assert_allclose(np.diff(level_y), step_mm)
    assert major.get_linewidth()[0] > minor.get_linewidth()[0]


def test_one_second_is_25_mm_and_one_millivolt_10_mm():
    """A lead that rises by 1 mV in one second, drawn on a single strip."""
    ramp_mv = np.arange(501)[None] / 500
    sheet = plan_sheet([ramp_mv], 500.0)
    _, ax = blank_sheet(sheet)
    draw_ecg(ax, sheet, ramp_mv, 500.0)
    x_mm, y_mm = ax.lines[-1].get_data()
    assert x_mm[500] - x_mm[0] == pytest.approx(25.0)
    assert y_mm[500] - y_mm[0] == pytest.approx(10.0)
    assert y_mm[0] == sheet.strips[0].y_mm


def test_isoelectric_lines_lie_on_bold_grid_lines():
    waves_mv = np.random.default_rng(0).normal(0, 0.7, (12, 1000))
    sheet = plan_sheet([waves_mv], 100.0, residual_mm_per_mv=20.0)
    above_footer_mm = [strip.y_mm - sheet.footer_mm for strip in sheet.strips]
    np.testing.assert_allclose(np.mod(above_footer_mm, 5.0), 0.0)


def test_rows_have_room_for_their_tallest_and_deepest_wave():
    waves_mv = np.zeros((2, 1000))
    waves_mv[0, 100], waves_mv[1, 200] = 2.3, -1.7
    first, second = sorted(plan_sheet([waves_mv], 100.0).strips, key=lambda s: s.span.lead)
    assert first.above_mm >= 23.0
    assert second.below_mm >= 17.0
    assert first.y_mm - second.y_mm >= first.below_mm + second.above_mm


def test_missing_samples_neither_break_the_plan_nor_the_picture():
    signal_mv = np.full((2, 500), np.nan)
    assert png_bytes(ecg_figure([Trace("truth", signal_mv, TRUTH)], 100.0, ("I", "II")), dpi=40)


def test_residual_strip_shows_other_minus_first_at_its_scale_and_clips():
    residual_mv = np.array([[0.0, 0.1, 0.5, -0.5]])
    sheet = plan_sheet([np.zeros((1, 4))], 4.0, residual_mm_per_mv=20.0)
    _, ax = blank_sheet(sheet)
    draw_residual(ax, sheet, residual_mv, 4.0, PREDICTION)
    from_zero_mm = ax.lines[-1].get_ydata() - sheet.strips[0].residual_y_mm
    np.testing.assert_allclose(from_zero_mm, [0.0, 2.0, 5.0, -5.0])


def test_residual_on_a_sheet_without_strips_is_refused():
    sheet = plan_sheet([np.zeros((1, 4))], 4.0)
    _, ax = blank_sheet(sheet)
    with pytest.raises(ValueError, match="plan it with residual_mm_per_mv"):
        draw_residual(ax, sheet, np.zeros((1, 4)), 4.0, PREDICTION)


def test_residual_gain_is_the_largest_that_fits_half_a_strip():
    """5 mm hold 0.1 mV at 50 mm/mV but not at 100; nothing finite and no error take the two ends of the scale."""
    assert residual_gain([np.full(1000, 0.1), np.full(10, np.nan)]) == 50.0
    assert residual_gain([np.zeros(10)]) == 500.0
    assert residual_gain([np.full(10, 1e6)]) == 1.0
    assert residual_gain([np.full(10, np.nan)]) == 500.0


@pytest.mark.parametrize(("n_leads", "n_samples"), [(12, 5000), (12, 500), (2, 360), (2, 3600), (1, 180)])
def test_figures_have_whole_pixels_per_millimetre_and_a_readable_width(n_leads, n_samples):
    truth_mv = np.sin(np.linspace(0, 20, n_samples))[None].repeat(n_leads, 0)
    traces = [Trace("truth", truth_mv, TRUTH), Trace("b", 0.8 * truth_mv, BASELINE), Trace("m", truth_mv, PREDICTION)]
    figure = ecg_figure(traces, 500.0, LEADS[:n_leads], title="Median", residual_mm_per_mv=20.0)
    width_px, height_px = pixels(png_bytes(figure))
    assert 600 <= width_px <= 1800
    assert height_px > 100
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert {"Median", *LEADS[:n_leads]} <= shown
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["truth", "b", "m"]


def test_input_samples_are_drawn_at_their_own_rate():
    """Dots at 50 Hz fall on every tenth sample of the 500 Hz trace."""
    truth_mv = np.sin(np.linspace(0, 6, 500))[None]
    trace = Trace("truth", truth_mv, TRUTH)
    figure = ecg_figure([trace], 500.0, ["I"], zoom=2.0, calibrate=False, points=(truth_mv[:, ::10], 50.0))
    line, dots = [item for item in figure.axes[0].lines if len(item.get_xdata()) >= 50]
    np.testing.assert_allclose(dots.get_xydata(), line.get_xydata()[::10])


def test_figures_do_not_touch_the_global_state_of_pyplot():
    """A figure made in a worker or a notebook must not pile up in pyplot's registry."""
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    ecg_figure([Trace("truth", np.zeros((2, 100)), TRUTH)], 100.0, ("I", "II"))
    assert plt.get_fignums() == before
