"""The contract of every classifier: what a model must do to be trained, stored, exported and compared."""

from typing import Any, NamedTuple

import pytest
import torch
import yaml
from torch import Tensor, nn

from ecgbench.config import CONF_DIR, locate

PUBLISHED = {"n_leads": 12, "n_classes": 26, "n_samples": 8192}


class Row(NamedTuple):
    """One system: options that make it small, its published size, and parameters that have no gradient at the start."""

    small: dict[str, Any]
    n_parameters: int
    n_classes: int = 26
    idle: tuple[str, ...] = ()
    n_samples: int = 512


THIN = {"d_model": 16, "n_layer": 2, "scan_backend": "torch", "drop_path": 0.0}
# The class token stands last, so the last block's backward scan reads it first, from an empty state: its A has no say.
LAST_A = ("vim.encoder.layers.1.mixer.A_b_log",)
ZOO = {
    "ecg_mamba_1d": Row(THIN, 17_171_354, idle=LAST_A),
    # Stem 12,352, token and positions 65,600, four blocks of 40,768, norm 64, head 1,690.
    "ecg_mamba_1d_small": Row(THIN, 12_352 + 65_600 + 4 * 40_768 + 64 + 1_690, idle=LAST_A),
    "mamba": Row(THIN, 15_905_690),
    "aum": Row(THIN, 16_102_298, idle=LAST_A),
    "vim": Row(THIN, 25_517_978),
    "ecg_mamba": Row({**THIN, "stem_width": 8}, 26_091_290),
    "prna": Row({"n_layer": 1, "feedforward": 32, "dropout": 0.0, "head_dropout": 0.0}, 13_643_885, 27, n_samples=1000),
    "isibrno": Row({"width": 16, "n_blocks": 2, "n_head": 2, "dropout": 0.0}, 6_561_900),
    "isibrno_no_attention": Row({"width": 16, "n_blocks": 2, "n_head": 2, "dropout": 0.0}, 6_298_732),
    "cnn2d": Row({"dropout": 0.0, "last_dropout": 0.0}, 595_034),
    "xresnet1d101": Row(
        {"stem": (4, 4, 8), "blocks": (1, 2), "width": 4, "zero_init_last": False, "head_width": 8}, 1_874_970
    ),
    "inception1d": Row({"n_modules": 3, "kernels": (5, 3), "filters": 4, "bottleneck": 4, "head_width": 8}, 510_362),
    "resnet1d_wang": Row({"width": 8, "head_width": 8}, 476_058),
    "s4": Row({"d_model": 8, "d_state": 4, "n_layer": 2, "dropout": 0.0}, 2_178_586),
    "majority": Row({}, 0),
}
LEARNED = [name for name, row in ZOO.items() if row.n_parameters]


def read_yaml(name: str) -> dict[str, Any]:
    """The options of a config and of the one it starts from, with their target."""
    own = yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text())
    bases = [b for b in own.pop("defaults", []) if b != "_self_"]
    return {**(read_yaml(bases[0]) if bases else {}), **own}


def build(name: str, seed: int = 0, **shape_and_options: Any) -> nn.Module:
    """A model from its config: values with an interpolation come from `shape_and_options`."""
    options = read_yaml(name)
    target = locate(options.pop("_target_"), "model")
    plain = {k: v for k, v in options.items() if "${" not in str(v)}
    shapes = {k: v for k, v in shape_and_options.items() if k in options}
    torch.manual_seed(seed)
    return target(**{**plain, **shapes})


def small(name: str, seed: int = 0) -> nn.Module:
    row = ZOO[name]
    return build(name, seed, n_leads=12, n_classes=3, n_samples=row.n_samples, **row.small)


def inputs(name: str, batch: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """What the model's forward takes."""
    generator = torch.Generator().manual_seed(7)
    fields = {
        "x": torch.randn(batch, 12, ZOO[name].n_samples, generator=generator, dtype=dtype),
        "wide": torch.randn(batch, 22, generator=generator, dtype=dtype),
    }
    return tuple(fields[field] for field in getattr(small(name), "inputs", ("x",)))


def heads(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def test_every_classifier_is_in_this_table() -> None:
    """A model is one YAML and one row; neither may be missing."""
    names = {path.stem for path in (CONF_DIR / "model").glob("*.yaml")}
    assert {n for n in names if "classification" in locate(read_yaml(n)["_target_"], n).tasks} == set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_parameter_count_is_the_published_one(name: str) -> None:
    """With 12 leads, 8192 samples, and 26 classes unless published with others."""
    with torch.device("meta"):
        model = build(name, **{**PUBLISHED, "n_classes": ZOO[name].n_classes})
    assert sum(p.numel() for p in model.parameters()) == ZOO[name].n_parameters


@pytest.mark.parametrize("name", ZOO)
def test_logits_have_a_column_for_each_class_and_a_tensor_for_each_head(name: str) -> None:
    """Finite at initialisation, in the input's type."""
    model = small(name).eval()
    with torch.no_grad():
        found = heads(model(*inputs(name)))
    assert len(found) == len(getattr(model, "heads", ("",)))
    assert all(out.shape == (4, 3) and out.isfinite().all() and out.dtype == torch.float32 for out in found)


@pytest.mark.parametrize("name", ZOO)
def test_double_precision_agrees_with_single(name: str) -> None:
    """float64 in, float64 out, and float32 differs from it by rounding only."""
    model, given = small(name).eval(), inputs(name, dtype=torch.float64)
    with torch.no_grad():
        single = heads(model(*(v.float() for v in given)))[0]
        double = heads(model.double()(*given))[0]
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_learns(name: str) -> None:
    """One backward pass gives each parameter a finite gradient, and all but those of the table one that is not zero."""
    model = small(name).eval()
    sum(out.square().sum() for out in heads(model(*inputs(name, batch=8)))).backward()
    gradients = {key: p.grad for key, p in model.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert tuple(k for k, g in gradients.items() if g is not None and not g.any()) == ZOO[name].idle


@pytest.mark.parametrize("name", ZOO)
def test_state_dict_restores_a_model(name: str) -> None:
    """Loaded into another initialisation, strictly, it gives the same outputs to the bit."""
    model, other, given = small(name, seed=1).eval(), small(name, seed=2).eval(), inputs(name)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(heads(model(*given)), heads(other(*given)), strict=True))


@pytest.mark.parametrize("name", LEARNED)
def test_initialisation_follows_the_seed(name: str) -> None:
    """Equal seeds give equal weights, other seeds others."""
    first, again, other = (small(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ZOO)
def test_a_prediction_does_not_depend_on_its_batch(name: str) -> None:
    """A record scored alone and among others gets the same logits, and the batch is left as it was."""
    model, given = small(name).eval(), inputs(name)
    kept = [v.clone() for v in given]
    with torch.no_grad():
        together, alone = heads(model(*given))[0], heads(model(*(v[1:2] for v in given)))[0]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(v, k) for v, k in zip(given, kept, strict=True))


@pytest.mark.parametrize("name", LEARNED)
def test_torch_export_keeps_the_outputs(name: str) -> None:
    """The exported program computes what the module does."""
    model, given = small(name).eval(), inputs(name)
    program = torch.export.export(model, given)
    with torch.no_grad():
        for exported, eager in zip(heads(program.module()(*given)), heads(model(*given)), strict=True):
            torch.testing.assert_close(exported, eager, rtol=1e-4, atol=1e-5)
