"""SRECG: the published layers, and exact lengths for other factors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ecgbench.models.layers.strides import two_strides
from ecgbench.models.srecg import SRECG, ResidualBlock


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_layers_have_the_published_sizes() -> None:
    """Parameters of each row of the table, for 12 leads and upscale 10."""
    with torch.device("meta"):
        model = SRECG(n_leads=12, upscale=10)
    assert count(model.conv_in) == 11_584
    assert [count(block) for block in model.blocks] == [123_264] * 16
    assert count(model.conv_merge) == 61_632
    assert [count(stage) for stage in model.upsample] == [328_000, 655_488]
    assert count(model.conv_out) == 23_052


def test_upsampling_by_ten_is_the_published_pair() -> None:
    """Kernel 16 twice: stride 5, padding 6, output padding 1; then stride 2, padding 7."""
    convs = [stage[0] for stage in SRECG(n_leads=12, upscale=10).upsample]
    assert [conv.kernel_size + conv.stride + conv.padding + conv.output_padding for conv in convs] == [
        (16, 5, 6, 1),
        (16, 2, 7, 0),
    ]


def test_lengths_between_the_stages_are_the_published_ones() -> None:
    """500 -> 2500 -> 5000."""
    with torch.device("meta"):
        model = SRECG(n_leads=12, upscale=10)
        middle = model.upsample[0](torch.empty(1, 64, 500))
        assert middle.shape[-1] == 2500
        assert model.upsample[1](middle).shape[-1] == 5000


@given(upscale=st.integers(2, 60), time=st.integers(2, 300))
@settings(deadline=None, max_examples=60)
def test_length_is_exact_for_every_factor(upscale: int, time: int) -> None:
    """Primes, squares and factors above the kernel's width included."""
    with torch.device("meta"):
        assert SRECG(2, upscale, n_blocks=1, tail=[4, 4])(torch.empty(1, 2, time)).shape == (1, 2, time * upscale)


@pytest.mark.parametrize(
    ("upscale", "strides"), [(10, (5, 2)), (4, (2, 2)), (12, (4, 3)), (7, (7, 1)), (2, (2, 1)), (25, (5, 5))]
)
def test_factor_is_shared_as_evenly_as_it_divides(upscale: int, strides: tuple[int, int]) -> None:
    """The larger part first."""
    assert two_strides(upscale) == strides


def test_residual_block_adds_to_its_input_and_nothing_follows() -> None:
    """With the last normalisation at zero a block is the identity, negative values included."""
    block = ResidualBlock()
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 64, 30)
    assert torch.equal(block(x), x)


def test_trunk_is_added_to_the_first_features() -> None:
    """With the merging normalisation at zero, only the first convolution reaches the upsampling."""
    model = SRECG(n_leads=2, upscale=4, n_blocks=1, tail=[8, 8]).eval()
    nn.init.zeros_(model.conv_merge[1].weight)
    x = torch.randn(2, 2, 30)
    torch.testing.assert_close(model(x), model.conv_out(model.upsample(model.conv_in(x))))
