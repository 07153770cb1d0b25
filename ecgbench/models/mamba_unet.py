"""Mamba U-Net: twelve leads from any of them, by a linear model and a U-Net with Mamba blocks that corrects it.

This project's own; no published Mamba network for this was found. What is known of the physics is built in rather than
learned:

* Gain. The input is divided by its own root mean square and the output multiplied by it: f(c x) = c f(x) for c > 0.
* Rank. Only I, II and V1..V6 are predicted; III and the augmented leads follow from I and II (Einthoven, Goldberger).
* Given leads are passed through, and the predicted I and II are moved by as little as makes them agree with them.
* Quasi-static conduction. A lead is roughly a fixed linear filter of another: that filter is a path of its own, and
  the network starts as a small correction to it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.layers.norm import RMSNorm
from ecgbench.models.layers.one_lead import check_time
from ecgbench.models.layers.presence import given_leads
from ecgbench.models.layers.vim import MIXERS, VimBlock

N_LEADS = 12
N_LIMB = 6
N_INDEPENDENT = 8
LIMB_FROM_I_II = ((1.0, 0.0), (0.0, 1.0), (-1.0, 1.0), (-0.5, -0.5), (1.0, -0.5), (-0.5, 1.0))
"""I, II, III, aVR, aVL, aVF as sums of I and II."""
STRIDES = (4, 2, 2)
"""Steps of the level above to one step, by level."""
MULTIPLE = 16
"""The product of the strides."""
N_CONTEXT = 64
"""Length of the vector that tells every level which leads are given."""
EDGE = 9
"""Width of the first and last convolutions at the full rate, in samples."""
SMALLEST_POWER_MV2 = 1e-12
"""Below it, the power of the given leads is rounding error or nothing at all."""


class LimbLeads(nn.Module):
    """The twelve leads of I, II, V1..V6, in agreement with those limb leads that are given.

    Where limb leads are given, I and II are moved to the closest pair (least squares) that explains them: exactly for
    one or two given leads, and for more up to the error with which those satisfy Einthoven's law themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        rows = torch.tensor(LIMB_FROM_I_II, dtype=torch.float64)
        subsets = torch.tensor([[code >> lead & 1 for lead in range(N_LIMB)] for code in range(2**N_LIMB)])
        solve = torch.linalg.pinv(rows * subsets[..., None])
        self.rows: Tensor
        self.solve: Tensor
        self.bits: Tensor
        self.register_buffer("rows", rows.float(), persistent=False)
        self.register_buffer("solve", solve.float(), persistent=False)
        self.register_buffer("bits", 2 ** torch.arange(N_LIMB), persistent=False)

    def expand(self, independent: Tensor) -> Tensor:
        """(batch, 8, time) -> (batch, 12, time)."""
        return torch.cat([self.rows @ independent[:, :2], independent[:, 2:]], dim=1)

    def agree(self, independent: Tensor, x: Tensor, given: Tensor) -> Tensor:
        """(batch, 8, time) with I and II corrected so that the limb leads marked in `given` (batch, 12) equal `x`."""
        plane = independent[:, :2]
        solve = self.solve[(given[:, :N_LIMB] * self.bits).sum(dim=1)]
        return torch.cat([plane + solve @ (x[:, :N_LIMB] - self.rows @ plane), independent[:, 2:]], dim=1)


class Film(nn.Module):
    """Scales and shifts channels by functions of a context vector (Perez et al. 2018); starts close to no change."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(N_CONTEXT, 2 * n_channels)
        nn.init.normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(batch, channel, time), each channel with the gain and the offset that (batch, context) asks for."""
        gain, offset = self.proj(context)[..., None].chunk(2, dim=1)
        return x * (1 + gain) + offset


class ConvBlock(nn.Module):
    """x + conv(dropout(gelu(film(conv(norm(x))))))."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.conv_in = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.film = Film(width)
        self.drop = nn.Dropout1d(dropout)
        self.conv_out = nn.Conv1d(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(batch, width, time)."""
        return x + self.conv_out(self.drop(F.gelu(self.film(self.conv_in(self.norm(x)), context))))


