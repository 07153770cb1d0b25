"""The one signal that a system with a single input lead reads out of a batch of lead channels."""

import torch
from torch import Tensor

from ecgbench.models.layers.presence import given_leads


def one_lead(x: Tensor, model: str) -> Tensor:
    """The given lead of each sample of (batch, lead, time), (batch, 1, time); zeros where none is given.

    Copies of one lead in several channels ("copy-padding") count as that one lead.

    Raises:
        ValueError: a sample holds two leads that differ; `model` names who refuses them. Not checked in an exported
            program, where no branch may depend on the data: there the first given lead is read.
    """
    given = given_leads(x)
    first = given.to(torch.uint8).argmax(dim=1)
    lead = x.take_along_dim(first[:, None, None], dim=1)
    if not torch.compiler.is_compiling() and ((x != lead) & given[..., None]).any():
        most = int(given.sum(dim=1).max())
        raise ValueError(
            f"{model} reads one lead, and a sample holds up to {most} different ones: "
            "give it one lead, as in conditions of a single lead name, or take a model that reads several."
        )
    return lead


def check_time(x: Tensor, multiple: int, model: str) -> None:
    """Raise ValueError unless the time of (batch, lead, time) is a multiple of the model's total stride."""
    if x.shape[-1] % multiple or x.shape[-1] == 0:
        raise ValueError(
            f"input has {x.shape[-1]} samples, and {model} needs a multiple of {multiple}, the product of its strides: "
            f"use windows of {multiple * max(1, round(x.shape[-1] / multiple))} samples."
        )
