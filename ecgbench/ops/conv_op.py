"""Registration of a causal convolution's forward and backward kernels as opaque, differentiable torch operators."""

from collections.abc import Callable

import torch
from torch import Tensor

Convolution = Callable[[Tensor, Tensor, Tensor | None, Tensor | None, bool, bool], Tensor]


def register_conv(name: str, forward: Callable, backward: Callable) -> Convolution:
    """A differentiable convolution made of two kernels, registered as `ecgbench::<name>_forward` and `_backward`.

    Args:
        name: prefix of the operators' names.
        forward: (x, weight, bias, initial_state, silu, reverse) -> y.
        backward: (gradient of y, and forward's arguments) -> 4 gradients, an empty tensor for an input that is None.
    """

    @torch.library.custom_op(f"ecgbench::{name}_forward", mutates_args=())
    def forward_op(
        x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, silu: bool, reverse: bool
    ) -> Tensor:
        return forward(x, weight, bias, initial_state, silu, reverse)

    @torch.library.custom_op(f"ecgbench::{name}_backward", mutates_args=())
    def backward_op(
        grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None,
        silu: bool, reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        return backward(grad_y, x, weight, bias, initial_state, silu, reverse)

    @forward_op.register_fake
    def _(x, *others):
        return x.new_empty(x.shape)

    @backward_op.register_fake
    def _(grad_y, x, weight, bias, initial_state, silu, reverse):
        return tuple(x.new_empty(0) if t is None else t.new_empty(t.shape) for t in (x, weight, bias, initial_state))

    def setup_context(ctx, inputs, output) -> None:
        *tensors, ctx.silu, ctx.reverse = inputs
        ctx.save_for_backward(*tensors)

    def differentiate(ctx, grad_y):
        grads = backward_op(grad_y, *ctx.saved_tensors, ctx.silu, ctx.reverse)
        return (*(None if t is None else g for t, g in zip(ctx.saved_tensors, grads, strict=True)), None, None)

    forward_op.register_autograd(differentiate, setup_context=setup_context)
    backward_op.register_autograd(_no_second_derivative, setup_context=_save_nothing)
    return forward_op


def _save_nothing(ctx, inputs, output) -> None:
    """The second derivative needs nothing, since there is none."""


def _no_second_derivative(ctx, *grads):
    raise NotImplementedError(
        "causal_conv1d gives first derivatives only, and a second one was asked for (create_graph=True); "
        "use scan_backend=loop, which autograd differentiates any number of times"
    )
