"""ISIBrno-AIMT: the published size and lengths, its lead flags, and the second head's detachment."""

import pytest
import torch
from torch import nn

from ecgbench.models.isibrno import Isibrno, lead_present


def small(attention: bool = True) -> Isibrno:
    torch.manual_seed(0)
    return Isibrno(n_leads=3, n_classes=4, width=8, n_blocks=2, attention=attention, n_head=2).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("attention", "size"), [(True, 6_561_900), (False, 6_298_732)])
def test_size_is_added_up_layer_by_layer(attention: bool, size: int) -> None:
    """Convolutions without bias; attention with all four biases; flags beside the 256 pooled features."""
    norm = 2 * 256
    stem = 12 * 256 * 15 + norm
    block = 2 * (256 * 256 * 9 + norm) + 256 * 256
    heads = ((256 + 12) * 26 + 26) + (26 * 256 + 256 + norm) + (256 * 26 + 26)
    assert stem + 5 * block + heads + attention * 4 * (256 * 256 + 256) == size
    with torch.device("meta"):
        model = Isibrno(n_leads=12, n_classes=26, attention=attention)
    assert sum(p.numel() for p in model.parameters()) == size


def test_every_stage_halves_the_time() -> None:
    """8,192 samples become 128 steps."""
    with torch.device("meta"):
        model = Isibrno(n_leads=12, n_classes=26).eval()
        seen: list[int] = []
        for module in (model.stem, *model.blocks):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
        model(torch.empty(1, 12, 8192))
    assert seen == [4096, 2048, 1024, 512, 256, 128]


@pytest.mark.parametrize("time", [1, 2, 37, 1000, 1001])
@pytest.mark.parametrize("attention", [True, False])
def test_any_length_works(time: int, attention: bool) -> None:
    """Both heads give (batch, class), finite."""
    with torch.no_grad():
        outputs = small(attention)(noise(2, 3, time))
    assert [out.shape for out in outputs] == [(2, 4), (2, 4)]
    assert all(out.isfinite().all() for out in outputs)


def test_absent_and_flat_leads_are_flagged() -> None:
    """Zero throughout is absent; a single sample, NaN-free and of either sign, is enough to be there."""
    x = torch.zeros(2, 3, 5)
    x[0, 1, 4], x[1, 0], x[1, 2, 0] = -1e-9, 1.0, 3.0
    assert lead_present(x).tolist() == [[False, True, False], [True, False, True]]


def test_flags_reach_the_classifier() -> None:
    """Where the network before it is silent, the logits are the bias and the columns of the leads that are there."""
    model = small()
    x = noise(1, 3, 64)
    x[:, 1] = 0
    with torch.no_grad():
        model.classifier.weight[:, :8] = 0
        _, logits = model(x)
        expected = model.classifier.bias + model.classifier.weight[:, 8] + model.classifier.weight[:, 10]
    torch.testing.assert_close(logits[0], expected)


def test_pooling_takes_the_maximum_over_time() -> None:
    """Without attention and with a classifier that passes the pooled features on."""
    model, x = small(attention=False), noise(1, 3, 64)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.eye(4, 11))
        model.classifier.bias.zero_()
        torch.testing.assert_close(model(x)[1][0], model.blocks(model.stem(x))[0, :4].max(dim=1).values)


def test_a_block_adds_its_averaged_shortcut_without_an_activation() -> None:
    """With the convolutions silenced the projection of pairwise means is left, negative values included."""
    block, x = small().blocks[0], noise(1, 8, 7)
    with torch.no_grad():
        for conv in (m for m in block.modules() if isinstance(m, nn.Conv1d) and m.kernel_size == (9,)):
            conv.weight.zero_()
        out = block(x)
        pairs = torch.stack([x[..., 0:2].mean(2), x[..., 2:4].mean(2), x[..., 4:6].mean(2), x[..., 6]], dim=2)
        expected = torch.einsum("oi,bit->bot", block.get_parameter("projection.weight")[..., 0], pairs)
    torch.testing.assert_close(out, expected)
    assert out.min() < 0


def test_second_head_does_not_train_the_network_before_it() -> None:
    """What is said about p moves the second head only; what is said about the logits moves everything else."""
    model = small().train()
    p_logits, logits = model(noise(4, 3, 64))
    second = set(model.second_head.parameters())
    p_logits.square().sum().backward(retain_graph=True)
    assert {p for p in model.parameters() if p.grad is not None} == second
    model.zero_grad()
    logits.square().sum().backward()
    assert {p for p in model.parameters() if p.grad is not None} == set(model.parameters()) - second


def test_second_head_reads_the_logits_of_the_first() -> None:
    """It is a function of them alone, and comes first."""
    model, x = small(), noise(4, 3, 64)
    with torch.no_grad():
        p_logits, logits = model(x)
        torch.testing.assert_close(p_logits, model.second_head(logits))
    assert Isibrno.heads == ("probability", "logits")


def test_dropout_acts_before_the_attention_in_training_only() -> None:
    model, x = small(), noise(2, 3, 64)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5]
    with torch.no_grad():
        assert torch.equal(model(x)[1], model(x)[1])
        model.dropout.train()
        assert not torch.equal(model(x)[1], model(x)[1])
