"""`python -m ecgbench.folds FILE [overrides]`: write the patients and folds of a challenge data set, with their hash.

The file and its FILE.sha256 pin a split: give it back with dataset.fold_file=FILE, on any machine.
"""

import argparse
import sys
from pathlib import Path

from ecgbench import config as configuration
from ecgbench.errors import complain


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the file was written, 1 on bad data, 2 on a wrong command."""
    options, overrides = _parser().parse_known_args(arguments)
    try:
        print(f"{options.file}: sha256 {write(options.file, overrides)}")
    except Exception as error:
        return complain(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecgbench folds",
        usage="python -m ecgbench.folds FILE dataset=cinc2020|cinc2021 [dataset.key=value]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="CSV to write: record_id, patient_id, fold")
    return parser


def write(path: Path, overrides: list[str]) -> str:
    """Writes the folds of the configured data set; returns the file's SHA-256. Refuses to replace a file."""
    from hydra.utils import instantiate

    config = configuration.compose(["task=classification", *overrides])
    source = instantiate(config.dataset, _convert_="all")
    if not hasattr(source, "write_folds"):
        raise configuration.ConfigError(
            f"dataset={config.choices.dataset} brings its own folds; this verb is for dataset=cinc2020 and cinc2021"
        )
    if path.exists():
        raise configuration.ConfigError(f"{path} exists; give another name, or remove it first")
    return source.write_folds(path)


if __name__ == "__main__":
    sys.exit(main())
