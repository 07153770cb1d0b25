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
from ecgbench.train.schedule import CosineWarmup, Noam, optimizer_maker, schedule_maker
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


def rates_of(optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, n: int) -> list[float]:
    """The learning rate of each of the first `n` steps."""
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def one_weight(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def test_cosine_warmup_starts_at_a_given_rate() -> None:
    """5 of 18 epochs from 1e-5 to 6e-4 and a cosine to 1e-6, as torch's own two schedules in a row."""
    per_epoch, peak = 7, 6e-4
    optimizer, reference = one_weight(peak), one_weight(peak)
    schedule = CosineWarmup(optimizer, 18 * per_epoch, 5 / 18, 1e-6 / peak, start_fraction=1e-5 / peak)
    rise = torch.optim.lr_scheduler.LinearLR(reference, 1e-5 / peak, total_iters=5 * per_epoch)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(reference, 13 * per_epoch, eta_min=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's SequentialLR passes the epoch, which torch deprecates
        chain = torch.optim.lr_scheduler.SequentialLR(reference, [rise, fall], [5 * per_epoch])
        expected = rates_of(reference, chain, 18 * per_epoch + 1)
    rates = rates_of(optimizer, schedule, 18 * per_epoch + 1)
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    assert [rates[0], rates[35], rates[-1]] == pytest.approx([1e-5, 6e-4, 1e-6])


def test_cosine_warmup_without_a_start_is_unchanged() -> None:
    """The group file says null, which is the rise from zero, to the bit."""
    config = compose(["scheduler=cosine_warmup"])
    optimizer = one_weight(0.3)
    made = schedule_maker(config.scheduler, "val/loss")(optimizer, 40)
    assert made is not None
    assert rates_of(optimizer, made["scheduler"], 2) == [0.3 * (1 / 2), 0.3 * (2 / 2)]


@pytest.mark.parametrize(("d_model", "peak"), [(256, 9.8821e-4), (729, 5.8560e-4)])
def test_noam_rises_by_the_step_and_falls_by_its_root(d_model: int, peak: float) -> None:
    """The peak at step 4000 of two published recipes; a 4000th of it first, half of it at step 16,000."""
    optimizer = one_weight(1.0)
    rates = rates_of(optimizer, Noam(optimizer, d_model, warmup_steps=4000, factor=1.0), 16_000)
    assert rates[3999] == max(rates) == pytest.approx(peak, rel=1e-4)
    assert rates[0] == pytest.approx(peak / 4000, rel=1e-4)
    assert rates[1999] == pytest.approx(peak / 2, rel=1e-4)
    assert rates[15_999] == pytest.approx(peak / 2, rel=1e-4)


def test_noam_is_scaled_by_its_factor() -> None:
    """Twice the factor, twice the rate, through the group file."""
    config = compose(["scheduler=noam", "optimizer.lr=1", "scheduler.schedule.factor=2"])
    optimizer = optimizer_maker(config.optimizer)(nn.Linear(2, 2))
    made = schedule_maker(config.scheduler, "val/loss")(optimizer, 100)
    assert made is not None
    assert made["interval"] == "step"
    assert rates_of(optimizer, made["scheduler"], 1)[0] == pytest.approx(2 * 256**-0.5 * 4000**-1.5)


def test_noam_refuses_an_optimizer_with_a_rate_of_its_own() -> None:
    """It would be multiplied by it."""
    with pytest.raises(ValueError, match=r"optimizer.lr=0.001.*set optimizer.lr=1"):
        Noam(one_weight(0.001), 256, 4000, 1.0)


def test_one_cycle_moves_rate_and_momentum_against_each_other() -> None:
    """fastai's values: from a 25th of the peak up to it in 30 % of the steps, then down to a 250,000th of it.

    The first beta of AdamW goes 0.95, 0.85, 0.95, in all parameter groups; the second stays.
    """
    config = compose(["scheduler=one_cycle", "optimizer=adamw", "optimizer.lr=0.01", "optimizer.betas=[0.9,0.99]"])
    model = nn.Linear(2, 2)
    model.bias._no_weight_decay = True
    optimizer = optimizer_maker(config.optimizer)(model)
    made = schedule_maker(config.scheduler, "val/loss")(optimizer, 100)
    assert made is not None
    assert made["interval"] == "step"
    rates, betas = [], []
    for _ in range(100):  # as many calls as Lightning makes
        rates.append([group["lr"] for group in optimizer.param_groups])
        betas.append([group["betas"] for group in optimizer.param_groups])
        optimizer.step()
        made["scheduler"].step()
    for step, rate, beta in [(0, 0.01 / 25, 0.95), (29, 0.01, 0.85), (99, 0.01 / 250_000, 0.95)]:
        assert rates[step] == pytest.approx([rate, rate])
        np.testing.assert_allclose(betas[step], [(beta, 0.99)] * 2)
    halfway = 29 + (99 - 29) // 2
    assert rates[halfway][0] == pytest.approx(0.01 * (1 + 1 / 250_000) / 2)
    assert betas[halfway][0][0] == pytest.approx(0.9)


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
