"""The selective scan by the native library (csrc/scan.h)."""

import ctypes

import torch
from torch import Tensor

from ecgbench.ops import native
from ecgbench.ops.checks import nan_message
from ecgbench.ops.scan_op import register_scan

CHUNK = 128  # as in csrc/view.h
# A task is one batch entry and one block of channels. Blocks depend on the shape alone, never on the number of
# threads, and more of them would cost memory: each sums its own gradients of B and C.
_MAX_BLOCKS = 8
_BLOCK_MULTIPLE = 16


def _block_size(d: int) -> int:
    per_block = -(-d // _MAX_BLOCKS)
    return -(-per_block // _BLOCK_MULTIPLE) * _BLOCK_MULTIPLE


def _run(backward: bool, delta_softplus: bool, reverse: bool, **tensors: Tensor | None) -> None:
    """Call the kernel on tensors named as in `native.ScanArgs`; raises ValueError for NaN in delta."""
    u, A = tensors["u"], tensors["A"]
    batch, d, length = u.shape
    args = native.ScanArgs(batch, d, length, A.shape[1], _block_size(d), delta_softplus, reverse)
    for name, tensor in tensors.items():
        setattr(args, name, native.view(tensor))
    scan_kernel = getattr(native.library(), f"scan_{native.SUFFIX[u.dtype]}")
    if scan_kernel(ctypes.byref(args), backward, torch.get_num_threads()):
        raise ValueError(nan_message("selective_scan", "delta", tuple(u.shape)))


def _forward(*arguments) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, delta_softplus, reverse, save = arguments
    u, A = inputs[0], inputs[2]
    batch, d, length = u.shape
    y, last = u.new_empty(batch, d, length), u.new_empty(batch, d, A.shape[1])
    checkpoints = u.new_empty(batch, -(-length // CHUNK) if save else 0, A.shape[1], d)
    _run(
        False,
        delta_softplus,
        reverse,
        **dict(zip(native.ScanArgs.INPUTS, inputs, strict=True)),
        y=y,
        last=last,
        checkpoints=_flat(checkpoints) if save else None,
    )
    return y, last, checkpoints


def _flat(checkpoints: Tensor) -> Tensor:
    """Checkpoints (batch, chunks, n, d) as the library's three-dimensional view."""
    return checkpoints.flatten(1, 2)


def _backward(grad_y, grad_last, checkpoints, *arguments) -> tuple[Tensor, ...]:
    *inputs, delta_softplus, reverse = arguments
    named = dict(zip(native.ScanArgs.INPUTS, inputs, strict=True))
    u, A, B = named["u"], named["A"], named["B"]
    (batch, d, _), n = u.shape, A.shape[1]
    blocks = -(-d // _block_size(d))
    grads = {
        name: u.new_empty(u.shape if size is None else size) if given is not None else None
        for name, given, size in (
            ("grad_u", u, None),
            ("grad_delta", u, None),
            ("grad_z", named["z"], None),
            ("grad_h0", named["h0"], (batch, d, n)),
            ("sum_A", A, (batch, d, n)),
            ("sum_D", named["D"], (batch, d)),
            ("sum_bias", named["delta_bias"], (batch, d)),
            ("sum_B", B, (blocks * batch, *B.shape[1:])),
            ("sum_C", B, (blocks * batch, *B.shape[1:])),
        )
    }
    given = {"grad_y": grad_y, "grad_last": grad_last, "checkpoints": _flat(checkpoints)}
    _run(True, delta_softplus, reverse, **named, **given, **grads)
    return _summed(grads, blocks)


def _summed(grads: dict[str, Tensor | None], blocks: int) -> tuple[Tensor, ...]:
    """The gradients in the order of the inputs, an empty tensor for an input that is None."""
    none = grads["grad_u"].new_empty
    by_batch = [none(0) if grads[name] is None else native.sum_first(grads[name]) for name in ("sum_D", "sum_bias")]
    by_block = [native.sum_first(grads[name].unflatten(0, (blocks, -1))) for name in ("sum_B", "sum_C")]
    grad_z, grad_h0 = (none(0) if grads[name] is None else grads[name] for name in ("grad_z", "grad_h0"))
    grad_A = native.sum_first(grads["sum_A"])
    return grads["grad_u"], grads["grad_delta"], grad_A, *by_block, by_batch[0], grad_z, by_batch[1], grad_h0


scan = register_scan("scan_native", CHUNK, _forward, _backward)
