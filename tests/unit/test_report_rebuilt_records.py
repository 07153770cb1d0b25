"""The record of a reconstruction run that is drawn on ECG paper: its names, its correlations and its close-up."""

import re

import numpy as np
from reconstruction_run_folder import LEADS, make_record

from ecgbench.report.rebuilt_records import close_up_figure, read_rebuilt, rebuilt_figure


def test_drawn_record_names_given_and_hidden_leads_with_their_correlation():
    """Correlations are numpy's over the whole record; the given lead is not scored."""
    arrays = make_record()
    found = read_rebuilt(arrays, "m")
    r = [np.corrcoef(arrays["y_true"][k], arrays["y_pred"][1][k])[0, 1] for k in range(12)]
    hidden = [value for lead, value in zip(LEADS, r, strict=True) if lead != "V2"]
    assert found.title(1) == f"Record 07042 from lead V2, PCC {np.mean(hidden):.2f} over the hidden leads"
    axes = rebuilt_figure(found, 1).axes[0]
    texts = {t.get_text() for t in axes.texts}
    assert {"V2  given", f"V1  {r[6]:.2f}"} <= texts
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["truth", "m"]
    several = read_rebuilt(make_record(inputs=("I+II+V3",)), "m")
    assert several.title(0).startswith("Record 07042 from leads I, II, V3, PCC")


def test_close_up_shows_one_beat_of_every_lead_from_every_input():
    """The beat's R peak, 0.4 s after each whole second, is inside; the legend names every lead set."""
    figure = close_up_figure(read_rebuilt(make_record(), "m"))
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["truth", "from I", "from V2", "from III"]
    start_s = float(re.search(r"at ([\d.]+) s", axes.texts[-2].get_text()).group(1))
    assert start_s % 1 < 0.4 < start_s % 1 + 0.9
    signals = [line for line in axes.lines if len(line.get_xdata()) == 450]
    assert len(signals) == 12 * 4


def test_constant_reconstruction_is_drawn_without_a_correlation():
    """The zero predictor has no correlation, and neither title nor names invent one."""
    arrays = make_record()
    arrays["y_pred"] = np.zeros_like(arrays["y_pred"])
    found = read_rebuilt(arrays, "zero")
    assert found.title(0) == "Record 07042 from lead I"
    assert "V1" in {t.get_text() for t in rebuilt_figure(found, 0).axes[0].texts}
