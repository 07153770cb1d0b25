"""The selective scan by the native library (csrc/scan.h)."""

import ctypes

import torch
from torch import Tensor

from ecgbench.ops import native
from ecgbench.ops.checks import nan_message
from ecgbench.ops.scan_inputs import ScanGradients, ScanInputs
from ecgbench.ops.scan_op import register_scan

CHUNK = 128  # as in csrc/view.h
# A task is one batch entry and one block of channels. The blocks depend on the shape alone, so that the result does
# not depend on the number of threads; more of them would cost memory, since each sums its own gradients of B and C.
_MAX_BLOCKS = 8
_BLOCK_MULTIPLE = 16


def _block_size(d: int) -> int:
    per_block = -(-d // _MAX_BLOCKS)
    return -(-per_block // _BLOCK_MULTIPLE) * _BLOCK_MULTIPLE


def _run(backward: bool, inputs: ScanInputs, **others: Tensor | None) -> None:
    """Call the kernel on tensors named as in `native.ScanArgs`; raises ValueError for NaN in delta."""
    batch, d, length = inputs.u.shape
    sizes = (batch, d, length, inputs.A.shape[1], _block_size(d))
    args = native.ScanArgs(*sizes, inputs.delta_softplus, inputs.reverse)
    for name, tensor in (inputs.tensors() | others).items():
        setattr(args, name, native.view(tensor))
    scan_kernel = getattr(native.library(), f"scan_{native.SUFFIX[inputs.u.dtype]}")
    if scan_kernel(ctypes.byref(args), backward, torch.get_num_threads()):
        raise ValueError(nan_message("selective_scan", "delta", tuple(inputs.delta.shape)))


def _forward(inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    (batch, d, length), n = inputs.u.shape, inputs.A.shape[1]
    new = inputs.u.new_empty
    y, last = new(batch, d, length), new(batch, d, n)
    checkpoints = new(batch, -(-length // CHUNK) if save else 0, n, d)
    _run(False, inputs, y=y, last=last, checkpoints=checkpoints.flatten(1, 2) if save else None)
    return y, last, checkpoints


def _backward(inputs: ScanInputs, grad_y: Tensor, grad_last: Tensor, checkpoints: Tensor) -> ScanGradients:
    (batch, d, length), n = inputs.u.shape, inputs.A.shape[1]
    new = inputs.u.new_empty
    grad_u, grad_delta = new(batch, d, length), new(batch, d, length)
    grad_z = None if inputs.z is None else new(batch, d, length)
    grad_h0 = None if inputs.h0 is None else new(batch, d, n)
    # one part per batch entry, and for B and C one per block of channels
    blocks = -(-d // _block_size(d))
    sum_A, sum_B, sum_C = new(batch, d, n), new(blocks, batch, n, length), new(blocks, batch, n, length)
    sum_D = None if inputs.D is None else new(batch, d)
    sum_bias = None if inputs.delta_bias is None else new(batch, d)
    given = {"grad_y": grad_y, "grad_last": grad_last, "checkpoints": checkpoints.flatten(1, 2)}
    direct = {"grad_u": grad_u, "grad_delta": grad_delta, "grad_z": grad_z, "grad_h0": grad_h0}
    parts = {"sum_A": sum_A, "sum_D": sum_D, "sum_bias": sum_bias, "sum_B": sum_B, "sum_C": sum_C}
    _run(True, inputs, **given, **direct, **parts)
    return ScanGradients(
        u=grad_u,
        delta=grad_delta,
        A=native.sum_first(sum_A),
        B=native.sum_first(sum_B),
        C=native.sum_first(sum_C),
        D=None if sum_D is None else native.sum_first(sum_D),
        z=grad_z,
        delta_bias=None if sum_bias is None else native.sum_first(sum_bias),
        h0=grad_h0,
    )


scan = register_scan("scan_native", CHUNK, _forward, _backward)
