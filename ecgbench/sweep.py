"""Sweeps: run only what is missing, let no failed job stop the others, end with one comparison."""

import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


@dataclass(frozen=True)
class SweepJob:
    """What became of one job: the folder of its run, or the reason why there is none."""

    label: str
    run_dir: Path | None
    error: str | None


def run_job(config: DictConfig) -> SweepJob:
    """The finished run of the same configuration, data and version if there is one, else a new run."""
    from ecgbench import experiment

    label = " ".join(config.overrides) or str(config.choices.model)
    try:
        experiment.check(config)
        data = experiment.load_data(config)
        finished = find_finished(config, experiment.identity(config, data))
        if finished:
            print(f"already there: {label}: {finished}")
        return SweepJob(label, finished or experiment.run(config, data), None)
    except Exception as error:
        traceback.print_exception(error)
        return SweepJob(label, None, f"{type(error).__name__}: {error}")


def find_finished(config: DictConfig, identity: dict[str, str]) -> Path | None:
    """The newest complete run folder of the same experiment, by the same version of the program."""
    from ecgbench.version import __version__

    choices = config.choices
    parent = Path(config.output_dir) / choices.task / choices.dataset / choices.model
    for folder in sorted(parent.glob(f"*_{identity['config_hash']}*"), reverse=True):
        if (folder / "result.json").is_file() and (folder / "report.html").is_file():
            result, env = (json.loads((folder / name).read_text()) for name in ("result.json", "env.json"))
            if env["ecgbench"] == __version__ and all(result.get(key) == value for key, value in identity.items()):
                return folder
    return None


class SweepReport(Callback):
    """Hydra callback: gathers the jobs of a sweep and compares them when the last one is done."""

    def __init__(self) -> None:
        self.jobs: list[SweepJob] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep what the job returned; a single run returns nothing to compare."""
        if isinstance(job_return._return_value, SweepJob):
            self.jobs.append(job_return._return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the comparison and its page; the exit code is 1 when a job failed."""
        from rich.console import Console

        from ecgbench.report.compare import compare, terminal_comparison

        run_dirs = [job.run_dir for job in self.jobs if job.run_dir]
        failures = [{"label": job.label, "error": job.error} for job in self.jobs if job.error]
        page = compare(run_dirs, Path(config.hydra.sweep.dir), failures)
        console = Console()
        for table in terminal_comparison(run_dirs):
            console.print(table)
        for failure in failures:
            console.print(f"failed: {failure['label']}: {failure['error']}", style="red", markup=False)
        console.print(f"{len(run_dirs)} runs, {len(failures)} failed; comparison: {page}", markup=False, soft_wrap=True)
        if failures:
            sys.exit(1)
