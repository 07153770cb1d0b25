"""Batch normalisation over several CPU processes, which torch's own SyncBatchNorm refuses."""

import torch
import torch.distributed as dist
from pytorch_lightning.plugins import LayerSync
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm1d whose training statistics cover the batches of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channel, time) normalised by the global mean and variance of each channel."""
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        values = input.double()  # E[x^2] - E[x]^2 cancels in single precision
        count = torch.full((1,), input.numel() / input.shape[1], dtype=torch.float64, device=input.device)
        sums = all_reduce(torch.cat([values.sum((0, 2)), values.square().sum((0, 2)), count]))
        n = sums[-1].detach()
        mean64, mean_square = (sums[:-1] / n).chunk(2)
        variance64 = mean_square - mean64.square()
        mean, variance = mean64.to(input.dtype), variance64.to(input.dtype)
        self._track(mean.detach(), (variance64 * n / (n - 1)).to(input.dtype).detach())
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (input - mean[:, None]) * scale[:, None] + self.bias[:, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class CpuBatchNormSync(LayerSync):
    """Lightning plugin: trains with `GlobalBatchNorm1d`, hands the plain layers back afterwards."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Switch every BatchNorm1d to global statistics; parameters and buffers stay the same objects."""
        for module in model.modules():
            if type(module) is nn.BatchNorm1d:
                module.__class__ = GlobalBatchNorm1d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Switch back."""
        for module in model.modules():
            if type(module) is GlobalBatchNorm1d:
                module.__class__ = nn.BatchNorm1d
        return model
