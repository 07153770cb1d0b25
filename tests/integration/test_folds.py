"""The verb that pins a split: file and hash, the same split from the file, and what it refuses."""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hydra.utils import instantiate

from ecgbench import folds
from ecgbench.config import compose


@pytest.fixture
def cut(shared_data: Path) -> tuple[str, ...]:
    """The real challenge cut."""
    return ("dataset=cinc2021", f"dataset.root={shared_data / 'cinc2021'}")


@pytest.fixture
def written(cut: tuple[str, ...], tmp_path: Path) -> Path:
    """A fold file of the cut, dealt with a seed that is not the default."""
    path = tmp_path / "new" / "folds.csv"
    assert folds.main([str(path), *cut, "dataset.fold_seed=3"]) == 0
    return path


def manifest_of(*overrides: str) -> pd.DataFrame:
    """Record, patient, split and fold of a configured data set."""
    source = instantiate(compose(["task=classification", *overrides]).dataset, _convert_="all")
    return source.manifest()[["record_id", "patient_id", "split", "fold"]]


def test_the_file_holds_every_record_and_its_hash_beside_it(
    cut: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """105 records with the folds that are computed, and the SHA-256 of the bytes, printed and in sha256sum's layout."""
    path = tmp_path / "folds.csv"
    assert folds.main([str(path), *cut]) == 0
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"{path}: sha256 {digest}" in capsys.readouterr().out
    assert (tmp_path / "folds.csv.sha256").read_text() == f"{digest}  folds.csv\n"
    with open(path, newline="") as file:
        rows = {row["record_id"]: row for row in csv.DictReader(file)}
    expected = manifest_of(*cut).set_index("record_id")
    assert len(rows) == 105
    assert {name: int(row["fold"]) for name, row in rows.items()} == expected["fold"].to_dict()
    assert {name: row["patient_id"] for name, row in rows.items()} == expected["patient_id"].to_dict()


def test_the_file_gives_the_same_split_whatever_the_seed(written: Path, cut: tuple[str, ...]) -> None:
    """Another seed computes another split; with the file, the split is the file's."""
    dealt, other = manifest_of(*cut, "dataset.fold_seed=3"), manifest_of(*cut)
    read = manifest_of(*cut, f"dataset.fold_file={written}")
    pd.testing.assert_frame_equal(read, dealt)
    assert not other["split"].equals(dealt["split"])


def test_a_changed_file_is_refused(written: Path, cut: tuple[str, ...]) -> None:
    """One record moved to another fold: the hash no longer fits; without the hash file neither."""
    lines = written.read_text().splitlines(keepends=True)
    record, fold = lines[1].rstrip("\n").rsplit(",", 1)
    written.write_text("".join([lines[0], f"{record},{int(fold) % 10 + 1}\n", *lines[2:]]))
    with pytest.raises(ValueError, match=r"fold_file=.* has the SHA-256 .*: one of them was changed"):
        manifest_of(*cut, f"dataset.fold_file={written}")
    written.with_name("folds.csv.sha256").unlink()
    with pytest.raises(FileNotFoundError, match=r"folds\.csv\.sha256, which is not there"):
        manifest_of(*cut, f"dataset.fold_file={written}")


@pytest.mark.parametrize(
    ("overrides", "code", "sentence"),
    [
        ([], 2, "dataset=simulated brings its own folds; this verb is for dataset=cinc2020 and cinc2021"),
        (["dataset=ptbxl"], 2, "dataset=ptbxl brings its own folds"),
        (["dataset=cinc2020", "dataset.root=nowhere"], 1, "dataset.root=nowhere holds no challenge record"),
    ],
)
def test_what_has_no_folds_to_deal_is_refused(
    overrides: list[str], code: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, the exit code of its kind, and no file."""
    assert folds.main([str(tmp_path / "folds.csv"), *overrides]) == code
    assert capsys.readouterr().err.startswith(f"error: {sentence}")
    assert not list(tmp_path.iterdir())


def test_no_file_is_replaced(written: Path, cut: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A split in use is not overwritten, not even by itself."""
    before = written.read_bytes()
    assert folds.main([str(written), *cut]) == 2
    assert "exists; give another name, or remove it first" in capsys.readouterr().err
    assert written.read_bytes() == before


def test_the_verb_runs_from_the_command_line(cli: Callable, cut: tuple[str, ...], tmp_path: Path) -> None:
    """As a user types it."""
    done = cli("folds.csv", *cut, module="ecgbench.folds")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("folds.csv: sha256 ")
    assert (tmp_path / "folds.csv.sha256").is_file()
