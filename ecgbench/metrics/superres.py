"""The scores of super-resolution: the standard definitions and those of MSECG's public code, side by side.

Two families, because published tables use the second and it differs in ways that move the numbers: its SNR and PSNR
take the energy and the signed maximum of the *prediction*, and its SSIM slides over a time-major, lead-minor vector,
so that a window spans seven leads at one instant instead of seven samples of one lead.
"""

import torch
from torch import Tensor

from ecgbench.metrics import waveform
from ecgbench.metrics.spectral import mse_bands

OFFICIAL_MSE_FLOOR_MV2 = 1e-10


@torch.no_grad()
def superres_scores(
    pred_mv: Tensor, true_mv: Tensor, mask: Tensor, fs_hz: float, low_fs_hz: float
) -> dict[str, Tensor]:
    """Every metric of the super-resolution table, float64 (batch,) each.

    Args:
        pred_mv: (batch, lead, time) at `fs_hz`, mV.
        true_mv: the same shape, mV.
        mask: bool (batch, time), True where a sample is real; real samples first, padding after.
        fs_hz: rate of both signals.
        low_fs_hz: rate of the model's input; half of it separates the low from the high error band.

    Raises:
        ValueError: shapes that do not belong together, a mask with gaps, a record without a real sample.
    """
    waveform.check_waveforms(pred_mv, true_mv, mask)
    pred, true = pred_mv.double(), true_mv.double()
    return {
        **standard_scores(pred, true, mask, fs_hz, low_fs_hz / 2),
        **official_scores(pred, true, mask),
    }


def standard_scores(pred: Tensor, true: Tensor, mask: Tensor, fs_hz: float, low_nyquist_hz: float) -> dict[str, Tensor]:
    """The standard family, (batch,) each; see `ecgbench.metrics.waveform` for the definitions."""
    metrics = (
        waveform.mse,
        waveform.rmse,
        waveform.mae,
        waveform.snr_db,
        waveform.psnr_db,
        waveform.ssim,
        waveform.cosine,
        waveform.prd_pct,
    )
    low, high = mse_bands(pred, true, mask, fs_hz, low_nyquist_hz)
    return {metric.__name__: metric(pred, true, mask) for metric in metrics} | {
        "mse_low_band": low,
        "mse_high_band": high,
    }


def official_scores(pred: Tensor, true: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The family of MSECG's public evaluation code (MSECG_PixelShuffle, 2025), (batch,) each."""
    mse = waveform.mse(pred, true, mask) + OFFICIAL_MSE_FLOOR_MV2
    snr = waveform.energy(pred, mask) / waveform.energy(pred - true, mask)
    psnr = waveform.record_max(pred, mask).square() / mse
    return {
        "official_mse": mse,
        "official_rmse": mse.sqrt(),
        "official_snr_db": 10 * torch.log10(snr),
        "official_psnr_db": 10 * torch.log10(psnr),
        "official_ssim": _official_ssim(pred, true, mask),
    }


def _official_ssim(pred: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """SSIM of the record flattened time-major and lead-minor, (batch,)."""
    n_values = mask.sum(-1) * true.shape[1]
    flat_pred, flat_true = (x.transpose(1, 2).flatten(1)[:, None] for x in (pred, true))
    return waveform.ssim_along_time(flat_pred, flat_true, n_values, waveform.peak_to_peak(true, mask))
