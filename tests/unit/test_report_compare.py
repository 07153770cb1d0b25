"""Comparison of runs: what stands in one table, what is marked best, and what is listed as failed."""

import io

import numpy as np
import pandas as pd
import pytest
from classification_run_folder import CLASSES, make_class_run, make_class_scores
from classification_run_folder import CLEAN as ALL_LEADS
from rich.console import Console
from run_folder import CLEAN, make_run, make_scores, noise_grid
from sklearn.metrics import roc_auc_score

from ecgbench.metrics.collection import SUPERRES
from ecgbench.report.compare import compare, terminal_comparison
from ecgbench.report.standings import gather, rank

SNR = next(spec for spec in SUPERRES if spec.name == "snr_db")


def run(root, label, level_db, seed=0, n_records=20, records=slice(None), conditions=None, **result):
    """A run folder of one model beside the cubic baseline."""
    conditions = conditions or [CLEAN]
    scores = make_scores({label: level_db, "cubic": 12.0}, conditions, n_records, seed=seed)
    kept = scores[scores["record_id"].isin(sorted(scores["record_id"].unique())[records])]
    return make_run(root / f"{label}-{seed}-{len(list(root.iterdir()))}", {label: 0, "cubic": 0}, conditions,
                    kept.reset_index(drop=True), seed=seed, **result)  # fmt: skip


def text_of(tables) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*tables)
    return console.export_text()


def clean_means(folder, label) -> pd.Series:
    """SNR of each record of one run's model."""
    scores = pd.read_parquet(folder / "scores.parquet")
    return scores[(scores["system"] == label) & (scores["condition"] == "clean")].set_index("record_id")["snr_db"]


@pytest.mark.parametrize(
    "other", [{"data_hash": "a" * 64}, {"protocol": "superres-antialiased-v1"}, {"dataset": "ptbxl"}]
)
def test_runs_that_differ_in_data_or_protocol_never_share_a_table(tmp_path, other):
    folders = [run(tmp_path, "a", 20.0), run(tmp_path, "b", 21.0, **other)]
    groups, failed = gather(folders)
    assert [[s.label for s in group.standings] for group in groups] == [["a", "cubic"], ["b", "cubic"]]
    assert failed == []
    text = compare(folders, tmp_path / "out").read_text()
    assert "2 separate tables" in text
    assert text.count("<caption>Standard scores, clean</caption>") == 2


def test_several_seeds_have_a_row_each_and_the_mean_over_records_of_seed_means(tmp_path):
    folders = [run(tmp_path, "a", 20.0, seed) for seed in (2, 0, 1)]
    (group,), _ = gather(folders)
    standing = group.standings[0]
    assert standing.seeds == (0, 1, 2)
    per_seed = [clean_means(folder, "a").mean() for folder in folders]
    shown = standing.tidy.set_index(["condition", "metric"])["mean"]["clean", "snr_db"]
    assert shown == pytest.approx(np.mean(per_seed))
    assert standing.seed_std("clean", "snr_db") == pytest.approx(np.std(per_seed, ddof=1))
    markdown = compare(folders, tmp_path / "out").with_suffix(".md").read_text()
    assert [line.split("|")[2].strip() for line in markdown.splitlines() if line.startswith("| a | ")][-4:] == [
        "0", "1", "2", "mean of 3"
    ]  # fmt: skip


def test_best_is_marked_where_the_paired_interval_excludes_zero(tmp_path):
    (group,), _ = gather([run(tmp_path, "a", 20.0, 0), run(tmp_path, "b", 21.0, 1)])
    ranking = rank(group, SNR)
    assert [standing.label for standing in ranking.order] == ["b", "a", "cubic"]
    assert ranking.clear
    assert ranking.to_best[1].mean == pytest.approx(-1.0, abs=0.2)


