"""The reconstruction task's loss and validation scores, from batches small enough to work out by hand."""

from typing import Any

import pytest
import torch
from torch import nn

from ecgbench.data.record import EcgBatch
from ecgbench.tasks.reconstruction import Reconstruction


class Constant(nn.Module):
    """Predicts 1 mV everywhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(x)


def task_of(loss_on: Any) -> Reconstruction:
    return Reconstruction(
        model=Constant(), make_optimizer=lambda m: None, make_schedule=lambda o, n: None, loss_on=loss_on
    )


def batch_of(copies: bool) -> EcgBatch:
    """Two leads of which the first is given; four samples, the last padding. Truth: 0 mV in lead 1, 3 mV in lead 2."""
    y = torch.tensor([[[0.0, 0, 0, 9], [3, 3, 3, 9]]])
    x = torch.ones(1, 2, 4) if copies else torch.tensor([[[1.0, 1, 1, 1], [0, 0, 0, 0]]])
    nothing = torch.zeros(1, dtype=torch.int64)
    mask = torch.tensor([[True, True, True, False]])
    return EcgBatch(x=x, y=y, mask=mask, row=nothing, condition=nothing, wide=torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(("loss_on", "expected"), [("all", (1 + 4) / 2), ("hidden", 4.0)])
def test_error_is_over_real_samples_of_all_or_of_hidden_leads(copies: bool, loss_on: str, expected: float) -> None:
    """(0 - 1)^2 in the given lead, (3 - 1)^2 in the hidden one; padding counts in neither, copies hide nothing."""
    batch = batch_of(copies)
    total, count = task_of(loss_on).error(Constant()(batch.x), batch)
    assert float(total / count) == pytest.approx(expected)
