"""Mamba U-Net: its size, the physics it keeps to the sample, its linear path, and its loss."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor

from ecgbench.models.layers.presence import given_leads
from ecgbench.models.mamba_unet import MambaUnet, soft_pcc

SMALL: dict[str, Any] = {"width": 6, "widths": (8, 10, 12), "taps": 5, "scan_backend": "torch"}
INDEPENDENT = [0, 1, 6, 7, 8, 9, 10, 11]


def small(seed: int = 0, **options: Any) -> MambaUnet:
    torch.manual_seed(seed)
    return MambaUnet(**({"n_leads": 12} | SMALL | options)).eval().double()


def twelve_leads(batch: int = 2, time: int = 32, seed: int = 1) -> Tensor:
    """Noise in I, II, V1..V6, and what Einthoven and Goldberger make of it."""
    i, ii, *chest = torch.randn(8, batch, time, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *chest], dim=1)


def only(y: Tensor, *leads: int) -> Tensor:
    x = torch.zeros_like(y)
    x[:, list(leads)] = y[:, list(leads)]
    return x


def test_size_is_added_up_layer_by_layer() -> None:
    """925,880 with the options of the config."""

    def film(c: int) -> int:
        return 64 * 2 * c + 2 * c

    def conv_block(c: int) -> int:
        return c + 2 * (5 * c * c + c) + film(c)

    def mamba_block(d: int) -> int:
        inner, rank = 2 * d, math.ceil(d / 16)
        path = (4 + 1) * inner + inner * (rank + 32) + rank * inner + inner + 16 * inner + inner
        return d + d * 2 * inner + 2 * path + inner * d

    linear = 12 * 8 * 65
    context = 12 * 64 + 64
    stem = 20 * 24 * 9 + 24 + film(24)
    down = (24 * 48 * 8 + 48) + (48 * 96 * 4 + 96) + (96 * 128 * 4 + 128)
    up = (24 * 48 * 8 + 24) + (48 * 96 * 4 + 48) + (96 * 128 * 4 + 96)
    convs = sum(map(conv_block, (48, 96, 128, 24, 48, 96)))
    mambas = mamba_block(96) + mamba_block(128) + mamba_block(96)
    head = 24 + 24 * 8 * 9 + 8
    size = linear + context + stem + down + up + convs + mambas + head
    assert size == 925_880
    with torch.device("meta"):
        assert sum(p.numel() for p in MambaUnet(12).parameters()) == size


@pytest.mark.parametrize("leads", [(lead,) for lead in range(12)] + [(2, 5), (0, 3, 7), (1, 2, 3), (6, 9)])
def test_limb_leads_obey_einthoven_and_goldberger(leads: tuple[int, ...]) -> None:
    """Whatever leads are given, and though the given ones are returned to the bit."""
    y = twelve_leads()
    with torch.no_grad():
        out = small()(only(y, *leads))
    assert torch.equal(out[:, list(leads)], y[:, list(leads)])
    i, ii = out[:, 0], out[:, 1]
    expected = torch.stack([ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2], dim=1)
    torch.testing.assert_close(out[:, 2:6], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("leads", [(0, 1), (0, 2), (1, 2), (3, 4), (2, 5), (0, 3), (4, 5), (0, 1, 2), (0, 2, 3, 5)])
def test_two_limb_leads_are_all_six(leads: tuple[int, ...]) -> None:
    """Two or more of the six determine the others; nothing is left to the network."""
    y = twelve_leads()
    with torch.no_grad():
        out = small()(only(y, *leads))
    torch.testing.assert_close(out[:, :6], y[:, :6], rtol=0, atol=1e-6)


def test_one_limb_lead_moves_the_others_no_further_than_needed() -> None:
    """Given III, the error of III = II - I is halved between I and II; given I, II stays as predicted."""
    y = twelve_leads()
    for lead, row in ((0, (1.0, 0.0)), (2, (-1.0, 1.0)), (3, (-0.5, -0.5))):
        x, model = only(y, lead), small()
        with torch.no_grad():
            agreed = model(x)[:, :2]
            model.keep_given = False
            free = model(x)[:, :2]
        r = torch.tensor(row, dtype=torch.float64)
        error = y[:, lead] - torch.einsum("l,blt->bt", r, free)
        expected = free + error[:, None] * r[None, :, None] / r.square().sum()
        torch.testing.assert_close(agreed, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"keep_given": False}, {"physics": False}])
@pytest.mark.parametrize("gain", [1e-3, 7.0])
def test_a_gain_of_the_input_is_a_gain_of_the_output(options: dict[str, Any], gain: float) -> None:
    """f(c x) = c f(x): millivolts or volts, the same picture."""
    model, x = small(**options), only(twelve_leads(), 2, 7)
    with torch.no_grad():
        torch.testing.assert_close(model(gain * x) / gain, model(x), rtol=1e-9, atol=1e-9)


def test_without_its_network_it_is_a_linear_filter() -> None:
    """Each predicted lead is the mean over the given leads of their correlations with that pair's taps."""
    model, x = small(keep_given=False), only(twelve_leads(batch=1, time=16), 2, 7)
    torch.nn.init.zeros_(model.head.weight)
    with torch.no_grad():
        model.linear.weight.normal_(generator=torch.Generator().manual_seed(3))
        out = model(x)[0, INDEPENDENT].numpy()
    taps = model.linear.weight.detach().numpy()
    for row in range(8):
        filtered = [np.correlate(np.pad(x[0, lead], 2), taps[row, lead], "valid") for lead in (2, 7)]
        np.testing.assert_allclose(out[row], np.mean(filtered, axis=0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_layer", [0, 1])
def test_mamba_blocks_carry_the_whole_window_both_ways(n_layer: int) -> None:
    """The last sample moves the first of the correction and the reverse; convolutions alone do not reach so far."""
    u = only(twelve_leads(batch=1, time=1024), 0).requires_grad_()
    out = small(n_layer=n_layer)._predict(u, given_leads(u))[0, 6]
    for at, source in ((0, 1023), (1023, 0)):
        (gradient,) = torch.autograd.grad(out[at], u, retain_graph=True)
        assert bool(gradient[0, 0, source] != 0) == (n_layer == 1)


def test_without_physics_every_lead_is_predicted_on_its_own() -> None:
    """Any number of leads works, given ones are kept, and no identity holds."""
    y = torch.randn(2, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = small(n_leads=3, physics=False)(only(y, 1))
    assert torch.equal(out[:, 1], y[:, 1])
    assert not torch.allclose(out[:, 2], out[:, 1] - out[:, 0])


@pytest.mark.parametrize("level_mv", [0.0, 0.4])
def test_flat_input_gives_finite_leads(level_mv: float) -> None:
    """No lead at all, or one that stands still at a level."""
    x = torch.zeros(1, 12, 16, dtype=torch.float64)
    x[:, 4] = level_mv
    with torch.no_grad():
        out = small()(x)
    assert out.isfinite().all()
    assert out.abs().max() <= 10 * level_mv + 1e-5


@pytest.mark.parametrize("time", [16, 240, 1024])
def test_multiples_of_sixteen_samples_work(time: int) -> None:
    """Twelve leads of the input's length."""
    with torch.no_grad():
        assert small()(only(twelve_leads(1, time), 8)).shape == (1, 12, time)


def test_soft_correlation_is_pearsons_on_the_real_samples() -> None:
    """Where the variances are far above the floor; a constant prediction has none."""
    rng = np.random.default_rng(0)
    p, y = rng.normal(size=(2, 2, 3, 40))
    mask = np.zeros((2, 1, 40))
    mask[..., 5:30] = 1
    got = soft_pcc(*map(torch.from_numpy, (p, y, mask)), floor_mv2=0.0)
    expected = [[pearsonr(p[b, lead, 5:30], y[b, lead, 5:30])[0] for lead in range(3)] for b in range(2)]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    flat = soft_pcc(torch.ones(1, 1, 9), torch.randn(1, 1, 9), torch.ones(1, 1, 9))
    assert flat.item() == 0


def test_training_loss_is_squared_error_less_hidden_correlation() -> None:
    """Over the real samples; what lies in the padding changes nothing."""
    y, mask = twelve_leads(), torch.ones(2, 32, dtype=torch.bool)
    mask[1, 20:] = False
    y[1, :, 20:] = 0
    x = only(y, 1)
    model = small(pcc_weight=0.5)
    with torch.no_grad():
        loss, out = model.training_loss(x, y, mask).item(), model(x)
        y[1, :, 20:] = 99.0
        assert model.training_loss(x, y, mask).item() == pytest.approx(loss, rel=1e-12)
    pairs = [(out[0].numpy(), y[0].numpy()), (out[1, :, :20].numpy(), y[1, :, :20].numpy())]
    error = sum(((p - t) ** 2).sum() for p, t in pairs) / (12 * 52)
    hidden = [lead for lead in range(12) if lead != 1]
    pcc = np.mean([pearsonr(p[lead], t[lead])[0] for p, t in pairs for lead in hidden])
    assert loss == pytest.approx(error - 0.5 * pcc, rel=1e-3)


def test_it_learns_what_no_fixed_filter_can() -> None:
    """A chest lead that is the rectified input, of twice its frequency: the loss falls far below the best constant."""
    torch.manual_seed(0)
    model = MambaUnet(12, **(SMALL | {"width": 12, "dropout": 0.0, "pcc_weight": 0.0})).train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(2)
    errors = []
    for _ in range(60):
        y = torch.zeros(8, 12, 64)
        phase = 2 * math.pi * torch.rand(8, 1, generator=generator)
        y[:, 8] = torch.sin(2 * math.pi / 32 * torch.arange(64) + phase)
        y[:, 6] = y[:, 8].abs()
        loss = model.training_loss(only(y, 8), y, torch.ones(8, 64, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item() * 12)
    best_without_time = 0.5 - (2 / math.pi) ** 2
    assert np.mean(errors[-5:]) < best_without_time / 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_leads": 8}, "set dataset.leads to all 12, or model.physics=false"),
        ({"widths": (8, 8)}, "give 3, one by rate"),
        ({"n_layer": -1}, "give 0 or more"),
        ({"kernel": 4}, "model.kernel=4 has no centre"),
        ({"taps": 0}, "model.taps=0 has no centre"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    """With what to set instead."""
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(("shape", "message"), [((1, 12, 1000), "multiple of 16"), ((1, 8, 16), "has 8 leads")])
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    """By length and by number of leads."""
    with pytest.raises(ValueError, match=message):
        small()(torch.ones(shape, dtype=torch.float64))
