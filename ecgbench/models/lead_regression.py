"""Least squares from lead to lead, sample by sample: the linear baseline, as Dower's and EASI's transforms are."""

import torch
from torch import Tensor, nn

from ecgbench.models.layers.lead_moments import LeadMoments
from ecgbench.models.layers.presence import given_leads, lead_sets


class LeadRegression(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV; no parameters.

    For any set of given leads, gains and offsets of least squares over all training samples, from second moments
    accumulated once. `ridge`, above 0, is added to the variances, in parts of their mean over the given leads, so
    that sets which determine each other (three limb leads) have a solution. Without a given lead it predicts the
    training means.
    """

    tasks = ("reconstruction",)
    reads_presence = True
    """Absent leads are told by their zeros, so copies in their place would be taken for given ones."""
    mean: Tensor
    covariance: Tensor
    solved: Tensor

    def __init__(self, n_leads: int, ridge: float = 1e-6) -> None:
        super().__init__()
        if not ridge > 0:
            raise ValueError(f"model.ridge={ridge:g} leaves dependent leads without a solution: give more than 0.")
        self.ridge = ridge
        self.moments = LeadMoments(n_leads)
        self.register_buffer("mean", torch.zeros(n_leads, dtype=torch.float64))
        self.register_buffer("covariance", torch.zeros(n_leads, n_leads, dtype=torch.float64))
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
        """Makes every set of given leads solvable; ValueError when nothing was accumulated."""
        self.mean.copy_(self.moments.mean())
        self.covariance.copy_(self.moments.covariance())
        self.solved.fill_(True)

    @torch.no_grad()
    def coefficients(self, leads: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """float64 gains (lead, given lead) and offsets (lead,), in mV, from the given channels `leads` to all."""
        given = list(leads)
        inner = self.covariance[given][:, given].double()
        variance = inner.diagonal().mean() if given else inner.new_zeros(())
        # A set of leads that are all flat in training has nothing to weigh: any ridge gives gains of zero.
        inner.diagonal().add_(self.ridge * variance if variance > 0 else 1.0)
        gains = torch.linalg.solve(inner, self.covariance[given].double()).T
        return gains, self.mean.double() - gains @ self.mean[given].double()

    def forward(self, x: Tensor) -> Tensor:
        """All leads by their regressions on the given ones; RuntimeError before `solve`."""
        if not self.solved:
            raise RuntimeError("lead_regression has no gains yet: accumulate the training targets, then solve.")
        prediction = torch.empty_like(x)
        for leads, rows in lead_sets(given_leads(x)):
            gains, offsets = (tensor.to(x) for tensor in self.coefficients(leads))
            prediction[rows] = gains @ x[rows][:, list(leads)] + offsets[:, None]
        return prediction
