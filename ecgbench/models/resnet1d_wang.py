"""resnet1d_wang: the residual network of Wang et al. 2017 as the PTB-XL benchmark has it (Strodthoff et al. 2021).

The benchmark keeps three blocks of 128 features but takes two convolutions a block, 5 and 3 samples wide, halves the
rate in the second and the third, and puts a convolution of 7 samples before them. With 12 leads it has 476,058
parameters for 26 classes and 481,863 for 71.
"""

from torch import Tensor, nn

from ecgbench.models.layers.concat_pool import ConcatPoolHead
from ecgbench.models.layers.conv_norm import conv_norm, kaiming_normal


class BasicBlock(nn.Module):
    """(batch, width, time) -> (batch, width, ceil(time / stride)): two convolutions added to a shortcut."""

    def __init__(self, width: int, kernels: tuple[int, int], stride: int) -> None:
        super().__init__()
        first, second = kernels
        self.body = nn.Sequential(conv_norm(width, width, first, stride), conv_norm(width, width, second, relu=False))
        self.shortcut = conv_norm(width, width, 1, stride, relu=False) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The input, refined."""
        return self.relu(self.body(x) + self.shortcut(x))


class Resnet1dWang(nn.Module):
    """Logits (batch, class) from (batch, lead, time), of any length; published for 250 samples at 100 Hz.

    `width` is the number of features, `n_blocks` that of residual blocks, each but the first of which halves the
    rate; `stem_kernel` and the two `kernels` of a block are odd numbers of samples.
    """

    tasks = ("classification",)

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        width: int = 128,
        n_blocks: int = 3,
        stem_kernel: int = 7,
        kernels: tuple[int, int] = (5, 3),
        head_width: int = 128,
        head_dropout: tuple[float, float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        self.stem = conv_norm(n_leads, width, stem_kernel)
        self.blocks = nn.Sequential(*[BasicBlock(width, kernels, 1 if i == 0 else 2) for i in range(n_blocks)])
        self.head = ConcatPoolHead(width, n_classes, head_width, head_dropout)
        kaiming_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class."""
        return self.head(self.blocks(self.stem(x)))
