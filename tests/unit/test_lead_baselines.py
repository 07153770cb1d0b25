"""Zero, copy, regression and filters from lead to lead, against explicit least squares and scikit-learn."""

import copy
import io
import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from ecgbench.models.layers.lead_moments import LeadMoments
from ecgbench.models.layers.presence import given_leads, lead_sets
from ecgbench.models.lead_copy import LeadCopy
from ecgbench.models.lead_fir import LeadFir
from ecgbench.models.lead_regression import LeadRegression
from ecgbench.models.zero import Zero

N_LEADS = 4
SUBSETS = [leads for n in range(1, N_LEADS + 1) for leads in itertools.combinations(range(N_LEADS), n)]
LEARNERS = [LeadCopy, LeadRegression, LeadFir]


def ecg(batch: int = 5, time: int = 40, seed: int = 0) -> Tensor:
    """Correlated leads with memory and offsets, float64: no lead follows from the others."""
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(batch, N_LEADS, time + 6))
    smooth = sum(w * source[..., k : k + time] for k, w in enumerate([0.2, 1.0, 0.5, -0.4, 0.1, 0.3, 0.05]))
    mixing = np.array([[1.0, 0, 0, 0], [0.8, 0.5, 0, 0], [-0.6, 0.3, 0.9, 0], [0.2, -0.9, 0.4, 0.6]])
    return torch.from_numpy(np.einsum("ij,bjt->bit", mixing, smooth) + np.array([0.3, -0.1, 0.0, 1.2])[:, None])


def lengths_mask(lengths: list[int], time: int) -> Tensor:
    return torch.arange(time) < torch.tensor(lengths)[:, None]


def only(y: Tensor, leads: tuple[int, ...]) -> Tensor:
    """The model's input: all but `leads` exactly zero."""
    x = torch.zeros_like(y)
    x[:, list(leads)] = y[:, list(leads)]
    return x


def fitted(model: nn.Module, y: Tensor, mask: Tensor | None = None) -> nn.Module:
    model.accumulate(y, torch.ones(len(y), y.shape[-1], dtype=torch.bool) if mask is None else mask)  # pyright: ignore[reportCallIssue]
    model.solve()  # pyright: ignore[reportCallIssue]
    return model


def design(y: np.ndarray, leads: tuple[int, ...], n_taps: int, lengths: list[int]) -> np.ndarray:
    """(row, given lead x tap) by loops: one row per real sample, zeros beyond a window's real samples."""
    rows = []
    for window, length in zip(y, lengths, strict=True):
        for t in range(length):
            at = [t + k - n_taps // 2 for k in range(n_taps)]
            rows.append([window[i, s] if 0 <= s < length else 0.0 for i in leads for s in at])
    return np.array(rows)


def real_samples(y: np.ndarray, lengths: list[int]) -> np.ndarray:
    """(row, lead)."""
    return np.concatenate([window[:, :length].T for window, length in zip(y, lengths, strict=True)])


def test_presence_is_read_from_the_signal() -> None:
    """A single sample other than zero is enough; NaN is not absence."""
    x = torch.zeros(2, 3, 5)
    x[0, 1, 4], x[1, 0, 0], x[1, 2] = -1e-6, 2.0, torch.nan
    assert given_leads(x).tolist() == [[False, True, False], [True, False, True]]


def test_every_row_belongs_to_one_set_of_leads() -> None:
    """Equal rows together, and the row without a lead too."""
    given = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]]).bool()
    assert {leads: rows.tolist() for leads, rows in lead_sets(given)} == {(0, 2): [0, 2], (): [1], (1,): [3]}


