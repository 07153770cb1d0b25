"""How well each lead is reconstructed, and whether the reconstructed leads belong to one heart.

Conventions
    pred_mv, true_mv, signal_mv: (batch, lead, time) in mV; all arithmetic and results are float64.
    mask: bool (batch, time), True where a sample is real. Real samples come first, padding after; what stands in the
    padding never reaches a result.
    The errors are one number for each (sample, lead), over its real samples. The consistency of the limb leads is
    measured on the prediction alone; its leads 0 to 5 are I, II, III, aVR, aVL, aVF.

A NaN in a prediction makes the numbers it enters NaN, and no others.
"""

import torch
from torch import Tensor

from ecgbench.metrics.waveform import check_waveforms
from ecgbench.signal.leads import LIMB_LEADS

RESIDUALS = ("III", "aVR", "aVL", "aVF")
"""The limb leads that I and II determine, in the order of `limb_residuals_uv`."""
N_LIMB = len(LIMB_LEADS)
FLAT_MV = 1e-4
"""Standard deviation below which MCMA's protocol calls a lead flat (Chen et al. 2024)."""


def mse(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error, mV^2, (batch, lead)."""
    pred, true = _checked(pred_mv, true_mv, mask)
    return _mean((pred - true).square(), mask)


def rmse(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Root mean squared error, mV, (batch, lead)."""
    return mse(pred_mv, true_mv, mask).sqrt()


def mae(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error, mV, (batch, lead)."""
    pred, true = _checked(pred_mv, true_mv, mask)
    return _mean((pred - true).abs(), mask)


def pcc(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Pearson's correlation coefficient over time, -1 to 1, (batch, lead).

    0 for a prediction that is constant: it says nothing of the waveform. NaN for a truth that is constant, for which
    no prediction is right or wrong.
    """
    pred, true = _checked(pred_mv, true_mv, mask)
    x, y = _centred(pred, mask), _centred(true, mask)
    r = (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    r = torch.where(_is_constant(pred, mask), 0.0, r.clamp(-1, 1))
    return torch.where(_is_constant(true, mask), torch.nan, r)


def has_flat_lead(true_mv: Tensor, mask: Tensor) -> Tensor:
    """Whether a lead's standard deviation is below 1e-4 mV, which leaves a sample out of the scores; bool (batch,)."""
    true, _ = _checked(true_mv, true_mv, mask)
    return (_mean(_centred(true, mask).square(), mask).sqrt() < FLAT_MV).any(-1)


def limb_residuals_uv(signal_mv: Tensor, mask: Tensor) -> Tensor:
    """RMS over time of III, aVR, aVL and aVF minus what I and II make of them, uV, (batch, 4); 0 for one heart.

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Einthoven 1913, Goldberger 1942). Recordings
    themselves have about 0.5 uV, the rounding to 1 uV.
    """
    limb = _limb(signal_mv, mask)
    return 1e3 * _mean((limb - _limb_matrix(limb) @ limb[:, :2])[:, 2:].square(), mask).sqrt()


def limb_residual_uv(signal_mv: Tensor, mask: Tensor) -> Tensor:
    """RMS of the four residuals together, uV, (batch,)."""
    return limb_residuals_uv(signal_mv, mask).square().mean(-1).sqrt()


def limb_inconsistency(signal_mv: Tensor, mask: Tensor) -> Tensor:
    """`limb_residual_uv` over the RMS of the six limb leads, (batch,); 0 for six leads that are 0 throughout."""
    rms_uv = 1e3 * _mean(_limb(signal_mv, mask).square(), mask).mean(-1).sqrt()
    residual_uv = limb_residual_uv(signal_mv, mask)
    return torch.where(rms_uv == 0, 0.0, residual_uv / rms_uv)


def project_limb_leads(signal_mv: Tensor) -> Tensor:
    """The signal with its limb leads replaced by the nearest ones that fulfil the identities, (batch, lead, time).

    Least squares over the six leads at each instant: with A the six combinations of I and II, the new (I, II) solves
    A'A (I, II)' = A' limb, A'A = ((3.5, -1.75), (-1.75, 3.5)). All other leads stay.
    """
    signal = signal_mv.double()
    _check_limb(signal)
    matrix = _limb_matrix(signal)
    first_two = torch.linalg.solve(matrix.T @ matrix, matrix.T) @ signal[:, :N_LIMB]
    return torch.cat([matrix @ first_two, signal[:, N_LIMB:]], dim=1)


def _checked(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64; ValueError for shapes or masks that do not belong together."""
    check_waveforms(pred_mv, true_mv, mask)
    return pred_mv.double(), true_mv.double()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real samples, (batch, lead)."""
    return torch.where(mask[:, None], values, 0.0).sum(-1) / mask.sum(-1, keepdim=True)


def _centred(values: Tensor, mask: Tensor) -> Tensor:
    """The values minus their mean over the real samples; 0 in the padding."""
    return torch.where(mask[:, None], values - _mean(values, mask)[..., None], 0.0)


def _is_constant(values: Tensor, mask: Tensor) -> Tensor:
    """Whether all real samples are equal, bool (batch, lead); False with a NaN among them."""
    return (values == values[..., :1]).logical_or(~mask[:, None]).all(-1)  # real samples come first


def _check_limb(signal: Tensor) -> None:
    """ValueError for a signal that cannot hold the six limb leads."""
    if signal.ndim != 3 or signal.shape[1] < N_LIMB:
        raise ValueError(
            f"signal {tuple(signal.shape)} must be (batch, lead, time) with the {N_LIMB} limb leads "
            f"{', '.join(LIMB_LEADS)} first. Give the leads in the standard order."
        )


def _limb(signal_mv: Tensor, mask: Tensor) -> Tensor:
    """The limb leads in float64, (batch, 6, time)."""
    _check_limb(signal_mv)
    check_waveforms(signal_mv, signal_mv, mask)
    return signal_mv[:, :N_LIMB].double()


def _limb_matrix(like: Tensor) -> Tensor:
    """The six limb leads as combinations of I and II, (6, 2)."""
    return torch.tensor(list(LIMB_LEADS.values()), dtype=torch.float64, device=like.device)
