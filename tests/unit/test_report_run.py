"""The page of one run: its sentence, tables, pictures and what it does where something is missing."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from run_folder import CLEAN, make_examples, make_run, make_scores, noise_grid

from ecgbench.metrics.collection import SUPERRES
from ecgbench.report.ecg_paper import TRUTH
from ecgbench.report.plots import error_spectrum, noise_curves, score_distribution, training_curves
from ecgbench.report.reconstructions import close_up_figure, common_gains, read_examples
from ecgbench.report.run_folder import headline_spec, read_run, reference_condition
from ecgbench.report.run_report import run_pictures, terminal_table, write_report
from ecgbench.report.score_tables import noise_verdict, notes_of, score_table, verdict

SNR = next(spec for spec in SUPERRES if spec.name == "snr_db")


def headline(mean: float | None, difference: dict | None = None) -> dict:
    """A result.json of one system with a hand-written SNR and, if given, difference to a baseline."""
    score = {"system": "m", "condition": "clean", "metric": "snr_db", "mean": mean, "ci_low": 20.1, "ci_high": 22.6}
    pair = {"system": "m", "baseline": "cubic", "condition": "clean", "metric": "snr_db"}
    return {
        "task": "superres", "conditions": [CLEAN], "systems": [{"name": "m", "role": "model"}],
        "scores": [score | {"n_records": 50}], "paired": [pair | difference] if difference else [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory):
    """A complete run under ten conditions, with its report written."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "noisy", {"msecg": 21.0, "interp_cubic": 14.0}, noise_grid())
    write_report(folder)
    return folder


def page(folder) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_verdict_states_score_interval_and_difference():
    better = {"mean": 4.3, "ci_low": 4.0, "ci_high": 4.6, "p_value": 0.0005}
    assert verdict(headline(21.4, better)) == (
        "m reconstructs 50 clean test records at 21.40 dB SNR [20.10, 22.60], "
        "4.30 dB above cubic (paired, [4.00, 4.60], p<0.001)."
    )


def test_verdict_says_below_where_the_model_is_worse():
    worse = {"mean": -1.2, "ci_low": -2.0, "ci_high": -0.4, "p_value": 0.02}
    assert "1.20 dB below cubic (paired, [-2.00, -0.40], p=0.020)." in verdict(headline(21.4, worse))


def test_verdict_claims_nothing_where_the_interval_holds_zero():
    level = {"mean": 0.3, "ci_low": -0.2, "ci_high": 0.8, "p_value": 0.3}
    assert verdict(headline(21.4, level)).endswith("[-0.20, 0.80] does not tell from no difference.")


def test_verdict_without_baseline_or_without_a_finite_score():
    assert verdict(headline(21.4)).endswith("[20.10, 22.60].")
    assert verdict(headline(None)) == "m has no finite SNR on the clean test records."


def test_score_table_holds_every_metric_of_its_family_and_the_paired_mean(noisy_run):
    run = read_run(noisy_run)
    standard, official = score_table(run.result), score_table(run.result, "official")
    assert len(standard.rows) + len(official.rows) == len(SUPERRES)
    snr_row = next(row for row in standard.rows if row[0].text == "SNR (dB) ↑")
    clean = run.scores[run.scores["condition"] == "clean"].pivot(index="record_id", columns="system", values="snr_db")
    assert snr_row[1].text == f"{clean['msecg'].mean():.2f}"
    assert snr_row[3].text == f"+{(clean['msecg'] - clean['interp_cubic']).mean():.2f}"


def test_several_baselines_each_have_their_own_difference(tmp_path):
    folder = make_run(tmp_path / "r", {"msecg": 21.0, "cubic": 14.0, "linear": 11.0})

    def paired(baseline, mean):
        return {"condition": "clean", "metric": "snr_db", "system": "msecg", "baseline": baseline, "mean": mean,
                "ci_low": mean - 1, "ci_high": mean + 1, "p_value": 0.001}  # fmt: skip

    result = read_run(folder).result | {"paired": [paired("cubic", 7.0), paired("linear", 10.0)]}
    snr_row = next(row for row in score_table(result).rows if row[0].text == "SNR (dB) ↑")
    assert [cell.text for cell in snr_row if cell.text.startswith("+")] == ["+7.00", "+10.00"]


def test_page_is_one_file_that_asks_nothing_of_the_network(noisy_run):
    text = page(noisy_run)
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert len(text) < 6e6
    assert '<meta name="viewport"' in text


