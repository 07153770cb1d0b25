"""Stacks of Mamba blocks that read a signal left to right and, with weights of their own, right to left."""

import math

import torch
from torch import Tensor, nn

from ecgbench.models.layers.mamba import MambaBlock


def _block(d_model: int, n_layer: int, scan_backend: str) -> MambaBlock:
    """One block of a stack of `n_layer`, so initialised that the sum of all keeps the variance of one."""
    block = MambaBlock(d_model, scan_backend=scan_backend)
    with torch.no_grad():
        nn.init.kaiming_uniform_(block.mixer.out_proj.weight, a=math.sqrt(5)).div_(math.sqrt(n_layer))
    return block


class MambaStack(nn.ModuleList):
    """`n_layer` blocks in a row, with no normalisation after the last.

    Their output projections start smaller by sqrt(n_layer) (Radford et al. 2019, section 2.3).
    """

    def __init__(self, d_model: int, n_layer: int, scan_backend: str = "auto") -> None:
        super().__init__(_block(d_model, n_layer, scan_backend) for _ in range(n_layer))

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """(batch, d_model, time) through all blocks; `reverse` runs from the end of time to its start."""
        first, *others = self
        hidden, residual = first(x, reverse=reverse)
        for block in others:
            hidden, residual = block(hidden, residual, reverse=reverse)
        return hidden + residual


class MambaBranches(nn.Module):
    """A forward stack and, if `bidirectional`, a backward stack over the same input, side by side in the channels."""

    def __init__(self, d_model: int, n_layer: int, bidirectional: bool = True, scan_backend: str = "auto") -> None:
        super().__init__()
        self.out_channels = d_model * (1 + bidirectional)
        self.forward_blocks = MambaStack(d_model, n_layer, scan_backend)
        self.backward_blocks = MambaStack(d_model, n_layer, scan_backend) if bidirectional else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, d_model, time) -> (batch, out_channels, time), the forward stack's channels first."""
        ahead = self.forward_blocks(x)
        if self.backward_blocks is None:
            return ahead
        return torch.cat([ahead, self.backward_blocks(x, reverse=True)], dim=1)
