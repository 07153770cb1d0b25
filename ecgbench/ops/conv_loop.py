"""The causal convolution written as its definition, a sum of shifted inputs: the oracle of every other backend."""

import torch
from torch import Tensor
from torch.nn import functional as F


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    """y (batch, d, L); see `causal_conv1d`. Autograd differentiates it, any number of times."""
    before = x.new_zeros(*x.shape[:2], weight.shape[1] - 1) if initial_state is None else initial_state
    padded = torch.cat([before, x.flip(-1) if reverse else x], dim=-1)
    y = torch.zeros_like(x)
    for k in range(weight.shape[1]):
        y = y + weight[:, k, None] * padded[..., k : k + x.shape[-1]]
    if bias is not None:
        y = y + bias[:, None]
    if silu:
        y = F.silu(y)
    return y.flip(-1) if reverse else y
