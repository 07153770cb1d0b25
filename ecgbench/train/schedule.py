"""Optimiser and learning-rate schedule from their config nodes."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ecgbench.config import locate


class CosineWarmup(LambdaLR):
    """Linear rise over the first part of all steps, then half a cosine down to a part of the peak rate.

    `start_fraction` is the first step's rate over the peak, which is then reached at the step after the rise; without
    it the rise begins at its own step size and ends at the peak.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_fraction: float,
        final_fraction: float,
        start_fraction: float | None = None,
    ) -> None:
        warmup = max(1, round(warmup_fraction * total_steps))

        def factor(step: int) -> float:
            if step < warmup:
                if start_fraction is None:
                    return (step + 1) / warmup
                return start_fraction + (1 - start_fraction) * step / warmup
            done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
            return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, factor)


class Noam(LambdaLR):
    """The rate factor * d_model^-1/2 * min(n^-1/2, n * warmup_steps^-3/2) at step n = 1, 2, ... (Vaswani et al. 2017).

    The formula gives the rate itself, so the optimiser's own must be 1; any other is refused with a ValueError. The
    peak, at n = warmup_steps, is factor / sqrt(d_model * warmup_steps).
    """

    def __init__(self, optimizer: Optimizer, d_model: int, warmup_steps: int, factor: float) -> None:
        for group in optimizer.param_groups:
            if group["lr"] != 1.0:
                raise ValueError(
                    f"optimizer.lr={group['lr']:g}, but the Noam schedule computes the rate itself and multiplies it "
                    "by optimizer.lr; set optimizer.lr=1 and scale the rate by scheduler.schedule.factor"
                )

        def rate(step: int) -> float:
            n = step + 1
            return factor * d_model**-0.5 * min(n**-0.5, n * warmup_steps**-1.5)

        super().__init__(optimizer, rate)


def optimizer_maker(config: DictConfig) -> Callable[[nn.Module], Optimizer]:
    """A function from a model to its optimiser; parameters marked `_no_weight_decay` get none (mamba-ssm's flag)."""
    kind, options = _target(config)

    def make(model: nn.Module) -> Optimizer:
        parameters = [p for p in model.parameters() if p.requires_grad]
        spared = [p for p in parameters if getattr(p, "_no_weight_decay", False)]
        if not (spared and options.get("weight_decay")):
            return kind(parameters, **options)
        decayed = [p for p in parameters if not getattr(p, "_no_weight_decay", False)]
        return kind([{"params": decayed}, {"params": spared, "weight_decay": 0.0}], **options)

    return make


def schedule_maker(config: DictConfig, monitor: str) -> Callable[[Optimizer, int], dict[str, Any] | None]:
    """A function from optimiser and total steps to Lightning's scheduler dictionary, or to None."""

    def make(optimizer: Optimizer, total_steps: int) -> dict[str, Any] | None:
        if config.schedule is None:
            return None
        kind, options = _target(config.schedule)
        if "total_steps" in inspect.signature(kind).parameters:
            options = {"total_steps": total_steps, **options}
        return {"scheduler": kind(optimizer, **options), "interval": str(config.interval), "monitor": monitor}

    return make


def _target(config: DictConfig) -> tuple[Callable[..., Any], dict[str, Any]]:
    options = {str(k): v for k, v in OmegaConf.to_container(config, resolve=True).items()}  # type: ignore[union-attr]
    return locate(options.pop("_target_"), "optimizer"), options


def n_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def n_predicting(model: nn.Module) -> int:
    """Number of trainable values that a prediction needs: of an adversarial model those of its `generator`."""
    generator = getattr(model, "generator", None)
    return n_parameters(generator if isinstance(generator, nn.Module) else model)
