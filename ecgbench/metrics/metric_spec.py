"""What a table knows of one metric: name, label, unit, direction and definition."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric as it is named, shown and defined.

    Scores are computed and stored in plain units (mV, mV^2, dB, %); a table shows `value * scale` with `decimals`
    digits in `unit`.
    """

    name: str
    """Key in `scores.parquet` and `result.json`."""
    label: str
    """Heading in tables and plots."""
    unit: str
    """Unit of the shown value; empty for a pure number."""
    higher_is_better: bool
    decimals: int
    """Digits after the point when shown."""
    family: Literal["standard", "official"]
    formula: str
    """Of a signal, per record: x prediction and y truth over all leads and real samples; e = x - y. Of a
    classification, over all records: P positive and N negative ones of a class, TP, FP and FN decisions."""
    reference: str
    """Where the definition comes from."""
    scale: float = 1.0
    """Factor from the stored to the shown value, 1e3 for an MSE shown in 10^-3 mV^2."""
