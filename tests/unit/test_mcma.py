"""MCMA: its padding, block and network against the published definitions, and what its two heads can express."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor, nn

from ecgbench.models.layers.mc_block import AxisNorm, McBlock
from ecgbench.models.layers.same_pad import SameConv1d, SameConvTranspose1d, same_padding
from ecgbench.models.mcma import Mcma

PARAMETERS = {
    1: 1_411_988,
    3: 4_207_796,
    5: 7_003_604,
    7: 9_799_412,
    9: 12_595_220,
    11: 15_391_028,
    13: 18_186_836,
    15: 20_982_644,
    17: 23_778_452,
    19: 26_574_260,
}
"""By kernel; 18,186,836 is the number of floats in the released checkpoint."""

SHAPES = [(5, 1, 16), (5, 2, 16), (13, 2, 16), (13, 1, 9), (5, 4, 16), (3, 4, 16), (1, 2, 8), (1, 4, 8), (4, 2, 7)]
"""(kernel, stride, time): the published ones, kernels below the stride, an even kernel, odd lengths."""


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def noise(*shape: int, seed: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small(seed: int = 0, **options: object) -> Mcma:
    torch.manual_seed(seed)
    return Mcma(n_leads=3, **{"kernel": 3, **options})  # pyright: ignore[reportArgumentType]


def naive_conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """(channel, time) by loops over TensorFlow's definition; weight (out, in, kernel)."""
    kernel, time = weight.shape[2], x.shape[1]
    n_out = int(np.ceil(time / stride))
    left = max((n_out - 1) * stride + kernel - time, 0) // 2
    y = np.tile(bias[:, None], (1, n_out))
    for o in range(n_out):
        for k in range(kernel):
            if 0 <= o * stride + k - left < time:
                y[:, o] += weight[:, :, k] @ x[:, o * stride + k - left]
    return y


def naive_transposed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """(channel, time): every input sample spreads a kernel, cut as TensorFlow does; weight (in, out, kernel)."""
    kernel, time = weight.shape[2], x.shape[1]
    left = max(kernel - stride, 0) // 2
    y = np.tile(bias[:, None], (1, time * stride))
    for i in range(time):
        for k in range(kernel):
            if 0 <= i * stride + k - left < time * stride:
                y[:, i * stride + k - left] += weight[:, :, k].T @ x[:, i]
    return y


def gelu_erf(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def randomise(module: nn.Module) -> None:
    """Give every parameter, the norms' included, a value of its own."""
    generator = torch.Generator().manual_seed(11)
    for p in module.parameters():
        nn.init.normal_(p, std=0.5, generator=generator)


def arrays(module: nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy() for p in module.parameters()]


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"), [(5, 1, (2, 2)), (5, 2, (1, 2)), (13, 2, (5, 6)), (5, 4, (0, 1)), (3, 4, (0, 0))]
)
def test_published_padding(kernel: int, stride: int, expected: tuple[int, int]) -> None:
    """Of 1024 samples; the odd sample is on the right."""
    assert same_padding(1024, kernel, stride) == expected


@pytest.mark.parametrize(("kernel", "stride", "time"), SHAPES)
def test_convolution_is_tensorflows(kernel: int, stride: int, time: int) -> None:
    """Against a loop over the definition."""
    conv = SameConv1d(3, 2, kernel, stride).double()
    x = noise(2, 3, time, dtype=torch.float64)
    weight, bias = arrays(conv)
    expected = np.stack([naive_conv(record.numpy(), weight, bias, stride) for record in x])
    torch.testing.assert_close(conv(x).detach(), torch.from_numpy(expected))


@pytest.mark.parametrize(("kernel", "stride", "time"), SHAPES)
def test_transposed_convolution_is_tensorflows(kernel: int, stride: int, time: int) -> None:
    """Against a loop over the definition."""
    conv = SameConvTranspose1d(3, 2, kernel, stride).double()
    x = noise(2, 3, time, dtype=torch.float64)
    weight, bias = arrays(conv)
    expected = np.stack([naive_transposed(record.numpy(), weight, bias, stride) for record in x])
    torch.testing.assert_close(conv(x).detach(), torch.from_numpy(expected))


