"""The depthwise causal convolution: its definition against scipy, and every backend against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import relative_error, runnable_builds, use_build
from scipy.signal import lfilter
from torch import Tensor

from ecgbench.ops import causal_conv1d, causal_conv1d_step, native

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
# (batch, d, L, width)
CASES = [(2, 24, 130, 4), (1, 3, 1, 4), (2, 5, 2, 4), (3, 7, 65, 3), (2, 9, 300, 1), (1, 6, 33, 9), (2, 150, 200, 4)]
needs_native = pytest.mark.skipif(native.problem() is not None, reason=f"native kernels: {native.problem()}")
FAST = [pytest.param("torch"), pytest.param("native", marks=needs_native)]


@pytest.fixture(params=["torch", *runnable_builds()])
def backend(request, monkeypatch) -> str:
    """Pure torch, and each native build that this CPU can run."""
    if request.param == "torch":
        return "torch"
    use_build(monkeypatch, request.param)
    return "native"


def random_inputs(batch: int, d: int, length: int, width: int, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor argument, drawn at random, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (batch, d, length), "weight": (d, width), "bias": (d,), "initial_state": (batch, d, width - 1)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def outputs_and_gradients(inputs: dict[str, Tensor], backend: str, **options) -> dict[str, Tensor]:
    """y, the last state and all gradients of a fixed random projection of both."""
    y, last = causal_conv1d(**inputs, return_last_state=True, backend=backend, **options)
    generator = torch.Generator().manual_seed(99)
    weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in (y, last)]
    grads = torch.autograd.grad((y, last), list(inputs.values()), weights)
    return {"y": y.detach(), "last": last.detach(), **dict(zip(inputs, grads, strict=True))}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", ["loop", "torch", pytest.param("native", marks=needs_native)])
def test_linear_part_is_a_finite_impulse_response_filter(name, reverse):
    """Without activation it is scipy's lfilter with the kernel flipped, on the flipped signal when reversed."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal(60), np.array([0.5, -1.0, 2.0, 0.25])
    expected = lfilter(kernel[::-1], [1.0], x[::-1] if reverse else x) + 0.75
    bias = torch.tensor([0.75], dtype=torch.float64)
    y = causal_conv1d(torch.tensor(x)[None, None], torch.tensor(kernel)[None], bias, reverse=reverse, backend=name)
    np.testing.assert_allclose(y[0, 0].numpy(), expected[::-1] if reverse else expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
@pytest.mark.parametrize("shape", CASES, ids=str)
def test_outputs_and_every_gradient_equal_the_definition(backend, shape, dtype, activation, reverse):
    """Output, last state and the four gradients agree with the definition in float64."""
    options = {"activation": activation, "reverse": reverse}
    inputs = {name: t.detach().to(dtype).requires_grad_() for name, t in random_inputs(*shape).items()}
    exact = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    expected = outputs_and_gradients(exact, "loop", **options)
    actual = outputs_and_gradients(inputs, backend, **options)
    errors = {name: relative_error(actual[name], t) for name, t in expected.items() if t.numel()}
    assert {name: e for name, e in errors.items() if not e < TOLERANCE[dtype]} == {}


def test_gradcheck(backend):
    """Analytic gradients agree with finite differences in float64."""
    inputs = random_inputs(2, 3, 6, 4)
    conv = lambda *tensors: causal_conv1d(*tensors[:3], "silu", tensors[3], backend=backend)  # noqa: E731
    assert torch.autograd.gradcheck(conv, tuple(inputs.values()))


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 70), st.integers(1, 6)),
    cut=st.integers(0, 70),
    reverse=st.booleans(),
)
def test_carried_state_joins_two_pieces(backend, shape, cut, reverse):
    """Two pieces with the state handed over are the whole signal filtered at once, whatever their lengths."""
    x = {name: t.detach() for name, t in random_inputs(*shape).items()}
    cut = 1 + cut % max(1, shape[2] - 1)
    options = {"activation": "silu", "reverse": reverse, "return_last_state": True}
    whole, last = causal_conv1d(**x, backend="loop", **options)
    pieces = [piece for piece in (x["x"][..., :cut], x["x"][..., cut:]) if piece.shape[-1]]
    state, outputs = x["initial_state"], []
    for piece in reversed(pieces) if reverse else pieces:
        y, state = causal_conv1d(piece, x["weight"], x["bias"], initial_state=state, backend=backend, **options)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs[::-1] if reverse else outputs, -1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("backend", ["loop", *FAST])
