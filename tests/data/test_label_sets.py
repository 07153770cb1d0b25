"""Label sets: the classes of both challenges and of PTB-XL, in the order of their columns."""

import csv
from pathlib import Path

import pytest

from ecgbench.data.label_sets import CLASS_OF_CODE, LABEL_SETS, n_classes
from ecgbench.data.ptbxl_labels import MEMBERS, class_of_code

OFFICIAL_2021 = (
    "AF, AFL, BBB, Brady, CLBBB|LBBB, CRBBB|RBBB, IAVB, IRBBB, LAD, LAnFB, LPR, LQRSV, LQT, NSIVCB, NSR, PAC|SVPB, PR, "
    "PRWP, PVC|VPB, QAb, RAD, SA, SB, STach, TAb, TInv"
)
"""The columns of the organisers' weights of 2021, by abbreviation."""
MERGED = {
    "CRBBB|RBBB": {"713427006", "59118001"},
    "PAC|SVPB": {"284470004", "63593006"},
    "PVC|VPB": {"427172004", "17338001"},
    "CLBBB|LBBB": {"733534002", "164909002"},
}
"""The codes scored as one in 2021."""
NEW_IN_2021 = {"6374002", "733534002", "365413008"}


def members(labels: str) -> dict[str, set[str]]:
    """The codes of each class."""
    codes: dict[str, set[str]] = {}
    for code, name in CLASS_OF_CODE[labels].items():
        codes.setdefault(name, set()).add(code)
    return codes


@pytest.mark.parametrize(
    ("labels", "n"),
    [
        ("cinc2021", 26),
        ("cinc2020", 24),
        ("cinc2020_unmerged", 27),
        ("ptbxl_all", 71),
        ("ptbxl_diagnostic", 44),
        ("ptbxl_subdiagnostic", 23),
        ("ptbxl_superdiagnostic", 5),
        ("ptbxl_form", 19),
        ("ptbxl_rhythm", 12),
    ],
)
def test_every_set_has_its_published_number_of_classes(labels: str, n: int) -> None:
    """And no class twice."""
    assert len(set(LABEL_SETS[labels])) == len(LABEL_SETS[labels]) == n_classes(labels) == n


def test_no_other_set_is_there() -> None:
    """The list above is complete."""
    assert len(LABEL_SETS) == 9


def test_2021_has_the_official_columns() -> None:
    """In the official order."""
    assert ", ".join(LABEL_SETS["cinc2021"]) == OFFICIAL_2021


def test_codes_scored_as_one_share_a_class() -> None:
    """Four pairs in 2021; in 2020 LBBB stands alone, and the three new codes are not scored."""
    assert {name: codes for name, codes in members("cinc2021").items() if len(codes) > 1} == MERGED
    pairs_2020 = {name: codes for name, codes in members("cinc2020").items() if len(codes) > 1}
    assert pairs_2020 == {name: codes for name, codes in MERGED.items() if name != "CLBBB|LBBB"}
    assert members("cinc2020")["LBBB"] == {"164909002"}
    assert CLASS_OF_CODE["cinc2021"].keys() - CLASS_OF_CODE["cinc2020"].keys() == NEW_IN_2021
    assert all(len(codes) == 1 for codes in members("cinc2020_unmerged").values())
    assert CLASS_OF_CODE["cinc2020_unmerged"].keys() == CLASS_OF_CODE["cinc2020"].keys()


def test_2020_keeps_the_order_of_2021() -> None:
    """Without the classes that came in 2021."""
    order = [name.replace("CLBBB|LBBB", "LBBB") for name in LABEL_SETS["cinc2021"]]
    assert list(LABEL_SETS["cinc2020"]) == [name for name in order if name not in ("BBB", "PRWP")]


def test_the_table_is_the_reference_one() -> None:
    """Code and abbreviation, row by row, where the reference lies beside the checkout."""
    reference = Path(__file__).resolve().parents[3] / "shared/reference/cinc_classes.csv"
    if not reference.is_file():
        pytest.skip(f"no {reference}")
    with open(reference, newline="") as file:
        rows = list(csv.DictReader(file))
    ours = {code: name.split("|") for code, name in CLASS_OF_CODE["cinc2021"].items()}
    assert list(ours) == [row["code"] for row in rows]
    assert all(row["abbreviation"] in ours[row["code"]] for row in rows)
    columns = [LABEL_SETS["cinc2021"].index(CLASS_OF_CODE["cinc2021"][row["code"]]) for row in rows]
    assert columns == [int(row["official_column_2021"]) for row in rows]
    assert set(CLASS_OF_CODE["cinc2020"]) == {row["code"] for row in rows if row["in2020"] == "1"}


@pytest.mark.parametrize("labels", MEMBERS)
def test_ptbxl_sets_are_those_of_its_statements(shared_data: Path, labels: str) -> None:
    """The literal tuples agree with scp_statements.csv and are in alphabetical order."""
    with open(shared_data / "ptb-xl/scp_statements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kind, _, _ = labels.removeprefix("ptbxl_").partition("_")
    flag = {"all": None, "form": "form", "rhythm": "rhythm"}.get(kind, "diagnostic")
    name = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}.get(kind, "")
    expected = {row[""]: row[name] for row in rows if flag is None or row[flag] == "1.0"}
    assert LABEL_SETS[labels] == tuple(sorted(set(expected.values())))
    assert class_of_code(shared_data / "ptb-xl", labels) == expected


def test_numbers_of_classes_of_lists_and_of_nothing() -> None:
    """A class listed twice counts once."""
    assert n_classes(["NORM", "NORM", "AFIB"]) == 2
    assert n_classes(None) == 0


def test_an_unknown_set_is_refused() -> None:
    """With the sets there are."""
    with pytest.raises(ValueError, match=r"'cinc2022' is no label set; use one of cinc2021, .*ptbxl_rhythm, or a list"):
        n_classes("cinc2022")
