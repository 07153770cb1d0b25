"""The scores of a classification against scikit-learn, naive loops written from the definitions, and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgbench.metrics import classification as c

NAN = np.nan


def split(n_records: int = 300, n_classes: int = 6, n_levels: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores with many ties; the last class is rare."""
    rng = np.random.default_rng(seed)
    y = rng.random((n_records, n_classes)) < np.linspace(0.6, 0.03, n_classes)
    y[0], y[1] = True, False
    scores = np.round(n_levels * (0.7 * rng.random(y.shape) + 0.3 * y)) / n_levels
    return y, scores


def resamples(n_records: int, n_resamples: int, seed: int = 0) -> np.ndarray:
    """How often each record is drawn, (resample, record)."""
    return np.random.default_rng(seed).multinomial(n_records, np.full(n_records, 1 / n_records), n_resamples)


def naive_sample_f(y: np.ndarray, decisions: np.ndarray) -> float:
    """Sample-centric F, record by record."""
    precisions, recalls = [], []
    for labels, decided in zip(y, decisions, strict=True):
        hits = sum(a and b for a, b in zip(labels, decided, strict=True))
        if sum(decided):
            precisions.append(hits / sum(decided))
        if sum(labels):
            recalls.append(hits / sum(labels))
    if not recalls:
        return NAN
    p, r = np.mean(precisions) if precisions else 0.0, np.mean(recalls)
    return 2 * p * r / (p + r) if p + r else 0.0


def naive_beta(y: np.ndarray, decisions: np.ndarray, beta: float) -> tuple[list[float], list[float]]:
    """F-beta and G-beta of each class, cell by cell, a record counting 1 / its labels."""
    f_values, g_values = [], []
    for k in range(y.shape[1]):
        tp = fp = fn = 0.0
        for labels, decided in zip(y, decisions, strict=True):
            share = 1 / max(labels.sum(), 1)
            tp += share * (labels[k] and decided[k])
            fp += share * (decided[k] and not labels[k])
            fn += share * (labels[k] and not decided[k])
        f_values.append((1 + beta**2) * tp / ((1 + beta**2) * tp + fp + beta**2 * fn) if tp + fp + fn else NAN)
        g_values.append(tp / (tp + fp + beta * fn) if tp + fp + fn else NAN)
    return f_values, g_values


def test_areas_equal_scikit_learn_with_ties():
    """AUROC and AUPRC of every class, scores on a grid of 20."""
    y, scores = split()
    auroc, auprc = c.areas(y, scores)
    for k in range(y.shape[1]):
        assert auroc[k] == pytest.approx(roc_auc_score(y[:, k], scores[:, k]), abs=1e-12)
        assert auprc[k] == pytest.approx(average_precision_score(y[:, k], scores[:, k]), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    y=hnp.arrays(np.bool_, st.tuples(st.integers(2, 12), st.just(1))),
    data=st.data(),
)
def test_areas_equal_scikit_learn_on_anything_small(y, data):
    """Any labels with both kinds and any scores of few levels, unweighted and drawn any number of times."""
    scores = data.draw(hnp.arrays(np.float64, y.shape, elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])))
    times = data.draw(hnp.arrays(np.int64, (3, len(y)), elements=st.integers(0, 3)))
    for drawn in (np.ones((1, len(y)), int), times):
        auroc, auprc = c.areas(y, scores, drawn)
        for row, weights in enumerate(drawn):
            kept = np.repeat(np.arange(len(y)), weights)
            labels, ranks = y[kept, 0], scores[kept, 0]
            if not labels.any():
                assert np.isnan([auroc[row, 0], auprc[row, 0]]).all()
                continue
            assert auprc[row, 0] == pytest.approx(average_precision_score(labels, ranks), abs=1e-12)
            if labels.all():
                assert np.isnan(auroc[row, 0])
            else:
                assert auroc[row, 0] == pytest.approx(roc_auc_score(labels, ranks), abs=1e-12)


def test_areas_by_hand():
    """Ranks + - + -: three of four pairs are won; recall gains 1/2 at precision 1 and 1/2 at precision 2/3."""
    y, scores = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.1]])
    assert c.auroc(y, scores) == pytest.approx([0.75])
    assert c.auprc(y, scores) == pytest.approx([0.5 + 0.5 * 2 / 3])


def test_no_positive_and_no_negative():
    """No positive: both NaN. No negative: AUROC NaN, AUPRC 1. The macro mean leaves NaN out."""
    y = np.array([[0, 1, 1], [0, 1, 0]])
    auroc, auprc = c.areas(y, np.array([[0.2, 0.3, 0.9], [0.4, 0.1, 0.8]]))
    np.testing.assert_array_equal(auroc, [NAN, NAN, 1.0])
    np.testing.assert_array_equal(auprc, [NAN, 1.0, 1.0])
    assert c.macro(auroc) == 1.0
    assert np.isnan(c.macro([NAN, NAN]))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_zero(odd):
    """The record ranks last among probabilities, tied with those of score 0."""
    y = np.array([[1], [1], [0], [0]])
    spoilt, clean = np.array([[odd], [0.6], [0.0], [0.7]]), np.array([[0.0], [0.6], [0.0], [0.7]])
    assert c.auroc(y, spoilt) == pytest.approx([roc_auc_score(y, clean)])
    assert c.auprc(y, spoilt) == pytest.approx([average_precision_score(y, clean)])
    assert c.fmax_test_optimal(y, spoilt) == c.fmax_test_optimal(y, clean)


