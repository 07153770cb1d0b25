"""The selective scan in pure torch, with a hand-written backward pass: runs wherever torch runs.

Time is cut into chunks. Within a chunk the decays and inputs of all steps are computed at once, only the
recurrence itself is a loop, and one state per chunk is kept: the backward pass recomputes the states of a chunk from
it, so extra memory does not grow with n * L.

Shape letters: B batch, L time, K steps of a chunk, N state, D channel. Work is done in the layout (time, batch,
state, channel), where a step is one contiguous block and products over the state are batched matrix products.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ecgbench.ops.checks import check_not_nan
from ecgbench.ops.scan_inputs import ScanGradients, ScanInputs
from ecgbench.ops.scan_loop import discretisation_step
from ecgbench.ops.scan_op import register_scan

CHUNK = 32
LOG2_E = 1 / math.log(2)


class _Chunks:
    """The states of the recurrence, a chunk at a time, in buffers that are used again for each chunk."""

    def __init__(self, inputs: ScanInputs) -> None:
        batch, d, length = inputs.u.shape
        self.reverse = inputs.reverse
        self.u_LBD, self.B_LBN, self.C_LBN = (_time_first(t) for t in (inputs.u, inputs.B, inputs.C))
        self.step_LBD = _time_first(discretisation_step(inputs.delta, inputs.delta_bias, inputs.delta_softplus))
        self.input_LBD = self.step_LBD * self.u_LBD
        # 2^x is cheaper than e^x
        self.rate_ND = inputs.A.t().contiguous() * LOG2_E
        self.decay_KBND = inputs.u.new_empty(min(CHUNK, length), batch, inputs.A.shape[1], d)
        self.state_KBND = torch.empty_like(self.decay_KBND)

    def spans(self) -> list[slice]:
        """The chunks as slices of time, in the order of the scan."""
        length = self.step_LBD.shape[0]
        if self.reverse:
            return [slice(max(0, stop - CHUNK), stop) for stop in range(length, 0, -CHUNK)]
        return [slice(start, min(length, start + CHUNK)) for start in range(0, length, CHUNK)]

    def steps(self, span: slice) -> Iterator[int]:
        """Positions within a chunk, in the order of the scan."""
        positions = range(span.stop - span.start)
        return reversed(positions) if self.reverse else iter(positions)

    def run(self, span: slice, state_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decays and states (K, B, N, D) of a chunk that starts from `state_BND`, and the state that it ends in."""
        size = span.stop - span.start
        decay, state = self.decay_KBND[:size], self.state_KBND[:size]
        torch.mul(self.step_LBD[span, :, None], self.rate_ND, out=decay).exp2_()
        torch.mul(self.input_LBD[span, :, None], self.B_LBN[span, :, :, None], out=state)
        decays, states = decay.unbind(0), state.unbind(0)
        for k in self.steps(span):
            state_BND = states[k].addcmul_(decays[k], state_BND)
        return decay, state, state_BND

    def read_out(self, span: slice, state_KBND: Tensor, y_LBD: Tensor) -> None:
        """Write a chunk of the output from the chunk's states."""
        torch.matmul(self.C_LBN[span, :, None], state_KBND, out=y_LBD[span, :, None])

    def before_gate(self, y_LBD: Tensor, D: Tensor | None) -> Tensor:
        """The output (B, D, L) with its skip path; `y_LBD` is overwritten."""
        return _time_last(y_LBD if D is None else y_LBD.addcmul_(self.u_LBD, D))


class _Adjoint:
    """The recurrence run backwards: gradients of a chunk from its recomputed states."""

    def __init__(self, chunks: _Chunks, A_DN: Tensor, grad_y_LBD: Tensor, grad_last_BND: Tensor) -> None:
        self.chunks, self.grad_y_LBD, self.A_ND = chunks, grad_y_LBD, A_DN.t().contiguous()
        self.grad_u, self.grad_step = torch.empty_like(chunks.u_LBD), torch.empty_like(chunks.u_LBD)
        self.grad_A = torch.zeros_like(self.A_ND)
        self.grad_B, self.grad_C = torch.empty_like(chunks.B_LBN), torch.empty_like(chunks.C_LBN)
        self.grad_state = grad_last_BND
        self.adjoint_KBND = torch.empty_like(chunks.state_KBND)

    def run(self, span: slice, start_BND: Tensor) -> Tensor:
        """Fill the gradients of the chunk that starts from `start_BND`; return its states (K, B, N, D)."""
        decay, state, _ = self.chunks.run(span, start_BND)
        adjoint = self.adjoint_KBND[: span.stop - span.start]
        torch.mul(self.grad_y_LBD[span, :, None], self.chunks.C_LBN[span, :, :, None], out=adjoint)
        self._propagate(span, decay, adjoint)
        torch.matmul(self.grad_y_LBD[span, :, None], state.mT, out=self.grad_C[span, :, None])
        torch.matmul(self.chunks.input_LBD[span, :, None], adjoint.mT, out=self.grad_B[span, :, None])
        grad_input = torch.matmul(self.chunks.B_LBN[span, :, None], adjoint).squeeze(2)
        grad_rate = self._times_previous_state(decay.mul_(adjoint), state, start_BND)
        torch.sum(torch.mul(grad_rate, self.A_ND, out=adjoint), 2, out=self.grad_step[span])
        self.grad_step[span].addcmul_(self.chunks.u_LBD[span], grad_input)
        self.grad_A += grad_rate.mul_(self.chunks.step_LBD[span, :, None]).sum((0, 1))
        torch.mul(self.chunks.step_LBD[span], grad_input, out=self.grad_u[span])
        return state

    def _propagate(self, span: slice, decay: Tensor, adjoint: Tensor) -> None:
        """Add to each step's adjoint what comes from the step after it."""
        decays, adjoints = decay.unbind(0), adjoint.unbind(0)
        order = list(self.chunks.steps(span))
        adjoints[order[-1]].add_(self.grad_state)
        for k, after in zip(order[-2::-1], order[:0:-1], strict=True):
            adjoints[k].addcmul_(decays[after], adjoints[after])
        self.grad_state = decays[order[0]] * adjoints[order[0]]

    def _times_previous_state(self, x: Tensor, state: Tensor, start_BND: Tensor) -> Tensor:
        """Multiply `x` in place by the state before each step."""
        if self.chunks.reverse:
            x[:-1].mul_(state[1:])
            x[-1].mul_(start_BND)
        else:
            x[1:].mul_(state[:-1])
            x[0].mul_(start_BND)
        return x


