"""`python -m ecgbench.reproduce RUN_DIR`: run an experiment again from its run.yaml and compare metric by metric."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from ecgbench import config as configuration
from ecgbench.errors import complain

Verdict = Literal["equal", "within tolerance", "different"]


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every metric is equal or within tolerance, 1 when one differs, 2 on a wrong command."""
    options = _parser().parse_args(arguments)
    try:
        rerun = reproduce(options.run_dir, options.places)
        table = compare_runs(options.run_dir, rerun, options.rtol)
    except Exception as error:
        return complain(error)
    _print(table, options.run_dir, rerun)
    table.to_csv(rerun / "reproduction.csv", index=False)
    return int((table["verdict"] == "different").any())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ecgbench reproduce", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="folder of a finished run")
    parser.add_argument(
        "places", nargs="*", help=f"where things are on this machine: {', '.join(configuration.PLACE_KEYS)} (key=value)"
    )
    parser.add_argument("--rtol", type=float, default=1e-4, help="relative tolerance of a metric's mean (default 1e-4)")
    return parser


def reproduce(run_dir: Path, places: list[str]) -> Path:
    """Run again; refuses a run without a result, other keys than places, and data with another hash."""
    from ecgbench import experiment

    configuration.register()
    config = at_places(configuration.load(run_dir / "run.yaml"), places)
    if not (run_dir / "result.json").is_file():
        raise configuration.ConfigError(
            f"{run_dir} has no result.json: that run did not finish; nothing to compare with"
        )
    result = json.loads((run_dir / "result.json").read_text())
    experiment.check(config)
    data = experiment.load_data(config)
    here = experiment.identity(config, data)
    for key, place in (("data_hash", "dataset.root"), ("test_hash", "noise.root")):
        if here[key] != result[key]:
            raise configuration.ConfigError(
                f"the data differ: the run has {key} {result[key]}, here it is {here[key]}; "
                f"give the same recordings with {place}=..."
            )
    return experiment.run(config, data)


def at_places(config: DictConfig, places: list[str]) -> DictConfig:
    """The configuration with some paths replaced; any other key would make it another experiment."""
    for place in places:
        key, sign, value = place.partition("=")
        if not sign or key not in configuration.PLACE_KEYS:
            raise configuration.ConfigError(
                f"{place!r} cannot be changed in a reproduction; allowed are "
                f"{', '.join(configuration.PLACE_KEYS)} as key=value; for another experiment use python -m ecgbench"
            )
        if OmegaConf.select(config, key) is None:
            raise configuration.ConfigError(f"{place!r} cannot be set: this run has no key {key}; leave it out")
        OmegaConf.update(config, key, int(value) if key == "jobs" else value)
    return config


def compare_runs(first: Path, second: Path, rtol: float) -> pd.DataFrame:
    """One row per system, condition and metric: both means, the largest difference of a record, the verdict."""
    keys = ["system", "condition", "record_id"]
    frames = [pd.read_parquet(folder / "scores.parquet").set_index(keys) for folder in (first, second)]
    if not frames[0].index.sort_values().equals(frames[1].index.sort_values()):
        raise configuration.ConfigError(f"{first} and {second} scored different records; they cannot be compared")
    before, after = frames[0], frames[1].loc[frames[0].index]
    rows = []
    for names, part in before.groupby(level=["system", "condition"], sort=False):
        system, condition = names  # type: ignore[misc]
        again = after.loc[part.index]
        for metric in part.select_dtypes(["number", "bool"]).columns.drop("n_windows", errors="ignore"):
            pair = part[metric].astype(float), again[metric].astype(float)
            rows.append({"system": system, "condition": condition, "metric": metric, **_row(*pair, rtol)})
    return pd.DataFrame(rows)


def _row(before: pd.Series, after: pd.Series, rtol: float) -> dict[str, Any]:
    largest = float((before - after).abs().max())
    means = float(before.mean()), float(after.mean())
    return {
        "before": means[0],
        "after": means[1],
        "largest_record_difference": largest,
        "verdict": verdict(before, after, rtol),
    }


def verdict(before: pd.Series, after: pd.Series, rtol: float) -> Verdict:
    """`equal` only when every record's score is the same to the last bit."""
    if before.equals(after):
        return "equal"
    return "within tolerance" if math.isclose(before.mean(), after.mean(), rel_tol=rtol) else "different"


def _print(table: pd.DataFrame, first: Path, second: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    view = Table(title=f"{first.name} run again")
    for column in table.columns:
        view.add_column(column, overflow="fold")
    for row in table.itertuples(index=False):
        view.add_row(*[f"{value:.6g}" if isinstance(value, float) else str(value) for value in row])
    console = Console()
    console.print(view)
    counts = table["verdict"].value_counts().to_dict()
    summary = ", ".join(f"{counts.get(v, 0)} {v}" for v in ("equal", "within tolerance", "different"))
    console.print(f"{summary}; the new run: {second}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
