"""Which implementation of the operators runs on a device, and why."""

from typing import NamedTuple

import torch

from ecgbench.ops import native, scan_cuda

NAMES = ("auto", "cuda", "native", "torch", "loop")


class Backend(NamedTuple):
    """An implementation that can run here, and one sentence that says why it was taken."""

    name: str
    reason: str


@torch.compiler.assume_constant_result
def resolve_backend(name: str, device: torch.device) -> Backend:
    """The backend that `name` stands for on `device`.

    `auto` takes mamba-ssm's kernels on CUDA and the native library on the CPU, and pure torch where these are
    missing. `loop` is the step-by-step definition, slow, for tests and comparisons.

    Raises:
        ValueError: `name` is unknown, or it cannot run on this kind of device.
        RuntimeError: the backend was asked for by name and is not installed.
    """
    if name not in NAMES:
        raise ValueError(f"scan_backend is {name!r}; it must be one of {', '.join(NAMES)}")
    if name == "auto":
        return _best(device)
    if name == "native":
        _require("native", "cpu", device, native.problem(), f"build it with `{native.BUILD_COMMAND}`")
    if name == "cuda":
        _require("cuda", "cuda", device, _cuda_problem(device), "install the `gpu` extra")
    return Backend(name, "asked for by name")


def _best(device: torch.device) -> Backend:
    if device.type == "cuda":
        problem = scan_cuda.problem()
        return Backend("torch", problem) if problem else Backend("cuda", "mamba-ssm's kernels answered a trial call")
    if device.type != "cpu":
        return Backend("torch", f"pure torch is what runs on {device.type}")
    problem = native.problem()
    return Backend("torch", problem) if problem else Backend("native", native.describe())


def _cuda_problem(device: torch.device) -> str | None:
    return scan_cuda.problem() if device.type == "cuda" else None


def _require(name: str, device_type: str, device: torch.device, problem: str | None, remedy: str) -> None:
    if device.type != device_type:
        raise ValueError(
            f"scan_backend={name} got tensors on {device.type}; it runs on {device_type}. "
            "Use scan_backend=auto, which chooses by device."
        )
    if problem:
        raise RuntimeError(f"scan_backend={name} cannot run: {problem}. Use scan_backend=auto, or {remedy}.")