class Level(nn.Module):
    """One resolution: a convolutional block, then `n_layer` Mamba blocks that read both ways."""

    def __init__(self, width: int, n_layer: int, kernel: int, dropout: float, **mixer: Any) -> None:
        super().__init__()
        self.conv = ConvBlock(width, kernel, dropout)
        self.mamba = nn.Sequential(
            *(VimBlock(MIXERS["both"](width, **mixer), RMSNorm(width), 0.0, dropout) for _ in range(n_layer))
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(batch, width, time)."""
        return self.mamba(self.conv(x, context))


class MambaUnet(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV; time a multiple of 16.

    Takes any number of given leads, each in its own channel: a lead copied to other channels ("copy-padding") would be
    taken for those leads. Path one is linear: a filter of `taps` samples from each given lead to each predicted one,
    divided by the number of given leads. Path two is a U-Net over the input and path one's output: four rates (1, 1/4,
    1/8, 1/16), convolutional blocks at all, Mamba blocks at the two lowest, skips added, and every block told by FiLM
    which leads are given. The sum of both, times the input's root mean square, is the prediction.

    Options:
        width: channels at the full rate; `widths` those of the three rates below.
        n_layer: Mamba blocks at each of three places (1/8 and 1/16 down, 1/8 up); 0 leaves a convolutional U-Net.
        kernel: width of the blocks' convolutions, odd; `taps`: of the linear path, odd, 65 are 130 ms at 500 Hz.
        dropout: share of a block's channels, and of a Mamba block's numbers, that is zeroed in training.
        physics: predict the eight independent leads and derive the other four (needs the twelve standard leads);
            otherwise predict all.
        keep_given: return given leads as they are, and with `physics` make I and II agree with them; otherwise they are
            predicted as any other lead.
        pcc_weight: what `training_loss` pays for correlation, in mV^2.
        d_state: states of each channel of a scan.

    Raises:
        ValueError: an option has no meaning, or the input another number of leads or a time that does not fit.
    """

    tasks = ("reconstruction",)
    reads_presence = True
    """Absent leads are told by their zeros, so copies in their place would be taken for given ones."""

    def __init__(
        self,
        n_leads: int,
        width: int = 24,
        widths: Sequence[int] = (48, 96, 128),
        n_layer: int = 1,
        kernel: int = 5,
        taps: int = 65,
        dropout: float = 0.1,
        physics: bool = True,
        keep_given: bool = True,
        pcc_weight: float = 0.02,
        d_state: int = 16,
        scan_backend: str = "auto",
    ) -> None:
        super().__init__()
        _check_options(n_leads, widths, n_layer, kernel, taps, physics)
        self.n_leads = n_leads
        self.keep_given = keep_given
        self.pcc_weight = pcc_weight
        self.limb = LimbLeads() if physics else None
        n_out = N_INDEPENDENT if physics else n_leads
        self.linear = nn.Conv1d(n_leads, n_out, taps, padding=taps // 2, bias=False)
        self.context = nn.Sequential(nn.Linear(n_leads, N_CONTEXT), nn.GELU())
        self.stem = nn.Conv1d(n_leads + n_out, width, EDGE, padding=EDGE // 2)
        self.stem_film = Film(width)
        sizes = (width, *widths)
        steps = [(a, b, 2 * s, s, s // 2) for (a, b), s in zip(pairwise(sizes), STRIDES, strict=True)]
        level = {"kernel": kernel, "dropout": dropout, "d_state": d_state, "scan_backend": scan_backend}
        self.down = nn.ModuleList(nn.Conv1d(a, b, k, s, padding=p) for a, b, k, s, p in steps)
        self.encoder = nn.ModuleList(
            Level(w, n, **level) for w, n in zip(sizes[1:], (0, n_layer, n_layer), strict=True)
        )
        self.up = nn.ModuleList(nn.ConvTranspose1d(b, a, k, s, padding=p) for a, b, k, s, p in steps)
        self.decoder = nn.ModuleList(Level(w, n, **level) for w, n in zip(sizes[:-1], (0, 0, n_layer), strict=True))
        self.head_norm = RMSNorm(width)
        self.head = nn.Conv1d(width, n_out, EDGE, padding=EDGE // 2)
        nn.init.normal_(self.linear.weight, std=1e-3)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """All leads, in mV."""
        if x.shape[1] != self.n_leads:
            raise ValueError(
                f"input has {x.shape[1]} leads, and mamba_unet was built for {self.n_leads}: absent leads must be "
                "channels of zeros."
            )
        check_time(x, MULTIPLE, "mamba_unet")
        given = given_leads(x)
        scale = given_rms(x, given)
        predicted = self._predict(x / scale, given) * scale
        if self.limb is not None:
            agreed = self.limb.agree(predicted, x, given) if self.keep_given else predicted
            predicted = self.limb.expand(agreed)
        return torch.where(given[..., None], x, predicted) if self.keep_given else predicted

    def training_loss(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error of all leads in mV^2, less `pcc_weight` times the mean correlation of the hidden ones.

        Squared error is ruled by the large chest leads of large records; the second term, small beside it, lets the
        small ones count. `x` is the input, `y` the twelve leads, (batch, lead, time); `mask`, bool (batch, time), marks
        the samples that are real.
        """
        prediction = self(x)
        real = mask[:, None].to(y.dtype)
        error = ((prediction - y).square() * real).sum() / (real.sum() * y.shape[1]).clamp(min=1)
        hidden = (~given_leads(x)).to(y.dtype)
        correlation = (soft_pcc(prediction, y, real) * hidden).sum() / hidden.sum().clamp(min=1)
        return error - self.pcc_weight * correlation

    def _predict(self, u: Tensor, given: Tensor) -> Tensor:
        """The independent leads, or all, of an input in units of its root mean square."""
        here = given.to(u.dtype)
        linear = self.linear(u / here.sum(dim=1).clamp(min=1)[:, None, None])
        context = self.context(here)
        h = self.stem_film(self.stem(torch.cat([u, linear], dim=1)), context)
        skips = []
        for down, level in zip(self.down, self.encoder, strict=True):
            skips.append(h)
            h = level(down(h), context)
        for up, level in reversed(list(zip(self.up, self.decoder, strict=True))):
            h = level(up(h) + skips.pop(), context)
        return linear + self.head(F.gelu(self.head_norm(h)))


def given_rms(x: Tensor, given: Tensor) -> Tensor:
    """Root mean square of the given leads of (batch, lead, time) about their means, (batch, 1, 1)."""
    power = torch.var(x, dim=-1, correction=0).sum(dim=1) / given.sum(dim=1).clamp(min=1)
    return power.clamp(min=SMALLEST_POWER_MV2).sqrt()[:, None, None]


def soft_pcc(prediction: Tensor, y: Tensor, real: Tensor, floor_mv2: float = 1e-5) -> Tensor:
    """Pearson correlation over the real samples, (batch, lead), drawn to 0 where a variance nears `floor_mv2`."""
    count = real.sum(dim=-1, keepdim=True).clamp(min=1)
    p = (prediction - (prediction * real).sum(dim=-1, keepdim=True) / count) * real
    t = (y - (y * real).sum(dim=-1, keepdim=True) / count) * real
    p_power, t_power = ((s.square().sum(dim=-1) / count[..., 0] + floor_mv2).rsqrt() for s in (p, t))
    return (p * t).sum(dim=-1) / count[..., 0] * p_power * t_power


def _check_options(n_leads: int, widths: Sequence[int], n_layer: int, kernel: int, taps: int, physics: bool) -> None:
    """Raise ValueError if an option has no meaning."""
    if physics and n_leads != N_LEADS:
        raise ValueError(
            f"model.physics=true derives the standard twelve leads, and {n_leads} were asked for: "
            "set dataset.leads to all 12, or model.physics=false."
        )
    if len(widths) != len(STRIDES):
        raise ValueError(f"model.widths={list(widths)} has {len(widths)} numbers: give {len(STRIDES)}, one by rate.")
    if n_layer < 0:
        raise ValueError(f"model.n_layer={n_layer} is no number of blocks: give 0 or more.")
    for name, given in (("kernel", kernel), ("taps", taps)):
        if given < 1 or given % 2 == 0:
            raise ValueError(f"model.{name}={given} has no centre: give an odd number of samples.")