def test_moments_are_those_of_the_real_samples() -> None:
    """Over two batches, against numpy on all real samples at once."""
    y, lengths = ecg(batch=6), [40, 3, 17, 40, 1, 0]
    moments = LeadMoments(N_LEADS)
    moments.accumulate(y[:2], lengths_mask(lengths[:2], 40))
    moments.accumulate(y[2:].float(), lengths_mask(lengths[2:], 40))
    samples = real_samples(y.numpy(), lengths)
    np.testing.assert_allclose(moments.mean(), samples.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(moments.covariance(), np.cov(samples.T, bias=True), rtol=1e-5, atol=1e-7)


def test_zero_is_zero() -> None:
    """In shape and type of the input, without parameters."""
    y = Zero()(ecg())
    assert y.shape == (5, N_LEADS, 40)
    assert y.dtype == torch.float64
    assert not y.any()
    assert not list(Zero().parameters())


def test_copy_has_the_sign_of_the_training_correlation() -> None:
    """Against numpy's correlation matrix, for every single lead."""
    y = ecg()
    model = fitted(LeadCopy(N_LEADS), y)
    sign = np.sign(np.corrcoef(real_samples(y.numpy(), [40] * 5).T))
    assert -1 in sign
    new = ecg(seed=5)
    for lead in range(N_LEADS):
        expected = torch.from_numpy(sign[lead])[None, :, None] * new[:, [lead]]
        torch.testing.assert_close(model(only(new, (lead,))), expected)


def test_copy_takes_the_strongest_of_several_leads() -> None:
    """Up or down: lead 2 is the inverse of lead 0 with some of lead 3, which itself is given too."""
    y = ecg(batch=20, time=200)
    y[:, 2] = -y[:, 0] + 0.1 * y[:, 3]
    y[:, 1] = y[:, 3] + 0.1 * y[:, 0]
    new = only(ecg(seed=6), (0, 3))
    out = fitted(LeadCopy(N_LEADS), y)(new)
    torch.testing.assert_close(out, torch.stack([new[:, 0], new[:, 3], -new[:, 0], new[:, 3]], dim=1))


def test_copy_predicts_zero_for_a_lead_flat_in_training() -> None:
    """And still returns that lead itself where it is given."""
    y = ecg()
    y[:, 3] = 0
    model, new = fitted(LeadCopy(N_LEADS), y), ecg(seed=5)
    assert not model(only(new, (0,)))[:, 3].any()
    flat_given = model(only(new, (3,)))
    torch.testing.assert_close(flat_given[:, 3], new[:, 3])
    assert not flat_given[:, :3].any()


@pytest.mark.parametrize("leads", SUBSETS)
def test_regression_is_least_squares(leads: tuple[int, ...]) -> None:
    """numpy.linalg.lstsq with a column of ones, on the real samples of two batches, for every set of leads."""
    y, lengths = ecg(), [40, 25, 40, 1, 33]
    model = LeadRegression(N_LEADS, ridge=1e-13)
    model.accumulate(y[:2], lengths_mask(lengths[:2], 40))
    model.accumulate(y[2:], lengths_mask(lengths[2:], 40))
    model.solve()
    samples = real_samples(y.numpy(), lengths)
    columns = np.column_stack([samples[:, leads], np.ones(len(samples))])
    weights = np.linalg.lstsq(columns, samples, rcond=None)[0]
    new = ecg(seed=5)
    expected = np.einsum("ij,bit->bjt", weights[:-1], new[:, leads].numpy()) + weights[-1][:, None]
    torch.testing.assert_close(model(only(new, leads)), torch.from_numpy(expected), rtol=1e-7, atol=1e-8)


def test_ridge_of_the_regression_is_a_part_of_the_mean_variance() -> None:
    """As scikit-learn's, whose alpha is not divided by the number of samples."""
    y = ecg()
    samples = real_samples(y.numpy(), [40] * 5)
    alpha = 0.3 * len(samples) * samples[:, [0, 2]].var(axis=0).mean()
    reference = Ridge(alpha=alpha).fit(samples[:, [0, 2]], samples)
    gains, offsets = fitted(LeadRegression(N_LEADS, ridge=0.3), y).coefficients((0, 2))  # pyright: ignore[reportCallIssue]
    np.testing.assert_allclose(gains, reference.coef_, rtol=1e-9)
    np.testing.assert_allclose(offsets, reference.intercept_, rtol=1e-9)


@pytest.mark.parametrize("learner", [LeadRegression, LeadFir])
def test_third_limb_lead_follows_from_the_other_two(learner: type[nn.Module]) -> None:
    """III = II - I, in another patient's record, and any two of them rebuild the other limb leads."""

    def limb(y: Tensor) -> Tensor:
        first, second = y[:, 0], y[:, 1]
        leads = [first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2]
        return torch.stack(leads, dim=1)

    model = fitted(learner(6, ridge=1e-9), limb(ecg(batch=40, time=200)))
    new = limb(ecg(seed=5, time=200))
    for leads in [(0, 1), (0, 2), (3, 5), (0, 1, 2), (0, 1, 2, 3, 4, 5)]:
        torch.testing.assert_close(model(only(new, leads)), new, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[40, 40, 40, 40, 40], [40, 25, 2, 33, 0]])
