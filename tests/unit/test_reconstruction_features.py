"""Heart rates, R amplitudes and intervals of a record, worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from reconstruction_cases import record_mv

from ecgbench.scoring.reconstruction_features import (
    TrueFeatures,
    compare_intervals,
    interval_lead,
    intervals,
    marked_waves,
    official_rates,
    r_amplitudes_uv,
)


def test_a_failed_heart_rate_is_0_bpm_by_the_published_rule():
    """Eleven leads at 72 bpm and a failure: mean 66, SD sqrt(11/144) * 72, range 72, error 72/12."""
    found = np.full(12, 72.0)
    found[3] = np.nan
    rates = official_rates(found, np.full(12, 72.0))
    sd = 72 * np.sqrt(11) / 12
    assert rates["official_hr_sd_bpm"] == pytest.approx(sd)
    assert rates["official_hr_cv_pct"] == pytest.approx(100 * sd / 66)
    assert rates["official_hr_range_bpm"] == 72
    assert rates["official_hr_mae_bpm"] == 6


def test_r_amplitudes_are_above_the_median():
    """A spike of 2 mV on a level of 0.5 mV, 10 samples off the beat, counts; one 40 samples off does not."""
    lead = np.full((1, 1000), 0.5)
    lead[0, [210, 660]] = 2.5
    lead[0, 660 - 20] = 1.0
    found = r_amplitudes_uv(lead, np.array([200, 620]), 500)
    assert found == pytest.approx(np.array([[2000.0], [500.0]]))


def test_intervals_are_measured_where_nothing_was_given():
    """Lead II unless it was given, then the frontal lead nearest to it."""
    assert interval_lead(("I",)) == "II"
    assert interval_lead(("II",)) == "aVF"
    assert interval_lead(("I", "II", "aVF")) == "III"


MARKS = pd.DataFrame(
    [
        ("II", "P", 60.0, 75.0, 90.0),
        ("II", "QRS", 140.0, 150.0, 190.0),
        ("II", "T", 230.0, 270.0, 340.0),
        ("II", "QRS", 540.0, 550.0, 590.0),
        ("II", "T", np.nan, 670.0, 750.0),
        ("I", "QRS", 100.0, 150.0, 600.0),
    ],
    columns=["lead", "wave", "onset", "peak", "offset"],
)


def test_marked_waves_belong_to_their_beat():
    """QRS 50 samples each, QT 200 and 210, PR 80 of the one beat with a P: 100, 410 and 160 ms at 500 Hz."""
    waves = marked_waves(MARKS, "II")
    assert waves.r_peak.tolist() == [150, 550]
    assert waves.p_onset[0] == 60
    assert np.isnan(waves.p_onset[1])
    assert intervals(waves, 500) == pytest.approx((100, 410, 160))
    assert np.isnan(intervals(marked_waves(MARKS, "V1"), 500)).all()


def test_marks_are_the_truth_where_there_are_any():
    """Against marks of 200 ms, a clean beat's QRS is as far off as its own duration says."""
    truth = {"II": intervals(marked_waves(MARKS, "II"), 500)}
    features = TrueFeatures(500, np.ones(12), np.ones(12), np.array([1]), np.ones((1, 12)), truth)
    found = compare_intervals(record_mv(5000), ("I",), features)
    # P onset to R onset and R onset to T end of the Gaussians at 3 widths: P -80-36, R -18, T 120+66.
    assert found["pr_error_ms"] == pytest.approx(abs(2 * (-18 + 80 + 36) - 160), abs=40)
    assert found["qt_error_ms"] == pytest.approx(abs(2 * (186 + 18) - 410), abs=60)
