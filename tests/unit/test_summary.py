"""The tidy tables against numbers worked out by hand and by the bootstrap alone."""

import numpy as np
import pandas as pd
import pytest

from ecgbench.metrics.bootstrap import mean_interval, paired_difference
from ecgbench.metrics.collection import SUPERRES, MetricSpec
from ecgbench.metrics.summary import compare, summarise

SPECS: tuple[MetricSpec, ...] = tuple(spec for spec in SUPERRES if spec.name in ("mse", "snr_db"))


def table() -> pd.DataFrame:
    """Two systems, two conditions, four records of three patients, one of them exact under 'clean'."""
    rows = []
    for system, gain in (("msecg", 2.0), ("interp_cubic", 1.0)):
        for condition in ("clean", "bw@10dB"):
            for i, patient in enumerate(("p1", "p1", "p2", "p3")):
                exact = (system, condition, i) == ("msecg", "clean", 3)
                mse = 0.0 if exact else (i + 1) / gain
                snr = np.inf if exact else gain * (i + 1)
                rows.append((system, condition, f"r{i}", patient, 1, mse, snr))
    return pd.DataFrame(rows, columns=["system", "condition", "record_id", "patient_id", "n_windows", "mse", "snr_db"])


def row(frame: pd.DataFrame, **where: str) -> pd.Series:
    """The one row with these values."""
    chosen = frame[np.logical_and.reduce([frame[key] == value for key, value in where.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_the_table_is_tidy():
    """One row per system, condition and metric, in the order of appearance, with the promised columns."""
    summary = summarise(table(), SPECS)
    assert " ".join(summary.columns) == (
        "system condition metric n_records n_patients n_nonfinite mean std median ci_low ci_high"
    )
    assert list(zip(summary["system"], summary["condition"], summary["metric"], strict=True)) == [
        (system, condition, metric)
        for system in ("msecg", "interp_cubic")
        for condition in ("clean", "bw@10dB")
        for metric in ("mse", "snr_db")
    ]


def test_numbers_by_hand():
    """1, 2, 3, 4: mean 2.5, population deviation sqrt(1.25), median 2.5."""
    found = row(summarise(table(), SPECS), system="interp_cubic", condition="clean", metric="mse")
    assert (found["n_records"], found["n_patients"], found["n_nonfinite"]) == (4, 3, 0)
    assert (found["mean"], found["median"]) == (2.5, 2.5)
    assert found["std"] == pytest.approx(1.118034, abs=1e-6)
    low, high = mean_interval([1.0, 2.0, 3.0, 4.0], ["p1", "p1", "p2", "p3"])
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high), rel=1e-12)


def test_an_infinite_score_is_counted_and_not_averaged():
    """SNR 2, 4, 6 and inf: the finite three are summarised, all four records are counted."""
    found = row(summarise(table(), SPECS), system="msecg", condition="clean", metric="snr_db")
    assert (found["n_records"], found["n_patients"], found["n_nonfinite"]) == (4, 3, 1)
    assert (found["mean"], found["median"]) == (4.0, 4.0)
    assert found["std"] == pytest.approx(1.632993, abs=1e-6)
    low, high = mean_interval([2.0, 4.0, 6.0], ["p1", "p1", "p2"])
    assert np.isfinite([found["ci_low"], found["ci_high"]]).all()
    assert found["ci_low"] <= low
    assert found["ci_high"] <= high == 6.0


def test_a_metric_without_a_finite_score_is_nan():
    """Nothing to average: NaN, with the count beside it, and no warning."""
    scores = table().assign(mse=np.nan)
    found = row(summarise(scores, SPECS), system="msecg", condition="clean", metric="mse")
    assert found["n_nonfinite"] == 4
    assert np.isnan([found[name] for name in ("mean", "std", "median", "ci_low", "ci_high")]).all()


def test_the_order_of_rows_does_not_matter():
    """A shuffled score table has the same summary, up to the order of its rows."""
    keys = ["system", "condition", "metric"]
    shuffled = summarise(table().sample(frac=1, random_state=0), SPECS).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, summarise(table(), SPECS).sort_values(keys, ignore_index=True), rtol=1e-12)


def test_systems_are_compared_record_by_record():
    """msecg minus interp_cubic under bw: MSE -0.5, -1, -1.5, -2, whatever the order of rows."""
    scores = table().sample(frac=1, random_state=1)
    found = row(compare(scores, SPECS, "interp_cubic"), condition="bw@10dB", metric="mse")
    assert (found["system"], found["baseline"]) == ("msecg", "interp_cubic")
    assert (found["mean"], found["n_nonfinite"]) == (-1.25, 0)
    expected = paired_difference([0.5, 1.0, 1.5, 2.0], [1.0, 2.0, 3.0, 4.0], ["p1", "p1", "p2", "p3"])
    np.testing.assert_allclose([found["ci_low"], found["ci_high"], found["p_value"]], expected[1:4], rtol=1e-12)


def test_a_pair_that_is_not_finite_is_counted():
    """The exact record has no finite SNR difference: the mean is that of 1, 2 and 3 dB."""
    found = row(compare(table(), SPECS, "interp_cubic"), condition="clean", metric="snr_db")
    assert (found["mean"], found["n_nonfinite"]) == (2.0, 1)


def test_a_lone_baseline_has_no_comparison():
    """The baseline is not compared with itself; the table keeps its columns."""
    alone = table().query("system == 'interp_cubic'")
    found = compare(alone, SPECS, "interp_cubic")
    assert found.empty
    assert list(found.columns) == list(compare(table(), SPECS, "interp_cubic").columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns=["mse", "patient_id"]), r"no column \['patient_id', 'mse'\]"),
        (lambda s: s.iloc[:0], "have no row"),
        (lambda s: pd.concat([s, s.iloc[[2]]]), "1 rows score a record again.*'record_id': 'r2'"),
        (lambda s: s.assign(patient_id=s["patient_id"].where(s["record_id"] != "r2")), "record r2 has no patient_id"),
    ],
)
@pytest.mark.parametrize("table_of", [lambda s: summarise(s, SPECS), lambda s: compare(s, SPECS, "interp_cubic")])
def test_score_tables_that_cannot_be_trusted_are_refused(change, message, table_of):
    """A missing column, no row, a record counted twice and a record without patient are errors that name it."""
    with pytest.raises(ValueError, match=message):
        table_of(change(table()))


def test_a_comparison_needs_the_same_records():
    """A record that one system lacks is named; an unknown baseline lists the known systems."""
    scores = table().drop(index=2)
    with pytest.raises(ValueError, match=r"'msecg' and 'interp_cubic' under 'clean'.*1 have one score only.*r2"):
        compare(scores, SPECS, "interp_cubic")
    with pytest.raises(ValueError, match=r"baseline 'cubic' has no scores.*\['interp_cubic', 'msecg'\]"):
        compare(table(), SPECS, "cubic")
