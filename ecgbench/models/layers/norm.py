"""Normalisation over channels of (batch, channel, time) tensors."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Each time step divided by the root mean square of its channels, times a learned gain (Zhang & Sennrich 2019).

    `torch.nn.RMSNorm` normalises the last axis; this one the channel axis, so that no transposition is needed.
    """

    def __init__(self, n_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, time) normalised over the channels."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self.eps) * self.weight[:, None]
