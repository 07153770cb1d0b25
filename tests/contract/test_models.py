"""The contract of every super-resolution system: what a model must do to be trained, stored, exported and compared."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from torch import Tensor, nn

from ecgbench.config import locate

REPO = Path(__file__).resolve().parents[2]


class Row(NamedTuple):
    """One system: its class, options that make it small, and whether it learns."""

    class_name: str
    small: dict[str, Any]
    learns: bool = True


ZOO = {
    "msecg": Row("MSECG", {"width": 16, "n_layer": 2, "scan_backend": "torch"}),
    "srecg": Row("SRECG", {"n_blocks": 2, "tail": [16, 8]}),
    "dcae_sr": Row("DcaeSr", {}),
    "interp": Row("Interp", {}, learns=False),
}
LEARNED = [name for name, row in ZOO.items() if row.learns]

PARAMETERS = [
    # Lin et al. 2024 publish 1.91 M; the other depths, and those with channel gates, are counted by the authors' code.
    ("msecg", {"n_layer": 1}, 978_808),
    ("msecg", {"n_layer": 2}, 1_212_024),
    ("msecg", {"n_layer": 3}, 1_445_240),
    ("msecg", {"n_layer": 4}, 1_678_456),
    ("msecg", {}, 1_911_672),
    ("msecg", {"skip": "grid_aligned"}, 1_911_672),
    ("msecg", {"squeeze_excite": True, "n_layer": 1}, 987_000),
    ("msecg", {"squeeze_excite": True, "n_layer": 2}, 1_220_216),
    ("msecg", {"squeeze_excite": True, "n_layer": 3}, 1_453_432),
    ("msecg", {"squeeze_excite": True, "n_layer": 4}, 1_686_648),
    ("msecg", {"squeeze_excite": True}, 1_919_864),
    # Without the backward blocks (5 x 116,608) and their half of the merging convolution (128 x 128 x 15).
    ("msecg", {"bidirectional": False}, 1_911_672 - 583_040 - 245_760),
    ("srecg", {}, 3_051_980),
    ("srecg", {"tail": [128, 128]}, 2_461_964),
    ("dcae_sr", {}, 31_288_212),
    ("interp", {}, 0),
]

SIZES = [(12, 10, 25), (2, 10, 36), (2, 4, 21), (1, 7, 16), (3, 2, 9)]
"""(leads, upscale, low-rate samples): 12 leads at 500 Hz, 2 leads at 360 Hz, a prime factor, odd and short lengths."""


def model_class(name: str) -> Callable[..., nn.Module]:
    return getattr(importlib.import_module(f"ecgbench.models.{name}"), ZOO[name].class_name)


def accepted(name: str) -> set[str]:
    return set(inspect.signature(model_class(name)).parameters)


def build(name: str, n_leads: int = 2, upscale: int = 4, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    shape = {"n_leads": n_leads, "upscale": upscale}
    return model_class(name)(**{k: v for k, v in shape.items() if k in accepted(name)}, **options)


def small(name: str, n_leads: int = 2, upscale: int = 4, seed: int = 0) -> nn.Module:
    return build(name, n_leads, upscale, seed, **ZOO[name].small)


def read_yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPO / "conf/model" / f"{name}.yaml").read_text())


def signal(batch: int, n_leads: int, time: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, n_leads, time, generator=torch.Generator().manual_seed(7), dtype=dtype)


def tensors(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_system_is_in_this_table_and_has_a_config() -> None:
    """A model is one file, one YAML and one row; none of the three may be missing."""
    targets = {p.stem: yaml.safe_load(p.read_text()).get("_target_") for p in (REPO / "conf/model").glob("*.yaml")}
    tasks = {name: locate(target, name).tasks for name, target in targets.items() if target}
    assert {name for name, names in tasks.items() if "superres" in names} == set(ZOO)


def test_every_file_of_models_is_a_system_with_a_config_of_its_name() -> None:
    """One rule for all tasks: file = config."""
    files = {path.stem for path in (REPO / "ecgbench/models").glob("*.py")} - {"__init__"}
    assert files <= {path.stem for path in (REPO / "conf/model").glob("*.yaml")}


@pytest.mark.parametrize("name", ZOO)
def test_config_is_the_signature_of_its_class(name: str) -> None:
    """The YAML names the class in full and sets every option that the constructor has, and no other."""
    config = read_yaml(name)
    assert config.pop("_target_") == f"ecgbench.models.{name}.{ZOO[name].class_name}"
    assert ZOO[name].class_name.lower() == name.replace("_", "")
    assert set(config) == accepted(name)


@pytest.mark.parametrize("name", ZOO)
def test_every_option_of_a_config_is_explained(name: str) -> None:
    """Each key carries a comment on its own line."""
    lines = (REPO / "conf/model" / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("#")
    assert all("#" in line for line in lines if line and not line.startswith("_target_"))


@pytest.mark.parametrize(("name", "options", "expected"), PARAMETERS)
def test_parameter_count_is_the_published_one(name: str, options: dict[str, Any], expected: int) -> None:
    """With 12 leads, upscale 10 and the options of the YAML."""
    plain = {k: v for k, v in read_yaml(name).items() if k != "_target_" and "${" not in str(v)}
    with torch.device("meta"):
        assert count(build(name, 12, 10, **(plain | options))) == expected


def test_dcae_sr_predicts_with_the_published_number_of_parameters() -> None:
    """Encoder and upsampling decoder, without the decoder that reconstructs the input."""
    with torch.device("meta"):
        model = build("dcae_sr", 12, 10)
        assert count(model) - count(model.lr_decoder) == 28_404_552


@pytest.mark.parametrize(("n_leads", "upscale", "time"), SIZES)
@pytest.mark.parametrize("name", ZOO)
def test_output_has_exactly_upscale_times_the_samples(name: str, n_leads: int, upscale: int, time: int) -> None:
    """In the type of the input, and finite at initialisation."""
    with torch.no_grad():
        hr, *lr = tensors(small(name, n_leads, upscale)(signal(2, n_leads, time)))
    assert hr.shape == (2, n_leads, time * upscale)
    assert all(reconstruction.shape == (2, n_leads, time) for reconstruction in lr)
    assert all(out.dtype == torch.float32 and out.isfinite().all() for out in (hr, *lr))


@pytest.mark.parametrize("name", ZOO)
def test_double_precision_agrees_with_single(name: str) -> None:
    """float64 in, float64 out, and float32 differs from it by rounding only."""
    model, x = small(name).eval(), signal(2, 2, 16, torch.float64)
    with torch.no_grad():
        single = tensors(model(x.float()))[0]
        double = tensors(model.double()(x))[0]
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_learns(name: str) -> None:
    """One backward pass gives each parameter, and the input, a finite gradient that is not zero."""
    model, x = small(name), signal(2, 2, 16).requires_grad_()
    sum(out.square().sum() for out in tensors(model(x))).backward()
    gradients = {key: p.grad for key, p in model.named_parameters()} | {"input": x.grad}
    idle = [k for k, g in gradients.items() if g is None or not g.isfinite().all() or not g.any()]
    assert idle == []


@pytest.mark.parametrize("name", ZOO)
def test_state_dict_restores_a_model(name: str) -> None:
    """Loaded into another initialisation, strictly, it gives the same outputs to the bit."""
    model, other, x = small(name, seed=1).eval(), small(name, seed=2).eval(), signal(2, 2, 16)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(tensors(model(x)), tensors(other(x)), strict=True))


@pytest.mark.parametrize("name", LEARNED)
def test_initialisation_follows_the_seed(name: str) -> None:
    """Equal seeds give equal weights, other seeds others."""
    first, again, other = (small(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ZOO)
def test_a_prediction_does_not_depend_on_its_batch(name: str) -> None:
    """A record scored alone and among others gets the same signal."""
    model, x = small(name).eval(), signal(3, 2, 16)
    with torch.no_grad():
        torch.testing.assert_close(tensors(model(x))[0][1:2], tensors(model(x[1:2]))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_forward_leaves_its_input_alone(name: str) -> None:
    """The batch may be used again by the loss."""
    x = signal(2, 2, 16)
    kept = x.clone()
    small(name)(x)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("name", LEARNED)
def test_torch_export_keeps_the_outputs(name: str) -> None:
    """The exported program computes what the module does."""
    model, x = small(name).eval(), signal(2, 2, 16)
    program = torch.export.export(model, (x,))
    with torch.no_grad():
        for exported, eager in zip(tensors(program.module()(x)), tensors(model(x)), strict=True):
            torch.testing.assert_close(exported, eager)
