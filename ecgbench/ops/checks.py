"""Argument checks of the operators: every error names what was given, what is allowed and what to do."""

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64)


def check_tensors(
    function: str,
    arguments: dict[str, Tensor | None],
    shapes: dict[str, tuple[str, ...]],
    sizes: dict[str, int] | None = None,
) -> None:
    """Raise unless all tensors agree in the sizes of their dimensions, in dtype and in device.

    `shapes` maps an argument's name to its dimensions by name; messages compare with the first of `arguments`. A
    dimension's size is given in `sizes`, or is that of the first argument that has it. The dimension L is time, and
    must not be empty.

    Raises:
        ValueError: a rank, a length or a device does not fit.
        TypeError: the dtypes differ, or are not float32 or float64.
    """
    sizes = dict(sizes or {})
    given = {name: tensor for name, tensor in arguments.items() if tensor is not None}
    first, reference = next(iter(given.items()))
    for name, tensor in given.items():
        _check_shape(function, name, tensor, shapes[name], sizes, first, reference)
        _check_kind(function, name, tensor, first, reference)
    if sizes["L"] == 0:
        shape = tuple(reference.shape)
        raise ValueError(f"{function}: {first} of shape {shape} has no samples (L=0); at least one is needed")


def _check_shape(
    function: str,
    name: str,
    tensor: Tensor,
    dims: tuple[str, ...],
    sizes: dict[str, int],
    first: str,
    reference: Tensor,
) -> None:
    if tensor.ndim == len(dims):
        allowed = {dim: sizes.get(dim, size) for dim, size in zip(dims, tensor.shape, strict=True)}
        if tuple(allowed.values()) == tuple(tensor.shape):
            sizes.update(allowed)
            return
    expected = ", ".join(f"{dim}={sizes[dim]}" if dim in sizes else dim for dim in dims)
    raise ValueError(
        f"{function}: {name} has shape {tuple(tensor.shape)}, but with {first} of shape "
        f"{tuple(reference.shape)} it must be ({expected})"
    )


def _check_kind(function: str, name: str, tensor: Tensor, first: str, reference: Tensor) -> None:
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{function}: {name} is {tensor.dtype}; allowed are float32 and float64, call .float() first")
    if tensor.dtype != reference.dtype:
        raise TypeError(
            f"{function}: {name} of shape {tuple(tensor.shape)} is {tensor.dtype}, but {first} of shape "
            f"{tuple(reference.shape)} is {reference.dtype}; cast them to one dtype"
        )
    if tensor.device != reference.device:
        raise ValueError(
            f"{function}: {name} of shape {tuple(tensor.shape)} is on {tensor.device}, but {first} of shape "
            f"{tuple(reference.shape)} is on {reference.device}; move them to one device"
        )


def check_not_nan(function: str, name: str, tensor: Tensor) -> None:
    """Raise if a CPU tensor holds NaN; on other devices the check would force a synchronisation and is left out."""
    if tensor.device.type == "cpu" and bool(tensor.isnan().any()):
        raise ValueError(nan_message(function, name, tuple(tensor.shape)))


def nan_message(function: str, name: str, shape: tuple[int, ...]) -> str:
    """The sentence for a NaN in an argument."""
    return (
        f"{function}: {name} of shape {shape} holds NaN, and every later state would be lost; it must be finite. "
        "Look for a diverged layer or missing samples in the record before it."
    )
