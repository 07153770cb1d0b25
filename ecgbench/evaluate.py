"""`python -m ecgbench.evaluate RUN_DIR dataset=...`: score a finished run's weights on other recordings.

Weights, preprocessing, protocol and baselines are the run's own; only the recordings (dataset=, dataset.key=), the test
noise (noise=, noise.key=) and what a reconstruction is tested for (task.test_inputs=, task.classifier=, ...) change.
Systems that are fitted in closed form are fitted to the run's training recordings again, so these must be within reach.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ecgbench import config as configuration
from ecgbench.errors import complain

CHANGEABLE = ("dataset", "noise")
TEST_KEYS = (
    "task.classifier",
    "task.features",
    "task.test_inputs",
    "task.noise_inputs",
    "task.n_samples",
    "task.store.fs_hz",
)
"""Keys of a task that change what is tested and nothing that was trained; a store at another rate than that of training
is fed to the model as it is, without resampling."""
FITTED = ("accumulate", "observe")
"""What a system has that is fitted to training recordings without being trained."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the scores were written, 2 on a wrong command or data that do not fit."""
    options = _parser().parse_args(arguments)
    try:
        from ecgbench import experiment

        configuration.register()
        experiment.announce(evaluate(options.run_dir, options.overrides))
    except Exception as error:
        return complain(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecgbench evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path, help="folder of a finished run")
    parser.add_argument("overrides", nargs="*", help="dataset=..., dataset.key=..., noise=..., output_dir=..., ...")
    return parser


def evaluate(run_dir: Path, overrides: list[str]) -> Path:
    """The folder of the new scores; ConfigError for a run without weights or a key that is not changeable."""
    from ecgbench import experiment, provenance
    from ecgbench.scoring.contract import write_json

    started = time.monotonic()
    trained_on = configuration.load(run_dir / "run.yaml")
    config = changed(trained_on, overrides)
    experiment.check(config)
    task = experiment.build_task(config)
    systems = {config.choices.model: task.model, **_baselines(config)}
    if any(hasattr(system, name) for system in systems.values() for name in FITTED):
        task.prepare(systems, experiment.load_data(trained_on))
    fit = _weights(task, run_dir) if experiment.is_trainable(config) else None
    data = experiment.load_data(config, splits=("test",))
    if fit is not None:
        refuse_seen(trained_on, config, data)
    folder = experiment.new_folder(config)
    OmegaConf.save(config, folder / "run.yaml")
    write_json(folder / "env.json", provenance.environment())
    experiment.predict(config, task, systems, data, folder)
    seconds = time.monotonic() - started
    origin = f"Weights and baselines of a run on dataset={trained_on.choices.dataset}, {run_dir.name}."
    facts = {
        "fit": fit,
        "timing": {"seconds_total": seconds, "predict_seconds": seconds},
        "notes": [origin, *experiment.notes(config, data, is_trained=fit is not None)],
    }
    experiment.finish(config, folder, task, systems, data, facts)
    return folder


def changed(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The run's configuration with other recordings or noise, and other places; ConfigError for any other key."""
    places = [o for o in overrides if o.partition("=")[0] in configuration.PLACE_KEYS and not o.startswith(CHANGEABLE)]
    is_rebuilt = config.choices.task == "reconstruction"
    tests = [o for o in overrides if is_rebuilt and o.partition("=")[0] in TEST_KEYS]
    others = [o for o in overrides if o not in (*places, *tests)]
    for override in others:
        if override.lstrip("+~").partition("=")[0].partition(".")[0] not in CHANGEABLE:
            raise configuration.ConfigError(
                f"{override!r} cannot be changed in an evaluation; allowed are dataset=, dataset.key=, noise=, "
                f"noise.key=, {', '.join(TEST_KEYS)} of a reconstruction, and places such as output_dir=; "
                "for another training use python -m ecgbench"
            )
    if config.choices.task == "classification":
        raise configuration.ConfigError(
            "thresholds of task=classification belong to its validation records; to score other sources, train with "
            "dataset.test_sources=[...] or use python -m ecgbench.generalise"
        )
    composed = configuration.compose([f"task={config.choices.task}", f"noise={config.choices.noise}", *others])
    new: DictConfig = OmegaConf.create(OmegaConf.to_container(config))  # type: ignore[assignment]
    for group in CHANGEABLE:
        if any(o.lstrip("+~").startswith(group) for o in others):
            new[group], new.choices[group] = composed[group], composed.choices[group]
    for place in places:
        key, _, value = place.partition("=")
        OmegaConf.update(new, key, int(value) if key == "jobs" else value)
    for test in tests:
        key = test.partition("=")[0]
        value, name = OmegaConf.select(OmegaConf.from_dotlist([test]), key), key.rpartition(".")[2]
        OmegaConf.update(new, key, value)
        for node in (new.task.scoring, new.task.examples):
            if name in node:
                node[name] = value
    new.overrides = [*config.overrides, *tests, *others]
    return new


def refuse_seen(trained_on: DictConfig, config: DictConfig, data: Any) -> None:
    """ConfigError where the run was trained or tuned on patients that would be tested: its scores would be too good.

    Only recordings of one data set are told apart; where its protocol lets patients cross splits, nothing is refused.
    """
    from hydra.utils import instantiate

    own, new = trained_on.dataset, config.dataset
    if own._target_ != new._target_ or "root" not in own or not data.source.patient_disjoint:
        return
    manifest = instantiate(OmegaConf.merge(own, {"root": new.root}), _convert_="all").manifest()
    seen = set(manifest.loc[manifest["split"].isin(["train", "val"]), "patient_id"])
    index = data.store.index
    both = sorted(seen & set(index.loc[index["split"] == "test", "patient_id"]))
    if both:
        raise configuration.ConfigError(
            f"the run was trained or tuned on {len(both)} of the patients to be tested (first: {both[0]}); "
            f"test others than its train_folds={list(own.train_folds)} and val_folds={list(own.val_folds)}"
        )


def _baselines(config: DictConfig) -> dict[str, Any]:
    from hydra.utils import instantiate

    return instantiate(config.task.baselines, _convert_="all")


def _weights(task: Any, run_dir: Path) -> dict[str, Any]:
    """What the run's result says of its training, after its best weights were loaded."""
    from ecgbench import experiment

    path = run_dir / "checkpoints" / "best.ckpt"
    if not path.is_file() or not (run_dir / "result.json").is_file():
        raise configuration.ConfigError(f"{run_dir} has no finished training (checkpoints/best.ckpt and result.json)")
    experiment.load_weights(task, path)
    return json.loads((run_dir / "result.json").read_text())["fit"]


if __name__ == "__main__":
    sys.exit(main())
