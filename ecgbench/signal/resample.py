"""Changes of sampling rate along the last axis."""

from fractions import Fraction

import numpy as np
from scipy.signal import resample, resample_poly


def decimate_stride(x: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th sample from the first, a view: what lies above the new Nyquist frequency folds back below it.

    The published low-resolution input of MSECG (Lin et al. 2025).
    """
    return x[..., ::factor]


def decimate_antialiased(x: np.ndarray, factor: int) -> np.ndarray:
    """One sample in `factor` after removing everything above the new Nyquist frequency, same dtype.

    The spectrum is cut, not filtered: whatever lies below the new Nyquist frequency keeps its exact amplitude and
    nothing above it survives, where a polyphase filter of usable length has a transition band that does both wrongly.
    The price is that the record is taken as periodic, so a step between its end and its start rings at the edges;
    band-passed ECG, which starts and ends near zero, has next to none.

    Raises ValueError when the length is no multiple of `factor`.
    """
    n_samples = x.shape[-1]
    if n_samples % factor:
        raise ValueError(
            f"{n_samples} samples cannot be decimated by {factor}: the length must be a multiple; cut or pad it first"
        )
    return resample(x, n_samples // factor, axis=-1).astype(x.dtype, copy=False)


def resample_rate(x: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """`x` at `to_hz`: ceil(time * to_hz / from_hz) samples, the first at the same instant, same dtype.

    Polyphase with scipy's anti-aliasing Kaiser window, which takes what lies beyond the ends for zero: so the line
    through the first and the last sample is taken off before and put back after.
    """
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    if ratio <= 0 or abs(from_hz * ratio - to_hz) > 1e-9 * to_hz:
        raise ValueError(
            f"cannot resample from {from_hz:g} to {to_hz:g} Hz: the rates need a ratio of whole numbers up to 1000; "
            "choose such a rate"
        )
    if ratio == 1:
        return x
    x64 = x.astype(np.float64)
    first, n_samples = x64[..., :1], x.shape[-1]
    slope = (x64[..., -1:] - first) / max(n_samples - 1, 1)
    resampled = resample_poly(x64 - first - slope * np.arange(n_samples), ratio.numerator, ratio.denominator, axis=-1)
    resampled += first + slope * np.arange(resampled.shape[-1]) / float(ratio)
    return resampled.astype(x.dtype, copy=False)
