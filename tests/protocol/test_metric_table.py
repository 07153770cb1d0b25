"""The metric table says what the code does: same names, stated directions, documented units and families."""

import numpy as np
import pytest
import torch

from ecgbench.metrics.classification_summary import METRICS
from ecgbench.metrics.collection import CLASSIFICATION, SUPERRES
from ecgbench.metrics.superres import superres_scores


def scores_at(error_mv: float) -> dict[str, float]:
    """Mean scores of a truth with noise of the given deviation added."""
    rng = np.random.default_rng(0)
    t = np.arange(1000)
    true = rng.normal(0, 1, (4, 12, 1)) * np.exp(-0.5 * ((t % 250 - 100) / 8) ** 2)
    pred = torch.tensor(true + error_mv * rng.standard_normal(true.shape))
    mask = torch.ones(4, 1000, dtype=torch.bool)
    return {name: s.mean().item() for name, s in superres_scores(pred, torch.tensor(true), mask, 500.0, 50.0).items()}


def test_the_table_names_the_scores_in_their_order():
    """What is computed is what is tabled, and nothing else."""
    assert list(scores_at(0.1)) == [spec.name for spec in SUPERRES]


@pytest.mark.parametrize("spec", SUPERRES, ids=lambda spec: spec.name)
def test_more_noise_moves_each_metric_the_stated_way(spec):
    """An error of 0.1 mV scores worse than one of 0.02 mV."""
    # The official peak and energy are the prediction's; this noise adds less to them than to the error.
    better, worse = scores_at(0.02)[spec.name], scores_at(0.1)[spec.name]
    assert (better > worse) == spec.higher_is_better
    assert better != worse


@pytest.mark.parametrize("spec", SUPERRES, ids=lambda spec: spec.name)
def test_every_metric_is_documented(spec):
    """Label, formula and reference are there; the family shows in name and label."""
    assert spec.label
    assert spec.formula
    assert spec.reference
    assert spec.name.startswith("official_") == (spec.family == "official") == spec.label.endswith("(official)")


def test_labels_are_unique():
    """Two columns of one table cannot be taken for each other."""
    assert len({spec.label for spec in SUPERRES}) == len(SUPERRES)


@pytest.mark.parametrize(("unit", "scale"), [("10⁻³ mV²", 1e3), ("µV", 1e3), ("dB", 1.0), ("%", 1.0), ("", 1.0)])
def test_shown_values_are_scaled_into_their_unit(unit, scale):
    """Stored mV^2 and mV are shown as 10^-3 mV^2 and microvolts, everything else as it is."""
    assert {spec.scale for spec in SUPERRES if spec.unit == unit} == {scale}


def test_the_decibel_and_percent_names_carry_their_unit():
    """A key that ends in _db or _pct is in dB or percent, and no other is."""
    for spec in SUPERRES:
        assert spec.name.endswith("_db") == (spec.unit == "dB")
        assert spec.name.endswith("_pct") == (spec.unit == "%")


def test_the_classification_table_names_what_is_computed():
    """Macro AUROC leads; every name has its function, its label, formula and reference, and no label is there twice."""
    assert {spec.name for spec in CLASSIFICATION} == set(METRICS)
    assert CLASSIFICATION[0].name == "auroc_macro"
    assert len({spec.label for spec in CLASSIFICATION}) == len(CLASSIFICATION)
    assert all(spec.formula and spec.reference and spec.unit == "" for spec in CLASSIFICATION)


def test_numbers_that_are_no_plain_result_are_of_the_official_family():
    """The test-optimal threshold, marked optimistic, and the two Challenge scores."""
    official = {spec.name: spec for spec in CLASSIFICATION if spec.family == "official"}
    assert set(official) == {"fmax_test_optimal", "challenge_2020", "challenge_2021"}
    assert "optimistic" in official["fmax_test_optimal"].reference
