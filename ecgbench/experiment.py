"""A run, from a resolved configuration to a scored and reported folder."""

import hashlib
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import Logger
from rich.console import Console

from ecgbench import provenance
from ecgbench.callbacks.benchmark import BenchmarkLogger
from ecgbench.callbacks.progress import EpochLines
from ecgbench.config import PLACE_KEYS, ConfigError, check_targets, config_hash, locate
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.noise import SPLITS, Split
from ecgbench.data.store import open_store
from ecgbench.ops import resolve_backend
from ecgbench.report.run_report import terminal_table, write_report
from ecgbench.scoring.contract import Scoring, Systems, write_json
from ecgbench.train import launch
from ecgbench.train.loggers import build_loggers, wandb_logger
from ecgbench.train.run_log import run_log
from ecgbench.train.schedule import n_parameters, n_predicting, optimizer_maker, schedule_maker


def check(config: DictConfig) -> None:
    """Refuse a configuration that cannot run, in one sentence, before any recording is opened."""
    check_targets(config)
    task_class, model_class = locate(config.task.module._target_, "task.module"), locate(config.model._target_, "model")
    if config.task.name not in getattr(model_class, "tasks", ()):
        raise ConfigError(
            f"model={config.choices.model} does not do task={config.task.name}; "
            f"it does {', '.join(getattr(model_class, 'tasks', ())) or 'none'}"
        )
    for group in ("preprocessing", "loss"):
        if config.get(group) is not None and group not in getattr(task_class, "groups", ()):
            raise ConfigError(f"{group}={config.choices[group]} has no effect on task={config.task.name}; leave it out")
    n_heads = len(getattr(model_class, "heads", ("",)))
    if config.loss is not None and n_heads != locate(config.loss._target_, "loss").n_heads:  # type: ignore[attr-defined]
        raise ConfigError(
            f"model={config.choices.model} has {n_heads} head(s), which loss={config.choices.loss} does not take; "
            f"use loss={'challenge_mixture' if n_heads > 1 else 'bce'}"
        )
    _check_own_loss(config, model_class)
    if config.task.get("padding") == "copy" and getattr(model_class, "reads_presence", False):
        raise ConfigError(
            f"model={config.choices.model} tells given leads from absent ones by their zeros; use task.padding=zero"
        )
    _check_training(config)
    device = device_of(config)
    launch.n_processes(config)
    try:
        resolve_backend(scan_backend(config), device)
        with torch.device("meta"):  # the constructors' own checks, without weights
            task = config.task
            nodes = (config.model, config.noise, config.dataset, task.store, task.examples, task.scoring)
            parts = [part for part in task.module.values() if isinstance(part, DictConfig)]
            for node in (*nodes, *task.baselines.values(), *parts):
                instantiate(node, _convert_="all")
    except InstantiationException as error:
        raise ConfigError(str(error.__cause__)) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_own_loss(config: DictConfig, model_class: Any) -> None:
    """Refuse what a model that brings its own loss does not obey, or a pair of adversaries cannot train under."""
    name, is_adversarial = config.choices.model, hasattr(model_class, "discriminator_loss")
    if (is_adversarial or hasattr(model_class, "training_loss")) and config.task.get("loss_on") == "hidden":
        raise ConfigError(f"model={name} brings its own loss, on which task.loss_on has no effect; leave it out")
    if is_adversarial and config.trainer.gradient_clip_val is not None:
        raise ConfigError(
            f"model={name} trains two adversaries, whose gradients Lightning does not clip; "
            "set trainer.gradient_clip_val=null"
        )
    if is_adversarial and launch.n_processes(config) > 1 and not config.trainer.strategy.endswith("true"):
        raise ConfigError(
            f"model={name} trains two adversaries, and a step of one leaves the other without gradients; "
            "set trainer.strategy=ddp_find_unused_parameters_true"
        )


