"""The convolutional networks of the PTB-XL benchmark: layers, lengths, shortcuts and initial values."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.inception1d import Inception1d, InceptionModule, ResidualGroup
from ecgbench.models.layers.concat_pool import ConcatPoolHead
from ecgbench.models.layers.conv_norm import same_conv
from ecgbench.models.resnet1d_wang import BasicBlock, Resnet1dWang
from ecgbench.models.xresnet1d101 import Bottleneck, XResNet1d101


def small_xresnet() -> nn.Module:
    return XResNet1d101(2, 3, stem=(4, 4, 8), blocks=(1, 2), width=4, zero_init_last=False, head_width=8)


def small_inception() -> nn.Module:
    return Inception1d(2, 3, n_modules=3, kernels=(5, 3), filters=4, bottleneck=4, head_width=8)


def small_wang() -> nn.Module:
    return Resnet1dWang(2, 3, width=8, head_width=8)


SMALL = [small_xresnet, small_inception, small_wang]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def leaves(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if not list(m.children())]


def convs(module: nn.Module) -> list[tuple[int, int, int, int]]:
    return [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
        for m in module.modules()
        if isinstance(m, nn.Conv1d)
    ]


def zero_last_norm(block: nn.Module) -> None:
    """Switch a residual branch off: gain and offset of its last normalisation become zero."""
    norm = [m for m in block.modules() if isinstance(m, nn.BatchNorm1d)][-1]
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)


def head_parameters(channels: int, n_classes: int) -> int:
    """Two normalisations and two linear layers, the first on maximum and mean of each channel."""
    return 2 * 2 * channels + (2 * channels * 128 + 128) + 2 * 128 + (128 * n_classes + n_classes)


@pytest.mark.parametrize(("n_classes", "published"), [(26, 1_874_970), (71, 1_880_775)])
def test_xresnet_has_its_published_size(n_classes: int, published: int) -> None:
    """Counted by hand from its description: stem, first bottleneck with a widened shortcut, 32 more, head."""
    stem = (12 * 32 + 32 * 32 + 32 * 64) * 5 + 2 * (32 + 32 + 64)
    inner = 64 * 64 * 5 + 64 * 256 + 2 * (64 + 64 + 256)
    first = 64 * 64 + inner + (64 * 256 + 2 * 256)
    by_hand = stem + first + 32 * (256 * 64 + inner) + head_parameters(256, n_classes)
    with torch.device("meta"):
        assert count(XResNet1d101(12, n_classes)) == by_hand == published


@pytest.mark.parametrize(("n_classes", "expected"), [(26, 516_167 - 45 * 129), (71, 516_167)])
def test_inception_has_its_published_size(n_classes: int, expected: int) -> None:
    """516,167 for 71 classes; each class fewer saves 128 weights and a bias."""
    modules = 2 * 32 * (12 + 5 * 128) + 6 * (32 * 32 * (39 + 19 + 9) + 2 * 128)
    shortcuts = (12 + 128) * 128 + 2 * 2 * 128
    by_hand = modules + shortcuts + head_parameters(128, n_classes)
    with torch.device("meta"):
        assert count(Inception1d(12, n_classes)) == by_hand == expected


@pytest.mark.parametrize("n_classes", [5, 26, 71])
def test_wang_has_the_size_of_its_description(n_classes: int) -> None:
    """Stem of 7 samples, three blocks of 5 and 3 samples at 128 features, two strided shortcuts, head."""
    stem = 12 * 128 * 7 + 2 * 128
    block = 128 * 128 * 5 + 128 * 128 * 3 + 2 * 2 * 128
    shortcut = 128 * 128 + 2 * 128
    with torch.device("meta"):
        model = Resnet1dWang(12, n_classes)
    assert count(model) == stem + 3 * block + 2 * shortcut + head_parameters(128, n_classes)


def test_head_is_the_published_row_of_layers() -> None:
    """Normalisation, dropout 0.25, linear to 128, ReLU, normalisation, dropout 0.5, linear."""
    layers = leaves(ConcatPoolHead(10, 3))
    kinds = [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in layers] == kinds
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.25, 0.5]
    assert [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)] == [
        (20, 128),
        (128, 3),
    ]


def test_head_takes_maximum_then_mean_over_time() -> None:
    """In evaluation, against the formula in NumPy, with running statistics that are not trivial."""
    torch.manual_seed(0)
    head = ConcatPoolHead(3, 2, width=4).double().eval()
    for norm in (m for m in head.modules() if isinstance(m, nn.BatchNorm1d)):
        for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            assert values is not None
            values.uniform_(0.5, 2.0)
    x = torch.randn(5, 3, 7, dtype=torch.float64)
    norm1, linear1, norm2, linear2 = (
        {k: v.detach().numpy() for k, v in m.state_dict().items()}
        for m in leaves(head)
        if isinstance(m, nn.BatchNorm1d | nn.Linear)
    )

    def normalise(v: np.ndarray, n: dict[str, np.ndarray]) -> np.ndarray:
        return (v - n["running_mean"]) / np.sqrt(n["running_var"] + 1e-5) * n["weight"] + n["bias"]

    pooled = np.concatenate([x.numpy().max(2), x.numpy().sum(2) / 7], axis=1)
    hidden = np.maximum(normalise(pooled, norm1) @ linear1["weight"].T + linear1["bias"], 0)
    expected = normalise(hidden, norm2) @ linear2["weight"].T + linear2["bias"]
    np.testing.assert_allclose(head(x).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("time", [1, 2, 3, 250, 1001])
@pytest.mark.parametrize("build", SMALL)
def test_any_length_is_taken(build: Callable[[], nn.Module], time: int) -> None:
    """Down to a single sample, in training as in evaluation."""
    torch.manual_seed(0)
    model, x = build(), torch.randn(4, 2, time)
    for module in (model.train(), model.eval()):
        logits = module(x)
        assert logits.shape == (4, 3)
        assert logits.isfinite().all()


@pytest.mark.parametrize("build", SMALL)
def test_every_parameter_learns(build: Callable[[], nn.Module]) -> None:
    """One backward pass gives each parameter a finite gradient that is not zero."""
    torch.manual_seed(0)
    model = build()
    model(torch.randn(8, 2, 64)).square().sum().backward()
    idle = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(
    "build", [lambda: XResNet1d101(12, 5), lambda: Inception1d(12, 5), lambda: Resnet1dWang(12, 5)]
)
def test_weights_start_with_the_variance_of_he(build: Callable[[], nn.Module]) -> None:
    """Every large weight has standard deviation sqrt(2 / inputs) within 5 %; all biases start at zero."""
    torch.manual_seed(0)
    for module in (m for m in build().modules() if isinstance(m, nn.Conv1d | nn.Linear)):
        if module.weight.numel() > 5000:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        assert module.bias is None or not module.bias.any()


def test_even_kernels_are_refused() -> None:
    """They would change the length; the message says what to do."""
    with pytest.raises(ValueError, match=r"kernel of 4 samples.*odd"):
        same_conv(1, 1, 4)


def test_xresnet_lengths_are_those_of_a_quarter_then_halves() -> None:
    """250 samples: 63 after the stem, then 63, 32, 16 and 8 after the stages of 3, 4, 23 and 3 bottlenecks."""
    with torch.device("meta"):
        model = XResNet1d101(12, 5)
        x = model.stem(torch.empty(1, 12, 250))
        lengths = [x.shape[-1]]
        for block in model.stages:
            x = block(x)
            lengths.append(x.shape[-1])
    assert lengths == [63] + [63] * 3 + [32] * 4 + [16] * 23 + [8] * 3
    assert x.shape[1] == 256


def test_xresnet_convolutions_are_the_published_ones() -> None:
    """The stem's first has the stride, a bottleneck's middle one; only the first bottleneck widens its shortcut."""
    with torch.device("meta"):
        model = XResNet1d101(12, 5)
    assert convs(model.stem) == [(12, 32, 5, 2), (32, 32, 5, 1), (32, 64, 5, 1)]
    assert convs(model.stages[0]) == [(64, 64, 1, 1), (64, 64, 5, 1), (64, 256, 1, 1), (64, 256, 1, 1)]
    assert convs(model.stages[3]) == [(256, 64, 1, 1), (64, 64, 5, 2), (64, 256, 1, 1)]
    assert convs(model.stages[4]) == [(256, 64, 1, 1), (64, 64, 5, 1), (64, 256, 1, 1)]


def test_strided_shortcut_averages_pairs() -> None:
    """Started as its shortcut, a bottleneck makes [1, 3, 5] to [2, 5]: a last single sample stands for itself."""
    block = Bottleneck(4, 1, 5, stride=2, zero_init_last=True)
    x = torch.tensor([1.0, 3.0, 5.0]).expand(2, 4, 3)
    assert torch.equal(block(x), torch.tensor([2.0, 5.0]).expand(2, 4, 2))


@pytest.mark.parametrize(("zero_init_last", "gain"), [(True, 0.0), (False, 1.0)])
def test_bottlenecks_start_as_asked(zero_init_last: bool, gain: float) -> None:
    """Only the last normalisation of a residual branch is concerned."""
    model = XResNet1d101(2, 3, blocks=(2, 1), width=2, zero_init_last=zero_init_last)
    for block in model.stages:
        gains = [m.weight.unique().tolist() for m in block.body.modules() if isinstance(m, nn.BatchNorm1d)]
        assert gains == [[1.0], [1.0], [gain]]
    others = [m for part in (model.stem, model.stages[0].widen, model.head) for m in part.modules()]
    assert all(m.weight.eq(1).all() for m in others if isinstance(m, nn.BatchNorm1d))


def test_inception_branches_see_39_19_9_and_3_samples() -> None:
    """Which input samples the 32 channels of each branch depend on, at a sample in the middle."""
    torch.manual_seed(0)
    module = InceptionModule(12, 32, (39, 19, 9), 32).double().eval()
    middle = 50
    for branch, reach in enumerate([19, 9, 4, 1]):
        seen = set()
        for _ in range(5):  # the maximum lets through one sample at a time
            x = torch.randn(4, 12, 101, dtype=torch.float64, requires_grad=True)
            module(x)[:, 32 * branch : 32 * (branch + 1), middle].sum().backward()
            assert x.grad is not None
            seen |= set(x.grad.abs().sum((0, 1)).nonzero().flatten().tolist())
        assert seen == set(range(middle - reach, middle + reach + 1))


def test_inception_shortcut_spans_three_modules() -> None:
    """With the third module switched off, a group is its rectified shortcut."""
    torch.manual_seed(0)
    group = ResidualGroup(3, 4, (5, 3), 2)
    assert len(group.modules_in_row) == 3
    zero_last_norm(group.modules_in_row)
    x = torch.randn(4, 3, 20)
    torch.testing.assert_close(group(x), F.relu(group.shortcut(x)))


@pytest.mark.parametrize("n_modules", [0, 4])
def test_inception_needs_whole_groups(n_modules: int) -> None:
    """Modules that no shortcut spans are refused."""
    with pytest.raises(ValueError, match=f"n_modules={n_modules}.*multiple of 3"):
        Inception1d(2, 3, n_modules=n_modules)


def test_wang_layers_and_lengths() -> None:
    """No stride and no pooling before the second block: 250, 250, 125, 63 samples."""
    with torch.device("meta"):
        model = Resnet1dWang(12, 5)
        x = model.stem(torch.empty(1, 12, 250))
        lengths = [x.shape[-1]]
        for block in model.blocks:
            x = block(x)
            lengths.append(x.shape[-1])
    assert lengths == [250, 250, 125, 63]
    strided = [(128, 128, 5, 2), (128, 128, 3, 1), (128, 128, 1, 2)]
    assert convs(model.stem) == [(12, 128, 7, 1)]
    assert [convs(block) for block in model.blocks] == [[(128, 128, 5, 1), (128, 128, 3, 1)], strided, strided]


@pytest.mark.parametrize("stride", [1, 2])
def test_wang_block_is_two_convolutions_and_a_shortcut(stride: int) -> None:
    """In evaluation, against the functional form; fresh normalisations divide by sqrt(1 + 1e-5)."""
    torch.manual_seed(0)
    block = BasicBlock(4, (5, 3), stride).double().eval()
    first, second, *shortcut = [m.weight for m in block.modules() if isinstance(m, nn.Conv1d)]
    scale = (1 + 1e-5) ** -0.5
    x: Tensor = torch.randn(2, 4, 21, dtype=torch.float64)
    straight = scale * F.conv1d(x, shortcut[0], stride=2) if shortcut else x
    inner = F.relu(scale * F.conv1d(x, first, stride=stride, padding=2))
    expected = F.relu(scale * F.conv1d(inner, second, padding=1) + straight)
    torch.testing.assert_close(block(x), expected)
