"""The trivial row: prevalences of the training split, as logits, for every record."""

import math

import pytest
import torch

from ecgbench.models.majority import Majority

TARGETS = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])


def test_every_record_gets_the_prevalences() -> None:
    """One in four, none, all: held a millionth away from certainty."""
    model = Majority(n_classes=3)
    model.observe(TARGETS)
    p = model(torch.randn(5, 2, 10)).double().sigmoid()
    assert p.shape == (5, 3)
    torch.testing.assert_close(p, torch.tensor([[0.25, 1e-6, 1 - 1e-6]] * 5, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_logit_is_that_of_the_prevalence() -> None:
    model = Majority(n_classes=3)
    model.observe(TARGETS)
    logits = model(torch.zeros(1, 2, 10))[0]
    assert logits[0].item() == pytest.approx(math.log(1 / 3))
    assert logits[1].item() == pytest.approx(-math.log(1e6), rel=1e-5)
    assert logits[2].item() == pytest.approx(math.log(1e6), rel=1e-5)


def test_before_training_every_class_is_even() -> None:
    torch.testing.assert_close(Majority(3)(torch.randn(2, 1, 4)), torch.zeros(2, 3))


def test_what_was_observed_is_stored_and_nothing_is_trained() -> None:
    """A checkpoint carries the prevalences; there is no parameter."""
    model, other = Majority(3), Majority(3)
    model.observe(TARGETS)
    other.load_state_dict(model.state_dict())
    x = torch.zeros(2, 1, 4)
    torch.testing.assert_close(other(x), model(x))
    assert not list(model.parameters())


def test_output_has_the_type_of_the_input() -> None:
    assert Majority(3)(torch.zeros(1, 1, 4, dtype=torch.float64)).dtype == torch.float64


def test_training_without_a_record_is_refused() -> None:
    with pytest.raises(ValueError, match="majority got no training record"):
        Majority(3).observe(torch.zeros(0, 3))
