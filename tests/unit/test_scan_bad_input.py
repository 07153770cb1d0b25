"""What the scan does with input that it cannot use, and with numbers that are not finite."""

import ctypes
import subprocess
import sys

import pytest
import torch
from scan_cases import random_inputs, runnable_builds

from ecgbench.ops import native, resolve_backend, scan_cuda, scan_native, selective_scan
from ecgbench.ops.backends import NAMES

CPU = torch.device("cpu")
needs_native = pytest.mark.skipif(native.problem() is not None, reason=f"native kernels: {native.problem()}")
EVERY = ["loop", "torch", pytest.param("native", marks=needs_native)]


def small_inputs() -> dict[str, torch.Tensor]:
    return {name: t.detach() for name, t in random_inputs(2, 3, 10, 4, dtype=torch.float32).items()}


@pytest.mark.parametrize(
    ("name", "shape", "shown"),
    [
        ("B", (2, 4, 9), ["B", "(2, 4, 9)", "(2, 3, 10)", "(batch=2, n=4, L=10)"]),
        ("delta", (2, 3), ["delta", "(2, 3)", "(batch=2, d=3, L=10)"]),
        ("A", (4, 4), ["A", "(4, 4)", "(d=3, n)"]),
        ("D", (4,), ["D", "(4,)", "(d=3)"]),
        ("h0", (2, 3, 5), ["h0", "(2, 3, 5)", "(batch=2, d=3, n=4)"]),
    ],
)
def test_wrong_shape_is_one_sentence_with_both_shapes(name, shape, shown):
    """The message names the argument, its shape, the one it was compared with, and what is allowed."""
    with pytest.raises(ValueError, match=r"^selective_scan: ") as error:
        selective_scan(**(small_inputs() | {name: torch.zeros(shape)}))
    assert [part for part in shown if part not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_empty_time_is_refused():
    """A scan over no samples has no last step."""
    x = small_inputs()
    with pytest.raises(ValueError, match="L=0"):
        selective_scan(**{name: t[..., :0] if name in ("u", "delta", "B", "C", "z") else t for name, t in x.items()})


def test_mixed_and_unsupported_dtypes_are_refused():
    """Dtypes must agree, and half precision is for autocast."""
    x = small_inputs()
    with pytest.raises(TypeError, match=r"C of shape \(2, 4, 10\) is torch.float64, but u .* is torch.float32"):
        selective_scan(**(x | {"C": x["C"].double()}))
    with pytest.raises(TypeError, match=r"u is torch\.bfloat16; allowed are float32 and float64"):
        selective_scan(**{name: t.bfloat16() for name, t in x.items()})


def test_mixed_devices_are_refused():
    """All tensors lie on one device."""
    x = small_inputs()
    with pytest.raises(ValueError, match=r"z of shape .* is on meta, but u .* is on cpu"):
        selective_scan(**(x | {"z": x["z"].to("meta")}))


@pytest.mark.parametrize("backend", EVERY[1:])
def test_nan_in_delta_is_refused(backend):
    """One NaN step would spoil every later state: it is an error, wherever it lies."""
    x = small_inputs()
    x["delta"][1, 2, 9] = float("nan")
    with pytest.raises(ValueError, match=r"delta of shape \(2, 3, 10\) holds NaN"):
        selective_scan(**x, backend=backend)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", EVERY)
def test_non_finite_input_shows_from_its_sample_on(backend, reverse, bad):
    """A bad sample spoils its own channel from there on in the direction of the scan, and nothing else."""
    x = small_inputs() | {"z": None}
    x["u"][0, 1, 6] = bad
    y = selective_scan(**x, delta_softplus=True, reverse=reverse, backend=backend)
    expected = torch.ones(2, 3, 10, dtype=torch.bool)
    expected[0, 1, slice(0, 7) if reverse else slice(6, 10)] = False
    assert torch.equal(y.isfinite(), expected)


@pytest.mark.parametrize("backend", EVERY)
def test_overflow_and_underflow_of_the_decay(backend):
    """A growing state overflows to infinity, a vanishing one to zero: neither wraps around."""
    steps = torch.tensor([0.1, 80.0, 100.0, 0.1]).expand(1, 1, 4).contiguous()
    one = torch.ones(1, 1, 4)
    growing = selective_scan(one, steps, torch.tensor([[1.0]]), one, one, backend=backend)
    assert growing.isfinite().tolist() == [[[True, True, False, False]]]
    vanishing = selective_scan(one, steps, torch.tensor([[-1e30]]), one, one, backend=backend)
    torch.testing.assert_close(vanishing, steps)


@pytest.mark.parametrize("backend", EVERY[1:])
def test_second_derivative_is_refused_with_the_way_on(backend):
    """The fast backends differentiate once; the message names the one that does more."""
    x = {name: t.requires_grad_() for name, t in small_inputs().items()}
    (gradient,) = torch.autograd.grad(selective_scan(**x, backend=backend).sum(), x["u"], create_graph=True)
    with pytest.raises(NotImplementedError, match="use scan_backend=loop"):
        gradient.sum().backward()


def test_unknown_backend_lists_the_known_ones():
    """A typing error is answered with the names."""
    with pytest.raises(ValueError, match="'cpp'; it must be one of " + ", ".join(NAMES)):
        resolve_backend("cpp", CPU)


def test_auto_on_a_cpu_takes_native_or_says_why_not(monkeypatch):
    """Without the library, `auto` is pure torch, with the reason; `native` by name is an error with the remedy."""
    monkeypatch.setattr(native, "_load", lambda: (object(), None))
    monkeypatch.setattr(native, "describe", lambda: "compiled")
    assert resolve_backend("auto", CPU) == ("native", "compiled")
    monkeypatch.setattr(native, "_load", lambda: (None, "the native kernels were not built"))
    assert resolve_backend("auto", CPU) == ("torch", "the native kernels were not built")
    with pytest.raises(RuntimeError, match=r"not built\. Use scan_backend=auto, or build it with `python .*build.py`"):
        resolve_backend("native", CPU)


def test_auto_on_other_devices(monkeypatch):
    """CUDA takes mamba-ssm's kernels if a trial call succeeds, else torch with the reason; MPS takes torch."""
    monkeypatch.setattr(scan_cuda, "problem", lambda: None)
    assert resolve_backend("auto", torch.device("cuda")).name == "cuda"
    monkeypatch.setattr(scan_cuda, "problem", lambda: "it does not run")
    assert resolve_backend("auto", torch.device("cuda")) == ("torch", "it does not run")
    assert resolve_backend("auto", torch.device("mps")).name == "torch"


@pytest.mark.parametrize(("name", "device"), [("native", "cuda"), ("cuda", "cpu")])
def test_backend_of_another_device_is_refused(name, device):
    """A backend that is asked for by name must fit the tensors' device."""
    with pytest.raises(ValueError, match=f"scan_backend={name} got tensors on {device}"):
        resolve_backend(name, torch.device(device))


@needs_native
def test_library_and_python_agree_on_the_layout():
    """The chunk length is stated on both sides, and the argument structs have the same size."""
    loaded = native.library()
    assert loaded.chunk_length() == scan_native.CHUNK
    assert loaded.scan_args_size() == ctypes.sizeof(native.ScanArgs)
    assert loaded.conv_args_size() == ctypes.sizeof(native.ConvArgs)


@pytest.mark.parametrize("build", runnable_builds())
def test_exponential_of_the_library(build):
    """2^x to two units in the last place, exact at integers, with its limits and NaN."""
    loaded = ctypes.CDLL(str(native.FOLDER / build))
    x = torch.linspace(-125.5, 127.5, 100_003)
    special = torch.tensor([0.0, -1.0, 10.0, -126.0, 127.0, 128.0, 1e30, float("inf"), -200.0, -1e30, float("nan")])
    x = torch.cat([x, special])
    out = torch.empty_like(x)
    pointers = (ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr()))
    loaded.exp2_float(*pointers, ctypes.c_int64(len(x)), 1, 1)
    exact = torch.exp2(x[: -len(special)].double())
    assert ((out[: -len(special)] - exact) / exact).abs().max() < 2.4e-7
    expected = [1.0, 0.5, 1024.0, 2.0**-126, 2.0**127, *[float("inf")] * 3, 0.0, 0.0, float("nan")]
    torch.testing.assert_close(out[-len(special) :], torch.tensor(expected), rtol=0, atol=0, equal_nan=True)


def test_importing_the_operators_loads_no_library():
    """Neither the compiled kernels nor mamba_ssm are touched before the first call."""
    code = (
        "import sys, ecgbench.ops, ecgbench.ops.native as native\n"
        "assert native._load.cache_info().currsize == 0\n"
        "assert not {'mamba_ssm', 'causal_conv1d', 'lightning', 'wandb', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
