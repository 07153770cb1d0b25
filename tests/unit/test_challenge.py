"""The Challenge score against a naive loop written from its definition, the official facts and hand-worked cases."""

import numpy as np
import pytest

from ecgbench.data.label_sets import LABEL_SETS
from ecgbench.metrics.challenge import (
    challenge_applies,
    challenge_score,
    challenge_weights,
    equivalent_columns,
    merge_decisions,
    merge_scores,
)

NSR_2021 = {
    "AF": 0.25, "AFL": 0.25, "BBB": 0.275, "Brady": 0.45, "CLBBB|LBBB": 0.275, "CRBBB|RBBB": 0.35, "IAVB": 0.45,
    "IRBBB": 0.45, "LAD": 0.4, "LAnFB": 0.4, "LPR": 0.45, "LQRSV": 0.325, "LQT": 0.3, "NSIVCB": 0.4, "NSR": 1.0,
    "PAC|SVPB": 0.4125, "PR": 0.375, "PRWP": 0.325, "PVC|VPB": 0.375, "QAb": 0.15, "RAD": 0.4, "SA": 0.45, "SB": 0.45,
    "STach": 0.375, "TAb": 0.25, "TInv": 0.25,
}  # fmt: skip
SMALL = ("NSR", "AF", "SB")
SMALL_WEIGHTS = np.array([[1.0, 0.25, 0.45], [0.25, 1.0, 0.3], [0.45, 0.3, 1.0]])


def naive_score(y: np.ndarray, decisions: np.ndarray, weights: np.ndarray, normal: int) -> float:
    """By the definition: the matrix of rewarded pairs is filled cell by cell, weighed, and scaled."""

    def reward(answers: np.ndarray) -> float:
        pairs = np.zeros_like(weights)
        for labels, answer in zip(y, answers, strict=True):
            n = float(max(np.sum(np.logical_or(labels, answer)), 1))
            for j in np.flatnonzero(labels):
                for k in np.flatnonzero(answer):
                    pairs[j, k] += 1 / n
        return float(np.sum(weights * pairs))

    inactive = np.zeros_like(y)
    inactive[:, normal] = True
    observed, right, baseline = reward(decisions), reward(y), reward(inactive)
    return (observed - baseline) / (right - baseline) if right != baseline else 0.0


