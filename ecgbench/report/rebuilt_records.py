"""One stored record, rebuilt from several lead sets, over its truth on ECG paper."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ecgbench.report.ecg_paper import PREDICTION, SHEET_S, TRUTH, Pen, Trace, ecg_figure
from ecgbench.report.lead_cells import given_leads
from ecgbench.report.plots import PALETTE

CLOSE_UP_S = 0.9
OVERLAY = PREDICTION._replace(width=1.0)
"""Thicker than where strips show the residual too: here the overlay alone shows the error."""
CLOSE_UP_COLORS = (PREDICTION.color, PALETTE[1], PALETTE[2], PALETTE[3], PALETTE[4])


@dataclass(frozen=True)
class Rebuilt:
    """A record and what the model made of it from each lead set."""

    record_id: str
    model: str
    fs_hz: float
    leads: tuple[str, ...]
    true_mv: np.ndarray
    """(lead, time)"""
    inputs: tuple[str, ...]
    pred_mv: np.ndarray
    """(input, lead, time)"""

    def correlation(self, case: int) -> np.ndarray:
        """Pearson's correlation of each lead over the whole record, (lead,); NaN where a signal is constant."""
        pairs = zip(self.true_mv.astype(np.float64), self.pred_mv[case].astype(np.float64), strict=True)
        return np.array([_correlation(true, pred) for true, pred in pairs])

    def title(self, case: int) -> str:
        """`Record 123 from lead V2, PCC 0.74 over the hidden leads`."""
        given = given_leads(self.inputs[case])
        hidden = [r for lead, r in zip(self.leads, self.correlation(case), strict=True) if lead not in given]
        finite = [r for r in hidden if np.isfinite(r)]
        score = f", PCC {np.mean(finite):.2f} over the hidden leads" if finite else ""
        return f"Record {self.record_id} from lead{'s' if len(given) > 1 else ''} {', '.join(given)}{score}"


def _correlation(true: np.ndarray, pred: np.ndarray) -> float:
    if not np.ptp(true) > 0 or not np.ptp(pred) > 0:
        return float("nan")
    return float(np.corrcoef(true, pred)[0, 1])


def read_rebuilt(arrays: dict[str, np.ndarray] | None, model: str) -> Rebuilt | None:
    """The stored record; `arrays` is the content of a reconstruction run's `examples.npz`. None without a signal."""
    if arrays is None or not arrays["y_true"].size or not arrays["y_pred"].size:
        return None
    leads, inputs = (tuple(str(name) for name in np.atleast_1d(arrays[key])) for key in ("leads", "inputs"))
    record_id = str(np.ravel(arrays["record_id"])[0])
    return Rebuilt(record_id, model, float(arrays["fs_hz"]), leads, arrays["y_true"], inputs, arrays["y_pred"])


def rebuilt_figure(found: Rebuilt, case: int) -> Figure:
    """Truth and reconstruction of every lead; beside its name a hidden lead has its correlation over the record."""
    given = given_leads(found.inputs[case])
    names = [
        f"{lead}  given" if lead in given else f"{lead}  {r:.2f}" if np.isfinite(r) else lead
        for lead, r in zip(found.leads, found.correlation(case), strict=True)
    ]
    traces = [Trace("truth", found.true_mv, TRUTH), Trace(found.model, found.pred_mv[case], OVERLAY)]
    return ecg_figure(traces, found.fs_hz, names, title=found.title(case))


def close_up_figure(found: Rebuilt) -> Figure:
    """One beat of every lead, enlarged: the truth and the reconstruction from each lead set."""
    start, stop = _beat(found)
    pens = [Pen(color, 1.0, "-", 5) for color in CLOSE_UP_COLORS]
    traces = [Trace("truth", found.true_mv[:, start:stop], TRUTH._replace(width=1.6))]
    # More sets than colours could not be told apart.
    for name, pred_mv, pen in zip(found.inputs, found.pred_mv, pens, strict=False):
        traces.append(Trace(f"from {name}", pred_mv[:, start:stop], pen))
    title = f"Record {found.record_id}, one beat at {start / found.fs_hz:.1f} s"
    return ecg_figure(traces, found.fs_hz, found.leads, title=title, layout="grid", calibrate=False)


def _beat(found: Rebuilt) -> tuple[int, int]:
    """Samples around the largest deflection over all leads in the middle half of what a sheet shows."""
    n_samples = min(found.true_mv.shape[-1], round(SHEET_S * found.fs_hz))
    length = min(n_samples, round(CLOSE_UP_S * found.fs_hz))
    size = np.nan_to_num(np.abs(found.true_mv - np.nanmedian(found.true_mv, axis=-1, keepdims=True))).sum(0)
    quarter = n_samples // 4
    peak = quarter + int(np.argmax(size[quarter : max(quarter + 1, n_samples - quarter)]))
    start = int(np.clip(peak - round(0.4 * length), 0, n_samples - length))
    return start, start + length
