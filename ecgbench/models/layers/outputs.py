"""What a super-resolution model returns when it has more to say than the signal."""

from typing import NamedTuple

from torch import Tensor


class SuperresOutput(NamedTuple):
    """The high-resolution signal, and the model's own reconstruction of its low-resolution input, both in mV."""

    hr: Tensor
    """(batch, lead, time * upscale)."""
    lr: Tensor
    """(batch, lead, time)."""
