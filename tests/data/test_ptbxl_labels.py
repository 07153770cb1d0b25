"""PTB-XL's six label sets: what counts, who is left out, and what a wrong statement file is told."""

import ast
import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgbench.data.label_sets import PTBXL_LABEL_SETS
from ecgbench.data.ptbxl import PtbXl
from ecgbench.data.ptbxl_labels import ptbxl_targets
from ecgbench.data.record import LEADS


def ptbxl(root: Path, labels: str) -> PtbXl:
    """The source as configured by default."""
    return PtbXl(root=root, leads=LEADS, labels=labels, train_folds=range(1, 9), val_folds=[9], test_folds=[10])


def index(*codes: str) -> pd.DataFrame:
    """Training rows with these SCP codes."""
    return pd.DataFrame({"record_id": [str(i) for i in range(len(codes))], "split": "train", "scp_codes": codes})


@pytest.fixture
def root(shared_data: Path, tmp_path: Path) -> Path:
    """A folder with the published statement file."""
    shutil.copyfile(shared_data / "ptb-xl/scp_statements.csv", tmp_path / "scp_statements.csv")
    return tmp_path


@pytest.mark.parametrize("labels", PTBXL_LABEL_SETS)
def test_labels_of_the_cut_are_those_of_a_loop_over_its_files(shared_data: Path, labels: str) -> None:
    """Row by row from the two CSV files, by the definition: any listed code counts, empty rows are left out."""
    folder = shared_data / "ptb-xl"
    with open(folder / "scp_statements.csv", newline="") as file:
        statements = {row[""]: row for row in csv.DictReader(file)}
    with open(folder / "ptbxl_database.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    def classes_of(code: str) -> set[str]:
        row = statements[code]
        return {
            "ptbxl_all": {code},
            "ptbxl_diagnostic": {code} if row["diagnostic"] else set(),
            "ptbxl_subdiagnostic": {row["diagnostic_subclass"]} if row["diagnostic"] else set(),
            "ptbxl_superdiagnostic": {row["diagnostic_class"]} if row["diagnostic"] else set(),
            "ptbxl_form": {code} if row["form"] else set(),
            "ptbxl_rhythm": {code} if row["rhythm"] else set(),
        }[labels]

    expected = [set().union(*map(classes_of, ast.literal_eval(row["scp_codes"]))) for row in rows]
    source = ptbxl(folder, labels)
    targets = source.targets(source.manifest())
    assert [{targets.classes[c] for c in np.flatnonzero(row)} for row in targets.y] == expected
    assert targets.kept.tolist() == [bool(classes) or labels == "ptbxl_all" for classes in expected]
    assert targets.y.dtype == np.float32
    n_left_out = sum(not classes for classes in expected)
    assert any(f"{n_left_out} of 393 records have no statement of {labels}" in n for n in targets.notes) == (
        n_left_out > 0
    )


def test_a_likelihood_of_zero_counts(root: Path) -> None:
    """0 stands for unknown."""
    targets = ptbxl_targets(index('{"IMI": 0.0, "NORM": 100.0}'), "ptbxl_superdiagnostic", root)
    assert targets.y.tolist() == [[0, 0, 1, 1, 0]]  # CD HYP MI NORM STTC


def test_only_the_set_of_all_keeps_records_without_a_class(root: Path) -> None:
    """As in the published benchmark."""
    rows = index('{"SR": 0.0}', '{"NORM": 100.0}', "{}")
    targets = ptbxl_targets(rows, "ptbxl_superdiagnostic", root)
    assert targets.kept.tolist() == [False, True, False]
    assert "2 of 3 records have no statement of ptbxl_superdiagnostic; they are left out" in targets.notes[0]
    assert ptbxl_targets(rows, "ptbxl_all", root).kept.tolist() == [True] * 3


def test_unknown_codes_and_absent_classes_are_told(root: Path) -> None:
    """Counted, the most frequent named."""
    rows = index('{"XYZ": 0.0, "SR": 0.0}', '{"XYZ": 100.0, "AFIB": 0}').assign(split=["train", "test"])
    unknown, missing = ptbxl_targets(rows, "ptbxl_rhythm", root).notes
    assert unknown.startswith("1 codes that scp_statements.csv does not list occur 2 times (most frequent: XYZ 2)")
    assert "No training record has AFIB, AFLT" in missing
    assert "SR," not in missing


def test_no_label_at_all_is_an_error(root: Path) -> None:
    """An empty label list stops the run."""
    with pytest.raises(ValueError, match=r"none of 1 records has a class of dataset.labels=ptbxl_form"):
        ptbxl_targets(index('{"SR": 0.0}'), "ptbxl_form", root)


def test_a_missing_statement_file_is_named(tmp_path: Path) -> None:
    """With the command that gets it."""
    with pytest.raises(FileNotFoundError, match=r"holds no scp_statements.csv, .* --only scp_statements.csv"):
        ptbxl_targets(index('{"SR": 0.0}'), "ptbxl_form", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("diagnostic_class", "x", "lacks the column diagnostic_class; download it again"),
        (",STTC,", ",ST/T,", "gives .* classes for dataset.labels=ptbxl_superdiagnostic, which has 5: .*are ST/T"),
        (",HYP,", ",MI,", "gives 4 classes .* which has 5: missing are HYP; download it again"),
    ],
)
def test_a_statement_file_that_does_not_give_the_set_is_refused(root: Path, old: str, new: str, message: str) -> None:
    """A column, a class or a name is wrong."""
    path = root / "scp_statements.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        ptbxl_targets(index('{"SR": 0.0}'), "ptbxl_superdiagnostic", root)


def test_an_unknown_set_is_refused(tmp_path: Path) -> None:
    """With the sets there are."""
    with pytest.raises(ValueError, match=r"dataset.labels=cinc2021 is no label set here; use one of ptbxl_all, "):
        ptbxl(tmp_path, "cinc2021")


def test_age_and_sex_are_numbers(shared_data: Path, tmp_path: Path) -> None:
    """0 is male and 1 female in the file; 300 stands for above 89, nothing for unknown."""
    with open(shared_data / "ptb-xl/ptbxl_database.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["age"], rows[1]["age"] = "300.0", ""
    with open(tmp_path / "ptbxl_database.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    manifest = ptbxl(tmp_path, "ptbxl_all").manifest()
    expected = [90, np.nan, *(float(row["age"] or "nan") for row in rows[2:])]
    np.testing.assert_array_equal(manifest["age_years"], expected)
    assert manifest["is_male"].tolist() == [1 - int(row["sex"]) for row in rows]
