"""First and second moments of the leads, gathered batch by batch: what the memoryless baselines learn from."""

import torch
from torch import Tensor, nn


class LeadMoments(nn.Module):
    """Means and covariances of the leads over all real samples of a training split, in float64; no parameters.

    The buffers are sums over samples, so that those of several processes add up to those of all their data.
    """

    count: Tensor
    total: Tensor
    product: Tensor

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total", torch.zeros(n_leads, dtype=torch.float64))
        self.register_buffer("product", torch.zeros(n_leads, n_leads, dtype=torch.float64))

    def accumulate(self, y: Tensor, mask: Tensor) -> None:
        """Adds the samples of (batch, lead, time) at which `mask`, bool (batch, time), is True."""
        samples = y.transpose(1, 2)[mask].double()
        self.count += len(samples)
        self.total += samples.sum(dim=0)
        self.product += samples.T @ samples

    def mean(self) -> Tensor:
        """(lead,), in the unit of the leads; ValueError when no sample was seen."""
        if self.count == 0:
            raise ValueError("no training sample was accumulated: pass the training targets to accumulate first.")
        return self.total.double() / self.count.double()

    def covariance(self) -> Tensor:
        """(lead, lead), biased; ValueError when no sample was seen."""
        mean = self.mean()
        return self.product.double() / self.count.double() - torch.outer(mean, mean)
