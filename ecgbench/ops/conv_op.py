"""Registration of a causal convolution's forward and backward kernels as opaque, differentiable torch operators."""

from collections.abc import Callable

import torch
from torch import Tensor

from ecgbench.ops.scan_op import refuse_second_derivative

# (x, weight, bias, initial state, silu, reverse) -> y
Convolution = Callable[[Tensor, Tensor, Tensor | None, Tensor | None, bool, bool], Tensor]
# (gradient of y, and what the forward pass was given) -> gradients, None for a tensor that was not given
Backward = Callable[
    [Tensor, Tensor, Tensor, Tensor | None, Tensor | None, bool, bool],
    tuple[Tensor, Tensor, Tensor | None, Tensor | None],
]


def register_conv(name: str, forward: Convolution, backward: Backward) -> Convolution:
    """A differentiable convolution of two kernels, registered as `ecgbench::<name>_forward` and `_backward`."""

    @torch.library.custom_op(f"ecgbench::{name}_forward", mutates_args=())
    def forward_op(
        x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, silu: bool, reverse: bool
    ) -> Tensor:
        return forward(x, weight, bias, initial_state, silu, reverse)

    @torch.library.custom_op(f"ecgbench::{name}_backward", mutates_args=())
    def backward_op(
        grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None,
        silu: bool, reverse: bool,
    ) -> list[Tensor]:  # fmt: skip
        gradients = backward(grad_y, x, weight, bias, initial_state, silu, reverse)
        return [x.new_empty(0) if gradient is None else gradient for gradient in gradients]

    @forward_op.register_fake
    def _(x, weight, bias, initial_state, silu, reverse):
        return x.new_empty(x.shape)

    @backward_op.register_fake
    def _(grad_y, x, weight, bias, initial_state, silu, reverse):
        return [x.new_empty(0) if t is None else x.new_empty(t.shape) for t in (x, weight, bias, initial_state)]

    def setup_context(ctx, inputs, output) -> None:
        *tensors, ctx.silu, ctx.reverse = inputs
        ctx.save_for_backward(*tensors)

    def differentiate(ctx, grad_y):
        gradients = backward_op(grad_y, *ctx.saved_tensors, ctx.silu, ctx.reverse)
        return (*(None if t is None else g for t, g in zip(ctx.saved_tensors, gradients, strict=True)), None, None)

    forward_op.register_autograd(differentiate, setup_context=setup_context)
    refuse_second_derivative(backward_op, "causal_conv1d")
    return forward_op
