"""A plain one-dimensional U-Net (after Ronneberger et al. 2015), the common convolutional baseline; no paper's network.

With 12 leads, width 24 and depth 4 it has 4,174,452 parameters.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ecgbench.models.layers.conv_norm import conv_norm, kaiming_normal


def _double_conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU, twice."""
    return nn.Sequential(conv_norm(in_channels, out_channels, kernel), conv_norm(out_channels, out_channels, kernel))


class Unet1d(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV.

    `depth` max-poolings by 2, each followed by twice the channels, from `width` on; transposed convolutions of kernel
    and stride 2 lead back up, the skips are concatenated, and a 1x1 convolution with bias ends it. Time must be a
    multiple of 2 ** depth, else ValueError; so is an even `kernel`.
    """

    tasks = ("reconstruction",)

    def __init__(self, n_leads: int, width: int = 24, depth: int = 4, kernel: int = 9) -> None:
        super().__init__()
        for name, number in (("width", width), ("depth", depth)):
            if number < 1:
                raise ValueError(f"model.{name}={number} leaves no U-Net: give 1 or more.")
        widths = [width << level for level in range(depth + 1)]
        self.multiple = 1 << depth
        self.conv_in = _double_conv(n_leads, width, kernel)
        self.down = nn.ModuleList(
            [nn.Sequential(nn.MaxPool1d(2), _double_conv(wide, deep, kernel)) for wide, deep in pairwise(widths)],
        )
        self.up = nn.ModuleList([nn.ConvTranspose1d(deep, wide, 2, stride=2) for wide, deep in pairwise(widths)])
        self.merge = nn.ModuleList([_double_conv(2 * wide, wide, kernel) for wide in widths[:-1]])
        self.conv_out = nn.Conv1d(width, n_leads, 1)
        kaiming_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """All leads, in mV."""
        if x.shape[-1] % self.multiple:
            raise ValueError(
                f"the input has {x.shape[-1]} samples, but unet1d of this depth needs a multiple of {self.multiple}: "
                "cut windows of such a length."
            )
        levels = [self.conv_in(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = levels.pop()
        for up, merge, level in reversed(list(zip(self.up, self.merge, levels, strict=True))):
            features = merge(torch.cat([level, up(features)], dim=1))
        return self.conv_out(features)
