"""The table of single-lead reconstruction: how well each lead is made from each."""

from typing import NamedTuple

import numpy as np


class LeadMatrix(NamedTuple):
    """A score by input and output lead, and what is read off it; float64."""

    cells: np.ndarray
    """(input lead, output lead): mean over samples; NaN where no sample was scored."""
    by_input: np.ndarray
    """(input lead,): mean over the output leads other than the input."""
    by_output: np.ndarray
    """(output lead,): mean over the input leads other than the output."""
    hidden: float
    """Mean over all cells but the diagonal: what is reconstructed and not given."""
    all: float
    """Mean over all cells, with the diagonal, which is the given lead itself: MCMA's headline (Chen et al. 2024)."""


def lead_matrix(values: np.ndarray, given: np.ndarray) -> LeadMatrix:
    """The matrix of per-sample scores `values` (sample, output lead), of which `given` (sample,) is the input lead.

    Every cell is a mean over its samples, every summary a mean over cells, so inputs with more samples do not weigh
    more. A NaN makes its cell and the summaries of it NaN; so does an input lead without a sample. Raises ValueError
    when `given` is not the number of a lead for each sample.
    """
    values, given = np.asarray(values, dtype=np.float64), np.asarray(given)
    n_leads = values.shape[1] if values.ndim == 2 else 0
    known = given.dtype.kind in "iu" and given.shape == values.shape[:1]
    if n_leads == 0 or not known or (given.size and not 0 <= given.min() <= given.max() < n_leads):
        raise ValueError(
            f"values {values.shape} and given {given.dtype} {given.shape} do not belong together; give (sample, lead) "
            "scores and one lead's number, from 0, for each sample"
        )
    total, n = np.zeros((n_leads, n_leads)), np.bincount(given, minlength=n_leads)[:, None]
    np.add.at(total, given, values)
    return summarised(np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0))


def summarised(cells: np.ndarray) -> LeadMatrix:
    """The matrix of these cells (input lead, output lead) with its summaries."""
    cells = np.asarray(cells, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1]:
        raise ValueError(f"cells {cells.shape} are no square; give (input lead, output lead)")
    others = ~np.eye(len(cells), dtype=bool)
    n_others = max(len(cells) - 1, 1)
    hidden = np.where(others, cells, 0.0)
    by_input, by_output = hidden.sum(axis=1) / n_others, hidden.sum(axis=0) / n_others
    return LeadMatrix(cells, by_input, by_output, float(by_input.mean()), float(cells.mean()))
