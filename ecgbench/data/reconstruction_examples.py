"""Reconstruction's examples: windows of twelve leads, of which the model is given one or a few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ecgbench.data.keyed_random import generator, uniforms
from ecgbench.data.noise import Condition, Noise, NoiseDraw, Split, add_noise
from ecgbench.data.record import LEAD_SETS, LEADS, EcgBatch
from ecgbench.data.sampler import SampleKey
from ecgbench.data.source import Source
from ecgbench.data.store import Store

ANY, SUBSET = "any", "subset"
"""In training: one lead drawn at random; one to seven of the eight independent leads drawn at random."""
INDEPENDENT = LEAD_SETS[8]
"""I, II and V1 to V6: two limb leads determine the other four, so a subset of all twelve would often be no puzzle."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionExamples:
    """Which windows a record is cut into, and which leads the model is given."""

    n_samples: int
    """Length of a window."""
    windows: Literal["overlap", "published_repeat", "published_zero"]
    """overlap: the last window ends with the record | published_*: windows lie end to end, and what the last one lacks
    is filled with the record's last samples once more, or with zeros (both occur in MCMA's public code)."""
    crops: Literal["fixed", "random"]
    """Training windows: the same in every epoch, or begun anywhere in the record."""
    padding: Literal["zero", "copy"]
    """The leads that are not given: zero, or a copy of the one that is."""
    train_inputs: Sequence[str]
    """Lead sets that training draws from, evenly: "any" (one lead at random), "subset" (one to seven of the eight
    independent leads at random), "I", "I+II+V3", ..."""
    test_inputs: Sequence[str]
    """Lead sets to test, each a condition."""
    noise_inputs: Sequence[str]
    """Lead sets that are tested under each noise condition too."""

    def __post_init__(self) -> None:
        """Refuse lead sets that do not exist, are empty or leave nothing to rebuild."""
        if self.n_samples < 1:
            raise ValueError(f"task.n_samples is {self.n_samples}; it must be at least 1")
        for key in ("train_inputs", "test_inputs", "noise_inputs"):
            for text in getattr(self, key):
                if not (key == "train_inputs" and text in (ANY, SUBSET)):
                    self._check_set(key, text)
        for key in ("train_inputs", "test_inputs"):
            if not getattr(self, key):
                raise ValueError(f"task.{key} is empty; name one lead set or more, such as I or I+II+V3")
        for key in ("test_inputs", "noise_inputs"):
            twice = [text for text in getattr(self, key) if list(getattr(self, key)).count(text) > 1]
            if twice:
                raise ValueError(f"task.{key} names {twice[0]!r} more than once; name every lead set once")

    def _check_set(self, key: str, text: str) -> None:
        leads = lead_set(text)
        unknown = [lead for lead in leads if lead not in LEADS]
        if unknown or not leads:
            allowed = f"leads joined by +, of {', '.join(LEADS)}"
            extra = f", or {ANY}, or {SUBSET}" if key == "train_inputs" else ""
            raise ValueError(f"task.{key} holds {text!r}; allowed are {allowed}{extra}")
        if len(set(leads)) == len(LEADS):
            raise ValueError(f"task.{key} holds all twelve leads ({text!r}); leave one or more out")
        if self.padding == "copy" and (len(leads) > 1 or SUBSET in self.train_inputs):
            raise ValueError(f"task.padding=copy takes single leads, task.{key} holds {text!r}; use task.padding=zero")

    def bind(self, source: Source, store: Store) -> "LeadWindows":
        """The windows of a store's records as examples."""
        if tuple(store.leads) != LEADS:
            raise ValueError(f"task=reconstruction needs dataset.leads={list(LEADS)}, got {list(store.leads)}")
        return LeadWindows(self, store)

    def starts(self, n_total: int) -> list[int]:
        """First samples of the windows of a record; one window, filled up, for a record shorter than a window."""
        n_windows = max(1, -(-n_total // self.n_samples))
        starts = [i * self.n_samples for i in range(n_windows)]
        if self.windows == "overlap":
            starts[-1] = max(0, n_total - self.n_samples)
        return starts

    def cut(self, record_mv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A record (lead, time) as windows (window, lead, n_samples), and which samples of each are real."""
        starts, n_total = self.starts(record_mv.shape[-1]), record_mv.shape[-1]
        missing = max(0, starts[-1] + self.n_samples - n_total)
        mask = np.arange(starts[-1] + self.n_samples) < n_total
        filled = np.pad(record_mv, ((0, 0), (0, missing)))
        if missing and self.windows == "published_repeat":
            tail = record_mv[:, -missing:]
            filled[:, n_total:] = tail[:, np.arange(missing) % tail.shape[1]]
        stop = [s + self.n_samples for s in starts]
        windows = [filled[:, a:b] for a, b in zip(starts, stop, strict=True)]
        return np.stack(windows), np.stack([mask[a:b] for a, b in zip(starts, stop, strict=True)])

    def stitch(self, windows: np.ndarray, n_total: int) -> np.ndarray:
        """Windows (window, lead, n_samples) as a record (lead, n_total); a later window adds what earlier ones lack."""
        record = np.empty((windows.shape[1], n_total), dtype=windows.dtype)
        done = 0
        for start, window in zip(self.starts(n_total), windows, strict=True):
            stop = min(start + self.n_samples, n_total)
            record[:, done:stop] = window[:, done - start : stop - start]
            done = stop
        return record

    def model_input(self, windows_mv: np.ndarray, given: Sequence[str], reads_presence: bool = False) -> np.ndarray:
        """(..., lead, time) with the given leads alone; the others are zero, or copies of the one given.

        A system that tells given leads from absent ones by their zeros (`reads_presence`) gets zeros.
        """
        if self.padding == "copy" and not reads_presence:
            place = LEADS.index(given[0])
            return np.repeat(windows_mv[..., place : place + 1, :], len(LEADS), axis=-2)
        return windows_mv * np.isin(LEADS, given)[:, None].astype(windows_mv.dtype)


def lead_set(text: str) -> tuple[str, ...]:
    """The leads of "I+II+V3"."""
    return tuple(part.strip() for part in text.split("+") if part.strip())


@dataclass(frozen=True)
class LeadWindows:
    """Every window of a store's records."""

    config: ReconstructionExamples
    store: Store

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per window: record_id, patient_id, split, the record's first row in the store, first sample."""
        heads = self.store.index[self.store.index["start"] == 0]
        starts = [self.config.starts(int(self.store.n_total[row])) for row in heads.index]
        table = heads[["record_id", "patient_id", "split"]].assign(record_row=heads.index, first=starts)
        return table.explode("first", ignore_index=True).astype({"first": int})

    @property
    def input_fs_hz(self) -> float:
        """The store's rate."""
        return self.store.fs_hz

    @property
    def input_samples(self) -> int:
        """Noise is added to whole records, so a recording of it must be as long as the longest."""
        return int(self.store.n_total.max())

    def rows(self, split: Split) -> np.ndarray:
        """Windows of a split."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())

    def records(self, split: Split) -> np.ndarray:
        """First rows, in the store's index, of a split's records."""
        index = self.store.index
        return np.flatnonzero(((index["split"] == split) & (index["start"] == 0)).to_numpy())

    def conditions(self, noisy: Sequence[Condition]) -> list[Condition]:
        """Every tested lead set without noise, then the ones to be tested with each noise."""
        clean = [Condition(text, None, None, lead_set(text)) for text in self.config.test_inputs]
        return clean + [
            Condition(f"{text} {noise.name}", noise.kind, noise.snr_db, lead_set(text))
            for text in self.config.noise_inputs
            for noise in noisy
            if noise.kind is not None
        ]

    def windows(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """All windows of the record whose first row is `row`, in mV, and their masks."""
        return self.config.cut(self.store.record_mv(row))

    def noisy_windows(
        self, row: int, condition: Condition, noise: Noise, traces: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """All windows of a record with the condition's noise added to every lead, in mV."""
        record_mv = self.store.record_mv(row)
        draw = noise.draw_condition(condition, self.store.index["record_id"].iloc[row], 0)
        return self.config.cut(_with_noise(record_mv, draw, traces))[0]

    def dataset(
        self,
        split: Split,
        noise: Noise,
        conditions: Sequence[Condition],
        traces: Mapping[str, np.ndarray],
        seed: int,
    ) -> "LeadWindowDataset":
        """Windows with the leads that are given, and all twelve as the target."""
        return LeadWindowDataset(
            records=self, split=split, noise=noise, conditions=conditions, traces=traces, seed=seed
        )


@dataclass(kw_only=True)
class LeadWindowDataset(Dataset[EcgBatch]):
    """Windows as model input and target.

    Training draws the given leads by (seed, epoch, window); validation gives each window one lead set of a fixed rota
    over those that training names (all twelve leads for a random lead or subset), so that every epoch is judged by the
    same task; test gives the condition's leads.
    """

    records: LeadWindows
    split: Split
    noise: Noise
    conditions: Sequence[Condition]
    traces: Mapping[str, np.ndarray]
    seed: int

    def __post_init__(self) -> None:
        """Keep the index's columns as arrays: a row of a DataFrame costs as much as a whole batch."""
        index = self.records.index
        self._record_ids, self._record_rows = index["record_id"].to_numpy(), index["record_row"].to_numpy()
        self._starts = index["first"].to_numpy()

    def __getitem__(self, keys: Sequence[SampleKey]) -> EcgBatch:
        """A whole batch, in the order of its keys; `wide` is 1 for the leads that are given, 0 for hidden ones."""
        given = [self.given(key) for key in keys]
        samples = [self._sample(key, leads) for key, leads in zip(keys, given, strict=True)]
        x, y, mask = (np.stack(parts) for parts in zip(*samples, strict=True))
        return EcgBatch(
            x=torch.from_numpy(x),
            y=torch.from_numpy(y),
            mask=torch.from_numpy(mask),
            row=torch.tensor([key.row for key in keys]),
            condition=torch.tensor([key.condition for key in keys]),
            wide=torch.from_numpy(np.stack([np.isin(LEADS, leads) for leads in given]).astype(np.float32)),
        )

    def _sample(self, key: SampleKey, given: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Model input, target and mask of one window."""
        config, store = self.records.config, self.records.store
        row, start = int(self._record_rows[key.row]), self._start(key)
        total = int(store.n_total[row])
        if config.crops == "random" and self.split == "train":
            part = store.record_mv(row, start, config.n_samples)
            y = np.pad(part, ((0, 0), (0, config.n_samples - part.shape[-1])))
            mask = np.arange(config.n_samples) < part.shape[-1]
        else:
            windows, masks = config.cut(store.record_mv(row))
            place = config.starts(total).index(start)
            y, mask = windows[place], masks[place]
        noisy = _with_noise(y, self._draw(key), self.traces)
        return config.model_input(noisy, given).astype(np.float32), y.astype(np.float32), mask

    def given(self, key: SampleKey) -> tuple[str, ...]:
        """The leads that the model is given of one window."""
        if self.split == "test":
            return self.conditions[key.condition].leads or LEADS
        choices = self.records.config.train_inputs
        if self.split == "val":
            named = [text for text in choices if text not in (ANY, SUBSET)]
            sets = named + (list(LEADS) if len(named) < len(choices) else [])
            return lead_set(sets[key.row % len(sets)])
        which, *chances = uniforms("input", *self._name(key))
        text = choices[int(which * len(choices))]
        if text == ANY:
            return (LEADS[int(chances[0] * len(LEADS))],)
        return _subset(chances[0], generator("subset", *self._name(key))) if text == SUBSET else lead_set(text)

    def _draw(self, key: SampleKey) -> NoiseDraw:
        """The noise of one window."""
        if self.split == "test":
            return self.noise.draw_condition(self.conditions[key.condition], self._record_ids[key.row], 0)
        if self.split == "val":
            return self.noise.draw_mixture(("val", self._record_ids[key.row], self._starts[key.row]))
        return self.noise.draw_training(self.seed, key.epoch, self._record_ids[key.row], self._starts[key.row])

    def _start(self, key: SampleKey) -> int:
        """First sample of the window in its record."""
        start = int(self._starts[key.row])
        if self.records.config.crops == "fixed" or self.split != "train":
            return start
        room = int(self.records.store.n_total[self._record_rows[key.row]]) - self.records.config.n_samples
        chance, *_ = uniforms("crop", *self._name(key))
        return int(chance * (max(0, room) + 1))

    def _name(self, key: SampleKey) -> tuple[object, ...]:
        """What the random choices of a training sample depend on."""
        return self.seed, key.epoch, self._record_ids[key.row], self._starts[key.row]


def _subset(chance: float, rng: np.random.Generator) -> tuple[str, ...]:
    """One to seven of the independent leads: every number of them equally often."""
    count = 1 + int(chance * (len(INDEPENDENT) - 1))
    return tuple(INDEPENDENT[i] for i in sorted(rng.permutation(len(INDEPENDENT))[:count]))


def _with_noise(signal_mv: np.ndarray, draw: NoiseDraw, traces: Mapping[str, np.ndarray]) -> np.ndarray:
    """(lead, time) with the drawn noise in every lead."""
    if draw.kind is None:
        return signal_mv
    return add_noise(signal_mv[None], np.array([signal_mv.shape[-1]]), [draw], traces)[0]
