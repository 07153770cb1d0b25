"""The generalisation matrix: its cells, outlines, counts and files, and text that can be read on every cell."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import Normalize

from ecgbench.metrics.collection import CLASSIFICATION
from ecgbench.report.generalisation import COLUMNS, matrix_figure, write_matrix
from ecgbench.report.heat_map import BLUES, cell_color, contrast_ratio, text_color

SOURCES = {"georgia": 1034, "ptbxl": 2184}
VALUES = pd.DataFrame([[0.95, 0.81], [0.84, np.nan]], index=list(SOURCES), columns=list(SOURCES))


@pytest.fixture
def table():
    """Two sources, 12 and 2 leads; the second model was not tested on its own source."""
    rows = [
        {"train": a, "test": b, "leads": leads, "n_records": n, "value": VALUES.loc[a, b] - (12 - leads) / 100}
        for leads in (12, 2) for a in SOURCES for b, n in SOURCES.items()
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(ci_low=frame["value"] - 0.02, ci_high=frame["value"] + 0.01)


def cell_texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_cells_hold_the_score_and_its_interval_and_missing_ones_a_dash():
    axes = matrix_figure(VALUES, VALUES - 0.02, VALUES + 0.01).axes[0]
    assert cell_texts(axes) == ["0.9500\n[0.9300, 0.9600]", "0.8100\n[0.7900, 0.8200]", "0.8400\n[0.8200, 0.8500]", "–"]
    without = matrix_figure(VALUES).axes[0]
    assert cell_texts(without) == ["0.9500", "0.8100", "0.8400", "–"]


def test_interval_ends_are_matched_by_name():
    low = (VALUES - 0.02).iloc[::-1, ::-1]
    assert cell_texts(matrix_figure(VALUES, low, VALUES + 0.01).axes[0])[1] == "0.8100\n[0.7900, 0.8200]"


def test_own_source_is_outlined_wherever_its_column_stands():
    values = pd.DataFrame(np.full((2, 3), 0.8), index=["a", "b"], columns=["c", "b", "a"])
    axes = matrix_figure(values).axes[0]
    outlined = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axes.patches}
    assert outlined == {(0, 2), (1, 1)}


def test_column_heads_hold_the_number_of_records_and_the_scale_its_metric():
    f1 = next(spec for spec in CLASSIFICATION if spec.name == "f1_macro")
    figure = matrix_figure(VALUES, spec=f1, n_records=SOURCES)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["georgia\nn = 1,034", "ptbxl\nn = 2,184"]
    assert figure.axes[1].get_title(loc="left") == "F1"


def test_matrix_of_one_value_or_of_none_is_drawn():
    for value in (0.8, np.nan):
        assert len(matrix_figure(pd.DataFrame([[value]], index=["a"], columns=["a"])).axes) == 2


def test_text_stands_out_from_every_colour_of_the_scale():
    norm = Normalize(0, 1)
    colors = [cell_color(value, norm) for value in np.linspace(0, 1, 101)] + [cell_color(np.nan, norm)]
    assert min(contrast_ratio(text_color(color), color) for color in colors) >= 4.5
    assert {text_color(colors[0]), text_color(colors[100])} == {"#000000", "#ffffff"}


def test_contrast_by_the_published_examples():
    """WCAG 2.1: 21 for black on white, and #767676 is the lightest grey of 4.5 on white."""
    assert contrast_ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast_ratio("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert contrast_ratio("#777777", "#ffffff") < 4.5


def test_scale_grows_darker_all_the_way():
    against_white = [contrast_ratio(cell_color(v, Normalize(0, 1)), "#ffffff") for v in np.linspace(0, 1, BLUES.N)]
    assert (np.diff(against_white) >= 0).all()


def test_matrix_is_written_as_a_page_a_picture_and_a_table(tmp_path, table):
    path = write_matrix(tmp_path / "out", table, notes=["A cut of <the> data."])
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "out" / "generalisation.html"
    assert "A cut of &lt;the&gt; data." in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert re.search(r'<img [^>]*alt="AUROC by training source and test source"', text)
    assert "<strong>0.9500" in text
    assert (tmp_path / "out" / "generalisation.png").read_bytes()[:4] == b"\x89PNG"
    written = pd.read_csv(tmp_path / "out" / "generalisation.csv")
    pd.testing.assert_frame_equal(written, table[list(COLUMNS)])


def test_each_number_of_leads_has_a_matrix_of_its_own(tmp_path, table):
    one = write_matrix(tmp_path / "one", table[table["leads"] == 12])
    two = write_matrix(tmp_path / "two", table)
    heights = [int.from_bytes((p.parent / "generalisation.png").read_bytes()[20:24], "big") for p in (one, two)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)


def test_bad_tables_are_refused_with_what_to_do(tmp_path, table):
    with pytest.raises(ValueError, match="no column ci_low, ci_high; it needs train, test"):
        write_matrix(tmp_path, table.drop(columns=["ci_low", "ci_high"]))
    with pytest.raises(ValueError, match="no row"):
        write_matrix(tmp_path, table.iloc[:0])
    with pytest.raises(ValueError, match=r"two rows for .*georgia.*average seeds"):
        write_matrix(tmp_path, pd.concat([table, table.iloc[:1]]))
