"""What the README promises is what the code has."""

import re

import pytest

from ecgbench.config import CHECKOUT, groups
from ecgbench.metrics.collection import CLASSIFICATION, RECONSTRUCTION, SUPERRES, MetricSpec

README = (CHECKOUT / "README.md").read_text()


@pytest.mark.parametrize("spec", [*SUPERRES, *CLASSIFICATION, *RECONSTRUCTION], ids=lambda s: s.name)
def test_the_metric_table_is_the_code_s(spec: MetricSpec) -> None:
    """Family, label, unit, direction and formula of every metric."""
    direction = "higher" if spec.higher_is_better else "lower"
    formula = spec.formula.replace("|", "\\|")
    row = f"| {spec.family} | {spec.label} | {spec.unit or '–'} | {direction} | {formula} |"
    assert row in README


@pytest.mark.parametrize(
    "group",
    [
        "task",
        "dataset",
        "model",
        "preprocessing",
        "loss",
        "noise",
        "optimizer",
        "scheduler",
        "callbacks",
        "trainer",
        "logger",
    ],
)
def test_every_choice_of_a_group_is_named(group: str) -> None:
    """The configuration table lists what `--help` lists."""
    for choice in groups()[group]:
        assert re.search(rf"\b{choice}\b", README), choice


def test_every_recipe_is_listed() -> None:
    """The recipes' index has a row for each file."""
    index = (CHECKOUT / "experiments" / "README.md").read_text()
    assert all(f"`{recipe}`" in index for recipe in groups()["experiments"])
