"""The benchmark's scores, tables and pictures in W&B, once per run, after the test split was scored."""

import io
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl

from ecgbench.report.html import Picture
from ecgbench.report.run_folder import RunFolder, read_run
from ecgbench.report.run_report import run_pictures
from ecgbench.report.tasks import task_facts
from ecgbench.train.loggers import wandb_logger


class BenchmarkLogger(pl.Callback):
    """Logs a finished run folder; does nothing without a W&B logger and on all processes but the first."""

    def log_benchmark(self, trainer: pl.Trainer, run_dir: Path) -> None:
        """Write `test/<condition>/<metric>` to the summary, the score tables, and the report's pictures."""
        logger = wandb_logger(trainer.loggers)
        if logger is None or not trainer.is_global_zero:
            return
        import wandb
        from PIL import Image

        run = read_run(run_dir)
        pictures = {
            f"figures/{name}": wandb.Image(Image.open(io.BytesIO(picture.png)), caption=picture.caption or picture.alt)
            for name, picture in _named(run_pictures(run)).items()
        }
        scores = pd.DataFrame(run.result["scores"])
        tables = {name: wandb.Table(dataframe=table) for name, table in _tables(run).items()}
        logger.experiment.log({**tables, **pictures})
        own = scores[scores["system"] == run.result["systems"][0]["name"]]
        for row in own.to_dict("records"):
            logger.experiment.summary[f"test/{row['condition']}/{row['metric']}"] = row["mean"]


def _tables(run: RunFolder) -> dict[str, pd.DataFrame]:
    """The tidy scores, each record's scores where it has any of its own, and each class's where there are classes."""
    tables = {"benchmark/scores": pd.DataFrame(run.result["scores"])}
    if task_facts(run.result["task"]).per_record:
        tables["benchmark/records"] = run.scores
    if run.result.get("classes"):
        tables["benchmark/classes"] = pd.DataFrame(run.result["classes"])
    return tables


def _named(pictures: dict[str, Picture | list[Picture] | None]) -> dict[str, Picture]:
    """Every picture of the report under a name of its own; what a run has no picture of is left out."""
    named = {}
    for key, found in pictures.items():
        name = key.removesuffix("_picture")
        if isinstance(found, list):
            named |= {f"{name}_{i}": picture for i, picture in enumerate(found)}
        elif found is not None:
            named[name] = found
    return named
