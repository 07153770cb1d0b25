"""The contract of every reconstruction system: what a model must do to be trained, stored, exported and compared."""

from typing import Any, NamedTuple

import pytest
import torch
import yaml
from torch import Tensor, nn

from ecgbench.config import CONF_DIR, locate


class Row(NamedTuple):
    """One system: options that make it small, its size as configured, how it is fitted."""

    small: dict[str, Any]
    n_parameters: int
    n_published: int | None = None
    """Parameters and running statistics of the part that predicts, where a publication counts only those."""
    is_adversarial: bool = False


ZOO = {
    "mcma": Row({"kernel": 3}, 7_003_604),
    # The last InstanceNorm (24) becomes a 1x1 convolution of 12 x 12 weights and 12 biases.
    "mcma_linear": Row({"kernel": 3}, 7_003_604 - 24 + 12 * 12 + 12),
    "unet1d": Row({"width": 4, "depth": 2}, 4_174_452),
    "mamba_unet": Row({"width": 6, "widths": [8, 10, 12], "taps": 5, "scan_backend": "torch"}, 925_880),
    "ekgan": Row({"base": 4}, 12_524_672 + 11_147_904 + 2_435_904, 12_530_432, is_adversarial=True),
    "cgan": Row({"base": 4}, 19_652_492 + 696_257, is_adversarial=True),
    "ecgrecover": Row({"widths": [3, 4, 5], "rows": 5}, 1_858_017),
    "zero": Row({}, 0),
    "lead_copy": Row({}, 0),
    "lead_regression": Row({}, 0),
    "lead_fir": Row({"n_taps": 9}, 0),
}
LEARNED = [name for name, row in ZOO.items() if row.n_parameters]
TIME = 256


def build(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """A model from its config, with twelve leads; solved from noise where it is fitted in closed form."""
    given = yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text())
    target = locate(given.pop("_target_"), "model")
    plain = {k: v for k, v in given.items() if "${" not in str(v)}
    shape = {"n_leads": 12} if "n_leads" in given else {}
    torch.manual_seed(seed)
    return target(**{**shape, **plain, **options})


def small(name: str, seed: int = 0) -> nn.Module:
    model = build(name, seed, **ZOO[name].small)
    if hasattr(model, "accumulate"):
        model.accumulate(signal(16), torch.ones(16, TIME, dtype=torch.bool))
        model.solve()
    return model.eval()


def signal(batch: int) -> Tensor:
    return torch.randn(batch, 12, TIME, generator=torch.Generator().manual_seed(7))


def lead_one(y: Tensor) -> Tensor:
    """The input when lead I is given."""
    return y * (torch.arange(12) == 0)[:, None]


def test_every_system_is_in_this_table() -> None:
    """A model is one YAML and one row; neither may be missing."""
    targets = {p.stem: yaml.safe_load(p.read_text()).get("_target_") for p in (CONF_DIR / "model").glob("*.yaml")}
    found = {name for name, target in targets.items() if target and "reconstruction" in locate(target, name).tasks}
    assert found == set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_parameter_count_is_frozen(name: str) -> None:
    """As configured; of the published part with its running statistics, where a publication counts those."""
    with torch.device("meta"):
        model = build(name)
    assert sum(p.numel() for p in model.parameters()) == ZOO[name].n_parameters
    if ZOO[name].n_published:
        running = [b for key, b in model.generator.named_buffers() if "running" in key]
        predicts = [*model.generator.parameters(), *running]
        assert sum(v.numel() for v in predicts) == ZOO[name].n_published


@pytest.mark.parametrize("name", ZOO)
def test_output_has_the_input_s_shape_and_type(name: str) -> None:
    """Finite, for float32 and float64, which agree to rounding."""
    model, x = small(name), lead_one(signal(2))
    with torch.no_grad():
        single = model(x)
        double = model.double()(x.double())
    assert single.shape == x.shape
    assert single.isfinite().all()
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_learns(name: str) -> None:
    """A step of all its losses gives each parameter a finite gradient that is not zero."""
    model, y = small(name), signal(4)
    x, mask = lead_one(y), torch.ones(4, TIME, dtype=torch.bool)
    if ZOO[name].is_adversarial:
        (model.generator_loss(x, y) + model.discriminator_loss(x, y)).backward()
    elif hasattr(model, "training_loss"):
        model.training_loss(x, y, mask).backward()
    else:
        (model(x) - y).square().mean().backward()
    gradients = {key: p.grad for key, p in model.named_parameters()}
    assert [k for k, g in gradients.items() if g is None or not g.isfinite().all() or not g.any()] == []


@pytest.mark.parametrize("name", ZOO)
def test_state_dict_restores_a_model(name: str) -> None:
    """Loaded into another initialisation, strictly, it gives the same outputs to the bit."""
    model, other, x = small(name, seed=1), small(name, seed=2), lead_one(signal(2))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("name", ZOO)
def test_a_prediction_does_not_depend_on_its_batch(name: str) -> None:
    """A window rebuilt alone and among others gets the same leads, and the batch is left as it was."""
    model, x = small(name), lead_one(signal(3))
    kept = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("name", LEARNED)
def test_torch_export_keeps_the_outputs(name: str) -> None:
    """The exported program computes what the module does."""
    model, x = small(name), lead_one(signal(2))
    program = torch.export.export(model, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)
