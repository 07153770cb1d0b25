"""The classifiers of the Mamba family: sizes counted by hand, stems, and what each token can see."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from ecgbench.models.ecg_mamba import EcgMamba
from ecgbench.models.ecg_mamba_1d import EcgMamba1d

CONF = Path(__file__).resolve().parents[2] / "conf/model"
CLASSES = {"ecg_mamba": EcgMamba} | dict.fromkeys(("ecg_mamba_1d", "mamba", "aum", "vim"), EcgMamba1d)

# Width 384, d_inner 768, 16 states, rank 24, kernels of 4, by hand.
PROJECTIONS = 384 * 2 * 768 + 768 * 384
PATH = (768 * 4 + 768) + 768 * (24 + 16 + 16) + (24 * 768 + 768) + 768 * 16 + 768
ONE_WAY = PROJECTIONS + PATH + 384
SHARED = ONE_WAY + 768 * 16
BOTH = ONE_WAY + PATH
STEM_1D = 12 * 384 * 16 + 384
STEM_TWO = (12 * 128 * 14 + 128 + 2 * 128) + (128 * 384 * 15 + 384 + 2 * 384)
OUTSIDE = 384 + 384 + 384 * 26 + 26  # class token, last norm, head of 26 classes
TOKENS = (8192 - 16) // 8 + 1

PARAMETERS = [
    ("ecg_mamba_1d", {}, STEM_1D + OUTSIDE + (TOKENS + 1) * 384 + 16 * BOTH, 17_171_354),
    ("ecg_mamba_1d", {"n_classes": 24}, 17_171_354 - 2 * 385, 17_170_584),
    ("ecg_mamba_1d", {"norm": "layer"}, 17_171_354 + 17 * 384, 17_177_882),
    ("ecg_mamba_1d", {"use_d": False}, 17_171_354 - 16 * 2 * 768, 17_146_778),
    ("ecg_mamba_1d", {"class_token": "mean"}, 17_171_354 - 2 * 384, 17_170_586),
    ("mamba", {}, STEM_1D + OUTSIDE + (TOKENS + 1) * 384 + 16 * ONE_WAY, 15_905_690),
    ("aum", {}, STEM_1D + OUTSIDE + (TOKENS + 1) * 384 + 16 * SHARED, 16_102_298),
    ("vim", {}, STEM_1D + OUTSIDE + (TOKENS + 1) * 384 + 24 * BOTH, 25_517_978),
    ("ecg_mamba", {}, STEM_TWO + OUTSIDE + (729 + 1) * 384 + 24 * BOTH, 26_091_290),
    ("ecg_mamba", {"n_layer": 5}, STEM_TWO + OUTSIDE + (729 + 1) * 384 + 5 * BOTH, 6_268_058),
    ("ecg_mamba", {"stem_batch_norm": False}, 26_091_290 - 2 * 128 - 2 * 384, 26_090_266),
]

SMALL = {"d_model": 16, "n_layer": 2, "scan_backend": "torch"}
N_SAMPLES = 200


def plain_options(name: str) -> dict[str, Any]:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return {k: v for k, v in config.items() if k != "_target_" and "${" not in str(v)}


def build(name: str, **options: Any) -> nn.Module:
    """A small one of a system, with the options of its YAML."""
    torch.manual_seed(0)
    shape = {"n_leads": 3, "n_classes": 4, "n_samples": N_SAMPLES}
    return CLASSES[name](**(shape | plain_options(name) | SMALL | options))


def signal(batch: int = 3, n_leads: int = 3, time: int = N_SAMPLES, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, n_leads, time, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(("name", "options", "by_hand", "published"), PARAMETERS)
def test_number_of_parameters(name: str, options: dict[str, Any], by_hand: int, published: int) -> None:
    """Added up layer by layer from the architecture, and the published number, with 12 leads and 8192 samples."""
    shape = {"n_leads": 12, "n_classes": 26, "n_samples": 8192}
    with torch.device("meta"):
        model = CLASSES[name](**(shape | plain_options(name) | options))
    assert sum(p.numel() for p in model.parameters()) == by_hand == published


@pytest.mark.parametrize("name", CLASSES)
def test_logits_have_one_column_for_each_class(name: str) -> None:
    """Finite at initialisation, in training and in evaluation."""
    model = build(name)
    for mode in (model.train(), model.eval()):
        y = mode(signal())
        assert y.shape == (3, 4)
        assert y.isfinite().all()


@pytest.mark.parametrize("name", CLASSES)
def test_double_precision_agrees_with_single(name: str) -> None:
    """To rounding."""
    model, x = build(name).eval(), signal(dtype=torch.float64)
    single = model(x.float())
    torch.testing.assert_close(single.double(), model.double()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_a_prediction_does_not_depend_on_its_batch(name: str) -> None:
    """A record scored alone gets the logits that it gets among others."""
    model, x = build(name).eval(), signal()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_exported_program_computes_the_same(name: str) -> None:
    """torch.export of the model in evaluation."""
    model, x = build(name).eval(), signal()
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


@pytest.mark.parametrize("name", CLASSES)
def test_every_sample_reaches_the_logits(name: str) -> None:
    """The class token has seen the record from its first sample to its last, in every arrangement."""
    x = signal(1, dtype=torch.float64).requires_grad_()
    build(name).eval().double()(x).sum().backward()
    assert (x.grad[0] != 0).all()


@pytest.mark.parametrize("class_token", ["start", "middle", "end", "mean"])
def test_every_place_of_the_class_token_sees_all_samples(class_token: str) -> None:
    """With blocks that read both ways."""
    x = signal(1, dtype=torch.float64).requires_grad_()
    build("ecg_mamba_1d", class_token=class_token).double()(x).sum().backward()
    assert (x.grad[0] != 0).all()


def test_samples_behind_the_last_whole_step_are_not_read() -> None:
    """203 samples make the tokens of 200: the first convolution does not pad."""
    model = build("ecg_mamba_1d", n_samples=203)
    x = signal(1, time=203).requires_grad_()
    model(x).sum().backward()
    assert model.vim.pos_embed.shape[1] == (200 - 16) // 8 + 1 + 1
    assert not x.grad[..., 200:].any()
    assert (x.grad[..., :200] != 0).all()


def test_published_records_give_the_published_numbers_of_tokens() -> None:
    """8192 samples: 1023 tokens and a class token at the end; 729 and a class token after the first 364."""
    with torch.device("meta"):
        one, two = (build(name, n_samples=8192).vim for name in ("ecg_mamba_1d", "ecg_mamba"))
    assert (one.pos_embed.shape[1], one.position) == (1024, 1023)
    assert (two.pos_embed.shape[1], two.position) == (730, 364)


def test_stem_of_the_one_convolution_is_linear() -> None:
    """Token k is the weighted sum of samples 8 k to 8 k + 15, with no normalisation or activation."""
    model, x = build("ecg_mamba_1d").double(), signal(dtype=torch.float64)
    windows = x.unfold(-1, 16, 8)
    expected = torch.einsum("blkw,clw->bck", windows, model.stem.weight) + model.stem.bias[:, None]
    torch.testing.assert_close(model.stem(x), expected)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_stem_of_the_two_convolutions(batch_norm: bool) -> None:
    """k14 s3 p2, then k15 s4 p100, each with batch statistics and ReLU: 8192 samples, 2728, 729."""
    model = build("ecg_mamba", n_samples=8192, stem_batch_norm=batch_norm).double()
    h = signal(2, time=8192, dtype=torch.float64)
    lengths, x = [], h
    for layer, (stride, padding) in zip(model.stem, [(3, 2), (4, 100)], strict=True):
        h = F.conv1d(F.pad(h, (padding, padding)), layer[0].weight, layer[0].bias, stride=stride)
        if batch_norm:
            spread, mean = torch.var_mean(h, dim=(0, 2), correction=0, keepdim=True)
            h = (h - mean) / (spread + 1e-5).sqrt()
        h = h.clamp(min=0)
        lengths.append(h.shape[-1])
    assert lengths == [2728, 729]
    torch.testing.assert_close(model.stem(x), h)


def test_published_options_are_in_the_blocks() -> None:
    """Halved sums and rising drop path in the Vim encoders, neither in the other systems."""
    for name in CLASSES:
        blocks = build(name, n_layer=5).vim.encoder.layers
        rates = [block.drop[1].probability for block in blocks]
        halved = [getattr(block.mixer, "divide", False) for block in blocks]
        as_vim = name in ("vim", "ecg_mamba")
        assert rates == pytest.approx([0, 0.025, 0.05, 0.075, 0.1] if as_vim else [0] * 5)
        assert halved == [as_vim] * 5


def test_training_with_drop_path_is_random_and_evaluation_is_not() -> None:
    """Two passes over the same batch."""
    model, x = build("vim", drop_path=0.5), signal(16)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize(("class_token", "seen"), [("start", "nothing but itself"), ("middle", "the first half")])
def test_a_forward_reading_token_must_stand_behind_the_record(class_token: str, seen: str) -> None:
    """The refusal says what the token would see, and the ways on."""
    message = rf"class_token='{class_token}' with direction='forward' would see {seen}.*class_token=end or mean"
    with pytest.raises(ValueError, match=message):
        build("mamba", class_token=class_token)


def test_unknown_class_token_is_refused_with_the_choices() -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match="class_token='last' is not known: choose one of end, middle, start, mean"):
        build("ecg_mamba_1d", class_token="last")


@pytest.mark.parametrize(("name", "shortest"), [("ecg_mamba_1d", 16), ("ecg_mamba", 10)])
def test_records_shorter_than_the_first_kernel_are_refused(name: str, shortest: int) -> None:
    """The shortest allowed length works, one sample less is an error with that length."""
    assert build(name, n_samples=shortest).eval()(signal(time=shortest)).shape == (3, 4)
    with pytest.raises(ValueError, match=f"n_samples={shortest - 1} is shorter.* at least {shortest} samples"):
        build(name, n_samples=shortest - 1)


@pytest.mark.parametrize("name", ["ecg_mamba_1d", "ecg_mamba"])
@pytest.mark.parametrize(("n_leads", "time"), [(3, N_SAMPLES + 8), (3, N_SAMPLES - 1), (2, N_SAMPLES)])
def test_a_record_of_another_shape_is_refused(name: str, n_leads: int, time: int) -> None:
    """Also a longer one whose extra samples would make no token: nothing is interpolated or cut."""
    message = rf"shape \(3, {n_leads}, {time}\).*built for \(batch, 3, 200\).*position embedding"
    with pytest.raises(ValueError, match=message):
        build(name)(signal(n_leads=n_leads, time=time))


@pytest.mark.parametrize(("name", "n_steps"), [("ecg_mamba_1d", 100), ("aum", 100), ("mamba", 100), ("ecg_mamba", 50)])
def test_a_few_steps_fit_a_rule_that_needs_both_ends(name: str, n_steps: int) -> None:
    """The sign of a deflection at the start, and that of one at the end, are learned by one class each."""
    generator = torch.Generator().manual_seed(3)
    signs = torch.randint(0, 2, (32, 2), generator=generator).float()
    x = 0.1 * torch.randn(32, 3, N_SAMPLES, generator=generator)
    x[..., 10:30] += 2 * signs[:, :1, None] - 1
    x[..., -30:-10] += 2 * signs[:, 1:, None] - 1
    model = build(name, n_classes=2, scan_backend="auto")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), signs)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert torch.equal(model.eval()(x) > 0, signs.bool())
