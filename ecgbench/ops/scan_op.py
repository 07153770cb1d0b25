"""Registration of a scan's forward and backward kernels as opaque, differentiable torch operators.

`torch.compile` and `torch.export` see one node with known output shapes instead of a loop over time.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ecgbench.ops.scan_inputs import ScanGradients, ScanInputs

# (inputs, save) -> y, last state, checkpoints (batch, chunks, n, d), with no chunks unless `save`
Forward = Callable[[ScanInputs, bool], tuple[Tensor, Tensor, Tensor]]
# (inputs, gradient of y, gradient of the last state, checkpoints) -> gradients
Backward = Callable[[ScanInputs, Tensor, Tensor, Tensor], ScanGradients]


def register_scan(
    name: str, chunk: int, forward: Forward, backward: Backward
) -> Callable[[ScanInputs], tuple[Tensor, Tensor]]:
    """A differentiable scan made of two kernels, registered as `ecgbench::<name>_forward` and `_backward`.

    `chunk` is the number of steps between two checkpoints, which are the states that the forward pass keeps; the
    backward pass recomputes those between.
    """

    @torch.library.custom_op(f"ecgbench::{name}_forward", mutates_args=())
    def forward_op(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        delta_bias: Tensor | None, h0: Tensor | None, delta_softplus: bool, reverse: bool, save: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        return forward(ScanInputs(u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus, reverse), save)

    @torch.library.custom_op(f"ecgbench::{name}_backward", mutates_args=())
    def backward_op(
        grad_y: Tensor, grad_last: Tensor, checkpoints: Tensor,
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        delta_bias: Tensor | None, h0: Tensor | None, delta_softplus: bool, reverse: bool,
    ) -> list[Tensor]:  # fmt: skip
        inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus, reverse)
        gradients = backward(inputs, grad_y, grad_last, checkpoints)
        return [u.new_empty(0) if gradient is None else gradient for gradient in gradients]

    @forward_op.register_fake
    def _(u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus, reverse, save):
        batch, d, length = u.shape
        n, chunks = A.shape[1], -(-length // chunk) if save else 0
        return u.new_empty(batch, d, length), u.new_empty(batch, d, n), u.new_empty(batch, chunks, n, d)

    @backward_op.register_fake
    def _(grad_y, grad_last, checkpoints, u, *others):
        return [u.new_empty(0) if t is None else u.new_empty(t.shape) for t in (u, *others[:8])]

    def setup_context(ctx, inputs, output) -> None:
        *tensors, ctx.delta_softplus, ctx.reverse, _ = inputs
        ctx.save_for_backward(output[2], *tensors)

    def differentiate(ctx, grad_y, grad_last, _):
        checkpoints, *tensors = ctx.saved_tensors
        gradients = backward_op(grad_y, grad_last, checkpoints, *tensors, ctx.delta_softplus, ctx.reverse)
        return (*(None if t is None else g for t, g in zip(tensors, gradients, strict=True)), None, None, None)

    forward_op.register_autograd(differentiate, setup_context=setup_context)
    refuse_second_derivative(backward_op, "selective_scan")

    def scan(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
        flags = (inputs.delta_softplus, inputs.reverse, inputs.needs_grad)
        y, last_state, _ = forward_op(*inputs.tensors().values(), *flags)
        return y, last_state

    return scan


def refuse_second_derivative(backward_op: Any, function: str) -> None:
    """Make a backward operator raise, with the way on, when it is itself differentiated."""

    def save_nothing(ctx, inputs, output) -> None:
        pass

    def refuse(ctx, *grads):
        raise NotImplementedError(
            f"{function} gives first derivatives only, and a second one was asked for (create_graph=True); "
            "use scan_backend=loop, which autograd differentiates any number of times"
        )

    backward_op.register_autograd(refuse, setup_context=save_nothing)
