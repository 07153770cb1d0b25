"""The selective state-space mixer of Mamba (Gu & Dao 2023) and the residual block around it.

Tensors are (batch, channel, time), as everywhere in this package, so no step of the mixer moves data between layouts.
Parameter names, shapes, initial values and arithmetic are those of Mamba-1 in the package mamba-ssm: a state dict of
one loads into the other.
"""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.layers.norm import RMSNorm
from ecgbench.ops import causal_conv1d, causal_conv1d_step, selective_scan, selective_scan_step


class MambaState(NamedTuple):
    """What a mixer remembers between two samples of a recurrent run."""

    conv: Tensor
    """The last inputs of the convolution, (batch, d_inner, d_conv - 1)."""
    ssm: Tensor
    """The state of the scan, (batch, d_inner, d_state)."""


def pointwise(x: Tensor, linear: nn.Linear) -> Tensor:
    """A linear layer's weight, without its bias, applied to the channels of (batch, channel, time)."""
    # A convolution of width 1 keeps time contiguous; F.linear on a transposed view takes up to twice as long on CPUs.
    return F.conv1d(x, linear.weight[:, :, None])


def _initial_dt_bias(d_inner: int, dt_min: float, dt_max: float) -> Tensor:
    """Biases whose softplus is log-uniform in [dt_min, dt_max] (Gu & Dao 2023, section 3.6)."""
    dt = torch.exp(torch.rand(d_inner) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min))
    return dt + torch.log(-torch.expm1(-dt))


class Path(NamedTuple):
    """The weights that read a signal along one direction of time."""

    conv1d: nn.Conv1d
    x_proj: nn.Linear
    dt_proj: nn.Linear
    A_log: Tensor
    D: Tensor | None
    backend: str

    def conv_parameters(self) -> dict[str, Any]:
        """What `causal_conv1d` needs beside its input."""
        return {
            "weight": self.conv1d.weight.squeeze(1),
            "bias": self.conv1d.bias,
            "activation": "silu",
            "backend": self.backend,
        }

    def scan_parameters(self) -> dict[str, Any]:
        """What `selective_scan` needs beside its input, step sizes, B, C and gate."""
        return {
            "A": -self.A_log.exp(),
            "D": self.D,
            "delta_bias": self.dt_proj.bias,
            "delta_softplus": True,
            "backend": self.backend,
        }

    def convolve(self, u: Tensor, reverse: bool) -> Tensor:
        """(batch, d_inner, time) through the short convolution and its SiLU, from the end of time if `reverse`."""
        return cast(Tensor, causal_conv1d(u, reverse=reverse, **self.conv_parameters()))

    def select(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step sizes before bias and softplus, input and output weights of each time step of a convolved signal."""
        d_state = self.A_log.shape[1]
        dt, B, C = pointwise(u, self.x_proj).split([self.dt_proj.in_features, d_state, d_state], dim=1)
        return pointwise(dt, self.dt_proj), B, C

    def scan(self, u: Tensor, selected: tuple[Tensor, Tensor, Tensor], z: Tensor, reverse: bool) -> Tensor:
        """A convolved signal scanned with what `select` gave, and gated by `z`."""
        delta, B, C = selected
        return cast(Tensor, selective_scan(u, delta, B=B, C=C, z=z, reverse=reverse, **self.scan_parameters()))

    def read(self, u: Tensor, z: Tensor, reverse: bool) -> Tensor:
        """(batch, d_inner, time) convolved, scanned and gated by `z`."""
        u = self.convolve(u, reverse)
        return self.scan(u, self.select(u), z, reverse)


class Mamba(nn.Module):
    """Mixes (batch, d_model, time) along time: gated short convolution and selective scan (Gu & Dao 2023, figure 3).

    `dt_rank` is ceil(d_model / 16) unless given; `scan_backend` is one of auto, cuda, native and torch.
    Without `use_d` the scan has no skip path, as in the equations of most papers (their code has one).
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        use_d: bool = True,
        scan_backend: str = "auto",
    ) -> None:
        super().__init__()
        self.d_state = d_state
        self.d_inner = expand * d_model
        self.dt_rank = dt_rank or math.ceil(d_model / 16)
        self.scan_backend = scan_backend
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1).float().log().repeat(self.d_inner, 1))  # S4D-real
        self.D = nn.Parameter(torch.ones(self.d_inner)) if use_d else None
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        for parameter in (self.A_log, self.D):
            if parameter is not None:
                parameter._no_weight_decay = True  # mamba-ssm's flag: decay would change the time constants
        self._init_dt(dt_min, dt_max)

    def _init_dt(self, dt_min: float, dt_max: float) -> None:
        """Start the step sizes spread over [dt_min, dt_max], and of one variance whatever dt_rank is."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            self.dt_proj.bias.copy_(_initial_dt_bias(self.d_inner, dt_min, dt_max))

    def path(self) -> Path:
        """The weights of the direction that `forward` is told to read in."""
        return Path(self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D, self.scan_backend)

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """(batch, d_model, time) mixed along time, past to future; `reverse` runs from the end of time to its start.

        Reversed, it equals flipping time, mixing and flipping back, without the copies.
        """
        u, z = pointwise(x, self.in_proj).chunk(2, dim=1)
        return pointwise(self.path().read(u, z, reverse), self.out_proj)

    def allocate_state(self, batch: int) -> MambaState:
        """The state before the first sample: all zeros, on the device and in the type of the weights."""
        width = self.conv1d.kernel_size[0]
        return MambaState(
            conv=self.A_log.new_zeros(batch, self.d_inner, width - 1),
            ssm=self.A_log.new_zeros(batch, self.d_inner, self.d_state),
        )

    def step(self, x: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """One sample (batch, d_model) mixed with the past held in `state`: the output and the state after it."""
        path = self.path()
        u, z = self.in_proj(x).chunk(2, dim=1)
        u, conv = causal_conv1d_step(state.conv, u, **path.conv_parameters())
        dt, B, C = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=1)
        delta = F.linear(dt, self.dt_proj.weight)
        y, ssm = selective_scan_step(state.ssm, u, delta, B=B, C=C, z=z, **path.scan_parameters())
        return self.out_proj(y), MambaState(conv, ssm)


class MambaBlock(nn.Module):
    """Add, normalise, mix: a pre-norm residual block that leaves the last addition to its successor.

    Keyword arguments are those of `Mamba`.
    """

    def __init__(self, d_model: int, **mixer: Any) -> None:
        super().__init__()
        self.mixer = Mamba(d_model, **mixer)
        self.norm = RMSNorm(d_model)

    def forward(self, hidden: Tensor, residual: Tensor | None = None, reverse: bool = False) -> tuple[Tensor, Tensor]:
        """The mixed signal and the residual to add to it, both (batch, d_model, time)."""
        residual = hidden if residual is None else hidden + residual
        return self.mixer(self.norm(residual), reverse=reverse), residual
