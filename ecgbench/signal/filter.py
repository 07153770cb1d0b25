"""Zero-phase filtering of ECG."""

from functools import lru_cache

import numpy as np
from scipy.signal import butter, filtfilt, firwin


class ShortSignalError(ValueError):
    """A signal that is not longer than the padding its filtering needs."""


def bandpass_filtfilt(signal_mv: np.ndarray, fs_hz: float, low_hz: float, high_hz: float, order: int) -> np.ndarray:
    """The Butterworth band-pass of each lead, forwards and backwards: zero phase, squared magnitude.

    Args:
        signal_mv: (..., time), without NaN, in mV.
        fs_hz: its rate.
        low_hz, high_hz: the -3 dB edges of one pass, so -6 dB edges of the result.
        order: of the low-pass prototype; the band-pass has twice as many poles. MSECG (Lin et al. 2025) uses 2.

    Returns float32 of the same shape, computed in float64 with odd padding of 3 (2 order + 1) samples, scipy's default.
    Raises ValueError when the band does not fit the rate, ShortSignalError when the signal is not longer than the
    padding.
    """
    _check_band(fs_hz, low_hz, high_hz)
    b, a = _design(low_hz, high_hz, fs_hz, order)
    n_padding = 3 * max(len(a), len(b))
    if signal_mv.shape[-1] <= n_padding:
        raise ShortSignalError(
            f"{signal_mv.shape[-1]} samples are too few for a band-pass of order {order}, which needs more than "
            f"{n_padding}; leave the record out"
        )
    return filtfilt(b, a, signal_mv.astype(np.float64), axis=-1).astype(np.float32)


@lru_cache(maxsize=8)
def _design(low_hz: float, high_hz: float, fs_hz: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Transfer function (b, a), the published form; designing it takes a quarter of a ten-second record's filtering."""
    edges_hz = [low_hz, high_hz]
    return butter(order, edges_hz, btype="bandpass", fs=fs_hz)  # pyright: ignore[reportReturnType]  # its stub is a union


def bandpass_fir(signal_mv: np.ndarray, fs_hz: float, low_hz: float, high_hz: float, order: int) -> np.ndarray:
    """The windowed-sinc (Hamming) band-pass of each lead, forwards and backwards: zero phase, squared magnitude.

    Args:
        signal_mv: (..., time), without NaN, in mV.
        fs_hz: its rate.
        low_hz, high_hz: where the gain of one pass is about one half, so a quarter in the result.
        order: number of taps minus one. Natarajan et al. 2020 take 0.3 s * rate, 150 at 500 Hz; they leave the phase
            open, and zero phase is taken here because it moves no wave.

    Returns float32 of the same shape, computed in float64 with odd padding of 3 (order + 1) samples, scipy's default.
    Raises as `bandpass_filtfilt` does.
    """
    _check_band(fs_hz, low_hz, high_hz)
    n_padding = 3 * (order + 1)
    if signal_mv.shape[-1] <= n_padding:
        raise ShortSignalError(
            f"{signal_mv.shape[-1]} samples are too few for an FIR band-pass of order {order}, which needs more than "
            f"{n_padding}; leave the record out"
        )
    taps = firwin(order + 1, [low_hz, high_hz], pass_zero=False, fs=fs_hz)
    return filtfilt(taps, [1.0], signal_mv.astype(np.float64), axis=-1).astype(np.float32)


def _check_band(fs_hz: float, low_hz: float, high_hz: float) -> None:
    """ValueError for a band that the rate has no room for."""
    if not 0 < low_hz < high_hz < fs_hz / 2:
        raise ValueError(
            f"band-pass {low_hz:g}-{high_hz:g} Hz at {fs_hz:g} Hz needs 0 < low < high < {fs_hz / 2:g} Hz (Nyquist); "
            "choose such a band"
        )
