"""The selective scan: its definition against independent solutions, and every backend against its definition."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import (
    NAMES,
    in_float64,
    outputs_and_gradients,
    random_inputs,
    relative_error,
    runnable_builds,
    use_build,
)
from scipy.signal import lfilter
from torch import Tensor

from ecgbench.ops import native, selective_scan, selective_scan_step

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
# (batch, d, L, n), largest step
CASES = {
    "random": ((2, 24, 130, 16), 1.0),
    "stiff": ((2, 20, 257, 16), 10.0),
    "length one": ((2, 9, 1, 4), 1.0),
    "odd sizes": ((3, 37, 131, 5), 1.0),
    "one of each": ((1, 1, 7, 1), 1.0),
    "large state": ((1, 17, 66, 70), 1.0),
    "blocks": ((2, 150, 40, 3), 1.0),
}
needs_native = pytest.mark.skipif(native.problem() is not None, reason=f"native kernels: {native.problem()}")
FAST = [pytest.param("torch"), pytest.param("native", marks=needs_native)]


@pytest.fixture(params=["torch", *runnable_builds()])
def backend(request, monkeypatch) -> str:
    """Pure torch, and each native build that this CPU can run."""
    if request.param == "torch":
        return "torch"
    use_build(monkeypatch, request.param)
    return "native"


def test_definition_equals_a_bank_of_recursive_filters():
    """With constant delta, B and C each state is a first-order filter, which scipy solves."""
    rng = np.random.default_rng(0)
    u, rates = rng.standard_normal(200), np.array([-0.3, -1.7])
    b, c, step, skip = np.array([0.5, -2.0]), np.array([1.5, 0.25]), 0.4, -0.7
    expected = skip * u
    for n in range(2):
        expected = expected + c[n] * lfilter([step * b[n]], [1, -np.exp(step * rates[n])], u)
    constant = torch.ones(1, 1, 200, dtype=torch.float64)
    y = selective_scan(
        torch.from_numpy(u)[None, None],
        step * constant,
        torch.from_numpy(rates)[None],
        torch.from_numpy(b)[None, :, None] * constant,
        torch.from_numpy(c)[None, :, None] * constant,
        torch.tensor([skip], dtype=torch.float64),
        backend="loop",
    )
    np.testing.assert_allclose(y[0, 0].numpy(), expected, rtol=1e-12)


def _float64(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_definition_by_hand(backend):
    """Two steps with softplus, bias, skip path, gate and a start state, worked out with plain numbers."""
    log, exp = np.log, np.exp
    step = [log(1 + exp(0.5 + 0.1)), log(1 + exp(-1.0 + 0.1))]
    h1 = exp(-2 * step[0]) * 3.0 + step[0] * 1.0 * 0.5
    h2 = exp(-2 * step[1]) * h1 + step[1] * 4.0 * -1.0
    silu = [z / (1 + exp(-z)) for z in (0.7, -0.2)]
    expected = [(2.0 * h1 + 0.3 * 1.0) * silu[0], (5.0 * h2 + 0.3 * 4.0) * silu[1]]
    y, last = selective_scan(
        u=_float64([[[1.0, 4.0]]]),
        delta=_float64([[[0.5, -1.0]]]),
        A=_float64([[-2.0]]),
        B=_float64([[[0.5, -1.0]]]),
        C=_float64([[[2.0, 5.0]]]),
        D=_float64([0.3]),
        z=_float64([[[0.7, -0.2]]]),
        delta_bias=_float64([0.1]),
        delta_softplus=True,
        h0=_float64([[[3.0]]]),
        return_last_state=True,
        backend=backend,
    )
    np.testing.assert_allclose(y[0, 0].numpy(), expected, rtol=1e-14)
    np.testing.assert_allclose(last.item(), h2, rtol=1e-14)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_every_gradient_equal_the_definition(backend, case, dtype, reverse):
    """Output, last state and the nine gradients agree with the float64 step loop."""
    shape, stiffness = CASES[case]
    inputs = random_inputs(*shape, dtype=dtype, stiffness=stiffness)
    expected = outputs_and_gradients(in_float64(inputs), "loop", reverse)
    actual = outputs_and_gradients(inputs, backend, reverse)
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    assert {name: e for name, e in errors.items() if not e < TOLERANCE[dtype]} == {}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_gradcheck(backend, reverse):
    """Analytic gradients agree with finite differences in float64."""
    inputs = random_inputs(2, 3, 5, 2)

    def scan(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(
            **dict(zip(NAMES, tensors, strict=True)),
            delta_softplus=True, return_last_state=True, reverse=reverse, backend=backend,
        )  # fmt: skip

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 140), st.integers(1, 9)),
    given_inputs=st.sets(st.sampled_from(["D", "z", "delta_bias", "h0"])),
    reverse=st.booleans(),
    seed=st.integers(0, 100),
)
def test_any_shape_and_any_choice_of_optional_inputs(backend, shape, given_inputs, reverse, seed):
    """Any sizes, with any of the optional inputs left out, give the definition's output and gradients."""
    inputs = random_inputs(*shape, seed=seed)
    inputs = {name: t for name, t in inputs.items() if name in given_inputs or name in ("u", "delta", "A", "B", "C")}
    expected = outputs_and_gradients(inputs, "loop", reverse)
    actual = outputs_and_gradients(inputs, backend, reverse)
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 199), reverse=st.booleans())
def test_carried_state_joins_two_pieces_exactly_where_they_were_cut(backend, cut, reverse):
    """A record scanned in two pieces, the state handed over, is the record scanned at once."""
    x = {name: t.detach() for name, t in random_inputs(2, 18, 200, 4).items()}
    whole, last = selective_scan(**x, delta_softplus=True, return_last_state=True, reverse=reverse, backend=backend)
    timed = ("u", "delta", "B", "C", "z")
    pieces = [x | {name: x[name][..., span] for name in timed} for span in (slice(0, cut), slice(cut, 200))]
    state, outputs = x["h0"], []
    for piece in reversed(pieces) if reverse else pieces:
        y, state = selective_scan(
            **(piece | {"h0": state}), delta_softplus=True, return_last_state=True, reverse=reverse, backend=backend
        )
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs[::-1] if reverse else outputs, -1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_reverse_is_the_scan_of_the_flipped_signal(backend):
    """Right to left equals flip, scan, flip."""
    x = {name: t.detach() for name, t in random_inputs(2, 19, 150, 6).items()}
    flipped = x | {name: x[name].flip(-1) for name in ("u", "delta", "B", "C", "z")}
    y = selective_scan(**x, delta_softplus=True, reverse=True, backend=backend)
    expected = selective_scan(**flipped, delta_softplus=True, backend=backend).flip(-1)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["loop", *FAST])
