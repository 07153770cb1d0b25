"""Schedules, weight decay, synchronised batch normalisation, the run's log."""

import logging
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

from ecgbench.config import compose
from ecgbench.train.run_log import run_log
from ecgbench.train.schedule import CosineWarmup, optimizer_maker
from ecgbench.train.sync_batchnorm import CpuBatchNormSync


def test_cosine_warmup_follows_its_formula() -> None:
    """Linear to the peak over 5 of 100 steps, half a cosine to a hundredth of it."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = CosineWarmup(optimizer, total_steps=100, warmup_fraction=0.05, final_fraction=0.01)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates[:5], [0.4, 0.8, 1.2, 1.6, 2.0])
    half = 5 + 95 / 2
    expected = 2.0 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (52 - 5) / 95)))
    assert rates[52] == pytest.approx(expected)
    assert rates[math.floor(half)] > 2.0 * 0.505 > rates[math.ceil(half)]
    assert rates[100] == pytest.approx(0.02)


def test_state_matrices_are_spared_from_weight_decay() -> None:
    """A_log and D of every mixer carry mamba-ssm's flag, everything else decays."""
    from ecgbench.models.msecg import MSECG

    model = MSECG(n_leads=2, upscale=4, width=8, n_layer=1)
    optimizer = optimizer_maker(compose(["optimizer=adamw"]).optimizer)(model)
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    names = {id(p): n for n, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in spared["params"]} == {"A_log", "D"}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def _normalise_half(rank: int, folder: str) -> None:
    """One of two processes: half of a batch through a synchronised layer, output and gradients to a file."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = nn.Sequential(nn.BatchNorm1d(3))
    x = torch.randn(5, 3, 7)
    own = x[rank::2].clone().requires_grad_()
    CpuBatchNormSync().apply(layer)
    y = layer(own)
    (y.pow(3).sum()).backward()
    CpuBatchNormSync().revert(layer)
    assert type(layer[0]) is nn.BatchNorm1d
    torch.save((y.detach(), own.grad, layer[0].weight.grad, layer.state_dict()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_synchronised_batchnorm_equals_one_process(tmp_path: Path) -> None:
    """Outputs, input gradients, summed weight gradients and running statistics of unequal halves equal the whole's."""
    spawn(_normalise_half, (str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    layer = nn.Sequential(nn.BatchNorm1d(3))
    x = torch.randn(5, 3, 7, requires_grad=True)
    y = layer(x)
    y.pow(3).sum().backward()
    assert x.grad is not None
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for rank, (out, grad, _, state) in enumerate(halves):
        torch.testing.assert_close(out, y.detach()[rank::2])
        torch.testing.assert_close(grad, x.grad[rank::2], atol=1e-5, rtol=1e-4)
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(state[name], value)
    torch.testing.assert_close(halves[0][2] + halves[1][2], layer[0].weight.grad)


def test_the_run_log_takes_warnings_and_gives_everything_back(tmp_path: Path) -> None:
    """Warnings inside the block are in the file; handlers afterwards are those from before."""
    logger = logging.getLogger("ecgbench")
    before = logger.handlers[:]
    with run_log(tmp_path / "log.txt"):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a lead looks odd", stacklevel=1)
        logger.warning("spoken")
    assert logger.handlers == before
    text = (tmp_path / "log.txt").read_text()
    assert "a lead looks odd" in text
    assert "spoken" in text
