"""A diagonal state-space layer that reads a signal in both directions (S4D, Gu, Gupta, Goel & Ré 2022)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn


def _frequencies(n_pairs: int, poles: str) -> Tensor:
    """Imaginary parts of the first poles, S4D-Lin or S4D-Inv (Gu et al. 2022), one per conjugate pair."""
    n = torch.arange(n_pairs, dtype=torch.float32)
    if poles == "lin":
        return math.pi * n
    d_state = 2 * n_pairs
    return d_state / math.pi * (d_state / (2 * n + 1) - 1)


class S4D(nn.Module):
    """(batch, d_model, time) -> the same shape: every channel through a linear system of its own, in both directions.

    Each channel has `d_state` states in conjugate pairs, h' = A h + u with diagonal A, held constant between samples
    (zero-order hold) of the channel's step size, which starts log-uniform in [dt_min, dt_max]. The output is
    Re(C_ahead h) of the run from the start of time, plus Re(C_back h) of the run from its end, plus D u. Both runs
    share step sizes and A and have their own C; both see the present sample. `poles` places A at first: "inv"
    resembles the eigenvalues of HiPPO-LegS, "lin" is a Fourier series.

    Parameters are real, complex ones as (..., 2), so that a change of dtype reaches all of them.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 8,
        poles: Literal["inv", "lin"] = "inv",
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
    ) -> None:
        super().__init__()
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state={d_state}, but states come in conjugate pairs; use an even number")
        n_pairs = d_state // 2
        low, high = math.log(dt_min), math.log(dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(d_model))
        self.log_decay = nn.Parameter(torch.full((d_model, n_pairs), math.log(0.5)))
        self.frequency = nn.Parameter(_frequencies(n_pairs, poles).repeat(d_model, 1))
        self.C_ahead = nn.Parameter(math.sqrt(0.5) * torch.randn(d_model, n_pairs, 2))
        self.C_back = nn.Parameter(math.sqrt(0.5) * torch.randn(d_model, n_pairs, 2))
        self.D = nn.Parameter(torch.randn(d_model))
        for parameter in (self.log_dt, self.log_decay, self.frequency):
            parameter._no_weight_decay = True  # decay would change the time constants

    def kernels(self, time: int) -> Tensor:
        """Impulse responses of the runs ahead and back at lags 0 to time - 1, (2, d_model, time)."""
        A = torch.complex(-self.log_decay.exp(), self.frequency)
        step = A * self.log_dt.exp()[:, None]
        B = torch.expm1(step) / A  # what one held sample adds to the state
        weights = torch.view_as_complex(torch.stack([self.C_ahead, self.C_back])) * B
        # exp(step * (i * block + j)) as a product: two short tables of powers instead of one for all of time.
        block = math.isqrt(time - 1) + 1
        index = torch.arange(block, dtype=step.real.dtype, device=step.device)
        fine = torch.exp(step[:, :, None] * index)
        coarse = torch.exp(step[:, None, :] * (block * index)[:, None])
        # Two times the real part stands for the other half of each conjugate pair.
        return 2 * ((weights[:, :, None, :] * coarse) @ fine).real.flatten(2)[:, :, :time]

    def forward(self, x: Tensor) -> Tensor:
        """Both runs and the direct path, by Fourier transforms of twice the length."""
        time = x.shape[-1]
        kernels = self.kernels(time)
        ahead, back = torch.fft.rfft(kernels, n=2 * time)
        # Conjugation turns a response around in time.
        spectrum = torch.fft.rfft(x.to(kernels.dtype), n=2 * time) * (ahead + back.conj())
        return torch.fft.irfft(spectrum, n=2 * time)[..., :time] + self.D[:, None] * x
