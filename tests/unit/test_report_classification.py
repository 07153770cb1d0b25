"""The page of a classification run, the numbers behind its pictures, and what it does where something is missing."""

import re

import numpy as np
import pytest
from classification_run_folder import (
    ALL_26,
    CLASSES,
    CLEAN,
    NOISY,
    SIX,
    TWO,
    make_class_run,
    make_class_scores,
    make_worst,
)
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgbench.report.class_curves import (
    ClassScores,
    class_scores,
)
from ecgbench.report.class_plots import class_intervals, class_panels, confusion_figure, curves_figure, lead_figure
from ecgbench.report.class_tables import absent_notes, class_table, source_tables
from ecgbench.report.mistakes import mistake_figure, read_mistakes
from ecgbench.report.run_folder import headline_spec, lead_conditions, noise_conditions, read_run, reference_condition
from ecgbench.report.run_report import PAGES, terminal_table, write_report
from ecgbench.report.score_tables import condition_tables, noise_verdict, score_table, tidy_scores, verdict
from ecgbench.report.tasks import TASKS

SYSTEMS = {"isibrno": 3.0, "isibrno (p)": 2.5, "majority": 0.0}


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    """A complete run of two heads and a baseline, clean, noisy and with fewer leads, one class never positive."""
    conditions = [CLEAN, NOISY, SIX, TWO]
    scores = make_class_scores(SYSTEMS, conditions, absent=("PVC|VPB",))
    folder = make_class_run(tmp_path_factory.mktemp("runs") / "full", SYSTEMS, conditions, scores=scores)
    write_report(folder)
    return folder


def page(folder) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def headline(mean, difference=None, baselines=("majority",)) -> dict:
    """A result.json with a hand-written AUROC and, if given, differences to other systems."""
    score = {
        "system": "m",
        "condition": "clean",
        "metric": "auroc_macro",
        "mean": mean,
        "ci_low": 0.94,
        "ci_high": 0.96,
    }
    pair = {"system": "m", "condition": "clean", "metric": "auroc_macro"}
    return {
        "task": "classification", "conditions": [CLEAN],
        "systems": [{"name": "m", "role": "model"}, *({"name": b, "role": "baseline"} for b in baselines)],
        "scores": [score | {"n_records": 50}], "paired": [pair | d for d in difference or []],
    }  # fmt: skip


def test_every_task_with_metrics_has_a_page_and_its_headline_is_one_of_its_metrics():
    assert set(PAGES) == set(TASKS) >= {"superres", "classification"}
    assert headline_spec("classification").name == "auroc_macro"
    for facts in TASKS.values():
        assert facts.headline in {spec.name for spec in facts.specs}
        assert set(facts.warnings) <= {spec.name for spec in facts.specs}


def test_verdict_speaks_of_classification_and_of_the_baseline_rather_than_of_another_head():
    differences = [
        {"baseline": "m (p)", "mean": -0.1, "ci_low": -0.2, "ci_high": -0.05, "p_value": 0.01},
        {"baseline": "majority", "mean": 0.45, "ci_low": 0.44, "ci_high": 0.46, "p_value": 0.002},
    ]
    assert verdict(headline(0.95, differences)) == (
        "m reaches a macro AUROC of 0.9500 [0.9400, 0.9600] on 50 clean test records, "
        "0.4500 above majority (paired, [0.4400, 0.4600], p=0.002)."
    )
    assert verdict(headline(None)) == "m has no finite AUROC on the clean test records."


def test_page_shows_every_part_in_order(full_run):
    text = page(full_run)
    parts = ["<h1>isibrno on cinc2021", 'class="verdict"', "A cut of 960 records", "Standard scores, clean",
             "Official scores, clean", "<h2>Classes", "<h2>Curves", "<h2>Calibration", "<h2>What is mistaken for what",
             "<h3>Classes that go together", "<h2>Sources", "<h2>Noise and missing leads",
             "<h2>Records it gets most wrong", "<h2>Training", "<h2>Provenance"]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "best epoch 2, val/auprc_macro 0.641" in text


