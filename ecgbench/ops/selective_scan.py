"""The selective state space scan of Mamba: one function for every machine."""

from collections.abc import Callable

import torch
from torch import Tensor

from ecgbench.ops import scan_cuda, scan_loop, scan_native, scan_torch
from ecgbench.ops.backends import resolve_backend
from ecgbench.ops.scan_inputs import ScanInputs

_SCANS: dict[str, Callable[[ScanInputs], tuple[Tensor, Tensor]]] = {
    "cuda": scan_cuda.scan,
    "native": scan_native.scan,
    "torch": scan_torch.scan,
    "loop": scan_loop.scan,
}


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    h0: Tensor | None = None,
    return_last_state: bool = False,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Output (batch, d, L) of the selective state space recurrence, and its last state where that is asked for.

    For each batch entry and channel, with s_t = softplus(delta_t + delta_bias):

        h_t = exp(s_t A) h_(t-1) + s_t u_t B_t,    y_t = (C_t . h_t + D u_t) silu(z_t)

    Time counts in steps; `delta` is the length of a step in the unit of 1/A. Semantics are those of mamba-ssm's
    `selective_scan_fn`. Under autocast the scan computes in float32.

    Args:
        u: input (batch, d, L), L >= 1, float32 or float64 like all the others.
        delta: step sizes (batch, d, L), before bias and softplus.
        A: decay rates (d, n), negative for a stable state.
        B: input weights (batch, n, L).
        C: output weights (batch, n, L).
        D: skip weights (d,), or None for no skip path.
        z: gate (batch, d, L), or None for no gate.
        delta_bias: added to delta (d,), or None.
        delta_softplus: pass delta through softplus (the identity above 20, as in torch).
        h0: state before the first step (batch, d, n), or None for zero; gradients flow into it.
        return_last_state: return (y, state after the last step (batch, d, n)); gradients flow from it.
        reverse: run from the last sample to the first; the last state is then the one at t = 0.
        backend: "auto", "cuda", "native", "torch" or "loop"; see `resolve_backend`.

    Raises:
        ValueError: shapes or devices do not fit together, or delta holds NaN (not looked for on a GPU, where it
            shows as NaN in the output instead).
        TypeError: dtypes differ or are not float32 or float64.

    Source: Gu & Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", algorithm 2.
    """
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus, reverse, return_last_state)
    if torch.is_autocast_enabled(u.device.type):
        inputs = inputs.in_float32()
    inputs.check()
    y, last_state = _SCANS[resolve_backend(backend, u.device).name](inputs)
    return (y, last_state) if return_last_state else y


def selective_scan_step(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Output (batch, d) and new state (batch, d, n) of one step of `selective_scan`, for decoding sample by sample.

    Args:
        state: state before the step (batch, d, n); it is not changed.
        u, delta, z: this step's input, step size and gate, each (batch, d).
        A, D, delta_bias: as for `selective_scan`.
        B, C: this step's weights (batch, n).
        delta_softplus, backend: as for `selective_scan`.
    """
    y, state = selective_scan(
        u[..., None],
        delta[..., None],
        A,
        B[..., None],
        C[..., None],
        D,
        None if z is None else z[..., None],
        delta_bias,
        delta_softplus,
        h0=state,
        return_last_state=True,
        backend=backend,
    )
    return y[..., 0], state
