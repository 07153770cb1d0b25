"""From stored windows to what a task learns from: one maker per task."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecgbench.signal.resample import decimate_antialiased, decimate_stride


@dataclass(frozen=True, kw_only=True)
class SuperresExamples:
    """Low-rate input from a high-rate window.

    `official` keeps every `upscale`-th sample, starting with the first, without an anti-alias filter (MSECG's public
    code); `antialiased` removes what lies above the low Nyquist frequency first.
    """

    upscale: int
    protocol: Literal["official", "antialiased"]

    def low(self, high_mv: np.ndarray) -> np.ndarray:
        """(batch, lead, time) to (batch, lead, time / upscale), mV, sample k at high-rate sample k * upscale."""
        decimate = decimate_stride if self.protocol == "official" else decimate_antialiased
        return np.ascontiguousarray(decimate(high_mv, self.upscale), dtype=np.float32)
