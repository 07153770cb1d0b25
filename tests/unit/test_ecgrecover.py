"""ECGrecover: its size, the scale it may know, its two views, and its loss."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor

from ecgbench.models.ecgrecover import Ecgrecover


def small(seed: int = 0, **options: Any) -> Ecgrecover:
    torch.manual_seed(seed)
    return Ecgrecover(**({"widths": (3, 4, 5), "rows": 5} | options)).eval().double()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def only(y: Tensor, *leads: int) -> Tensor:
    x = torch.zeros_like(y)
    x[:, list(leads)] = y[:, list(leads)]
    return x


def test_size_is_added_up_layer_by_layer() -> None:
    """1,858,017: both encoders 16-32-64-128, a decoder over both and the skips of both."""
    pairs = 1 * 16 + 16 * 32 + 32 * 64 + 64 * 128
    encoders = (4 + 13 * 4) * pairs + 2 * 2 * (16 + 32 + 64 + 128)
    decoder = 13 * 4 * (256 * 64 + (64 + 128) * 32 + (32 + 64) * 16 + (16 + 32) * 1) + 2 * (64 + 32 + 16) + 1
    assert encoders + decoder == 1_858_017
    with torch.device("meta"):
        assert sum(p.numel() for p in Ecgrecover().parameters()) == 1_858_017


@pytest.mark.parametrize("gain", [1e-3, 50.0])
def test_a_gain_of_the_input_is_a_gain_of_the_output(gain: float) -> None:
    """The scale is that of the given leads alone."""
    model, x = small(), only(noise(2, 12, 32), 1, 7)
    with torch.no_grad():
        torch.testing.assert_close(model(gain * x) / gain, model(x), rtol=1e-9, atol=1e-12)


def test_predictions_stay_within_the_headroom() -> None:
    """A tanh that ends at `headroom` times the given leads' largest value, and is the identity far below it."""
    model, x = small(headroom=2.0), only(noise(1, 12, 32), 3)
    seen: list[Tensor] = []
    model.decoder.register_forward_hook(lambda _module, _inputs, output: seen.append(output[:, 0]))
    peak = x.abs().max()
    with torch.no_grad():
        model.decoder.conv_out.weight.mul_(1e4)
        assert model(x).abs().max() == pytest.approx(2 * peak.item())
        model.decoder.conv_out.weight.mul_(1e-7)
        model.decoder.conv_out.bias.zero_()
        torch.testing.assert_close(model(x), seen[-1] * peak, rtol=1e-4, atol=1e-6)


def test_one_encoder_reads_each_lead_alone_with_shared_weights() -> None:
    """Another lead's change moves no feature of it, and exchanged leads exchange features; not so in the other."""
    model, image = small(), noise(1, 1, 12, 32)
    swapped = image.clone()
    swapped[:, :, [2, 3]] = image[:, :, [3, 2]]
    changed = image.clone()
    changed[:, :, 5] += 1
    with torch.no_grad():
        for before, after, other in zip(model.alone(image), model.alone(swapped), model.alone(changed), strict=True):
            torch.testing.assert_close(after[:, :, [2, 3]], before[:, :, [3, 2]])
            assert torch.equal(other[:, :, 4], before[:, :, 4])
        assert not torch.allclose(model.together(changed)[0][:, :, 4], model.together(image)[0][:, :, 4])


def test_every_level_halves_time_and_keeps_the_leads() -> None:
    """With the published widths on 1024 samples."""
    with torch.device("meta"):
        model = Ecgrecover().eval()
        shapes = [tuple(f.shape[1:]) for f in model.together(torch.empty(1, 1, 12, 1024))]
        out = model(torch.empty(2, 12, 1024))
    assert shapes == [(16, 12, 512), (32, 12, 256), (64, 12, 128), (128, 12, 64)]
    assert out.shape == (2, 12, 1024)


def test_loss_is_error_in_half_ranges_less_a_tenth_of_correlation() -> None:
    """Each true lead scaled to a range of 2, as published; padding changes nothing."""
    y, mask = noise(2, 12, 32), torch.ones(2, 32, dtype=torch.bool)
    y *= torch.linspace(0.5, 4, 12)[:, None]
    mask[1, 24:] = False
    y[1, :, 24:] = 0
    x, model = only(y, 0, 6), small()
    with torch.no_grad():
        loss, out = model.training_loss(x, y, mask).item(), model(x)
        y[1, :, 24:] = -70.0
        assert model.training_loss(x, y, mask).item() == pytest.approx(loss, rel=1e-12)
    whole = zip(out[0].numpy(), y[0].numpy(), strict=True)
    part = zip(out[1, :, :24].numpy(), y[1, :, :24].numpy(), strict=True)
    terms = []
    for p, t in [*whole, *part]:
        error = np.mean(((p - t) / ((t.max() - t.min()) / 2)) ** 2)
        terms.append(error - 0.1 * pearsonr(p, t)[0])
    assert loss == pytest.approx(np.mean(terms), rel=1e-6)


def test_flat_and_masked_records_keep_the_loss_finite() -> None:
    """A flat lead is scaled by 0.05 mV at the least, and has no correlation; so has a record that is all padding."""
    y, mask = noise(2, 12, 32), torch.ones(2, 32, dtype=torch.bool)
    y[0, 4], mask[1] = 0.0, False
    model = small()
    loss = model.training_loss(only(y, 0), y, mask)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_nothing_given_gives_finite_numbers() -> None:
    """Zeros in, next to nothing out."""
    with torch.no_grad():
        out = small()(torch.zeros(1, 12, 32, dtype=torch.float64))
    assert out.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8,)}, "give two widths or more"),
        ({"rows": 4}, "model.rows=4 has no centre"),
        ({"headroom": 0.0}, "model.headroom=0 leaves no room"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    """With what to set instead."""
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_lengths_that_do_not_halve_are_refused() -> None:
    """With a length that fits: 1000 of 16 is 62.5, so 992."""
    with pytest.raises(ValueError, match=r"has 1000 samples, and ecgrecover needs a multiple of 16.*992"):
        Ecgrecover()(torch.ones(1, 12, 1000))
