"""Sub-pixel upsampling of a signal: channels become samples."""

from torch import Tensor


def pixel_shuffle_1d(x: Tensor, upscale: int) -> Tensor:
    """(batch, lead * upscale, time) rearranged to (batch, lead, time * upscale).

    Sample `upscale * t + k` of a lead is channel `upscale * lead + k` at time t (Shi et al. 2016, in one dimension).
    """
    return x.unflatten(1, (-1, upscale)).transpose(2, 3).flatten(2)
