"""EKGAN: twelve leads from a copied one, as images, by a U-Net, a label generator and a critic (Joo et al. 2023).

MICCAI 2023. An ECG is an image of 16 rows by time: the twelve leads between two rows of zeros above and below. The
inference generator has 12,530,432 numbers as its authors count: 12,524,672 trained and 5,760 running means and
variances of its batch norms. Of the levels with a single row (the deepest two), half of each kernel meets padding only
and never learns, as in the published network.

What is known to differ from the paper, or to surprise in it:

* Its code shows the *input* image to the label generator, which so learns to copy the copied lead; `label_sees` can
  give it the true twelve leads instead.
* Its learning rate is multiplied by 0.95 in isolated steps only and is otherwise constant; a schedule belongs to the
  training here.
* The paper has windows of 512 samples; any multiple of 32 can be reconstructed, any multiple of 256 trained on.
* The lead is not named to the network. It was made for lead I; other leads are copied in the same way.
"""

from collections.abc import Iterator
from itertools import chain, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.layers.adversarial import frozen
from ecgbench.models.layers.one_lead import check_time, one_lead

Pair = tuple[int, int]

EDGE_ROWS = 2
"""Rows of zeros above the first lead and below the last."""
N_LEADS = 12
WIDTHS = (64, 128, 256, 512, 1024)
STRIDES: tuple[Pair, ...] = ((2, 2), (2, 2), (2, 2), (2, 2), (1, 2))
KERNEL: Pair = (2, 4)
CRITIC_WIDTHS = (32, 64, 128, 256, 512)
CRITIC_KERNELS: tuple[Pair, ...] = ((1, 64), (1, 32), (1, 16), (1, 8), (1, 4))
CRITIC_STRIDES: tuple[Pair, ...] = ((1, 4), (1, 4), (1, 4), (1, 2), (1, 2))
LABEL_SEES = ("input", "target")


