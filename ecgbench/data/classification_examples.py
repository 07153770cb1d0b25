"""Classification's examples: records cut to one length, normalised and labelled, a whole batch in one indexing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ecgbench.data.keyed_random import uniforms
from ecgbench.data.noise import Condition, Noise, NoiseDraw, Split, add_noise
from ecgbench.data.record import LEAD_SETS, EcgBatch
from ecgbench.data.sampler import SampleKey
from ecgbench.data.source import Source, Targets
from ecgbench.data.store import Store
from ecgbench.data.wide import WideKind, wide_table
from ecgbench.signal.normalize import minmax, scalar, zscore

Normalise = Literal["zscore", "minmax_record", "train_scalar", "none"]


@dataclass(frozen=True, kw_only=True)
class ClassificationExamples:
    """How a record becomes a model's input; its fields are those of the group `preprocessing`."""

    n_samples: int
    """Length of a random training crop, and of what the model sees at once at test."""
    test_samples: int
    """Length of the part of a record that is scored; n_samples or more."""
    test_crop: Literal["first", "centre"]
    """Where that part lies in a longer record."""
    normalise: Normalise
    """zscore: each lead of the crop by its own mean and standard deviation | minmax_record: each lead of the whole
    record to [-1, 1] | train_scalar: one mean and one standard deviation of all training samples | none."""
    pad: Literal["right", "left"]
    """The side of shorter records that is filled with zeros."""
    train_leads: Sequence[int]
    """Numbers of leads (keys of LEAD_SETS) that training draws from, the others zero; [12] for all leads always."""
    test_leads: Sequence[int]
    """Numbers of leads to test with, each a condition of its own; all leads come first."""
    wide: WideKind
    """What the model is told beside the signal, see `ecgbench.data.wide`."""

    def __post_init__(self) -> None:
        """Refuse lengths that do not fit and subsets that do not exist."""
        if self.n_samples < 1 or self.test_samples < self.n_samples:
            raise ValueError(
                f"preprocessing.n_samples is {self.n_samples} and test_samples {self.test_samples}; "
                "needed are 1 <= n_samples <= test_samples"
            )
        for name in ("train_leads", "test_leads"):
            unknown = sorted(set(getattr(self, name)) - set(LEAD_SETS))
            if unknown or not getattr(self, name):
                raise ValueError(
                    f"preprocessing.{name} is {list(getattr(self, name))}; allowed are {', '.join(map(str, LEAD_SETS))}"
                )
        if self.test_leads[0] != 12:
            raise ValueError(f"preprocessing.test_leads is {list(self.test_leads)}; start it with 12, for all leads")

    def test_start(self, n_total: int) -> int:
        """First sample of the scored part of a record of `n_total` samples."""
        return max(n_total - self.test_samples, 0) // 2 if self.test_crop == "centre" else 0

    def bind(self, source: Source, store: Store) -> "LabelledRecords":
        """The records of a store as examples."""
        records = LabelledRecords(self, source, store)
        records.check()
        records.prepare()
        return records


