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
    """Linear rise over the first part of all steps, then half a cosine down to a part of the peak rate."""

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_fraction: float, final_fraction: float) -> None:
        warmup = max(1, round(warmup_fraction * total_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
            return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, factor)


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
