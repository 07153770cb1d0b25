"""Convolutions with batch normalisation, and the initial values of the networks built from them."""

from torch import nn


def same_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    """A convolution without bias after which time is ceil(time / stride); refuses an even kernel with a ValueError."""
    if kernel % 2 == 0:
        raise ValueError(f"a kernel of {kernel} samples cannot keep the length; use an odd number")
    return nn.Conv1d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A `same_conv`, its batch normalisation and, if `relu`, a ReLU."""
    norm = nn.BatchNorm1d(out_channels)
    return nn.Sequential(same_conv(in_channels, out_channels, kernel, stride), norm, *([nn.ReLU()] if relu else []))


def kaiming_normal(model: nn.Module) -> None:
    """Draw all convolutional and linear weights for ReLU networks (He et al. 2015) and set their biases to zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
