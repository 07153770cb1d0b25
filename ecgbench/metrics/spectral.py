"""The squared error of a waveform, split by frequency."""

import torch
from torch import Tensor


def mse_bands(pred_mv: Tensor, true_mv: Tensor, mask: Tensor, fs_hz: float, cutoff_hz: float) -> tuple[Tensor, Tensor]:
    """Mean squared error of each record below `cutoff_hz`, and at or above it, mV^2; together they are its MSE.

    Parseval's theorem over the discrete Fourier transform of each lead's real samples, untapered. For
    super-resolution the cutoff is the low rate's Nyquist frequency: below it the input holds the signal, above it
    the model must invent it. The bin at the cutoff belongs above, as samples at the low rate do not determine it.

    pred_mv, true_mv: (batch, lead, time); mask: bool (batch, time), real samples first.
    """
    error, lengths = pred_mv - true_mv, mask.sum(-1)
    low, high = error.new_empty(len(error)), error.new_empty(len(error))
    # One transform per length, so that padding changes neither the bins nor the leakage between them.
    for n in lengths.unique().tolist():
        rows = lengths == n
        power = _power_per_bin(error[rows, :, :n])
        above = torch.arange(power.shape[-1], device=power.device) * fs_hz >= cutoff_hz * n
        low[rows], high[rows] = power[:, ~above].sum(-1), power[:, above].sum(-1)
    return low, high


def _power_per_bin(signal: Tensor) -> Tensor:
    """One-sided periodogram of (batch, lead, time), averaged over leads; its sum over bins is the mean square."""
    n = signal.shape[-1]
    power = torch.fft.rfft(signal).abs().square().mean(1) / n**2
    # Each bin stands for its negative frequency too, except the constant and, for even n, the Nyquist frequency.
    power[:, 1 : (n + 1) // 2] *= 2
    return power
