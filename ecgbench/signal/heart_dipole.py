"""A heart dipole made of Gaussian waves, and the twelve leads that see it.

Each beat is a sum of waves, each wave a fixed direction in the chest times a Gaussian in time with its own width
before and after the peak (McSharry et al. 2003; Sameni et al. 2007 for the three-dimensional dipole). The directions
below are in Frank's axes: x to the left, y to the feet, z to the back. A fixed matrix takes them to leads I, II and
V1-V6 (Dower, Machado and Osborne 1980; its inverse is Edenbrandt and Pahlm 1988), and Einthoven's and Goldberger's
identities give the other four.
"""

from collections.abc import Mapping

import numpy as np

INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

LEAD_VECTORS = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
"""mV in each independent lead per mV of dipole, (lead, xyz) (Dower et al. 1980)."""

REACH = 2.5
"""Standard deviations between a wave's peak and what is called its onset or offset (4.4 % of the peak is left)."""

P, QRS, T, FOREIGN_P, FOREIGN_QRS, FOREIGN_T = range(6)
"""The six parts of a beat; the foreign ones belong to premature beats."""

Wave = tuple[int, float, float, float, float, float, float]
"""Part, x, y, z (mV), peak, width before and width after it (as fractions of the part's duration)."""

NORMAL: dict[str, Wave] = {
    "right_atrium": (P, 0.03, 0.09, -0.06, 0.36, 0.144, 0.14),
    "left_atrium": (P, 0.07, 0.06, 0.05, 0.64, 0.14, 0.144),
    "septum": (QRS, -0.12, -0.05, -0.26, 0.16, 0.064, 0.060),
    "free_wall": (QRS, 1.10, 0.90, 0.25, 0.42, 0.096, 0.084),
    "posterior_wall": (QRS, 0.15, 0.10, 0.85, 0.59, 0.090, 0.098),
    "base": (QRS, -0.25, -0.15, 0.08, 0.80, 0.076, 0.080),
    "notch": (QRS, 0.0, 0.0, 0.0, 0.38, 0.042, 0.042),
    "slur": (QRS, 0.0, 0.0, 0.0, 0.66, 0.042, 0.042),
    "st": (T, 0.0, 0.0, 0.0, 0.22, 0.088, 0.20),
    "t": (T, 0.35, 0.28, -0.15, 0.71, 0.165, 0.116),
    "foreign_p": (FOREIGN_P, 0.09, -0.04, -0.03, 0.50, 0.20, 0.20),
    "foreign_early": (FOREIGN_QRS, 0.20, 0.25, -0.10, 0.25, 0.10, 0.11),
    "foreign_main": (FOREIGN_QRS, 0.75, 1.25, 0.75, 0.45, 0.12, 0.12),
    "foreign_late": (FOREIGN_QRS, 0.30, 0.20, 0.45, 0.72, 0.13, 0.112),
    "foreign_t": (FOREIGN_T, -0.28, -0.45, -0.35, 0.62, 0.22, 0.152),
}
"""A healthy beat. Frontal QRS axis about 65 degrees, transition between V2 and V4, T wave along the QRS."""

VARIANTS: dict[str, dict[str, Wave]] = {
    "RBBB": {  # the right ventricle is reached last: a slow late vector to the right and to the front
        "septum": (QRS, -0.12, -0.05, -0.26, 0.12, 0.048, 0.050),
        "free_wall": (QRS, 1.10, 0.90, 0.25, 0.29, 0.068, 0.062),
        "posterior_wall": (QRS, 0.15, 0.10, 0.65, 0.40, 0.060, 0.060),
        "base": (QRS, -0.50, 0.02, -0.66, 0.70, 0.110, 0.120),
        "notch": (QRS, 0.0, 0.0, 0.0, 0.30, 0.035, 0.035),
        "slur": (QRS, 0.0, 0.0, 0.0, 0.55, 0.045, 0.045),
        "t": (T, 0.38, 0.25, 0.20, 0.68, 0.165, 0.128),
    },
    "LBBB": {  # the septum is reached from the right: no septal wave, then two broad humps to the left and back
        "septum": (QRS, 0.20, 0.12, -0.05, 0.15, 0.060, 0.070),
        "free_wall": (QRS, 1.10, 0.70, 0.90, 0.36, 0.085, 0.090),
        "posterior_wall": (QRS, 1.10, 0.35, 0.90, 0.62, 0.100, 0.080),
        "base": (QRS, 0.30, 0.00, 0.30, 0.80, 0.060, 0.080),
        "notch": (QRS, -0.18, -0.10, -0.12, 0.46, 0.026, 0.030),
        "slur": (QRS, 0.10, 0.05, 0.10, 0.70, 0.028, 0.028),
        "st": (T, -0.12, -0.02, -0.20, 0.22, 0.088, 0.20),
        "t": (T, -0.38, -0.10, -0.40, 0.66, 0.180, 0.136),
    },
    "LVH": {  # more muscle at the left and the back, with the strain pattern of the T wave
        "free_wall": (QRS, 1.90, 1.05, 0.60, 0.44, 0.100, 0.085),
        "posterior_wall": (QRS, 0.30, 0.10, 1.55, 0.60, 0.085, 0.080),
        "st": (T, -0.10, -0.03, -0.02, 0.24, 0.096, 0.20),
        "t": (T, -0.22, 0.02, -0.22, 0.70, 0.190, 0.120),
    },
    "STTC": {  # ST depression and T inversion over the inferior and lateral leads
        "st": (T, -0.16, -0.12, 0.04, 0.24, 0.096, 0.22),
        "t": (T, -0.26, -0.20, 0.05, 0.70, 0.150, 0.120),
    },
}
"""What differs from a healthy beat, by diagnosis."""