@dataclass(frozen=True)
class LabelledRecords:
    """Every record of a store that has its place in the label set's protocol; a record's name is its first row."""

    config: ClassificationExamples
    source: Source
    store: Store

    @property
    def index(self) -> pd.DataFrame:
        """The store's index."""
        return self.store.index

    @property
    def input_fs_hz(self) -> float:
        """The store's rate."""
        return self.store.fs_hz

    @property
    def input_samples(self) -> int:
        """Samples of the scored part."""
        return self.config.test_samples

    @cached_property
    def targets(self) -> Targets:
        """The labels of every row of the store's index."""
        return self.source.targets(self.store.index)

    def check(self) -> None:
        """ValueError where a split has no record left, validation no class, or a lead subset needs leads not there."""
        for split in ("train", "val", "test"):
            if not len(self.rows(split)):
                held = int((self.store.index["split"] == split).sum())
                raise ValueError(
                    f"no record of the {split} split has a label of this set ({held} windows are held); "
                    "choose other folds or another dataset.labels"
                )
        if not self.labels("val").any():
            raise ValueError(
                "no record of the val split has any of the classes, so no checkpoint and no threshold could be chosen; "
                "choose other val_folds or another dataset.labels"
            )
        for n_leads in {*self.config.train_leads, *self.config.test_leads} - {12}:
            missing = [lead for lead in LEAD_SETS[n_leads] if lead not in self.store.leads]
            if missing:
                raise ValueError(
                    f"{n_leads} leads need {', '.join(missing)}, which dataset.leads={list(self.store.leads)} lacks; "
                    "take them out of preprocessing.train_leads or test_leads"
                )

    def prepare(self) -> None:
        """Computes what takes a pass over the recordings, before loader processes each do so for themselves."""
        _ = self.wide
        if self.config.normalise == "train_scalar":
            _ = self.train_scale

    def rows(self, split: Split) -> np.ndarray:
        """First rows of the records of a split that have their place in the protocol."""
        index = self.store.index
        wanted = (index["split"] == split).to_numpy() & (index["start"] == 0).to_numpy() & self.targets.kept
        return np.flatnonzero(wanted)

    def labels(self, split: Split) -> torch.Tensor:
        """Labels of a split's records, float32 (record, class)."""
        return torch.from_numpy(self.targets.y[self.rows(split)])

    def conditions(self, noisy: Sequence[Condition]) -> list[Condition]:
        """All leads first, clean and noisy, then each smaller set of leads."""
        fewer = [Condition(f"{n} leads", None, None, LEAD_SETS[n]) for n in self.config.test_leads if n != 12]
        return [*noisy, *fewer]

    @cached_property
    def wide(self) -> np.ndarray:
        """Facts beside the signal, float32 (row, feature)."""
        return wide_table(self.store, self.config.wide)

    @cached_property
    def train_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of all real samples of all leads of the training records, in mV."""
        index = self.store.index
        wanted = np.flatnonzero((index["split"] == "train").to_numpy() & self.targets.kept)
        n_valid = index["n_valid"].to_numpy()
        total = square = count = 0.0
        for start in range(0, len(wanted), 256):
            rows = wanted[start : start + 256]
            signals = self.store.signals[rows].astype(np.float64)  # zeros after n_valid add nothing to either sum
            total += signals.sum()
            square += np.square(signals).sum()
            count += n_valid[rows].sum() * signals.shape[1]
        mean = total / count
        return mean, float(np.sqrt(max(square / count - mean**2, 0.0)))

    def dataset(
        self,
        split: Split,
        noise: Noise,
        conditions: Sequence[Condition],
        traces: Mapping[str, np.ndarray],
        seed: int,
    ) -> "EcgRecordDataset":
        """Crops with their labels."""
        return EcgRecordDataset(records=self, split=split, noise=noise, conditions=conditions, traces=traces, seed=seed)


@dataclass(kw_only=True)
class EcgRecordDataset(Dataset[EcgBatch]):
    """Records as model input and labels.

    A training sample is a random crop, noisy and short of leads as configured, drawn by (seed, epoch, record id);
    validation and test samples are a fixed part of each record.
    """

    records: LabelledRecords
    split: Split
    noise: Noise
    conditions: Sequence[Condition]
    traces: Mapping[str, np.ndarray]
    seed: int

    def __post_init__(self) -> None:
        """Keep the index's column as an array: a row of a DataFrame costs as much as a whole batch."""
        self._record_ids = self.records.store.index["record_id"].to_numpy()

    @property
    def n_samples(self) -> int:
        """Length of a sample."""
        config = self.records.config
        return config.n_samples if self.split == "train" else config.test_samples

    def __getitem__(self, keys: Sequence[SampleKey]) -> EcgBatch:
        """A whole batch, in the order of its keys."""
        rows = np.fromiter((key.row for key in keys), dtype=np.int64, count=len(keys))
        n_leads = len(self.records.store.leads)
        x = np.zeros((len(keys), n_leads, self.n_samples), dtype=np.float32)
        mask = np.zeros((len(keys), self.n_samples), dtype=bool)
        for i, key in enumerate(keys):
            sample = self.sample(key)
            n = sample.shape[-1]
            place = slice(self.n_samples - n, None) if self.records.config.pad == "left" else slice(n)
            x[i, :, place] = sample
            mask[i, place] = True
        return EcgBatch(
            x=torch.from_numpy(x),
            y=torch.from_numpy(self.records.targets.y[rows]),
            mask=torch.from_numpy(mask),
            row=torch.from_numpy(rows),
            condition=torch.tensor([key.condition for key in keys]),
            wide=torch.from_numpy(self.records.wide[rows]),
        )

    def sample(self, key: SampleKey) -> np.ndarray:
        """One crop, (lead, time): noise added in mV, normalised, then the leads that are not given set to zero."""
        total = int(self.records.store.n_total[key.row])
        n = min(self.n_samples, total)
        crop_mv = self.records.store.record_mv(key.row, self._start(key, total), n)
        draw = self.draw(key)
        if draw.kind is not None:
            crop_mv = add_noise(crop_mv[None], np.array([n]), [draw], self.traces)[0]
        sample = self._normalised(crop_mv, key.row)
        given = self.leads(key)
        if given is not None:
            sample = sample * np.isin(self.records.store.leads, given)[:, None]
        return sample

    def draw(self, key: SampleKey) -> NoiseDraw:
        """The noise of one sample."""
        record_id = self._record_ids[key.row]
        if self.split == "test":
            return self.noise.draw_condition(self.conditions[key.condition], record_id, 0)
        if self.split == "val":  # thresholds are chosen here, for the clean test condition
            return NoiseDraw(None, 0.0, 0.0, np.inf)
        return self.noise.draw_training(self.seed, key.epoch, record_id, 0)

    def leads(self, key: SampleKey) -> tuple[str, ...] | None:
        """The leads that the model is given of one sample; None for all."""
        if self.split == "test":
            return self.conditions[key.condition].leads
        choices = self.records.config.train_leads
        if self.split == "val" or list(choices) == [12]:
            return None
        chance, *_ = uniforms("leads", self.seed, key.epoch, self._record_ids[key.row])
        n_leads = choices[int(chance * len(choices))]
        return None if n_leads == 12 else LEAD_SETS[n_leads]

    def _start(self, key: SampleKey, total: int) -> int:
        """First sample of the crop in a record of `total` samples."""
        if self.split != "train":
            return self.records.config.test_start(total)
        chance, *_ = uniforms("crop", self.seed, key.epoch, self._record_ids[key.row])
        return int(chance * (max(total - self.n_samples, 0) + 1))

    def _normalised(self, crop_mv: np.ndarray, row: int) -> np.ndarray:
        """The crop without unit, as configured."""
        kind = self.records.config.normalise
        if kind == "zscore":
            return zscore(crop_mv)
        if kind == "minmax_record":
            return minmax(crop_mv, self.records.store.record_mv(row))
        if kind == "train_scalar":
            return scalar(crop_mv, *self.records.train_scale)
        return crop_mv


def records_table(index: pd.DataFrame, rows: np.ndarray, fallback_source: str) -> pd.DataFrame:
    """record_id, patient_id and source of some records; `fallback_source` where the data set is one source."""
    table = index.loc[rows, ["record_id", "patient_id"]].reset_index(drop=True)
    table["source"] = index.loc[rows, "source"].to_numpy() if "source" in index else fallback_source
    return table