@pytest.mark.parametrize(("kernel", "stride", "time"), SHAPES)
def test_transposed_convolution_is_the_adjoint(kernel: int, stride: int, time: int) -> None:
    """TensorFlow defines it as the gradient of the convolution of time * stride samples."""
    down, up = SameConv1d(3, 2, kernel, stride).double(), SameConvTranspose1d(2, 3, kernel, stride).double()
    up.weight = down.weight
    for conv in (down, up):
        nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]
    fine, coarse = noise(1, 3, time * stride, dtype=torch.float64), noise(1, 2, time, seed=4, dtype=torch.float64)
    torch.testing.assert_close((down(fine) * coarse).sum(), (fine * up(coarse)).sum())


def test_transposed_convolution_refuses_another_length() -> None:
    """The parent's argument has no meaning here."""
    with pytest.raises(ValueError, match="omit it"):
        SameConvTranspose1d(1, 1, 5, 2)(noise(1, 1, 8), [17])


@pytest.mark.parametrize("inner_gelu", ["tanh", "erf"])
@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
def test_block_is_the_published_one(stride: int, transposed: bool, inner_gelu: str) -> None:
    """Both paths, their norms and GELUs in numpy, every parameter at random."""
    block = McBlock(3, 4, 5, stride, transposed=transposed, inner_gelu=inner_gelu).double()
    randomise(block)
    short_w, short_b, long_w, long_b, layer_w, layer_b, last_w, last_b, norm_w, norm_b = [
        block.get_parameter(name).detach().numpy()
        for name in (
            *("short.0.weight", "short.0.bias", "long.0.weight", "long.0.bias", "long.1.weight", "long.1.bias"),
            *("long.3.weight", "long.3.bias", "norm.weight", "norm.bias"),
        )
    ]
    x = noise(1, 3, 16, dtype=torch.float64)
    first = naive_transposed if transposed else naive_conv
    a = gelu_erf(first(x[0].numpy(), short_w, short_b, stride))
    b = first(x[0].numpy(), long_w, long_b, stride)
    b = (b - b.mean(axis=0)) / np.sqrt(b.var(axis=0) + 1e-3) * layer_w[:, None] + layer_b[:, None]
    b = (gelu_tanh if inner_gelu == "tanh" else gelu_erf)(b)
    both = a + gelu_erf(naive_conv(b, last_w, last_b, 1))
    both -= both.mean(axis=1, keepdims=True)
    expected = both / np.sqrt(both.var(axis=1, keepdims=True) + 1e-9) * norm_w[:, None] + norm_b[:, None]
    torch.testing.assert_close(block(x)[0].detach(), torch.from_numpy(expected))


@pytest.mark.parametrize(("kernel", "expected"), PARAMETERS.items())
def test_parameter_count_is_the_published_one(kernel: int, expected: int) -> None:
    """For twelve leads."""
    with torch.device("meta"):
        assert count(Mcma(12, kernel=kernel)) == expected


