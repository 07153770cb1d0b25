"""Where training curves go: a CSV in the run folder always, W&B as configured."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger


def build_loggers(config: DictConfig, run_dir: Path) -> list[Logger]:
    """CSV first (Lightning puts checkpoints beside it), then W&B on the first process only."""
    loggers: list[Logger] = [CSVLogger(save_dir=run_dir, name="", version="")]
    if config.logger.wandb is not None and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        loggers.append(_wandb_logger(config, run_dir))
    return loggers


def _wandb_logger(config: DictConfig, run_dir: Path) -> WandbLogger:
    """One W&B run per run folder; offline it neither asks for a login nor opens a connection."""
    import wandb

    options, choices = config.logger.wandb, config.choices
    run = wandb.init(
        project=options.project,
        entity=options.entity,
        group=options.group,
        mode=options.mode,
        dir=run_dir,
        name=f"{choices.model}/{choices.dataset}/s{config.seed}",
        job_type=choices.task,
        tags=[choices.task, choices.dataset, choices.model],
        config=OmegaConf.to_container(config),
        settings=wandb.Settings(silent=True, console="off"),
    )
    return WandbLogger(experiment=run, save_dir=run_dir)


def wandb_logger(loggers: list[Logger]) -> WandbLogger | None:
    """The W&B logger among a trainer's loggers, if there is one."""
    return next((logger for logger in loggers if isinstance(logger, WandbLogger)), None)
