"""MCMA: twelve leads from any one, by an additive U-Net of multi-channel blocks (Chen et al. 2024, arXiv 2407.11481).

Written from the published graph: six levels, the skips pass through a block of their own and are added. With 12
leads and kernel 5, the published size, 7,003,604 parameters; 18,186,836 with kernel 13. The stride changes no count.
"""

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from ecgbench.models.layers.mc_block import McBlock, glorot_uniform

WIDTHS = (16, 32, 64, 128, 256, 512)
"""Channels of the encoder, from the full rate down."""

HEADS = ("instance_norm", "linear")

LINEAR_HEAD_SCALE = 0.1
"""Of the linear head's first weights: predictions start within tenths of a millivolt, as the leads are."""


class Mcma(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV.

    `head` instance_norm ends as published: every predicted lead of every window has mean beta and standard deviation
    |gamma| of that lead, whatever the input, so that no amplitude of a patient can be expressed. `head` linear
    replaces that last norm by a learned linear map over the channels (a 1x1 convolution with bias; the two GELUs
    that are added before it cannot reach below -0.34 on their own): 7,003,736 parameters.

    `stride` is that of each of the five down- and upsamplings; time must be a multiple of stride to the fifth, else
    ValueError. With stride 4 and 1024 samples the deepest level is one sample long, which its norm makes constant.
    """

    tasks = ("reconstruction",)

    def __init__(
        self,
        n_leads: int,
        kernel: int = 5,
        stride: int = 2,
        inner_gelu: str = "tanh",
        head: str = "instance_norm",
    ) -> None:
        super().__init__()
        for name, number in (("kernel", kernel), ("stride", stride)):
            if number < 1:
                raise ValueError(f"model.{name}={number} is no number of samples: give 1 or more.")
        if head not in HEADS:
            raise ValueError(f"model.head={head!r} is not known: choose one of {', '.join(HEADS)}.")
        block = partial(McBlock, kernel=kernel, inner_gelu=inner_gelu)
        self.multiple = stride ** (len(WIDTHS) - 1)
        self.conv_in = block(n_leads, WIDTHS[0])
        self.down = nn.ModuleList([block(wide, deep, stride=stride) for wide, deep in pairwise(WIDTHS)])
        self.skip = nn.ModuleList([block(wide, wide) for wide in WIDTHS[:-1]])
        self.up = nn.ModuleList(
            [block(deep, wide, stride=stride, transposed=True) for wide, deep in pairwise(WIDTHS)],
        )
        self.conv_out = block(WIDTHS[0], n_leads, norm=head == "instance_norm")
        self.head = nn.Conv1d(n_leads, n_leads, 1) if head == "linear" else nn.Identity()
        glorot_uniform(self)
        if isinstance(self.head, nn.Conv1d):
            with torch.no_grad():
                self.head.weight *= LINEAR_HEAD_SCALE

    def forward(self, x: Tensor) -> Tensor:
        """All leads, in mV."""
        if x.shape[-1] % self.multiple:
            raise ValueError(
                f"the input has {x.shape[-1]} samples, but mcma with this stride needs a multiple of {self.multiple}: "
                "cut windows of such a length."
            )
        levels = [self.conv_in(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = levels.pop()
        for up, skip, level in reversed(list(zip(self.up, self.skip, levels, strict=True))):
            features = up(features) + skip(level)
        return self.head(self.conv_out(features))
