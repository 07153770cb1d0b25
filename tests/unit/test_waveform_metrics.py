"""The waveform metrics against hand numbers, numpy loops and scikit-image, and what they say of odd input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from ecgbench.metrics.superres import superres_scores

FS_HZ, LOW_FS_HZ = 500.0, 50.0


def scores(pred: np.ndarray | torch.Tensor, true: np.ndarray | torch.Tensor, mask: torch.Tensor | None = None):
    """All scores of a batch as numpy arrays; without a mask every sample is real."""
    pred, true = torch.as_tensor(pred), torch.as_tensor(true)
    if mask is None:
        mask = torch.ones(true.shape[0], true.shape[-1], dtype=torch.bool)
    return {name: s.numpy() for name, s in superres_scores(pred, true, mask, FS_HZ, LOW_FS_HZ).items()}


def prefix_mask(lengths: list[int], time: int) -> torch.Tensor:
    """Masks with the first `lengths[i]` samples real."""
    return torch.arange(time) < torch.tensor(lengths)[:, None]


def ecg_like(n_records: int = 3, n_leads: int = 12, time: int = 700, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, truth) in mV: narrow bumps on a quiet, slowly moving baseline, and an error of 0.05 mV."""
    rng = np.random.default_rng(seed)
    t = np.arange(time)
    beats = sum(np.exp(-0.5 * ((t - centre) / 6) ** 2) for centre in range(60, time, 180))
    gains = rng.normal(0, 1, (n_records, n_leads, 1))
    true = gains * beats + 0.02 * np.sin(2 * np.pi * t / 400 + gains)
    return true + 0.05 * rng.standard_normal(true.shape), true


def reference(pred: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Every band-free metric of one record (lead, time) written out with numpy and scikit-image."""
    x, y = pred.ravel(), true.ravel()
    e2 = np.sum((x - y) ** 2)
    mse, span = e2 / x.size, y.max() - y.min()
    leads = [structural_similarity(p, t, data_range=span) for p, t in zip(pred, true, strict=True)]
    return {
        "mse": mse,
        "rmse": np.sqrt(mse),
        "mae": np.mean(np.abs(x - y)),
        "snr_db": 10 * np.log10(np.sum(y**2) / e2),
        "psnr_db": 10 * np.log10(span**2 / mse),
        "ssim": np.mean(leads),
        "cosine": np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)),
        "prd_pct": 100 * np.linalg.norm(x - y) / np.linalg.norm(y),
        "official_mse": mse + 1e-10,
        "official_rmse": np.sqrt(mse + 1e-10),
        "official_snr_db": 10 * np.log10(np.sum(x**2) / e2),
        "official_psnr_db": 10 * np.log10(x.max() ** 2 / (mse + 1e-10)),
        "official_ssim": structural_similarity(pred.T.ravel(), true.T.ravel(), data_range=span),
    }


def test_hand_numbers():
    """Truth (3, 4, -1, 0) and prediction (3, 4, -1, 2): error energy 4, energies 26 and 30, range 5."""
    s = scores(np.array([[[3.0, 4.0, -1.0, 2.0]]]), np.array([[[3.0, 4.0, -1.0, 0.0]]]))
    expected = {
        "mse": 1.0,
        "rmse": 1.0,
        "mae": 0.5,
        "snr_db": 8.129134,  # 10 log10(26/4)
        "psnr_db": 13.979400,  # 10 log10(25)
        "cosine": 0.930949,  # 26 / sqrt(26 * 30)
        "prd_pct": 39.223227,  # 100 sqrt(4/26)
        "official_mse": 1.0 + 1e-10,
        "official_rmse": 1.0 + 5e-11,
        "official_snr_db": 8.750613,  # 10 log10(30/4)
        "official_psnr_db": 12.041200,  # 10 log10(16)
    }
    assert {name: s[name].item() for name in expected} == pytest.approx(expected, abs=1e-6)


def test_official_psnr_takes_the_signed_maximum():
    """A prediction of -2 and -1 has the peak -1, not 2: 10 log10(1 / 0.5)."""
    s = scores(np.array([[[-2.0, -1.0]]]), np.array([[[-1.0, -1.0]]]))
    assert s["official_psnr_db"].item() == pytest.approx(3.010300, abs=1e-6)


@pytest.mark.parametrize("lengths", [[700, 700, 700], [700, 412, 7]])
def test_equal_to_a_loop_over_the_unpadded_records(lengths):
    """Each record scores what numpy and scikit-image give for its real samples alone."""
    pred, true = ecg_like()
    s = scores(pred, true, prefix_mask(lengths, 700))
    for i, n in enumerate(lengths):
        for name, value in reference(pred[i, :, :n], true[i, :, :n]).items():
            assert s[name][i] == pytest.approx(value, rel=1e-9, abs=1e-9), (name, i)


def test_ssim_equals_scikit_image_at_full_length():
    """5,000 samples, 12 leads, a nearly exact prediction: window variances down to 1e-9 mV^2 keep nine digits."""
    _, true = ecg_like(n_records=1, time=5000)
    pred = true + 1e-4 * np.random.default_rng(1).standard_normal(true.shape)
    s, expected = scores(pred, true), reference(pred[0], true[0])
    assert s["ssim"][0] == pytest.approx(expected["ssim"], abs=1e-9)
    assert s["official_ssim"][0] == pytest.approx(expected["official_ssim"], abs=1e-9)


def test_ssim_of_a_flat_lead_is_defined():
    """A lead without variation takes the record's range, so its windows have a similarity."""
    pred, true = ecg_like(n_records=1)
    true[0, 4] = 0.0
    assert scores(pred, true)["ssim"][0] == pytest.approx(reference(pred[0], true[0])["ssim"], abs=1e-9)


def test_what_stands_in_the_padding_never_matters():
    """Finite, infinite and NaN values under the padding leave every bit of every score."""
    pred, true = ecg_like()
    mask = prefix_mask([700, 412, 30], 700)
    before = scores(pred, true, mask)
    padding = np.broadcast_to(~mask.numpy()[:, None], pred.shape)
    for value_pred, value_true in [(1e6, -1e6), (np.inf, 0.0), (0.0, np.nan), (np.nan, np.inf)]:
        pred[padding], true[padding] = value_pred, value_true
        after = scores(pred, true, mask)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_the_length_of_the_padding_never_matters():
    """A record padded to 700 samples scores as the same record padded to 450 or not at all."""
    pred, true = ecg_like(n_records=1)
    long = scores(pred, true, prefix_mask([412], 700))
    for time in (412, 450):
        short = scores(pred[..., :time], true[..., :time], prefix_mask([412], time))
        for name in long:
            np.testing.assert_allclose(short[name], long[name], rtol=1e-12, err_msg=name)


def test_a_record_scores_the_same_alone_and_in_a_batch():
    """No number leaks between the records of a batch."""
    pred, true = ecg_like()
    together = scores(pred, true)
    for i in range(3):
        alone = scores(pred[i : i + 1], true[i : i + 1])
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][i], rtol=1e-12, err_msg=name)


