"""Batch normalisation over several CPU processes, which torch's own SyncBatchNorm refuses."""

import torch
import torch.distributed as dist
from pytorch_lightning.plugins import LayerSync
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class GlobalStatistics(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose training statistics cover the batches of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channel, ...) normalised by the global mean and variance of each channel."""
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        values = input.double()  # E[x^2] - E[x]^2 cancels in single precision
        count = torch.full((1,), input.numel() / input.shape[1], dtype=torch.float64, device=input.device)
        others = [dim for dim in range(input.ndim) if dim != 1]
        sums = all_reduce(torch.cat([values.sum(others), values.square().sum(others), count]))
        n = sums[-1].detach()
        mean64, mean_square = (sums[:-1] / n).chunk(2)
        variance64 = mean_square - mean64.square()
        mean, variance = mean64.to(input.dtype), variance64.to(input.dtype)
        self._track(mean.detach(), (variance64 * n / (n - 1)).to(input.dtype).detach())
        scale = torch.rsqrt(variance + self.eps) * self.weight
        mean, scale, bias = (v.view(1, -1, *[1] * (input.ndim - 2)) for v in (mean, scale, self.bias))
        return (input - mean) * scale + bias

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class GlobalBatchNorm1d(GlobalStatistics, nn.BatchNorm1d):
    """BatchNorm1d over all processes."""


class GlobalBatchNorm2d(GlobalStatistics, nn.BatchNorm2d):
    """BatchNorm2d over all processes."""


GLOBAL_OF = {nn.BatchNorm1d: GlobalBatchNorm1d, nn.BatchNorm2d: GlobalBatchNorm2d}
PLAIN_OF = {synced: plain for plain, synced in GLOBAL_OF.items()}


class CpuBatchNormSync(LayerSync):
    """Lightning plugin: trains with global statistics, hands the plain layers back afterwards."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Switch every batch normalisation to global statistics; parameters and buffers stay the same objects."""
        for module in model.modules():
            module.__class__ = GLOBAL_OF.get(type(module), type(module))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Switch back."""
        for module in model.modules():
            module.__class__ = PLAIN_OF.get(type(module), type(module))
        return model