def _check_training(config: DictConfig) -> None:
    """Refuse training that would never be validated, and a baseline that takes the model's name."""
    trainer = config.trainer
    for name, value in (("batch_size", config.batch_size), ("trainer.max_epochs", trainer.max_epochs)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    if trainer.check_val_every_n_epoch > trainer.max_epochs or trainer.limit_val_batches == 0:
        raise ConfigError(
            f"no validation would happen in {trainer.max_epochs} epochs, so no checkpoint could be chosen; "
            "lower trainer.check_val_every_n_epoch or raise trainer.limit_val_batches"
        )
    if config.choices.model in config.task.baselines:
        raise ConfigError(f"task.baselines holds {config.choices.model!r}, the model's own name; rename the baseline")


def scan_backend(config: DictConfig) -> str:
    """The selective scan's backend that the model is built with."""
    return str(config.model.get("scan_backend", config.scan_backend))


def device_of(config: DictConfig) -> torch.device:
    """The device that the trainer computes on."""
    on_gpu = config.trainer.accelerator in ("gpu", "cuda")
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=gpu, but torch sees no GPU; use trainer=cpu, or see ecgbench.doctor")
    return torch.device("cuda") if on_gpu else torch.device("cpu")


def load_data(config: DictConfig, splits: Sequence[Split] = SPLITS) -> EcgDataModule:
    """The data module of a run; the store of the configured recordings is built first if it is not there."""
    source = instantiate(config.dataset, _convert_="all")
    spec = instantiate(config.task.store, _convert_="all")
    return EcgDataModule(
        source=source,
        store=open_store(source, spec, Path(config.store_dir), jobs=config.jobs),
        examples_config=instantiate(config.task.examples, _convert_="all"),
        noise=instantiate(config.noise, _convert_="all"),
        batch_size=config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
        splits=splits,
    )


def run(config: DictConfig, data: EcgDataModule | None = None) -> Path:
    """Train, predict, score and report; returns the run's folder."""
    check(config)
    launch.refuse_foreign_launcher()
    data = data or load_data(config)
    scoring_of(config).check(data)
    run_dir = new_folder(config)
    OmegaConf.save(config, run_dir / "run.yaml")
    write_json(run_dir / "env.json", provenance.environment())
    world = launch.n_processes(config)
    if world > 1 and is_trainable(config):
        launch.run_workers(run_dir, world)
    else:
        execute(config, run_dir, data)
    return run_dir


def is_trainable(config: DictConfig) -> bool:
    """Whether the model has parameters; one without needs no training and no second process."""
    with torch.device("meta"):
        return n_parameters(instantiate(config.model, _convert_="all")) > 0


def identity(config: DictConfig, data: EcgDataModule) -> dict[str, str]:
    """What two runs must share to be the same experiment (all of it) or to stand in one table (all but the first).

    `test_hash` covers every parameter of the test: window, filter, rates, labels, and the noise's bytes.
    """
    scoring = scoring_of(config)
    test = {**scoring.conditions_of_test(data), "noise": data.noise.identity()}
    return {
        "config_hash": config_hash(config),
        "protocol": scoring.protocol(data.noise.variant),
        "test_hash": hashlib.sha256(json.dumps(test, sort_keys=True).encode()).hexdigest(),
        "data_hash": data.store.data_hash,
    }


def scoring_of(config: DictConfig) -> Scoring:
    """The task's scoring."""
    return instantiate(config.task.scoring, _convert_="all")


def announce(run_dir: Path) -> None:
    """Print the score table and, last, the folder."""
    console = Console()
    console.print(terminal_table(json.loads((run_dir / "result.json").read_text())))
    console.print(f"report: {run_dir / 'report.html'}", markup=False, soft_wrap=True)
    console.print(str(run_dir), markup=False, soft_wrap=True, highlight=False)


def execute(config: DictConfig, run_dir: Path, data: EcgDataModule) -> None:
    """One process's part of a run, its messages and its traceback in its log."""
    with run_log(launch.log_file(run_dir, launch.own_rank())):
        try:
            _execute(config, run_dir, data)
        except BaseException:
            logging.getLogger("ecgbench").exception("the run stopped")
            raise


def _execute(config: DictConfig, run_dir: Path, data: EcgDataModule) -> None:
    """Train, predict; the first process also scores, reports and logs."""
    started = time.monotonic()
    pl.seed_everything(config.seed, verbose=False)
    task = build_task(config)
    systems = {config.choices.model: task.model, **instantiate(config.task.baselines, _convert_="all")}
    task.prepare(systems, data)
    loggers = build_loggers(config, run_dir)
    failed = True
    try:
        trainer = build_trainer(config, run_dir, loggers)
        fit = train(trainer, task, data)
        predicted = time.monotonic()
        predict(config, task, systems, data, run_dir, trainer.global_rank)
        predicted = time.monotonic() - predicted
        if trainer.is_global_zero:
            timing = {"seconds_total": time.monotonic() - started, "predict_seconds": predicted}
            finish(config, run_dir, task, systems, data, {"fit": fit, "timing": timing})
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, BenchmarkLogger):
                    callback.log_benchmark(trainer, run_dir)
        failed = False
    finally:
        if wandb_logger(loggers):
            import wandb

            wandb.finish(exit_code=int(failed))


def build_task(config: DictConfig) -> Any:
    """The task with a freshly initialised model."""
    return instantiate(
        config.task.module,
        model=instantiate(config.model, _convert_="all"),
        make_optimizer=optimizer_maker(config.optimizer),
        make_schedule=schedule_maker(config.scheduler, "val/loss"),
        _convert_="all",
    )


def build_trainer(config: DictConfig, run_dir: Path, loggers: list[Logger]) -> pl.Trainer:
    """Lightning's trainer; samplers are ours, so that no process sees a sample twice."""
    callbacks = [instantiate(callback, _convert_="all") for callback in config.callbacks.values()]
    on_terminal = sys.stdout.isatty()
    callbacks.append(RichProgressBar(leave=False) if on_terminal else EpochLines())
    options = {
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "enable_progress_bar": on_terminal,
    }
    return instantiate(
        OmegaConf.masked_copy(config.trainer, [key for key in config.trainer if key != "plugins"]),
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(run_dir),
        plugins=launch.plugins(config),
        _convert_="all",
        **options,
    )


