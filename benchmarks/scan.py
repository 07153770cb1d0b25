"""Time and memory of the selective scan, the causal convolution and whole training steps, backend by backend.

    python benchmarks/scan.py            # everything; the quadratic implementations alone take about half an hour
    python benchmarks/scan.py --quick    # a few minutes
    OMP_NUM_THREADS=2 python benchmarks/scan.py --parts scan limits

Times are medians of interleaved runs in one process, so that other load on the machine hits all of them alike: read
the ratios. Peak extra memory is measured in a process of its own, gradients included. mambapy and transformers are
compared where they are installed.
"""

import argparse
import ctypes
import gc
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from scan_rivals import QUADRATIC, rivals
from torch import Tensor

from ecgbench.ops import causal_conv1d, native, resolve_backend, selective_scan

SHAPES = ((8, 128, 500, 16), (8, 256, 1024, 16), (4, 768, 1024, 16), (2, 128, 5000, 16))  # batch, d, L, n
CONV_SHAPES = ((8, 128, 500), (4, 768, 1024), (2, 128, 5000))
BACKENDS = ("native", "torch", "loop")
REPEATS = {"native": 15, "torch": 7}
Run = Callable[[], object]


# --- the scan -------------------------------------------------------------------------------------------------------


def implementations() -> dict[str, Callable[..., Tensor]]:
    """Every scan that can run here, ours first."""

    def ours(backend: str) -> Callable[..., Tensor]:
        return lambda **inputs: selective_scan(**inputs, delta_softplus=True, backend=backend)

    names = [name for name in BACKENDS if name != "native" or native.problem() is None]
    return {name: ours(name) for name in names} | rivals()[0]


def scan_inputs(batch: int, d: int, length: int, n: int) -> dict[str, Tensor]:
    """Random inputs of the size of a trained block's."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    inputs = {
        "u": draw(batch, d, length),
        "delta": draw(batch, d, length) - 2,
        "A": -4 * torch.rand(d, n, generator=generator) - 0.1,
        "B": draw(batch, n, length),
        "C": draw(batch, n, length),
        "D": draw(d),
        "z": draw(batch, d, length),
        "delta_bias": draw(d),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def forward_and_backward(scan: Callable[..., Tensor], inputs: dict[str, Tensor]) -> tuple[Run, Run]:
    """Both passes as functions without arguments."""
    weight = torch.ones(inputs["u"].shape)

    def forward() -> None:
        with torch.no_grad():
            scan(**inputs)

    def both() -> None:
        torch.autograd.grad(scan(**inputs), list(inputs.values()), weight)

    return forward, both


def interleaved(runs: dict[str, Run], repeats: dict[str, int]) -> dict[str, float]:
    """Median time of each run in ms. Each round times every run that has repeats left, once."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        if repeats[name] > 1:
            run()
    for round_ in range(max(repeats.values())):
        for name, run in runs.items():
            if round_ < repeats[name]:
                start = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - start))
                gc.collect(0)
    return {name: statistics.median(samples) for name, samples in times.items()}


def scan_table(quick: bool) -> Iterable[str]:
    """Rows of the table: every implementation at every shape."""
    yield "| batch, d, L, n | implementation | forward ms | ratio | forward+backward ms | ratio | peak extra MB |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for shape in SHAPES:
        scans = implementations()
        if quick and shape != SHAPES[0]:
            scans = {name: scan for name, scan in scans.items() if name not in QUADRATIC}
        passes = {name: forward_and_backward(scan, scan_inputs(*shape)) for name, scan in scans.items()}
        repeats = {name: _repeats(name, shape, quick) for name in scans}
        forward = interleaved({name: run for name, (run, _) in passes.items()}, repeats)
        both = interleaved({name: run for name, (_, run) in passes.items()}, repeats)
        base = next(iter(scans))
        for name in scans:
            peak = "" if quick and name in QUADRATIC else f"{peak_extra_mb(name, shape):,.0f}"
            yield (
                f"| {shape} | {name} | {forward[name]:,.1f} | {forward[name] / forward[base]:,.1f} "
                f"| {both[name]:,.1f} | {both[name] / both[base]:,.1f} | {peak} |"
            )


def _repeats(name: str, shape: tuple[int, ...], quick: bool) -> int:
    if name in QUADRATIC and shape != SHAPES[0]:
        return 1
    return min(REPEATS.get(name, 3), 7 if quick else 15)


# --- peak memory ----------------------------------------------------------------------------------------------------


