"""The plain U-Net: its size by hand, exact lengths, and what every trained system must do."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ecgbench.models.unet1d import Unet1d


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(seed: int = 0, **options: int) -> Unet1d:
    torch.manual_seed(seed)
    return Unet1d(n_leads=3, **{"width": 4, "depth": 2, "kernel": 5, **options})


def double_conv(n_in: int, n_out: int, kernel: int) -> int:
    """Two kernels without bias, two batch norms."""
    return kernel * n_out * (n_in + n_out) + 4 * n_out


def test_parameter_count_by_hand() -> None:
    """Level by level, for twelve leads."""
    w = [24, 48, 96, 192, 384]
    down = sum(double_conv(a, b, 9) for a, b in zip([12, *w[:-1]], w, strict=True))
    up = sum(2 * a * b + a + double_conv(2 * a, a, 9) for a, b in pairwise(w))
    with torch.device("meta"):
        model = Unet1d(n_leads=12)
        assert sum(p.numel() for p in model.parameters()) == down + up + 24 * 12 + 12 == 4_174_452


@pytest.mark.parametrize(("depth", "time"), [(1, 2), (2, 4), (2, 36), (3, 40), (4, 1024)])
def test_length_is_kept(depth: int, time: int) -> None:
    """Every multiple of 2^depth, also by way of odd lengths."""
    with torch.no_grad():
        assert small(depth=depth).eval()(noise(2, 3, time)).shape == (2, 3, time)


def test_other_lengths_are_refused() -> None:
    """In words, with the multiple that is needed."""
    with pytest.raises(ValueError, match=r"1001 samples.*multiple of 4"):
        small()(noise(1, 3, 1001))


@pytest.mark.parametrize(("option", "match"), [("width", "width=0"), ("depth", "depth=0"), ("kernel", "odd")])
def test_senseless_options_are_refused(option: str, match: str) -> None:
    """Zero is neither a size nor odd."""
    with pytest.raises(ValueError, match=match):
        small(**{option: 0})


def test_skips_are_concatenated_before_the_upsampled_path() -> None:
    """The network again, written out for two levels."""
    model = small().eval()
    x = noise(2, 3, 32)
    e1 = model.conv_in(x)
    e2 = model.down[0](e1)
    d2 = model.merge[1](torch.cat([e2, model.up[1](model.down[1](e2))], dim=1))
    d1 = model.merge[0](torch.cat([e1, model.up[0](d2)], dim=1))
    torch.testing.assert_close(model(x), model.conv_out(d1))


def test_no_time_step_is_favoured() -> None:
    """Shifted by 2^depth samples, the prediction shifts along, away from the ends."""
    model, x = small().eval(), noise(1, 3, 256)
    with torch.no_grad():
        y, later = model(x), model(x.roll(4, dims=-1))
    torch.testing.assert_close(later[..., 104:156], y[..., 100:152], rtol=1e-4, atol=1e-5)


def test_every_parameter_learns() -> None:
    """Finite gradients, none zero throughout."""
    model = small()
    (model(noise(4, 3, 64)) - noise(4, 3, 64, seed=8)).square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_float64_and_batch_change_nothing() -> None:
    """Beyond rounding; the input stays as it was."""
    model, x = small().eval(), noise(3, 3, 64)
    before = x.clone()
    with torch.no_grad():
        y = model(x)
        torch.testing.assert_close(model(x[1:2]), y[1:2], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.double()(x.double()).float(), y, rtol=1e-4, atol=1e-4)
    assert torch.equal(x, before)


def test_amplitude_can_be_expressed() -> None:
    """Nothing after the last convolution holds the deviation of a lead fixed."""
    model, x = small().eval(), noise(2, 3, 64)
    with torch.no_grad():
        quiet, loud = (model(scale * x).std(dim=-1) for scale in (0.1, 1.0))
    assert (loud / quiet).min() > 2


def test_exported_program_agrees() -> None:
    """Through torch.export."""
    model, x = small().eval(), noise(2, 3, 32)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
