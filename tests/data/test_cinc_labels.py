"""Classes of challenge records: merged codes, and what is told of codes and records outside the label set."""

import numpy as np
import pandas as pd
import pytest

from ecgbench.data.cinc_labels import cinc_targets

NSR, AF, LBBB, CLBBB = "426783006", "164889003", "164909002", "733534002"
RBBB, CRBBB, BBB = "59118001", "713427006", "6374002"


def index(*dx: str) -> pd.DataFrame:
    """Training rows with these codes."""
    return pd.DataFrame({"record_id": [f"E{i}" for i in range(len(dx))], "split": "train", "dx": dx})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("cinc2021", [{"CLBBB|LBBB"}, {"CRBBB|RBBB"}, {"CRBBB|RBBB", "NSR"}, {"BBB"}]),
        ("cinc2020", [{"LBBB"}, {"CRBBB|RBBB"}, {"CRBBB|RBBB", "NSR"}, set()]),
        ("cinc2020_unmerged", [{"LBBB"}, {"CRBBB"}, {"RBBB", "NSR"}, set()]),
    ],
)
def test_codes_become_the_classes_of_the_set(labels: str, expected: list[set[str]]) -> None:
    """LBBB and CLBBB are one class in 2021; CLBBB and BBB are none in 2020."""
    targets = cinc_targets(index(f"{LBBB},{CLBBB}", CRBBB, f"{RBBB},{NSR}", BBB), labels)
    assert [{targets.classes[c] for c in np.flatnonzero(row)} for row in targets.y] == expected
    assert targets.y.dtype == np.float32
    assert set(np.unique(targets.y)) == {0.0, 1.0}


def test_unknown_codes_and_absent_classes_are_told() -> None:
    """Counted over records, not over windows; unlabelled records stay."""
    rows = index(f"{NSR},111", "111,222", AF).assign(split=["train", "train", "test"])
    targets = cinc_targets(rows.iloc[[0, 0, 1, 2]], "cinc2021")
    assert targets.kept.tolist() == [True] * 4
    assert targets.y.sum(axis=1).tolist() == [1, 1, 0, 1]
    unknown, unlabelled, missing = targets.notes
    assert unknown == (
        "2 SNOMED CT codes outside the label set cinc2021 occur 3 times in 2 of 3 records "
        "(most frequent: 111 2, 222 1); they count for no class."
    )
    assert unlabelled == "1 of 3 records have no code of cinc2021; they stay, without any class."
    assert "No training record has AF, AFL, BBB" in missing
    assert "NSR" not in missing


def test_a_complete_set_has_nothing_to_tell() -> None:
    """Every class in training, no other code, no record without one."""
    from ecgbench.data.label_sets import CLASS_OF_CODE

    assert cinc_targets(index(*CLASS_OF_CODE["cinc2021"]), "cinc2021").notes == []


def test_no_label_at_all_is_an_error() -> None:
    """With the codes there are; a header that cannot be read has none."""
    message = r"none of 3 records has a code of the label set dataset.labels=cinc2020 \(their codes: 111 2, 6374002 1\)"
    with pytest.raises(ValueError, match=message):
        cinc_targets(index("111", f"111,{BBB}", ""), "cinc2020")