@pytest.mark.parametrize("leads", [(0,), (3,), (0, 2), (1, 2, 3)])
def test_filters_are_ridge_regression(leads: tuple[int, ...], lengths: list[int]) -> None:
    """scikit-learn on the explicit design matrix, windows padded or shorter than a filter included."""
    y, n_taps = ecg(), 9
    model = LeadFir(N_LEADS, n_taps=n_taps, ridge=0.01)
    model.accumulate(y[:2], lengths_mask(lengths[:2], 40))
    model.accumulate(y[2:], lengths_mask(lengths[2:], 40))
    model.solve()
    columns = design(y.numpy(), leads, n_taps, lengths)
    alpha = 0.01 * columns.var(axis=0).mean() * len(columns)
    reference = Ridge(alpha=alpha).fit(columns, real_samples(y.numpy(), lengths))
    weights, offsets = model.filters(leads)
    np.testing.assert_allclose(weights.flatten(1), reference.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(offsets, reference.intercept_, rtol=1e-8, atol=1e-10)
    new = ecg(seed=5)
    expected = reference.predict(design(new.numpy(), leads, n_taps, [40] * 5)).reshape(5, 40, N_LEADS)
    torch.testing.assert_close(model(only(new, leads)), torch.from_numpy(expected).transpose(1, 2))


def test_filters_without_ridge_are_least_squares() -> None:
    """numpy.linalg.lstsq on the explicit design matrix, for the published 65 taps and windows longer and shorter."""
    y, lengths = ecg(batch=8, time=90), [90, 90, 64, 70, 31, 90, 90, 90]
    model = fitted(LeadFir(N_LEADS, n_taps=65, ridge=1e-12), y, lengths_mask(lengths, 90))
    columns = design(y.numpy(), (1,), 65, lengths)
    columns = np.column_stack([columns, np.ones(len(columns))])
    weights = np.linalg.lstsq(columns, real_samples(y.numpy(), lengths), rcond=None)[0]
    found, offsets = model.filters((1,))  # pyright: ignore[reportCallIssue]
    np.testing.assert_allclose(found[:, 0], weights[:-1].T, atol=1e-7)
    np.testing.assert_allclose(offsets, weights[-1], atol=1e-7)


def test_filter_of_one_tap_is_the_regression() -> None:
    """Two roads to the same coefficients."""
    y, new = ecg(), only(ecg(seed=5), (0, 2))
    fir, regression = fitted(LeadFir(N_LEADS, n_taps=1, ridge=1e-3), y), fitted(LeadRegression(N_LEADS, ridge=1e-3), y)
    torch.testing.assert_close(fir(new), regression(new))


def test_filters_find_a_delay() -> None:
    """A lead that follows another 7 samples later; the later tap weighs the later sample."""
    y = torch.from_numpy(np.random.default_rng(2).normal(size=(10, 2, 300)))
    y[:, 1, 7:] = y[:, 0, :-7]
    y[:, 1, :7] = 0
    weights, _ = fitted(LeadFir(2, n_taps=17, ridge=1e-9), y).filters((0,))  # pyright: ignore[reportCallIssue]
    expected = torch.zeros(17).double()
    expected[8 - 7] = 1
    torch.testing.assert_close(weights[1, 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("learner", [LeadRegression, LeadFir])
def test_without_a_lead_the_training_mean_is_predicted(learner: type[nn.Module]) -> None:
    """A flat input lead carries nothing; the rest of the batch is untouched by it."""
    y, new = ecg(), only(ecg(seed=5), (1,))
    model = fitted(learner(N_LEADS), y)
    expected = model(new)
    new[2] = 0
    expected[2] = y.mean(dim=(0, 2))[:, None]
    torch.testing.assert_close(model(new), expected)


@pytest.mark.parametrize("learner", [LeadRegression, LeadFir])
def test_lead_flat_in_training_says_nothing(learner: type[nn.Module]) -> None:
    """Given alone, it predicts the training means."""
    y = ecg()
    y[:, 3] = 0
    out = fitted(learner(N_LEADS), y)(only(ecg(seed=5), (3,)))
    torch.testing.assert_close(out, y.mean(dim=(0, 2))[:, None].expand_as(out))


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_is_masked_teaches_nothing(learner: type[nn.Module]) -> None:
    """Not even NaN."""
    y, lengths = ecg(), [40, 25, 2, 33, 0]
    mask, x = lengths_mask(lengths, 40), only(ecg(seed=5), (1,))
    spoilt = y.masked_fill(~mask[:, None], torch.nan)
    torch.testing.assert_close(fitted(learner(N_LEADS), spoilt, mask)(x), fitted(learner(N_LEADS), y, mask)(x))


@pytest.mark.parametrize("learner", LEARNERS)
def test_sets_of_leads_may_differ_within_a_batch(learner: type[nn.Module]) -> None:
    """Each record as if alone, in float32 as in float64; the input stays as it was."""
    model, y = fitted(learner(N_LEADS), ecg()), ecg(seed=5)
    x = torch.cat([only(y[i : i + 1], leads) for i, leads in enumerate([(0,), (1, 3), (0,), (0, 1, 2, 3), (2,)])])
    before, out = x.clone(), model(x)
    assert torch.equal(x, before)
    for i in range(5):
        torch.testing.assert_close(model(x[i : i + 1]), out[i : i + 1])
    assert model(x.float()).dtype == torch.float32
    torch.testing.assert_close(model(x.float()), out.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("learner", LEARNERS)
def test_sums_of_two_processes_add_up(learner: type[nn.Module]) -> None:
    """Each saw half of the batches; the prediction is that of one which saw all."""
    y, x = ecg(), only(ecg(seed=5), (1,))
    mask = torch.ones(5, 40, dtype=torch.bool)
    first, second = learner(N_LEADS), learner(N_LEADS)
    first.accumulate(y[:3], mask[:3])  # pyright: ignore[reportCallIssue]
    second.accumulate(y[3:], mask[3:])  # pyright: ignore[reportCallIssue]
    for mine, theirs in zip(first.sums(), second.sums(), strict=True):  # pyright: ignore[reportCallIssue]
        mine += theirs
    first.solve()  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(first(x), fitted(learner(N_LEADS), y)(x))


@pytest.mark.parametrize("learner", LEARNERS)
def test_checkpoint_and_copy_carry_what_was_learned(learner: type[nn.Module]) -> None:
    """Also into a model that has already predicted something else; there is no parameter."""
    x = only(ecg(seed=5), (1,))
    model, other = fitted(learner(N_LEADS), ecg()), fitted(learner(N_LEADS), -ecg(seed=9).flip(1))
    expected = model(x)
    assert not torch.allclose(other(x), expected)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer))
    assert torch.equal(other(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert not list(model.parameters())


@pytest.mark.parametrize("learner", LEARNERS)
def test_new_data_change_the_solution(learner: type[nn.Module]) -> None:
    """Nothing kept from the first solution survives the second."""
    x, y = only(ecg(seed=5), (1,)), ecg()
    model = fitted(learner(N_LEADS), y)
    model(x)
    model = fitted(model, -ecg(batch=30, seed=9).flip(1))
    again = fitted(learner(N_LEADS), torch.cat([y, -ecg(batch=30, seed=9).flip(1)]))
    torch.testing.assert_close(model(x), again(x))


@pytest.mark.parametrize("learner", LEARNERS)
def test_untaught_models_say_so(learner: type[nn.Module]) -> None:
    """Before solve, and on solve without data."""
    model = learner(N_LEADS)
    with pytest.raises(RuntimeError, match="accumulate the training targets, then solve"):
        model(ecg())
    with pytest.raises(ValueError, match="no training sample"):
        model.solve()  # pyright: ignore[reportCallIssue]


def test_filters_refuse_padding_before_real_samples() -> None:
    """The ends of a window must be where its real samples end."""
    mask = torch.ones(5, 40, dtype=torch.bool)
    mask[0, 3] = False
    with pytest.raises(ValueError, match="padding before real samples"):
        LeadFir(N_LEADS).accumulate(ecg(), mask)


def test_senseless_options_are_refused() -> None:
    """No ridge, no centre tap."""
    for ridge in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"model\.ridge"):
            LeadRegression(N_LEADS, ridge=ridge)
        with pytest.raises(ValueError, match=r"model\.ridge"):
            LeadFir(N_LEADS, ridge=ridge)
    for n_taps in (0, 64):
        with pytest.raises(ValueError, match=f"model.n_taps={n_taps}"):
            LeadFir(N_LEADS, n_taps=n_taps)
