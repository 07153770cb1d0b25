"""The records that a classifier gets most wrong, on ECG paper."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ecgbench.report.ecg_paper import SHEET_S, TRUTH, Trace, ecg_figure

NOTHING = "none"


@dataclass(frozen=True)
class Mistake:
    """One stored record: its signal (lead, time) in mV without padding, and what was made of it."""

    record_id: str
    role: str
    signal_mv: np.ndarray
    fs_hz: float
    leads: tuple[str, ...]
    truth: str
    decided: str
    scores_text: str
    error: float

    @property
    def title(self) -> str:
        """`Worst: record 123, cross-entropy 2.31`, without an error that is not finite."""
        error = f", cross-entropy {self.error:.2f}" if np.isfinite(self.error) else ""
        return f"{self.role.capitalize()}: record {self.record_id}{error}".removeprefix(": ")

    @property
    def caption(self) -> str:
        """What the record has, what was decided, and the probabilities behind it."""
        parts = [f"True: {self.truth}", f"decided: {self.decided}"]
        if self.scores_text:
            parts.append(f"probabilities: {self.scores_text}")
        shown = f" First {SHEET_S:g} s of {self.duration_s:.0f} s." if self.duration_s > SHEET_S else ""
        return f"{'; '.join(parts)}.{shown}"

    @property
    def duration_s(self) -> float:
        """Length of the recorded signal."""
        return self.signal_mv.shape[-1] / self.fs_hz if self.fs_hz else 0.0


def read_mistakes(arrays: dict[str, np.ndarray]) -> list[Mistake]:
    """The stored records, in their stored order; `arrays` is the content of a classification run's `examples.npz`.

    A field that is absent is empty; a record without a signal has one of zero samples.
    """
    fs_hz = float(arrays["fs_hz"]) if "fs_hz" in arrays and np.size(arrays["fs_hz"]) else 0.0
    leads = tuple(str(lead) for lead in arrays.get("leads", ()))
    signals_mv = arrays.get("x", np.zeros((0, len(leads), 0)))
    found = []
    for k, record_id in enumerate(arrays.get("record_id", ())):
        signal_mv = signals_mv[k] if k < len(signals_mv) else np.zeros((len(leads), 0))
        n_valid = int(_item(arrays, "n_valid", k, signal_mv.shape[-1]))
        texts = [str(_item(arrays, name, k, "")) for name in ("truth", "decided", "scores_text")]
        truth, decided = (text.replace(",", ", ").replace("  ", " ") or NOTHING for text in texts[:2])
        error = float(_item(arrays, "error", k, np.nan))
        role = str(_item(arrays, "role", k, ""))
        signal_mv = signal_mv[:, :n_valid]
        found.append(Mistake(str(record_id), role, signal_mv, fs_hz, leads, truth, decided, texts[2], error))
    return found


def _item(arrays: dict[str, np.ndarray], name: str, place: int, missing: object) -> object:
    values = np.atleast_1d(arrays.get(name, ()))
    return values[place] if place < len(values) else missing


def mistake_figure(mistake: Mistake) -> Figure | None:
    """Every lead of the record's first 10 s; None where it has no signal."""
    if not mistake.signal_mv.size or not mistake.fs_hz:
        return None
    return ecg_figure([Trace("", mistake.signal_mv, TRUTH)], mistake.fs_hz, mistake.leads, title=mistake.title)
