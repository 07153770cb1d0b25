"""Records made up for the tests of reconstruction's scores: twelve multiples of one wave, so any lead gives all."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ecgbench.data.noise import Condition, Noise, NoNoise
from ecgbench.data.reconstruction_examples import LeadWindows, ReconstructionExamples
from ecgbench.data.record import LEADS
from ecgbench.data.store import Store

FS_HZ, RR, N_WINDOW = 500, 400, 1024
GAINS = np.array([1.0, 1.5, 0.5, -1.25, 0.25, 1.0, 0.4, 0.8, 1.2, 1.6, 1.4, 1.1])
"""Of the twelve leads. The limb leads fulfil the identities: III = II - I, aVR = -(I + II)/2, ..."""
WAVES = ((-80, 12, 0.12), (0, 6, 1.0), (14, 6, -0.2), (120, 22, 0.25))
"""Centre and width in samples, and height in mV, of P, R, S and T of a beat."""


def beats_mv(n_samples: int) -> np.ndarray:
    """One lead: a beat every 400 samples, 75 bpm at 500 Hz, the first R peak at sample 150."""
    time = np.arange(n_samples)
    peaks = np.arange(150, n_samples + RR, RR)
    waves = [h * np.exp(-0.5 * ((time[:, None] - peaks - c) / w) ** 2).sum(1) for c, w, h in WAVES]
    return np.sum(waves, axis=0)


def record_mv(n_samples: int, amplitude: float = 1.0) -> np.ndarray:
    """Twelve leads, (lead, time)."""
    return amplitude * GAINS[:, None] * beats_mv(n_samples)


class OneHeart(nn.Module):
    """Every lead from any one, exactly, times `factor`."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("gains", torch.tensor(GAINS, dtype=torch.float32))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(batch, lead, time) with some leads given."""
        given = x.any(-1, keepdim=True).float()
        wave = (x / self.gains[:, None] * given).sum(1, keepdim=True) / given.sum(1, keepdim=True).clamp(1)
        return self.factor * self.gains[:, None] * wave


class Same(nn.Module):
    """What came in, with a constant added."""

    def __init__(self, constant: float = 0.0) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, x: Tensor) -> Tensor:
        """(batch, lead, time)."""
        return x + self.constant


class Mix(nn.Module):
    """A fixed random matrix over the leads."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        matrix = np.random.default_rng(seed).normal(size=(12, 12))
        self.register_buffer("matrix", torch.tensor(matrix, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, lead, time)."""
        return self.matrix @ x


TASK = SimpleNamespace(predict=lambda model, x: model(x))


def conditions(*names: str) -> list[Condition]:
    """Clean conditions by the leads they give, joined by +."""
    return [Condition(name, None, None, tuple(name.split("+"))) for name in names]


def made_up(
    records: Sequence[np.ndarray],
    tested: Sequence[Condition],
    windows: Any = "overlap",
    padding: Any = "zero",
    noise: Noise | None = None,
    source: Any = None,
    store_window: int = 2048,
) -> Any:
    """A data module of these test records (lead, time), each of a patient of its own."""
    config = ReconstructionExamples(
        n_samples=N_WINDOW, windows=windows, crops="fixed", padding=padding,
        train_inputs=["any"], test_inputs=["I"], noise_inputs=[],
    )  # fmt: skip
    store = _store(records, store_window)
    noise = noise or NoNoise()
    return SimpleNamespace(
        examples=LeadWindows(config, store),
        store=store,
        source=source or SimpleNamespace(),
        conditions=list(tested),
        noise=noise,
        traces={"test": noise.traces("test", FS_HZ)},
        num_workers=0,
    )


def _store(records: Sequence[np.ndarray], width: int) -> Store:
    signals, rows = [], []
    for i, record in enumerate(records):
        n_time = record.shape[-1]
        for start in range(0, n_time, width):
            part = record[:, start : start + width]
            signals.append(np.pad(part, ((0, 0), (0, width - part.shape[-1]))))
            rows.append((f"r{i}", f"p{i}", "test", 10, start, part.shape[-1]))
    columns = ["record_id", "patient_id", "split", "fold", "start", "n_valid"]
    index = pd.DataFrame(rows, columns=columns)
    array: Any = np.stack(signals).astype(np.float32)
    return Store(Path(), array, index, [], "", float(FS_HZ), LEADS, index.drop_duplicates("record_id"))
