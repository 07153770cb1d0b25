"""S4 with diagonal systems: the convolution is the recurrence, both directions are alike, nothing wraps around."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete
from torch import Tensor, nn

from ecgbench.models.layers.s4d import S4D
from ecgbench.models.s4 import S4, S4Block


def layer(d_model: int = 3, d_state: int = 4, seed: int = 0) -> S4D:
    torch.manual_seed(seed)
    return S4D(d_model, d_state).double()


def signal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def small(seed: int = 0, dropout: float = 0.0) -> S4:
    torch.manual_seed(seed)
    return S4(2, 3, d_model=8, d_state=4, n_layer=2, dropout=dropout)


def recurrence(ssm: S4D, u: np.ndarray, channel: int, output: np.ndarray) -> np.ndarray:
    """The run over one channel's samples, step by step.

    Each conjugate pair is a real system of two states, which SciPy discretises for a held input.
    """
    dt = ssm.log_dt[channel].exp().item()
    y = np.zeros_like(u)
    for pair in range(output.shape[0]):
        decay, omega = ssm.log_decay[channel, pair].exp().item(), ssm.frequency[channel, pair].item()
        A = np.array([[-decay, -omega], [omega, -decay]])
        C = 2 * np.array([[output[pair, 0], -output[pair, 1]]])
        A_held, B_held, *_ = cont2discrete((A, np.array([[1.0], [0.0]]), C, np.zeros((1, 1))), dt, method="zoh")
        state = np.zeros(2)
        for k, sample in enumerate(u):
            state = A_held @ state + B_held[:, 0] * sample
            y[k] += (C @ state)[0]
    return y


@pytest.mark.parametrize("time", [1, 2, 23, 64])
def test_convolution_is_the_recurrence(time: int) -> None:
    """The run ahead, the run over the flipped samples flipped back, and the direct path, in double precision."""
    ssm, x = layer(), signal(2, 3, time)
    expected = np.zeros((2, 3, time))
    for record in range(2):
        for channel in range(3):
            u = x[record, channel].numpy()
            ahead = recurrence(ssm, u, channel, ssm.C_ahead[channel].detach().numpy())
            back = recurrence(ssm, u[::-1].copy(), channel, ssm.C_back[channel].detach().numpy())[::-1]
            expected[record, channel] = ahead + back + ssm.D[channel].item() * u
    np.testing.assert_allclose(ssm(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def swap(model: nn.Module) -> None:
    """Exchange the two directions' own parameters in every state-space layer."""
    for ssm in (m for m in model.modules() if isinstance(m, S4D)):
        ssm.C_ahead, ssm.C_back = ssm.C_back, ssm.C_ahead


def test_swapped_directions_flip_the_output() -> None:
    """In a layer, in the stack of blocks, and so in the logits, which average over time."""
    ssm, x = layer(), signal(2, 3, 31)
    straight = ssm(x)
    swap(ssm)
    torch.testing.assert_close(ssm(x.flip(-1)), straight.flip(-1))
    assert not torch.allclose(ssm(x), straight)
    model, x = small().double().eval(), signal(2, 2, 31)
    features, logits = model.blocks(model.encoder(x)), model(x)
    swap(model)
    torch.testing.assert_close(model.blocks(model.encoder(x.flip(-1))), features.flip(-1))
    torch.testing.assert_close(model(x.flip(-1)), logits)


@pytest.mark.parametrize(("silent", "future"), [("C_back", True), ("C_ahead", False)])
def test_each_direction_reaches_one_way_and_wraps_nowhere(silent: str, future: bool) -> None:
    """A change at sample 20 of 40 alters sample 20 and, in one direction only, all on its side."""
    ssm, x = layer(), signal(1, 3, 40)
    nn.init.zeros_(getattr(ssm, silent))
    moved = x.clone()
    moved[..., 20] += 1
    change = (ssm(moved) - ssm(x)).abs().amax((0, 1))
    reached, untouched = (change[20:], change[:20]) if future else (change[:21], change[21:])
    assert (reached > 1e-6).all()
    assert (untouched < 1e-12).all()


def test_a_kernel_does_not_depend_on_the_length_asked_for() -> None:
    """Whatever the two tables of powers are, the first lags are the same."""
    ssm = layer()
    whole = ssm.kernels(130)
    for time in (1, 2, 5, 16, 17, 129):
        torch.testing.assert_close(ssm.kernels(time), whole[..., :time])


def test_poles_start_as_published() -> None:
    """Real part -1/2; frequencies N/pi (N/(2n+1) - 1) for inv and pi n for lin, worked by hand for 8 states."""
    inv, lin = S4D(2, 8, "inv"), S4D(2, 8, "lin")
    np.testing.assert_allclose(inv.frequency[1].tolist(), [17.825353, 4.244132, 1.527887, 0.363783], rtol=1e-6)
    np.testing.assert_allclose(lin.frequency[1].tolist(), [0.0, 3.141593, 6.283185, 9.424778], rtol=1e-6)
    torch.testing.assert_close(inv.log_decay.exp(), torch.full((2, 4), 0.5))


