"""What the data module asks of a task's examples: which samples a split has, and a dataset that makes them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from torch.utils.data import Dataset

from ecgbench.data.noise import Condition, Noise, Split
from ecgbench.data.record import EcgBatch
from ecgbench.data.source import Source
from ecgbench.data.store import Store


class Examples(Protocol):
    """What the data module asks of a task's examples, once they know the recordings."""

    @property
    def index(self) -> pd.DataFrame:
        """One row per sample, with the columns record_id, patient_id and split."""
        ...

    @property
    def input_fs_hz(self) -> float:
        """Rate of the model's input, where noise is added."""
        ...

    @property
    def input_samples(self) -> int:
        """Longest model input."""
        ...

    def rows(self, split: Split) -> np.ndarray:
        """Rows of `index` that are the samples of a split."""
        ...

    def conditions(self, noisy: Sequence[Condition]) -> list[Condition]:
        """The test conditions, the noise's among them, clean first."""
        ...

    def dataset(
        self,
        split: Split,
        noise: Noise,
        conditions: Sequence[Condition],
        traces: Mapping[str, np.ndarray],
        seed: int,
    ) -> Dataset[EcgBatch]:
        """The samples of a split, a whole batch in one indexing."""
        ...


class ExamplesConfig(Protocol):
    """What stands under `task.examples`: the examples before the recordings are opened."""

    def bind(self, source: Source, store: Store) -> Examples:
        """The examples made of a store's recordings."""
        ...
