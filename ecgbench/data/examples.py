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

    @property
    def is_local(self) -> bool:
        """Whether a low-rate sample depends on its own high-rate sample alone, so that crops can be made first."""
        return self.protocol == "official"

    def low(self, high_mv: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """(batch, lead, time) to (batch, lead, time / upscale), mV, sample k at high-rate sample k * upscale.

        Of row i the first valid[i] samples are real; padding stays zero and does not reach into them.
        """
        if self.is_local:
            return np.ascontiguousarray(decimate_stride(high_mv, self.upscale), dtype=np.float32)
        low_mv = decimate_antialiased(high_mv, self.upscale)
        for i in np.flatnonzero(valid < high_mv.shape[-1]):
            n_low = -(-int(valid[i]) // self.upscale)
            missing = n_low * self.upscale - int(valid[i])
            real = np.pad(high_mv[i, :, : valid[i]], ((0, 0), (0, missing)), mode="edge")
            low_mv[i] = 0
            low_mv[i, :, :n_low] = decimate_antialiased(real, self.upscale)
        return low_mv