def test_step_sizes_start_log_uniform() -> None:
    """Between 0.001 and 0.1, the half of them below 0.01."""
    torch.manual_seed(0)
    dt = S4D(4000).log_dt.exp()
    assert dt.min() >= 0.001 * (1 - 1e-6)
    assert dt.max() <= 0.1 * (1 + 1e-6)
    assert dt.median().item() == pytest.approx(0.01, rel=0.1)


def test_time_constants_are_spared_from_weight_decay() -> None:
    """Step sizes and poles carry the flag; output vectors and everything else decay."""
    spared = {k for k, p in S4D(4).named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared == {"log_dt", "log_decay", "frequency"}


@pytest.mark.parametrize("d_state", [0, 7])
def test_states_come_in_pairs(d_state: int) -> None:
    """An odd number is refused with the remedy."""
    with pytest.raises(ValueError, match=f"d_state={d_state}.*even"):
        S4D(4, d_state)


@pytest.mark.parametrize(("n_classes", "expected"), [(26, 2_178_586), (71, 2_201_671)])
def test_size_is_that_of_the_description(n_classes: int, expected: int) -> None:
    """Counted by hand: projection, four layers of 512 channels with 4 conjugate pairs, linear head."""
    ssm = 512 * (1 + 2 * 4 + 2 * 2 * 4 + 1)  # step size, poles, two output vectors, direct path
    mixing = 512 * 1024 + 1024
    norm = 2 * 512
    by_hand = (12 * 512 + 512) + 4 * (ssm + mixing + norm) + (512 * n_classes + n_classes)
    with torch.device("meta"):
        assert sum(p.numel() for p in S4(12, n_classes).parameters()) == by_hand == expected


def test_untrained_time_constants_leave_the_published_size() -> None:
    """Without step sizes and poles, which the published code keeps fixed, 2,183,239 remain for 71 classes."""
    with torch.device("meta"):
        model = S4(12, 71)
    fixed = ("log_dt", "log_decay", "frequency")
    assert sum(p.numel() for k, p in model.named_parameters() if not k.endswith(fixed)) == 2_183_239


def test_norm_follows_the_residual_sum() -> None:
    """Over the channels every sample of a block's output has mean 0 and variance 1 before gain and offset."""
    torch.manual_seed(0)
    out = S4Block(16, 4, "inv", 0.0).double()(100 * signal(2, 16, 9) + 5)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 9, dtype=torch.float64))
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(2, 9, dtype=torch.float64), rtol=1e-4, atol=0)


def test_block_is_residual() -> None:
    """With the mixing switched off only the norm acts."""
    block, x = S4Block(8, 4, "inv", 0.2).double(), signal(2, 8, 9)
    nn.init.zeros_(block.mix[2].weight)
    nn.init.zeros_(block.mix[2].bias)
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(block(x), centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt())


def test_gates_multiply_the_first_half_of_the_channels() -> None:
    """a * sigmoid(b) of the doubled channels, after a GELU, in evaluation."""
    torch.manual_seed(0)
    block, x = S4Block(4, 4, "inv", 0.2).double().eval(), signal(2, 4, 9)
    gelu = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    a, b = (torch.einsum("oc,bct->bot", block.mix[2].weight[:, :, 0], gelu) + block.mix[2].bias[:, None]).chunk(2, 1)
    torch.testing.assert_close(block.mix(x), a / (1 + torch.exp(-b)))


def test_dropout_takes_whole_channels() -> None:
    """In training a channel of the mixture is zero at all samples or, almost surely, at none."""
    torch.manual_seed(0)
    out = S4Block(64, 4, "inv", 0.5).mix(torch.randn(8, 64, 30))
    zero = out.eq(0)
    assert torch.equal(zero.any(-1), zero.all(-1))
    assert zero.all(-1).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_every_parameter_learns() -> None:
    """Through the Fourier transforms too."""
    model = small()
    model(signal(4, 2, 50).float()).square().sum().backward()
    idle = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert idle == []


def test_gradients_are_those_of_finite_differences() -> None:
    """Of the input and of all parameters of one layer, in double precision."""
    ssm, x = layer(d_model=2), signal(1, 2, 6).requires_grad_()
    names = [name for name, _ in ssm.named_parameters()]

    def outputs(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(ssm, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(outputs, (x, *ssm.parameters()))


@pytest.mark.parametrize("time", [1, 250, 8192])
def test_any_length_is_taken(time: int) -> None:
    """Single and double precision agree to rounding."""
    model, x = small().eval(), signal(2, 2, time)
    with torch.no_grad():
        single, double = model(x.float()), model.double()(x)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_state_space_layers_stay_in_full_precision_under_autocast() -> None:
    """Half-precision activations enter; the layer computes and answers in float32."""
    ssm, x = layer().float(), signal(2, 3, 40)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = ssm(x.bfloat16())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, ssm(x.bfloat16().float()))


def test_exported_program_computes_the_same() -> None:
    """torch.export takes the complex arithmetic and the transforms."""
    model, x = small().eval(), signal(2, 2, 37).float()
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))
