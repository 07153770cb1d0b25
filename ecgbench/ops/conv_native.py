"""The causal convolution by the native library (csrc/conv.h)."""

import ctypes

import torch
from torch import Tensor

from ecgbench.ops import native
from ecgbench.ops.conv_op import register_conv


def _run(backward: bool, silu: bool, reverse: bool, x: Tensor, weight: Tensor, **others: Tensor | None) -> None:
    """Call the kernel on tensors named as in `native.ConvArgs`."""
    args = native.ConvArgs(*x.shape, weight.shape[1], silu, reverse)
    for name, tensor in {"x": x, "weight": weight, **others}.items():
        setattr(args, name, native.view(tensor))
    conv_kernel = getattr(native.library(), f"conv_{native.SUFFIX[x.dtype]}")
    conv_kernel(ctypes.byref(args), backward, torch.get_num_threads())


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    y = x.new_empty(x.shape)
    _run(False, silu, reverse, x=x, weight=weight, bias=bias, initial=initial_state, y=y)
    return y


def _backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    grad_x = x.new_empty(x.shape)
    grad_initial = None if initial_state is None else x.new_empty(initial_state.shape)
    sum_weight = x.new_empty(x.shape[0], *weight.shape)
    sum_bias = None if bias is None else x.new_empty(x.shape[:2])
    outputs = {"grad_x": grad_x, "grad_initial": grad_initial, "sum_weight": sum_weight, "sum_bias": sum_bias}
    _run(True, silu, reverse, x, weight, bias=bias, initial=initial_state, grad_y=grad_y, **outputs)
    grad_bias = None if sum_bias is None else native.sum_first(sum_bias)
    return grad_x, native.sum_first(sum_weight), grad_bias, grad_initial


conv = register_conv("conv_native", _forward, _backward)
