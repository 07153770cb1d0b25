"""The given lead, copied to all others with the sign of its correlation in training: how much correlation is free."""

import torch
from torch import Tensor, nn

from ecgbench.models.layers.lead_moments import LeadMoments
from ecgbench.models.layers.presence import given_leads


class LeadCopy(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV; no parameters.

    Each lead becomes the given lead that correlates with it most strongly, up or down, over the training samples,
    times the sign of that correlation; a given lead stays itself. A lead that was flat in training correlates with
    nothing and is predicted zero, and so is everything when no lead is given.
    """

    tasks = ("reconstruction",)
    reads_presence = True
    """Absent leads are told by their zeros, so copies in their place would be taken for given ones."""
    correlation: Tensor
    solved: Tensor

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.moments = LeadMoments(n_leads)
        self.register_buffer("correlation", torch.eye(n_leads, dtype=torch.float64))
        self.register_buffer("solved", torch.tensor(False))

    def sums(self) -> list[Tensor]:
        """What has been accumulated; several processes add theirs up, in place, before `solve`."""
        return list(self.moments.buffers())

    @torch.no_grad()
    def accumulate(self, y: Tensor, mask: Tensor) -> None:
        """Takes in full targets (batch, lead, time), in mV, where `mask`, bool (batch, time), is True."""
        self.moments.accumulate(y, mask)

    @torch.no_grad()
    def solve(self) -> None:
        """Computes the correlations; ValueError when nothing was accumulated."""
        covariance = self.moments.covariance()
        deviation = covariance.diagonal().clamp(min=0).sqrt()
        scale = torch.outer(deviation, deviation)
        correlation = torch.where(scale > 0, covariance / scale, 0.0)
        correlation.fill_diagonal_(1)
        self.correlation.copy_(correlation)
        self.solved.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Copies of the given leads; RuntimeError before `solve`."""
        if not self.solved:
            raise RuntimeError("lead_copy knows no correlation yet: accumulate the training targets, then solve.")
        strength = self.correlation.abs().where(given_leads(x)[:, None], -1.0)
        source = strength.argmax(dim=2)
        sign = self.correlation.sign().expand_as(strength).gather(2, source[..., None])
        return x.gather(1, source[..., None].expand_as(x)) * sign.to(x.dtype)
