"""Amplitude without unit: what classifiers are given instead of millivolts."""

import numpy as np

SPREAD_FLOOR = 1e-6
"""A lead whose spread is smaller is flat; it becomes zero."""


def zscore(signal_mv: np.ndarray) -> np.ndarray:
    """Each lead minus its mean, by its standard deviation, float32 (lead, time); a flat lead becomes zero."""
    centred = signal_mv - signal_mv.mean(axis=-1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=-1, keepdims=True)
    return np.where(spread < SPREAD_FLOOR, 0.0, centred / np.maximum(spread, SPREAD_FLOOR)).astype(np.float32)


def minmax(signal_mv: np.ndarray, record_mv: np.ndarray) -> np.ndarray:
    """Each lead mapped so that its lowest and highest value in `record_mv` are -1 and 1; a flat lead becomes zero.

    signal_mv, record_mv: (lead, time) of one record, the first a part of the second, perhaps with noise.
    """
    low, high = (np.asarray(f(record_mv, axis=-1), dtype=np.float64)[:, None] for f in (np.min, np.max))
    spread = high - low
    scaled = 2 * (signal_mv - low) / np.maximum(spread, SPREAD_FLOOR) - 1
    return np.where(spread < SPREAD_FLOOR, 0.0, scaled).astype(np.float32)


def scalar(signal_mv: np.ndarray, mean_mv: float, std_mv: float) -> np.ndarray:
    """All leads minus one mean, by one standard deviation, float32."""
    return ((signal_mv - mean_mv) / max(std_mv, SPREAD_FLOOR)).astype(np.float32)
