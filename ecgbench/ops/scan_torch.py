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
from ecgbench.ops.scan_loop import discretisation_step
from ecgbench.ops.scan_op import register_scan

CHUNK = 32
LOG2_E = 1 / math.log(2)


class _Chunks:
    """The states of the recurrence, a chunk at a time, in buffers that are used again for each chunk."""

    def __init__(self, u_LBD: Tensor, step_LBD: Tensor, A_DN: Tensor, B_LBN: Tensor, reverse: bool) -> None:
        length, batch, d = u_LBD.shape
        self.step_LBD, self.B_LBN, self.reverse = step_LBD, B_LBN, reverse
        self.input_LBD = step_LBD * u_LBD
        # 2^x is cheaper than e^x
        self.rate_ND = A_DN.t().contiguous() * LOG2_E
        self.decay_KBND = u_LBD.new_empty(min(CHUNK, length), batch, A_DN.shape[1], d)
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


class _Adjoint:
    """The recurrence run backwards: gradients of a chunk from its recomputed states."""

    def __init__(self, chunks: _Chunks, u_LBD: Tensor, C_LBN: Tensor, grad_y_LBD: Tensor, grad_last_BND: Tensor) -> None:
        self.chunks, self.u_LBD, self.C_LBN, self.grad_y_LBD = chunks, u_LBD, C_LBN, grad_y_LBD
        self.A_ND = chunks.rate_ND / LOG2_E
        self.grad_u, self.grad_step = torch.empty_like(u_LBD), torch.empty_like(u_LBD)
        self.grad_A, self.grad_B, self.grad_C = (torch.zeros_like(t) for t in (self.A_ND, C_LBN, C_LBN))
        self.grad_state = grad_last_BND
        self.adjoint_KBND = torch.empty_like(chunks.state_KBND)

    def run(self, span: slice, start_BND: Tensor) -> Tensor:
        """Fill the gradients of the chunk that starts from `start_BND`; return its states (K, B, N, D)."""
        decay, state, _ = self.chunks.run(span, start_BND)
        adjoint = self.adjoint_KBND[: span.stop - span.start]
        torch.mul(self.grad_y_LBD[span, :, None], self.C_LBN[span, :, :, None], out=adjoint)
        self._propagate(span, decay, adjoint)
        torch.matmul(self.grad_y_LBD[span, :, None], state.mT, out=self.grad_C[span, :, None])
        torch.matmul(self.chunks.input_LBD[span, :, None], adjoint.mT, out=self.grad_B[span, :, None])
        grad_input = torch.matmul(self.chunks.B_LBN[span, :, None], adjoint).squeeze(2)
        grad_rate = self._times_previous_state(decay.mul_(adjoint), state, start_BND)
        torch.sum(torch.mul(grad_rate, self.A_ND, out=adjoint), 2, out=self.grad_step[span])
        self.grad_step[span].addcmul_(self.u_LBD[span], grad_input)
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


def _start_state(u: Tensor, A: Tensor, h0: Tensor | None) -> Tensor:
    if h0 is not None:
        return h0.transpose(1, 2).contiguous()
    return u.new_zeros(u.shape[0], A.shape[1], u.shape[1])


def _forward(
    u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus: bool, reverse: bool, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    check_not_nan("selective_scan", "delta", delta)
    u_LBD, C_LBN = _time_first(u), _time_first(C)
    step = discretisation_step(delta, delta_bias, delta_softplus)
    chunks = _Chunks(u_LBD, _time_first(step), A, _time_first(B), reverse)
    spans = chunks.spans()
    state_BND = _start_state(u, A, h0)
    checkpoints = u.new_empty(u.shape[0], len(spans) if save else 0, *state_BND.shape[1:])
    y_LBD = torch.empty_like(u_LBD)
    for i, span in enumerate(spans):
        # a copy: the buffer that the last chunk's end state lies in is written again
        start_BND = checkpoints[:, i].copy_(state_BND) if save else state_BND.clone()
        _, states, state_BND = chunks.run(span, start_BND)
        torch.matmul(C_LBN[span, :, None], states, out=y_LBD[span, :, None])
    y = _time_last(_with_skip(y_LBD, u_LBD, D))
    return (y if z is None else y.mul_(F.silu(z))), state_BND.mT.contiguous(), checkpoints


def _backward(
    grad_y, grad_last, checkpoints, u, delta, A, B, C, D, z, delta_bias, h0, delta_softplus: bool, reverse: bool
) -> tuple[Tensor, ...]:
    step = discretisation_step(delta, delta_bias, delta_softplus)
    u_LBD, C_LBN = _time_first(u), _time_first(C)
    grad_ungated = _time_first(grad_y if z is None else grad_y * F.silu(z))
    chunks = _Chunks(u_LBD, _time_first(step), A, _time_first(B), reverse)
    adjoint = _Adjoint(chunks, u_LBD, C_LBN, grad_ungated, grad_last.mT.contiguous())
    y_LBD = None if z is None else torch.empty_like(u_LBD)
    for i, span in reversed(list(enumerate(chunks.spans()))):
        states = adjoint.run(span, checkpoints[:, i])
        if z is not None:
            torch.matmul(C_LBN[span, :, None], states, out=y_LBD[span, :, None])
    grad_z = None
    if z is not None:
        grad_z = torch.ops.aten.silu_backward(grad_y * _time_last(_with_skip(y_LBD, u_LBD, D)), z)
    grad_D = None
    if D is not None:
        grad_D = (grad_ungated * u_LBD).sum((0, 1))
        adjoint.grad_u.addcmul_(grad_ungated, D)
    grad_delta = _time_last(adjoint.grad_step)
    if delta_softplus:
        biased = delta if delta_bias is None else delta + delta_bias[:, None]
        grad_delta = torch.ops.aten.softplus_backward(grad_delta, biased, 1, 20)
    grad_bias = None if delta_bias is None else grad_delta.sum((0, 2))
    grad_h0 = None if h0 is None else adjoint.grad_state.mT.contiguous()
    grads = (_time_last(adjoint.grad_u), grad_delta, adjoint.grad_A.T.contiguous())
    grads += (_time_last(adjoint.grad_B), _time_last(adjoint.grad_C), grad_D, grad_z, grad_bias, grad_h0)
    return tuple(u.new_empty(0) if grad is None else grad for grad in grads)


def _with_skip(y_LBD: Tensor, u_LBD: Tensor, D: Tensor | None) -> Tensor:
    return y_LBD if D is None else y_LBD.addcmul_(u_LBD, D)


scan = register_scan("scan_torch", CHUNK, _forward, _backward)
