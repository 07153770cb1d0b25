"""Facts beside the signal for wide-and-deep models: rhythm and wave measures of lead II, age and sex.

Natarajan et al. 2020 (Prna) join 20 measures of lead II, picked by a random forest, and age and sex to their network.
Known of the 20: minimum, maximum and mean heart rate, median RR interval, RMSSD, the correlation coefficient of the
P wave, and median and standard deviation of the T wave's multiscale permutation entropy. The other twelve of
`MEASURES` stand in for the rest of their list: measures of rhythm and waves that cardiologists read.
"""

from typing import NamedTuple

import numpy as np

from ecgbench.signal.peaks import quiet
from ecgbench.signal.resample import resample_rate

FS_HZ = 500.0
"""Everything is measured at this rate, so that a measure means the same at every rate of recording."""


class Measure(NamedTuple):
    """A measured fact, and the typical value and spread that bring it to order 1."""

    name: str
    centre: float
    scale: float
    published: bool


MEASURES = (
    Measure("hr_min_bpm", 65, 20, True),
    Measure("hr_max_bpm", 85, 30, True),
    Measure("hr_mean_bpm", 75, 20, True),
    Measure("rr_median_s", 0.8, 0.2, True),
    Measure("rr_rmssd_s", 0.05, 0.1, True),
    Measure("p_correlation", 0.9, 0.2, True),
    Measure("t_entropy_median", 0.46, 0.05, True),
    Measure("t_entropy_std", 0.03, 0.03, True),
    Measure("rr_std_s", 0.05, 0.1, False),
    Measure("rr_range_ratio", 0.2, 0.3, False),
    Measure("rr_early_share", 0.05, 0.1, False),
    Measure("st_level_mv", 0.0, 0.1, False),
    Measure("p_amplitude_mv", 0.1, 0.1, False),
    Measure("pr_interval_s", 0.16, 0.04, False),
    Measure("qrs_duration_s", 0.09, 0.02, False),
    Measure("qrs_correlation", 0.95, 0.1, False),
    Measure("r_amplitude_mv", 0.8, 0.5, False),
    Measure("r_amplitude_std_mv", 0.05, 0.1, False),
    Measure("qtc_s", 0.42, 0.04, False),
    Measure("t_amplitude_mv", 0.25, 0.2, False),
)
"""The twenty measures of lead II.

rr_range_ratio: (longest - shortest RR) / median; rr_early_share: share of RR intervals under 85 % of the median;
correlations: median over beats of the correlation with the median beat; amplitudes and levels: median over beats,
against the onset of the QRS complex; st_level_mv: 60 ms after its end; pr_interval_s: P onset to QRS onset; qtc_s: QT
by Fridericia, whose T end the delineator looks for in the first half of the RR interval only. All on neurokit2's
cleaned signal, whose 20 ms average takes about a seventh off a narrow R.
"""

WIDE_NAMES = (*(m.name for m in MEASURES), "age_years", "is_male")
"""The 22 entries of `wide_features`, in order."""

LIMIT = 5.0
"""Scaled measures are held within +- this: a wrong peak must not outweigh everything else."""


def wide_features(
    signal_mv: np.ndarray, fs_hz: float, age_years: float | None = None, is_male: float | None = None
) -> np.ndarray:
    """The 22 facts of `WIDE_NAMES`, float32 (22,), each (value - typical value) / spread and within +-5.

    Whatever is not known, an undetected wave as well as an age, is 0, the typical value. Count failures with `measure`,
    which has NaN there. Age is (years - 60) / 20; sex is 1 for male, -1 for female.

    Args:
        signal_mv: lead II, (time,), in mV, not or only mildly filtered; NaN counts as 0.
        fs_hz: its rate.
        age_years, is_male: None or NaN where unknown; male is 1 or True, female 0 or False.
    """
    centre, scale = np.array([(m.centre, m.scale) for m in MEASURES]).T
    measured = (measure(signal_mv, fs_hz) - centre) / scale
    age = np.nan if age_years is None else (age_years - 60) / 20
    sex = np.nan if is_male is None else 2.0 * is_male - 1
    features = np.nan_to_num(np.append(measured, [age, sex]), nan=0.0, posinf=LIMIT, neginf=-LIMIT)
    return features.clip(-LIMIT, LIMIT).astype(np.float32)