def _cut(kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
    """Samples that SAME padding adds before and after, by axis: the surplus of the kernel, its larger half after."""
    surplus = [k - s for k, s in zip(kernel, stride, strict=True)]
    before = (surplus[0] // 2, surplus[1] // 2)
    return before, (surplus[0] - before[0], surplus[1] - before[1])


class SameConv2d(nn.Conv2d):
    """A convolution without bias that divides rows and time by its strides, padded as TensorFlow's SAME."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Pair, stride: Pair) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=False)
        (top, left), (bottom, right) = _cut(kernel, stride)
        self.pad = (left, right, top, bottom)

    def forward(self, input: Tensor) -> Tensor:  # the parent's name
        """(batch, channel, row, time), rows and time divided by the strides."""
        return super().forward(F.pad(input, self.pad))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """The adjoint of `SameConv2d`: multiplies rows and time by its strides."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Pair, stride: Pair) -> None:
        before, _ = _cut(kernel, stride)
        super().__init__(in_channels, out_channels, kernel, stride, padding=before, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # the parent's names
        """(batch, channel, row, time), rows and time multiplied by the strides."""
        rows, time = (n * s for n, s in zip(input.shape[2:], self.stride, strict=True))
        return super().forward(input, output_size)[..., :rows, :time]


def _norm(width: int) -> nn.BatchNorm2d:
    """Keras' batch norm."""
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class ImageUnet(nn.Module):
    """(batch, image, row, time) -> one image of that size and the deepest features, by convolutions of few rows.

    Levels of `widths` channels; LeakyReLU 0.3 on the way down, ReLU on the way up, batch norm everywhere but on the
    first level and the output. Skips, if any, are concatenated. Weights start normal with standard deviation 0.02.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        kernels: tuple[Pair, ...],
        strides: tuple[Pair, ...],
        skips: bool = True,
    ) -> None:
        super().__init__()
        self.skips = skips
        down = zip(pairwise((in_channels, *widths)), kernels, strides, strict=True)
        self.down = nn.ModuleList(SameConv2d(a, b, kernel, stride) for (a, b), kernel, stride in down)
        self.down_norm = nn.ModuleList([nn.Identity(), *(_norm(width) for width in widths[1:])])
        outs = (*widths[-2::-1], 1)
        ins = (widths[-1], *(width * (1 + skips) for width in widths[-2::-1]))
        up = zip(ins, outs, kernels[::-1], strides[::-1], strict=True)
        self.up = nn.ModuleList(SameConvTranspose2d(a, b, kernel, stride) for a, b, kernel, stride in up)
        self.up_norm = nn.ModuleList(_norm(width) for width in outs[:-1])
        for conv in (*self.down, *self.up):
            nn.init.normal_(conv.weight, std=0.02)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The image and (batch, widths[-1], row, time) at the lowest resolution."""
        h, levels = image, []
        for conv, norm in zip(self.down, self.down_norm, strict=True):
            h = F.leaky_relu(norm(conv(h)), 0.3)
            levels.append(h)
        latent = levels.pop()
        for conv, norm in zip(self.up[:-1], self.up_norm, strict=True):
            h = F.relu(norm(conv(h)))
            h = torch.cat([h, levels.pop()], dim=1) if self.skips else h
        return self.up[-1](h), latent


def as_image(leads: Tensor) -> Tensor:
    """(batch, 12, time) -> (batch, 1, 16, time), the leads between rows of zeros."""
    return F.pad(leads, (0, 0, EDGE_ROWS, EDGE_ROWS))[:, None]


class Ekgan(nn.Module):
    """(batch, 12, time) with one given lead -> (batch, 12, time) in mV: the inference generator.

    Whichever lead is given is copied to all twelve rows. Training alternates `discriminator_loss` on
    `discriminator_parameters` and `generator_loss` on `generator_parameters`, among them the label generator's, which
    its own term alone reaches: the published three optimisers in two.

    Options:
        l1_weight: weight of the mean absolute error of the image (lambda); 50 in the comparison of Chen et al. 2024.
        latent_weight: weight of the mean absolute difference of the two generators' deepest features (alpha).
        label_sees: what the label generator rebuilds, "input" (published code) or "target", the true leads.
        base: channels of the first level; 64 published. The others keep their ratios; the critic starts at half of it.

    Raises:
        ValueError: n_leads is not 12; an option's value does not exist; several leads, or a time that does not fit.
    """

    tasks = ("reconstruction",)

    def __init__(
        self,
        n_leads: int = N_LEADS,
        l1_weight: float = 50.0,
        latent_weight: float = 1.0,
        label_sees: str = "input",
        base: int = 64,
    ) -> None:
        super().__init__()
        _check_options(n_leads, label_sees, base)
        self.l1_weight = l1_weight
        self.latent_weight = latent_weight
        self.label_sees = label_sees
        widths = tuple(width * base // WIDTHS[0] for width in WIDTHS)
        critic_widths = tuple(width * base // WIDTHS[0] for width in CRITIC_WIDTHS)
        kernels = (KERNEL,) * len(WIDTHS)
        self.generator = ImageUnet(1, widths, kernels, STRIDES)
        self.label_generator = ImageUnet(1, widths, kernels, STRIDES, skips=False)
        self.discriminator = ImageUnet(2, critic_widths, CRITIC_KERNELS, CRITIC_STRIDES)

    def forward(self, x: Tensor) -> Tensor:
        """The twelve leads, in mV; time a multiple of 32."""
        return self.generator(self._input_image(x, 32))[0][:, 0, EDGE_ROWS:-EDGE_ROWS]

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the inference and the label generator."""
        return chain(self.generator.parameters(), self.label_generator.parameters())

    def discriminator_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the critic."""
        return self.discriminator.parameters()

    def generator_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the critic's verdict, 50 times L1, the latent distance, and the label generator's L1."""
        image, target = self._input_image(x, 256), as_image(y)
        generated, latent = self.generator(image)
        label = image if self.label_sees == "input" else target
        rebuilt, label_latent = self.label_generator(label)
        with frozen(self.discriminator):
            verdict = self._verdict(image, generated)
        return (
            F.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))
            + self.l1_weight * F.l1_loss(generated, target)
            + self.latent_weight * F.l1_loss(latent, label_latent.detach())
            + F.l1_loss(rebuilt, label)
        )

    def discriminator_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropies of the critic's verdicts on true and generated leads, pixel by pixel."""
        image = self._input_image(x, 256)
        with torch.no_grad():
            generated = self.generator(image)[0]
        true, false = self._verdict(image, as_image(y)), self._verdict(image, generated)
        return F.binary_cross_entropy_with_logits(true, torch.ones_like(true)) + F.binary_cross_entropy_with_logits(
            false, torch.zeros_like(false)
        )

    def _input_image(self, x: Tensor, multiple: int) -> Tensor:
        if x.shape[1] != N_LEADS:
            raise ValueError(
                f"input has {x.shape[1]} leads, and ekgan's image has rows for 12: give all twelve channels."
            )
        check_time(x, multiple, "ekgan" if multiple == 32 else "the critic of ekgan")
        return as_image(one_lead(x, "ekgan").expand(-1, N_LEADS, -1))

    def _verdict(self, image: Tensor, leads: Tensor) -> Tensor:
        """Logits, one by pixel, that `leads` are the true ones of the input `image`."""
        return self.discriminator(torch.cat([image, leads], dim=1))[0]


def _check_options(n_leads: int, label_sees: str, base: int) -> None:
    if n_leads != N_LEADS:
        raise ValueError(
            f"ekgan's image has rows for 12 leads, and {n_leads} were asked for: set dataset.leads to all 12."
        )
    if label_sees not in LABEL_SEES:
        raise ValueError(f"model.label_sees={label_sees!r} is not known: choose one of {', '.join(LABEL_SEES)}.")
    if base < 2 or base % 2:
        raise ValueError(
            f"model.base={base} has no half for the critic: give an even number, 2 or more (64 published)."
        )