def test_best_is_not_marked_where_the_two_cannot_be_told_apart(tmp_path):
    folders = [run(tmp_path, "a", 20.0, 0), run(tmp_path, "b", 20.0, 1)]
    (group,), _ = gather(folders)
    assert not rank(group, SNR).clear
    assert "<strong>" not in compare(folders, tmp_path / "out").read_text().replace("<strong>Read with care", "")


def test_lower_is_better_metrics_are_ranked_from_below(tmp_path):
    (group,), _ = gather([run(tmp_path, "a", 20.0, 0), run(tmp_path, "b", 21.0, 1)])
    mse = next(spec for spec in SUPERRES if spec.name == "mse")
    assert rank(group, mse).order[0].label == "b"


def test_ranking_uses_the_records_that_all_systems_have(tmp_path):
    folders = [run(tmp_path, "a", 20.0, 0), run(tmp_path, "b", 21.0, 1, records=slice(5, 20))]
    (group,), _ = gather(folders)
    ranking = rank(group, SNR)
    assert ranking.n_records == 15
    assert ranking.means[1] == pytest.approx(clean_means(folders[0], "a").iloc[5:].mean())
    assert "SNR on the 15 common clean records" in compare(folders, tmp_path / "out").read_text()


def test_runs_without_a_common_record_have_no_best(tmp_path):
    folders = [run(tmp_path, "a", 20.0, 0, records=slice(0, 8)), run(tmp_path, "b", 21.0, 1, records=slice(8, 20))]
    (group,), _ = gather(folders)
    assert rank(group, SNR) is None
    assert compare(folders, tmp_path / "out").is_file()


def test_a_baseline_stands_once_and_not_beside_a_run_of_the_same_name(tmp_path):
    baseline = make_run(tmp_path / "cubic", {"cubic": 12.0})
    (group,), _ = gather([run(tmp_path, "a", 20.0), run(tmp_path, "b", 21.0), baseline])
    assert [(s.label, s.role) for s in group.standings] == [("a", "model"), ("b", "model"), ("cubic", "model")]


def test_failed_and_unreadable_jobs_are_listed_with_their_reason(tmp_path):
    folders = [run(tmp_path, "a", 20.0), tmp_path / "gone"]
    failures = [{"label": "b, seed 1", "error": "RuntimeError: <out of memory>"}]
    html = compare(folders, tmp_path / "out", failures).read_text()
    assert "RuntimeError: &lt;out of memory&gt;" in html
    terminal = text_of(terminal_comparison(folders, failures))
    for text in (html, terminal):
        assert "b, seed 1" in text
        assert "gone has no result.json" in text


def test_comparison_of_nothing_but_failures_is_still_a_page(tmp_path):
    path = compare([], tmp_path / "out", [{"label": "a", "error": "boom"}])
    assert "No run has a result" in path.read_text()
    assert "boom" in path.with_suffix(".md").read_text()


