"""When the heart beats: sinus rhythm with its variability, atrial fibrillation, premature beats."""

from typing import NamedTuple

import numpy as np

from ecgbench.signal.draws import Draws
from ecgbench.signal.heart_dipole import PREMATURE_ATRIAL, PREMATURE_VENTRICULAR, SINUS

MAX_RATE_HZ = 3.0
"""No ventricle here beats faster; sets how many beats are drawn."""
LEAD_IN_S = 3.0
"""Beats start this long before the record, so that waves reaching into it are there."""


class Breath(NamedTuple):
    """The breathing of each record; arrays (record,)."""

    rate_hz: np.ndarray
    phase: np.ndarray

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """Position in the breath, a sine between -1 and 1, for times (record, beat)."""
        return np.sin(2 * np.pi * self.rate_hz[:, None] * time_s + self.phase[:, None])


def beat_count(duration_s: float) -> int:
    """How many beats are drawn for every record, enough at any rate and more than most need."""
    return int(np.ceil((duration_s + 2 * LEAD_IN_S) * MAX_RATE_HZ))


def sinus_onsets(draws: Draws, rate_hz: np.ndarray, vagal: np.ndarray, breath: Breath, n_beats: int) -> np.ndarray:
    """Times of a sinus node's beats in s, (record, beat).

    Integral pulse frequency modulation (Hyndman and Mohn 1975): beat k falls where the integrated rate
    rate * (1 + m(t)) reaches k. m has a part in step with the breath (respiratory sinus arrhythmia) and one near
    0.1 Hz (Mayer waves); `vagal` (record,) is the amplitude of the first as a fraction of the rate.
    """
    mayer = vagal * draws.uniform(0.3, 0.9), draws.uniform(0.07, 0.12), draws.uniform(0, 2 * np.pi)
    parts = [(vagal, breath.rate_hz, breath.phase), mayer]
    unmodulated = (np.arange(n_beats) + draws.uniform(0, 1, 1)) / rate_hz[:, None] - LEAD_IN_S
    onset = unmodulated
    for _ in range(12):  # a contraction: |m| < 0.2, so the error ends below 1e-8 s
        onset = unmodulated - sum(_integral(onset, *part) for part in parts)
    return onset


def _integral(time_s: np.ndarray, amplitude: np.ndarray, rate_hz: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Integral of amplitude * cos(2 pi rate t + phase) over time, (record, beat)."""
    omega = 2 * np.pi * rate_hz[:, None]
    return amplitude[:, None] / omega * np.sin(omega * time_s + phase[:, None])


def fibrillating_onsets(draws: Draws, rate_hz: np.ndarray, shortest_s: np.ndarray, n_beats: int) -> np.ndarray:
    """Times of the beats in atrial fibrillation in s, (record, beat): independent log-normal intervals.

    The coefficient of variation is between 0.17 and 0.27; no interval is below `shortest_s` (record,), the
    refractory time of the atrioventricular node.
    """
    spread = draws.uniform(0.17, 0.27, 1)
    factor = np.exp(draws.normal(0.0, 1.0, n_beats) * spread - spread**2 / 2)
    interval_s = np.maximum(factor / rate_hz[:, None], shortest_s[:, None])
    return np.cumsum(interval_s, axis=1) - LEAD_IN_S - draws.uniform(0, 1, 1) / rate_hz[:, None]


def with_premature(
    draws: Draws, onset_s: np.ndarray, kind: np.ndarray, earliest_s: np.ndarray, duration_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times and kinds of the beats, both (record, beat), after every 3rd to 7th beat came early.

    `kind` (record,) says what the premature beats of a record are; SINUS leaves the record alone. One of them lies
    in the middle half of the record. A premature ventricular beat leaves the sinus node alone, so the pause after
    it is compensatory; a premature atrial beat resets the node. None comes earlier than `earliest_s` (record,)
    after the beat before it.
    """
    n_beats = onset_s.shape[1]
    interval_s = np.diff(onset_s, axis=1, prepend=onset_s[:, :1] - 1.0)
    chosen_s = draws.uniform(0.25, 0.75, 1) * duration_s
    first = np.abs(onset_s - chosen_s).argmin(axis=1)[:, None]
    period = np.floor(draws.uniform(3, 8, 1))
    is_early = ((np.arange(n_beats) - first) % period == 0) & (kind[:, None] != SINUS)
    coupling_s = np.maximum(draws.uniform(0.58, 0.72, n_beats) * interval_s, earliest_s[:, None])
    gain_s = np.where(is_early, (interval_s - coupling_s).clip(min=0), 0.0)
    reset_s = np.cumsum(gain_s, axis=1)
    reset_s -= np.take_along_axis(reset_s - gain_s, first, axis=1)  # the chosen beat stays where it was chosen
    shift_s = np.where((kind == PREMATURE_ATRIAL)[:, None], reset_s, gain_s)
    return onset_s - shift_s, np.where(is_early, kind[:, None], SINUS)


PREMATURE_KIND = {"": SINUS, "PAC": PREMATURE_ATRIAL, "PVC": PREMATURE_VENTRICULAR}
