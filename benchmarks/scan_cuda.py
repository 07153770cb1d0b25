"""The CUDA backend beside the CPU backends: outputs, gradients and time, on a machine with a CUDA device.

    python benchmarks/scan_cuda.py

Prints which backend `auto` takes on the device and why, and for each shape and direction the largest relative
difference from the float64 step loop. To compare whole runs, train one epoch on each and compare the score tables:

    python -m ecgbench model=msecg trainer=gpu scan_backend=cuda  trainer.max_epochs=1
    python -m ecgbench model=msecg trainer=cpu scan_backend=native trainer.max_epochs=1
"""

import sys
import time

import torch
from scan import SHAPES, scan_inputs
from torch import Tensor

from ecgbench.ops import resolve_backend, selective_scan


def outputs_and_gradients(inputs: dict[str, Tensor], reverse: bool, backend: str) -> dict[str, Tensor]:
    """y and the gradient of its sum with respect to every input, on the CPU in float64."""
    y = selective_scan(**inputs, delta_softplus=True, reverse=reverse, backend=backend)
    grads = torch.autograd.grad(y.sum(), list(inputs.values()))
    results = {"y": y, **dict(zip(inputs, grads, strict=True))}
    return {name: t.detach().cpu().double() for name, t in results.items()}


def moved(inputs: dict[str, Tensor], device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The inputs as leaves on a device."""
    return {name: t.detach().to(device, dtype).requires_grad_() for name, t in inputs.items()}


def compare(shape: tuple[int, ...], reverse: bool) -> str:
    """One line: the worst relative error of each backend, and the time of `auto` on the device."""
    inputs = scan_inputs(*shape)
    exact = outputs_and_gradients(moved(inputs, "cpu", torch.float64), reverse, "loop")
    errors = {}
    for device in ("cuda", "cpu"):
        result = outputs_and_gradients(moved(inputs, device, torch.float32), reverse, "auto")
        errors[device] = max(float((result[k] - exact[k]).norm() / exact[k].norm()) for k in exact)
    on_device = moved(inputs, "cuda", torch.float32)
    torch.cuda.synchronize()
    start = time.perf_counter()
    outputs_and_gradients(on_device, reverse, "auto")
    elapsed = 1e3 * (time.perf_counter() - start)
    direction = "reverse" if reverse else "forward"
    return f"{shape} {direction}: error on cuda {errors['cuda']:.1e}, on cpu {errors['cpu']:.1e}, {elapsed:.1f} ms"


def main() -> int:
    """Compare, or say that there is nothing to compare on."""
    if not torch.cuda.is_available():
        print("not run: torch sees no CUDA device")
        return 1
    print(torch.cuda.get_device_name())
    for device in ("cuda", "cpu"):
        chosen = resolve_backend("auto", torch.device(device))
        print(f"auto on {device} is {chosen.name}: {chosen.reason}")
    for shape in SHAPES[:2]:
        for reverse in (False, True):
            print(compare(shape, reverse), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
