"""CGAN: twelve leads from one, by a residual U-Net trained against a critic (Zhan, Chen et al. 2024).

Biomedical Signal Processing and Control 95:106377. The generator is the one its authors saved for their comparison
with MCMA: seven halvings, 1024 samples to 8. Widths on the way up mirror those on the way down, and a shortcut is added
to its branch: neither is stated. It then has 19,652,492 parameters; none are published for it.

The rest of the training is a choice among the authors' two releases: least-squares adversarial terms (Mao et al. 2017)
from one, twice the mean absolute error from the other; soft-DTW, the second term of the first, is left out. The critic,
of which no layer is known, is a PatchGAN of four convolutions with stride 2 over input and twelve leads (Isola et al.
2017), 696,257 parameters. The lead is not named to the network; the authors trained it for lead I.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.layers.adversarial import frozen
from ecgbench.models.layers.one_lead import check_time, one_lead
from ecgbench.models.layers.same_pad import SameConv1d, SameConvTranspose1d

WIDTHS = (64, 128, 256, 512, 512, 512, 512, 1024)
"""Channels at the full rate and after each of the seven halvings."""
MULTIPLE = 128
N_INSTANCE_NORM = 3
"""Of the ups, so many have an instance norm and dropout; the others a batch norm."""
SLOPE = 0.2


def _instance_norm(width: int) -> nn.InstanceNorm1d:
    return nn.InstanceNorm1d(width, eps=1e-3, affine=True)


class Down(nn.Module):
    """(batch, in, time) -> (batch, out, time / 2): convolution, norm and pooling, plus a 1x1 shortcut of stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            SameConv1d(in_channels, out_channels, 4),
            _instance_norm(out_channels),
            nn.LeakyReLU(SLOPE),
            nn.MaxPool1d(2),
        )
        self.shortcut = nn.Sequential(SameConv1d(in_channels, out_channels, 1, 2), nn.LeakyReLU(SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        """Half the samples."""
        return self.branch(x) + self.shortcut(x)


class Up(nn.Module):
    """(batch, in, time) -> (batch, out, time * 2): transposed convolution and norm, plus a 1x1 shortcut of stride 2."""

    def __init__(self, in_channels: int, out_channels: int, instance_norm: bool, dropout: float) -> None:
        super().__init__()
        if instance_norm:
            rest = [_instance_norm(out_channels), nn.Dropout(dropout), nn.ReLU()]
        else:
            rest = [nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01), nn.LeakyReLU(SLOPE)]
        self.branch = nn.Sequential(SameConvTranspose1d(in_channels, out_channels, 4, 2), *rest)
        self.shortcut = nn.Sequential(SameConvTranspose1d(in_channels, out_channels, 1, 2), nn.ELU())

    def forward(self, x: Tensor) -> Tensor:
        """Twice the samples."""
        return self.branch(x) + self.shortcut(x)


class Generator(nn.Module):
    """(batch, 1, time) -> (batch, lead, time)."""

    def __init__(self, n_leads: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.conv_in = SameConv1d(1, widths[0], 17)
        self.down = nn.ModuleList(Down(a, b) for a, b in pairwise(widths))
        outs = widths[-2::-1]
        ins = (widths[-1], *(2 * width for width in outs[:-1]))
        self.up = nn.ModuleList(
            Up(a, b, level < N_INSTANCE_NORM, dropout) for level, (a, b) in enumerate(zip(ins, outs, strict=True))
        )
        self.conv_out = SameConvTranspose1d(2 * widths[0], n_leads, 5)

    def forward(self, lead: Tensor) -> Tensor:
        """The leads; the last LeakyReLU makes what is below zero five times harder to reach."""
        h = self.conv_in(lead)
        levels = []
        for down in self.down:
            levels.append(h)
            h = down(h)
        for up in self.up:
            h = torch.cat([up(h), levels.pop()], dim=1)
        return F.leaky_relu(self.conv_out(h), SLOPE)


def _critic(n_leads: int, base: int) -> nn.Sequential:
    """(batch, 1 + lead, time) -> (batch, 1, time / 16), large where the leads look true."""
    widths = (base, 2 * base, 4 * base, 8 * base)
    layers: list[nn.Module] = [SameConv1d(1 + n_leads, base, 4, 2), nn.LeakyReLU(SLOPE)]
    for a, b in pairwise(widths):
        layers += [SameConv1d(a, b, 4, 2), _instance_norm(b), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, SameConv1d(widths[-1], 1, 4))


class Cgan(nn.Module):
    """(batch, lead, time) with one given lead -> (batch, lead, time) in mV: the generator; time a multiple of 128.

    Training alternates `discriminator_loss` on `discriminator_parameters` and `generator_loss` on
    `generator_parameters`.

    Options:
        l1_weight: weight of the mean absolute error beside the adversarial term.
        dropout: probability of zeroing a number in the first three ups.
        base: channels at the full rate, 64 published; all others keep their ratio to it.

    Raises:
        ValueError: several different leads are given, time is no multiple of 128, or `base` is below 1.
    """

    tasks = ("reconstruction",)

    def __init__(self, n_leads: int, l1_weight: float = 2.0, dropout: float = 0.2, base: int = 64) -> None:
        super().__init__()
        if base < 1:
            raise ValueError(f"model.base={base} leaves no channel: give 1 or more (64 published).")
        self.l1_weight = l1_weight
        self.generator = Generator(n_leads, tuple(width * base // WIDTHS[0] for width in WIDTHS), dropout)
        self.discriminator = _critic(n_leads, base)

    def forward(self, x: Tensor) -> Tensor:
        """All leads, in mV."""
        return self.generator(self._lead(x))

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the generator."""
        return self.generator.parameters()

    def discriminator_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the critic."""
        return self.discriminator.parameters()

    def generator_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean squared distance of the critic's verdict from "true" (1), plus the weighted mean absolute error."""
        lead = self._lead(x)
        generated = self.generator(lead)
        with frozen(self.discriminator):
            verdict = self.discriminator(torch.cat([lead, generated], dim=1))
        return (verdict - 1).square().mean() + self.l1_weight * F.l1_loss(generated, y)

    def discriminator_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Half the mean squared distances of the critic's verdicts from 1 on true and from 0 on generated leads."""
        lead = self._lead(x)
        with torch.no_grad():
            generated = self.generator(lead)
        true, false = (self.discriminator(torch.cat([lead, leads], dim=1)) for leads in (y, generated))
        return ((true - 1).square().mean() + false.square().mean()) / 2

    def _lead(self, x: Tensor) -> Tensor:
        check_time(x, MULTIPLE, "cgan")
        return one_lead(x, "cgan")
