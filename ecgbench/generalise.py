"""`python -m ecgbench.generalise [overrides]`: train on each source, test on all, and on fewer leads.

A run per source trains on that source's training folds; it is scored on its test fold and on all records of the
others. With --leave-one-out a run trains on all sources but one, and is scored on the one left out and on the others'
test folds. Finished runs are found again, so that the same command goes on after an interruption.
"""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ecgbench import config as configuration
from ecgbench.errors import complain

EXAMPLES = """examples:
  python -m ecgbench.generalise dataset=cinc2021 dataset.root=data/cinc2021 experiments=classification_cinc2021_isibrno
  python -m ecgbench.generalise --leave-one-out dataset=cinc2021 preprocessing=compact
  python -m ecgbench.generalise 'preprocessing.test_leads=[12,6,4,3,2]' dataset=ptbxl
"""
TEST_LEADS = "preprocessing.test_leads=[12,6,4,3,2]"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every source was trained on, 1 when one failed, 2 on a wrong command."""
    options, overrides = _parser().parse_known_args(arguments)
    try:
        configuration.register()
        overrides = with_defaults(overrides)
        jobs = [*plan(overrides, options.leave_one_out)]
        runs = {name: _run(job) for name, job in jobs}
    except Exception as error:
        return complain(error)
    finished = {name: run for name, run in runs.items() if run.run_dir}
    failed = {name: run.error for name, run in runs.items() if run.error}
    for name, reason in failed.items():
        print(f"failed: trained on {name}: {reason}", file=sys.stderr)
    if not finished:
        return 1
    print(_write(finished, _new_folder(options.out), overrides))
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecgbench generalise",
        usage="python -m ecgbench.generalise [--leave-one-out] [--out DIR] [group=choice] [key=value]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--leave-one-out", action="store_true", help="train on all sources but one")
    parser.add_argument("--out", type=Path, default=Path("outputs/generalisation"), help="where the matrix goes")
    return parser


def with_defaults(overrides: list[str]) -> list[str]:
    """The overrides with the task, and the lead subsets unless they are given; ConfigError for another task."""
    keys = [override.partition("=")[0] for override in overrides]
    task = [] if {"task", "experiments"} & set(keys) else ["task=classification"]
    name = configuration.compose([*task, *overrides]).task.name
    if name != "classification":
        raise configuration.ConfigError(
            f"task={name} has no generalisation matrix; use task=classification or a recipe of it"
        )
    leads = [] if "preprocessing.test_leads" in keys else [TEST_LEADS]
    return [*task, *overrides, *leads]


def plan(overrides: list[str], leave_one_out: bool) -> list[tuple[str, Any]]:
    """What to train on, by name, and the configuration of each run."""
    from hydra.utils import instantiate

    config = configuration.compose(overrides)
    names = instantiate(config.dataset, _convert_="all").source_names
    if len(names) == 1:
        if leave_one_out:
            raise configuration.ConfigError(f"dataset={config.choices.dataset} is one source; nothing can be left out")
        return [(names[0], config)]
    key, word = ("test_sources", "all but ") if leave_one_out else ("train_sources", "")
    return [(word + name, configuration.compose([*overrides, f"dataset.{key}=[{name}]"])) for name in names]


def _run(config: Any) -> Any:
    """The run of one configuration: found, made, or the reason why there is none."""
    from ecgbench.sweep import run_job

    return run_job(config)


def _new_folder(out: Path) -> Path:
    """A folder of this second's own under `out`."""
    stem = f"{datetime.now():%Y-%m-%d_%H%M%S}"
    taken = {path.name for path in out.glob(f"{stem}*")}
    folder = out / next(name for name in (stem, *(f"{stem}_{i}" for i in range(2, 1000))) if name not in taken)
    folder.mkdir(parents=True)
    return folder


def _write(runs: dict[str, Any], folder: Path, overrides: list[str]) -> Path:
    """The page of the matrix, with its picture and table beside it."""
    from ecgbench.experiment import label
    from ecgbench.report.generalisation import write_matrix

    table = pd.concat([rows(name, run.run_dir) for name, run in runs.items()], ignore_index=True)
    config = configuration.compose(overrides)
    title = f"{label(config)} on {config.choices.dataset}"
    return write_matrix(folder, table, title=title, notes=_notes(runs))


def _notes(runs: dict[str, Any]) -> list[str]:
    """What the results say of themselves: first what all say, then what only some do, with the name of the row."""
    notes = {name: json.loads((run.run_dir / "result.json").read_text())["notes"] for name, run in runs.items()}
    shared = [note for note in next(iter(notes.values())) if all(note in own for own in notes.values())]
    return [*shared, *(f"{name}: {note}" for name, own in notes.items() for note in own if note not in shared)]


def rows(name: str, run_dir: Path) -> pd.DataFrame:
    """One run's scores by test source and number of leads: train, test, leads, n_records, value, ci_low, ci_high."""
    from ecgbench.report.run_folder import headline_spec

    result = json.loads((run_dir / "result.json").read_text())
    metric, model = headline_spec(result["task"]).name, result["systems"][0]["name"]
    leads = {c["name"]: len(c["leads"]) if c["leads"] else 12 for c in result["conditions"] if c["kind"] is None}
    return pd.DataFrame(
        {
            "train": name,
            "test": row["source"],
            "leads": leads[row["condition"]],
            "n_records": row["n_records"],
            "value": row["mean"],
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
        }
        for row in result["sources"]
        if row["system"] == model and row["metric"] == metric and row["condition"] in leads
    )


if __name__ == "__main__":
    sys.exit(main())