def test_page_is_one_file_that_asks_nothing_of_the_network_and_describes_every_picture(full_run):
    text = page(full_run)
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "http" not in text.replace("http-equiv", "")
    pictures = re.findall(r"<img [^>]*>", text)
    # Curves, panels, intervals, calibration, two maps, noise, leads, two records and training.
    assert len(pictures) == 11
    assert all(re.search(r'alt="[^"]{10,}"', picture) for picture in pictures)


def test_score_tables_hold_the_metrics_of_the_run_alone_and_mark_the_optimistic_one(full_run):
    result = read_run(full_run).result
    standard, official = score_table(result), score_table(result, "official")
    names = [spec.label for spec in TASKS["classification"].specs if spec.family == "standard"]
    assert [row[0].text for row in standard.rows] == [f"{name} ↑" for name in names]
    assert len(official.rows) == 1
    assert "optimistic" in official.rows[0][0].detail
    assert "optimistic" not in "".join(row[0].detail for row in standard.rows)


def test_every_head_and_baseline_has_a_column_whose_auroc_is_scikit_learn_s(full_run):
    run = read_run(full_run)
    table = score_table(run.result)
    assert [c.title for c in table.columns[1:4]] == ["isibrno", "isibrno (p)", "majority (baseline)"]
    own = run.scores[(run.scores["system"] == "isibrno (p)") & (run.scores["condition"] == "clean")]
    tested = [c for c in CLASSES if c != "PVC|VPB"]
    expected = np.mean([roc_auc_score(own[f"label/{c}"], own[f"score/{c}"]) for c in tested])
    assert table.rows[0][2].text == f"{expected:.4f}"


def test_score_cells_of_a_whole_split_show_no_spread_over_records(full_run):
    cell = score_table(read_run(full_run).result).rows[0][1]
    assert cell.detail == ""
    assert cell.hover == "120 records of 80 patients"


def test_class_table_says_which_classes_have_no_positives_and_counts_them_in_a_note(full_run):
    result = read_run(full_run).result
    table = class_table(result, "isibrno")
    assert table.sortable
    by_name = {row[0].text: row for row in table.rows}
    assert list(by_name) == list(CLASSES)
    assert [cell.text for cell in by_name["PVC|VPB"][5:7]] == ["no positives"] * 2
    assert by_name["PVC|VPB"][5].sort is None
    assert absent_notes(result)[0].startswith("1 of 5 classes have no positive test record")
    assert "1 of 5 classes have no positive test record" in page(full_run)[: page(full_run).index("<h2>Scores")]
    assert any("PVC|VPB" in note for note in table.footnotes)


def test_class_table_shows_counts_prevalence_areas_and_threshold(full_run):
    run = read_run(full_run)
    own = run.scores[(run.scores["system"] == "isibrno") & (run.scores["condition"] == "clean")]
    n = int(own["label/AF"].sum())
    auroc = roc_auc_score(own["label/AF"], own["score/AF"])
    row = class_table(run.result, "isibrno").rows[0]
    assert [cell.text for cell in row[:5]] == ["AF", str(6 * n), str(n), str(n), f"{100 * n / 120:.1f} %"]
    assert row[5].text == f"{auroc:.3f}"
    assert row[5].interval == f"[{max(0, auroc - 0.05):.3f}, {min(1, auroc + 0.04):.3f}]"
    assert row[8].text == "0.400"


def test_sources_have_a_row_each_and_one_source_has_no_table(full_run):
    result = read_run(full_run).result
    tables = source_tables(result)
    assert [table.title.split(" by ")[0] for table in tables] == list(SYSTEMS)
    assert [(row[0].text, row[1].text) for row in tables[0].rows] == [("georgia", "80"), ("ptbxl", "40")]
    one = [row for row in result["sources"] if row["source"] == "georgia"]
    assert source_tables(result | {"sources": one}) == []
    assert source_tables(result | {"sources": []}) == []


