"""Thresholds against exhaustive searches over every decision that a threshold can make."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ecgbench.data.label_sets import LABEL_SETS
from ecgbench.metrics.challenge import challenge_score, challenge_weights
from ecgbench.metrics.thresholds import (
    FALLBACK_THRESHOLD,
    choose_global_threshold,
    choose_thresholds,
    decide,
)


def validation(n_records: int, n_classes: int, seed: int = 0, gain: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Labels of falling frequency and float32 scores that know something of them, with ties."""
    rng = np.random.default_rng(seed)
    y = rng.random((n_records, n_classes)) < np.linspace(0.5, 0.05, n_classes)
    y[0] = True
    return y, np.round((1 - gain) * rng.random(y.shape) + gain * y, 2).astype(np.float32)


def naive_sample_f(y: np.ndarray, decisions: np.ndarray) -> float:
    """Mean precision over records with a decision, mean recall over records with a label, harmonic mean."""
    hits = (y & decisions).sum(1)
    decided, labelled = decisions.any(1), y.any(1)
    if not hits.any():
        return 0.0
    p = np.mean(hits[decided] / decisions.sum(1)[decided])
    r = np.mean(hits[labelled] / y.sum(1)[labelled])
    return 2 * p * r / (p + r)


def test_f1_thresholds_reach_the_best_f1_of_all():
    """No threshold at all has a larger F1, and the chosen one reaches it in float32 too."""
    y, scores = validation(120, 5)
    found = choose_thresholds(y, scores, "f1", "ABCDE")
    assert found.fallback_classes == ()
    for k in range(5):
        best = max(f1_score(y[:, k], scores[:, k] >= t) for t in np.unique(scores[:, k]))
        assert f1_score(y[:, k], decide(scores, found.per_class)[:, k]) == pytest.approx(best, abs=1e-12)


def test_f1_threshold_lies_midway_between_what_it_separates():
    """0.9 and 0.7 are right, 0.3 is wrong: 0.5."""
    found = choose_thresholds([[1], [0], [1]], [[0.9], [0.3], [0.7]], "f1", ["AF"])
    assert found.per_class == pytest.approx([0.5])


def test_f1_threshold_between_neighbouring_floats_still_separates():
    """There is no number between the two scores: the threshold is the accepted one."""
    low = 0.5
    high = np.nextafter(low, 1)
    scores = np.array([[high], [low]])
    found = choose_thresholds([[1], [0]], scores, "f1", ["AF"])
    np.testing.assert_array_equal(decide(scores, found.per_class), [[True], [False]])


@pytest.mark.parametrize("objective", ["f1", "challenge_2021"])
def test_a_class_without_positives_has_the_fallback(objective):
    """It keeps 0.5 and is named; the others are chosen, and all are finite."""
    classes = LABEL_SETS["cinc2021"]
    y, scores = validation(80, 26)
    y[:, [3, 17]] = False
    found = choose_thresholds(y, scores, objective, classes)
    assert found.fallback_classes == ("Brady", "PRWP")
    assert FALLBACK_THRESHOLD == 0.5
    np.testing.assert_array_equal(found.per_class[[3, 17]], 0.5)
    assert np.isfinite(found.per_class).all()
    assert (np.delete(found.per_class, [3, 17]) != 0.5).any()


@pytest.mark.parametrize("objective", ["f1", "challenge_2021", "fixed"])
@pytest.mark.parametrize("n_records", [0, 5])
def test_validation_without_any_label_gives_fallbacks(objective, n_records):
    """No record, or none with a label: 0.5 for all."""
    classes = LABEL_SETS["cinc2021"]
    y, scores = np.zeros((n_records, 26)), np.full((n_records, 26), 0.2)
    found = choose_thresholds(y, scores, objective, classes)
    np.testing.assert_array_equal(found.per_class, 0.5)
    assert found.fallback_classes == (() if objective == "fixed" else classes)
    assert choose_global_threshold(y, scores) == 0.5


def test_fixed_thresholds_need_no_choice():
    """0.5 for all, whatever the records say."""
    y, scores = validation(20, 2)
    found = choose_thresholds(y, scores, "fixed", "AB")
    assert (found.per_class.tolist(), found.fallback_classes) == ([0.5, 0.5], ())