def peak_extra_mb(name: str, shape: tuple[int, ...]) -> float:
    """Peak memory of one forward and backward pass beyond its inputs, in MB, measured in a fresh process."""
    if sys.platform != "linux":
        return float("nan")
    command = [sys.executable, __file__, "--peak", name, *map(str, shape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(name: str, shape: tuple[int, ...]) -> None:
    """The body of that process."""
    scan = implementations()[name]
    forward_and_backward(scan, scan_inputs(1, 32, 8, shape[3]))[1]()  # load what is loaded at first use
    _, both = forward_and_backward(scan, scan_inputs(*shape))
    Path("/proc/self/clear_refs").write_text("5")  # start the high-water mark anew
    before = _status_kb("VmRSS")
    both()
    print((_status_kb("VmHWM") - before) / 1e3)


def _status_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


# --- the machine's limits -------------------------------------------------------------------------------------------


def best_rate(amount: float, run: Run, repeats: int = 10) -> float:
    """`amount` divided by the shortest time of several runs, per second."""
    shortest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - start)
    return amount / shortest


def limits() -> Iterable[str]:
    """Memory, matrix products and exponentials per second, and what the native scan attains of the last."""
    source, target = torch.randn(64_000_000), torch.empty(64_000_000)
    square = torch.randn(1024, 1024)
    yield f"memory copy: {best_rate(8 * 64e6, lambda: target.copy_(source)) / 1e9:.1f} GB/s read and written"
    yield f"matrix product: {best_rate(2 * 1024**3, lambda: square @ square) / 1e9:.0f} GFLOP/s"
    if native.problem() is not None:
        yield f"exponentials: not measured, {native.problem()}"
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield "on one thread:"
    for shape in SHAPES:
        passes = forward_and_backward(implementations()["native"], scan_inputs(*shape))
        yield from _share_of_exponentials(shape, *passes)
    torch.set_num_threads(threads)


def _share_of_exponentials(shape: tuple[int, ...], forward: Run, both: Run) -> Iterable[str]:
    """The scan's rate beside the machine's, taken in turns so that other load hits both."""
    size, repeats, updates = 2**16, 20, math.prod(shape)
    exponentials = _exponentials(size, repeats)
    limit, once, twice = 0.0, 0.0, 0.0
    for _ in range(15):
        limit = max(limit, best_rate(size * repeats, exponentials, 5))
        once = max(once, best_rate(updates, forward, 1))
        twice = max(twice, best_rate(updates, both, 1))
    yield f"{shape}: {limit / 1e9:.2f} G exponentials/s from the cache is the limit; native attains of it"
    yield f"  forward {once / 1e9:.2f} G updates/s, {once / limit:.0%}"
    # the backward pass computes every exponential again
    yield f"  forward+backward {twice / 1e9:.2f} G updates/s, {2 * twice / limit:.0%}"


def _exponentials(size: int, repeats: int) -> Run:
    x, out = -torch.rand(size), torch.empty(size)
    compute, threads = native.library().exp2_float, torch.get_num_threads()

    def run() -> None:
        pointers = (ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr()))
        compute(*pointers, ctypes.c_int64(size), repeats, threads)

    return run


# --- the convolution ------------------------------------------------------------------------------------------------


def conv_table(quick: bool) -> Iterable[str]:
    """Rows of the convolution's table, with torch's grouped convolution as the common way."""
    yield "| shape (batch, d, L) | implementation | forward+backward ms | ratio |"
    yield "|---|---|--:|--:|"
    for shape in CONV_SHAPES:
        x, weight, bias = (torch.randn(s).requires_grad_() for s in (shape, (shape[1], 4), shape[1:2]))
        runs = {name: _conv_run(name, x, weight, bias) for name in ("native", "torch", "torch.nn.functional.conv1d")}
        if native.problem() is not None:
            del runs["native"]
        times = interleaved(runs, dict.fromkeys(runs, 7 if quick else 25))
        base = next(iter(times.values()))
        for name, value in times.items():
            yield f"| {shape} | {name} | {value:.2f} | {value / base:.1f} |"


def _conv_run(name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Run:
    functional = torch.nn.functional

    def conv() -> Tensor:
        if name in BACKENDS:
            return causal_conv1d(x, weight, bias, "silu", backend=name)
        y = functional.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=x.shape[1])
        return functional.silu(y[..., : x.shape[-1]])

    ones = torch.ones(x.shape)
    return lambda: torch.autograd.grad(conv(), (x, weight, bias), ones)


# --- whole training steps -------------------------------------------------------------------------------------------


