"""The selective scan by mamba-ssm's CUDA kernels."""

import functools

import torch
from torch import Tensor

from ecgbench.ops import scan_torch
from ecgbench.ops.scan_inputs import ScanInputs


@functools.cache
def problem() -> str | None:
    """Why mamba-ssm's kernel cannot be used here, or None when it can.

    Found out by calling it once on a tiny input: importing mamba_ssm can succeed where its kernel is missing.
    """
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # pyright: ignore[reportMissingImports]

        x = torch.ones(1, 2, 4, device="cuda")
        selective_scan_fn(x, x, -torch.ones(2, 2, device="cuda"), x, x)
        torch.cuda.synchronize()
    except Exception as error:
        return f"mamba-ssm's selective scan does not run ({type(error).__name__}: {error})"
    return None


def why_not(inputs: ScanInputs) -> str | None:
    """Why mamba-ssm's kernel cannot take this call, or None when it can."""
    if inputs.h0 is not None:
        return "it has no start state"
    if inputs.u.dtype != torch.float32:
        return "it has no float64"
    if inputs.return_last_state and inputs.needs_grad:
        return "it gives no gradient for the last state"
    return None


def scan(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """Output and last state of the scan; what mamba-ssm's kernel lacks (see `why_not`) is done in pure torch."""
    if why_not(inputs):
        return scan_torch.scan(inputs)
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # pyright: ignore[reportMissingImports]

    timed = {"u": inputs.u, "delta": inputs.delta, "B": inputs.B, "C": inputs.C, "z": inputs.z}
    if inputs.reverse:
        timed = {name: None if t is None else t.flip(-1) for name, t in timed.items()}
    y, last_state = selective_scan_fn(
        A=inputs.A,
        D=inputs.D,
        delta_bias=inputs.delta_bias,
        delta_softplus=inputs.delta_softplus,
        return_last_state=True,
        **timed,
    )
    return (y.flip(-1) if inputs.reverse else y), last_state
