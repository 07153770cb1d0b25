"""Errors by lead, correlation, consistency of the limb leads, and the matrix of leads: numbers by hand and by numpy."""

import numpy as np
import pytest
import torch

from ecgbench.metrics import reconstruction as rec
from ecgbench.metrics.lead_matrix import lead_matrix, summarised

ERRORS = (rec.mse, rec.rmse, rec.mae, rec.pcc)


def all_real(x: torch.Tensor) -> torch.Tensor:
    """A mask without padding."""
    return torch.ones(len(x), x.shape[-1], dtype=torch.bool)


def pair(n_leads: int = 3, time: int = 50, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction and a truth that resemble each other, (4, lead, time)."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(4, n_leads, time, generator=generator, dtype=torch.float64)
    return true + 0.5 * torch.randn(4, n_leads, time, generator=generator, dtype=torch.float64) + 0.2, true


def twelve(seed: int = 0) -> torch.Tensor:
    """Two recordings of twelve leads that fulfil every identity, (2, 12, 40) in mV."""
    one, two, *chest = np.random.default_rng(seed).normal(size=(8, 2, 40))
    return torch.tensor(np.stack(
        [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *chest], axis=1
    ))  # fmt: skip


def test_errors_are_per_sample_and_lead_by_hand() -> None:
    """Lead 0: errors 1, -3, 2; lead 1: 0, 0, 6."""
    true = torch.tensor([[[0.0, 1.0, 2.0], [5.0, 5.0, 0.0]]])
    pred = true + torch.tensor([[[1.0, -3.0, 2.0], [0.0, 0.0, 6.0]]])
    mask = all_real(true)
    torch.testing.assert_close(rec.mse(pred, true, mask), torch.tensor([[14 / 3, 12.0]]).double())
    torch.testing.assert_close(rec.rmse(pred, true, mask), torch.tensor([[(14 / 3) ** 0.5, 12**0.5]]).double())
    torch.testing.assert_close(rec.mae(pred, true, mask), torch.tensor([[2.0, 2.0]]).double())


def test_correlation_is_numpys() -> None:
    pred, true = pair()
    expected = [
        [np.corrcoef(p, t)[0, 1] for p, t in zip(*leads, strict=True)] for leads in zip(pred, true, strict=True)
    ]
    np.testing.assert_allclose(rec.pcc(pred, true, all_real(true)), expected, rtol=1e-12)


def test_correlation_ignores_scale_and_offset_and_knows_the_sign() -> None:
    """Also where the offset is a million times the wave, which float32 moments would lose."""
    _, true = pair()
    mask = all_real(true)
    for scale, sign in ((3.0, 1.0), (-0.01, -1.0)):
        got = rec.pcc(scale * true + 1e3, true, mask)
        np.testing.assert_allclose(got, np.full((4, 3), sign), rtol=1e-8)
    assert rec.pcc(true, true, mask).max() <= 1


def test_a_constant_prediction_has_correlation_0_and_a_constant_truth_none() -> None:
    """0.1 is no float32 number, so its mean over 50 samples is not exactly it."""
    pred, true = pair()
    mask = all_real(true)
    pred[0, 1], pred[2, 0], true[1, 2] = 0.1, 0.0, 0.3
    got = rec.pcc(pred, true, mask).numpy()
    assert (got[0, 1], got[2, 0]) == (0, 0)
    assert np.isnan(got[1, 2])
    assert np.isfinite(got).sum() == 11
    assert rec.pcc(torch.zeros_like(true), true, mask)[1, 2].isnan()


@pytest.mark.parametrize("metric", ERRORS, ids=lambda m: m.__name__)
def test_padding_never_counts(metric) -> None:
    """The scores of a padded batch are those of each sample cut to its own length, whatever stands in the padding."""
    pred, true = pair()
    lengths = [50, 31, 7, 2]
    mask = torch.arange(50) < torch.tensor(lengths)[:, None]
    expected = torch.cat([
        metric(pred[i : i + 1, :, :n], true[i : i + 1, :, :n], torch.ones(1, n, dtype=torch.bool))
        for i, n in enumerate(lengths)
    ])  # fmt: skip
    pred[:, :, :] = torch.where(mask[:, None], pred, torch.nan)
    true[:, :, :] = torch.where(mask[:, None], true, torch.inf)
    torch.testing.assert_close(metric(pred, true, mask), expected, rtol=1e-12, atol=1e-14)


def test_a_prediction_constant_but_for_its_padding_is_constant() -> None:
    pred, true = pair()
    mask = torch.arange(50).expand(4, 50) < 20
    pred[:, 0, :20] = 0.1
    assert rec.pcc(pred, true, mask)[:, 0].tolist() == [0.0] * 4


@pytest.mark.parametrize("metric", ERRORS, ids=lambda m: m.__name__)
def test_a_nan_in_a_prediction_spoils_its_own_number_only(metric) -> None:
    pred, true = pair()
    pred[1, 2, 0] = torch.nan
    got = metric(pred, true, all_real(true))
    assert torch.isnan(got).nonzero().tolist() == [[1, 2]]
    assert got.dtype == torch.float64


@pytest.mark.parametrize("metric", ERRORS, ids=lambda m: m.__name__)
def test_float32_input_is_scored_in_float64(metric) -> None:
    pred, true = (x.float() for x in pair())
    mask = all_real(true)
    torch.testing.assert_close(metric(pred, true, mask), metric(pred.double(), true.double(), mask), rtol=0, atol=0)


@pytest.mark.parametrize("metric", ERRORS, ids=lambda m: m.__name__)
def test_shapes_that_do_not_belong_together_are_refused(metric) -> None:
    pred, true = pair()
    with pytest.raises(ValueError, match="must have one shape"):
        metric(pred[:, :2], true, all_real(true))
    with pytest.raises(ValueError, match="mask is"):
        metric(pred, true, all_real(true)[:, :10])


def test_flat_leads_are_those_below_a_tenth_of_a_microvolt() -> None:
    """A sine of amplitude a has the standard deviation a / sqrt(2); an offset does not help."""
    sine = torch.sin(2 * torch.pi * torch.arange(100) / 50).double()
    amplitude = torch.tensor([[1.0, 1.0], [1.0, 1.40e-4], [1.43e-4, 1.43e-4], [0.0, 1.0]]).double()
    signal = amplitude[:, :, None] * sine + 5.0
    assert rec.has_flat_lead(signal, all_real(signal)).tolist() == [False, True, False, True]
    mask = torch.arange(100).expand(4, 100) < 50
    signal[:, :, 50:] = 0.0
    assert rec.has_flat_lead(signal, mask).tolist() == [False, True, False, True]


def test_recordings_that_fulfil_the_identities_have_no_residual() -> None:
    signal = twelve()
    assert rec.limb_residuals_uv(signal, all_real(signal)).max() < 1e-9
    assert rec.limb_inconsistency(signal, all_real(signal)).max() < 1e-12
    torch.testing.assert_close(rec.project_limb_leads(signal), signal, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("lead", "expected_uv"),
    [
        (0, [2.0, 1.0, 2.0, 1.0]),  # I too high by 2 uV: III, aVR, aVL, aVF are off by 2, 1, -2, 1
        (1, [2.0, 1.0, 1.0, 2.0]),  # II
        (2, [2.0, 0.0, 0.0, 0.0]),
        (3, [0.0, 2.0, 0.0, 0.0]),
        (4, [0.0, 0.0, 2.0, 0.0]),
        (5, [0.0, 0.0, 0.0, 2.0]),
        (6, [0.0, 0.0, 0.0, 0.0]),  # V1 has no part in it
    ],
)
def test_residuals_of_one_wrong_lead(lead: int, expected_uv: list[float]) -> None:
    """The lead of record 1 is 2 uV off; pooled: root of the mean of the four squares."""
    signal = twelve()
    signal[1, lead] += 2e-3
    residuals = rec.limb_residuals_uv(signal, all_real(signal)).numpy()
    np.testing.assert_allclose(residuals, [[0, 0, 0, 0], expected_uv], atol=1e-9)
    pooled_uv = np.sqrt(np.mean(np.square(expected_uv)))
    np.testing.assert_allclose(rec.limb_residual_uv(signal, all_real(signal)), [0, pooled_uv], atol=1e-9)
    rms_uv = 1e3 * np.sqrt((signal[1, :6].numpy() ** 2).mean())
    np.testing.assert_allclose(rec.limb_inconsistency(signal, all_real(signal)), [0, pooled_uv / rms_uv], atol=1e-12)


def test_residuals_do_not_see_the_padding() -> None:
    signal = twelve()
    signal[:, 2, 10] += 2e-3
    mask = torch.arange(40).expand(2, 40) < 20
    signal[:, :, 20:] = torch.nan
    expected = 2 / np.sqrt(20)  # one of 20 samples is 2 uV off
    np.testing.assert_allclose(rec.limb_residuals_uv(signal, mask)[:, 0], [expected] * 2, rtol=1e-9)


def test_the_zero_prediction_is_consistent() -> None:
    zero = torch.zeros(1, 12, 40)
    assert rec.limb_inconsistency(zero, all_real(zero)).tolist() == [0.0]


def test_the_projection_is_least_squares() -> None:
    """numpy's solution for every sample of twelve independent leads; V1 to V6 stay."""
    signal = torch.tensor(np.random.default_rng(1).normal(size=(2, 12, 40)))
    rows = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
    np.testing.assert_allclose(rows.T @ rows, [[3.5, -1.75], [-1.75, 3.5]])
    projected = rec.project_limb_leads(signal)
    for record, got in zip(signal.numpy(), projected.numpy(), strict=True):
        np.testing.assert_allclose(got[:6], rows @ np.linalg.lstsq(rows, record[:6])[0], atol=1e-12)
        np.testing.assert_array_equal(got[6:], record[6:])
    assert rec.limb_residuals_uv(projected, all_real(projected)).max() < 1e-9


def test_the_projection_of_one_wrong_lead_by_hand() -> None:
    """I alone is 1: A'b = (1, 0), and the inverse of ((3.5, -1.75), (-1.75, 3.5)) gives I = 8/21, II = 4/21."""
    signal = torch.zeros(1, 6, 1)
    signal[0, 0] = 1
    expected = np.array([8, 4, -4, -6, 6, 0]) / 21
    np.testing.assert_allclose(rec.project_limb_leads(signal)[0, :, 0], expected, atol=1e-15)


def test_fewer_than_six_leads_are_refused() -> None:
    signal = torch.zeros(1, 5, 9)
    for function in (rec.project_limb_leads, lambda s: rec.limb_residuals_uv(s, all_real(s))):
        with pytest.raises(ValueError, match="6 limb leads I, II, III, aVR, aVL, aVF first"):
            function(signal)


def test_the_matrix_of_leads_by_hand() -> None:
    """Three leads; lead 0 given twice, with 1 and 3 in the first column."""
    values = np.array([[1.0, 2, 6], [3, 4, 8], [5, 9, 7], [2, 4, 1]])
    matrix = lead_matrix(values, np.array([0, 0, 1, 2]))
    np.testing.assert_array_equal(matrix.cells, [[2, 3, 7], [5, 9, 7], [2, 4, 1]])
    np.testing.assert_array_equal(matrix.by_input, [5, 6, 3])  # (3 + 7) / 2, (5 + 7) / 2, (2 + 4) / 2
    np.testing.assert_array_equal(matrix.by_output, [3.5, 3.5, 7])  # (5 + 2) / 2, (3 + 4) / 2, (7 + 7) / 2
    assert matrix.hidden == pytest.approx(28 / 6)
    assert matrix.all == pytest.approx(40 / 9)


def test_the_diagonal_counts_in_one_mean_only() -> None:
    """A mean of 0.7885 over twelve by twelve cells, 0.99 on the diagonal, is 0.770 over the other 132."""
    cells = np.full((12, 12), (0.7885 * 144 - 0.99 * 12) / 132)
    np.fill_diagonal(cells, 0.99)
    matrix = summarised(cells)
    assert matrix.all == pytest.approx(0.7885)
    assert matrix.hidden == pytest.approx(0.770, abs=5e-4)


def test_an_input_without_samples_and_a_nan_are_not_hidden() -> None:
    """Lead 2 is never given, and one score of (0, 1) is NaN."""
    matrix = lead_matrix(np.array([[1.0, np.nan, 3], [1, 2, 3], [1, 2, 3]]), np.array([0, 0, 1]))
    np.testing.assert_array_equal(matrix.cells, [[1, np.nan, 3], [1, 2, 3], [np.nan] * 3])
    assert np.isnan([matrix.hidden, matrix.all]).all()
    np.testing.assert_array_equal(np.isnan(matrix.by_input), [True, False, True])


@pytest.mark.parametrize("given", [[0, 3], [-1, 0], [0], [0.0, 1.0]])
def test_wrong_input_leads_are_refused(given: list[float]) -> None:
    with pytest.raises(ValueError, match="one lead's number"):
        lead_matrix(np.zeros((2, 3)), np.array(given))