def test_csv_holds_every_score_of_every_run(tmp_path):
    folders = [run(tmp_path, "a", 20.0, seed, conditions=noise_grid()) for seed in (0, 1)]
    compare(folders, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert len(table) == 3 * len(noise_grid()) * len(SUPERRES)
    row = table.query("label == 'a' and seed == 1 and condition == 'clean' and metric == 'snr_db'")
    assert row["mean"].item() == pytest.approx(clean_means(folders[1], "a").mean())
    assert row["data_hash"].item() == "d" * 64


def test_noise_is_compared_by_condition_and_drawn_once(tmp_path):
    folders = [run(tmp_path, label, level, conditions=noise_grid()) for label, level in (("a", 20.0), ("b", 18.0))]
    text = compare(folders, tmp_path / "out").read_text()
    assert "SNR (dB) ↑ by condition" in text
    assert text.count("data:image/png;base64,") == 1


def test_configuration_keys_that_differ_are_shown(tmp_path):
    folders = [run(tmp_path, "a", 20.0, seed) for seed in (0, 7)]
    text = compare(folders, tmp_path / "out").read_text()
    table = text[text.index("<summary>Configuration keys that differ") :]
    assert ">seed</th>" in table
    assert ">7</td>" in table
    assert "model.n_leads" not in table


def test_links_to_reports_are_relative(tmp_path):
    folder = run(tmp_path, "a", 20.0)
    text = compare([folder], tmp_path / "out").read_text()
    assert f'href="../{folder.name}/report.html"' in text


def class_run(root, label, gap, seed=0, heads=(), **result):
    """A classification run of one model, its further heads and the majority baseline; 60 test records."""
    systems = {label: gap, **dict.fromkeys(heads, gap - 1.0), "majority": 0.0}
    scores = make_class_scores(systems, [ALL_LEADS], n_records=60, seed=seed)
    return make_class_run(root / f"{label}-{seed}", systems, scores=scores, seed=seed, n_resamples=20, **result)


def macro_auroc(folder, system) -> float:
    """Mean of scikit-learn's AUROC over the classes."""
    own = pd.read_parquet(folder / "scores.parquet").query("system == @system")
    return float(np.mean([roc_auc_score(own[f"label/{c}"], own[f"score/{c}"]) for c in CLASSES]))


def test_classifiers_are_ranked_by_macro_auroc_with_paired_differences(tmp_path):
    folders = {label: class_run(tmp_path, label, gap, seed) for label, gap, seed in (("a", 1.0, 0), ("b", 3.0, 1))}
    (group,), _ = gather(folders.values())
    ranking = rank(group, next(spec for spec in group.specs if spec.name == "auroc_macro"))
    assert [standing.label for standing in ranking.order] == ["b", "a", "majority"]
    expected = [macro_auroc(folders["b"], "b"), macro_auroc(folders["a"], "a"), 0.5]
    np.testing.assert_allclose(ranking.means, expected)
    np.testing.assert_allclose([d.mean for d in ranking.to_best[1:]], np.subtract(expected[1:], expected[0]))
    assert ranking.n_records == 60
    assert ranking.clear
    text = compare(folders.values(), tmp_path / "out").read_text()
    assert "AUROC on the 60 common clean records" in text
    assert "Mean over records" not in text
    assert "17,171,354" in text


def test_seeds_of_a_classifier_are_averaged_by_metric_and_not_by_record(tmp_path):
    folders = [class_run(tmp_path, "a", 1.0, seed) for seed in (0, 1)]
    (group,), _ = gather([*folders, class_run(tmp_path, "b", 3.0, 2)])
    standing = group.standings[0]
    values = [macro_auroc(folder, "a") for folder in folders]
    shown = standing.tidy.set_index(["condition", "metric"])["mean"]["clean", "auroc_macro"]
    assert shown == pytest.approx(np.mean(values))
    assert standing.seed_std("clean", "auroc_macro") == pytest.approx(np.std(values, ddof=1))
    ranking = rank(group, next(spec for spec in group.specs if spec.name == "auroc_macro"))
    assert ranking.means[1] == pytest.approx(np.mean(values))
    assert ranking.n_records == 60


def test_heads_of_a_classifier_stand_beside_it_and_metrics_of_no_run_are_left_out(tmp_path):
    folder = class_run(tmp_path, "isibrno", 3.0, heads=("isibrno (p)",))
    (group,), _ = gather([folder])
    assert [(s.label, s.role) for s in group.standings] == [
        ("isibrno", "model"), ("isibrno (p)", "head"), ("majority", "baseline")
    ]  # fmt: skip
    assert group.runs == [group.standings[0].runs[0]]
    compare([folder], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    row = table.query("label == 'isibrno (p)' and metric == 'auroc_macro'")
    assert row["mean"].item() == pytest.approx(macro_auroc(folder, "isibrno (p)"))
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "Challenge" not in markdown
    assert "optimistic: its threshold was chosen on the test records" in markdown


def test_classification_and_super_resolution_never_share_a_table(tmp_path):
    groups, _ = gather([class_run(tmp_path, "a", 2.0), run(tmp_path, "b", 20.0)])
    assert [group.key.task for group in groups] == ["classification", "superres"]
