"""The multi-channel block of MCMA (Chen et al. 2024): a short and a long path of convolutions, added and normalised."""

import torch
from torch import Tensor, nn

from ecgbench.models.layers.same_pad import SameConv1d, SameConvTranspose1d

INNER_GELUS = {"tanh": "tanh", "erf": "none"}
"""The GELU after the layer norm: the approximation of the released graph, or exact; PyTorch's name for each."""


class AxisNorm(nn.Module):
    """(batch, channel, time) normalised over one axis, with a gain and an offset per channel.

    `dim` 1 is a layer norm over the channels of each time step; `dim` 2 an instance norm, each channel of each sample
    to mean beta and standard deviation |gamma| over time. The variance is the biased one. An axis of one sample is
    allowed and leaves exactly the offset, where `torch.nn.InstanceNorm1d` would refuse it. Half precision comes out as
    float32, in which the moments are taken.
    """

    def __init__(self, n_channels: int, dim: int, eps: float) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised signal, (batch, channel, time)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = x - x.mean(dim=self.dim, keepdim=True)
        variance = centred.square().mean(dim=self.dim, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight[:, None] + self.bias[:, None]


class McBlock(nn.Module):
    """(batch, channel, time) -> (batch, out_channels, time / stride), or time * stride with `transposed`.

    Short path: convolution, GELU. Long path: convolution, layer norm over channels, GELU, convolution of stride 1,
    GELU. Their sum goes through an instance norm unless `norm` is False. Only the first convolution of each path
    has the stride and is transposed. Raises ValueError for an unknown `inner_gelu` (tanh | erf).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        transposed: bool = False,
        inner_gelu: str = "tanh",
        norm: bool = True,
    ) -> None:
        super().__init__()
        if inner_gelu not in INNER_GELUS:
            raise ValueError(f"model.inner_gelu={inner_gelu!r} is not known: choose one of {', '.join(INNER_GELUS)}.")
        conv = SameConvTranspose1d if transposed else SameConv1d
        self.short = nn.Sequential(conv(in_channels, out_channels, kernel, stride), nn.GELU())
        self.long = nn.Sequential(
            conv(in_channels, out_channels, kernel, stride),
            AxisNorm(out_channels, dim=1, eps=1e-3),
            nn.GELU(approximate=INNER_GELUS[inner_gelu]),
            SameConv1d(out_channels, out_channels, kernel),
            nn.GELU(),
        )
        self.norm = AxisNorm(out_channels, dim=2, eps=1e-9) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both paths, normalised over time."""
        return self.norm(self.short(x) + self.long(x))


def glorot_uniform(model: nn.Module) -> None:
    """Draw all convolution kernels as Keras does by default (Glorot & Bengio 2010) and set their biases to zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
