"""Simulated twelve-lead recordings with known fiducial points, for many records at once.

`plan` draws everything about a set of records but their samples; `render` turns a plan into millivolts;
`fiducials` gives the true times of every wave. A record depends on the seed, its own number, its patient's number,
its diagnosis and the duration, never on the other records of the call.
"""

from typing import NamedTuple

import numpy as np

from ecgbench.signal import heart_dipole as dipole
from ecgbench.signal.draws import Draws, philox
from ecgbench.signal.patients import DIAGNOSES, Diagnosis, Patients, draw_patients
from ecgbench.signal.rhythm import (
    PREMATURE_KIND,
    Breath,
    beat_count,
    fibrillating_onsets,
    sinus_onsets,
    with_premature,
)

PATIENT_STREAM, RECORD_STREAM, NOISE_STREAM = range(3)
RECORDS_AT_ONCE = 8  # keeps the working arrays of `render` within the processor's cache
N_HARMONICS = 3  # of the fibrillatory wave


class Plan(NamedTuple):
    """Everything about a set of records but their samples; every array is (record, ...)."""

    number: np.ndarray
    patient: Patients
    fibrillates: np.ndarray
    pr_s: np.ndarray
    qrs_s: np.ndarray
    qt_s: np.ndarray
    onset_s: np.ndarray
    """Onset of each beat's QRS, (record, beat)."""
    kind: np.ndarray
    """SINUS, PREMATURE_ATRIAL or PREMATURE_VENTRICULAR, (record, beat)."""
    gain: np.ndarray
    """Strength of each beat, (record, beat)."""
    start_s: np.ndarray
    """Onset of each part of the beat against the QRS onset, (record, part)."""
    length_s: np.ndarray
    """Duration of each part of the beat, (record, part)."""
    flutter: np.ndarray
    """Rate (Hz), its wander (rad) and the wander's rate (Hz), then the harmonics' phases (rad), (record, 9)."""


def plan(seed: int, duration_s: float, numbers: np.ndarray, patient_numbers: np.ndarray, labels: np.ndarray) -> Plan:
    """The plan of the records `numbers`, of the patients `patient_numbers`, with the diagnoses `labels`.

    All three are (record,); the labels are keys of `DIAGNOSES`, and the records of a patient have the same.
    """
    diagnoses = [DIAGNOSES[label] for label in labels]
    patient = draw_patients(Draws(seed, PATIENT_STREAM, patient_numbers), diagnoses)
    draws = Draws(seed, RECORD_STREAM, numbers)
    rate_hz = patient.rate_hz * draws.uniform(0.97, 1.03)
    qt_s = patient.qtc_s * rate_hz ** (-1 / 3)  # Fridericia 1920: QT = QTc * RR^(1/3)
    breath = Breath(draws.uniform(0.16, 0.33), draws.uniform(0, 2 * np.pi))
    onset_s, kind = _beats(draws, diagnoses, rate_hz, patient.vagal, breath, qt_s + 0.05, duration_s)
    start_s, length_s = _timetable(patient, patient.pr_s, qt_s)
    return Plan(
        number=numbers,
        patient=patient,
        fibrillates=np.array([d.fibrillates for d in diagnoses]),
        pr_s=patient.pr_s,
        qrs_s=patient.qrs_s,
        qt_s=qt_s,
        onset_s=onset_s,
        kind=kind,
        gain=1 + 0.05 * breath.at(onset_s) + draws.normal(0, 0.012, onset_s.shape[1]),
        start_s=start_s,
        length_s=length_s,
        flutter=_flutter(draws),
    )


def _beats(
    draws: Draws,
    diagnoses: list[Diagnosis],
    rate_hz: np.ndarray,
    vagal: np.ndarray,
    breath: Breath,
    earliest_s: np.ndarray,
    duration_s: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Times in s and kinds of the beats, both (record, beat); no beat follows another before `earliest_s`."""
    n_beats = beat_count(duration_s)
    regular_s = sinus_onsets(draws, rate_hz, vagal, breath, n_beats)
    irregular_s = fibrillating_onsets(draws, rate_hz, earliest_s, n_beats)
    onset_s = np.where([[d.fibrillates] for d in diagnoses], irregular_s, regular_s)
    premature = np.array([PREMATURE_KIND[d.premature] for d in diagnoses])
    return with_premature(draws, onset_s, premature, earliest_s, duration_s)


def _timetable(patient: Patients, pr_s: np.ndarray, qt_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Onset and duration of the six parts of a beat in s, both (record, part), with the QRS onset at 0."""
    zero = np.zeros_like(pr_s)
    p_s, st_t_s = 0.35 * pr_s.clip(max=0.19) + 0.05, qt_s - patient.qrs_s
    start_s = [-pr_s, zero, patient.qrs_s, -pr_s, zero, patient.foreign_qrs_s]
    length_s = [p_s, patient.qrs_s, st_t_s, p_s, patient.foreign_qrs_s, st_t_s]
    return np.stack(start_s, axis=1), np.stack(length_s, axis=1)


def _flutter(draws: Draws) -> np.ndarray:
    """The course of the fibrillatory wave, as in `Plan.flutter`."""
    rate_hz, wander, wander_hz = draws.uniform(5, 8), draws.uniform(2, 5), draws.uniform(0.1, 0.3)
    phases = draws.uniform(0, 2 * np.pi, 2 * N_HARMONICS)
    return np.column_stack([rate_hz, wander, wander_hz, phases])


def render(records: Plan, fs_hz: float, n_samples: int, noise_uv: float, seed: int) -> np.ndarray:
    """The samples of the planned records in mV, float32 (record, 12, time).

    `noise_uv` is the standard deviation of the recorder's white noise on I, II and V1-V6.
    """
    n = len(records.number)
    out = np.empty((n, 12, n_samples), np.float32)
    for low in range(0, n, RECORDS_AT_ONCE):
        some = _rows(records, slice(low, low + RECORDS_AT_ONCE))
        signal_mv = _independent_mv(some, fs_hz, n_samples)
        if noise_uv:
            signal_mv += np.float32(noise_uv * 1e-3) * _noise(seed, some.number, signal_mv.shape[1:])
        out[low : low + RECORDS_AT_ONCE] = dipole.twelve_leads(signal_mv)
    return out


def _rows(records: Plan, rows: slice) -> Plan:
    """Some of the plan's records."""
    arrays = {name: value[rows] for name, value in records._asdict().items() if name != "patient"}
    return Plan(patient=Patients(*(value[rows] for value in records.patient)), **arrays)


def _independent_mv(records: Plan, fs_hz: float, n_samples: int) -> np.ndarray:
    """Leads I, II and V1-V6 without noise, float32 (record, 8, time)."""
    peak_s, width_s = _wave_times(records)
    present = dipole.PARTS_OF_KIND[records.kind][..., dipole.PART]
    trains = dipole.wave_trains(
        records.onset_s * fs_hz, records.gain[..., None] * present, peak_s * fs_hz, width_s * fs_hz, n_samples
    )
    trains[:, dipole.PART == dipole.P] *= ~records.fibrillates[:, None, None]
    signal_mv = records.patient.lead_mv.astype(np.float32) @ trains
    some = np.flatnonzero(records.fibrillates)
    if len(some):
        waves = _fibrillatory_waves(records.flutter[some], np.arange(n_samples) / fs_hz)
        signal_mv[some] += records.patient.flutter_mv[some].astype(np.float32) @ waves
    return signal_mv


def _wave_times(records: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Delay of each wave's peak from the QRS onset (record, wave), and its widths (record, wave, 2), in s."""
    shape = records.patient.shape
    start_s, length_s = records.start_s[:, dipole.PART], records.length_s[:, dipole.PART]
    return start_s + length_s * shape[..., 0], length_s[..., None] * shape[..., 1:]


def _fibrillatory_waves(flutter: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Two sawtooths with a wandering rate, float32 (record, 2, time) (after Stridh and Sornmo 2001)."""
    rate_hz, wander, wander_hz, phases = flutter[:, :1], flutter[:, 1:2], flutter[:, 2:3], flutter[:, 3:]
    angle = 2 * np.pi * rate_hz * time_s + wander * np.sin(2 * np.pi * wander_hz * time_s + phases[:, :1])
    order = np.arange(1, N_HARMONICS + 1)[:, None]
    harmonics = np.sin(order * angle[:, None, None] + phases.reshape(-1, 2, N_HARMONICS, 1)) / order
    return harmonics.sum(axis=2).astype(np.float32)


def _noise(seed: int, numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """White noise of unit variance, float32 (record, *shape)."""
    generators = (np.random.Generator(philox(seed, NOISE_STREAM, number)) for number in numbers)
    return np.stack([generator.standard_normal(shape, dtype=np.float32) for generator in generators])


class Fiducials(NamedTuple):
    """True times in s of each beat's waves, (record, beat); NaN where the beat has no such wave."""

    p_onset: np.ndarray
    p_peak: np.ndarray
    p_offset: np.ndarray
    qrs_onset: np.ndarray
    r_peak: np.ndarray
    qrs_offset: np.ndarray
    t_onset: np.ndarray
    t_peak: np.ndarray
    t_offset: np.ndarray


def fiducials(records: Plan) -> Fiducials:
    """The true times of the records' beats.

    The peak of a wave is that of its main Gaussian (for P the middle between its two). QRS onset and offset, P
    onset and T offset are the limits that the intervals were asked for.
    """
    peak_s, width_s = _wave_times(records)
    peak = dict(zip(dipole.WAVES, peak_s.T[:, :, None], strict=True))
    t_before_s = dict(zip(dipole.WAVES, width_s[..., 0].T[:, :, None], strict=True))
    start, end = records.start_s.T[:, :, None], (records.start_s + records.length_s).T[:, :, None]
    atrial, foreign = records.kind == dipole.PREMATURE_ATRIAL, records.kind == dipole.PREMATURE_VENTRICULAR
    no_p = np.where(foreign | records.fibrillates[:, None], np.nan, 0.0)
    p_peak = np.where(atrial, peak["foreign_p"], (peak["right_atrium"] + peak["left_atrium"]) / 2)
    t_onset = {name: peak[name] - dipole.REACH * t_before_s[name] for name in ("t", "foreign_t")}
    delays = Fiducials(
        p_onset=start[dipole.P] + no_p,
        p_peak=p_peak + no_p,
        p_offset=end[dipole.P] + no_p,
        qrs_onset=np.zeros_like(records.onset_s),
        r_peak=np.where(foreign, peak["foreign_main"], peak["free_wall"]),
        qrs_offset=np.where(foreign, end[dipole.FOREIGN_QRS], end[dipole.QRS]),
        t_onset=np.where(foreign, t_onset["foreign_t"], t_onset["t"]),
        t_peak=np.where(foreign, peak["foreign_t"], peak["t"]),
        t_offset=np.where(foreign, end[dipole.FOREIGN_T], end[dipole.T]),
    )
    return Fiducials(*(records.onset_s + delay for delay in delays))


def heart_rate_bpm(r_peak_s: np.ndarray, duration_s: float) -> np.ndarray:
    """Mean ventricular rate of each record from its R peaks (record, beat) inside the record, (record,)."""
    inside = (r_peak_s >= 0) & (r_peak_s < duration_s)
    first = np.where(inside, r_peak_s, np.inf).min(axis=1)
    last = np.where(inside, r_peak_s, -np.inf).max(axis=1)
    return 60 * (inside.sum(axis=1) - 1) / (last - first)
