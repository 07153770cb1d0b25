"""The Mamba mixer against the recurrence of the paper, written out step by step in NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ecgbench.models.layers.bidirectional import MambaBranches, MambaStack
from ecgbench.models.layers.mamba import Mamba, MambaBlock
from ecgbench.ops import resolve_backend

D_MODEL, TIME, BATCH = 8, 23, 2


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def reference(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Mamba-1 on one record (d_model, time), one step after another, as Gu & Dao 2023, algorithm 2 and figure 3."""
    d_inner, d_state = weights["A_log"].shape
    taps = weights["conv1d.weight"][:, 0, :]
    rank = weights["dt_proj.weight"].shape[1]
    history = np.zeros((d_inner, taps.shape[1]))
    state = np.zeros((d_inner, d_state))
    outputs = []
    for sample in x.T:
        projected = weights["in_proj.weight"] @ sample
        history = np.column_stack([history[:, 1:], projected[:d_inner]])
        u = silu((history * taps).sum(axis=1) + weights["conv1d.bias"])
        dt, b, c = np.split(weights["x_proj.weight"] @ u, [rank, rank + d_state])
        delta = np.log1p(np.exp(weights["dt_proj.weight"] @ dt + weights["dt_proj.bias"]))
        decay = np.exp(-np.exp(weights["A_log"]) * delta[:, None])
        state = decay * state + (delta * u)[:, None] * b
        y = (state @ c + weights["D"] * u) * silu(projected[d_inner:])
        outputs.append(weights["out_proj.weight"] @ y)
    return np.stack(outputs, axis=1)


def reference_batch(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return np.stack([reference(weights, record) for record in x])


def mixer(dtype: torch.dtype, **options: int) -> Mamba:
    """A mixer whose D and A differ between channels and whose steps are long, so that no slip in either goes unseen."""
    torch.manual_seed(0)
    model = Mamba(D_MODEL, scan_backend="torch", **options)
    with torch.no_grad():
        model.D.add_(0.3 * torch.randn_like(model.D))
        model.A_log.add_(0.3 * torch.randn_like(model.A_log))
        model.dt_proj.bias.add_(3)
    return model.to(dtype)


def numpy_weights(model: Mamba) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in model.named_parameters()}


