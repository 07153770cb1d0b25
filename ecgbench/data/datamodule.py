"""The LightningDataModule: from a store to the three loaders of a run."""

from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Sampler

from ecgbench.data.augment import LeadMixing
from ecgbench.data.dataset import EcgWindowDataset
from ecgbench.data.examples import SuperresExamples
from ecgbench.data.noise import SPLITS, Condition, Noise, NoiseDraw, Split, place
from ecgbench.data.record import EcgBatch
from ecgbench.data.sampler import FixedBatches, GlobalBatches
from ecgbench.data.splits import require_split
from ecgbench.data.store import Store


@dataclass(kw_only=True, eq=False)
class EcgDataModule(pl.LightningDataModule):
    """Loaders over a store. `batch_size` counts the samples of all processes together."""

    store: Store
    examples: SuperresExamples
    noise: Noise
    batch_size: int
    crop_samples: int | None
    augment: LeadMixing | None
    seed: int
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Refuse a store with an empty split, or missing noise recordings, before anything is trained."""
        super().__init__()
        self.conditions: list[Condition] = self.noise.conditions()
        for split in SPLITS:
            require_split(self.store.index, split)
        low_fs_hz = self.store.fs_hz / self.examples.upscale
        self.traces = {split: self.noise.traces(split, low_fs_hz) for split in SPLITS}
        n_low = self.store.signals.shape[-1] // self.examples.upscale
        for traces in self.traces.values():
            for kind, trace in traces.items():
                place(trace, NoiseDraw(kind, 0.0, 0.0, 0.0), n_low)

    def rows(self, split: Split) -> np.ndarray:
        """Rows of the store's index that belong to a split."""
        return np.flatnonzero(self.store.index["split"].to_numpy() == split)

    def dataset(self, split: Split) -> EcgWindowDataset:
        """The samples of a split."""
        return EcgWindowDataset(
            store=self.store,
            split=split,
            examples=self.examples,
            noise=self.noise,
            conditions=self.conditions,
            traces=self.traces[split],
            crop_samples=self.crop_samples,
            augment=self.augment,
            seed=self.seed,
        )

    def train_dataloader(self) -> DataLoader[EcgBatch]:
        """Random crops, shuffled by (seed, epoch)."""
        rank, world = self._place()
        return self._loader("train", GlobalBatches(self.rows("train"), self.batch_size, self.seed, rank, world))

    def val_dataloader(self) -> DataLoader[EcgBatch]:
        """Whole windows with fixed noise."""
        rank, world = self._place()
        return self._loader("val", FixedBatches(self.rows("val"), self.batch_size, rank=rank, world=world))

    def test_dataloader(self) -> DataLoader[EcgBatch]:
        """Every test window under every condition, exactly once over all processes."""
        rank, world = self._place()
        conditions = range(len(self.conditions))
        return self._loader("test", FixedBatches(self.rows("test"), self.batch_size, conditions, rank, world))

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, split: Split, batches: Sampler) -> DataLoader[EcgBatch]:
        workers = self.num_workers
        return DataLoader(
            self.dataset(split), batch_size=None, sampler=batches, num_workers=workers, persistent_workers=workers > 0
        )
