"""How long a training step waits for its data, in one run: python benchmarks/step.py [overrides of the configuration].

Prints seconds per step spent in the loader and in the model (forward, backward, optimiser), and the loader's share.
The default is the default run: MSECG on simulated recordings, with noise; the store is built first and not counted.
"""

import sys
import time
from collections.abc import Iterator

import torch
from rich.console import Console

from ecgbench.config import compose
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.record import EcgBatch
from ecgbench.experiment import build_task, load_data
from ecgbench.tasks.superres import squared_error

WARM_UP_STEPS, STEPS = 5, 100


def main() -> None:
    """Measure and print."""
    config = compose([*sys.argv[1:], "logger=csv"])
    data, task = load_data(config), build_task(config)
    optimizer = task.make_optimizer(task.model)
    waiting = computing = 0.0
    batches = endless(data)
    for step in range(WARM_UP_STEPS + STEPS):
        start = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        total, count = squared_error(task(batch.x), batch.y, batch.mask)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        if step >= WARM_UP_STEPS:
            waiting += loaded - start
            computing += time.perf_counter() - loaded
    share = waiting / (waiting + computing)
    choices = config.choices
    what = f"{choices.model}, {choices.dataset}, batch {config.batch_size}, {torch.get_num_threads()} threads"
    Console().print(
        f"{what}: {1e3 * computing / STEPS:.1f} ms a step, {1e3 * waiting / STEPS:.2f} ms waiting for data, {share:.1%}"
    )


def endless(data: EcgDataModule) -> Iterator[EcgBatch]:
    """Training batches, epoch after epoch."""
    loader, epoch = data.train_dataloader(), 0
    while True:
        loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


if __name__ == "__main__":
    main()
