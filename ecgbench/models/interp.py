"""Classical interpolation, the baseline of super-resolution: no parameters, nothing learned.

Low-rate sample k lies at high-rate sample k * upscale, where decimation took it from. All methods are SciPy's, in
float64 on the CPU, along the last axis of all records and leads at once.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator, make_interp_spline
from scipy.signal import resample, resample_poly
from torch import Tensor, nn


def _piecewise(fit: Callable, signal: np.ndarray, upscale: int) -> np.ndarray:
    """A curve through the samples, read off at the high rate and held after the last sample."""
    time = signal.shape[-1]
    positions = np.minimum(np.arange(time * upscale) / upscale, time - 1)
    return fit(np.arange(time), signal, axis=-1)(positions)


def _fft(signal: np.ndarray, upscale: int) -> np.ndarray:
    """The periodic signal of the same spectrum."""
    return np.asarray(resample(signal, signal.shape[-1] * upscale, axis=-1))


def _polyphase(signal: np.ndarray, upscale: int) -> np.ndarray:
    """A windowed-sinc low-pass (SciPy's default, Kaiser 5.0) over the signal continued by its edge values."""
    return resample_poly(signal, upscale, 1, axis=-1, padtype="edge")


METHODS = {
    "linear": partial(_piecewise, partial(make_interp_spline, k=1)),
    "pchip": partial(_piecewise, PchipInterpolator),
    "cubic": partial(_piecewise, CubicSpline),
    "fft": _fft,
    "polyphase": _polyphase,
}


class Interp(nn.Module):
    """(batch, lead, time) -> (batch, lead, time * upscale), by `method`, for any leads; no gradient flows through it.

    linear: straight lines. pchip: shape-preserving cubics (Fritsch & Carlson 1980). cubic: the not-a-knot spline.
    These three hold the last sample, as nothing follows it. fft: zero-padded spectrum. polyphase: FIR filter.
    """

    tasks = ("superres",)

    def __init__(self, upscale: int, method: str = "cubic") -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"model.method={method!r} is not known: choose one of {', '.join(METHODS)}.")
        self.upscale = upscale
        self.interpolate = METHODS[method]

    def forward(self, x: Tensor) -> Tensor:
        """The signal at `upscale` times its rate, in the type and on the device of `x`."""
        upsampled = self.interpolate(x.detach().to("cpu", torch.float64).numpy(), self.upscale)
        return torch.from_numpy(upsampled).to(x)
