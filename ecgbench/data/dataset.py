"""Windows of a store as batches: cropping, padding masks, decimation and noise, a whole batch in one indexing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ecgbench.data.augment import LeadMixing
from ecgbench.data.examples import SuperresExamples
from ecgbench.data.keyed_random import uniforms
from ecgbench.data.noise import Condition, Noise, NoiseDraw, Split, add_noise, place
from ecgbench.data.record import EcgBatch
from ecgbench.data.store import Store


class SampleKey(NamedTuple):
    """What names one sample: it travels with the index, so that any process computes the same sample."""

    row: int
    """Row of the store's window index."""
    epoch: int
    """Training epoch; 0 elsewhere."""
    condition: int
    """Index of the test condition; 0 elsewhere."""


@dataclass(kw_only=True)
class EcgWindowDataset(Dataset[EcgBatch]):
    """Stored windows as model input and target.

    Training samples are random crops with a mixture of clean and noisy inputs, drawn by (seed, epoch, record id,
    window); validation and test samples are whole windows with noise that never changes between runs.
    """

    store: Store
    split: Split
    examples: SuperresExamples
    noise: Noise
    conditions: Sequence[Condition]
    traces: Mapping[str, np.ndarray]
    crop_samples: int | None
    augment: LeadMixing | None
    seed: int

    def __post_init__(self) -> None:
        """Keep the index's columns as arrays: a row of a DataFrame costs as much as a whole batch."""
        index = self.store.index
        self._record_ids = index["record_id"].to_numpy()
        self._starts = index["start"].to_numpy()
        self._n_valid = index["n_valid"].to_numpy()

    def __getitem__(self, keys: Sequence[SampleKey]) -> EcgBatch:
        """A whole batch, in the order of its keys."""
        rows = np.fromiter((key.row for key in keys), dtype=np.int64, count=len(keys))
        high_mv, low_mv, valid = self._windows(rows) if self._n_crop is None else self._crops(rows, keys)
        draws = [self.draw(key) for key in keys]
        noisy_mv = add_noise(low_mv, -(-valid // self.examples.upscale), draws, self.traces)
        return EcgBatch(
            x=torch.from_numpy(noisy_mv),
            y=torch.from_numpy(high_mv),
            mask=torch.from_numpy(np.arange(high_mv.shape[-1]) < valid[:, None]),
            row=torch.from_numpy(rows),
            condition=torch.tensor([key.condition for key in keys]),
        )

    def draw(self, key: SampleKey) -> NoiseDraw:
        """The noise of one sample."""
        record_id, start = self._record_ids[key.row], self._starts[key.row]
        if self.split == "test":
            return self.noise.draw_condition(self.conditions[key.condition], record_id, start)
        if self.split == "val":
            return self.noise.draw_mixture(("val", record_id, start))
        epoch = key.epoch if self.noise.redraw == "epoch" else "run"
        return self.noise.draw_mixture(("train", self.seed, epoch, record_id, start))

    def noise_place(self, key: SampleKey) -> tuple[str | None, int, int, float]:
        """Kind, channel, first low-rate sample and SNR of one whole window's noise; (None, -1, -1, inf) when clean."""
        draw = self.draw(key)
        if draw.kind is None:
            return None, -1, -1, draw.snr_db
        n_low = -(-int(self._n_valid[key.row]) // self.examples.upscale)
        return draw.kind, *place(self.traces[draw.kind], draw, n_low), draw.snr_db

    @property
    def _n_crop(self) -> int | None:
        """Length of a training crop; None where whole windows are used and nothing is changed."""
        if self.split != "train" or (self.crop_samples is None and self.augment is None):
            return None
        n_samples = self.store.signals.shape[-1]
        return n_samples if self.crop_samples is None else min(self.crop_samples, n_samples)

    def _windows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whole windows: target, clean input, and how many target samples of each row are real."""
        high_mv, valid = self.store.signals[rows], self._n_valid[rows]
        return high_mv, self.examples.low(high_mv, valid), valid

    def _crops(self, rows: np.ndarray, keys: Sequence[SampleKey]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random stretches of windows, changed by `augment`: target, clean input, real target samples.

        A decimation that looks at a whole window sees whole windows here too, as it does at test.
        """
        signals, upscale, n = self.store.signals, self.examples.upscale, self._n_crop or 0
        starts = np.array([self._crop_start(key, n) for key in keys])
        places = list(zip(rows, starts, strict=True))
        high_mv = np.stack([signals[row, :, start : start + n] for row, start in places])
        valid = np.clip(self._n_valid[rows] - starts, 0, n)
        if self.examples.is_local:
            low_mv = self.examples.low(high_mv, valid)
        else:
            whole_mv = self.examples.low(signals[rows], self._n_valid[rows])
            firsts = starts // upscale
            low_mv = np.stack([w[:, first : first + n // upscale] for w, first in zip(whole_mv, firsts, strict=True)])
        if self.augment is None:
            return high_mv, low_mv, valid
        return self._augmented(high_mv, keys), self._augmented(low_mv, keys), valid

    def _augmented(self, signals_mv: np.ndarray, keys: Sequence[SampleKey]) -> np.ndarray:
        """Every window changed by its own key's draw."""
        assert self.augment is not None
        windows = zip(signals_mv, keys, strict=True)
        return np.stack([self.augment(window, self.store.leads, self._name(key)) for window, key in windows])

    def _crop_start(self, key: SampleKey, n_samples: int) -> int:
        """First sample of a crop inside the real samples where they suffice, at any phase the decimation allows."""
        chance, *_ = uniforms("crop", *self._name(key))
        step = 1 if self.examples.is_local else self.examples.upscale
        room = max(0, int(self._n_valid[key.row]) - n_samples) // step
        return int(chance * (room + 1)) * step

    def _name(self, key: SampleKey) -> tuple[object, ...]:
        """What the random choices of a training sample depend on."""
        return self.seed, key.epoch, self._record_ids[key.row], self._starts[key.row]
