"""The causal convolution by causal-conv1d's CUDA kernels."""

import functools

import torch
from torch import Tensor

from ecgbench.ops import conv_torch


@functools.cache
def problem() -> str | None:
    """Why causal-conv1d's kernel cannot be used here, or None when it can; found out by calling it once."""
    try:
        from causal_conv1d import causal_conv1d_fn  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

        causal_conv1d_fn(torch.ones(1, 8, 8, device="cuda"), torch.ones(8, 4, device="cuda"))
        torch.cuda.synchronize()
    except Exception as error:
        return f"causal-conv1d does not run ({type(error).__name__}: {error})"
    return None


def why_not(x: Tensor, weight: Tensor, initial_state: Tensor | None) -> str | None:
    """Why causal-conv1d's kernel cannot take this call, or None when it can."""
    if initial_state is not None:
        return "it takes a start state in another memory layout only"
    if x.dtype != torch.float32:
        return "it has no float64"
    if not 2 <= weight.shape[1] <= 4:
        return f"it has widths 2 to 4, not {weight.shape[1]}"
    return problem()


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    """y (batch, d, L); what causal-conv1d's kernel lacks (see `why_not`) is done in pure torch."""
    if why_not(x, weight, initial_state):
        return conv_torch.conv(x, weight, bias, initial_state, silu, reverse)
    from causal_conv1d import causal_conv1d_fn  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    y = causal_conv1d_fn(x.flip(-1) if reverse else x, weight, bias, activation="silu" if silu else None)
    return y.flip(-1) if reverse else y
