"""The LightningDataModule: from a store to the three loaders of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Sampler

from ecgbench.data.examples import Examples, ExamplesConfig
from ecgbench.data.noise import SPLITS, Condition, Noise, NoiseDraw, Split, place
from ecgbench.data.record import EcgBatch
from ecgbench.data.sampler import FixedBatches, GlobalBatches
from ecgbench.data.source import Source
from ecgbench.data.splits import require_split
from ecgbench.data.store import Store


@dataclass(kw_only=True, eq=False)
class EcgDataModule(pl.LightningDataModule):
    """Loaders over a store. `batch_size` counts the samples of all processes together."""

    source: Source
    store: Store
    examples_config: ExamplesConfig
    noise: Noise
    batch_size: int
    seed: int
    num_workers: int = 0
    splits: Sequence[Split] = SPLITS
    """The splits that will be asked for: an external test set may hold no other."""

    def __post_init__(self) -> None:
        """Refuse a store with an empty split, or missing noise recordings, before anything is trained."""
        super().__init__()
        for split in self.splits:
            require_split(self.store.index, split)
        self.examples: Examples = self.examples_config.bind(self.source, self.store)
        self.conditions: list[Condition] = self.examples.conditions(self.noise.conditions())
        self.traces = {split: self.noise.traces(split, self.examples.input_fs_hz) for split in self.splits}
        for traces in self.traces.values():
            for kind, trace in traces.items():
                place(trace, NoiseDraw(kind, 0.0, 0.0, 0.0), self.examples.input_samples)

    def rows(self, split: Split) -> np.ndarray:
        """Rows of the examples' index that are the samples of a split."""
        return self.examples.rows(split)

    def dataset(self, split: Split) -> Dataset[EcgBatch]:
        """The samples of a split."""
        return self.examples.dataset(split, self.noise, self.conditions, self.traces[split], self.seed)

    def train_dataloader(self) -> DataLoader[EcgBatch]:
        """Random crops, shuffled by (seed, epoch)."""
        rank, world = self._place()
        return self._loader("train", GlobalBatches(self.rows("train"), self.batch_size, self.seed, rank, world))

    def val_dataloader(self) -> DataLoader[EcgBatch]:
        """Whole windows with fixed noise."""
        rank, world = self._place()
        return self._loader("val", FixedBatches(self.rows("val"), self.batch_size, rank=rank, world=world))

    def test_dataloader(self) -> DataLoader[EcgBatch]:
        """Every test sample under every condition, exactly once over all processes."""
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
