"""Whether a signal can be in millivolts at all."""

import numpy as np

from ecgbench.data.record import RecordError

AMPLITUDE_MV = (0.01, 25.0)
"""No electrocardiograph's QRS is smaller or larger: bounds of the median lead's amplitude."""
LOOKED_AT = 2500
"""Samples of a lead, evenly spread, that its amplitude is taken from."""


def check_amplitude(signal_mv: np.ndarray, record_id: str) -> None:
    """RecordError when half of the leads that vary are too small or too large for mV: the unit is another one."""
    some = np.nan_to_num(signal_mv[:, :: -(-signal_mv.shape[1] // LOOKED_AT)])
    low_end, high_end = np.quantile(some, (0.01, 0.99), axis=1)
    spans = (high_end - low_end)[high_end > low_end]
    if not spans.size:
        return
    amplitude_mv, (low, high) = float(np.median(spans)), AMPLITUDE_MV
    if low <= amplitude_mv <= high:
        return
    guess = "microvolts or bare ADC steps taken for mV" if amplitude_mv > high else "volts taken for mV"
    raise RecordError(
        record_id,
        f"the median lead's amplitude is {amplitude_mv:.3g} mV where an ECG has {low:g} to {high:g} mV, which looks "
        f"like {guess}; mend the gain in its header (1000/mV where a step is 1 uV)",
    )