def test_perfect_prediction():
    """Nothing wrong: zero errors, infinite ratios, similarities of exactly one; the official MSE keeps its floor."""
    _, true = ecg_like()
    s = scores(true.copy(), true)
    for name in ("mse", "rmse", "mae", "prd_pct", "mse_low_band", "mse_high_band"):
        assert (s[name] == 0).all(), name
    for name in ("snr_db", "psnr_db", "official_snr_db"):
        assert (s[name] == np.inf).all(), name
    assert (s["ssim"] == 1).all()
    assert (s["official_ssim"] == 1).all()
    np.testing.assert_allclose(s["cosine"], 1.0, rtol=1e-15)
    np.testing.assert_allclose(s["official_mse"], 1e-10, rtol=1e-12)
    np.testing.assert_allclose(s["official_psnr_db"], 10 * np.log10(true.max((1, 2)) ** 2 / 1e-10), rtol=1e-12)


def test_zero_truth():
    """A silent record: finite errors, SNR -inf, PRD inf, no cosine, no SSIM."""
    pred = np.full((1, 2, 20), 0.5)
    s = scores(pred, np.zeros_like(pred))
    assert s["mse"].item() == 0.25
    assert s["snr_db"].item() == -np.inf
    assert s["psnr_db"].item() == -np.inf
    assert s["prd_pct"].item() == np.inf
    assert s["official_snr_db"].item() == 0.0
    assert all(np.isnan(s[name].item()) for name in ("cosine", "ssim", "official_ssim"))


def test_zero_truth_met_exactly_has_no_ratio():
    """Nothing over nothing is undefined, not perfect."""
    s = scores(np.zeros((1, 2, 20)), np.zeros((1, 2, 20)))
    assert s["mse"].item() == 0.0
    for name in ("snr_db", "psnr_db", "prd_pct", "cosine", "ssim", "official_snr_db", "official_ssim"):
        assert np.isnan(s[name].item()), name


def test_zero_prediction_scores_zero_db():
    """Predicting nothing leaves the signal as the error: 0 dB, 100 % PRD, no cosine, official SNR -inf."""
    _, true = ecg_like(n_records=1)
    s = scores(np.zeros_like(true), true)
    assert s["snr_db"].item() == 0.0
    assert s["prd_pct"].item() == 100.0
    assert np.isnan(s["cosine"].item())
    assert s["official_snr_db"].item() == -np.inf


