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
from ecgbench.data.noise import Condition, Noise, NoiseDraw, Split, add_noise
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
        high_mv, valid = self._windows(rows, keys)
        if self.split == "train" and self.augment is not None:
            names = [self._name(key) for key in keys]
            windows = zip(high_mv, names, strict=True)
            high_mv = np.stack([self.augment(window, self.store.leads, name) for window, name in windows])
        low_mv = self.examples.low(high_mv)
        low_valid = -(-valid // self.examples.upscale)
        noisy_mv = add_noise(low_mv, low_valid, [self.draw(key) for key in keys], self.traces)
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

    def _windows(self, rows: np.ndarray, keys: Sequence[SampleKey]) -> tuple[np.ndarray, np.ndarray]:
        """Target samples (batch, lead, time) and how many of each row are real."""
        valid, crop = self._n_valid[rows], self.crop_samples
        if self.split != "train" or crop is None or crop >= self.store.signals.shape[-1]:
            return self.store.signals[rows], valid
        starts = [self._crop_start(key, crop) for key in keys]
        high_mv = np.stack([self.store.signals[r, :, s : s + crop] for r, s in zip(rows, starts, strict=True)])
        return high_mv, np.clip(valid - starts, 0, crop)

    def _crop_start(self, key: SampleKey, crop: int) -> int:
        """First sample of a crop, at any phase of the low-rate grid, inside the real samples where they suffice."""
        place, *_ = uniforms("crop", *self._name(key))
        return int(place * (max(0, int(self._n_valid[key.row]) - crop) + 1))

    def _name(self, key: SampleKey) -> tuple[object, ...]:
        """What the random choices of a training sample depend on."""
        return self.seed, key.epoch, self._record_ids[key.row], self._starts[key.row]
