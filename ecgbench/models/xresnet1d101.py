"""xresnet1d101: the one-dimensional XResNet of the PTB-XL benchmark (Strodthoff et al. 2021).

A residual network of bottlenecks with the stem, the shortcuts and the initial values of He et al. 2019 ("Bag of
tricks"), and the same width in all stages. With 12 leads it has 1,874,970 parameters for 26 classes and 1,880,775
for 71.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ecgbench.models.layers.concat_pool import ConcatPoolHead
from ecgbench.models.layers.conv_norm import conv_norm, kaiming_normal

EXPANSION = 4
"""Channels that leave a bottleneck per channel inside it."""


class Bottleneck(nn.Module):
    """(batch, in_channels, time) -> (batch, EXPANSION * width, ceil(time / stride)).

    Convolutions 1, `kernel` (with the stride) and 1 wide. The shortcut averages pairs of samples where the stride is
    2, a last single sample standing for itself, and is widened by a convolution only where the channels change.
    """

    def __init__(self, in_channels: int, width: int, kernel: int, stride: int, zero_init_last: bool) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        last = conv_norm(width, out_channels, 1, relu=False)
        if zero_init_last:
            nn.init.zeros_(last[1].weight)
        self.body = nn.Sequential(conv_norm(in_channels, width, 1), conv_norm(width, width, kernel, stride), last)
        self.pool = nn.AvgPool1d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.widen = (
            conv_norm(in_channels, out_channels, 1, relu=False) if in_channels != out_channels else nn.Identity()
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The input, refined."""
        return self.relu(self.body(x) + self.widen(self.pool(x)))


class XResNet1d101(nn.Module):
    """Logits (batch, class) from (batch, lead, time), of any length; published for 250 samples at 100 Hz.

    `stem` holds the channels of the three first convolutions, `blocks` the bottlenecks of each stage, `width` the
    channels inside a bottleneck, `kernel` the samples of the wide convolutions, an odd number. With `zero_init_last`
    each bottleneck starts as its shortcut: its last normalisation has gain 0.
    """

    tasks = ("classification",)

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        stem: Sequence[int] = (32, 32, 64),
        blocks: Sequence[int] = (3, 4, 23, 3),
        width: int = 64,
        kernel: int = 5,
        zero_init_last: bool = True,
        head_width: int = 128,
        head_dropout: tuple[float, float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        channels = [n_leads, *stem]
        convs = [conv_norm(channels[i], channels[i + 1], kernel, 2 if i == 0 else 1) for i in range(len(stem))]
        self.stem = nn.Sequential(*convs, nn.MaxPool1d(3, stride=2, padding=1))
        in_channels, stages = channels[-1], []
        for stage, n_blocks in enumerate(blocks):
            for block in range(n_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(Bottleneck(in_channels, width, kernel, stride, zero_init_last))
                in_channels = EXPANSION * width
        self.stages = nn.Sequential(*stages)
        self.head = ConcatPoolHead(in_channels, n_classes, head_width, head_dropout)
        kaiming_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class."""
        return self.head(self.stages(self.stem(x)))
