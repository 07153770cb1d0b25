"""How an upsampling factor is shared between two stages."""

from math import isqrt


def two_strides(upscale: int) -> tuple[int, int]:
    """The two factors of `upscale` closest to each other, the larger first: 10 -> (5, 2), 4 -> (2, 2), 7 -> (7, 1)."""
    smaller = next(stride for stride in range(isqrt(upscale), 0, -1) if upscale % stride == 0)
    return upscale // smaller, smaller
