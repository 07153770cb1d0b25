"""What `cells` and `calibration` of a reconstruction's result.json say, as arrays: numbers only, nothing is drawn here.

Lead sets are written as in the run: `V2`, or `I+II+V3` for several leads given together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class LeadCells(NamedTuple):
    """A score by given lead (row) and rebuilt lead (column), NaN where there is none."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: np.ndarray
    """float64 (input, output)."""
    given: np.ndarray
    """bool (input, output): the rebuilt lead is one of those that were given."""

    def with_means(self) -> np.ndarray:
        """The values with a last row and a last column of means over the hidden cells, (input + 1, output + 1).

        The corner is the mean of all hidden cells. A hidden cell without a score makes the means it enters NaN; so does
        a row or column without a hidden cell.
        """
        hidden = ~self.given
        kept = np.where(hidden, self.values, 0.0)
        with np.errstate(invalid="ignore"):
            rows, columns = (kept.sum(axis) / hidden.sum(axis) for axis in (1, 0))
            corner = kept.sum() / hidden.sum() if hidden.any() else np.nan
        return np.block([[self.values, rows[:, None]], [columns[None], np.array([[corner]])]])


class Calibration(NamedTuple):
    """How the generated R amplitude of one lead follows the true one, over the lead sets it was rebuilt from."""

    lead: str
    inputs: tuple[str, ...]
    slope: np.ndarray
    """(input,); 1 where amplitudes are right, 0 where every patient is given the same one."""
    r2: np.ndarray
    """(input,)"""
    n: int
    """Fewest records behind a slope."""


def given_leads(name: str) -> tuple[str, ...]:
    """The leads of a lead set: `I+II+V3` has three."""
    return tuple(name.split("+"))


def lead_cells(result: dict, system: str, score: str) -> LeadCells | None:
    """One system's cells of a score (`mse` in mV^2, or `pcc`); None where the run has none."""
    rows = [row for row in result.get("cells", []) if row["system"] == system]
    if not rows:
        return None
    inputs, outputs = (tuple(dict.fromkeys(row[key] for row in rows)) for key in ("input", "output"))
    values = np.full((len(inputs), len(outputs)), np.nan)
    for row in rows:
        values[inputs.index(row["input"]), outputs.index(row["output"])] = _number(row[score])
    given = np.array([[output in given_leads(name) for output in outputs] for name in inputs])
    return LeadCells(inputs, outputs, values, given)


def calibrations(result: dict, system: str) -> list[Calibration]:
    """One system's calibration of each lead, from the single leads that it was not given by.

    Where no single lead was given in the test, from the lead sets that were. Leads without a slope are left out.
    """
    rows = [row for row in result.get("calibration", []) if row["system"] == system]
    known = [row for row in rows if row["lead"] not in given_leads(row["input"]) and row["slope"] is not None]
    single = [row for row in known if len(given_leads(row["input"])) == 1]
    by_lead: dict[str, list[dict]] = {row["lead"]: [] for row in rows}
    for row in single or known:
        by_lead[row["lead"]].append(row)
    return [_calibration(lead, own) for lead, own in by_lead.items() if own]


def _calibration(lead: str, rows: Sequence[dict]) -> Calibration:
    slope, r2 = (np.array([_number(row[key]) for row in rows]) for key in ("slope", "r2"))
    return Calibration(lead, tuple(row["input"] for row in rows), slope, r2, min(int(row["n"]) for row in rows))


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
