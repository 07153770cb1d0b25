"""The depthwise causal convolution of Mamba with its activation: one function for every machine."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ecgbench.ops import conv_cuda, conv_loop, conv_native, conv_torch
from ecgbench.ops.backends import resolve_backend
from ecgbench.ops.checks import check_tensors

Activation = Literal["silu"] | None

_CONVOLUTIONS: dict[str, Callable[[Tensor, Tensor, Tensor | None, Tensor | None, bool, bool], Tensor]] = {
    "cuda": conv_cuda.conv,
    "native": conv_native.conv,
    "torch": conv_torch.conv,
    "loop": conv_loop.conv,
}
_SHAPES = {
    "x": ("batch", "d", "L"),
    "weight": ("d", "width"),
    "bias": ("d",),
    "initial_state": ("batch", "d", "width-1"),
}


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Each channel filtered by its own causal kernel (batch, d, L), and the last inputs where they are asked for.

        y_t = activation(bias + sum_k weight[k] x[t - (width - 1) + k])

    Under autocast it computes in float32.

    Args:
        x: input (batch, d, L), L >= 1, float32 or float64 like all the others.
        weight: one kernel per channel (d, width); the last tap meets the present sample.
        bias: (d,), or None.
        activation: None or "silu".
        initial_state: the width - 1 inputs before the first (batch, d, width - 1), oldest first, or None for zeros.
        return_last_state: return (y, the width - 1 inputs that the next call needs as its initial_state).
        reverse: run from the last sample to the first: y_t sees x_t and the samples after it. States are then in the
            order of the run too.
        backend: "auto", "cuda", "native", "torch" or "loop"; see `resolve_backend`.

    Raises:
        ValueError: shapes, devices or the activation's name do not fit.
        TypeError: dtypes differ or are not float32 or float64.

    Source: the convolution of the Mamba block, Gu & Dao 2023, section 3.4.
    """
    if activation not in (None, "silu"):
        raise ValueError(f"causal_conv1d: activation is {activation!r}; it must be None or 'silu'")
    if torch.is_autocast_enabled(x.device.type):
        x, weight = x.float(), weight.float()
        bias, initial_state = (None if t is None else t.float() for t in (bias, initial_state))
    tensors = {"x": x, "weight": weight, "bias": bias, "initial_state": initial_state}
    before = weight.shape[-1] - 1
    check_tensors("causal_conv1d", tensors, _SHAPES, {"width-1": before})
    conv = _CONVOLUTIONS[resolve_backend(backend, x.device).name]
    y = conv(x, weight, bias, initial_state, activation == "silu", reverse)
    return (y, _last_inputs(x, initial_state, before, reverse)) if return_last_state else y


def _last_inputs(x: Tensor, initial_state: Tensor | None, count: int, reverse: bool) -> Tensor:
    """The last `count` inputs in the order of the run, those before the first sample included."""
    recent = x[..., :count].flip(-1) if reverse else x[..., max(0, x.shape[-1] - count) :]
    missing = count - recent.shape[-1]
    before = x.new_zeros(*x.shape[:2], count) if initial_state is None else initial_state
    return torch.cat([before[..., count - missing :], recent], dim=-1)


def causal_conv1d_step(
    state: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Output (batch, d) and new state (batch, d, width - 1) of one sample of `causal_conv1d`.

    `state` holds the width - 1 inputs before this one, oldest first, and is not changed; `x` is (batch, d).
    """
    y, state = causal_conv1d(
        x[..., None], weight, bias, activation, initial_state=state, return_last_state=True, backend=backend
    )
    return y[..., 0], state
