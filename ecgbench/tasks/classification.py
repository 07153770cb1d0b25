"""Multilabel classification: which of a set of diagnostic statements a 12-lead ECG carries."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import CatMetric

from ecgbench.data.record import EcgBatch
from ecgbench.metrics.classification import areas, macro
from ecgbench.metrics.collection import CLASSIFICATION
from ecgbench.tasks.mixing import NonUniformMix

PROTOCOL_VERSION = 1
"""Raised whenever a change to data, metric or test condition changes a number."""


class Classification(pl.LightningModule):
    """Trains by `loss` on crops; scores the probability of each class, aggregated over a record's windows.

    Args:
        model: the EcgBatch fields named by its `inputs` (the signal alone where it has none) to logits (batch, class),
            or to a tuple of them, one for each of its `heads`; the first head is the published score.
        make_optimizer: model to optimiser.
        make_schedule: optimiser and total steps to Lightning's scheduler dictionary, or None.
        loss: what the model returned, labels and number of samples over all processes to this process's part.
        mix: changes training batches; None for none.
        n_samples: length of what the model sees at once.
        stride_samples: distance of the windows that a longer test sample is cut into, n_samples at most.
        aggregate: how the windows' probabilities become one.
        seed: of the mixing.
    """

    metrics = CLASSIFICATION
    groups = ("loss", "preprocessing")
    """The configuration groups that only this task takes."""

    def __init__(
        self,
        *,
        model: nn.Module,
        make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        make_schedule: Callable[[torch.optim.Optimizer, int], dict[str, Any] | None],
        loss: nn.Module,
        mix: NonUniformMix | None,
        n_samples: int,
        stride_samples: int,
        aggregate: Literal["max", "mean"],
        seed: int,
    ) -> None:
        super().__init__()
        if not 1 <= stride_samples <= n_samples:
            raise ValueError(
                f"preprocessing.stride_samples is {stride_samples} and n_samples {n_samples}; needed are "
                "1 <= stride_samples <= n_samples, so that the windows of a long record leave no sample out"
            )
        self.model, self.loss, self.mix = model, loss, mix
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.n_samples, self.stride_samples, self.aggregate, self.seed = n_samples, stride_samples, aggregate, seed
        # torchmetrics would drop NaN and leave probabilities without their labels.
        self.val_y, self.val_probability = (CatMetric(nan_strategy="disable") for _ in range(2))

    def prepare(self, systems: Mapping[str, nn.Module], data: Any) -> None:
        """Let the loss, for class weights, and the systems that only count see the training labels."""
        for part in (self.loss, *systems.values()):
            if hasattr(part, "observe"):
                part.observe(data.examples.labels("train"))  # type: ignore[operator]

    def training_step(self, batch: EcgBatch, batch_idx: int) -> Tensor:
        """Loss of one batch, the same for one process and for several, but for `mix`: it blends within a process."""
        if self.mix is not None:
            x, y = self.mix(batch.x, batch.y, self.current_epoch, (self.seed, self.global_rank, batch_idx))
            batch = batch._replace(x=x, y=y)
        part = self.loss(forward(self.model, batch), batch.y, n_over_processes(batch.y))
        world = dist.get_world_size() if _is_distributed() else 1
        self.log("train/loss", part * world, on_step=True, on_epoch=False, sync_dist=True, batch_size=len(batch.y))
        return part * world

    def validation_step(self, batch: EcgBatch, batch_idx: int) -> None:
        """Keep labels and probabilities of the first head."""
        self.val_y.update(batch.y)
        self.val_probability.update(next(iter(self.probabilities(self.model, batch).values())))

    def on_validation_epoch_end(self) -> None:
        """Cross-entropy, macro AUROC and macro AUPRC of the validation split; all processes see all of it.

        All three are NaN where a probability is: such an epoch is never chosen.
        """
        y, probability = self._gathered(self.val_y), self._gathered(self.val_probability)
        self.val_y.reset()
        self.val_probability.reset()
        if not probability.isfinite().all():
            loss, found = math.nan, (math.nan, math.nan)
        else:
            loss = float(F.binary_cross_entropy(probability.double().clamp(1e-7, 1 - 1e-7), y.double()))
            found = map(macro, areas(y.cpu().numpy(), probability.cpu().numpy()))
        self.log("val/loss", loss, prog_bar=True)
        for name, value in zip(("val/auroc_macro", "val/auprc_macro"), found, strict=True):
            self.log(name, float(value), prog_bar=True)

    def _gathered(self, metric: CatMetric) -> Tensor:
        found = metric.compute()
        return found if isinstance(found, Tensor) else torch.cat(found)

    def probabilities(self, model: nn.Module, batch: EcgBatch) -> dict[str, Tensor]:
        """Probability of each class by head, (batch, class); over the windows of samples longer than the model's.

        A window without a real sample does not count.
        """
        heads = getattr(model, "heads", ("",))
        if batch.x.shape[-1] <= self.n_samples:
            return dict(zip(heads, map(torch.sigmoid, as_heads(forward(model, batch))), strict=True))
        windows, is_real = self._windows(batch)
        n_windows = is_real.shape[1]
        found = {}
        for name, logits in zip(heads, as_heads(forward(model, windows)), strict=True):
            probability = torch.sigmoid(logits).unflatten(0, (-1, n_windows))
            weight = is_real[..., None].to(probability)
            if self.aggregate == "max":
                found[name] = (probability * weight).amax(1)
            else:
                found[name] = (probability * weight).sum(1) / weight.sum(1)
        return found

    def _windows(self, batch: EcgBatch) -> tuple[EcgBatch, Tensor]:
        """The samples' windows as a batch (batch * window, lead, time), and which hold a real sample, (batch, window).

        The last window ends with the sample, so that nothing is left out.
        """
        n_time = batch.x.shape[-1]
        starts = list(range(0, n_time - self.n_samples + 1, self.stride_samples))
        if starts[-1] + self.n_samples < n_time:
            starts.append(n_time - self.n_samples)
        x = torch.stack([batch.x[..., s : s + self.n_samples] for s in starts], 1)
        mask = torch.stack([batch.mask[..., s : s + self.n_samples] for s in starts], 1)
        wide = batch.wide[:, None].expand(-1, len(starts), -1)
        return batch._replace(x=x.flatten(0, 1), mask=mask.flatten(0, 1), wide=wide.flatten(0, 1)), mask.any(-1)

    def configure_optimizers(self) -> Any:
        """The configured optimiser, and its schedule if there is one."""
        optimizer = self.make_optimizer(self.model)
        schedule = self.make_schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}


def forward(model: nn.Module, batch: EcgBatch) -> Tensor | tuple[Tensor, ...]:
    """What a model makes of the fields of a batch that it asks for."""
    return model(*(getattr(batch, name) for name in getattr(model, "inputs", ("x",))))


def as_heads(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A model's output as a tuple of logits."""
    return output if isinstance(output, tuple) else (output,)


def n_over_processes(y: Tensor) -> int:
    """Samples of a batch over all processes."""
    if not _is_distributed():
        return len(y)
    count = torch.tensor(len(y), device=y.device)
    dist.all_reduce(count)
    return int(count)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