def train(trainer: pl.Trainer, task: Any, data: EcgDataModule) -> dict[str, Any] | None:
    """Fit and load the checkpoint with the best validation score; None for a model without parameters."""
    if n_parameters(task.model) == 0:
        return None
    started = time.monotonic()
    try:
        trainer.fit(task, datamodule=data)
    except SystemExit as stop:  # Lightning's answer to Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from stop
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or best.best_model_score is None or not best.best_model_score.isfinite():
        monitor = getattr(best, "monitor", "score")
        raise FloatingPointError(f"no epoch had a finite {monitor}; lower optimizer.lr or clip gradients")
    checkpoint = load_weights(task, Path(best.best_model_path))
    return {
        "epochs": trainer.current_epoch,
        "best_epoch": int(checkpoint["epoch"]) + 1,
        "monitor": best.monitor,
        "best_score": float(best.best_model_score),
        "seconds": time.monotonic() - started,
    }


def load_weights(task: pl.LightningModule, path: Path) -> dict[str, Any]:
    """The checkpoint at `path`, after its weights were put into the task, in single precision."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    task.load_state_dict(checkpoint["state_dict"])
    task.float()
    return checkpoint


def predict(
    config: DictConfig, task: pl.LightningModule, systems: Systems, data: EcgDataModule, run_dir: Path, rank: int = 0
) -> None:
    """Predict this process's samples into its shard, and wait for the others'."""
    folder = run_dir / "predictions"
    folder.mkdir(exist_ok=True)
    shard = scoring_of(config).predict(task, systems, data, device_of(config), progress=rank == 0)
    shard.to_parquet(folder / f"rank{rank}.parquet")
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def finish(
    config: DictConfig,
    run_dir: Path,
    task: pl.LightningModule,
    systems: Systems,
    data: EcgDataModule,
    facts: dict[str, Any],
) -> None:
    """Write the predictions' scores, result.json, env.json and the report."""
    device = device_of(config)
    shards = sorted((run_dir / "predictions").glob("rank*.parquet"))
    shares = pd.concat([pd.read_parquet(shard) for shard in shards], ignore_index=True)
    for shard in shards:
        shard.unlink()
    scores = scoring_of(config).finish(run_dir, shares, task, systems, data, device)
    backend = resolve_backend(scan_backend(config), device)
    env = json.loads((run_dir / "env.json").read_text())
    env |= {"data_hash": data.store.data_hash, "scan_backend": backend._asdict()}
    write_json(run_dir / "env.json", env)
    write_json(run_dir / "result.json", {**description(config, data, systems), **facts, **scores})
    write_report(run_dir)


def description(config: DictConfig, data: EcgDataModule, systems: Systems) -> dict[str, Any]:
    """What a run is, for result.json: identity, data and systems, without its scores."""
    model = config.choices.model
    roles = ["model"] + ["baseline"] * (len(systems) - 1)
    return {
        "schema_version": 1,
        "task": config.task.name,
        **identity(config, data),
        "comparable_to_published": False,
        "notes": notes(config, data, is_trained=n_parameters(systems[model]) > 0),
        "dataset": config.choices.dataset,
        "model": model,
        "label": label(config),
        "seed": config.seed,
        "n_parameters": n_predicting(systems[model]),
        "records": {**_counts(data, "record_id"), "skipped": len(data.store.skipped)},
        "patients": _counts(data, "patient_id"),
        "skipped": data.store.skipped,
        "systems": [
            {"name": name, "role": role, "n_parameters": n_predicting(system)}
            for (name, system), role in zip(systems.items(), roles, strict=True)
        ],
        "conditions": [condition._asdict() for condition in data.conditions],
    }


def _counts(data: EcgDataModule, column: str) -> dict[str, int]:
    """How many records or patients each split holds."""
    return {split: int(data.examples.index[column].iloc[data.rows(split)].nunique()) for split in SPLITS}


def label(config: DictConfig) -> str:
    """The model's name and everything else that was set on the command line and can move its scores."""
    own = ("model", "dataset", "task", "experiments", "seed", "logger", "num_workers", *PLACE_KEYS)
    plain = [o.lstrip("+~") for o in config.overrides]
    changed = [
        o.removeprefix("model.") for o in plain if o.partition("=")[0] not in own and not o.startswith("logger.")
    ]
    return f"{config.choices.model} ({', '.join(changed)})" if changed else str(config.choices.model)


def notes(config: DictConfig, data: EcgDataModule, is_trained: bool) -> list[str]:
    """What a reader must know before comparing the numbers with anything, one sentence each."""
    of_source = data.source.notes(data.store.index["record_id"].nunique())
    return of_source + scoring_of(config).notes(data, config.trainer.max_epochs if is_trained else None)


def new_folder(config: DictConfig) -> Path:
    """A new run folder, named by task, dataset, model, time, seed and configuration."""
    choices = config.choices
    parent = Path(config.output_dir) / choices.task / choices.dataset / choices.model
    stem = f"{datetime.now():%Y-%m-%d_%H%M%S}_s{config.seed}_{config_hash(config)}"
    for suffix in ("", *(f"_{i}" for i in range(2, 1000))):
        folder = parent / (stem + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{parent / stem} exists a thousand times; remove some")
