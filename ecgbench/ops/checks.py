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

    `shapes` maps an argument's name to its dimensions by name, the first argument being the one that the messages
    compare with. A dimension's size is given in `sizes`, or is that of the first argument that has it.

    Raises:
        ValueError: a rank, a length or a device does not fit.
        TypeError: the dtypes differ, or are not float32 or float64.
    """
    sizes = dict(sizes or {})
    first = next(iter(shapes))
    for name, dims in shapes.items():
        if arguments[name] is not None:
            _check_shape(function, name, arguments[name], dims, sizes, first, arguments[first])
            _check_kind(function, name, arguments[name], first, arguments[first])


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
        for dim, size in zip(dims, tensor.shape, strict=True):
            sizes.setdefault(dim, size)
        if all(size == sizes[dim] for dim, size in zip(dims, tensor.shape, strict=True)):
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
