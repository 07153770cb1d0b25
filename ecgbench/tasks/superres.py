"""Super-resolution: rebuild the high-rate ECG from a low-rate, possibly noisy one."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ecgbench.data.record import EcgBatch
from ecgbench.metrics.collection import SUPERRES
from ecgbench.metrics.superres import superres_scores
from ecgbench.metrics.waveform import snr_db

PROTOCOL_VERSION = 1
"""Raised whenever a change to data, metric or test condition changes a number."""


class Superres(pl.LightningModule):
    """Trains by mean squared error in mV^2 over real samples, scores by `superres_scores`.

    Args:
        model: (batch, lead, time / upscale) to (batch, lead, time), or to a pair whose second part rebuilds the input.
        make_optimizer: model to optimiser.
        make_schedule: optimiser and total steps to Lightning's scheduler dictionary, or None.
        fs_hz: high rate.
        upscale: high rate / low rate.
    """

    metrics = SUPERRES

    def __init__(
        self,
        *,
        model: nn.Module,
        make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        make_schedule: Callable[[torch.optim.Optimizer, int], dict[str, Any] | None],
        fs_hz: float,
        upscale: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.fs_hz, self.upscale = fs_hz, upscale
        self.val_loss, self.val_snr_db = MeanMetric(), MeanMetric()

    def prepare(self, systems: Mapping[str, nn.Module], data: Any) -> None:
        """Nothing: no system of this task is fitted in closed form."""

    def forward(self, x: Tensor) -> Tensor:
        """High-rate ECG in mV, (batch, lead, time)."""
        return both_outputs(self.model, x)[0]

    def training_step(self, batch: EcgBatch, batch_idx: int) -> Tensor:
        """Loss of one batch, the same for one process and for several."""
        high, low = both_outputs(self.model, batch.x)
        loss = mean_over_processes(*squared_error(high, batch.y, batch.mask))
        if low is not None:
            low_mask = batch.mask[:, :: self.upscale]
            loss = loss + mean_over_processes(*squared_error(low, batch.x, low_mask))
        self.log("train/loss", loss, on_step=True, on_epoch=False, sync_dist=True, batch_size=len(batch.x))
        return loss

    def validation_step(self, batch: EcgBatch, batch_idx: int) -> None:
        """Mean squared error and SNR over the validation split."""
        prediction = self(batch.x)
        total, count = squared_error(prediction, batch.y, batch.mask)
        self.val_loss.update(total / count, weight=count)
        self.val_snr_db.update(snr_db(prediction.double(), batch.y.double(), batch.mask).float())
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.x))
        self.log("val/snr_db", self.val_snr_db, prog_bar=True, batch_size=len(batch.x))

    def scores(self, prediction: Tensor, batch: EcgBatch) -> dict[str, Tensor]:
        """Every metric of every window, float64 (batch,)."""
        return superres_scores(prediction, batch.y, batch.mask, self.fs_hz, self.fs_hz / self.upscale)

    def configure_optimizers(self) -> Any:
        """The configured optimiser, and its schedule if there is one."""
        optimizer = self.make_optimizer(self.model)
        schedule = self.make_schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}


def both_outputs(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """A model's high-rate ECG, and its rebuilt input where it gives one."""
    output = model(x)
    return output if isinstance(output, tuple) else (output, None)


def squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of squared errors over real samples and their number; (batch, lead, time) with a (batch, time) mask."""
    error = (prediction - target).square() * mask[:, None]
    return error.sum(), mask.sum() * prediction.shape[1]


def mean_over_processes(total: Tensor, count: Tensor) -> Tensor:
    """`total / count` so that the processes' averaged gradients equal one process's gradient of the global mean."""
    if not (dist.is_available() and dist.is_initialized()):
        return total / count
    global_count = count.clone()
    dist.all_reduce(global_count)
    return total * dist.get_world_size() / global_count
