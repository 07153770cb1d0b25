"""Several processes for one run, started by the program itself.

Lightning would start its extra processes with the caller's whole command line, so that under a Hydra sweep every rank
runs its own sweep. Here every rank, the first included, is a fresh `python -m ecgbench.worker RUN_DIR` that reads the
run's resolved config: sweeps, reruns and single runs start in the same way, and nothing stays behind in the caller.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig, ListConfig

from ecgbench.config import ConfigError


class WorkerError(RuntimeError):
    """A process of the run failed; the message names its rank and its log."""


def n_processes(config: DictConfig) -> int:
    """How many processes the trainer's `devices` asks for, all on this machine."""
    devices, strategy = config.trainer.devices, str(config.trainer.get("strategy", "auto"))
    count = _n_devices(devices, on_cpu=config.trainer.accelerator == "cpu")
    if count < 1:
        raise ConfigError(f"trainer.devices={devices} names no device; give a number of at least 1, or -1 for all GPUs")
    if config.trainer.get("num_nodes", 1) != 1:
        raise ConfigError(
            "trainer.num_nodes is not 1; runs over several machines are not supported, use trainer.devices"
        )
    if count > 1 and not re.fullmatch(r"ddp(_find_unused_parameters_(true|false))?", strategy):
        raise ConfigError(f"trainer.devices={devices} needs trainer.strategy=ddp, got {strategy!r}; use trainer=ddp")
    if config.batch_size % count:
        raise ConfigError(
            f"batch_size={config.batch_size} does not divide among {count} processes; "
            f"use a multiple of {count}, or another trainer.devices"
        )
    return count


def _n_devices(devices: object, on_cpu: bool) -> int:
    if devices in (-1, "-1", "auto"):
        return 1 if on_cpu else torch.cuda.device_count()
    if isinstance(devices, ListConfig):
        return len(devices)
    if isinstance(devices, int) or str(devices).isdigit():
        return int(str(devices))
    raise ConfigError(f"trainer.devices is {devices!r}; give a number, a list of GPU numbers such as [0,1], or -1")


def own_rank() -> int:
    """This process's rank; 0 where there is only one."""
    return int(os.environ.get("LOCAL_RANK", 0))


def plugins(config: DictConfig) -> list[Any]:
    """The trainer's plugins, and in a worker the environment that this module has set up, whatever else is found."""
    configured = config.trainer.get("plugins")
    own = [] if configured is None else [instantiate(configured, _convert_="all")]
    return own + ([LightningEnvironment()] if "LOCAL_RANK" in os.environ else [])


def refuse_foreign_launcher() -> None:
    """Stop when another launcher has already multiplied this process: each copy would be a run of its own."""
    if "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_PROCID", 0)) > 0:
        raise ConfigError(
            "another launcher has started several copies of this process (LOCAL_RANK or SLURM_PROCID is set); "
            "start ecgbench once, without torchrun or srun -n, and set trainer.devices"
        )


def run_workers(run_dir: Path, world: int) -> None:
    """Run `ecgbench.worker` once per rank and wait; when one fails, stop the others and say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = signal.signal(signal.SIGTERM, _stop) if threading.current_thread() is threading.main_thread() else None
    workers = [_start(run_dir, rank, world, port) for rank in range(world)]
    try:
        while any(worker.poll() is None for worker in workers) and not any(worker.poll() for worker in workers):
            time.sleep(0.1)
    finally:
        failed = [rank for rank, worker in enumerate(workers) if worker.poll()]
        _end(workers)
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    if failed:
        raise WorkerError(f"process {failed[0]} of {world} failed; see {log_file(run_dir, failed[0])}")


def _stop(signum: int, frame: object) -> None:
    """Turn a polite kill into an exception, so that the workers are ended too."""
    raise SystemExit(128 + signum)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    """Ask the processes that still run to stop, and make them after ten seconds: one may hang in a collective."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def log_file(run_dir: Path, rank: int) -> Path:
    """Where a process other than the first writes its output, and any process its traceback."""
    return run_dir / (f"log.rank{rank}.txt" if rank else "log.txt")


def _start(run_dir: Path, rank: int, world: int, port: int) -> subprocess.Popen[bytes]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // world)))
    places = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **{k: str(v) for k, v in places.items()}, "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-m", "ecgbench.worker", str(run_dir)]
    if rank == 0:
        return subprocess.Popen(command, env=environment)
    with log_file(run_dir, rank).open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
