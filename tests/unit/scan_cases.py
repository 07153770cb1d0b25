"""Random inputs of the selective scan and the comparison that its tests share."""

import ctypes

import torch
from torch import Tensor

from ecgbench.ops import native, selective_scan

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "h0")
# name of the CPU capability that each build of the library needs, widest first
_CAPABILITIES = ("AVX512", "AVX2")


def runnable_builds() -> list[str]:
    """File names of the native builds that exist here and that this CPU can run."""
    capability = torch.backends.cpu.get_cpu_capability()
    usable = _CAPABILITIES[_CAPABILITIES.index(capability) :] if capability in _CAPABILITIES else ()
    names = [f"kernels_{name.lower()}.so" for name in usable] or ["kernels_generic.so"]
    return [name for name in names if (native.FOLDER / name).is_file()]


def use_build(monkeypatch, name: str) -> None:
    """Make the native backend run the named build for the length of a test."""
    loaded = ctypes.CDLL(str(native.FOLDER / name))
    monkeypatch.setattr(native, "library", lambda: loaded)


def random_inputs(
    batch: int, d: int, length: int, n: int, dtype: torch.dtype = torch.float64, stiffness: float = 1.0, seed: int = 0
) -> dict[str, Tensor]:
    """Every tensor argument of the scan, drawn at random; steps reach about `stiffness`."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    steps = stiffness * torch.rand(batch, d, length, generator=generator, dtype=torch.float64)
    inputs = {
        "u": draw(batch, d, length),
        "delta": steps if stiffness > 1 else draw(batch, d, length),
        "A": -4 * torch.rand(d, n, generator=generator, dtype=torch.float64) - 0.05,
        "B": draw(batch, n, length),
        "C": draw(batch, n, length),
        "D": draw(d),
        "z": draw(batch, d, length),
        "delta_bias": draw(d),
        "h0": draw(batch, d, n),
    }
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in inputs.items()}


def outputs_and_gradients(inputs: dict[str, Tensor], backend: str, reverse: bool = False) -> dict[str, Tensor]:
    """y, the last state, and the gradient of a fixed random projection of both with respect to every input."""
    y, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True, reverse=reverse, backend=backend)
    generator = torch.Generator().manual_seed(99)
    weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in (y, last)]
    grads = torch.autograd.grad((y, last), list(inputs.values()), weights)
    return {"y": y.detach(), "last": last.detach(), **dict(zip(inputs, grads, strict=True))}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """|actual - expected| / |expected| in the 2-norm."""
    return float((actual.double() - expected).norm() / expected.norm())


def in_float64(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers in float64, as leaves."""
    return {name: tensor.detach().double().requires_grad_() for name, tensor in inputs.items()}
