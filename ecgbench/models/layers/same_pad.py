"""Convolutions whose output length depends on the stride alone: TensorFlow's SAME padding, to the sample.

Where the padding is an odd number of samples, its larger part is on the right; PyTorch's symmetric padding would
shift the output by one sample. See the notes on padding of `tf.nn.convolution`.
"""

from torch import Tensor, nn
from torch.nn import functional


def same_padding(time: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros to put left and right of `time` samples for ceil(time / stride) outputs."""
    total = max((-(-time // stride) - 1) * stride + kernel - time, 0)
    return total // 2, total - total // 2


class SameConv1d(nn.Conv1d):
    """A convolution with bias from time to ceil(time / stride) samples."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)

    def forward(self, input: Tensor) -> Tensor:  # the parent's name
        """(batch, channel, ceil(time / stride))."""
        left, right = same_padding(input.shape[-1], self.kernel_size[0], self.stride[0])
        if left == right:
            return functional.conv1d(input, self.weight, self.bias, self.stride, left)
        return functional.conv1d(functional.pad(input, (left, right)), self.weight, self.bias, self.stride)


class SameConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution with bias from time to exactly time * stride samples.

    The adjoint of a `SameConv1d` of that kernel and stride on time * stride samples: of the full transposed
    convolution, (time - 1) * stride + kernel samples, the first (kernel - stride) // 2 are cut off.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        surplus = kernel - stride
        # Both ends lose the smaller half of the surplus; a kernel below the stride leaves samples of bias alone.
        super().__init__(
            in_channels, out_channels, kernel, stride, padding=max(surplus, 0) // 2, output_padding=max(-surplus, 0)
        )

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # the parent's names
        """(batch, channel, time * stride); another `output_size` is refused with a ValueError."""
        if output_size is not None:
            raise ValueError(f"output_size={output_size} was given, but the output is always time * stride: omit it.")
        return super().forward(input)[..., : input.shape[-1] * self.stride[0]]
