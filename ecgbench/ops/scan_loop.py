"""The selective scan written as its definition, one step at a time: the oracle of every other backend."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ecgbench.ops.scan_inputs import ScanInputs


def scan(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """The output (batch, d, L) and the state after the last step (batch, d, n); Gu & Dao 2023, algorithm 2.

    Autograd differentiates it, any number of times. Slices are taken by `unbind`: indexing inside the loop would
    make the backward pass write a full-size gradient at each step, which is quadratic in L.
    """
    u, A, B, C = inputs.u, inputs.A, inputs.B, inputs.C
    delta = discretisation_step(inputs.delta, inputs.delta_bias, inputs.delta_softplus)
    h = u.new_zeros(*u.shape[:2], A.shape[1]) if inputs.h0 is None else inputs.h0
    steps = list(zip(u.unbind(-1), delta.unbind(-1), B.unbind(-1), C.unbind(-1), strict=True))
    outputs = []
    for u_t, delta_t, B_t, C_t in reversed(steps) if inputs.reverse else steps:
        h = torch.exp(delta_t[..., None] * A) * h + (delta_t * u_t)[..., None] * B_t[:, None]
        outputs.append(torch.einsum("bdn,bn->bd", h, C_t))
    y = torch.stack(outputs[::-1] if inputs.reverse else outputs, dim=-1)
    if inputs.D is not None:
        y = y + inputs.D[:, None] * u
    return (y if inputs.z is None else y * F.silu(inputs.z)), h


def discretisation_step(delta: Tensor, delta_bias: Tensor | None, delta_softplus: bool) -> Tensor:
    """The step size that the recurrence uses: softplus(delta + bias), each part optional."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    return F.softplus(delta) if delta_softplus else delta
