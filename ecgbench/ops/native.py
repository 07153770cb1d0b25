"""The native library: found, chosen by instruction set and loaded at first use.

Its interface is plain C (csrc/kernels.cpp), called through ctypes, which releases the interpreter's lock meanwhile.
"""

import ctypes
import functools
import platform
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "_native"
BUILD_COMMAND = f"python {Path(__file__).parent / 'csrc' / 'build.py'}"
SUFFIX = {torch.float32: "float", torch.float64: "double"}
# a CPU capability as torch reports it -> the build that runs on it
_X86_BUILDS = {"AVX512": "avx512", "AVX2": "avx2"}


class View(ctypes.Structure):
    """A tensor of up to three dimensions as the library sees it (view.h)."""

    _fields_ = (("data", ctypes.c_void_p), ("stride", ctypes.c_int64 * 3))


class ScanArgs(ctypes.Structure):
    """Arguments of the scan kernels, field by field as in scan.h."""

    SIZES = ("batch", "d", "length", "state", "block")
    FLAGS = ("delta_softplus", "reverse")
    INPUTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "h0")
    OTHERS = (
        "y", "last", "checkpoints", "grad_y", "grad_last", "grad_u", "grad_delta", "grad_z", "grad_h0",
        "sum_A", "sum_D", "sum_bias", "sum_B", "sum_C",
    )  # fmt: skip
    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_int32) for name in FLAGS),
        *((name, View) for name in (*INPUTS, *OTHERS)),
    )


class ConvArgs(ctypes.Structure):
    """Arguments of the convolution kernels, field by field as in conv.h."""

    SIZES = ("batch", "d", "length", "width")
    FLAGS = ("silu", "reverse")
    VIEWS = (
        "x", "weight", "bias", "initial", "y", "grad_y", "grad_x", "grad_initial", "sum_weight", "sum_bias",
    )  # fmt: skip
    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_int32) for name in FLAGS),
        *((name, View) for name in VIEWS),
    )


def problem() -> str | None:
    """Why the native library cannot be used here, or None when it can."""
    return _load()[1]


def describe() -> str:
    """Which build of the library is loaded, in a few words."""
    return f"compiled kernels for {_build_name()}, {library().vector_bytes() * 8}-bit vectors"


def library() -> ctypes.CDLL:
    """The loaded library; call only where `problem()` is None."""
    loaded, why_not = _load()
    if loaded is None:
        raise RuntimeError(f"the native kernels cannot run: {why_not}. Build them with `{BUILD_COMMAND}`.")
    return loaded


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library and None, or None and the reason why there is none."""
    name = _build_name()
    if name is None:
        return None, f"this CPU offers {torch.backends.cpu.get_cpu_capability()}, and the kernels need AVX2"
    path = FOLDER / f"kernels_{name}.so"
    if not path.is_file():
        return None, f"the native kernels were not built ({path.name} is not in {FOLDER})"
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        return None, f"the native kernels do not load ({error})"
    loaded.set_parallel_region(_openmp_region())
    return loaded, None


def _build_name() -> str | None:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return _X86_BUILDS.get(torch.backends.cpu.get_cpu_capability())
    return "generic"


def _openmp_region() -> ctypes.c_void_p:
    """GOMP_parallel of the OpenMP runtime that torch has loaded, so that both share one pool of threads, or null."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p)
    except (AttributeError, OSError, TypeError):
        return ctypes.c_void_p(None)


def view(tensor: Tensor | None) -> View:
    """A tensor's address and strides, null for None; the caller keeps the tensor alive.

    Of a contiguous tensor of four dimensions the first two count as one.
    """
    if tensor is None:
        return View()
    strides = (*tensor.stride()[-3:], 0, 0, 0)[:3]
    return View(tensor.data_ptr(), (ctypes.c_int64 * 3)(*strides))


def sum_first(parts: Tensor) -> Tensor:
    """Sum over the first dimension, always in the same order, whatever the number of threads."""
    out = parts.new_empty(parts.shape[1:])
    kernel = getattr(library(), f"sum_{SUFFIX[parts.dtype]}")
    pointers = (ctypes.c_void_p(parts.data_ptr()), ctypes.c_void_p(out.data_ptr()))
    kernel(*pointers, ctypes.c_int64(parts.shape[0]), ctypes.c_int64(out.numel()), torch.get_num_threads())
    return out
