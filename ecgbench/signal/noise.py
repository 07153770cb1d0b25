"""Mixing noise into a signal at a stated signal-to-noise ratio."""

import numpy as np
from scipy.signal import resample

from ecgbench.signal.resample import resample_rate


def gain_for_snr(clean: np.ndarray, noise: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
    """Factor for `noise` that gives each trace of `clean` the wanted SNR, (...); 0 for an all-zero trace.

    g = sqrt(sum x^2 / (10^(SNR/10) sum n^2)) over the last axis, the noise's mean included (MSECG's public code).
    """
    signal_energy = np.sum(np.square(clean, dtype=np.float64), axis=-1)
    noise_energy = np.sum(np.square(noise, dtype=np.float64), axis=-1)
    wanted = signal_energy / np.power(10.0, np.asarray(snr_db) / 10.0)
    return np.sqrt(np.divide(wanted, noise_energy, out=np.zeros_like(wanted), where=noise_energy > 0))


def thin_as_published(noise: np.ndarray, fs_hz: float, low_fs_hz: float, training: bool) -> np.ndarray:
    """Noise at the low rate the way MSECG's public code thins it, without an anti-alias filter.

    Every k-th sample is kept, k = floor(fs / low_fs) = 7 for 360 to 50 Hz. For training the recording is first
    FFT-resampled to k * low_fs (350 Hz); for validation and test it is not, so that the kept samples lie 1/51.43 s
    apart and are taken for 1/50 s.
    """
    step = int(fs_hz // low_fs_hz)
    if step < 1:
        raise ValueError(
            f"noise at {fs_hz:g} Hz cannot be thinned to {low_fs_hz:g} Hz by the published code; "
            "set noise.rate_path=antialiased"
        )
    if training:
        noise = np.asarray(resample(noise, int(noise.shape[-1] * step * low_fs_hz // fs_hz), axis=-1))
    return noise[..., ::step].astype(np.float32)


def thin_antialiased(noise: np.ndarray, fs_hz: float, low_fs_hz: float) -> np.ndarray:
    """Noise at the low rate by polyphase resampling, (..., time)."""
    return resample_rate(noise, fs_hz, low_fs_hz).astype(np.float32)
