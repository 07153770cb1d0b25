"""Errors and similarities between a predicted and a true waveform, one number per record.

Conventions
    pred_mv, true_mv: (batch, lead, time) in mV, floating point. A result is (batch,) in the same precision;
    `ecgbench.metrics.superres` passes float64.
    mask: bool (batch, time), True where a sample is real. Real samples come first, padding after
    (`check_waveforms`); what stands in the padding never reaches a result.
    A record counts as one vector of its real lead-time values: no mean is removed, no lead is rescaled.

Undefined values follow IEEE arithmetic and are never hidden. An exact prediction has infinite SNR and PSNR, a zero
prediction has no cosine (NaN), a zero truth has SNR -inf, infinite PRD and no SSIM (NaN), and a NaN in the
prediction makes every number of its record NaN and of no other.

References
    PRD: Zigel et al. 2000, IEEE Trans. Biomed. Eng. 47(11) (the form without mean removal).
    SSIM: Wang et al. 2004, IEEE Trans. Image Process. 13(4), eq. 13, with a uniform window.
"""

import torch
from torch import Tensor

SSIM_WINDOW = 7
SSIM_K1, SSIM_K2 = 0.01, 0.03


def check_waveforms(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> None:
    """Refuse shapes that do not belong together, a mask with gaps and a record without a real sample."""
    if pred_mv.ndim != 3 or pred_mv.shape != true_mv.shape:
        raise ValueError(
            f"prediction {tuple(pred_mv.shape)} and truth {tuple(true_mv.shape)} must have one shape"
            " (batch, lead, time). Give both on the grid of the target."
        )
    batch, _, time = pred_mv.shape
    if mask.dtype != torch.bool or mask.shape != (batch, time):
        raise ValueError(
            f"mask is {mask.dtype} {tuple(mask.shape)}, but must be torch.bool {(batch, time)}."
            " Give one flag per record and sample."
        )
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("a mask has real samples after padding; padding is allowed at the end only. Pad on the right.")
    empty = (~mask.any(-1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"rows {empty} of the batch have no real sample; at least one is needed. Leave these records out."
        )


def record_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of (batch, lead, time) values over leads and real samples, (batch,)."""
    return torch.where(mask[:, None], values, 0.0).sum(dim=(1, 2))


def record_max(values: Tensor, mask: Tensor) -> Tensor:
    """Largest of (batch, lead, time) values over leads and real samples, (batch,)."""
    return torch.where(mask[:, None], values, -torch.inf).amax(dim=(1, 2))


def energy(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of squares over leads and real samples, (batch,)."""
    return record_sum(values.square(), mask)


def peak_to_peak(values: Tensor, mask: Tensor) -> Tensor:
    """Largest minus smallest value over leads and real samples, (batch,)."""
    return record_max(values, mask) + record_max(-values, mask)


def mse(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of each record, mV^2."""
    return energy(pred_mv - true_mv, mask) / (mask.sum(-1) * true_mv.shape[1])


def rmse(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Square root of each record's mean squared error, mV."""
    return mse(pred_mv, true_mv, mask).sqrt()


def mae(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of each record, mV."""
    return record_sum((pred_mv - true_mv).abs(), mask) / (mask.sum(-1) * true_mv.shape[1])


def snr_db(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Signal-to-noise ratio of each record, dB: energy of the truth over energy of the error."""
    return 10 * torch.log10(energy(true_mv, mask) / energy(pred_mv - true_mv, mask))


def psnr_db(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each record, dB: squared peak-to-peak of the truth over the mean squared error."""
    return 10 * torch.log10(peak_to_peak(true_mv, mask).square() / mse(pred_mv, true_mv, mask))


def cosine(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Cosine of the angle between prediction and truth as vectors, -1 to 1."""
    return record_sum(pred_mv * true_mv, mask) / (energy(pred_mv, mask) * energy(true_mv, mask)).sqrt()


def prd_pct(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Percentage root-mean-square difference of each record: error energy relative to the truth's, rooted, in %."""
    return 100 * (energy(pred_mv - true_mv, mask) / energy(true_mv, mask)).sqrt()


def ssim(pred_mv: Tensor, true_mv: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity along time within each lead, averaged over the record, at most 1.

    Its data range is the record's (largest minus smallest truth over all leads), as all leads of a page share one
    gain: a flat lead stays defined, and `official_ssim` differs in the direction of its window alone.
    """
    return ssim_along_time(pred_mv, true_mv, mask.sum(-1), peak_to_peak(true_mv, mask))


def ssim_along_time(pred: Tensor, true: Tensor, n_valid: Tensor, data_range: Tensor) -> Tensor:
    """Structural similarity over 7-sample windows of the last axis, averaged over channels and windows.

    pred, true: (batch, channel, time); n_valid, data_range: (batch,), the real samples of each record and the span of
    its values. A window counts when all its samples are real. Uniform weights, K1 = 0.01, K2 = 0.03, sample
    covariance: the defaults of `skimage.metrics.structural_similarity`. NaN for fewer than 7 samples or no span.
    """
    c1, c2 = ((k * data_range).square()[:, None, None] for k in (SSIM_K1, SSIM_K2))
    to_sample = SSIM_WINDOW / (SSIM_WINDOW - 1)
    # In place from here on: allocating a batch's temporaries takes longer than the arithmetic.
    mean_p, mean_t = _window_mean(pred), _window_mean(true)
    product, squares = mean_p * mean_t, mean_p.square_().add_(mean_t.square_())
    # E[x^2] - E[x]^2 in float64 rounds far below c2, as signals without a large offset have x of the order of the span.
    covariance = _window_mean(pred * true).sub_(product).mul_(to_sample)
    variances = _window_mean(pred.square().add_(true.square())).sub_(squares).mul_(to_sample)
    local = product.mul_(2).add_(c1).mul_(covariance.mul_(2).add_(c2))
    local /= squares.add_(c1).mul_(variances.add_(c2))
    n_windows = n_valid - (SSIM_WINDOW - 1)
    inside = torch.arange(local.shape[-1], device=local.device) < n_windows[:, None]
    mean = record_sum(local, inside) / (n_windows * pred.shape[1])
    return torch.where((n_windows > 0) & (data_range != 0), mean, torch.nan)


def _window_mean(values: Tensor) -> Tensor:
    """Mean over each 7-sample window of the last axis; no window where fewer samples exist."""
    n_windows = max(values.shape[-1] - SSIM_WINDOW + 1, 0)
    total = torch.zeros_like(values[..., :n_windows])
    for start in range(SSIM_WINDOW):
        total += values[..., start : start + n_windows]
    return total.div_(SSIM_WINDOW)