def test_steps_equal_the_whole(backend):
    """Decoding sample by sample gives the whole convolution."""
    x = {name: t.detach() for name, t in random_inputs(2, 20, 9, 4).items()}
    whole = causal_conv1d(**x, activation="silu", backend="loop")
    state = x["initial_state"]
    for t in range(9):
        y, state = causal_conv1d_step(state, x["x"][..., t], x["weight"], x["bias"], "silu", backend=backend)
        torch.testing.assert_close(y, whole[..., t], rtol=1e-12, atol=1e-12)


@needs_native
def test_native_result_does_not_depend_on_the_number_of_threads():
    """Outputs and gradients are the same to the last bit on one thread and on several."""
    inputs = {name: t.detach().float().requires_grad_() for name, t in random_inputs(3, 130, 200, 4).items()}
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(outputs_and_gradients(inputs, "native", activation="silu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0][name], other[name]) for other in results[1:] for name in other)


def test_memory_layout_does_not_matter(backend):
    """A channels-last input and a sliced one give what contiguous ones give."""
    x = {name: t.detach() for name, t in random_inputs(2, 18, 50, 4).items()}
    strange = {"x": x["x"].transpose(1, 2).contiguous().transpose(1, 2), "weight": x["weight"].t().contiguous().t()}
    expected = outputs_and_gradients({name: t.clone().requires_grad_() for name, t in x.items()}, backend)
    actual = outputs_and_gradients({name: t.requires_grad_() for name, t in (x | strange).items()}, backend)
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_sample_reaches_the_outputs_that_see_it_and_no_others(backend, bad):
    """Output t sees inputs t - 3 to t."""
    x = {name: t.detach() for name, t in random_inputs(1, 2, 40, 4).items()}
    x["x"][0, 1, 20] = bad
    y = causal_conv1d(**x, backend=backend)
    expected = torch.ones(1, 2, 40, dtype=torch.bool)
    expected[0, 1, 20:24] = False
    assert torch.equal(y.isfinite(), expected)


@pytest.mark.parametrize("backend", FAST)
def test_compile_needs_no_graph_break(backend):
    """torch.compile captures forward and backward whole."""
    inputs = random_inputs(2, 17, 30, 4)
    compiled = torch.compile(
        lambda x: causal_conv1d(**x, activation="silu", backend=backend), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(inputs), causal_conv1d(**inputs, activation="silu", backend="loop"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(5, 4)}, r"weight has shape \(5, 4\).*\(2, 3, 10\).*\(d=3, width\)"),
        ({"initial_state": torch.zeros(2, 3, 4)}, r"initial_state has shape \(2, 3, 4\).*width-1=3"),
        ({"activation": "relu"}, "activation is 'relu'; it must be None or 'silu'"),
    ],
)
def test_bad_input_is_one_sentence(change, message):
    """The message names what was given and what is allowed."""
    arguments = {"x": torch.zeros(2, 3, 10), "weight": torch.zeros(3, 4)} | change
    with pytest.raises(ValueError, match=message):
        causal_conv1d(**arguments)


@pytest.mark.parametrize("backend", FAST)
def test_second_derivative_is_refused_with_the_way_on(backend):
    """The fast backends differentiate once; the message names the one that does more."""
    inputs = random_inputs(1, 2, 5, 4)
    (gradient,) = torch.autograd.grad(causal_conv1d(**inputs, backend=backend).sum(), inputs["x"], create_graph=True)
    with pytest.raises(NotImplementedError, match="use scan_backend=loop"):
        gradient.sum().backward()
