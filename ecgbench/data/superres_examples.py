"""Super-resolution's examples: windows of a store, cropped, thinned and made noisy, a whole batch in one indexing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ecgbench.data.augment import LeadMixing
from ecgbench.data.keyed_random import uniforms
from ecgbench.data.noise import Condition, Noise, NoiseDraw, Split, add_noise, place
from ecgbench.data.record import EcgBatch
from ecgbench.data.sampler import SampleKey
from ecgbench.data.source import Source
from ecgbench.data.store import Store
from ecgbench.signal.resample import decimate_antialiased, decimate_stride


@dataclass(frozen=True, kw_only=True)
class SuperresExamples:
    """Low-rate input from a high-rate window.

    `official` keeps every `upscale`-th sample, starting with the first, without an anti-alias filter (MSECG's public
    code); `antialiased` removes what lies above the low Nyquist frequency first.
    """

    fs_hz: float
    """High rate."""
    upscale: int
    """High rate / low rate."""
    protocol: Literal["official", "antialiased"]
    window_s: float
    """Length of a scored window."""
    crop_s: float | None
    """Length of a random training crop; None for whole windows."""
    augment: LeadMixing | None
    """Changes of training windows."""

    def __post_init__(self) -> None:
        """Refuse rates and lengths that the factor does not divide."""
        if self.upscale < 2:
            raise ValueError(f"task.upscale is {self.upscale}; it must be at least 2")
        if self.fs_hz % self.upscale:
            factors = [str(f) for f in range(2, 21) if self.fs_hz % f == 0]
            raise ValueError(
                f"task 'superres' needs fs_hz % upscale == 0, got fs_hz={self.fs_hz:g} and upscale={self.upscale}; "
                f"use task.upscale={', '.join(factors)}, or another dataset.fs_hz"
            )
        for name, seconds in (("window_s", self.window_s), ("crop_s", self.crop_s)):
            if seconds is not None:
                self._check_length(name, seconds)

    def _check_length(self, name: str, seconds: float) -> None:
        n_samples = seconds * self.fs_hz
        whole = round(n_samples)
        if abs(n_samples - whole) > 1e-6 or whole % self.upscale or whole < self.upscale:
            raise ValueError(
                f"task.{name}={seconds:g} s is {n_samples:g} samples at {self.fs_hz:g} Hz, "
                f"which task.upscale={self.upscale} does not divide; use a multiple of {self.upscale / self.fs_hz:g} s"
            )

    @property
    def is_local(self) -> bool:
        """Whether a low-rate sample depends on its own high-rate sample alone, so that crops can be made first."""
        return self.protocol == "official"

    @property
    def crop_samples(self) -> int | None:
        """Length of a training crop at the high rate."""
        return None if self.crop_s is None else round(self.crop_s * self.fs_hz)

    def bind(self, source: Source, store: Store) -> "SuperresWindows":
        """The windows of a store as examples."""
        return SuperresWindows(self, store)

    def low(self, high_mv: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """(batch, lead, time) to (batch, lead, time / upscale), mV, sample k at high-rate sample k * upscale.

        Of row i the first valid[i] samples are real; padding stays zero and does not reach into them.
        """
        if self.is_local:
            return np.ascontiguousarray(decimate_stride(high_mv, self.upscale), dtype=np.float32)
        low_mv = decimate_antialiased(high_mv, self.upscale)
        for i in np.flatnonzero(valid < high_mv.shape[-1]):
            n_low = -(-int(valid[i]) // self.upscale)
            missing = n_low * self.upscale - int(valid[i])
            real = np.pad(high_mv[i, :, : valid[i]], ((0, 0), (0, missing)), mode="edge")
            low_mv[i] = 0
            low_mv[i, :, :n_low] = decimate_antialiased(real, self.upscale)
        return low_mv


@dataclass(frozen=True)
class SuperresWindows:
    """Every window of a store, as super-resolution learns from it."""

    config: SuperresExamples
    store: Store

    @property
    def index(self) -> pd.DataFrame:
        """The store's index."""
        return self.store.index

    @property
    def input_fs_hz(self) -> float:
        """The low rate."""
        return self.store.fs_hz / self.config.upscale

    @property
    def input_samples(self) -> int:
        """Low-rate samples of a whole window."""
        return self.store.signals.shape[-1] // self.config.upscale

    def rows(self, split: Split) -> np.ndarray:
        """Every window is a sample."""
        return np.flatnonzero(self.store.index["split"].to_numpy() == split)

    def conditions(self, noisy: Sequence[Condition]) -> list[Condition]:
        """The noise's conditions."""
        return list(noisy)

    def dataset(
        self,
        split: Split,
        noise: Noise,
        conditions: Sequence[Condition],
        traces: Mapping[str, np.ndarray],
        seed: int,
    ) -> "EcgWindowDataset":
        """Low-rate and high-rate windows."""
        return EcgWindowDataset(
            store=self.store,
            split=split,
            examples=self.config,
            noise=noise,
            conditions=conditions,
            traces=traces,
            seed=seed,
        )


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
            wide=torch.empty(len(keys), 0),
        )

    def draw(self, key: SampleKey) -> NoiseDraw:
        """The noise of one sample."""
        record_id, start = self._record_ids[key.row], self._starts[key.row]
        if self.split == "test":
            return self.noise.draw_condition(self.conditions[key.condition], record_id, start)
        if self.split == "val":
            return self.noise.draw_mixture(("val", record_id, start))
        return self.noise.draw_training(self.seed, key.epoch, record_id, start)

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
        if self.split != "train" or (self.examples.crop_samples is None and self.examples.augment is None):
            return None
        n_samples = self.store.signals.shape[-1]
        crop_samples = self.examples.crop_samples
        return n_samples if crop_samples is None else min(crop_samples, n_samples)

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
        if self.examples.augment is None:
            return high_mv, low_mv, valid
        return self._augmented(high_mv, keys), self._augmented(low_mv, keys), valid

    def _augmented(self, signals_mv: np.ndarray, keys: Sequence[SampleKey]) -> np.ndarray:
        """Every window changed by its own key's draw."""
        augment = self.examples.augment
        assert augment is not None
        windows = zip(signals_mv, keys, strict=True)
        return np.stack([augment(window, self.store.leads, self._name(key)) for window, key in windows])

    def _crop_start(self, key: SampleKey, n_samples: int) -> int:
        """First sample of a crop inside the real samples where they suffice, at any phase the decimation allows."""
        chance, *_ = uniforms("crop", *self._name(key))
        step = 1 if self.examples.is_local else self.examples.upscale
        room = max(0, int(self._n_valid[key.row]) - n_samples) // step
        return int(chance * (room + 1)) * step

    def _name(self, key: SampleKey) -> tuple[object, ...]:
        """What the random choices of a training sample depend on."""
        return self.seed, key.epoch, self._record_ids[key.row], self._starts[key.row]
