"""Other implementations of the selective scan, called with the arguments of `ecgbench.ops.selective_scan`."""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Scan = Callable[..., Tensor]


def _discretised(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, delta_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and updates of all steps at once, (batch, d, L, n) each, as mamba-ssm's reference function makes them."""
    delta = F.softplus(delta + delta_bias[:, None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    return decay, torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)


def reference(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, delta_bias: Tensor
) -> Tensor:
    """What mamba-ssm's reference function does, which cannot be imported without CUDA: slices taken inside the loop.

    Autograd answers every slice with a gradient of full size, so that the backward pass is quadratic in length.
    """
    decay, update = _discretised(u, delta, A, B, delta_bias)
    state, outputs = torch.zeros_like(decay[:, :, 0]), []
    for t in range(u.shape[-1]):
        state = decay[:, :, t] * state + update[:, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", state, C[:, :, t]))
    return (torch.stack(outputs, dim=-1) + u * D[:, None]) * F.silu(z)


def unbound_reference(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, delta_bias: Tensor
) -> Tensor:
    """The same with all slices taken at once before the loop, which makes its backward pass linear in length."""
    decay, update = _discretised(u, delta, A, B, delta_bias)
    state, outputs = torch.zeros_like(decay[:, :, 0]), []
    for decay_t, update_t, C_t in zip(decay.unbind(2), update.unbind(2), C.unbind(2), strict=True):
        state = decay_t * state + update_t
        outputs.append(torch.einsum("bdn,bn->bd", state, C_t))
    return (torch.stack(outputs, dim=-1) + u * D[:, None]) * F.silu(z)


def _mambapy() -> Scan:
    pscan = importlib.import_module("mambapy.pscan").pscan

    def scan(u, delta, A, B, C, D, z, delta_bias) -> Tensor:
        delta = F.softplus(delta + delta_bias[:, None]).transpose(1, 2)
        decay = torch.exp(delta[..., None] * A)
        update = (delta * u.transpose(1, 2))[..., None] * B.transpose(1, 2)[:, :, None]
        states = pscan(decay, update)
        y = (states @ C.transpose(1, 2)[..., None]).squeeze(-1).transpose(1, 2)
        return (y + D[:, None] * u) * F.silu(z)

    return scan


def _transformers() -> Scan:
    slow_path = importlib.import_module("transformers.models.mamba.modeling_mamba").mamba_selective_scan

    def scan(**inputs) -> Tensor:
        return slow_path(inputs.pop("u"), inputs.pop("delta"), **inputs, delta_softplus=True)

    return scan


def rivals() -> tuple[dict[str, Scan], dict[str, str]]:
    """The implementations that can run here by name, and for each that cannot, why."""
    found: dict[str, Scan] = {
        "mamba-ssm's reference, rewritten": reference,
        "the same, slices unbound": unbound_reference,
    }
    missing: dict[str, str] = {}
    for name, load in (("mambapy", _mambapy), ("transformers' slow path", _transformers)):
        try:
            found[name] = load()
        except (ImportError, AttributeError, RuntimeError) as error:
            missing[name] = str(error)
    return found, missing


# backward passes that are quadratic in length
QUADRATIC = ("mamba-ssm's reference, rewritten", "transformers' slow path")
