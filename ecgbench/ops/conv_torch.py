"""The causal convolution in pure torch, with a hand-written backward pass: runs wherever torch runs.

Both passes are sums of shifted products. In its backward pass torch's grouped convolution costs several times more.
"""

import torch
from torch import Tensor

from ecgbench.ops.conv_op import register_conv


def _padded(x: Tensor, weight: Tensor, initial_state: Tensor | None, reverse: bool) -> Tensor:
    """x with the width - 1 inputs that come before it, at the end that the run starts from."""
    before = x.new_zeros(*x.shape[:2], weight.shape[1] - 1) if initial_state is None else initial_state
    return torch.cat([x, before.flip(-1)] if reverse else [before, x], dim=-1)


def _taps(weight: Tensor, reverse: bool) -> list[Tensor]:
    """The kernel's taps (d, 1) in the order of time: tap k meets sample t + k of the padded input."""
    taps = weight.unsqueeze(-1).unbind(1)
    return list(taps[::-1] if reverse else taps)


def _filtered(padded: Tensor, taps: list[Tensor], bias: Tensor | None, length: int) -> Tensor:
    y = padded[..., :length] * taps[0]
    for k, tap in enumerate(taps[1:], start=1):
        y.addcmul_(padded[..., k : k + length], tap)
    return y if bias is None else y.add_(bias[:, None])


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    y = _filtered(_padded(x, weight, initial_state, reverse), _taps(weight, reverse), bias, x.shape[-1])
    return torch.nn.functional.silu(y, inplace=True) if silu else y


def _backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    length = x.shape[-1]
    padded, taps = _padded(x, weight, initial_state, reverse), _taps(weight, reverse)
    if silu:
        grad_y = torch.ops.aten.silu_backward(grad_y, _filtered(padded, taps, bias, length))
    product = torch.empty_like(grad_y)
    windows = [padded[..., k : k + length] for k in range(len(taps))]
    grad_taps = [torch.mul(grad_y, window, out=product).sum((0, 2)) for window in windows]
    grad_weight = torch.stack(grad_taps[::-1] if reverse else grad_taps, dim=1)
    grad_padded = torch.zeros_like(padded)
    for k, tap in enumerate(taps):
        grad_padded[..., k : k + length].addcmul_(grad_y, tap)
    first, rest = grad_padded.split([length, len(taps) - 1] if reverse else [len(taps) - 1, length], dim=-1)
    grad_x, grad_state = (first, rest.flip(-1)) if reverse else (rest, first)
    grad_bias = None if bias is None else grad_y.sum((0, 2))
    return _copy(grad_x), grad_weight, grad_bias, None if initial_state is None else _copy(grad_state)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


conv = register_conv("conv_torch", _forward, _backward)
