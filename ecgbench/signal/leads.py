"""How the leads of one recording depend on each other."""

from collections.abc import Sequence

import numpy as np

LIMB_LEADS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""Each limb lead as a combination of I and II (Einthoven 1913, Goldberger 1942)."""


def basis_of(leads: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """The independent leads among `leads` and the matrix that gives all of them back.

    Returns their positions, (basis,), and a matrix (lead, basis): signal = matrix @ signal[positions] wherever
    Einthoven's and Goldberger's identities hold. Without I and II every lead is independent.
    """
    if not {"I", "II"} <= set(leads):
        return list(range(len(leads))), np.eye(len(leads))
    names = ["I", "II", *(lead for lead in leads if lead not in LIMB_LEADS)]
    matrix = np.zeros((len(leads), len(names)))
    for row, lead in enumerate(leads):
        if lead in LIMB_LEADS:
            matrix[row, :2] = LIMB_LEADS[lead]
        else:
            matrix[row, names.index(lead)] = 1.0
    return [list(leads).index(name) for name in names], matrix
