"""What a cardiologist would read off a rebuilt record: heart rate, R amplitude and intervals, against the true ones.

Records are (lead, time) in mV, leads in the standard order; every result is of one record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgbench.data.record import LEADS
from ecgbench.metrics.heart_rate import heart_rate_mae_bpm, spread
from ecgbench.metrics.reconstruction import FLAT_MV
from ecgbench.signal.peaks import Waves, delineate, heart_rate_bpm, r_peaks

INTERVAL_LEADS = ("II", "aVF", "I", "III", "V6", "V5", "V4", "V3", "V2", "V1", "aVL", "aVR")
"""Where intervals are measured: the first of these that was not given. The frontal leads by their angle to II, then
the chest leads from the left; aVL and aVR, whose waves are the smallest and the inverted ones, last."""
HALF_QRS_S = 0.05
"""How far from the true R peak the highest value is looked for."""
MARK_FS_HZ = 500.0
"""Rate at which annotated waves count their samples (LUDB)."""
INTERVALS = ("qrs_error_ms", "qt_error_ms", "pr_error_ms")


class Intervals(NamedTuple):
    """The median intervals of one lead over its beats, ms; NaN where no beat has both ends."""

    qrs_ms: float
    qt_ms: float
    pr_ms: float


@dataclass(frozen=True)
class TrueFeatures:
    """What a true record holds, measured once for all systems and inputs."""

    fs_hz: float
    rate_clean_bpm: np.ndarray
    """(lead,), NaN where none is found; R peaks after cleaning."""
    rate_bpm: np.ndarray
    """(lead,), R peaks without cleaning."""
    beats: np.ndarray
    """int64 (beat,): R peaks of lead II, or of the first lead in which any is found."""
    amplitude_uv: np.ndarray
    """(beat, lead), NaN in leads that are flat."""
    intervals: Mapping[str, Intervals] = field(repr=False)
    """By lead, those that some input's intervals are measured in."""


def true_features(
    record_mv: np.ndarray, fs_hz: float, inputs: Sequence[tuple[str, ...]], marks: pd.DataFrame | None
) -> TrueFeatures:
    """The features of a true record.

    Args:
        record_mv: (lead, time).
        fs_hz: its rate.
        inputs: the lead sets that will be given, which say in which leads intervals are compared.
        marks: waves marked by people (`Ludb.delineation`), taken for the truth; None for neurokit2's.
    """
    beats = next((found for lead in INTERVAL_LEADS if len(found := _peaks(record_mv, lead, fs_hz))), np.empty(0, int))
    amplitude = r_amplitudes_uv(record_mv, beats, fs_hz)
    amplitude[:, record_mv.std(axis=1) < FLAT_MV] = np.nan
    measured = dict.fromkeys(interval_lead(given) for given in inputs)
    return TrueFeatures(
        fs_hz,
        rates_bpm(record_mv, fs_hz, clean=True),
        rates_bpm(record_mv, fs_hz, clean=False),
        beats,
        amplitude,
        {lead: _true_intervals(record_mv, lead, fs_hz, marks) for lead in measured},
    )


def compare_features(record_mv: np.ndarray, given: Sequence[str], truth: TrueFeatures) -> dict[str, float]:
    """The feature metrics of a rebuilt record whose leads `given` were known, and `r_true:<lead>`, `r_pred:<lead>`.

    The last two are the mean R amplitude of a lead, uV, for the calibration over records.
    """
    hidden = ~np.isin(LEADS, given)
    return {
        **compare_rates(record_mv, hidden, truth),
        **compare_amplitudes(record_mv, hidden, truth),
        **compare_intervals(record_mv, given, truth),
        **official_rates(rates_bpm(record_mv, truth.fs_hz, clean=False), truth.rate_bpm),
    }


def rates_bpm(record_mv: np.ndarray, fs_hz: float, clean: bool) -> np.ndarray:
    """The heart rate of every lead, (lead,), NaN where none is found."""
    return np.array([heart_rate_bpm(lead_mv, fs_hz, clean) for lead_mv in record_mv])


def compare_rates(record_mv: np.ndarray, hidden: np.ndarray, truth: TrueFeatures) -> dict[str, float]:
    """Error of the hidden leads' heart rates, and the share of them that was lost."""
    true = truth.rate_clean_bpm[hidden]
    found = rates_bpm(record_mv[hidden], truth.fs_hz, clean=True)
    known = np.isfinite(true)
    lost = known & ~np.isfinite(found)
    return {
        "hr_mae_bpm": float(heart_rate_mae_bpm(true[None], found[None], "exclude")[0]),
        "hr_failed_pct": 100 * float(lost.sum() / known.sum()) if known.any() else np.nan,
    }


def official_rates(found_bpm: np.ndarray, true_bpm: np.ndarray) -> dict[str, float]:
    """MCMA's consistency and error of the heart rates of all leads, (lead,) each; a failure counts as 0 bpm."""
    of_record = spread(found_bpm[None], "zero")
    return {
        "official_hr_sd_bpm": float(of_record.sd_bpm[0]),
        "official_hr_cv_pct": float(of_record.cv_pct[0]),
        "official_hr_range_bpm": float(of_record.range_bpm[0]),
        "official_hr_mae_bpm": float(heart_rate_mae_bpm(true_bpm[None], found_bpm[None], "zero")[0]),
    }


