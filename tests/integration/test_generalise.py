"""The generalisation matrix in one command: its numbers are those of its runs, and what is finished is found again."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ecgbench import generalise
from ecgbench.config import ConfigError

SOURCES = ("ningbo", "ptb-xl")
Generalise = Callable[..., int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs and matrices of this file go."""
    return tmp_path_factory.mktemp("generalise")


@pytest.fixture(scope="module")
def command(folder: Path, shared_data: Path, store_dir: Path) -> Generalise:
    """The verb over sources of the real challenge cut with a tiny model; returns its exit code."""
    fixed = (
        "dataset=cinc2021", f"dataset.root={shared_data / 'cinc2021'}", "preprocessing=compact", "model.d_model=16",
        "model.n_layer=1", "batch_size=8", "trainer.max_epochs=1", "jobs=1", "logger=csv", f"store_dir={store_dir}",
        "preprocessing.test_leads=[12,2]",
    )  # fmt: skip
    return lambda out, *more, sources=SOURCES: generalise.main(
        [
            *fixed,
            f"dataset.sources=[{','.join(sources)}]",
            f"output_dir={folder / 'runs' / out}",
            "--out",
            str(folder / out),
            *more,
        ]
    )


@pytest.fixture(scope="module")
def matrix(command: Generalise, folder: Path) -> Path:
    """The folder of one finished matrix."""
    assert command("matrix") == 0
    return next((folder / "matrix").iterdir())


def results(folder: Path) -> list[dict]:
    """The results of the matrix's runs."""
    return [json.loads(path.read_text()) for path in sorted((folder / "runs" / "matrix").rglob("result.json"))]


def test_every_number_is_that_of_its_run(matrix: Path, folder: Path) -> None:
    """Both sources by both by two lead sets: value, interval and records are the run's own, headline metric."""
    table = pd.read_csv(matrix / "generalisation.csv")
    assert len(table) == len(table.drop_duplicates(["train", "test", "leads"])) == 2 * 2 * 2
    condition = {12: "clean", 2: "2 leads"}
    for result in results(folder):
        trained = next(name for name in SOURCES if f"Trained on {name} alone" in " ".join(result["notes"]))
        for row in table[table["train"] == trained].to_dict("records"):
            own = next(
                r for r in result["sources"]
                if (r["system"], r["metric"]) == ("ecg_mamba_1d_small", "auroc_macro")
                and (r["source"], r["condition"]) == (row["test"], condition[row["leads"]])
            )  # fmt: skip
            assert row["n_records"] == own["n_records"]
            for ours, theirs in (("value", "mean"), ("ci_low", "ci_low"), ("ci_high", "ci_high")):
                assert row[ours] == pytest.approx(own[theirs])


def test_other_sources_are_tested_whole(matrix: Path, shared_data: Path) -> None:
    """Off the diagonal every record of the source is scored, on it only those of the test fold."""
    table = pd.read_csv(matrix / "generalisation.csv")
    for row in table.to_dict("records"):
        held = len(list((shared_data / "cinc2021" / "training" / row["test"]).rglob("*.hea")))
        if row["train"] == row["test"]:
            assert 0 < row["n_records"] < held / 2
        else:
            assert row["n_records"] == held


def test_the_page_stands_alone(matrix: Path) -> None:
    """Page, picture and table; the title names no trained source, and notes of one row alone name it."""
    assert {p.name for p in matrix.iterdir()} == {"generalisation.html", "generalisation.png", "generalisation.csv"}
    assert (matrix / "generalisation.png").read_bytes().startswith(b"\x89PNG")
    page = (matrix / "generalisation.html").read_text()
    title = page.partition("<title>")[2].partition("</title>")[0]
    assert title.startswith("ecg_mamba_1d_small (")
    assert "train_sources" not in title
    assert "ningbo: Trained on ningbo alone" in page
    assert page.count("Missing samples are set to 0 mV.") == 1
    assert "<script src" not in page


def test_the_same_command_finds_its_runs(
    matrix: Path, command: Generalise, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No run is made again, a second matrix with the same numbers is."""
    before = len(results(folder))
    assert command("matrix") == 0
    assert len(results(folder)) == before
    assert capsys.readouterr().out.count("already there") == 2
    both = [pd.read_csv(path) for path in (folder / "matrix").rglob("generalisation.csv")]
    assert len(both) == 2
    pd.testing.assert_frame_equal(*both)


def test_leave_one_out_tests_on_the_source_left_out(command: Generalise, folder: Path) -> None:
    """Rows are named by what is missing from training; that source is scored whole."""
    assert command("left", "--leave-one-out") == 0
    table = pd.read_csv(next((folder / "left").rglob("generalisation.csv")))
    assert set(table["train"]) == {"all but ningbo", "all but ptb-xl"}
    whole = table[(table["train"] == "all but ningbo") & (table["leads"] == 12)].set_index("test")["n_records"]
    assert whole["ningbo"] == 42
    assert whole["ptb-xl"] < 21


def test_a_source_that_cannot_be_trained_on_stops_no_other(
    matrix: Path, command: Generalise, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four records leave a split empty: exit code 1 and its name, and the other source's row is there."""
    assert command("partial", sources=("cpsc_2018", "ptb-xl")) == 1
    assert "failed: trained on cpsc_2018: ValueError" in capsys.readouterr().err
    table = pd.read_csv(next((folder / "partial").rglob("generalisation.csv")))
    assert set(table["train"]) == {"ptb-xl"}
    assert set(table["test"]) == {"ptb-xl", "cpsc_2018"}


def test_defaults_are_added_only_where_nothing_is_said() -> None:
    """The task and five lead sets; what the user gives stays as it is."""
    assert generalise.with_defaults([]) == ["task=classification", "preprocessing.test_leads=[12,6,4,3,2]"]
    own = ["task=classification", "preprocessing.test_leads=[12,8]"]
    assert generalise.with_defaults(own) == own
    with pytest.raises(ConfigError, match=r"task=superres has no generalisation matrix; use task=classification"):
        generalise.with_defaults(["task=superres"])


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["experiments=superres_ptbxl"], 2, "task=superres has no generalisation matrix"),
        (["--leave-one-out", "dataset=simulated"], 2, "dataset=simulated is one source; nothing can be left out"),
        (["dataset=cinc2021", "dataset.root=nowhere"], 1, "dataset.root=nowhere holds no challenge record"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code of its kind, before anything is trained."""
    assert generalise.main(arguments) == code
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: {sentence}")
    assert "\n" not in error


def test_one_source_gives_a_matrix_of_lead_sets(folder: Path, store_dir: Path) -> None:
    """The simulated data are one source: a single run, tested with 12, 6, 4, 3 and 2 leads."""
    tiny = ("dataset.n_records=44", "preprocessing=compact", "model.d_model=16", "model.n_layer=1", "batch_size=8")
    places = (f"store_dir={store_dir}", f"output_dir={folder / 'one'}", "jobs=1", "logger=csv", "trainer.max_epochs=1")
    assert generalise.main([*tiny, *places, "--out", str(folder / "leads")]) == 0
    table = pd.read_csv(next((folder / "leads").rglob("generalisation.csv")))
    assert table["leads"].tolist() == [12, 6, 4, 3, 2]
    assert set(table["train"]) == set(table["test"]) == {"simulated"}
    assert len(list((folder / "one").rglob("result.json"))) == 1
