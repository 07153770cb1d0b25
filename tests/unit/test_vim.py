"""The Vim encoder against its recurrences written out step by step, and the symmetry of its two directions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgbench.models.layers.mamba import Mamba
from ecgbench.models.layers.vim import (
    MIXERS,
    ChannelLayerNorm,
    DropPath,
    OwnPathsMamba,
    SharedPathMamba,
    VimClassifier,
    VimEncoder,
)

D_MODEL, TIME, BATCH = 8, 17, 2
Weights = dict[str, np.ndarray]


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def convolved(taps: np.ndarray, bias: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(d_inner, time) through a causal depthwise convolution and SiLU, one sample after another."""
    history = np.zeros(taps.shape)
    outputs = []
    for sample in u.T:
        history = np.column_stack([history[:, 1:], sample])
        outputs.append(silu((history * taps).sum(1) + bias))
    return np.stack(outputs, 1)


def scanned(w: Weights, suffix: str, a_log: np.ndarray, u: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The gated recurrence of Gu & Dao 2023, algorithm 2, over a convolved signal."""
    rank, state = w[f"dt_proj{suffix}.weight"].shape[1], np.zeros(a_log.shape)
    outputs = []
    for sample, gate in zip(u.T, z.T, strict=True):
        dt, b, c = np.split(w[f"x_proj{suffix}.weight"] @ sample, [rank, rank + a_log.shape[1]])
        delta = np.log1p(np.exp(w[f"dt_proj{suffix}.weight"] @ dt + w[f"dt_proj{suffix}.bias"]))
        state = np.exp(-np.exp(a_log) * delta[:, None]) * state + (delta * sample)[:, None] * b
        outputs.append((state @ c + w[f"D{suffix}"] * sample) * silu(gate))
    return np.stack(outputs, 1)


def own_paths(w: Weights, x: np.ndarray) -> np.ndarray:
    """Vim v2 on one record: the whole path of the backward direction runs on the flipped pair (x, z)."""
    u, z = np.split(w["in_proj.weight"] @ x, 2)
    ahead = scanned(w, "", w["A_log"], convolved(w["conv1d.weight"][:, 0], w["conv1d.bias"], u), z)
    flipped = convolved(w["conv1d_b.weight"][:, 0], w["conv1d_b.bias"], u[:, ::-1])
    return w["out_proj.weight"] @ (ahead + scanned(w, "_b", w["A_b_log"], flipped, z[:, ::-1])[:, ::-1])


def shared_path(w: Weights, x: np.ndarray) -> np.ndarray:
    """Vim v1 on one record: the backward scan runs on the flipped output of the forward convolution."""
    u, z = np.split(w["in_proj.weight"] @ x, 2)
    u = convolved(w["conv1d.weight"][:, 0], w["conv1d.bias"], u)
    back = scanned(w, "", w["A_b_log"], u[:, ::-1], z[:, ::-1])[:, ::-1]
    return w["out_proj.weight"] @ (scanned(w, "", w["A_log"], u, z) + back)


def perturbed(model: nn.Module) -> nn.Module:
    """With every weight off its initial pattern and long steps, so that no slip between two weights goes unseen."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
            if name.endswith(("dt_proj.bias", "dt_proj_b.bias")):
                parameter.add_(3)
    return model.double()


def mixer(kind: type[Mamba], **options: object) -> Mamba:
    torch.manual_seed(0)
    return perturbed(kind(D_MODEL, scan_backend="torch", **options))


def encoder(direction: str, **options: object) -> VimEncoder:
    torch.manual_seed(0)
    return perturbed(VimEncoder(D_MODEL, 3, direction, scan_backend="torch", **options))


def signal(channels: int = D_MODEL) -> Tensor:
    return torch.randn(BATCH, channels, TIME, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def swapped(model: nn.Module) -> nn.Module:
    """The same weights, those of the two directions exchanged."""
    state = dict(model.state_dict())
    for back in [name for name in state if "_b." in name or name.endswith(("A_b_log", "D_b"))]:
        ahead = back.replace("_b.", ".").replace("A_b_log", "A_log").replace("D_b", "D")
        state[back], state[ahead] = state[ahead], state[back]
    model.load_state_dict({name: value.clone() for name, value in state.items()})
    return model


def only_the_present(model: nn.Module) -> nn.Module:
    """Convolutions whose taps on earlier samples are zero, so that they have no direction."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d):
                module.weight[..., :-1] = 0
    return model


@pytest.mark.parametrize(("kind", "reference"), [(OwnPathsMamba, own_paths), (SharedPathMamba, shared_path)])
@pytest.mark.parametrize("options", [{}, {"divide": True}, {"d_state": 5, "d_conv": 3, "expand": 3, "dt_rank": 2}])
def test_output_is_the_recurrence_of_both_directions(kind, reference, options) -> None:
    """In float64, halved where asked for, for the usual sizes and for sizes that all differ."""
    model, x = mixer(kind, **options), signal()
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    expected = np.stack([reference(weights, record) for record in x.numpy()]) / (2 if options.get("divide") else 1)
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [OwnPathsMamba, SharedPathMamba])
def test_native_scan_gives_the_same_values_and_slopes(kind: type[Mamba]) -> None:
    """The library that trains on CPUs against the plain backend, for every weight and the input."""
    outcomes = []
    for backend in ("auto", "loop"):
        model, x = mixer(kind, divide=True), signal().requires_grad_()
        model.scan_backend = backend
        y = model(x)
        outcomes.append([y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])])
    for fast, slow in zip(*outcomes, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("divide", [False, True])
def test_swapped_paths_and_a_flipped_input_flip_the_output(divide: bool) -> None:
    """Vim v2, the mixer; with the paths left as they are the output is another."""
    model, x = mixer(OwnPathsMamba, divide=divide), signal()
    expected, unswapped = model(x).flip(-1), model(x.flip(-1))
    torch.testing.assert_close(swapped(model)(x.flip(-1)), expected, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(unswapped, expected, rtol=1e-2)


@pytest.mark.parametrize("divide", [False, True])
def test_swapped_scans_and_a_flipped_input_flip_the_output(divide: bool) -> None:
    """Vim v1, whose scans have two directions and whose convolution one: exactly so where that sees one sample only."""
    model, x = mixer(SharedPathMamba, divide=divide), signal()
    assert not torch.allclose(model(x).flip(-1), swapped(mixer(SharedPathMamba, divide=divide))(x.flip(-1)), rtol=1e-2)
    expected = only_the_present(model)(x).flip(-1)
    torch.testing.assert_close(swapped(model)(x.flip(-1)), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("direction", ["both", "shared"])
@pytest.mark.parametrize("options", [{}, {"divide": True}, {"norm": "layer"}, {"use_d": False}])
def test_swapping_flips_the_whole_encoder(direction: str, options: dict[str, object]) -> None:
    """Three blocks and the last normalisation; v1 with convolutions that see one sample only."""
    model, x = encoder(direction, **options), signal()
    if direction == "shared":
        only_the_present(model)
    expected = model(x).flip(-1)
    torch.testing.assert_close(swapped(model)(x.flip(-1)), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("direction", MIXERS)
def test_reverse_is_a_flip_before_and_after(direction: str) -> None:
    """Every mixer can be run from the end of time, all of it."""
    model, x = mixer(MIXERS[direction]), signal()
    torch.testing.assert_close(model(x, reverse=True), model(x.flip(-1)).flip(-1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("direction", MIXERS)
def test_only_the_forward_encoder_is_causal(direction: str) -> None:
    """A changed token moves itself and later ones, and earlier ones exactly where a block reads both ways."""
    model, x, changed = encoder(direction), signal(), signal()
    changed[..., 9] += 1.0
    with torch.no_grad():
        moved = (model(x) != model(changed)).any(dim=1).all(dim=0)
    assert moved[9:].all()
    assert bool(moved[:9].any()) == bool(moved[:9].all()) == (direction != "forward")


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_encoder_is_a_stack_of_pre_norm_residuals(norm: str) -> None:
    """x + f(norm(x)) block by block, then the last norm; both norms recomputed by torch on channels-last data."""
    model, x = encoder("both", norm=norm), signal()

    def normalise(module: nn.Module, h: Tensor) -> Tensor:
        if norm == "rms":
            return F.rms_norm(h.mT, (D_MODEL,), module.weight, 1e-5).mT
        return F.layer_norm(h.mT, (D_MODEL,), module.weight, module.bias, 1e-5).mT

    expected = x
    for block in model.layers:
        expected = expected + block.mixer(normalise(block.norm, expected))
    torch.testing.assert_close(model(x), normalise(model.norm_f, expected), rtol=1e-11, atol=1e-12)


def test_channel_layer_norm_is_the_one_of_torch() -> None:
    """On each token's channels, in single precision, with an offset a thousand times the spread."""
    norm, x = perturbed(ChannelLayerNorm(D_MODEL)).float(), 1000 + signal().float()
    expected = F.layer_norm(x.mT.double(), (D_MODEL,), norm.weight.double(), norm.bias.double(), 1e-5).mT
    torch.testing.assert_close(norm(x).double(), expected, rtol=0, atol=2e-3)


def test_without_d_the_scan_has_no_skip_path() -> None:
    """The same as D = 0, and the state dict has no D."""
    with_d, without = encoder("both"), encoder("both", use_d=False)
    state = with_d.state_dict()
    without.load_state_dict({name: value for name, value in state.items() if name.split(".")[-1] not in ("D", "D_b")})
    with_d.load_state_dict({k: v * (k.split(".")[-1] not in ("D", "D_b")) for k, v in state.items()})
    torch.testing.assert_close(without(signal()), with_d(signal()))


def test_residual_stays_in_single_precision_under_autocast() -> None:
    """Blocks see float32, though their projections give bfloat16; a bfloat16 input is widened too."""
    model = VimEncoder(D_MODEL, 3, scan_backend="torch")
    seen: dict[str, list[torch.dtype]] = {"residual": [], "mixed": []}
    for block in model.layers:
        block.norm.register_forward_pre_hook(lambda _, args: seen["residual"].append(args[0].dtype))
        block.mixer.register_forward_hook(lambda *args: seen["mixed"].append(args[2].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(signal().bfloat16())
    assert seen == {"residual": [torch.float32] * 3, "mixed": [torch.bfloat16] * 3}
    assert y.dtype == torch.float32


@pytest.mark.parametrize(("n_layer", "expected"), [(1, [0.1]), (2, [0, 0.1]), (5, [0, 0.025, 0.05, 0.075, 0.1])])
def test_drop_path_rises_linearly_to_the_last_block(n_layer: int, expected: list[float]) -> None:
    """From 0 in the first block; a single block has the whole rate."""
    layers = VimEncoder(D_MODEL, n_layer, drop_path=0.1).layers
    assert [block.drop[1].probability for block in layers] == pytest.approx(expected)


def test_drop_path_leaves_out_whole_records_and_keeps_the_mean() -> None:
    """A quarter of 4000 records is zero everywhere, the others are 4/3 of the input; in evaluation nothing happens."""
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.rand(4000, 2, 3) + 1
    ratio = (drop(x) / x).flatten(1)
    kept = ratio[:, 0] > 0
    torch.testing.assert_close(ratio, torch.where(kept, 4 / 3, 0.0)[:, None].expand(-1, 6))
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_a_dropped_block_leaves_the_residual_as_it_is() -> None:
    """With the last of two blocks nearly always dropped, the first alone is left."""
    torch.manual_seed(0)
    model, x = VimEncoder(D_MODEL, 2, drop_path=1 - 1e-9, scan_backend="torch").double(), signal()
    first = x + model.layers[0].mixer(model.layers[0].norm(x))
    torch.testing.assert_close(model(x), model.norm_f(first))
    assert not torch.allclose(model.eval()(x), model.norm_f(first), rtol=1e-3)


def test_dropout_zeroes_numbers_of_a_blocks_output() -> None:
    """In training about half of them at 0.5, the rest doubled; none in evaluation."""
    torch.manual_seed(0)
    block, x = VimEncoder(D_MODEL, 1, dropout=0.5, scan_backend="torch").double().layers[0], signal()
    ratio = (block(x) - x) / (block.eval()(x) - x)
    torch.testing.assert_close(ratio, torch.where(ratio > 1, 2.0, 0.0).double(), rtol=1e-6, atol=1e-9)
    assert float((ratio > 1).double().mean()) == pytest.approx(0.5, abs=0.1)


def test_parameter_names_of_the_mixers_are_those_of_vim() -> None:
    """v2 duplicates five modules, v1 only A; in the published code's names and shapes, for width 384."""
    common = {"A_log": (768, 16), "D": (768,), "in_proj.weight": (1536, 384), "out_proj.weight": (384, 768)}
    common |= {"conv1d.weight": (768, 1, 4), "conv1d.bias": (768,), "x_proj.weight": (56, 768)}
    common |= {"dt_proj.weight": (768, 24), "dt_proj.bias": (768,)}
    names = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias")
    back = {name.replace(".", "_b."): common[name] for name in names} | {"A_b_log": (768, 16), "D_b": (768,)}
    with torch.device("meta"):
        shapes = [{k: tuple(v.shape) for k, v in kind(384).state_dict().items()} for kind in MIXERS.values()]
    assert shapes == [common | back, common | {"A_b_log": (768, 16)}, common]
    sizes = [sum(math.prod(shape) for shape in each.values()) for each in shapes]
    assert sizes == [1_042_944, 976_128, 963_840]


def test_initial_values_of_both_directions() -> None:
    """A from 1 to 16, D one, steps log-uniform in [1e-3, 0.1] both ways, projections out smaller by sqrt(n_layer)."""
    torch.manual_seed(0)
    mixers = [block.mixer for block in VimEncoder(256, 4).layers]
    for model in mixers:
        for a_log, d in ((model.A_log, model.D), (model.A_b_log, model.D_b)):
            torch.testing.assert_close(a_log.detach().exp(), torch.arange(1.0, 17.0).expand(512, 16))
            assert torch.equal(d.detach(), torch.ones(512))
        for projection in (model.dt_proj, model.dt_proj_b):
            steps = F.softplus(projection.bias.detach().double())
            assert 0.99e-3 < steps.min() < 1.2e-3
            assert 0.08 < steps.max() < 0.101
            assert steps.log10().mean() == pytest.approx(-2, abs=0.1)
        bound = 512**-0.5 / math.sqrt(4)
        assert 0.99 * bound < model.out_proj.weight.abs().max() <= bound
        assert not torch.equal(model.dt_proj.bias, model.dt_proj_b.bias)


@pytest.mark.parametrize("direction", MIXERS)
def test_time_constants_and_skips_ask_for_no_weight_decay(direction: str) -> None:
    """A and D of all directions carry mamba-ssm's flag, and nothing else does."""
    model = VimEncoder(D_MODEL, 2, direction)
    spared = {name.split(".")[-1] for name, p in model.named_parameters() if getattr(p, "_no_weight_decay", False)}
    expected = {
        "both": {"A_log", "A_b_log", "D", "D_b"},
        "shared": {"A_log", "A_b_log", "D"},
        "forward": {"A_log", "D"},
    }
    assert spared == expected[direction]


@pytest.mark.parametrize(("class_token", "position"), [("start", 0), ("middle", 5), ("end", 11), ("mean", None)])
def test_class_token_stands_where_it_is_read_out(class_token: str, position: int | None) -> None:
    """Between tokens 5 and 6 of eleven for "middle"; positions are added to it too, and "mean" averages all tokens."""
    torch.manual_seed(0)
    model = perturbed(VimClassifier(D_MODEL, 11, 3, 1, class_token, "both", scan_backend="torch"))
    model.encoder, x = nn.Identity(), signal()[..., :11]
    if position is None:
        expected = (x + model.pos_embed[0].T).mean(2)
    else:
        expected = (model.cls_token[0, 0] + model.pos_embed[0, position]).expand(BATCH, -1)
    torch.testing.assert_close(model(x), expected @ model.head.weight.T + model.head.bias)
    assert model.pos_embed.shape == (1, 11 + (position is not None), D_MODEL)


@pytest.mark.parametrize("class_token", ["start", "middle", "end"])
def test_tokens_keep_their_order_around_the_class_token(class_token: str) -> None:
    """What the encoder sees, without the class token and positions, is the input."""
    model = VimClassifier(D_MODEL, TIME, 3, 1, class_token, "both", scan_backend="torch").double()
    seen, x = [], signal()
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(x)
    tokens = list((seen[0] - model.pos_embed[0].T).unbind(-1))
    torch.testing.assert_close(tokens.pop(model.position), model.cls_token[0].expand(BATCH, -1))
    torch.testing.assert_close(torch.stack(tokens, -1), x)


def test_an_outer_class_token_leaves_one_a_of_the_last_block_without_effect() -> None:
    """At the end, the last backward scan starts with the token: no earlier state decays; all other weights learn."""
    idle = {}
    for class_token in ("start", "middle", "end"):
        torch.manual_seed(0)
        model = perturbed(VimClassifier(D_MODEL, TIME, 3, 2, class_token, "both", scan_backend="torch"))
        model(signal()).square().sum().backward()
        idle[class_token] = [name for name, p in model.named_parameters() if not p.grad.any()]
    last = "encoder.layers.1.mixer."
    assert idle == {"start": [last + "A_log"], "middle": [], "end": [last + "A_b_log"]}


def test_token_positions_and_head_start_from_a_narrow_normal_distribution() -> None:
    """Standard deviation 0.02; biases of the head are zero."""
    torch.manual_seed(0)
    model = VimClassifier(256, 40, 26, 1, "end", "both")
    for values in (model.cls_token, model.pos_embed, model.head.weight):
        assert values.detach().std() == pytest.approx(0.02, rel=0.15)
        assert values.detach().mean() == pytest.approx(0, abs=0.004)
    assert not model.head.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "backward"}, "model.direction='backward' is not known: choose one of both, shared, forward."),
        ({"norm": "batch"}, "model.norm='batch' is not known: choose one of rms, layer."),
        ({"drop_path": 1.0}, "model.drop_path=1 is not a probability: give a number from 0 to below 1."),
        ({"dropout": -0.1}, "model.dropout=-0.1 is not a probability"),
        ({"n_layer": 0}, "model.n_layer=0 leaves no block"),
        ({"direction": "forward", "divide": True}, "direction='forward' has one: set model.divide=false"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, object], message: str) -> None:
    """In one sentence with the value given and the ones allowed."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        VimEncoder(**({"d_model": D_MODEL, "n_layer": 1} | options))
    assert message in str(error.value)
