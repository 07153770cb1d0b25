"""Fixtures that every test folder shares: real recordings, and runs small enough for tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings (PhysioNet layouts); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ECGBENCH_TEST_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set ECGBENCH_TEST_DATA to a folder with ptb-xl/, mitdb/ and nstdb/")
    return folder


TINY = (
    "dataset.n_records=24",
    "dataset.duration_s=4",
    "task.window_s=4",
    "task.crop_s=1",
    "batch_size=4",
    "trainer.max_epochs=2",
    "logger=csv",
    "jobs=1",
)
THIN_MSECG = ("model.width=16", "model.n_layer=1")
ONE_LEVEL = ("noise.test_snr_db=[10]",)


@pytest.fixture(scope="session")
def store_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for the stores of all tests: what is built once is found again."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def tiny(store_dir: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides of a tiny run that writes under the test's own folder."""

    def overrides(*more: str) -> list[str]:
        model = () if any(o.startswith("model=") for o in more) else THIN_MSECG
        noise = () if any(o.startswith("noise=") for o in more) else ONE_LEVEL
        return [*TINY, *model, *noise, f"store_dir={store_dir}", f"output_dir={tmp_path / 'outputs'}", *more]

    return overrides


@pytest.fixture
def run(tiny: Callable[..., list[str]]) -> Callable[..., Path]:
    """A tiny run in this process; returns its folder."""
    from ecgbench import experiment
    from ecgbench.config import compose

    return lambda *more: experiment.run(compose(tiny(*more)))


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m <module> <arguments>` in the test's folder, as a user types it."""

    def call(*arguments: str, module: str = "ecgbench", timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    return call
