"""Curves, confusion and calibration of a classifier, against scikit-learn and by hand."""

import numpy as np
import pytest
from classification_run_folder import CLASSES, CLEAN, make_class_scores
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from ecgbench.report.class_curves import (
    class_scores,
    co_occurrence,
    confusion,
    macro_pr,
    macro_roc,
    pr_curve,
    reliability,
    roc_curve,
    thinned,
)


@pytest.fixture(scope="module")
def random_labels():
    """0/1 labels and coarse scores with many ties, (200, 4)."""
    rng = np.random.default_rng(3)
    label = rng.random((200, 4)) < 0.3
    return label, np.round(0.3 * label + 0.7 * rng.random((200, 4)), 2)


def test_curves_pass_through_scikit_learn_s_points(random_labels):
    """Same operating points, and the areas drawn are the areas reported."""
    label, score = random_labels
    y, s = label[:, 0], score[:, 0]
    false_rate, true_rate, _ = sklearn_roc_curve(y, s, drop_intermediate=False)
    np.testing.assert_allclose(roc_curve(y, s).x, false_rate)
    np.testing.assert_allclose(roc_curve(y, s).y, true_rate)
    precision, recall, _ = precision_recall_curve(y, s)
    curve = pr_curve(y, s)
    reached = np.searchsorted(recall[::-1], 1.0)  # beyond full recall scikit-learn keeps going, to no area
    np.testing.assert_allclose(curve.x[1 : reached + 1], recall[::-1][1 : reached + 1])
    np.testing.assert_allclose(curve.y[1 : reached + 1], precision[::-1][1 : reached + 1])
    assert (np.diff(curve.x) * curve.y[1:]).sum() == pytest.approx(average_precision_score(y, s))


def test_macro_curves_have_the_macro_areas(random_labels):
    label, score = random_labels
    roc, pr = macro_roc(label, score), macro_pr(label, score)
    aurocs, auprcs = ([f(label[:, k], score[:, k]) for k in range(4)] for f in (roc_auc_score, average_precision_score))
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(np.mean(aurocs), abs=2e-3)
    assert (np.diff(pr.x) * pr.y[1:]).sum() == pytest.approx(np.mean(auprcs), abs=2e-3)


def test_classes_without_positives_or_negatives_have_no_curve():
    score = np.array([0.1, 0.9])
    assert roc_curve(np.array([0, 0]), score) is None
    assert roc_curve(np.array([1, 1]), score) is None
    assert pr_curve(np.array([0, 0]), score) is None
    assert (pr_curve(np.array([1, 1]), score).y == 1).all()


def test_thinning_keeps_both_ends_and_short_curves_whole(random_labels):
    label, score = random_labels
    short = roc_curve(label[:, 0], score[:, 0])
    assert thinned(short) is short
    long = roc_curve(np.arange(5000) % 3 == 0, np.random.default_rng(0).random(5000))
    few = thinned(long)
    assert len(few.x) <= 800
    assert (few.x[0], few.y[-1]) == (0.0, 1.0)


def test_confusion_counts_sensitivity_false_alarms_and_silence_by_row():
    """Three records with class A, one of them also B; one with B alone; one without a class.

    Decided: A; B (A missed, wrongly B); A and B (both right); nothing; B.
    """
    label = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    decided = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1]])
    expected = [[2 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2], [0, 1, 0]]
    np.testing.assert_allclose(confusion(label, decided), expected)


def test_co_occurrence_is_the_share_of_the_row_s_records():
    label = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]])
    expected = [[1, 0.5, 0], [1, 1, 0], [np.nan] * 3]
    np.testing.assert_allclose(co_occurrence(label), expected)


def test_reliability_bins_are_scikit_learn_s():
    rng = np.random.default_rng(5)
    score = rng.random((300, 4))
    label = rng.random((300, 4)) < score**2
    bins = reliability(label, score)
    observed, predicted = calibration_curve(label.ravel(), score.ravel(), n_bins=10)
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, predicted)
    np.testing.assert_array_equal(bins.n, np.histogram(score, np.arange(11) / 10)[0])


def test_calibration_error_by_hand():
    """Two pairs at 0.2 with none positive, two at 0.9 with both positive: (2 x 0.2 + 2 x 0.1) / 4."""
    bins = reliability(np.array([[0], [0], [1], [1]]), np.array([[0.2], [0.2], [0.9], [0.9]]))
    assert bins.error == pytest.approx(0.15)
    assert bins.n.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]


def test_scores_that_are_not_finite_count_as_zero():
    frame = make_class_scores({"m": 2.0}, [CLEAN], n_records=10)
    frame.loc[[0, 1], "score/AF"] = [np.nan, np.inf]
    found = class_scores(frame, CLASSES, "m", "clean")
    assert found.score[:2, 0].tolist() == [0.0, 0.0]
    assert found.label.shape == (10, 5)
