"""One process of a run over several: `python -m ecgbench.worker RUN_DIR`, started by `train.launch` alone."""

import sys
from pathlib import Path


def main(run_dir: Path) -> None:
    """Take part in the run whose resolved configuration is in the folder."""
    from ecgbench import config, experiment

    config.register()
    resolved = config.load(run_dir / "run.yaml")
    data = experiment.load_data(resolved)
    experiment.execute(resolved, run_dir, data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