def signal(dtype: torch.dtype = torch.float64, time: int = TIME) -> Tensor:
    return torch.randn(BATCH, D_MODEL, time, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def relative_error(value: Tensor, expected: Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture(params=["torch", "native"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each implementation of the scan that runs on a CPU, where it is installed."""
    try:
        return resolve_backend(request.param, torch.device("cpu")).name
    except RuntimeError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("options", [{}, {"d_state": 5, "d_conv": 3, "expand": 3, "dt_rank": 2}])
def test_forward_is_the_recurrence_of_the_paper(options: dict[str, int]) -> None:
    """For the usual sizes and for sizes that all differ."""
    model, x = mixer(torch.float64, **options), signal()
    expected = reference_batch(numpy_weights(model), x.numpy())
    assert relative_error(model(x).detach(), torch.from_numpy(expected)) < 1e-12


PARAMETER_NAMES = [name for name, _ in Mamba(D_MODEL).named_parameters()]


@pytest.mark.parametrize("name", [*PARAMETER_NAMES, "input"])
def test_gradient_is_the_slope_of_the_reference(name: str) -> None:
    """Fourth-order central differences of the NumPy recurrence along a random direction of each argument."""
    model, x = mixer(torch.float64), signal().requires_grad_()
    weighting, values = torch.randn_like(x.detach()), numpy_weights(model) | {"input": x.detach().numpy()}
    (model(x) * weighting).sum().backward()
    gradient = x.grad if name == "input" else model.get_parameter(name).grad
    direction, h = np.random.default_rng(2).standard_normal(values[name].shape), 1e-3

    def loss(offset: float) -> float:
        moved = values | {name: values[name] + offset * direction}
        return float((reference_batch(moved, moved.pop("input")) * weighting.numpy()).sum())

    slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
    assert float((gradient * torch.from_numpy(direction)).sum()) == pytest.approx(slope, rel=1e-7)


def test_single_precision_output_is_exact_to_rounding(backend: str) -> None:
    """From every backend of this machine, in both directions of time."""
    model, x = mixer(torch.float32), signal(torch.float32)
    expected = torch.from_numpy(reference_batch(numpy_weights(model), x.double().numpy()))
    model.scan_backend = backend
    assert relative_error(model(x).detach(), expected) < 1e-6
    assert relative_error(model(x.flip(-1), reverse=True).flip(-1).detach(), expected) < 1e-6


def test_single_precision_gradients_are_exact_to_rounding(backend: str) -> None:
    """float32 gradients of every parameter and the input against float64 ones, relative in norm."""
    single, double = mixer(torch.float32), mixer(torch.float64)
    single.scan_backend = backend
    inputs = [signal(torch.float32).requires_grad_(), signal(torch.float32).double().requires_grad_()]
    for model, x in zip((single, double), inputs, strict=True):
        model(x).square().sum().backward()
    errors = {name: relative_error(p.grad, double.get_parameter(name).grad) for name, p in single.named_parameters()}
    errors["input"] = relative_error(inputs[0].grad, inputs[1].grad)
    assert max(errors.values()) < 1e-6, errors


def test_reverse_equals_flipping_time_twice() -> None:
    """In value and in the gradient of the input."""
    model, x = mixer(torch.float64), signal().requires_grad_()
    weighting = torch.randn_like(x.detach())
    outputs = [model(x, reverse=True), model(x.flip(-1)).flip(-1)]
    gradients = [torch.autograd.grad((y * weighting).sum(), x)[0] for y in outputs]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_flows_against_the_direction_of_time(reverse: bool) -> None:
    """A changed sample changes its own output and later ones (earlier ones in reverse), and no other."""
    model, x, changed = mixer(torch.float64), signal(), signal()
    changed[..., 10] += 1.0
    moved = (model(x, reverse=reverse) != model(changed, reverse=reverse)).any(dim=1).all(dim=0)
    expected = torch.arange(TIME) <= 10 if reverse else torch.arange(TIME) >= 10
    assert torch.equal(moved, expected)


def test_steps_equal_the_whole_sequence() -> None:
    """Fed one sample at a time from an empty state, the recurrent form gives the outputs of the parallel one."""
    model, x = mixer(torch.float64), signal()
    state = model.allocate_state(BATCH)
    outputs = []
    with torch.no_grad():
        for sample in x.unbind(-1):
            y, state = model.step(sample, state)
            outputs.append(y)
        torch.testing.assert_close(torch.stack(outputs, -1), model(x), rtol=1e-11, atol=1e-13)
    assert state.conv.shape == (BATCH, 2 * D_MODEL, 3)
    assert state.ssm.shape == (BATCH, 2 * D_MODEL, 16)


def test_names_and_shapes_are_those_of_mamba_ssm() -> None:
    """The state dict of `mamba_ssm.modules.mamba_simple.Mamba(128)`, 116,480 numbers."""
    shapes = {name: tuple(value.shape) for name, value in Mamba(128).state_dict().items()}
    assert shapes == {
        "A_log": (256, 16),
        "D": (256,),
        "in_proj.weight": (512, 128),
        "conv1d.weight": (256, 1, 4),
        "conv1d.bias": (256,),
        "x_proj.weight": (40, 256),
        "dt_proj.weight": (256, 8),
        "dt_proj.bias": (256,),
        "out_proj.weight": (128, 256),
    }
    assert sum(math.prod(shape) for shape in shapes.values()) == 116_480


def test_initial_values_follow_the_paper() -> None:
    """S4D-real A, D of one, step sizes log-uniform in [1e-3, 0.1], step projection uniform in +-rank^-0.5."""
    torch.manual_seed(0)
    model = Mamba(512)
    steps = torch.nn.functional.softplus(model.dt_proj.bias.detach().double())
    bound = 32**-0.5
    torch.testing.assert_close(model.A_log.detach().exp(), torch.arange(1.0, 17.0).expand(1024, 16))
    assert torch.equal(model.D.detach(), torch.ones(1024))
    assert 0.99e-3 < steps.min() < 1.1e-3
    assert 0.09 < steps.max() < 0.101
    assert steps.log10().mean() == pytest.approx(-2, abs=0.06)
    assert 0.99 * bound < model.dt_proj.weight.abs().max() <= bound


def test_blocks_are_pre_norm_residuals() -> None:
    """A stack is x + f1(x) + f2(x + f1(x)), f being the mixer of the root-mean-square-normalised signal."""
    torch.manual_seed(0)
    stack, x = MambaStack(D_MODEL, 2, scan_backend="torch").double(), signal()
    expected = x
    for block in stack:
        block.norm.weight.data += 0.1 * torch.randn_like(block.norm.weight)
        rms = (expected.square().sum(1, keepdim=True) / D_MODEL + 1e-5).sqrt()
        expected = expected + block.mixer(expected / rms * block.norm.weight.view(1, -1, 1))
    torch.testing.assert_close(stack(x), expected, rtol=1e-12, atol=1e-14)


def test_block_hands_its_addition_on() -> None:
    """The first residual is the input itself, the next the sum of both arguments."""
    block, x = MambaBlock(D_MODEL, scan_backend="torch").double(), signal()
    assert torch.equal(block(x)[1], x)
    assert torch.equal(block(x, 2 * x)[1], x + 2 * x)


def test_output_projections_of_a_stack_start_smaller() -> None:
    """Uniform within 1 / sqrt(d_inner), divided by the square root of the number of blocks."""
    torch.manual_seed(0)
    bound = (2 * 64) ** -0.5 / math.sqrt(4)
    for block in MambaStack(64, 4):
        assert 0.99 * bound < block.mixer.out_proj.weight.abs().max() <= bound


def test_branches_read_both_ways_side_by_side() -> None:
    """Forward channels first; the backward stack sees the flipped input and its result is flipped back."""
    torch.manual_seed(0)
    branches, x = MambaBranches(D_MODEL, 2, scan_backend="torch").double(), signal()
    ahead, back = branches(x).chunk(2, dim=1)
    torch.testing.assert_close(ahead, branches.forward_blocks(x))
    torch.testing.assert_close(back, branches.backward_blocks(x.flip(-1)).flip(-1), rtol=1e-11, atol=1e-13)
    assert branches.out_channels == 2 * D_MODEL


def test_one_direction_keeps_the_width() -> None:
    """Without the backward stack the output is the forward stack's."""
    branches, x = MambaBranches(D_MODEL, 1, bidirectional=False, scan_backend="torch").double(), signal()
    assert branches.out_channels == D_MODEL
    torch.testing.assert_close(branches(x), branches.forward_blocks(x))