def test_other_options_and_the_parameter_count() -> None:
    """A stride has no weights; the linear head has 12 x 12 + 12 for the norm's 2 x 12."""
    with torch.device("meta"):
        assert [count(Mcma(12, stride=stride)) for stride in (1, 2, 4)] == [7_003_604] * 3
        assert count(Mcma(12, inner_gelu="erf")) == 7_003_604
        assert count(Mcma(12, head="linear")) == 7_003_604 - 24 + 156


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"), [(5, 1, 7157.3), (5, 2, 412.3), (5, 4, 51.9), (13, 2, 1072.0), (1, 2, 82.5)]
)
def test_multiplications_are_the_published_ones(kernel: int, stride: int, expected: float) -> None:
    """Millions, of all convolutions for one window of 1024 samples: fixes every length inside the network."""
    total = 0

    def add(conv: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        transposed = isinstance(conv, nn.ConvTranspose1d)
        total += conv.get_parameter("weight").numel() * (args[0] if transposed else output).shape[-1]

    with torch.device("meta"):
        model = Mcma(12, kernel, stride)
        for conv in model.modules():
            if isinstance(conv, nn.Conv1d | nn.ConvTranspose1d):
                conv.register_forward_hook(add)
        model(torch.empty(1, 12, 1024))
    assert round(total / 1e6, 1) == expected


def test_levels_have_the_published_sizes() -> None:
    """(channel, time) of the encoder, the upsampled path and the skips that are added to it."""
    sizes: dict[str, list[tuple[int, ...]]] = {"down": [], "skip": [], "up": []}
    with torch.device("meta"):
        model = Mcma(12)
        for name, found in sizes.items():
            for block in model.get_submodule(name).children():
                block.register_forward_hook(lambda _m, _a, out, found=found: found.append(tuple(out.shape[1:])))
        model(torch.empty(1, 12, 1024))
    shallow = [(256, 64), (128, 128), (64, 256), (32, 512), (16, 1024)]
    assert sizes["up"] == sizes["skip"] == shallow
    assert sizes["down"] == [*shallow[:4][::-1], (512, 32)]


def test_skips_and_upsampled_features_are_added() -> None:
    """The network again, written out from the table of levels."""
    model = small().double()
    x = noise(2, 3, 64, dtype=torch.float64)
    e1 = model.conv_in(x)
    e2 = model.down[0](e1)
    e3 = model.down[1](e2)
    e4 = model.down[2](e3)
    e5 = model.down[3](e4)
    d5 = model.up[4](model.down[4](e5)) + model.skip[4](e5)
    d4 = model.up[3](d5) + model.skip[3](e4)
    d3 = model.up[2](d4) + model.skip[2](e3)
    d2 = model.up[1](d3) + model.skip[1](e2)
    d1 = model.up[0](d2) + model.skip[0](e1)
    torch.testing.assert_close(model(x), model.conv_out(d1))


@pytest.mark.parametrize("scale", [1e-2, 1.0, 50.0])
def test_published_head_fixes_mean_and_deviation_of_every_lead(scale: float) -> None:
    """beta and |gamma|, whatever comes in."""
    model = small().double()
    gamma, beta = torch.tensor([0.5, -2.0, 0.1]).double(), torch.tensor([0.3, 0.0, -1.0]).double()
    with torch.no_grad():
        model.conv_out.norm.weight.copy_(gamma)  # pyright: ignore[reportCallIssue, reportArgumentType]
        model.conv_out.norm.bias.copy_(beta)  # pyright: ignore[reportCallIssue, reportArgumentType]
        y = model(scale * noise(4, 3, 64, dtype=torch.float64))
    torch.testing.assert_close(y.mean(dim=-1), beta.expand(4, 3))
    torch.testing.assert_close(y.std(dim=-1, correction=0), gamma.abs().expand(4, 3), rtol=1e-6, atol=0)


def test_norm_takes_its_moments_in_float32() -> None:
    """Of half-precision features, as they come out of convolutions in mixed precision."""
    x = (5 + noise(2, 3, 1024)).bfloat16()
    y = AxisNorm(3, dim=2, eps=1e-9)(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.std(dim=-1, correction=0), torch.ones(2, 3), rtol=1e-5, atol=0)


def test_linear_head_expresses_amplitude() -> None:
    """A patient's deviation differs from another's, and depends on the amplitude that comes in."""
    model = small(head="linear").double()
    x = noise(4, 3, 64, dtype=torch.float64)
    with torch.no_grad():
        quiet, loud = (model(scale * x).std(dim=-1, correction=0) for scale in (0.2, 1.0))
    assert (quiet / loud - 1).abs().min() > 0.01
    assert (loud[1:] / loud[0] - 1).abs().min() > 1e-4


def test_linear_head_reaches_deep_s_waves() -> None:
    """Below the -0.34 that two GELUs can reach: what the 1x1 convolution is for."""
    model = small(head="linear")
    assert isinstance(model.head, nn.Conv1d)
    with torch.no_grad():
        nn.init.constant_(model.head.weight, -1.0)
        assert model(10 * noise(2, 3, 64)).min() < -0.5


def test_initial_values_are_those_of_keras() -> None:
    """Uniform within sqrt(6 / (kernel (in + out))), also for transposed kernels; zero biases; neutral norms."""
    model = Mcma(12)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            limit = (6 / (5 * (module.in_channels + module.out_channels))) ** 0.5
            assert 0.95 * limit < module.weight.abs().max() <= limit
            assert module.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
    values = {name: p for name, p in model.named_parameters() if p.dim() == 1}
    assert all(p.eq(1.0 if name.endswith("weight") else 0.0).all() for name, p in values.items())


def test_linear_head_starts_small() -> None:
    """A tenth of Keras's initial weights, no offset."""
    head = Mcma(12, head="linear").head
    assert isinstance(head, nn.Conv1d)
    assert 0.09 * (6 / 24) ** 0.5 < head.weight.abs().max() <= 0.1 * (6 / 24) ** 0.5
    assert head.bias is not None
    assert not head.bias.any()


def test_deepest_level_of_one_sample_is_its_offset() -> None:
    """Stride 4 and 1024 samples: the window of the paper's largest stride, even in a batch of one."""
    model = small(kernel=1, stride=4)
    deep: list[Tensor] = []
    model.down[-1].register_forward_hook(lambda _m, _a, out: deep.append(out))
    assert model(noise(1, 3, 1024)).shape == (1, 3, 1024)
    assert deep[0].shape == (1, 512, 1)
    assert deep[0].eq(0).all()


@pytest.mark.parametrize(("stride", "time"), [(2, 1000), (4, 512)])
def test_other_lengths_are_refused(stride: int, time: int) -> None:
    """In words, with the multiple that is needed."""
    with pytest.raises(ValueError, match=rf"{time} samples.*multiple of {stride**5}"):
        small(stride=stride)(noise(1, 3, time))


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"kernel": 0}, "model.kernel=0"),
        ({"stride": 0}, "model.stride=0"),
        ({"inner_gelu": "relu"}, "model.inner_gelu='relu'.*tanh, erf"),
        ({"head": "conv"}, "model.head='conv'.*instance_norm, linear"),
    ],
)
def test_unknown_options_are_refused(option: dict[str, object], match: str) -> None:
    """What was given and what is allowed."""
    with pytest.raises(ValueError, match=match):
        small(**option)


@pytest.mark.parametrize("head", ["instance_norm", "linear"])
def test_every_parameter_learns(head: str) -> None:
    """Finite gradients, none zero throughout."""
    model = small(head=head)
    (model(noise(2, 3, 128)) - noise(2, 3, 128, seed=8)).square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


@pytest.mark.parametrize("head", ["instance_norm", "linear"])
def test_float64_and_batch_change_nothing(head: str) -> None:
    """Beyond rounding; the input stays as it was."""
    model, x = small(head=head), noise(3, 3, 128)
    before = x.clone()
    with torch.no_grad():
        y = model(x)
        torch.testing.assert_close(model(x[1:2]), y[1:2], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.double()(x.double()).float(), y, rtol=1e-3, atol=1e-3)
    assert torch.equal(x, before)


@pytest.mark.parametrize("head", ["instance_norm", "linear"])
def test_exported_program_agrees(head: str) -> None:
    """Through torch.export."""
    model, x = small(kernel=1, head=head).eval(), noise(2, 3, 64)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
