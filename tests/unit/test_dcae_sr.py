"""DCAE-SR version 2: the published layers, exact lengths, and where activation and dropout act."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ecgbench.models.dcae_sr import DcaeSr


def published() -> DcaeSr:
    with torch.device("meta"):
        return DcaeSr(n_leads=12, upscale=10)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def layers(module: nn.Module) -> list[tuple[int, ...]]:
    """(in, out, kernel, stride, padding) of each convolution."""
    convs = [m for m in module.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    return [(m.in_channels, m.out_channels, *m.kernel_size, *m.stride, *m.padding) for m in convs]


def test_layers_are_the_published_ones() -> None:
    """Channels, kernels, strides and paddings of the three parts."""
    model = published()
    assert layers(model.encoder) == [(12, 12, 3, 1, 0), (12, 192, 3, 1, 0), (192, 384, 3, 1, 0), (384, 768, 3, 1, 0)]
    assert layers(model.lr_decoder) == [
        (768, 768, 3, 1, 0),
        (768, 384, 3, 1, 0),
        (384, 192, 3, 1, 0),
        (192, 12, 3, 1, 0),
    ]
    assert layers(model.sr_decoder) == [
        (768, 768, 30, 5, 1),
        (768, 384, 30, 2, 1),
        (384, 192, 10, 1, 1),
        (192, 12, 4, 1, 1),
    ]


def test_parts_have_the_published_sizes() -> None:
    """Parameters of encoder, reconstructing decoder and upsampling decoder."""
    model = published()
    assert [count(part) for part in (model.encoder, model.lr_decoder, model.sr_decoder)] == [
        1_114_620,
        2_883_660,
        27_289_932,
    ]


@pytest.mark.parametrize(
    ("time", "lengths"), [(250, [242, 1233, 2492, 2499, 2500]), (500, [492, 2483, 4992, 4999, 5000])]
)
def test_lengths_between_the_layers_are_the_published_ones(time: int, lengths: list[int]) -> None:
    """Five seconds as published, and ten seconds at once: no cropping is needed."""
    model, seen = published(), []
    for module in [model.encoder, *(m for m in model.sr_decoder if isinstance(m, nn.ConvTranspose1d))]:
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    with torch.device("meta"):
        model(torch.empty(1, 12, time))
    assert seen == lengths


@given(upscale=st.integers(2, 40), time=st.integers(9, 300))
@settings(deadline=None, max_examples=40)
def test_lengths_are_exact_for_every_factor_and_crop(upscale: int, time: int) -> None:
    """Both outputs, for any number of samples from 9 on."""
    with torch.device("meta"):
        hr, lr = DcaeSr(2, upscale)(torch.empty(1, 2, time))
    assert hr.shape == (1, 2, time * upscale)
    assert lr.shape == (1, 2, time)


def test_last_layers_are_linear() -> None:
    """Amplitudes above 1 mV can be reached: doubling the last weights doubles the outputs."""
    torch.manual_seed(0)
    model, x = DcaeSr(n_leads=1, upscale=2).eval(), torch.randn(1, 1, 12)
    with torch.no_grad():
        before = model(x)
        for last in (model.sr_decoder[-1], model.lr_decoder[-1]):
            last.weight.mul_(64)
            last.bias.mul_(64)
        after = model(x)
    torch.testing.assert_close(after.hr, 64 * before.hr)
    torch.testing.assert_close(after.lr, 64 * before.lr)
    assert after.hr.abs().max() > 1


def test_tanh_and_dropout_follow_every_other_layer() -> None:
    """Four of the encoder, three of each decoder, all at probability 0.1."""
    parts = [published().encoder, published().lr_decoder, published().sr_decoder]
    assert [sum(isinstance(m, nn.Tanh) for m in part) for part in parts] == [4, 3, 3]
    assert [[m.p for m in part if isinstance(m, nn.Dropout)] for part in parts] == [[0.1] * 4, [0.1] * 3, [0.1] * 3]


def test_dropout_acts_in_training_only() -> None:
    """Two passes differ in training mode and agree in evaluation mode."""
    torch.manual_seed(0)
    model, x = DcaeSr(n_leads=1, upscale=2), torch.randn(1, 1, 12)
    with torch.no_grad():
        assert not torch.equal(model(x).hr, model(x).hr)
        model.eval()
        assert torch.equal(model(x).hr, model(x).hr)