def _time_first(x_BDL: Tensor) -> Tensor:
    return x_BDL.permute(2, 0, 1).contiguous()


def _time_last(x_LBD: Tensor) -> Tensor:
    return x_LBD.permute(1, 2, 0).contiguous()


def _start_state(inputs: ScanInputs) -> Tensor:
    if inputs.h0 is not None:
        return inputs.h0.mT.contiguous()
    return inputs.u.new_zeros(inputs.u.shape[0], inputs.A.shape[1], inputs.u.shape[1])


def _forward(inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    check_not_nan("selective_scan", "delta", inputs.delta)
    chunks, state_BND = _Chunks(inputs), _start_state(inputs)
    spans = chunks.spans()
    checkpoints = state_BND.new_empty(inputs.u.shape[0], len(spans) if save else 0, *state_BND.shape[1:])
    y_LBD = torch.empty_like(chunks.u_LBD)
    for i, span in enumerate(spans):
        # a copy: the buffer that the last chunk's end state lies in is written again
        start_BND = checkpoints[:, i].copy_(state_BND) if save else state_BND.clone()
        _, states, state_BND = chunks.run(span, start_BND)
        chunks.read_out(span, states, y_LBD)
    y = chunks.before_gate(y_LBD, inputs.D)
    last = state_BND.mT.clone(memory_format=torch.contiguous_format)
    return (y if inputs.z is None else y.mul_(F.silu(inputs.z))), last, checkpoints


def _backward(inputs: ScanInputs, grad_y: Tensor, grad_last: Tensor, checkpoints: Tensor) -> ScanGradients:
    chunks, z = _Chunks(inputs), inputs.z
    grad_ungated_LBD = _time_first(grad_y if z is None else grad_y * F.silu(z))
    adjoint = _Adjoint(chunks, inputs.A, grad_ungated_LBD, grad_last.mT.contiguous())
    y_LBD = torch.empty_like(chunks.u_LBD)
    for i, span in reversed(list(enumerate(chunks.spans()))):
        states = adjoint.run(span, checkpoints[:, i])
        if z is not None:
            chunks.read_out(span, states, y_LBD)
    grad_z = None
    if z is not None:
        grad_z = torch.ops.aten.silu_backward(grad_y * chunks.before_gate(y_LBD, inputs.D), z)
    grad_D = None
    if inputs.D is not None:
        grad_D = (grad_ungated_LBD * chunks.u_LBD).sum((0, 1))
        adjoint.grad_u.addcmul_(grad_ungated_LBD, inputs.D)
    grad_delta = _through_softplus(inputs, _time_last(adjoint.grad_step))
    return ScanGradients(
        u=_time_last(adjoint.grad_u),
        delta=grad_delta,
        A=adjoint.grad_A.t().contiguous(),
        B=_time_last(adjoint.grad_B),
        C=_time_last(adjoint.grad_C),
        D=grad_D,
        z=grad_z,
        delta_bias=None if inputs.delta_bias is None else grad_delta.sum((0, 2)),
        h0=None if inputs.h0 is None else adjoint.grad_state.mT.contiguous(),
    )


def _through_softplus(inputs: ScanInputs, grad_step: Tensor) -> Tensor:
    if not inputs.delta_softplus:
        return grad_step
    biased = inputs.delta if inputs.delta_bias is None else inputs.delta + inputs.delta_bias[:, None]
    return torch.ops.aten.softplus_backward(grad_step, biased, 1, 20)


scan = register_scan("scan_torch", CHUNK, _forward, _backward)