def measure(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """The measures of `MEASURES` in their units, float64 (20,); NaN where the wave or the beats were not found.

    Never raises on noise, a flat line or a short signal: with fewer than two R peaks all are NaN. R peaks and waves by
    neurokit2 (Makowski et al. 2021), waves by its peak-prominence delineator: on lead II of LUDB it is closer to the
    cardiologists than the wavelet one, at a twelfth of the time.
    """
    signal = np.nan_to_num(np.asarray(signal_mv, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if fs_hz != FS_HZ:
        signal = resample_rate(signal, fs_hz, FS_HZ)
    values = dict.fromkeys((m.name for m in MEASURES), np.nan)
    if not np.any(np.diff(signal)):
        return np.array(list(values.values()))
    with quiet():
        clean, waves = _delineated(signal)
        if len(waves["R"]) >= 2:
            values |= _rhythm(np.diff(waves["R"]) / FS_HZ) | _waves(clean, waves)
    return np.array([values[m.name] for m in MEASURES])


def _delineated(signal: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The cleaned signal, and sample numbers per beat: R, and the names of `_KEYS`, NaN where not found.

    No beats, or beats without waves, where neurokit2 gives up, which it does by exceptions of many types.
    """
    import neurokit2 as nk  # two seconds to import

    rate = int(FS_HZ)
    try:
        clean = np.asarray(nk.ecg_clean(signal, sampling_rate=rate))
        for detector in ("neurokit", "pantompkins1985"):  # the first misses tachycardia with deep, narrow S waves
            r_peaks = np.asarray(nk.ecg_findpeaks(clean, sampling_rate=rate, method=detector)["ECG_R_Peaks"])
            if len(r_peaks):
                break
    except Exception:  # anything: see the docstring
        return signal, {"R": np.empty(0)}
    try:
        found = nk.ecg_delineate(clean, r_peaks, sampling_rate=rate, method="prominence")[1]
        waves = {name: _per_beat(found[key], len(r_peaks)) for name, key in _KEYS.items()}
    except Exception:
        waves = {name: np.full(len(r_peaks), np.nan) for name in _KEYS}
    return clean, waves | {"R": r_peaks.astype(float)}


_KEYS = {
    "P onset": "ECG_P_Onsets",
    "P": "ECG_P_Peaks",
    "QRS onset": "ECG_R_Onsets",
    "QRS end": "ECG_R_Offsets",
    "T": "ECG_T_Peaks",
    "T end": "ECG_T_Offsets",
}


def _per_beat(samples: list, n_beats: int) -> np.ndarray:
    """One sample number per beat; a list of another length is an error."""
    waves = np.asarray(samples, float)
    if waves.shape != (n_beats,):
        raise ValueError(f"{waves.shape} waves for {n_beats} beats")
    return waves


def _rhythm(rr_s: np.ndarray) -> dict[str, float]:
    """Heart rate and variability of consecutive RR intervals, of which there is at least one."""
    rate_bpm, median_s = 60 / rr_s, float(np.median(rr_s))
    steps_s = np.diff(rr_s)
    return {
        "hr_min_bpm": float(rate_bpm.min()),
        "hr_max_bpm": float(rate_bpm.max()),
        "hr_mean_bpm": 60 / float(rr_s.mean()),
        "rr_median_s": median_s,
        "rr_rmssd_s": float(np.sqrt(np.mean(steps_s**2))) if len(steps_s) else np.nan,
        "rr_std_s": float(rr_s.std(ddof=1)) if len(steps_s) else np.nan,
        "rr_range_ratio": float(np.ptp(rr_s)) / median_s,
        "rr_early_share": float(np.mean(rr_s < 0.85 * median_s)),
    }


def _waves(clean: np.ndarray, waves: dict[str, np.ndarray]) -> dict[str, float]:
    """Shapes, amplitudes and intervals of the waves."""
    rr_s = float(np.median(np.diff(waves["R"]))) / FS_HZ
    onset_mv = _at(clean, waves["QRS onset"])
    r_mv = _at(clean, waves["R"]) - onset_mv
    entropy = multiscale_permutation_entropy(_windows(clean, waves["T"], 0.1))
    qt_s = (waves["T end"] - waves["QRS onset"]) / FS_HZ
    return {
        "p_correlation": _correlation(_windows(clean, waves["P"], 0.06)),
        "qrs_correlation": _correlation(_windows(clean, waves["R"], 0.08)),
        "t_entropy_median": float(np.nanmedian(entropy)) if len(entropy) else np.nan,
        "t_entropy_std": float(np.nanstd(entropy)) if len(entropy) else np.nan,
        "st_level_mv": float(np.nanmedian(_at(clean, waves["QRS end"] + round(0.06 * FS_HZ)) - onset_mv)),
        "p_amplitude_mv": float(np.nanmedian(_at(clean, waves["P"]) - onset_mv)),
        "r_amplitude_mv": float(np.nanmedian(r_mv)),
        "r_amplitude_std_mv": float(np.nanstd(r_mv)),
        "t_amplitude_mv": float(np.nanmedian(_at(clean, waves["T"]) - onset_mv)),
        "pr_interval_s": float(np.nanmedian(waves["QRS onset"] - waves["P onset"])) / FS_HZ,
        "qrs_duration_s": float(np.nanmedian(waves["QRS end"] - waves["QRS onset"])) / FS_HZ,
        "qtc_s": float(np.nanmedian(qt_s)) / float(np.cbrt(rr_s)),
    }


def _at(signal: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The signal at each sample number, NaN where that is NaN or past the end."""
    known = samples < len(signal)  # False for NaN as well
    values = np.full(len(samples), np.nan)
    values[known] = signal[samples[known].astype(int)]
    return values


def _windows(signal: np.ndarray, centres: np.ndarray, half_s: float) -> np.ndarray:
    """(beat, time) around every known centre whose window lies inside the signal."""
    half = round(half_s * FS_HZ)
    inside = centres[(centres >= half) & (centres + half < len(signal))].astype(int)
    return signal[inside[:, None] + np.arange(-half, half + 1)]


def _correlation(beats: np.ndarray) -> float:
    """Median over beats (beat, time) of the correlation with the median beat; NaN for fewer than two beats."""
    if len(beats) < 2:
        return np.nan
    template = np.median(beats, axis=0)
    a, b = beats - beats.mean(axis=1, keepdims=True), template - template.mean()
    return float(np.nanmedian(a @ b / np.sqrt((a**2).sum(axis=1) * (b**2).sum())))


def multiscale_permutation_entropy(x: np.ndarray, n_scales: int = 5) -> np.ndarray:
    """Mean over scales 1 to `n_scales` of the permutation entropy of each trace (trace, time), 0 to 1.

    At scale s the trace is averaged over consecutive groups of s samples (Costa et al. 2002); the entropy is that of
    the six orders of three neighbours, over log 6 (Bandt and Pompe 2002). Ties count in order of time. NaN where the
    longest scale leaves fewer than three samples.
    """
    return np.mean([_permutation_entropy(_coarse(x, s)) for s in range(1, n_scales + 1)], axis=0)


def _coarse(x: np.ndarray, scale: int) -> np.ndarray:
    n_groups = x.shape[-1] // scale
    return x[:, : n_groups * scale].reshape(len(x), n_groups, scale).mean(axis=2)


def _permutation_entropy(x: np.ndarray) -> np.ndarray:
    """Of three neighbours, normalised, (trace,)."""
    if x.shape[-1] < 3:
        return np.full(len(x), np.nan)
    a, b, c = x[:, :-2], x[:, 1:-1], x[:, 2:]
    order = 4 * (a > b) + 2 * (b > c) + (a > c)
    share = np.stack([(order == k).mean(axis=1) for k in range(8)], axis=1)
    return -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=1) / np.log(6)