WAVES = tuple(NORMAL)
PART = np.array([wave[0] for wave in NORMAL.values()])
"""The part of the beat that each wave belongs to, (wave,)."""

SINUS, PREMATURE_ATRIAL, PREMATURE_VENTRICULAR = range(3)
PARTS_OF_KIND = np.array(
    [
        [1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1],
    ]
)
"""Which parts each kind of beat has, (kind, part)."""


def wave_table(changes: Mapping[str, Wave]) -> np.ndarray:
    """Directions and shapes of a beat with `changes` against a healthy one, (wave, 6): x, y, z, peak, before, after."""
    return np.array([changes.get(name, wave)[1:] for name, wave in NORMAL.items()])


def rotation(roll: np.ndarray, pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Rotations by angles (radians) about the x, the y and the z axis, in this order, (n, 3, 3)."""
    out = np.broadcast_to(np.eye(3), (len(roll), 3, 3))
    for axis, angle in enumerate((roll, pitch, yaw)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.tile(np.eye(3), (len(angle), 1, 1))
        turn[:, a, a] = turn[:, b, b] = np.cos(angle)
        turn[:, b, a] = np.sin(angle)
        turn[:, a, b] = -np.sin(angle)
        out = turn @ out
    return out


def wave_trains(onset: np.ndarray, gain: np.ndarray, peak: np.ndarray, width: np.ndarray, n_samples: int) -> np.ndarray:
    """Each wave over time, float32 (record, wave, time), all times in samples.

    `onset` (record, beat) holds the ascending times of the beats, `gain` (record, beat, wave) their strengths,
    `peak` (record, wave) the delay of each wave, `width` (record, wave, 2) its deviations before and after the
    peak. Every sample takes the one beat whose peak is nearest, so that the cost does not grow with the heart rate.
    """
    centre = (onset[:, :, None] + peak[:, None, :]).swapaxes(1, 2)
    edges = np.ceil((centre[..., 1:] + centre[..., :-1]) / 2).clip(0, n_samples).astype(np.int64)
    n_nearest = np.diff(edges, axis=-1, prepend=0, append=n_samples).ravel()
    shape = (*peak.shape, n_samples)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(values.astype(np.float32).ravel(), n_nearest).reshape(shape)

    z = np.arange(n_samples, dtype=np.float32) - spread(centre)
    rate = np.sqrt(0.5) / width[..., None, :].astype(np.float32)
    z *= np.where(z < 0, rate[..., 0], rate[..., 1])
    np.exp(-np.square(z, out=z), out=z)
    z *= spread(gain.swapaxes(1, 2))
    return z


def twelve_leads(independent_mv: np.ndarray) -> np.ndarray:
    """The standard twelve leads, (..., 12, time), from I, II and V1-V6, (..., 8, time).

    III = II - I (Einthoven); aVR, aVL and aVF measure one limb against the mean of the other two (Goldberger 1942).
    """
    i, ii = independent_mv[..., 0, :], independent_mv[..., 1, :]
    out = np.empty((*independent_mv.shape[:-2], 12, independent_mv.shape[-1]), independent_mv.dtype)
    out[..., 0, :], out[..., 1, :], out[..., 2, :] = i, ii, ii - i
    out[..., 3, :], out[..., 4, :], out[..., 5, :] = -(i + ii) / 2, i - ii / 2, ii - i / 2
    out[..., 6:, :] = independent_mv[..., 2:, :]
    return out
