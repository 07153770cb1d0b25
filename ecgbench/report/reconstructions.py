"""The stored example reconstructions as pictures: whole records on ECG paper, close-ups and the error spectrum."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ecgbench.report.ecg_paper import BASELINE, PREDICTION, TRUTH, Trace, ecg_figure, residual_gain
from ecgbench.report.plots import error_spectrum

CLOSE_UP_S = 0.8
CLOSE_UP_ZOOM = 5.0


@dataclass(frozen=True)
class Example:
    """One stored record: its traces (truth, baseline, model), its input at the low rate, and its scores."""

    record_id: str
    role: str
    condition: str
    traces: tuple[Trace, ...]
    input_mv: np.ndarray
    fs_hz: float
    upscale: int
    leads: tuple[str, ...]
    snr_db: float
    snr_baseline_db: float

    @property
    def title(self) -> str:
        """`Median: record 123, clean, SNR 21.4 dB`, without a score that is not finite."""
        score = f", SNR {self.snr_db:.1f} dB" if np.isfinite(self.snr_db) else ""
        return f"{self.role.capitalize()}: record {self.record_id}, {self.condition}{score}"

    @property
    def signals_mv(self) -> dict[str, np.ndarray]:
        """Each trace's signal (lead, time) by its name."""
        return {trace.name: trace.signal_mv for trace in self.traces}


def read_examples(arrays: dict[str, np.ndarray], model: str) -> list[Example]:
    """The stored examples, in their stored order; `arrays` is the content of `examples.npz`."""
    fs_hz, upscale, baseline = float(arrays["fs_hz"]), int(arrays["upscale"]), str(arrays["baseline"])
    leads = tuple(str(lead) for lead in arrays["leads"])
    examples = []
    for k, record_id in enumerate(arrays["record_id"]):
        traces = [Trace("truth", arrays["y_true"][k], TRUTH)]
        if baseline not in ("", model):
            traces.append(Trace(baseline, arrays["y_baseline"][k], BASELINE))
        traces.append(Trace(model, arrays["y_pred"][k], PREDICTION))
        scores = float(arrays["snr_db"][k]), float(arrays["snr_baseline_db"][k])
        role, condition = str(arrays["role"][k]), str(arrays["condition"][k])
        x = arrays["x"][k]
        examples.append(Example(str(record_id), role, condition, tuple(traces), x, fs_hz, upscale, leads, *scores))
    return examples


def common_gains(examples: list[Example]) -> dict[str, float]:
    """One residual scale per condition, in mm/mV, so that its records' strips can be compared by eye."""
    errors_mv: dict[str, list[np.ndarray]] = {}
    for example in examples:
        truth, *others = example.traces
        errors_mv.setdefault(example.condition, []).extend(t.signal_mv - truth.signal_mv for t in others)
    return {condition: residual_gain(errors) for condition, errors in errors_mv.items()}


def paper_figure(example: Example, residual_mm_per_mv: float) -> Figure:
    """The whole record, every lead, with residual strips."""
    return ecg_figure(
        example.traces,
        example.fs_hz,
        example.leads,
        title=example.title,
        residual_mm_per_mv=residual_mm_per_mv,
    )


def close_up_figure(example: Example) -> Figure:
    """One beat, enlarged, of the lead and place where the model errs most."""
    lead, start, stop = _close_up_span(example)
    cut = [trace._replace(signal_mv=trace.signal_mv[lead : lead + 1, start:stop]) for trace in example.traces]
    low = slice(start // example.upscale, stop // example.upscale)
    return ecg_figure(
        cut,
        example.fs_hz,
        [f"{example.leads[lead]}, {start / example.fs_hz:.1f} s"],
        title=f"{example.role.capitalize()}, {example.condition}",
        zoom=CLOSE_UP_ZOOM,
        calibrate=False,
        points=(example.input_mv[lead : lead + 1, low], example.fs_hz / example.upscale),
    )


def _close_up_span(example: Example) -> tuple[int, int, int]:
    """(lead, start, stop) around the largest error of the last trace, the model's; start falls on an input sample."""
    truth_mv, other_mv = example.traces[0].signal_mv, example.traces[-1].signal_mv
    error_mv = np.nan_to_num(np.abs(other_mv - truth_mv))
    lead, peak = np.unravel_index(np.argmax(error_mv), error_mv.shape)
    n_samples = truth_mv.shape[-1]
    length = min(n_samples, round(CLOSE_UP_S * example.fs_hz) // example.upscale * example.upscale)
    start = int(np.clip(peak - length // 2, 0, n_samples - length)) // example.upscale * example.upscale
    return int(lead), start, start + length


def spectrum_figure(examples: list[Example]) -> Figure:
    """Spectrum of the errors of the stored examples of the first one's condition."""
    alike = [e.signals_mv for e in examples if e.condition == examples[0].condition]
    stacked = {name: np.stack([signals[name] for signals in alike]) for name in alike[0]}
    truth_mv = stacked.pop("truth")
    fs_hz, upscale = examples[0].fs_hz, examples[0].upscale
    # The model's error first, so that it has the colour it has in the other charts.
    return error_spectrum(truth_mv, dict(reversed(stacked.items())), fs_hz, fs_hz / upscale / 2)
