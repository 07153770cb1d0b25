"""Prna: the published layers, lengths and size, and what its wide input, positions and padding do."""

import math

import pytest
import torch
from torch import Tensor, nn

from ecgbench.models.prna import Prna, sinusoidal_positions


def published(n_classes: int = 27) -> Prna:
    with torch.device("meta"):
        return Prna(n_leads=12, n_classes=n_classes)


def small(**options: float) -> Prna:
    torch.manual_seed(0)
    return Prna(n_leads=2, n_classes=3, n_wide=4, n_layer=1, feedforward=16, **options).eval()  # pyright: ignore[reportArgumentType]


def test_size_is_the_published_one() -> None:
    """13,643,885 parameters, added up layer by layer."""
    convs = 256 * (10 * 256 * 4 + 14 * 128) + 12 * 128 * 14
    norms = 2 * (128 + 5 * 256)
    attention, feedforward = 4 * (256 * 256 + 256), 2 * 256 * 2048 + 2048 + 256
    encoder = 8 * (attention + feedforward + 2 * 2 * 256)
    heads = (256 * 64 + 64) + ((64 + 22) * 27 + 27)
    assert convs + norms + encoder + heads == 13_643_885
    assert sum(p.numel() for p in published().parameters()) == 13_643_885


@pytest.mark.parametrize(
    ("time", "lengths"), [(7500, [2497, 828, 410, 201, 192, 183]), (8192, [2728, 905, 448, 220, 211, 202])]
)
def test_lengths_between_the_convolutions_are_the_published_ones(time: int, lengths: list[int]) -> None:
    """15 s become 183 steps, and 8,192 samples 202."""
    model, seen = published(), []
    for conv in (m for m in model.stem if isinstance(m, nn.Conv1d)):
        conv.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    with torch.device("meta"):
        assert model(torch.empty(2, 12, time), torch.empty(2, 22)).shape == (2, 27)
    assert seen == lengths


def test_encoder_is_the_published_one() -> None:
    """Eight post-norm layers of 8 heads with ReLU, and dropout .1 but for .2 before the wide features join."""
    model = published()
    layers = [m for m in model.encoder if isinstance(m, nn.TransformerEncoderLayer)]
    assert len(layers) == 8
    assert all(not m.norm_first and m.self_attn.num_heads == 8 and m.linear1.out_features == 2048 for m in layers)
    probabilities = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    assert sorted(probabilities) == [0.1] * (1 + 8 * 3) + [0.2]


def test_layers_start_from_different_weights() -> None:
    torch.manual_seed(0)
    model = Prna(n_leads=2, n_classes=3, n_layer=2, feedforward=16)
    first, second = (layer.linear1.weight for layer in model.encoder)  # pyright: ignore[reportAttributeAccessIssue]
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("step", "column"), [(0, 0), (0, 1), (1, 0), (7, 3), (182, 254), (182, 255), (100, 128)])
def test_positions_are_sines_and_cosines(step: int, column: int) -> None:
    """sin or cos of step / 10000^(even column / width)."""
    angle = step / 10000 ** (2 * (column // 2) / 256)
    expected = math.cos(angle) if column % 2 else math.sin(angle)
    assert sinusoidal_positions(183, 256, torch.device("cpu"))[step, column].item() == pytest.approx(expected, abs=1e-9)


def test_encoder_gets_the_convolutions_output_and_its_positions() -> None:
    """Added, not scaled, to every record alike."""
    model, x, seen = small(), torch.randn(2, 2, 1200), []
    model.encoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(x, torch.zeros(2, 4))
        positions = seen[0] - model.stem(x).transpose(1, 2)
    angle = torch.arange(positions.shape[1])[:, None] / 10000 ** (torch.arange(0, 256, 2) / 256)
    torch.testing.assert_close(positions[1, :, 0::2], angle.sin(), atol=1e-5, rtol=0)
    torch.testing.assert_close(positions[0, :, 1::2], angle.cos(), atol=1e-5, rtol=0)


def test_logits_are_read_off_the_mean_over_time() -> None:
    """Padded steps included: with the encoder taken out the deep features see the mean of all steps."""
    model, x, seen = small(), torch.randn(2, 2, 1200), []
    model.encoder.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        logits = model(x, torch.zeros(2, 4))
        deep = torch.relu(
            torch.nn.functional.linear(sum(seen[0].unbind(1)) / seen[0].shape[1], *model.deep[0].parameters())
        )
        torch.testing.assert_close(logits, deep @ model.head.weight[:, :64].T + model.head.bias, atol=1e-5, rtol=1e-4)


def test_wide_features_enter_the_last_layer_only() -> None:
    """A change of them changes the logits by their columns of the last weights, whatever the signal."""
    model, x = small(), torch.randn(2, 2, 1000)
    wide = torch.randn(2, 4)
    with torch.no_grad():
        change = model(x, wide) - model(x, torch.zeros(2, 4))
        torch.testing.assert_close(change, wide @ model.head.weight[:, 64:].T, atol=1e-5, rtol=1e-4)


def test_wrong_number_of_wide_features_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prna got 0 wide features and model.n_wide is 4; give .* model.n_wide"):
        small()(torch.zeros(1, 2, 1000), torch.zeros(1, 0))


def test_shortest_input_has_940_samples() -> None:
    """939 leave the last convolution nothing."""
    model: Prna = small()

    def run(time: int) -> Tensor:
        return model(torch.zeros(1, 2, time), torch.zeros(1, 4))

    assert run(940).shape == (1, 3)
    with pytest.raises(RuntimeError, match="Kernel size"):
        run(939)
