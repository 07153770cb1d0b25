"""The command line: `python -m ecgbench [group=choice] [key=value] [-m]`, or `ecgbench <verb>`.

Nothing heavy is imported before the configuration is known to be right, so `--help` and typos answer at once.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ecgbench import config as configuration
from ecgbench.errors import complain

VERBS = ("doctor", "evaluate", "fetch", "folds", "generalise", "reproduce")
HELP = """ecgbench: train and score an ECG system on one protocol, from one config.

  python -m ecgbench                                    the default run, nothing to download
  python -m ecgbench task=superres model=msecg dataset=ptbxl dataset.root=data/ptb-xl
  python -m ecgbench -m model=msecg,srecg seed=0,1      a sweep; the same command again runs what is missing
  python -m ecgbench.reproduce RUN_DIR                  run again and compare metric by metric
  python -m ecgbench.generalise dataset=cinc2021        train on each source, test on every other: one picture
  python -m ecgbench.fetch ptbxl                        download recordings
  python -m ecgbench.doctor                             versions, devices, scan backend

Groups (group=choice):
{groups}

Any key can be set too: key.subkey=value; --cfg job prints the composed configuration, --hydra-help Hydra's own flags.
Verbs: {verbs} (python -m ecgbench.VERB, or ecgbench VERB); each has its --help."""


def main() -> None:
    """Run one experiment, a sweep, or a verb; exits with 1 when anything failed, with 2 on a wrong command."""
    if len(sys.argv) > 1 and sys.argv[1] in VERBS:
        verb = sys.argv.pop(1)
        sys.exit(importlib.import_module(f"ecgbench.{verb}").main())
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text())
        return
    configuration.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors to us instead of printing them
    try:
        _hydra_main()()
    except KeyboardInterrupt:
        sys.exit("stopped; what was finished is kept, and the same command runs what is missing")
    except Exception as error:
        sys.exit(complain(error, known_keys))


def help_text() -> str:
    """What can be typed: examples, every group with its choices, the verbs."""
    groups = "\n".join(f"  {name:<12} {', '.join(choices)}" for name, choices in configuration.groups().items())
    return HELP.format(groups=groups, verbs=", ".join(VERBS))


def known_keys() -> list[str]:
    """Every key of the configuration with the groups that were chosen, for suggestions."""
    choices = [f"{group}={choice}" for group, names in configuration.groups().items() for choice in names]
    return configuration.leaf_keys(configuration.compose([o for o in sys.argv[1:] if o in choices]))


def _hydra_main() -> Any:
    import hydra

    return hydra.main(config_path=str(configuration.CONF_DIR), config_name="config", version_base="1.3")(_job)


def _job(config: DictConfig) -> Any:
    """One composed configuration: a single run, or one job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    job = HydraConfig.get()
    try:
        resolved = configuration.from_hydra(config, job)
        if job.mode == RunMode.MULTIRUN:
            from ecgbench import sweep

            if resolved.logger.wandb is not None and resolved.logger.wandb.group is None:
                resolved.logger.wandb.group = Path(job.sweep.dir).name

            return sweep.run_job(resolved)
        from ecgbench import experiment

        return experiment.announce(experiment.run(resolved))
    except Exception as error:
        sys.exit(complain(error, known_keys))
