"""2D-CNN: the published size and widths, and what its blocks and its last convolution see."""

import pytest
import torch
from torch import nn

from ecgbench.models.cnn2d import Cnn2d


def small(n_leads: int = 3) -> Cnn2d:
    torch.manual_seed(0)
    return Cnn2d(n_leads=n_leads, n_classes=4).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def conv(n_in: int, n_out: int, n_weights: int) -> int:
    """Parameters with bias."""
    return n_in * n_out * n_weights + n_out


@pytest.mark.parametrize(("n_classes", "size"), [(26, 595_034), (5, 593_669)])
def test_size_is_added_up_layer_by_layer(n_classes: int, size: int) -> None:
    """Every convolution with bias; a normalisation before each but the first block, one inside each, none between."""
    stem = conv(1, 32, 7) + 2 * 32
    first = conv(32, 64, 5) + 2 * 64 + conv(64, 64, 5) + conv(32, 64, 1)
    second = 2 * 64 + conv(64, 64, 5) + 2 * 64 + conv(64, 64, 5)
    third = 2 * 64 + conv(64, 128, 5) + 2 * 128 + conv(128, 128, 5) + conv(64, 128, 1)
    fourth = 2 * 128 + conv(128, 128, 5) + 2 * 128 + conv(128, 128, 5)
    across = conv(128, 128, 12) + 2 * 128
    dense = conv(128, 128, 1) + 2 * 128 + conv(128, 64, 1) + 2 * 64 + conv(64, n_classes, 1)
    assert stem + first + second + third + fourth + across + dense == size
    with torch.device("meta"):
        model = Cnn2d(n_leads=12, n_classes=n_classes)
    assert sum(p.numel() for p in model.parameters()) == size


@pytest.mark.parametrize(("time", "widths"), [(1000, [994, 493, 243, 118, 55]), (8192, [8186, 4089, 2041, 1017, 505])])
def test_widths_are_the_published_ones(time: int, widths: list[int]) -> None:
    """Ten seconds at 100 Hz; and the challenge's input, by (n - 9) // 2 + 1."""
    with torch.device("meta"):
        model = Cnn2d(n_leads=12, n_classes=26)
        seen: list[int] = []
        for module in (model.stem, *model.blocks):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
        assert model(torch.empty(2, 12, time)).shape == (2, 26)
    assert seen == widths


def test_shortest_input_has_127_samples() -> None:
    """Every longer one works too: odd and even."""
    model = small()
    for time in (127, 128, 135, 500):
        assert model(noise(1, 3, time)).shape == (1, 4)
    with pytest.raises(RuntimeError, match="Kernel size"):
        model(noise(1, 3, 126))


def test_kernels_run_along_time_until_one_spans_all_leads() -> None:
    model = small(n_leads=8)
    kernels = {m.kernel_size for m in (*model.stem.modules(), *model.blocks.modules()) if isinstance(m, nn.Conv2d)}
    assert kernels == {(1, 7), (1, 5), (1, 1)}
    assert [m.kernel_size for m in model.across_leads if isinstance(m, nn.Conv2d)] == [(8, 1)]


def test_leads_do_not_mix_before_the_last_convolution() -> None:
    """A change of one lead changes that row only."""
    model, x = small(), noise(1, 3, 200)
    other = x.clone()
    other[:, 1] += 1
    with torch.no_grad():
        change = (model.blocks(model.stem(x[:, None])) - model.blocks(model.stem(other[:, None]))).abs().amax((0, 1, 3))
    assert change[[0, 2]].tolist() == [0, 0]
    assert change[1] > 0


def test_a_shortcut_is_the_maximum_of_the_samples_its_convolutions_see() -> None:
    """With the convolutions silenced: output k is the maximum over samples 2k to 2k + 8."""
    block, x = small().blocks[1], noise(1, 64, 3, 25)
    with torch.no_grad():
        for layer in (m for m in block.modules() if isinstance(m, nn.Conv2d)):
            layer.weight.zero_()
            layer.bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]
        out = block(x)
    expected = torch.stack([x[..., 2 * k : 2 * k + 9].amax(-1) for k in range(9)], dim=-1)
    torch.testing.assert_close(out, expected)


def test_average_over_time_makes_a_repeated_beat_count_once() -> None:
    """A constant input gives the same logits at every length."""
    model = small()
    with torch.no_grad():
        torch.testing.assert_close(model(torch.ones(1, 3, 200)), model(torch.ones(1, 3, 1000)), rtol=1e-4, atol=1e-5)


def test_outputs_are_logits() -> None:
    """Not squashed: ten times the last layer gives ten times the output."""
    model, x = small(), noise(2, 3, 200)
    last = model.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        before = model(x)
        last.weight.mul_(10)
        last.bias.mul_(10)
        torch.testing.assert_close(model(x), 10 * before)


def test_dropout_is_the_published_one() -> None:
    """.1 in each block and after the first dense layer, .15 after the second."""
    assert [m.p for m in small().modules() if isinstance(m, nn.Dropout)] == [0.1] * 5 + [0.15]