def test_lead_subsets_are_neither_clean_nor_noise(full_run):
    result = read_run(full_run).result
    assert [c["name"] for c in lead_conditions(result)] == ["6 leads", "2 leads"]
    assert [c["name"] for c in noise_conditions(result)] == ["bw@5dB"]
    assert reference_condition({"conditions": [SIX, NOISY, CLEAN]}) == "clean"
    assert noise_conditions({"conditions": [CLEAN, NOISY | {"leads": ["I", "II"]}]}) == []
    assert [row[0].text for row in condition_tables(result)[0].rows] == ["clean", "bw at 5 dB", "6 leads", "2 leads"]
    assert "over 1 noise conditions" in noise_verdict(result)
    assert "6 leads (I, II, III, aVR, aVL, aVF), 2 leads (I, II)" in page(full_run)


def test_lead_picture_has_a_point_per_subset_at_the_score(full_run):
    run = read_run(full_run)
    subsets = [("clean", "all leads"), ("6 leads", "6 leads"), ("2 leads", "2 leads")]
    tidy = tidy_scores(run.result)
    axes = lead_figure(tidy, subsets, run.headline).axes[0]
    expected = [s["mean"] for name, _ in subsets for s in run.result["scores"]
                if (s["system"], s["condition"], s["metric"]) == ("isibrno", name, "auroc_macro")]  # fmt: skip
    np.testing.assert_allclose(axes.lines[0].get_ydata(), expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["all leads", "6 leads", "2 leads"]
    assert lead_figure(tidy, subsets[:1], run.headline) is None


def test_clean_run_without_other_systems_sources_examples_or_training_still_has_a_page(tmp_path):
    folder = make_class_run(tmp_path / "r", {"majority": 0.0}, fit=None, sources=[])
    for name in ("examples.npz", "metrics.csv", "env.json", "run.yaml"):
        (folder / name).unlink()
    write_report(folder)
    text = page(folder)
    assert "Only the full lead set was tested." in text
    for part in ("<h2>Sources", "<h2>Records it gets", "<h2>Training", "of the other systems"):
        assert part not in text


def test_page_and_terminal_show_no_nan_where_scores_are_null(tmp_path):
    def spoil(result):
        for row in (*result["scores"], *result["paired"]):
            row.update(mean=None, ci_low=None, ci_high=None)
        for row in result["classes"]:
            row.update(auroc=None, auroc_low=None, auroc_high=None, auprc=None, f1=None, threshold=None)

    folder = make_class_run(tmp_path / "r", {"m": 2.0, "majority": 0.0}, edit=spoil)
    write_report(folder)
    shown = re.sub(r"base64,[^\"]*|<style>.*</style>", "", page(folder), flags=re.S)
    assert not re.search(r"\b(nan|inf)\b", shown.lower())
    assert terminal_table(read_run(folder).result).row_count == 7


def test_text_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    examples = make_worst() | {"truth": np.array([evil, "AF"]), "scores_text": np.array([evil, ""])}
    folder = make_class_run(tmp_path / "r", {"m": 2.0}, examples=examples, notes=[evil])
    write_report(folder)
    assert evil not in page(folder)
    assert page(folder).count("&lt;script&gt;alert(1)") >= 3


def test_markdown_holds_the_class_and_source_tables(full_run):
    markdown = (full_run / "report.md").read_text(encoding="utf-8")
    assert "### isibrno by class, clean" in markdown
    assert "| CLBBB\\|LBBB |" in markdown
    assert "### majority by source, clean" in markdown
    assert "| A0000 | worst 1 | AF, PVC\\|VPB | NSR |" in markdown


def legend_texts(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_name_the_extremes_and_the_averages_rather_than_every_class():
    frame = make_class_scores({"m": 2.0}, [CLEAN], ALL_26, n_records=150)
    found = class_scores(frame, ALL_26, "m", "clean")
    left, right = curves_figure(found).axes
    aurocs = {c: roc_auc_score(frame[f"label/{c}"], frame[f"score/{c}"]) for c in ALL_26}
    best, worst = max(aurocs, key=aurocs.get), min(aurocs, key=aurocs.get)
    assert set(legend_texts(right)) >= {f"best: {best} {aurocs[best]:.3f}", f"worst: {worst} {aurocs[worst]:.3f}"}
    auprcs = [average_precision_score(frame[f"label/{c}"], frame[f"score/{c}"]) for c in ALL_26]
    assert legend_texts(left)[0] == f"macro average {np.mean(auprcs):.3f}"
    assert len(legend_texts(left)) == 4
    assert any(t.get_text() == f"prevalence {found.label.mean():.3f}" for t in left.texts)


def test_pictures_without_a_positive_are_none():
    nothing = ClassScores(("A", "B"), np.zeros((3, 2), bool), np.full((3, 2), 0.5), np.zeros((3, 2), bool))
    assert curves_figure(nothing) is None
    assert class_panels(nothing) is None
    assert class_intervals([{"class": "A", "auroc": None}]) is None


def test_confusion_picture_writes_percent_outlines_sensitivities_and_leaves_empty_rows_grey():
    label = np.array([[1, 0, 0]] * 4 + [[0, 1, 0]] * 4, bool)
    decided = np.array([[1, 0, 0]] * 3 + [[0, 1, 0]] * 5, bool)
    axes = confusion_figure(ClassScores(("A", "B", "C"), label, label.astype(float), decided)).axes[0]
    assert {t.get_text() for t in axes.texts} == {"75", "25", "100"}
    assert len(axes.patches) == 2  # C has no record, so it has no sensitivity
    assert [t.get_text() for t in axes.get_yticklabels()] == ["A  4", "B  4", "C  0"]


def test_more_classes_than_fit_are_drawn_without_numbers():
    names = tuple(f"C{k}" for k in range(40))
    label = np.eye(40, dtype=bool)
    assert list(confusion_figure(ClassScores(names, label, label.astype(float), label)).axes[0].texts) == []


def test_mistakes_are_cut_to_their_real_samples_and_captioned():
    first, second = read_mistakes(make_worst())
    assert first.signal_mv.shape == (12, 5000)
    assert first.title == "Worst 1: record A0000, cross-entropy 1.52"
    assert first.caption == "True: AF, PVC|VPB; decided: NSR; probabilities: NSR 0.93, AF 0.12."
    assert second.caption.startswith("True: none; decided: SB;")
    axes = mistake_figure(first).axes[0]
    assert axes.get_legend() is None
    assert max(len(line.get_xdata()) for line in axes.lines) == 5000


def test_long_records_say_how_much_is_drawn():
    (mistake,) = read_mistakes(make_worst(1, 8192, 8192))
    assert mistake.caption.endswith("First 10 s of 16 s.")
    assert max(len(line.get_xdata()) for line in mistake_figure(mistake).axes[0].lines) == 5000


@pytest.mark.parametrize("left_out", ["role", "n_valid", "x", "scores_text", "error", "truth"])
def test_absent_fields_of_the_examples_are_tolerated(left_out):
    mistakes = read_mistakes({name: value for name, value in make_worst().items() if name != left_out})
    figures = [mistake_figure(mistake) for mistake in mistakes]
    assert [figure is not None for figure in figures] == [left_out != "x"] * 2
    assert "nan" not in " ".join(f"{m.title} {m.caption}" for m in mistakes)


def test_records_of_zero_length_and_no_records_are_not_drawn():
    assert [mistake_figure(m) for m in read_mistakes(make_worst(n_valid=0))] == [None, None]
    assert read_mistakes({name: np.array([]) for name in make_worst()}) == []
