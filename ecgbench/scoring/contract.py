"""What a run asks of its task's scoring, and the JSON that the numbers are written to."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from ecgbench.data.datamodule import EcgDataModule

Systems = Mapping[str, nn.Module]
"""The model first, then the baselines, by name."""


class Scoring(Protocol):
    """What stands under `task.scoring`: the protocol of a task, its predictions and its scores."""

    def protocol(self, noise_variant: str) -> str:
        """The name that two runs must share for their scores to stand in one table."""
        ...

    def conditions_of_test(self, data: EcgDataModule) -> dict[str, Any]:
        """Every parameter that moves a test score, beside the recordings and the noise."""
        ...

    def notes(self, data: EcgDataModule, max_epochs: int | None) -> list[str]:
        """What a reader must know before comparing a score; `max_epochs` is None where nothing was trained."""
        ...

    def check(self, data: EcgDataModule) -> None:
        """ValueError or ConfigError for what would fail only after training."""
        ...

    def predict(
        self, task: Any, systems: Systems, data: EcgDataModule, device: torch.device, progress: bool
    ) -> pd.DataFrame:
        """This process's share of the predictions."""
        ...

    def finish(
        self,
        run_dir: Path,
        shares: pd.DataFrame,
        task: Any,
        systems: Systems,
        data: EcgDataModule,
        device: torch.device,
    ) -> dict[str, Any]:
        """The task's parts of result.json, from the predictions of all processes; writes scores.parquet and the rest.

        Raises RuntimeError unless every sample was predicted exactly once by every system under every condition.
        """
        ...


def write_json(path: Path, value: Any) -> None:
    """JSON with null where a number is not finite; complete or not there at all."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(_plain(value), indent=1) + "\n")
    partial.replace(path)


def _plain(value: Any) -> Any:
    """Nested plain Python values; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