def test_steps_equal_the_scan(backend):
    """Decoding sample by sample gives the whole scan, and leaves the given state alone."""
    x = {name: t.detach() for name, t in random_inputs(2, 21, 12, 4).items()}
    whole, last = selective_scan(**x, delta_softplus=True, return_last_state=True, backend="loop")
    state, first = x["h0"], x["h0"].clone()
    for t in range(12):
        now = {name: x[name][..., t] for name in ("u", "delta", "B", "C", "z")}
        y, state = selective_scan_step(
            state, A=x["A"], D=x["D"], delta_bias=x["delta_bias"], delta_softplus=True, backend=backend, **now
        )
        torch.testing.assert_close(y, whole[..., t], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)
    assert torch.equal(x["h0"], first)


@needs_native
def test_native_result_does_not_depend_on_the_number_of_threads():
    """Outputs and gradients are the same to the last bit on one thread and on several."""
    inputs = random_inputs(2, 200, 300, 16, dtype=torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(outputs_and_gradients(inputs, "native"))
    finally:
        torch.set_num_threads(threads)
    for other, name in itertools.product(results[1:], results[0]):
        assert torch.equal(results[0][name], other[name]), name


def test_memory_layout_does_not_matter(backend):
    """Channels-last, sliced and expanded inputs give what contiguous ones give, to the last bit."""
    inputs = {name: t.detach() for name, t in random_inputs(2, 34, 70, 5).items()}
    inputs["B"] = inputs["B"][:, :, :1].expand(-1, -1, 70)
    strange = {
        name: t.transpose(-1, -2).contiguous().transpose(-1, -2) if t.ndim > 1 else t.repeat_interleave(2)[::2]
        for name, t in inputs.items()
    }
    strange["u"] = torch.stack([inputs["u"], inputs["u"]], dim=-1)[..., 0]
    strange["B"] = inputs["B"]
    plain = {name: t.contiguous() for name, t in inputs.items()}
    assert not strange["u"].is_contiguous()
    assert not strange["z"].is_contiguous()
    expected = outputs_and_gradients({name: t.requires_grad_() for name, t in plain.items()}, backend)
    actual = outputs_and_gradients({name: t.requires_grad_() for name, t in strange.items()}, backend)
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-13, atol=1e-13)


def test_gradient_of_a_plain_sum(backend):
    """The gradient that .sum() sends back has no memory of its own (stride 0), and is read all the same."""
    inputs = in_float64(random_inputs(2, 20, 40, 3))
    for name in ("loop", backend):
        selective_scan(**inputs, backend=name).sum().backward()
        if name == "loop":
            expected, inputs["u"].grad = inputs["u"].grad, None
    torch.testing.assert_close(inputs["u"].grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", FAST)
def test_compile_and_export_see_one_operator(backend):
    """torch.compile needs no graph break, torch.export keeps one node, and both compute the same."""
    x = {name: t.detach() for name, t in random_inputs(2, 17, 150, 4, dtype=torch.float32).items()}
    expected = selective_scan(**x, delta_softplus=True, backend=backend)

    class Scan(torch.nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return selective_scan(**x, delta_softplus=True, backend=backend)

    compiled = torch.compile(Scan(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), expected)
    exported = torch.export.export(Scan(), (x,))
    targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert sum(target.startswith("ecgbench.") for target in targets) == 1
    assert torch.equal(exported.module()(x), expected)


def test_autocast_computes_in_float32(backend):
    """Half-precision activations meet float32 parameters under autocast; the recurrence itself runs in float32."""
    x = {name: t.detach() for name, t in random_inputs(1, 16, 30, 4, dtype=torch.float32).items()}
    mixed = x | {name: x[name].bfloat16() for name in ("u", "delta", "B", "C", "z")}
    in_float32 = {name: t.float() for name, t in mixed.items()}
    expected = selective_scan(**in_float32, delta_softplus=True, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = selective_scan(**mixed, delta_softplus=True, backend=backend)
    assert y.dtype == torch.float32
    assert torch.equal(y, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_cuda_equals_the_definition(reverse):
    """What `auto` takes on a CUDA device gives the definition's output and gradients within float32 error."""
    inputs = random_inputs(2, 64, 300, 16, dtype=torch.float32)
    del inputs["h0"]
    on_device = {name: t.detach().cuda().requires_grad_() for name, t in inputs.items()}
    results = []
    for x, backend in ((in_float64(inputs), "loop"), (on_device, "auto")):
        y = selective_scan(**x, delta_softplus=True, reverse=reverse, backend=backend)
        results.append([y, *torch.autograd.grad(y.sum(), list(x.values()))])
    for expected, actual in zip(*results, strict=True):
        assert relative_error(actual.detach().cpu(), expected.detach()) < 1e-5
