"""Fixtures that every test folder shares."""

import os
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
