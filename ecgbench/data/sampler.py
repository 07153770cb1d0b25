"""Batches of sample keys that are the same whatever the number of processes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """What names one sample: it travels with the index, so that any process computes the same sample."""

    row: int
    """Row of the store's window index."""
    epoch: int
    """Training epoch; 0 elsewhere."""
    condition: int
    """Index of the test condition; 0 elsewhere."""


class GlobalBatches(Sampler[list[SampleKey]]):
    """Each epoch's shuffled batches of the whole run, of which this process takes its share.

    Batch k holds the same samples for one process and for several; process r of w takes every w-th sample of it.
    A last batch with fewer samples than processes, or with a single one, which has no variance to normalise by, is
    left out; an only batch is not.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_size % world:
            raise ValueError(
                f"batch_size={batch_size} does not divide among {world} processes; "
                f"use a multiple of {world}, or another trainer.devices"
            )
        self.rows, self.batch_size, self.seed, self.rank, self.world = rows, batch_size, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return full + (rest >= (max(2, self.world) if full else self.world))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for k in range(len(self)):
            batch = order[k * self.batch_size : (k + 1) * self.batch_size]
            yield [SampleKey(int(row), self.epoch, 0) for row in batch[self.rank :: self.world]]


class FixedBatches(Sampler[list[SampleKey]]):
    """Every (condition, row) pair exactly once over all processes, in a fixed order."""

    def __init__(
        self, rows: np.ndarray, batch_size: int, conditions: Sequence[int] = (0,), rank: int = 0, world: int = 1
    ) -> None:
        keys = [SampleKey(int(row), 0, condition) for condition in conditions for row in rows]
        if len(keys) < world:
            raise ValueError(f"{len(keys)} windows do not suffice for {world} processes; use fewer trainer.devices")
        own, size = keys[rank::world], max(1, batch_size // world)
        self.batches = [own[i : i + size] for i in range(0, len(own), size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self.batches)
