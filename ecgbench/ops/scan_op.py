"""Registration of a scan's forward and backward kernels as opaque, differentiable torch operators.

`torch.compile` and `torch.export` see one node with known output shapes instead of a loop over time.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ecgbench.ops.scan_inputs import ScanInputs

Scan = Callable[[ScanInputs], tuple[Tensor, Tensor]]


def register_scan(name: str, chunk: int, forward: Callable, backward: Callable) -> Scan:
    """A differentiable scan made of two kernels, registered as `ecgbench::<name>_forward` and `_backward`.

    Args:
        name: prefix of the operators' names.
        chunk: steps between two stored states; the states between are recomputed in the backward pass.
        forward: (9 tensors, delta_softplus, reverse, save) -> (y, last state, checkpoints (batch, chunks, n, d)).
        backward: (gradient of y, of the last state, checkpoints, 9 tensors, delta_softplus, reverse) ->
            9 gradients, an empty tensor for each input that is None.
    """

    @torch.library.custom_op(f"ecgbench::{name}_forward", mutates_args=())
    def forward_op(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        delta_bias: Tensor | None, h0: Tensor | None, delta_softplus: bool, reverse: bool, save: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        return forward(u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus, reverse, save)

    @torch.library.custom_op(f"ecgbench::{name}_backward", mutates_args=())
    def backward_op(
        grad_y: Tensor, grad_last: Tensor, checkpoints: Tensor,
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        delta_bias: Tensor | None, h0: Tensor | None, delta_softplus: bool, reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        tensors = (u, delta, A, B, C, D, z, delta_bias, h0)
        return backward(grad_y, grad_last, checkpoints, *tensors, delta_softplus, reverse)

    @forward_op.register_fake
    def _(u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus, reverse, save):
        batch, d, length = u.shape
        chunks = -(-length // chunk) if save else 0
        n = A.shape[1]
        return u.new_empty(batch, d, length), u.new_empty(batch, d, n), u.new_empty(batch, chunks, n, d)

    @backward_op.register_fake
    def _(grad_y, grad_last, checkpoints, u, *others):
        return tuple(u.new_empty(0) if t is None else t.new_empty(t.shape) for t in (u, *others[:8]))

    def setup_context(ctx, inputs, output) -> None:
        *tensors, ctx.delta_softplus, ctx.reverse, _ = inputs
        ctx.save_for_backward(output[2], *tensors)

    def differentiate(ctx, grad_y, grad_last, _):
        checkpoints, *tensors = ctx.saved_tensors
        grads = backward_op(grad_y, grad_last, checkpoints, *tensors, ctx.delta_softplus, ctx.reverse)
        return (*(None if t is None else g for t, g in zip(tensors, grads, strict=True)), None, None, None)

    forward_op.register_autograd(differentiate, setup_context=setup_context)
    backward_op.register_autograd(_no_second_derivative, setup_context=_save_nothing)

    def scan(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
        return forward_op(*inputs.tensors(), inputs.delta_softplus, inputs.reverse, inputs.needs_grad)[:2]

    return scan


def _save_nothing(ctx, inputs, output) -> None:
    """The second derivative needs nothing, since there is none."""


def _no_second_derivative(ctx, *grads):
    raise NotImplementedError(
        "selective_scan gives first derivatives only, and a second one was asked for (create_graph=True); "
        "use scan_backend=loop, which autograd differentiates any number of times"
    )