def test_f1_equals_scikit_learn_and_is_nan_without_label_and_decision():
    """Per class; a class that is never labelled nor decided has no F1."""
    y, scores = split()
    decisions = scores > 0.5
    np.testing.assert_allclose(c.f1(y, decisions), f1_score(y, decisions, average=None), rtol=1e-12)
    np.testing.assert_array_equal(c.f1([[0, 1, 0]], [[0, 0, 1]]), [NAN, 0.0, 0.0])


def test_beta_measures_equal_the_naive_loop():
    """F2 and G2 of every class with records weighted by their number of labels."""
    y, scores = split(60)
    decisions = scores > 0.5
    f_values, g_values = naive_beta(y, decisions, 2.0)
    np.testing.assert_allclose(c.f_beta(y, decisions, 2.0), f_values, rtol=1e-12)
    np.testing.assert_allclose(c.g_beta(y, decisions, 2.0), g_values, rtol=1e-12)


def test_beta_measures_by_hand():
    """Record 1 has two labels and counts a half, record 2 has none and counts whole: TP 1/2, FP 1, FN 0 and 1/2."""
    y, decisions = np.array([[1, 1], [0, 0]]), np.array([[1, 0], [1, 0]])
    np.testing.assert_allclose(c.f_beta(y, decisions, 2.0), [2.5 / 3.5, 0.0])
    np.testing.assert_allclose(c.g_beta(y, decisions, 2.0), [0.5 / 1.5, 0.0])


def test_exact_match_counts_records_without_labels():
    """Right, right without any label, one class wrong: two of three."""
    assert c.exact_match([[1, 0], [0, 0], [1, 1]], [[1, 0], [0, 0], [1, 0]]) == pytest.approx(2 / 3)


def test_sample_f_equals_the_naive_loop():
    """At every threshold of the grid, with records that have no label or no decision."""
    y, scores = split(80)
    y[5:9] = False
    curve = c.sample_f_curve(y, scores)
    assert len(curve) == 101
    for f, threshold in zip(curve, np.linspace(0, 1, 101), strict=True):
        assert f == pytest.approx(naive_sample_f(y, scores >= threshold), abs=1e-12)
        assert c.sample_f(y, scores >= threshold) == pytest.approx(f, abs=1e-12)
    assert c.fmax_test_optimal(y, scores) == curve.max()


def test_sample_f_by_hand():
    """Precision 1/2 of the one record with a decision; recall of the labelled two 1 and 0: F = 1/2."""
    assert c.sample_f([[1, 0], [0, 1], [0, 0]], [[1, 1], [0, 0], [0, 0]]) == pytest.approx(0.5)
    assert c.sample_f([[1, 0]], [[0, 0]]) == 0.0
    assert np.isnan(c.sample_f([[0, 0]], [[1, 0]]))


def test_resampled_metrics_equal_those_of_repeated_records():
    """Counting a record twice is scoring it twice, for every metric and resample."""
    y, scores = split(60)
    decisions = scores > 0.5
    times = resamples(60, 8)
    metrics = {
        "auroc": lambda y, s, d, t: c.auroc(y, s, t),
        "auprc": lambda y, s, d, t: c.auprc(y, s, t),
        "f1": lambda y, s, d, t: c.f1(y, d, t),
        "f_beta": lambda y, s, d, t: c.f_beta(y, d, 2.0, t),
        "g_beta": lambda y, s, d, t: c.g_beta(y, d, 2.0, t),
        "exact": lambda y, s, d, t: c.exact_match(y, d, t),
        "sample_f": lambda y, s, d, t: c.sample_f(y, d, t),
        "fmax": lambda y, s, d, t: c.fmax_test_optimal(y, s, t),
    }
    for (name, metric), row in itertools.product(metrics.items(), range(len(times))):
        kept = np.repeat(np.arange(60), times[row])
        repeated = metric(y[kept], scores[kept], decisions[kept], None)
        np.testing.assert_allclose(metric(y, scores, decisions, times)[row], repeated, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(metric(y, scores, decisions, times[row]), repeated, rtol=1e-12, err_msg=name)


def test_the_order_of_records_does_not_matter():
    """Ties are not broken by position."""
    y, scores = split(200, n_levels=4)
    order = np.random.default_rng(1).permutation(len(y))
    for whole, shuffled in zip(c.areas(y, scores), c.areas(y[order], scores[order]), strict=True):
        np.testing.assert_allclose(whole, shuffled, rtol=1e-12)


@pytest.mark.parametrize(
    ("y", "other", "message"),
    [
        ([[0, 1]], [[1, 0], [0, 1]], r"y has shape \(1, 2\) and decisions \(2, 2\)"),
        ([[0, 2]], [[0, 1]], "y holds 2; only 0 and 1"),
        ([[0, 1]], [[0, 0.7]], "decisions holds 0.7; only 0 and 1.*threshold"),
        ([[0, np.nan]], [[0, 1]], "y holds nan"),
        ([0, 1], [[0, 1]], r"y has shape \(2,\); give one row per record"),
    ],
)
def test_arrays_that_cannot_be_scored_are_refused(y, other, message):
    """Probabilities taken for decisions, missing labels and mismatched shapes are errors."""
    with pytest.raises(ValueError, match=message):
        c.f1(y, other)