def random_answers(n_classes: int, n_records: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and decisions, some records without either."""
    rng = np.random.default_rng(seed)
    return rng.random((n_records, n_classes)) < 0.08, rng.random((n_records, n_classes)) < 0.1


@pytest.mark.parametrize(("year", "n_classes"), [(2020, 24), (2021, 26)])
def test_weights_have_the_official_form(year, n_classes):
    """Symmetric, diagonal 1, between 0.15 and 0.5 elsewhere, least between sinus rhythm and abnormal Q wave."""
    classes, weights = challenge_weights(year)
    assert weights.shape == (n_classes, n_classes)
    np.testing.assert_array_equal(weights, weights.T)
    np.testing.assert_array_equal(np.diag(weights), 1.0)
    elsewhere = weights[~np.eye(n_classes, dtype=bool)]
    assert (elsewhere.min(), elsewhere.max()) == (0.15, 0.5)
    normal = classes.index("NSR")
    assert classes[int(weights[normal].argmin())] == "QAb"


def test_weights_of_sinus_rhythm_are_the_published_row():
    """All 26 of 2021; 2020 has the same for its classes, LBBB without CLBBB."""
    classes, weights = challenge_weights(2021)
    assert dict(zip(classes, weights[classes.index("NSR")], strict=True)) == NSR_2021
    classes, weights = challenge_weights(2020)
    shared = {("LBBB" if name == "CLBBB|LBBB" else name): w for name, w in NSR_2021.items()}
    row = dict(zip(classes, weights[classes.index("NSR")], strict=True))
    assert row == {name: shared[name] for name in classes}


@pytest.mark.parametrize("year", [2020, 2021])
def test_classes_are_the_label_set_in_its_order(year):
    """A model's columns are the score's columns."""
    assert challenge_weights(year).classes == LABEL_SETS[f"cinc{year}"]


@pytest.mark.parametrize("year", [2020, 2021])
def test_score_equals_the_naive_loop(year):
    """Random labels and decisions, with empty records and empty answers."""
    classes, weights = challenge_weights(year)
    y, decisions = random_answers(len(classes))
    assert not y.any(1).all()
    assert not decisions.any(1).all()
    expected = naive_score(y, decisions, weights, classes.index("NSR"))
    assert challenge_score(y, decisions, year, classes) == pytest.approx(expected, abs=1e-12)


def test_score_by_hand():
    """AF answered AF and SB: (1 + 0.3)/2 = 0.65. SB answered nothing: 0. Right 2, inactive 0.25/2 + 0.45/2 = 0.35."""
    y = np.array([[0, 1, 0], [0, 0, 1]])
    decisions = np.array([[0, 1, 1], [0, 0, 0]])
    expected = (0.65 - 0.35) / (2 - 0.35)
    assert challenge_score(y, decisions, SMALL_WEIGHTS, SMALL) == pytest.approx(expected, abs=1e-12)


def test_right_is_one_inactive_is_zero_and_worse_is_negative():
    """The two anchors of the scale, and an answer below the lower one."""
    classes = challenge_weights(2021).classes
    y, _ = random_answers(len(classes))
    inactive = np.zeros_like(y)
    inactive[:, classes.index("NSR")] = True
    assert challenge_score(y, y, 2021, classes) == pytest.approx(1.0, abs=1e-12)
    assert challenge_score(y, inactive, 2021, classes) == pytest.approx(0.0, abs=1e-12)
    assert challenge_score(y, np.zeros_like(y), 2021, classes) < 0


def test_a_record_without_label_adds_nothing_whatever_is_decided():
    """False alarms there are free."""
    y, decisions = np.array([[0, 1, 0], [0, 0, 0]]), np.array([[0, 1, 0], [1, 1, 1]])
    assert challenge_score(y, decisions, SMALL_WEIGHTS, SMALL) == 1.0


@pytest.mark.parametrize("y", [[[1, 0, 0], [1, 0, 0]], [[0, 0, 0]], np.zeros((0, 3))])
def test_score_is_zero_where_the_right_answer_is_always_sinus_rhythm(y):
    """The scale has no length: 0 by definition, for any decisions."""
    decisions = np.ones(np.shape(y))
    assert challenge_score(y, decisions, SMALL_WEIGHTS, SMALL) == 0.0


def test_columns_are_found_by_name():
    """Reordered columns with their names have the same score."""
    classes = challenge_weights(2021).classes
    y, decisions = random_answers(26)
    order = np.random.default_rng(1).permutation(26)
    found = challenge_score(y[:, order], decisions[:, order], 2021, [classes[k] for k in order])
    assert found == pytest.approx(challenge_score(y, decisions, 2021, classes), abs=1e-12)


def test_equivalent_codes_are_scored_as_one():
    """The 27 columns of 2020: RBBB answered where CRBBB is true is right; both answered count once."""
    classes = LABEL_SETS["cinc2020_unmerged"]
    assert len(classes) == 27
    y, decisions = np.zeros((2, 3, 27), dtype=bool)
    for record, name in enumerate(("CRBBB", "PVC", "AF")):
        y[record, classes.index(name)] = True
    for record, name in ((0, "RBBB"), (0, "CRBBB"), (1, "VPB"), (2, "AF")):
        decisions[record, classes.index(name)] = True
    assert challenge_score(y, decisions, 2020, classes) == 1.0


def test_unmerged_score_equals_the_merged_one():
    """Merging first with a maximum over the three pairs gives the same number."""
    raw = LABEL_SETS["cinc2020_unmerged"]
    merged = LABEL_SETS["cinc2020"]
    y, decisions = random_answers(27)
    by_hand = [
        np.stack([cells[:, [raw.index(part) for part in name.split("|")]].max(1) for name in merged], 1)
        for cells in (y, decisions)
    ]
    expected = challenge_score(*by_hand, 2020, merged)
    assert challenge_score(y, decisions, 2020, raw) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(merge_decisions(y, raw, 2020), by_hand[0])


def test_merged_scores_are_means_of_the_equivalent_classes():
    """NaN counts as 0 in 2020 and is left out in 2021; with nothing finite the score is 0."""
    raw = LABEL_SETS["cinc2020_unmerged"]
    scores = np.zeros((3, 27))
    scores[:, raw.index("PAC")] = 0.6, np.nan, np.nan
    scores[:, raw.index("SVPB")] = 0.2, 0.8, np.nan
    pac = challenge_weights(2020).classes.index("PAC|SVPB")
    np.testing.assert_allclose(merge_scores(scores, raw, 2020)[:, pac], [0.4, 0.4, 0.0])
    raw = [part for name in LABEL_SETS["cinc2021"] for part in name.split("|")]
    scores = np.zeros((3, 30))
    scores[:, raw.index("PAC")] = 0.6, np.nan, np.nan
    scores[:, raw.index("SVPB")] = 0.2, 0.8, np.nan
    pac = challenge_weights(2021).classes.index("PAC|SVPB")
    np.testing.assert_allclose(merge_scores(scores, raw, 2021)[:, pac], [0.4, 0.8, 0.0])


def test_resampled_score_equals_that_of_repeated_records():
    """Counting a record twice is scoring it twice."""
    classes = challenge_weights(2021).classes
    y, decisions = random_answers(26)
    times = np.random.default_rng(2).integers(0, 3, (4, len(y)))
    found = challenge_score(y, decisions, 2021, classes, times)
    for score, drawn in zip(found, times, strict=True):
        kept = np.repeat(np.arange(len(y)), drawn)
        assert score == pytest.approx(challenge_score(y[kept], decisions[kept], 2021, classes), abs=1e-12)


def test_label_sets_of_other_protocols_do_not_have_the_score():
    """Each year knows its own classes, merged or not, and no others."""
    fits = {name: [year for year in (2020, 2021) if challenge_applies(LABEL_SETS[name], year)] for name in LABEL_SETS}
    assert {name: years for name, years in fits.items() if years} == {
        "cinc2021": [2021], "cinc2020": [2020], "cinc2020_unmerged": [2020],
    }  # fmt: skip
    assert not challenge_applies([*LABEL_SETS["cinc2021"], "AF"], 2021)


def test_bad_questions_are_refused():
    """An unknown year, classes of another set, weights of another size and columns without a name are errors."""
    y = np.zeros((2, 3), dtype=bool)
    with pytest.raises(ValueError, match=r"2019 has no weights here; use one of \(2020, 2021\)"):
        challenge_weights(2019)
    with pytest.raises(ValueError, match=r"the 2021 Challenge score needs the classes AF, .*got NSR, AF, SB"):
        challenge_score(y, y, 2021, SMALL)
    with pytest.raises(ValueError, match=r"Use the label set cinc2020"):
        equivalent_columns(LABEL_SETS["cinc2021"], 2020)
    with pytest.raises(ValueError, match=r"weights of shape \(2, 2\) do not fit 3 classes"):
        challenge_score(y, y, np.eye(2), SMALL)
    with pytest.raises(ValueError, match="needs the class NSR, got A, B, C"):
        challenge_score(y, y, np.eye(3), "ABC")
    with pytest.raises(ValueError, match="3 columns have 2 class names"):
        challenge_score(y, y, np.eye(2), SMALL[:2])
