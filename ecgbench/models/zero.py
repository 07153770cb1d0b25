"""Nothing predicted: zero on every lead, the floor of every reconstruction table."""

import torch
from torch import Tensor, nn


class Zero(nn.Module):
    """(batch, lead, time) -> zeros of that shape, in mV; no parameters."""

    tasks = ("reconstruction",)

    def forward(self, x: Tensor) -> Tensor:
        """Zeros, in the type of `x`."""
        return torch.zeros_like(x)
