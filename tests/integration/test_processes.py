"""Two processes compute what one computes, and leave nothing behind in the caller."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ecgbench.config import ConfigError, compose
from ecgbench.experiment import check
from ecgbench.train.launch import WorkerError, n_processes, run_workers

KEYS = ["system", "condition", "record_id"]


@pytest.fixture
def pair(run: Callable[..., Path]) -> Callable[..., tuple[Path, Path]]:
    """The same run by one process and by two gloo processes."""
    return lambda *more: (run(*more), run("trainer=ddp_cpu", *more))


def test_two_processes_train_as_one(pair: Callable[..., tuple[Path, Path]]) -> None:
    """The loss curves of the same global batches agree within float error, and nothing stays behind in the caller."""
    curves = [pd.read_csv(f / "metrics.csv")["train/loss"].dropna().to_numpy() for f in pair("trainer.max_epochs=3")]
    assert len(curves[0]) == len(curves[1]) > 10
    np.testing.assert_allclose(curves[1], curves[0], rtol=2e-4)
    assert not any(name in os.environ for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"))
    assert not torch.distributed.is_initialized()


def test_two_processes_score_as_one(pair: Callable[..., tuple[Path, Path]]) -> None:
    """With the same weights (learning rate 0) every record is scored once and every score is the same."""
    one, two = (
        pd.read_parquet(folder / "scores.parquet").set_index(KEYS).sort_index()
        for folder in pair("optimizer.lr=0", "scheduler=none", "trainer.max_epochs=1")
    )
    assert two.index.is_unique
    assert one.index.equals(two.index)
    numbers = one.columns.drop("patient_id")
    np.testing.assert_allclose(two[numbers].astype(float), one[numbers].astype(float), rtol=2e-5)


def test_a_sweep_over_process_counts_gives_one_folder_per_job(cli: Callable, tiny: Callable[..., list[str]]) -> None:
    """Multirun with one and with two processes: two run folders, one W&B run each, one comparison."""
    done = cli("-m", "trainer=cpu,ddp_cpu", *tiny("logger=offline", "trainer.max_epochs=1"))
    assert done.returncode == 0, done.stderr
    output = Path(next(o for o in tiny() if o.startswith("output_dir=")).removeprefix("output_dir="))
    runs = sorted(output.glob("superres/simulated/msecg/*"))
    assert len(runs) == 2
    assert all(len(list(folder.glob("wandb/offline-run-*"))) == 1 for folder in runs)
    assert len(list(output.glob("sweeps/*"))) == 1
    assert {len(json.loads((folder / "result.json").read_text())["scores"]) for folder in runs} == {60}


def test_a_failed_process_stops_the_others(tmp_path: Path) -> None:
    """A folder without run.yaml makes every process fail; the caller is told which one, not left waiting."""
    with pytest.raises(WorkerError, match=r"process \d of 2 failed; see .*log"):
        run_workers(tmp_path, 2)
    assert "no run.yaml" in (tmp_path / "log.rank1.txt").read_text()


def test_devices_must_fit_strategy_and_batch(tiny: Callable[..., list[str]]) -> None:
    """Two devices without a data-parallel strategy, or a batch that does not divide, are refused."""
    with pytest.raises(ConfigError, match=r"devices=2 needs trainer\.strategy=ddp, got 'auto'; use trainer=ddp"):
        check(compose(tiny("trainer.devices=2")))
    with pytest.raises(ConfigError, match=r"batch_size=5 does not divide among 2 processes"):
        check(compose(tiny("trainer=ddp_cpu", "batch_size=5")))
    assert n_processes(compose(tiny("trainer=ddp_cpu"))) == 2
    with pytest.raises(ConfigError, match=r"devices=0 names no device"):
        check(compose(tiny("trainer.devices=0")))
    with pytest.raises(ConfigError, match=r"needs trainer\.strategy=ddp, got 'ddp_spawn'"):
        check(compose(tiny("trainer=ddp_cpu", "trainer.strategy=ddp_spawn")))


def test_a_model_without_parameters_runs_in_one_process(run: Callable[..., Path]) -> None:
    """Interpolation with a two-process trainer scores everything once, without workers."""
    folder = run("model=interp", "trainer=ddp_cpu")
    scores = pd.read_parquet(folder / "scores.parquet")
    assert not scores.duplicated(KEYS).any()
    assert not list(folder.glob("log.rank*.txt"))


def test_another_launcher_s_copies_are_refused(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun or srun -n every copy would be a run of its own."""
    for name, value in (("LOCAL_RANK", "0"), ("SLURM_PROCID", "1")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            with pytest.raises(ConfigError, match=r"start ecgbench once"):
                run("model=interp")
