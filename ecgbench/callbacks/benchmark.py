"""The benchmark's scores, tables and pictures in W&B, once per run, after the test split was scored."""

import io
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl

from ecgbench.report.html import Picture
from ecgbench.report.run_folder import read_run
from ecgbench.report.run_report import run_pictures
from ecgbench.train.loggers import wandb_logger


class BenchmarkLogger(pl.Callback):
    """Logs a finished run folder; does nothing without a W&B logger and on all processes but the first."""

    def log_benchmark(self, trainer: pl.Trainer, run_dir: Path) -> None:
        """Write `test/<condition>/<metric>` to the summary, both score tables, and the report's pictures."""
        logger = wandb_logger(trainer.loggers)
        if logger is None or not trainer.is_global_zero:
            return
        import wandb
        from PIL import Image

        run = read_run(run_dir)
        pictures = {
            f"figures/{name}": [wandb.Image(Image.open(io.BytesIO(p.png)), caption=p.caption or p.alt) for p in found]
            for name, found in _as_lists(run_pictures(run)).items()
        }
        scores = pd.DataFrame(run.result["scores"])
        tables = {"benchmark/scores": wandb.Table(dataframe=scores), "benchmark/records": wandb.Table(dataframe=run.scores)}
        logger.experiment.log({**tables, **pictures})
        own = scores[scores["system"] == run.result["systems"][0]["name"]]
        for row in own.itertuples():
            logger.experiment.summary[f"test/{row.condition}/{row.metric}"] = row.mean


def _as_lists(pictures: dict[str, Picture | list[Picture] | None]) -> dict[str, list[Picture]]:
    """Every picture of the report under its name; what a run has no picture of is left out."""
    lists = {name: found if isinstance(found, list) else [found] for name, found in pictures.items() if found}
    return {name.removesuffix("_picture"): found for name, found in lists.items()}