class Stack(torch.nn.Module):
    """The mixers of 1DCNN-ECG-Mamba: blocks that run in both directions of time, d_model 384."""

    def __init__(self, blocks: int, backend: str) -> None:
        super().__init__()
        from ecgbench.models.layers.mamba import Mamba

        self.mixers = torch.nn.ModuleList(
            torch.nn.ModuleList(Mamba(384, scan_backend=backend) for _ in range(2)) for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 384, time), each block's two directions added to its input."""
        for ahead, back in self.mixers:
            x = x + ahead(x) + back(x, reverse=True)
        return x


def training_step(model: torch.nn.Module, x: Tensor) -> Run:
    """Forward, backward and the optimiser's step on a random target."""
    optimizer = torch.optim.AdamW(model.parameters())
    with torch.no_grad():
        output = model(x)
    target = torch.randn_like(output[0] if isinstance(output, tuple) else output)

    def step() -> None:
        optimizer.zero_grad()
        output = model(x)
        torch.nn.functional.mse_loss(output[0] if isinstance(output, tuple) else output, target).backward()
        optimizer.step()

    return step


def step_table(quick: bool) -> Iterable[str]:
    """Rows: the whole step by backend, and with the scan taken out, which shows the scan's share of the native step."""
    from ecgbench.models.msecg import MSECG

    backends = [name for name in BACKENDS if name != "native" or native.problem() is None]
    yield "| training step | backend | ms | ratio | note |"
    yield "|---|---|--:|--:|---|"
    x = torch.randn(16, 12, 500)
    runs = {name: training_step(MSECG(n_leads=12, upscale=10, scan_backend=name), x) for name in backends}
    runs["no scan"] = _without_scan(training_step, MSECG(n_leads=12, upscale=10, scan_backend=backends[0]), x)
    yield from _step_rows("MSECG, batch 16, 500 steps", runs, dict.fromkeys(runs, 2 if quick else 5), {})
    blocks = {name: 1 if quick or name == "loop" else 16 for name in (*backends, "no scan")}
    x = torch.randn(4, 384, 1024)
    runs = {name: training_step(Stack(blocks[name], name), x) for name in backends}
    runs["no scan"] = _without_scan(training_step, Stack(blocks["no scan"], backends[0]), x)
    projected = {name: 16 // count for name, count in blocks.items() if count < 16}
    title = "1DCNN-ECG-Mamba's mixers, batch 4, 1024 tokens, 16 blocks"
    yield from _step_rows(title, runs, dict.fromkeys(runs, 2 if quick else 3), projected)


def _step_rows(title: str, runs: dict[str, Run], repeats: dict[str, int], projected: dict[str, int]) -> Iterable[str]:
    times = interleaved(runs, repeats)
    times = {name: value * projected.get(name, 1) for name, value in times.items()}
    base = next(iter(times.values()))
    for name, value in times.items():
        note = f"measured with {16 // projected[name]} block(s) and projected" if name in projected else ""
        yield f"| {title} | {name} | {value:,.0f} | {value / base:.1f} | {note} |"
    yield f"| {title} | share of the scan in the {next(iter(times))} step | {1 - times['no scan'] / base:.0%} | | |"


def _without_scan(make: Callable[..., Run], *arguments: object) -> Run:
    """The same step with the scan replaced by its cheapest stand-in that keeps every gradient alive."""
    from ecgbench.models.layers import mamba

    def stand_in(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, **_) -> Tensor:
        small = (B * C).sum(1, keepdim=True) + A.sum() + D.sum()
        return (u + delta + z).add(small)

    original, step = selective_scan, make(*arguments)

    def run() -> None:
        mamba.selective_scan = stand_in
        try:
            step()
        finally:
            mamba.selective_scan = original

    return run


# --- command line ---------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[bool], Iterable[str]]] = {
    "scan": scan_table,
    "limits": lambda quick: limits(),
    "conv": conv_table,
    "step": step_table,
}


def main() -> None:
    """Print the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs, quadratic implementations at one shape only")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peak", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak[0], tuple(map(int, arguments.peak[1:])))
        return
    chosen = resolve_backend("auto", torch.device("cpu"))
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{platform.machine()}, {capability}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"auto is {chosen.name}: {chosen.reason}")
    for name, reason in rivals()[1].items():
        print(f"not compared: {name} ({reason})")
    for part in arguments.parts:
        print(f"\n## {part}\n", flush=True)
        for line in PARTS[part](arguments.quick):
            print(line, flush=True)


if __name__ == "__main__":
    main()
