"""Reconstruction: twelve leads from any one of them, or from a few."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ecgbench.data.record import EcgBatch
from ecgbench.data.sampler import FixedBatches
from ecgbench.metrics.collection import RECONSTRUCTION
from ecgbench.metrics.reconstruction import pcc
from ecgbench.tasks.superres import mean_over_processes, squared_error

PROTOCOL_VERSION = 1
"""Raised whenever a change to data, metric or test condition changes a number."""


class Reconstruction(pl.LightningModule):
    """Trains by mean squared error in mV^2 over real samples, scored by ECGGenEval (Chen et al. 2024).

    A model with a `training_loss(x, y, mask)` is trained by that; one with a `discriminator_loss(x, y)` beside its
    `generator_loss(x, y)` is trained by alternating steps of one optimiser each (Goodfellow et al. 2014).

    Args:
        model: (batch, lead, time) with absent leads zero to (batch, lead, time), mV.
        make_optimizer: model to optimiser.
        make_schedule: optimiser and total steps to Lightning's scheduler dictionary, or None.
        loss_on: all leads (published), or the leads that were not given.
    """

    metrics = RECONSTRUCTION

    def __init__(
        self,
        *,
        model: nn.Module,
        make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        make_schedule: Callable[[torch.optim.Optimizer, int], dict[str, Any] | None],
        loss_on: Literal["all", "hidden"],
    ) -> None:
        super().__init__()
        self.model, self.loss_on = model, loss_on
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.is_adversarial = hasattr(model, "discriminator_loss")
        self.automatic_optimization = not self.is_adversarial
        self._schedules: list[dict[str, Any] | None] = []
        self.val_loss, self.val_pcc = MeanMetric(), MeanMetric()

    def prepare(self, systems: Mapping[str, nn.Module], data: Any) -> None:
        """Solve the systems that are fitted in closed form, from one pass over the training windows."""
        solved = [system for system in systems.values() if hasattr(system, "accumulate")]
        rows = data.rows("train")
        dataset = data.dataset("train")
        for batch in FixedBatches(rows, 64) if solved else ():
            windows = dataset[batch]
            for system in solved:
                system.accumulate(windows.y, windows.mask)  # type: ignore[operator]
        for system in solved:
            system.solve()  # type: ignore[operator]

    def training_step(self, batch: EcgBatch, batch_idx: int) -> Tensor | None:
        """Loss of one batch, the same for one process and for several; a model's own loss is each process's mean."""
        if self.is_adversarial:
            return self._adversarial_step(batch)
        if hasattr(self.model, "training_loss"):
            loss = self.model.training_loss(batch.x, batch.y, batch.mask)  # type: ignore[operator]
        else:
            loss = mean_over_processes(*self.error(self.model(batch.x), batch))
        self.log("train/loss", loss, on_step=True, on_epoch=False, sync_dist=True, batch_size=len(batch.x))
        return loss

    def error(self, prediction: Tensor, batch: EcgBatch) -> tuple[Tensor, Tensor]:
        """Sum of squared errors and number of samples, over all leads or the hidden ones."""
        if self.loss_on == "all":
            return squared_error(prediction, batch.y, batch.mask)
        hidden = batch.wide[..., None] == 0
        weight = hidden * batch.mask[:, None]
        return ((prediction - batch.y).square() * weight).sum(), weight.sum()

    def _adversarial_step(self, batch: EcgBatch) -> None:
        """One step of the discriminator, one of the generator."""
        losses = {"discriminator": self.model.discriminator_loss, "generator": self.model.generator_loss}
        optimizers = self.optimizers()
        for (name, loss_of), optimizer in zip(losses.items(), optimizers, strict=True):  # type: ignore[arg-type]
            self.toggle_optimizer(optimizer)
            loss = loss_of(batch.x, batch.y)  # type: ignore[operator]
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.untoggle_optimizer(optimizer)
            self.log(f"train/{name}_loss", loss, on_step=True, on_epoch=False, sync_dist=True, batch_size=len(batch.x))
        self._advance("step")

    def on_train_epoch_end(self) -> None:
        """Move the adversaries' schedules on that count epochs."""
        self._advance("epoch")

    def _advance(self, interval: str) -> None:
        """One step of the adversaries' schedules of an interval, which Lightning leaves to a task that steps itself."""
        for schedule in self._schedules:
            if schedule is not None and schedule["interval"] == interval:
                waits = isinstance(schedule["scheduler"], torch.optim.lr_scheduler.ReduceLROnPlateau)
                schedule["scheduler"].step(*[self.trainer.callback_metrics["val/loss"]] if waits else [])

    def validation_step(self, batch: EcgBatch, batch_idx: int) -> None:
        """Mean squared error of all leads, and correlation of the hidden ones."""
        prediction = self.predict(self.model, batch.x)
        total, count = squared_error(prediction, batch.y, batch.mask)
        self.val_loss.update(total / count, weight=count)
        hidden = batch.wide == 0
        self.val_pcc.update(pcc(prediction.double(), batch.y.double(), batch.mask)[hidden].float())
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.x))
        self.log("val/pcc_hidden", self.val_pcc, prog_bar=True, batch_size=len(batch.x))

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Twelve leads in mV, (batch, lead, time)."""
        return model(x)

    def configure_optimizers(self) -> Any:
        """The configured optimiser and its schedule; for a pair of adversaries one each."""
        n_steps = int(self.trainer.estimated_stepping_batches)
        if self.is_adversarial:
            parts = (self.model.discriminator_parameters(), self.model.generator_parameters())  # type: ignore[operator]
            optimizers = [self.make_optimizer(nn.ParameterList(part)) for part in parts]
            self._schedules = [self.make_schedule(optimizer, n_steps) for optimizer in optimizers]
            return optimizers
        optimizer = self.make_optimizer(self.model)
        schedule = self.make_schedule(optimizer, n_steps)
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}