def test_page_shows_every_part_in_order(noisy_run):
    text = page(noisy_run)
    parts = ["<h1>msecg on simulated", 'class="verdict"', "Read with care", "Standard scores", "Official scores",
             "<h2>Noise", "<h2>Reconstructions", "<h2>Where the error lies", "<h2>Training", "<h2>Provenance"
             ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert f"python -m ecgbench.reproduce {noisy_run}" in text
    assert "abc1234 with uncommitted changes" in text
    assert "n_leads: 12" in text


def test_page_holds_three_papers_three_close_ups_and_five_charts(noisy_run):
    assert page(noisy_run).count('src="data:image/png;base64,') == 11


def test_markdown_holds_the_same_tables(noisy_run):
    html, markdown = page(noisy_run), (noisy_run / "report.md").read_text(encoding="utf-8")
    for table in (score_table(read_run(noisy_run).result), score_table(read_run(noisy_run).result, "official")):
        for row in table.rows:
            for cell in row:
                assert cell.full_text in markdown
                assert cell.text in html
    assert verdict(read_run(noisy_run).result) in markdown


def test_text_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = make_run(tmp_path / "r", {"m": 20.0}, notes=[evil], skipped=[{"record_id": evil, "reason": "a & b <c>"}])
    write_report(folder)
    text = page(folder)
    assert evil not in text
    assert text.count("&lt;script&gt;alert(1)") == 2
    assert "a &amp; b &lt;c&gt;" in text


def test_clean_only_run_says_in_one_line_that_there_are_no_curves(tmp_path):
    folder = make_run(tmp_path / "r", {"msecg": 21.0, "interp_cubic": 14.0})
    assert run_pictures(read_run(folder))["curves_picture"] is None
    assert "Only the clean condition was tested" in noise_verdict(read_run(folder).result)


def test_baseline_alone_untrained_and_without_examples_still_has_a_page(tmp_path):
    folder = make_run(tmp_path / "r", {"interp_cubic": 14.0}, fit=None)
    for name in ("examples.npz", "metrics.csv", "env.json", "run.yaml"):
        (folder / name).unlink()
    write_report(folder)
    text = page(folder)
    assert "nothing was trained" in text
    assert "<h2>Training" not in text
    assert "<h2>Reconstructions" not in text


def test_null_numbers_become_dashes_and_a_note(tmp_path):
    def spoil(result):
        for row in result["scores"]:
            if row["metric"] in ("snr_db", "mse_low_band", "mse_high_band"):
                row.update(mean=None, std=None, median=None, ci_low=None, ci_high=None, n_nonfinite=20)
        for row in result["paired"]:
            row.update(mean=None, ci_low=None, ci_high=None, p_value=None)

    folder = make_run(tmp_path / "r", {"msecg": 21.0, "interp_cubic": 14.0}, noise_grid(), edit=spoil)
    write_report(folder)
    result = read_run(folder).result
    snr_row = next(row for row in score_table(result).rows if row[0].text.startswith("SNR"))
    assert [cell.text for cell in snr_row[1:]] == ["–"] * 4
    assert any("20 of 20, in snr_db" in note for note in notes_of(result))
    shown = re.sub(r"base64,[^\"]*|<style>.*</style>", "", page(folder), flags=re.S)
    assert not re.search(r"\b(nan|none|inf)\b", shown.lower())


def test_every_score_infinite_draws_no_distribution(tmp_path):
    scores = make_scores({"m": 20.0}, [CLEAN]).assign(snr_db=np.inf)
    assert score_distribution(scores, ["m"], SNR) is None


def test_model_that_returned_nan_is_drawn_and_not_shown_as_free_of_error(tmp_path):
    examples = make_examples("msecg", "interp_cubic")
    examples["y_pred"] = np.full_like(examples["y_pred"], np.nan)
    folder = make_run(tmp_path / "r", {"msecg": 21.0, "interp_cubic": 14.0}, examples=examples)
    assert len(run_pictures(read_run(folder))["papers"]) == 3
    stacked = {name: examples[key] for name, key in (("msecg", "y_pred"), ("interp_cubic", "y_baseline"))}
    lines = error_spectrum(examples["y_true"], stacked, 500.0).axes[0].lines
    assert [line.get_label() for line in lines] == ["truth", "error of interp_cubic"]


def test_two_leads_and_one_second_are_drawn(tmp_path):
    examples = make_examples("msecg", "interp_cubic", leads=("MLII", "V1"), n_samples=500)
    folder = make_run(tmp_path / "r", {"msecg": 21.0, "interp_cubic": 14.0}, examples=examples)
    pictures = run_pictures(read_run(folder))
    assert len(pictures["papers"]) == len(pictures["close_ups"]) == 3


def test_close_up_lies_where_the_model_errs_most_and_keeps_the_input_samples_in_place():
    arrays = make_examples("m", "cubic")
    arrays["y_pred"] = arrays["y_true"].copy()
    arrays["y_pred"][0, 4, 613] += 1.0
    example = read_examples(arrays, "m")[0]
    axes = close_up_figure(example).axes[0]
    assert any(text.get_text().startswith("aVL") for text in axes.texts)
    truth, dots = (next(line for line in axes.lines if len(line.get_xdata()) == n) for n in (400, 40))
    np.testing.assert_allclose(dots.get_xydata(), truth.get_xydata()[::10], atol=1e-5)


def test_residuals_share_one_scale_within_a_condition():
    arrays = make_examples("m", "cubic")
    arrays["condition"] = np.array(["clean", "clean", "bw@0dB"])
    arrays["y_baseline"] = arrays["y_true"] + np.array([0.01, 0.04, 0.9])[:, None, None]
    arrays["y_pred"] = arrays["y_true"]
    assert common_gains(read_examples(arrays, "m")) == {"clean": 100.0, "bw@0dB": 5.0}


def test_model_that_is_its_own_baseline_is_drawn_once():
    example = read_examples(make_examples("interp_cubic", "interp_cubic"), "interp_cubic")[0]
    assert [trace.name for trace in example.traces] == ["truth", "interp_cubic"]
    assert example.traces[0].pen == TRUTH


def test_noise_curves_have_a_panel_per_kind_and_a_clean_level():
    scores = [
        {"system": s, "condition": c["name"], "metric": "snr_db", "mean": m, "ci_low": m - 1, "ci_high": m + 1}
        for s, level in (("a", 20.0), ("b", 10.0))
        for c, m in ((c, level if c["snr_db"] is None else c["snr_db"] / 2) for c in noise_grid())
    ]
    figure = noise_curves(pd.DataFrame(scores), noise_grid(), SNR)
    assert [ax.get_title() for ax in figure.axes] == [
        "baseline wander (bw)", "electrode motion (em)", "muscle artefact (ma)"
    ]  # fmt: skip
    curve, level = figure.axes[0].lines[:2]
    np.testing.assert_allclose(curve.get_xydata(), [[-5, -2.5], [5, 2.5], [20, 10]])
    assert set(level.get_ydata()) == {20.0}


def test_noise_curves_of_a_clean_run_are_none():
    assert noise_curves(pd.DataFrame(), [CLEAN], SNR) is None


def test_scatter_counts_the_records_that_the_model_wins():
    scores = make_scores({"m": 0.0, "b": 0.0}, [CLEAN], n_records=4)
    scores["snr_db"] = [5.0, 6.0, 7.0, 8.0, 4.0, 7.0, 6.0, 7.0]
    figure = score_distribution(scores, ["m", "b"], SNR)
    assert figure.axes[1].get_title() == "m better in 3 of 4 records"


def test_training_curves_take_lightning_s_sparse_rows():
    """Rates without an epoch belong to the losses that follow; epochs are shown from one."""
    curves = pd.DataFrame({
        "epoch": [np.nan, 0, 0, np.nan, 1, 1], "lr-Adam": [1e-3, *[np.nan] * 2, 5e-4, *[np.nan] * 2],
        "train/loss": [np.nan, 0.9, np.nan, np.nan, 0.4, np.nan], "val/loss": [*[np.nan] * 2, 0.5, *[np.nan] * 2, 0.3],
    })  # fmt: skip
    losses, rates = training_curves(curves, best_epoch=2).axes
    np.testing.assert_allclose(losses.lines[0].get_xydata(), [[1, 0.9], [2, 0.4]])
    np.testing.assert_allclose(losses.lines[1].get_xydata(), [[1, 0.5], [2, 0.3]])
    np.testing.assert_allclose(rates.lines[0].get_xydata(), [[1, 1e-3], [2, 5e-4]])
    assert losses.lines[2].get_xdata()[0] == 2


def test_training_table_without_a_finite_loss_has_no_picture():
    assert training_curves(pd.DataFrame({"epoch": [0], "step": [1]})) is None
    assert training_curves(pd.DataFrame({"epoch": [0, 0], "train/loss": [np.nan, np.inf]})) is None


def test_error_spectrum_peaks_at_the_error_s_frequency():
    """A 40 Hz error of amplitude 0.1 mV has a power of 0.005 mV² in the bins around 40 Hz."""
    time_s = np.arange(5000) / 500
    truth_mv = np.sin(2 * np.pi * 5 * time_s)[None, None]
    other_mv = truth_mv + 0.1 * np.sin(2 * np.pi * 40 * time_s)
    line = error_spectrum(truth_mv, {"m": other_mv}, 500.0, 25.0).axes[0].lines[1]
    frequency_hz, power = line.get_data()
    assert frequency_hz[np.argmax(power)] == pytest.approx(40.0)
    assert np.trapezoid(power, frequency_hz) == pytest.approx(0.005, rel=0.02)


def test_terminal_table_has_the_systems_and_no_p_column(noisy_run):
    table = terminal_table(read_run(noisy_run).result)
    assert [str(c.header) for c in table.columns] == [
        "Metric", "msecg", "interp_cubic (baseline)", "msecg − interp_cubic"
    ]  # fmt: skip
    assert table.row_count == 10


def test_reference_condition_is_the_one_without_noise():
    noisy = {"name": "bw@0dB", "kind": "bw", "snr_db": 0.0}
    assert reference_condition({"conditions": [noisy, CLEAN]}) == "clean"
    assert reference_condition({"conditions": [noisy]}) == "bw@0dB"


def test_unfinished_broken_and_foreign_folders_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"empty has no result\.json.*finish the run"):
        read_run(tmp_path / "empty")
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_run(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ValueError, match="schema_version 99, this version of ecgbench reads 1"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="task 'sorting' has no metric table; known tasks: superres"):
        headline_spec("sorting")
