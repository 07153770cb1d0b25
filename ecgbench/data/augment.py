"""Training samples that were never recorded but could have been."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecgbench.data.keyed_random import generator
from ecgbench.signal.leads import basis_of


@dataclass(frozen=True, kw_only=True)
class LeadMixing:
    """Random amplitude and a random linear mixing of the independent leads, for training windows alone.

    Another heart axis, another body or electrodes elsewhere change the leads by a matrix, to first order; limb leads
    are rebuilt from I and II, so that Einthoven's and Goldberger's identities still hold. Super-resolution is linear
    in its data, so the mixed target belongs to the mixed input.
    """

    strength: float
    """Standard deviation of the matrix around the identity."""
    gain: Sequence[float]
    """Lowest and highest amplitude factor, drawn log-uniformly."""

    def __post_init__(self) -> None:
        """Refuse gains that are no factors."""
        if len(self.gain) != 2 or not 0 < self.gain[0] <= self.gain[1] or self.strength < 0:
            raise ValueError(f"augment needs 0 < low <= high gain and strength >= 0, got {self.gain}, {self.strength}")

    def __call__(self, signal_mv: np.ndarray, leads: Sequence[str], key: tuple[object, ...]) -> np.ndarray:
        """One window (lead, time) in mV, changed by a matrix that depends on `key` alone."""
        rng = generator("augment", *key)
        positions, expand = basis_of(leads)
        mixing = np.eye(len(positions)) + self.strength * rng.standard_normal((len(positions), len(positions)))
        gain = np.exp(rng.uniform(*np.log(self.gain)))
        return (gain * expand @ mixing).astype(np.float32) @ signal_mv[positions]
