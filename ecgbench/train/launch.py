"""Several processes for one run, started by the program itself.

Lightning would start its extra processes with the caller's whole command line, so that under a Hydra sweep every rank
runs its own sweep. Here every rank, the first included, is a fresh `python -m ecgbench.worker RUN_DIR` that reads the
run's resolved config: sweeps, reruns and single runs start in the same way, and nothing stays behind in the caller.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from omegaconf import DictConfig

from ecgbench.config import ConfigError


class WorkerError(RuntimeError):
    """A process of the run failed; the message names its rank and its log."""


def n_processes(config: DictConfig) -> int:
    """How many processes the trainer's `devices` asks for."""
    devices, strategy = config.trainer.devices, str(config.trainer.get("strategy", "auto"))
    if devices in (-1, "-1", "auto"):
        if config.trainer.accelerator == "cpu":
            return 1
        import torch

        devices = torch.cuda.device_count()
    count = len(devices) if not isinstance(devices, int | str) else int(devices)
    if count > 1 and not strategy.startswith("ddp"):
        raise ConfigError(f"trainer.devices={count} needs trainer.strategy=ddp, got {strategy!r}; use trainer=ddp")
    if config.batch_size % count:
        raise ConfigError(
            f"batch_size={config.batch_size} does not divide among {count} processes; "
            f"use a multiple of {count}, or another trainer.devices"
        )
    return count


def refuse_foreign_launcher() -> None:
    """Stop when another launcher has already multiplied this process: each copy would be a run of its own."""
    if "LOCAL_RANK" in os.environ:
        raise ConfigError(
            "LOCAL_RANK is set, so another launcher started this process; "
            "start ecgbench once, without torchrun, and set trainer.devices"
        )


def run_workers(run_dir: Path, world: int) -> None:
    """Run `ecgbench.worker` once per rank and wait; when one fails, stop the others and say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = [_start(run_dir, rank, world, port) for rank in range(world)]
    try:
        while any(worker.poll() is None for worker in workers) and not any(worker.poll() for worker in workers):
            time.sleep(0.1)
    finally:
        failed = [rank for rank, worker in enumerate(workers) if worker.poll()]
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            worker.wait()
    if failed:
        raise WorkerError(f"process {failed[0]} of {world} failed; see {log_file(run_dir, failed[0])}")


def log_file(run_dir: Path, rank: int) -> Path:
    """Where a process other than the first writes its output, and any process its traceback."""
    return run_dir / (f"log.rank{rank}.txt" if rank else "log.txt")


def _start(run_dir: Path, rank: int, world: int, port: int) -> subprocess.Popen[bytes]:
    threads = max(1, (os.cpu_count() or 1) // world)
    places = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **{k: str(v) for k, v in places.items()}, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "ecgbench.worker", str(run_dir)]
    if rank == 0:
        return subprocess.Popen(command, env=environment)
    with log_file(run_dir, rank).open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