@pytest.mark.parametrize("seed", range(4))
def test_challenge_thresholds_are_a_maximum_class_by_class(seed):
    """No other candidate for any one class, scored anew as a whole, is better; and f1's thresholds are not better."""
    classes = LABEL_SETS["cinc2021"]
    y, scores = validation(70, 26, seed, gain=0.2)
    found = choose_thresholds(y, scores, "challenge_2021", classes).per_class
    best = challenge_score(y, decide(scores, found), 2021, classes)
    start = choose_thresholds(y, scores, "f1", classes).per_class
    assert best > challenge_score(y, decide(scores, start), 2021, classes)
    for k, share in itertools.product(range(26), np.linspace(0, 1, 101)):
        other = found.copy()
        other[k] = np.quantile(scores[:, k], share)
        assert challenge_score(y, decide(scores, other), 2021, classes) <= best + 1e-9


def test_challenge_thresholds_of_rare_classes_are_searched_among_their_positives():
    """Three in a thousand: every score of a positive is tried as threshold, scored anew, and none is better."""
    classes = LABEL_SETS["cinc2021"]
    rng = np.random.default_rng(0)
    y = rng.random((2000, 26)) < np.where(np.arange(26) < 6, 0.003, 0.05)
    scores = rng.normal(0, 1, y.shape) + 2 * y
    found = choose_thresholds(y, scores, "challenge_2021", classes).per_class
    best = challenge_score(y, decide(scores, found), 2021, classes)
    for k in range(6):
        for candidate in scores[y[:, k], k]:
            other = found.copy()
            other[k] = candidate
            assert challenge_score(y, decide(scores, other), 2021, classes) <= best + 1e-9


def test_challenge_thresholds_of_equivalent_codes():
    """27 columns, three pairs scored as one: better than f1's thresholds by the score of the merged decisions."""
    classes = LABEL_SETS["cinc2020_unmerged"]
    y, scores = validation(90, 27, gain=0.2)
    found = choose_thresholds(y, scores, "challenge_2020", classes).per_class
    best = challenge_score(y, decide(scores, found), 2020, classes)
    start = choose_thresholds(y, scores, "f1", classes).per_class
    assert best > challenge_score(y, decide(scores, start), 2020, classes)
    for name, share in itertools.product(("CRBBB", "RBBB", "PAC", "SVPB", "AF"), np.linspace(0, 1, 21)):
        other = found.copy()
        other[classes.index(name)] = np.quantile(scores[:, classes.index(name)], share)
        assert challenge_score(y, decide(scores, other), 2020, classes) <= best + 1e-9


def test_challenge_thresholds_of_separable_scores_are_right():
    """Scores that tell all labels apart end at the score 1."""
    classes = challenge_weights(2021).classes
    y, _ = validation(100, 26)
    scores = np.where(y, 0.6, 0.2)
    found = choose_thresholds(y, scores, "challenge_2021", classes).per_class
    assert challenge_score(y, decide(scores, found), 2021, classes) == pytest.approx(1.0, abs=1e-12)


def test_global_threshold_maximises_the_sample_centric_f():
    """No threshold of 0, 0.01, ..., 1 is better by the naive F."""
    y, scores = validation(90, 4)
    y[3:6] = False
    found = choose_global_threshold(y, scores)
    values = [naive_sample_f(y, scores >= t) for t in np.linspace(0, 1, 101)]
    assert naive_sample_f(y, scores >= found) == pytest.approx(max(values), abs=1e-12)


def test_global_threshold_lies_in_the_middle_of_equally_good_ones():
    """Scores 0.2 and 0.6 are told apart by 0.21 to 0.6."""
    y = np.array([[1, 0], [0, 1]])
    assert choose_global_threshold(y, np.where(y, 0.6, 0.2)) == pytest.approx(0.41)


def test_decisions_take_the_threshold_itself_and_no_score_as_zero():
    """score >= threshold; NaN and the infinities are 0, decided only at a threshold of 0."""
    scores = np.array([[0.5, 0.5], [np.nan, np.inf]])
    np.testing.assert_array_equal(decide(scores, [0.5, 0.6]), [[True, False], [False, False]])
    np.testing.assert_array_equal(decide(scores, 0.0), [[True, True], [True, True]])


def test_bad_questions_are_refused():
    """An unknown objective, classes that are not the Challenge's, names that do not fit the columns."""
    y, scores = validation(5, 2)
    with pytest.raises(ValueError, match=r"by 'youden'; use one of f1, challenge_2020, challenge_2021, fixed"):
        choose_thresholds(y, scores, "youden", "AB")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="the 2021 Challenge score needs the classes"):
        choose_thresholds(y, scores, "challenge_2021", "AB")
    with pytest.raises(ValueError, match="2 columns have 3 class names"):
        choose_thresholds(y, scores, "f1", "ABC")
    with pytest.raises(ValueError, match=r"y has shape \(5, 2\) and scores \(5, 1\)"):
        choose_thresholds(y, scores[:, :1], "f1", "AB")
