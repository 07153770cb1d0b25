"""Changes of sampling rate along the last axis."""

from fractions import Fraction

import numpy as np
from scipy.signal import resample, resample_poly

LARGEST_POLYPHASE = 100
"""Largest member of a rate ratio that is resampled by a polyphase filter; 500/257 (INCART) goes through the FFT."""


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

    Polyphase with scipy's anti-aliasing Kaiser window, or through the FFT where the ratio has no small terms (as
    ISIBrno's code does for 257 Hz, Nejedly et al. 2021). Both take what lies beyond the ends for zero: so the line
    through the first and the last sample is taken off before and put back after.
    """
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    if ratio <= 0 or abs(from_hz * ratio - to_hz) > 1e-9 * to_hz:
        raise ValueError(
            f"cannot resample from {from_hz:g} to {to_hz:g} Hz: the rates need a ratio of whole numbers up to 1000; "
            "choose such a rate"
        )
    if ratio == 1 or not x.shape[-1]:
        return x
    x64 = x.astype(np.float64)
    first, n_samples = x64[..., :1], x.shape[-1]
    slope = (x64[..., -1:] - first) / max(n_samples - 1, 1)
    level = x64 - first - slope * np.arange(n_samples)
    by_filter = max(ratio.numerator, ratio.denominator) <= LARGEST_POLYPHASE
    resampled = resample_poly(level, *ratio.as_integer_ratio(), axis=-1) if by_filter else _by_fft(level, ratio)
    resampled += first + slope * np.arange(resampled.shape[-1]) / float(ratio)
    return resampled.astype(x.dtype, copy=False)


def _by_fft(x: np.ndarray, ratio: Fraction) -> np.ndarray:
    """`x` at `ratio` times its rate, its spectrum cut or continued by zeros."""
    n_samples = x.shape[-1]
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -n_samples % ratio.denominator)])
    resampled = resample(padded, int(padded.shape[-1] * ratio), axis=-1)
    return np.asarray(resampled)[..., : -int(-n_samples * ratio // 1)]
