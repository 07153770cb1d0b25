"""The arguments of a selective scan, checked once and then handed from function to function, and their gradients."""

from typing import NamedTuple

import torch
from torch import Tensor

from ecgbench.ops.checks import check_tensors

SHAPES = {
    "u": ("batch", "d", "L"),
    "delta": ("batch", "d", "L"),
    "A": ("d", "n"),
    "B": ("batch", "n", "L"),
    "C": ("batch", "n", "L"),
    "D": ("d",),
    "z": ("batch", "d", "L"),
    "delta_bias": ("d",),
    "h0": ("batch", "d", "n"),
}


class ScanInputs(NamedTuple):
    """Arguments of `selective_scan`; see there for shapes and meaning."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    h0: Tensor | None
    delta_softplus: bool
    reverse: bool
    return_last_state: bool = True

    def tensors(self) -> dict[str, Tensor | None]:
        """The tensor arguments by name."""
        return {name: getattr(self, name) for name in SHAPES}

    def in_float32(self) -> "ScanInputs":
        """The same call on tensors cast to float32."""
        return self._replace(**{name: t.float() for name, t in self.tensors().items() if t is not None})

    def check(self) -> None:
        """Raise where ranks, lengths, dtypes or devices do not fit together."""
        check_tensors("selective_scan", self.tensors(), SHAPES)

    @property
    def needs_grad(self) -> bool:
        """True when a gradient is recorded for at least one tensor."""
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in self.tensors().values())


class ScanGradients(NamedTuple):
    """The gradient with respect to each tensor of `ScanInputs`, None for one that was not given."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    h0: Tensor | None