def r_amplitudes_uv(record_mv: np.ndarray, beats: np.ndarray, fs_hz: float) -> np.ndarray:
    """The highest value within 50 ms of each R peak minus the lead's median, uV, (beat, lead).

    The highest of some samples and not the one at the peak: the R waves of the leads are not simultaneous. At the ends
    of a record the window is cut.
    """
    reach = round(HALF_QRS_S * fs_hz)
    level = np.median(record_mv, axis=1)
    highest = [record_mv[:, max(0, beat - reach) : beat + reach + 1].max(axis=1) - level for beat in beats]
    return 1e3 * np.array(highest, dtype=np.float64).reshape(-1, len(record_mv))


def compare_amplitudes(record_mv: np.ndarray, hidden: np.ndarray, truth: TrueFeatures) -> dict[str, float]:
    """Error of the hidden leads' R amplitudes, and the mean amplitude of every lead."""
    found = r_amplitudes_uv(record_mv, truth.beats, truth.fs_hz)
    compared = hidden & np.isfinite(truth.amplitude_uv).all(axis=0)
    error = np.abs(found - truth.amplitude_uv)[:, compared]
    means = {"r_pred": found, "r_true": truth.amplitude_uv}
    return {
        "r_amplitude_error_uv": float(error.mean()) if error.size else np.nan,
        **{
            f"{name}:{lead}": float(values[:, i].mean()) if len(values) else np.nan
            for name, values in means.items()
            for i, lead in enumerate(LEADS)
        },
    }


def interval_lead(given: Sequence[str]) -> str:
    """The lead in which the intervals of a record with these given leads are measured."""
    return next(lead for lead in INTERVAL_LEADS if lead not in given)


def compare_intervals(record_mv: np.ndarray, given: Sequence[str], truth: TrueFeatures) -> dict[str, float]:
    """Absolute errors of the median intervals, ms; NaN where either was not found."""
    lead = interval_lead(given)
    found = intervals(delineate(record_mv[LEADS.index(lead)], truth.fs_hz), truth.fs_hz)
    errors = [abs(x - y) for x, y in zip(found, truth.intervals[lead], strict=True)]
    return dict(zip(INTERVALS, errors, strict=True))


def intervals(waves: Waves, fs_hz: float) -> Intervals:
    """The median intervals of some beats."""
    pairs = (
        (waves.qrs_onset, waves.qrs_offset),
        (waves.qrs_onset, waves.t_offset),
        (waves.p_onset, waves.qrs_onset),
    )
    return Intervals(*(_median(1e3 * (stop - start) / fs_hz) for start, stop in pairs))


def marked_waves(marks: pd.DataFrame, lead: str) -> Waves:
    """The waves that people marked in one lead, by beat: a QRS with the P before it and the T behind it.

    A P belongs to the next QRS, a T to the last one; where several lie between two QRS, the P nearest to its QRS
    and the first T count.
    """
    own = marks[marks["lead"] == lead]
    p, qrs, t = (own[own["wave"] == wave].sort_values("peak") for wave in ("P", "QRS", "T"))
    peaks = qrs["peak"].to_numpy(dtype=np.float64)
    before = np.concatenate([[-np.inf], peaks])[:-1]
    behind = np.concatenate([peaks, [np.inf]])[1:]
    of_p = [_last(p[(p["peak"] > low) & (p["peak"] < high)]) for low, high in zip(before, peaks, strict=True)]
    of_t = [_last(t[(t["peak"] > low) & (t["peak"] < high)][::-1]) for low, high in zip(peaks, behind, strict=True)]
    columns = [np.array(rows, dtype=np.float64).reshape(-1, 3).T for rows in (of_p, of_t)]
    onset, offset = (qrs[name].to_numpy(dtype=np.float64) for name in ("onset", "offset"))
    return Waves(*columns[0], onset, peaks, offset, *columns[1])


def _true_intervals(record_mv: np.ndarray, lead: str, fs_hz: float, marks: pd.DataFrame | None) -> Intervals:
    """The intervals of a true lead."""
    if marks is not None:
        return intervals(marked_waves(marks, lead), MARK_FS_HZ)
    return intervals(delineate(record_mv[LEADS.index(lead)], fs_hz), fs_hz)


def _peaks(record_mv: np.ndarray, lead: str, fs_hz: float) -> np.ndarray:
    """The R peaks of one lead after cleaning."""
    return r_peaks(record_mv[LEADS.index(lead)], fs_hz, clean=True)


def _last(waves: pd.DataFrame) -> tuple[float, float, float]:
    """Onset, peak and offset of the last of some waves; NaN for none."""
    if waves.empty:
        return np.nan, np.nan, np.nan
    onset, peak, offset = waves.iloc[-1][["onset", "peak", "offset"]]
    return float(onset), float(peak), float(offset)


def _median(values: np.ndarray) -> float:
    """Median of the finite values, NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan
