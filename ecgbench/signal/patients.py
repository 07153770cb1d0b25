"""Who the simulated patients are: their diagnoses, and the traits that set one heart apart from the next."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ecgbench.signal import heart_dipole as dipole
from ecgbench.signal.draws import Draws


@dataclass(frozen=True)
class Diagnosis:
    """What sets one diagnosis apart; ranges are (low, high)."""

    rate_bpm: tuple[float, float] = (62, 95)
    pr_ms: tuple[float, float] = (130, 190)
    qrs_ms: tuple[float, float] = (80, 106)
    age_years: tuple[float, float] = (18, 85)
    variant: str = ""
    """Key of `heart_dipole.VARIANTS`; empty for a healthy beat."""
    premature: str = ""
    """'PAC', 'PVC' or empty."""
    fibrillates: bool = False


DIAGNOSES: dict[str, Diagnosis] = {
    "NORM": Diagnosis(),
    "SB": Diagnosis(rate_bpm=(42, 56)),
    "ST": Diagnosis(rate_bpm=(106, 132), pr_ms=(120, 145), qrs_ms=(78, 98)),
    "AFIB": Diagnosis(rate_bpm=(62, 118), age_years=(55, 90), fibrillates=True),
    "1AVB": Diagnosis(rate_bpm=(55, 84), pr_ms=(215, 300), age_years=(45, 90)),
    "RBBB": Diagnosis(qrs_ms=(124, 158), age_years=(45, 90), variant="RBBB"),
    "LBBB": Diagnosis(qrs_ms=(128, 168), age_years=(50, 90), variant="LBBB"),
    "PVC": Diagnosis(premature="PVC"),
    "PAC": Diagnosis(premature="PAC"),
    "STTC": Diagnosis(age_years=(40, 90), variant="STTC"),
    "LVH": Diagnosis(qrs_ms=(90, 114), age_years=(35, 90), variant="LVH"),
}
"""Sinus rhythm, brady- and tachycardia, atrial fibrillation, first-degree block, bundle branch blocks (QRS of at least
120 ms: Surawicz et al. 2009), premature beats, ST-T change and left ventricular hypertrophy."""


class Patients(NamedTuple):
    """Traits that all records of a patient share; every array is (record, ...)."""

    age_years: np.ndarray
    is_male: np.ndarray
    rate_hz: np.ndarray
    pr_s: np.ndarray
    qrs_s: np.ndarray
    qtc_s: np.ndarray
    foreign_qrs_s: np.ndarray
    shape: np.ndarray
    """Peak and the widths before and after it of each wave, as fractions of its part, (record, wave, 3)."""
    lead_mv: np.ndarray
    """What each wave brings to each independent lead, (record, lead, wave)."""
    flutter_mv: np.ndarray
    """What the two phases of the fibrillatory wave bring to each independent lead, (record, lead, 2)."""
    vagal: np.ndarray
    """Amplitude of the respiratory sinus arrhythmia, a fraction of the rate."""


def draw_patients(draws: Draws, diagnoses: list[Diagnosis]) -> Patients:
    """The traits of each record's patient; `draws` are those of the patients."""

    def within(field: str) -> np.ndarray:
        low, high = zip(*(getattr(d, field) for d in diagnoses), strict=True)
        return draws.uniform(np.array(low), np.array(high))

    age_years, is_male = np.floor(within("age_years")), draws.uniform(0, 1) < 0.5
    pr_s, qrs_s = within("pr_ms") / 1e3, within("qrs_ms") / 1e3 - np.where(is_male, 0.0, 0.003)
    # Rautaharju et al. 2009: women's rate-corrected QT is about 10 ms longer; a wide QRS lengthens QT by its excess
    qtc_s = draws.normal(0.402, 0.012) + np.where(is_male, 0.0, 0.010) + (qrs_s - 0.1).clip(min=0)
    shape, vectors_mv = _waves(draws, diagnoses)
    vectors_mv = vectors_mv * _size(draws, age_years, is_male)[:, None, None]
    vectors_mv = vectors_mv @ _posture(draws, age_years).swapaxes(1, 2)
    return Patients(
        age_years=age_years,
        is_male=is_male,
        rate_hz=within("rate_bpm") / 60,
        pr_s=pr_s,
        qrs_s=qrs_s,
        qtc_s=qtc_s,
        foreign_qrs_s=draws.uniform(0.136, 0.172),
        shape=shape,
        lead_mv=_lead_mv(draws, vectors_mv),
        flutter_mv=_flutter_mv(draws),
        vagal=draws.uniform(0.35, 1.0) * 0.08 * np.exp(-(age_years - 20) / 45),
    )


def _waves(draws: Draws, diagnoses: list[Diagnosis]) -> tuple[np.ndarray, np.ndarray]:
    """Each patient's own waves: their shapes (record, wave, 3) and their vectors in mV (record, wave, xyz)."""
    tables = {name: dipole.wave_table(dipole.VARIANTS.get(name, {})) for name in ("", *dipole.VARIANTS)}
    table = np.array([tables[d.variant] for d in diagnoses])
    vectors_mv, shape = table[..., :3], table[..., 3:]
    n_waves = len(dipole.WAVES)
    strength_mv = np.linalg.norm(vectors_mv, axis=-1, keepdims=True)
    vectors_mv = vectors_mv * np.exp(draws.normal(0, 0.12, n_waves))[..., None]
    vectors_mv = vectors_mv + strength_mv * draws.normal(0, 0.10, n_waves, 3)
    fragments = np.isin(dipole.WAVES, ("notch", "slur"))[:, None]
    vectors_mv = vectors_mv + fragments * draws.normal(0, 0.055, n_waves, 3)
    # a premature ventricular beat may start anywhere in the ventricles
    foreign = np.isin(dipole.PART, (dipole.FOREIGN_QRS, dipole.FOREIGN_T))
    vectors_mv[:, foreign] = vectors_mv[:, foreign] @ _turn(draws, 15, 30, 30).swapaxes(1, 2)
    stretch = np.exp(draws.normal(0, 0.04, n_waves))[..., None]
    return shape * stretch ** [0.5, 1, 1], vectors_mv  # half as much for the peak, so that waves keep their order


def _size(draws: Draws, age_years: np.ndarray, is_male: np.ndarray) -> np.ndarray:
    """Voltage of each patient against the table: lower with age and in women (Rijnbeek et al. 2014)."""
    return np.exp(draws.normal(0, 0.16)) * (1.1 - 0.003 * (age_years - 18)) * np.where(is_male, 1.0, 0.92)


def _posture(draws: Draws, age_years: np.ndarray) -> np.ndarray:
    """How each heart is turned in the chest, (record, 3, 3); its axis moves left with age (Rijnbeek et al. 2014)."""
    zero = np.zeros_like(age_years)
    return dipole.rotation(zero, zero, np.deg2rad(-0.35 * (age_years - 45))) @ _turn(draws, 9, 11, 14)


def _turn(draws: Draws, *sd_deg: float) -> np.ndarray:
    """Random rotations with the given deviations about the x, the y and the z axis, (record, 3, 3)."""
    return dipole.rotation(*(np.deg2rad(draws.normal(0, sd)) for sd in sd_deg))


def _lead_mv(draws: Draws, vectors_mv: np.ndarray) -> np.ndarray:
    """What each wave brings to each independent lead, (record, lead, wave).

    Electrodes are never quite in place (8 % of each lead-vector component), and a part of the field is no dipole (8 %
    of each wave), which keeps the eight leads independent as they are in recordings.
    """
    n_leads, n_waves = len(dipole.INDEPENDENT_LEADS), vectors_mv.shape[1]
    lead_vectors = dipole.LEAD_VECTORS * (1 + draws.normal(0, 0.08, n_leads, 3))
    strength_mv = np.linalg.norm(vectors_mv, axis=-1)[:, None, :]
    return lead_vectors @ vectors_mv.swapaxes(1, 2) + strength_mv * draws.normal(0, 0.08, n_leads, n_waves)


def _flutter_mv(draws: Draws) -> np.ndarray:
    """Fibrillatory waves are largest in V1, near the right atrium, and come next in the inferior leads."""
    vectors_mv = np.array([[-0.03, 0.03, -0.045], [-0.03, 0.03, 0.02]]) * draws.uniform(0.6, 1.3, 2, 1)
    return dipole.LEAD_VECTORS @ vectors_mv.swapaxes(1, 2)
