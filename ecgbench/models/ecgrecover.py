"""ECGrecover: missing leads by a U-Net that reads every lead alone and all leads together (Lence et al. 2025).

KDD 2025, arXiv 2406.16901. Two encoders side by side: one convolves each lead along time with weights shared by all
leads (1 x 4), the other the image of leads by time (13 x 4); both halve time at each of four levels. Their features are
concatenated, and a two-dimensional decoder leads back to one image, with the skips of both encoders. Batch norms, leaky
ReLUs and concatenated skips are an interpretation: the layers between the convolutions are not stated. It so has
1,858,017 parameters.

What differs from the published system:

* It scales every lead to [-1, 1] by that lead's *own* extrema, hidden leads included, which tells the network the
  amplitude that it should predict, and its output is judged in those units. Here everything is divided by the largest
  absolute value of the *given* leads, all that is known; a hidden lead may be larger, so the tanh spans `headroom`
  times that value. Amplitudes are in mV, and a larger one than that cannot be expressed.
* The published loss is kept in its units: there, the true leads are known, and nothing leaks.
* Missing leads stay zero, where the published system fills them with uniform noise, so that a prediction repeats.
* Windows of 1024 samples at 500 Hz, where the published ones are 10 s resampled to 512 samples.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.layers.one_lead import check_time

SMALLEST_PEAK_MV = 1e-6
SMALLEST_RANGE_MV = 0.05
"""Leads flatter than this are not scaled up any further in the loss: they are noise."""


class Encoder(nn.Module):
    """(batch, 1, lead, time) -> one feature image by level, each with half the time of the one before.

    `rows` is how many leads a convolution sees: an odd number, 1 for each lead alone.
    """

    def __init__(self, widths: Sequence[int], rows: int) -> None:
        super().__init__()
        shape = {"kernel_size": (rows, 4), "stride": (1, 2), "padding": (rows // 2, 1), "bias": False}
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, **shape), nn.BatchNorm2d(b), nn.LeakyReLU(0.2))
            for a, b in pairwise((1, *widths))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """The features, the finest first."""
        features = [image]
        for level in self.levels:
            features.append(level(features[-1]))
        return features[1:]


class Decoder(nn.Module):
    """Both encoders' features -> (batch, 1, lead, time), through transposed convolutions over `rows` leads."""

    def __init__(self, widths: Sequence[int], rows: int) -> None:
        super().__init__()
        shape = {"kernel_size": (rows, 4), "stride": (1, 2), "padding": (rows // 2, 1)}
        fine = widths[-2::-1]
        ins = (2 * widths[-1], *(3 * width for width in fine))
        self.levels = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(a, b, bias=False, **shape), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in zip(ins, fine, strict=False)
        )
        self.conv_out = nn.ConvTranspose2d(ins[-1], 1, **shape)

    def forward(self, alone: list[Tensor], together: list[Tensor]) -> Tensor:
        """One image, unbounded."""
        *skips, deepest = (torch.cat(pair, dim=1) for pair in zip(alone, together, strict=True))
        h = deepest
        for level in self.levels:
            h = torch.cat([level(h), skips.pop()], dim=1)
        return self.conv_out(h)


class Ecgrecover(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV; takes any given leads.

    Time must be a multiple of 2 to the number of `widths`. The predicted amplitude is in proportion to that of the
    given leads: f(c x) = c f(x) for c > 0.

    Options:
        widths: channels of the levels of each encoder; 16, 32, 64, 128 published.
        rows: leads that a two-dimensional convolution sees, odd; 13 published.
        headroom: largest prediction, in units of the given leads' largest absolute value.
        pcc_weight: weight of the mean correlation in `training_loss`; 0.1 published.

    Raises:
        ValueError: an option has no meaning, or time does not fit.
    """

    tasks = ("reconstruction",)

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128),
        rows: int = 13,
        headroom: float = 8.0,
        pcc_weight: float = 0.1,
    ) -> None:
        super().__init__()
        _check_options(widths, rows, headroom)
        self.multiple = 2 ** len(widths)
        self.headroom = headroom
        self.pcc_weight = pcc_weight
        self.alone = Encoder(widths, 1)
        self.together = Encoder(widths, rows)
        self.decoder = Decoder(widths, rows)

    def forward(self, x: Tensor) -> Tensor:
        """All leads, in mV."""
        check_time(x, self.multiple, "ecgrecover")
        peak = x.abs().amax(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_PEAK_MV)
        image = (x / peak)[:, None]
        decoded = self.decoder(self.alone(image), self.together(image))[:, 0]
        return torch.tanh(decoded / self.headroom) * self.headroom * peak

    def training_loss(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error in units of half of each true lead's range, less `pcc_weight` times the mean correlation.

        The mean is over all leads, given ones included; `mask`, bool (batch, time), marks the samples that are real.
        """
        prediction = self(x)
        real = mask[:, None]
        high = y.masked_fill(~real, -torch.inf).amax(dim=-1, keepdim=True)
        low = y.masked_fill(~real, torch.inf).amin(dim=-1, keepdim=True)
        half = torch.where(real.any(dim=-1, keepdim=True), high - low, 0).clamp(min=SMALLEST_RANGE_MV) / 2
        p, t = prediction / half * real, y / half * real
        count = real.sum(dim=-1).clamp(min=1)
        error = ((p - t).square().sum(dim=-1) / count).mean()
        return error - self.pcc_weight * _correlation(p, t, real, count).mean()


def _correlation(p: Tensor, t: Tensor, real: Tensor, count: Tensor) -> Tensor:
    """Pearson correlation over the real samples, (batch, lead); 0 where one of the two is constant."""
    p, t = ((s - s.sum(dim=-1, keepdim=True) / count[..., None]) * real for s in (p, t))
    return F.cosine_similarity(p, t, dim=-1, eps=1e-6)


def _check_options(widths: Sequence[int], rows: int, headroom: float) -> None:
    """Raise ValueError if an option has no meaning."""
    if len(widths) < 2:
        raise ValueError(f"model.widths={list(widths)} makes no U-Net: give two widths or more.")
    if rows < 1 or rows % 2 == 0:
        raise ValueError(f"model.rows={rows} has no centre: give an odd number of leads (13 published).")
    if not headroom > 0:
        raise ValueError(f"model.headroom={headroom:g} leaves no room for a signal: give a number above 0.")
