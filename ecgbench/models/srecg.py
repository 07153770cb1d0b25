"""SRECG: an SRResNet for ECG (Chen et al. 2023), in the 12-lead form used as the baseline of MSECG (Lin et al. 2024).

With 12 leads and upscale 10 it has 3,051,980 parameters; with `tail` [128, 128] it has 2,461,964, the size that the
MSECG paper quotes (which widths give that size is our inference).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ecgbench.models.layers.strides import two_strides

WIDTH = 64


def _conv(in_channels: int, out_channels: int) -> nn.Conv1d:
    """A convolution 15 samples wide that keeps the length."""
    return nn.Conv1d(in_channels, out_channels, kernel_size=15, padding=7)


def _upsampling(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A transposed convolution to exactly time * stride, and its activation.

    The published kernel of 16 samples, widened for strides that it would leave gaps at; 15 where nothing is to be
    upsampled, since an even kernel cannot keep the length.
    """
    kernel = 15 if stride == 1 else max(16, stride)
    surplus = kernel - stride
    conv = nn.ConvTranspose1d(
        in_channels, out_channels, kernel, stride, padding=(surplus + 1) // 2, output_padding=surplus % 2
    )
    return nn.Sequential(conv, nn.LeakyReLU(0.01))


class ResidualBlock(nn.Module):
    """Two convolutions around one activation, added to their input; nothing after the addition."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.LeakyReLU(0.01), _conv(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, WIDTH, time), refined."""
        return x + self.body(x)


class SRECG(nn.Module):
    """(batch, lead, time) at the low rate -> (batch, lead, time * upscale), in the unit of the input.

    `tail` holds the channels after each of the two upsampling stages, which share `upscale` as the two factors that
    lie closest together, the larger first: 10 = 5 x 2 (published), 4 = 2 x 2, a prime p = p x 1.
    """

    tasks = ("superres",)

    def __init__(self, n_leads: int, upscale: int, n_blocks: int = 16, tail: Sequence[int] = (320, 128)) -> None:
        super().__init__()
        first, second = tail
        strides = two_strides(upscale)
        self.conv_in = nn.Sequential(_conv(n_leads, WIDTH), nn.LeakyReLU(0.01))
        self.blocks = nn.Sequential(*[ResidualBlock() for _ in range(n_blocks)])
        self.conv_merge = nn.Sequential(_conv(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH))
        self.upsample = nn.Sequential(
            _upsampling(WIDTH, first, strides[0]),
            _upsampling(first, second, strides[1]),
        )
        self.conv_out = _conv(second, n_leads)

    def forward(self, x: Tensor) -> Tensor:
        """The signal at `upscale` times its rate."""
        features = self.conv_in(x)
        features = features + self.conv_merge(self.blocks(features))
        return self.conv_out(self.upsample(features))
