"""Random numbers for many subjects at once, where each subject's numbers depend on its own number alone."""

from math import prod

import numpy as np
from scipy.special import ndtr, ndtri

CUT = 2.5
"""Normal numbers stay within this many standard deviations, so that every record stays physiological."""


class Draws:
    """One random stream per subject, read by all subjects together.

    Subject `i` reads the Philox stream (Salmon et al. 2011) with key (seed, i), so its numbers do not change with
    the other subjects of the call or with their order. `stream` keeps uses of the same subject number apart. Only
    the raw 64-bit words are used, which numpy guarantees not to change between versions (NEP 19).
    """

    def __init__(self, seed: int, stream: int, subjects: np.ndarray) -> None:
        self._streams = [philox(seed, stream, subject) for subject in subjects]

    def uniform(self, low: np.ndarray | float, high: np.ndarray | float, *shape: int) -> np.ndarray:
        """Uniform numbers, float64 (subject, *shape); `low` and `high` are numbers or one per subject."""
        words = np.array([stream.random_raw(prod(shape)) for stream in self._streams], dtype=np.uint64)
        unit = ((words >> np.uint64(11)) + 0.5) * 2.0**-53
        unit = unit.reshape(len(self._streams), *shape)
        return per_subject(low, unit) + unit * (per_subject(high, unit) - per_subject(low, unit))

    def normal(self, mean: np.ndarray | float, sd: np.ndarray | float, *shape: int) -> np.ndarray:
        """Normal numbers, float64 (subject, *shape), none further from the mean than CUT standard deviations."""
        z = ndtri(self.uniform(ndtr(-CUT), ndtr(CUT), *shape))
        return per_subject(mean, z) + z * per_subject(sd, z)


def philox(seed: int, stream: int, subject: int) -> np.random.Philox:
    """The counter-based generator of one subject: the key is (seed, subject), the counter's top word the stream."""
    return np.random.Philox(key=np.array([seed, subject], np.uint64), counter=np.array([0, 0, 0, stream], np.uint64))


def per_subject(value: np.ndarray | float, like: np.ndarray) -> np.ndarray:
    """`value` with trailing axes added, so that one number per subject broadcasts against (subject, ...)."""
    array = np.asarray(value, dtype=float)
    return array.reshape(array.shape + (1,) * (like.ndim - array.ndim)) if array.ndim else array
