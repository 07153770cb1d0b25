"""inception1d: InceptionTime (Ismail Fawaz et al. 2020) as the PTB-XL benchmark has it (Strodthoff et al. 2021).

With 12 leads it has 510,362 parameters for 26 classes and 516,167 for 71.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecgbench.models.layers.concat_pool import ConcatPoolHead
from ecgbench.models.layers.conv_norm import conv_norm, kaiming_normal, same_conv

RESIDUAL_EVERY = 3
"""Modules that one shortcut spans."""


class InceptionModule(nn.Module):
    """(batch, in_channels, time) -> (batch, out_channels, time).

    Convolutions of several widths over a narrowed input, and a max-pooled branch of the input itself, side by side,
    then batch normalisation and ReLU; out_channels is (number of kernels + 1) * filters.
    """

    def __init__(self, in_channels: int, filters: int, kernels: Sequence[int], bottleneck: int) -> None:
        super().__init__()
        self.narrow = same_conv(in_channels, bottleneck, 1)
        self.convs = nn.ModuleList(same_conv(bottleneck, filters, kernel) for kernel in kernels)
        self.pooled = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), same_conv(in_channels, filters, 1))
        self.norm = nn.BatchNorm1d((len(kernels) + 1) * filters)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """All branches, the convolutions first."""
        narrow = self.narrow(x)
        return self.relu(self.norm(torch.cat([*(conv(narrow) for conv in self.convs), self.pooled(x)], dim=1)))


class ResidualGroup(nn.Module):
    """(batch, in_channels, time) -> (batch, out_channels, time): modules in a row and a shortcut around them."""

    def __init__(self, in_channels: int, filters: int, kernels: Sequence[int], bottleneck: int) -> None:
        super().__init__()
        out_channels = (len(kernels) + 1) * filters
        widths = [in_channels] + [out_channels] * (RESIDUAL_EVERY - 1)
        self.modules_in_row = nn.Sequential(*[InceptionModule(w, filters, kernels, bottleneck) for w in widths])
        self.shortcut = conv_norm(in_channels, out_channels, 1, relu=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways, rectified."""
        return self.relu(self.modules_in_row(x) + self.shortcut(x))


class Inception1d(nn.Module):
    """Logits (batch, class) from (batch, lead, time), of any length; published for 250 samples at 100 Hz.

    `n_modules` is a multiple of 3, `kernels` are odd numbers of samples, `filters` the channels of each branch,
    `bottleneck` the channels that the convolutions see.
    """

    tasks = ("classification",)

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        n_modules: int = 6,
        kernels: Sequence[int] = (39, 19, 9),
        filters: int = 32,
        bottleneck: int = 32,
        head_width: int = 128,
        head_dropout: tuple[float, float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        if n_modules < 1 or n_modules % RESIDUAL_EVERY:
            raise ValueError(
                f"n_modules={n_modules}, but each shortcut spans {RESIDUAL_EVERY}; use a multiple of {RESIDUAL_EVERY}"
            )
        out_channels = (len(kernels) + 1) * filters
        widths = [n_leads] + [out_channels] * (n_modules // RESIDUAL_EVERY - 1)
        self.groups = nn.Sequential(*[ResidualGroup(w, filters, kernels, bottleneck) for w in widths])
        self.head = ConcatPoolHead(out_channels, n_classes, head_width, head_dropout)
        kaiming_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class."""
        return self.head(self.groups(x))