def test_a_nan_spoils_its_own_record_and_no_other():
    """One NaN sample makes all numbers of its record NaN."""
    pred, true = ecg_like()
    clean = scores(pred, true)
    pred[1, 3, 50] = np.nan
    spoilt = scores(pred, true)
    for name in clean:
        assert np.isnan(spoilt[name][1]), name
        np.testing.assert_array_equal(spoilt[name][[0, 2]], clean[name][[0, 2]], err_msg=name)


def test_ssim_needs_one_whole_window():
    """Six samples hold no 7-sample window in time, but 12 leads of them hold official windows."""
    pred, true = ecg_like(n_records=1, time=6)
    s = scores(pred, true)
    assert np.isnan(s["ssim"].item())
    expected = structural_similarity(pred[0].T.ravel(), true[0].T.ravel(), data_range=true.max() - true.min())
    assert s["official_ssim"].item() == pytest.approx(expected, abs=1e-9)


def test_single_precision_input_is_scored_in_double():
    """float32 signals give the float64 scores of their values."""
    pred, true = (x.astype(np.float32) for x in ecg_like())
    single, double = scores(pred, true), scores(pred.astype(np.float64), true.astype(np.float64))
    for name in single:
        assert single[name].dtype == np.float64
        np.testing.assert_array_equal(single[name], double[name], err_msg=name)


def test_the_arguments_stay_as_they_were():
    """Scoring writes to none of its arguments."""
    pred, true = (torch.tensor(x) for x in ecg_like())
    mask = prefix_mask([700, 412, 30], 700)
    copies = pred.clone(), true.clone(), mask.clone()
    superres_scores(pred, true, mask, FS_HZ, LOW_FS_HZ)
    assert all(torch.equal(a, b) for a, b in zip((pred, true, mask), copies, strict=True))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), gain=st.sampled_from([0.25, 2.0, 64.0]), time=st.integers(7, 120))
def test_ratios_do_not_depend_on_the_gain(seed, gain, time):
    """Scaling prediction and truth together moves errors by the gain and ratios not at all."""
    pred, true = ecg_like(n_records=2, n_leads=3, time=time, seed=seed)
    once, scaled = scores(pred, true), scores(gain * pred, gain * true)
    for name in ("snr_db", "psnr_db", "ssim", "cosine", "prd_pct", "official_snr_db", "official_ssim"):
        np.testing.assert_allclose(scaled[name], once[name], rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(scaled["mse"], gain**2 * once["mse"], rtol=1e-12)
    np.testing.assert_allclose(scaled["mae"], gain * once["mae"], rtol=1e-12)


def test_only_the_official_ssim_depends_on_the_order_of_leads():
    """Its window runs over neighbouring leads; every standard metric treats leads alike."""
    pred, true = ecg_like()
    shuffled = np.random.default_rng(0).permutation(12)
    before, after = scores(pred, true), scores(pred[:, shuffled], true[:, shuffled])
    for name in set(before) - {"official_ssim"}:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-12, err_msg=name)
    assert np.abs(after["official_ssim"] - before["official_ssim"]).min() > 1e-6


@pytest.mark.parametrize(
    ("pred_shape", "true_shape", "mask", "message"),
    [
        ((2, 3, 8), (2, 3, 9), torch.ones(2, 9, dtype=torch.bool), "must have one shape"),
        ((3, 8), (3, 8), torch.ones(3, 8, dtype=torch.bool), "must have one shape"),
        ((2, 3, 8), (2, 3, 8), torch.ones(2, 8), "must be torch.bool"),
        ((2, 3, 8), (2, 3, 8), torch.ones(2, 7, dtype=torch.bool), "must be torch.bool"),
        ((2, 3, 8), (2, 3, 8), prefix_mask([8, 0], 8), r"rows \[1\] of the batch have no real sample"),
        ((2, 3, 8), (2, 3, 8), ~prefix_mask([0, 3], 8), "real samples after padding"),
    ],
)
def test_input_that_cannot_be_scored_is_refused(pred_shape, true_shape, mask, message):
    """Shapes that differ, masks of another kind, gaps in a mask and empty records name what is wrong."""
    with pytest.raises(ValueError, match=message):
        superres_scores(torch.zeros(pred_shape), torch.zeros(true_shape), mask, FS_HZ, LOW_FS_HZ)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_equal_on_the_gpu():
    """The same numbers on a CUDA device, left there."""
    pred, true = (torch.tensor(x) for x in ecg_like())
    mask = prefix_mask([700, 412, 30], 700)
    on_cpu = superres_scores(pred, true, mask, FS_HZ, LOW_FS_HZ)
    on_gpu = superres_scores(pred.cuda(), true.cuda(), mask.cuda(), FS_HZ, LOW_FS_HZ)
    for name, value in on_gpu.items():
        assert value.is_cuda
        torch.testing.assert_close(value.cpu(), on_cpu[name], rtol=1e-10, atol=1e-12)
