"""The page of a reconstruction run, the numbers behind its pictures, and what it does where something is missing."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_hex
from reconstruction_run_folder import (
    ALL,
    ANY,
    EASE,
    LEADS,
    NOISY,
    SINGLE,
    THREE,
    make_calibration,
    make_cells,
    make_rebuilt_run,
    make_rebuilt_scores,
    make_record,
)

from ecgbench.metrics.lead_matrix import summarised
from ecgbench.report import reconstruction_page
from ecgbench.report.compare import compare
from ecgbench.report.heat_map import BLUES
from ecgbench.report.lead_cells import LeadCells, calibrations, lead_cells
from ecgbench.report.lead_plots import calibration_figure, input_figure, matrix_figure
from ecgbench.report.lead_tables import (
    calibration_table,
    consistency_table,
    diagnostic_tables,
    input_tables,
    truth_note,
)
from ecgbench.report.reconstruction_page import NO_DIAGNOSIS, NO_NOISE
from ecgbench.report.run_folder import (
    RunFolder,
    clean_inputs,
    headline_spec,
    noisy_inputs,
    read_run,
    reference_condition,
)
from ecgbench.report.run_report import PAGES, terminal_table, write_report
from ecgbench.report.score_tables import score_table, tidy_scores, verdict
from ecgbench.report.tasks import TASKS

SYSTEMS = {"mamba_unet": 0.81, "zero": 0.0}
SHORT = make_record(1000, inputs=("I",))
"""A record that is drawn quickly."""
SPECS = {spec.name: spec for spec in TASKS["reconstruction"].specs}


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    """A complete run of a model and a baseline: any lead, each lead, a subset and noise on lead I."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    flat = [{"input": "V2", "n_windows": 3, "records": ["00001"]}]
    make_rebuilt_run(folder, SYSTEMS, ALL, excluded_windows=12, flat_inputs=flat)
    write_report(folder)
    return folder


def page(folder) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def headline(pcc, condition=ANY, **paired) -> dict:
    """A result.json with a hand-written PCC and, if given, its difference to mcma."""
    key = {"system": "m", "condition": condition["name"], "metric": "pcc_hidden"}
    systems = [{"name": "m", "role": "model"}, {"name": "mcma", "role": "baseline"}]
    score = key | {"mean": pcc, "ci_low": 0.79, "ci_high": 0.83, "n_records": 54}
    return {
        "task": "reconstruction", "conditions": [condition], "systems": systems, "scores": [score],
        "paired": [key | {"baseline": "mcma"} | paired] if paired else [],
    }  # fmt: skip


def test_task_is_registered_with_its_headline_and_a_page():
    """The page and the table of metrics belong together; the headline is the hidden leads' correlation."""
    assert set(PAGES) == set(TASKS) >= {"reconstruction"}
    assert headline_spec("reconstruction").name == "pcc_hidden"
    assert set(TASKS["reconstruction"].warnings) <= set(SPECS)


def test_verdict_speaks_of_rebuilding_from_any_lead():
    """One sentence with the score, its interval and the paired difference."""
    result = headline(0.81, mean=0.03, ci_low=0.02, ci_high=0.04, p_value=0.004)
    assert verdict(result) == (
        "m rebuilds 54 test records from any lead at PCC 0.8100 [0.7900, 0.8300] over the hidden leads, "
        "0.0300 above mcma (paired, [0.0200, 0.0400], p=0.004)."
    )
    assert verdict(headline(0.5, SINGLE[7])).startswith("m rebuilds 54 test records from V2 at PCC 0.5000")
    assert verdict(headline(None)) == "m has no finite PCC on the test records from any lead."


def test_page_shows_every_part_in_order(full_run):
    """Score tables, by lead, lead by lead, the record, heart rate, amplitude, limb leads, diagnosis, noise."""
    text = page(full_run)
    parts = ["<h1>mamba_unet on ptbxl", 'class="verdict"', "A cut of 527 records", "12 test windows left out",
             "was flat in 3 of V2.",
             "Standard scores, any lead", "Official scores, any lead", "<h2>By given lead", "PCC ↑ by given lead",
             "<h2>From each lead to each lead", "The same of the other systems", "<h2>One record, rebuilt",
             "<h2>Heart rate", "<h2>Amplitude", "<h2>Do the limb leads", "<h2>Is the disease", "What xresnet1d101",
             "<h2>Noise", "PCC ↑ under noise", "<h2>Training", "<h2>Provenance"]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert NO_DIAGNOSIS not in text
    assert NO_NOISE not in text


def test_page_is_one_file_that_asks_nothing_of_the_network_and_describes_every_picture(full_run):
    """Pictures are inside the page, each with an alternative text."""
    text = page(full_run)
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "http" not in text.replace("http-equiv", "")
    pictures = re.findall(r"<img [^>]*>", text)
    # By lead, two maps for each of two systems, close-up, three sheets, rate, amplitude, limb leads, AUROC,
    # noise, training.
    assert len(pictures) == 1 + 4 + 1 + 3 + 1 + 1 + 1 + 1 + 1 + 1
    assert all(re.search(r'alt="[^"]{10,}"', picture) for picture in pictures)


def test_conditions_are_told_apart(full_run):
    """The mean over single leads is the reference; noisy inputs are not clean ones."""
    result = read_run(full_run).result
    assert reference_condition(result) == "any lead"
    assert [c["name"] for c in clean_inputs(result)] == [*LEADS, "I+II+V3"]
    assert [c["name"] for c in noisy_inputs(result)] == [c["name"] for c in NOISY]


def test_tables_by_given_lead_hold_every_metric_and_the_means_of_the_records(full_run):
    """The headline comes first, and the clean row of a noised lead stands above its noisy ones."""
    run = read_run(full_run)
    tables = input_tables(run.result, [ANY, *clean_inputs(run.result)])
    assert [t.title for t in tables][:2] == ["PCC ↑ by given lead", "MSE (10⁻³ mV²) ↓ by given lead"]
    assert len(tables) == sum(spec.family == "standard" for spec in SPECS.values())
    assert [row[0].text for row in tables[0].rows] == ["any lead", *LEADS, "I+II+V3"]
    own = run.scores[(run.scores["system"] == "zero") & (run.scores["condition"] == "V4")]
    assert tables[1].rows[10][2].text == f"{1e3 * own['mse_hidden'].mean():.3f}"
    noise_part = page(full_run)[page(full_run).index("PCC ↑ under noise") :]
    assert re.findall(r'<th scope="row"[^>]*>([^<]*)</th>', noise_part)[:2] == ["I", "I bw@-5dB"]


def test_official_table_marks_agreement_scores(full_run):
    """Spread of heart rates is consistency and not correctness, and the table says so."""
    details = {row[0].text: row[0].detail for row in score_table(read_run(full_run).result, "official").rows}
    marked = [name for name, detail in details.items() if detail.startswith("agreement among")]
    assert [name.split(" (")[0] for name in marked] == ["Heart rate SD", "Heart rate CV", "Heart rate range"]


def test_cell_means_leave_out_what_was_given_and_equal_the_lead_matrix(full_run):
    """Rows, columns and the corner are the summaries that the metric layer defines."""
    result = read_run(full_run).result
    cells = lead_cells(result, "mamba_unet", "pcc")
    assert (cells.inputs, cells.outputs) == (LEADS, LEADS)
    assert cells.values[LEADS.index("V1"), LEADS.index("III")] == pytest.approx(0.81 + EASE["V1"] - 0.04)
    expected = summarised(cells.values)
    found = cells.with_means()
    np.testing.assert_allclose(found[:-1, -1], expected.by_input)
    np.testing.assert_allclose(found[-1, :-1], expected.by_output)
    assert found[-1, -1] == pytest.approx(expected.hidden)


def test_cells_of_few_inputs_and_missing_scores():
    """A set of leads has all of its members outlined, and a missing hidden cell spoils only the means it enters."""
    rows = [{"system": "m", "input": given, "output": lead, "mse": 0.01, "pcc": value}
            for given, values in (("I+II", (0.9, 0.9, 0.5)), ("V1", (0.2, None, 0.9)))
            for lead, value in zip(("I", "II", "V1"), values, strict=True)]  # fmt: skip
    cells = lead_cells({"cells": rows}, "m", "pcc")
    assert cells.given.tolist() == [[True, True, False], [False, False, True]]
    nan = np.nan
    np.testing.assert_allclose(cells.with_means(), [[0.9, 0.9, 0.5, 0.5], [0.2, nan, 0.9, nan], [0.2, nan, 0.5, nan]])
    assert lead_cells({"cells": rows}, "other", "pcc") is None


def test_matrix_prints_every_value_and_outlines_the_given_leads():
    """2 x 2 cells and their means, in the shown unit; a value beyond the limits has the colour of the end."""
    values = np.array([[0.001, 0.02], [0.03, np.nan]])
    cells = LeadCells(("I", "V2"), ("I", "V2"), values, np.eye(2, dtype=bool))
    axes = matrix_figure(cells, "MSE, m", (0.0, 25.0), decimals=1, scale=1e3).axes[0]
    assert [t.get_text() for t in axes.texts] == ["1.0", "20.0", "20.0", "30.0", "30.0", "30.0", "20.0", "25.0"]
    assert [patch.get_xy() for patch in axes.patches] == [(-0.5, -0.5), (0.5, 0.5)]
    (image,) = axes.images
    assert to_hex(image.cmap(image.norm(30.0))) == to_hex(BLUES(1.0))
    assert [t.get_text() for t in axes.get_yticklabels()] == ["I", "V2", "mean"]


def test_all_systems_share_the_shades_of_the_model(monkeypatch):
    """The limits come from the model's cells, so that pictures can be compared and a bad baseline fades none."""
    seen = []

    def spy(cells, title, limits, *rest):
        seen.append((title, limits))
        return matrix_figure(cells, title, limits, *rest)

    monkeypatch.setattr(reconstruction_page, "matrix_figure", spy)
    result = {"cells": make_cells(SYSTEMS), "systems": [{"name": "mamba_unet", "role": "model"}]}
    for system in ("mamba_unet", "zero"):
        reconstruction_page.matrix_pictures(result, system, SPECS)
    assert [title for title, _ in seen][2:] == ["PCC, zero", "MSE (10⁻³ mV²), zero"]
    limits = [ends for _, ends in seen]
    assert limits[0] == limits[2] == (0.6, 1.0)  # the lowest correlation is 0.81 - 0.05 - 0.09
    assert limits[1] == limits[3] == (0.0, pytest.approx(40 * (1 - 0.67**2)))


def test_input_picture_has_a_point_per_lead_at_the_score(full_run):
    """One series per system and panel, in the order of the inputs; one input alone is no picture."""
    run = read_run(full_run)
    tidy = tidy_scores(run.result)
    figure = input_figure(tidy, [*LEADS, "I+II+V3"], [SPECS["pcc_hidden"], SPECS["hr_mae_bpm"]])
    left, right = figure.axes
    means = run.scores[run.scores["system"] == "zero"].groupby("condition")[["pcc_hidden", "hr_mae_bpm"]].mean()
    np.testing.assert_allclose(left.lines[1].get_ydata(), means.loc[[*LEADS, "I+II+V3"], "pcc_hidden"])
    np.testing.assert_allclose(right.lines[1].get_ydata(), means.loc[[*LEADS, "I+II+V3"], "hr_mae_bpm"])
    assert right.get_ylim()[0] == 0
    assert [t.get_text() for t in left.get_xticklabels()][-2:] == ["V6", "I\n+II\n+V3"]
    held = input_figure(tidy, LEADS, [SPECS["mse_hidden"]], level=0.04).axes[0]
    assert held.lines[-1].get_ydata()[0] == pytest.approx(40.0)
    assert input_figure(tidy, ["I"], [SPECS["pcc_hidden"]]) is None
    assert input_figure(tidy.assign(mean=np.nan), LEADS, [SPECS["pcc_hidden"]]) is None


def test_calibration_is_over_single_leads_that_were_not_the_rebuilt_one():
    """Subsets stand aside where single leads were tested; leads keep their order; null slopes are left out."""
    rows = [*make_calibration({"m": 0.8}), {"system": "m", "input": "I+II+V3", "lead": "V1", "slope": 9.0, "r2": 1.0,
            "n": 54}]  # fmt: skip
    found = {c.lead: c for c in calibrations({"calibration": rows}, "m")}
    assert tuple(found) == LEADS
    hidden = [0.8 - 0.02 * i + 0.06 for i in range(12) if i != 6]
    np.testing.assert_allclose(found["V1"].slope, hidden)
    assert found["V1"].n == 54 - 6
    only = calibrations({"calibration": rows[-1:]}, "m")
    assert [(c.lead, c.slope.tolist()) for c in only] == [("V1", [9.0])]
    assert calibrations({"calibration": [rows[0] | {"lead": "II", "slope": None}]}, "m") == []


def test_calibration_table_and_picture_show_mean_and_range():
    """Slopes 0.5 and 0.7 of one lead have the mean 0.60; a slope of -0.001 is written without a sign."""
    rows = [{"system": "m", "input": given, "lead": "V1", "slope": slope, "r2": r2, "n": n}
            for given, slope, r2, n in (("I", 0.5, None, 40), ("II", 0.7, 0.36, 30))]  # fmt: skip
    rows.append({"system": "zero", "input": "I", "lead": "V1", "slope": -0.001, "r2": None, "n": 40})
    systems = [{"name": "m", "role": "model"}, {"name": "zero", "role": "baseline"}]
    result = {"calibration": rows, "systems": systems}
    (row,) = calibration_table(result).rows
    assert [cell.full_text for cell in row] == ["V1", "0.60 [0.50, 0.70]", "0.00", "0.36", "40"]
    figure = calibration_figure({name: calibrations(result, name) for name in ("m", "zero")})
    slope, r2 = figure.axes
    assert [line.get_ydata()[0] for line in slope.lines[:2]] == [0.6, -0.001]
    assert [len(line.get_ydata()) for line in r2.lines[:2]] == [1, 0]
    assert calibration_figure({"m": []}) is None


def test_consistency_table_shows_the_gain_by_projection(full_run):
    """The made-up projected error is 0.9 of the other; without an error there is no share of it."""
    result = read_run(full_run).result
    table = consistency_table(result)
    assert [row[0].text for row in table.rows[:2]] == list(SYSTEMS)
    assert {row[4].text for row in table.rows[:2]} == {"−10.0 %"}
    exact = [s | {"mean": 0.0} if s["metric"].startswith("mse") else s for s in result["scores"]]
    assert consistency_table(result | {"scores": exact}).rows[0][4].text == "–"
    others = [s for s in result["scores"] if s["metric"] != "einthoven_uv"]
    assert consistency_table(result | {"scores": others}) is None


def test_diagnostic_table_sets_real_leads_first_and_the_rest_against_them(full_run):
    """The mean over single leads stands for all; by given lead there is a second table, controls in every group."""
    result = read_run(full_run).result
    (table,) = diagnostic_tables(result)
    shown = [[cell.text for cell in row[:4]] for row in table.rows]
    assert shown[:2] == [["twelve real leads", "all", "0.920", ""], ["mamba_unet", "any lead", "0.850", "−0.070"]]
    assert [row[0] for row in shown[2:]] == ["zero", "given leads, others 0", "given lead in every channel"]
    assert [cell.interval for cell in table.rows[1]][2:] == ["[0.820, 0.870]", "", "[0.600, 0.700]"]
    (every,) = diagnostic_tables(result, every_input=True)
    assert [row[1].text for row in every.rows] == ["all", *["any lead"] * 4, *["I"] * 4, *["V2"] * 4]
    one_input = [row for row in result["diagnostic"] if row["input"] in ("all leads", "V2")]
    (table,) = diagnostic_tables(result | {"diagnostic": one_input})
    assert [row[1].text for row in table.rows] == ["all", *["V2"] * 4]
    assert diagnostic_tables(result | {"diagnostic": one_input}, every_input=True) == []


def test_recordings_stand_beside_what_is_made_of_them(full_run):
    """Their limb leads have a residual and their leads a spread of heart rates too."""
    result = read_run(full_run).result
    last = consistency_table(result).rows[-1]
    assert [cell.full_text for cell in last] == ["the recordings themselves", "0.5 [0.4, 0.5]", "", "", ""]
    assert "The recordings themselves have: Heart rate SD 0.2000 [0.1800, 0.2200] bpm." in page(full_run)
    assert truth_note(result | {"truth": []}) is None


def test_noise_pictures_are_drawn_for_each_given_lead_with_its_own_clean_level(full_run, monkeypatch):
    """Lead II's curves must not show lead I's level as theirs."""
    run = read_run(full_run)
    second = [c | {"name": c["name"].replace("I ", "II "), "leads": ["II"]} for c in NOISY[:1]]
    drawn = []
    monkeypatch.setattr(reconstruction_page, "noise_curves", lambda tidy, conditions, spec: drawn.append(conditions))
    reconstruction_page.noise_pictures(RunFolder(run.path, run.result | {"conditions": [*ALL, *second]}))
    assert [[c["name"] for c in conditions] for conditions in drawn] == [
        ["I", *(c["name"] for c in NOISY)],
        ["II", "II bw@-5dB"],
    ]
    assert all(c["leads"] is None for conditions in drawn for c in conditions)


def test_run_from_one_lead_without_extras_still_has_a_page(tmp_path):
    """No baseline, noise, cells, calibration, classifier, record or training: sentences stand where data is missing."""
    folder = make_rebuilt_run(
        tmp_path / "r", {"mcma": 0.7}, [SINGLE[0]], fit=None, cells=[], calibration=[], diagnostic=[], truth=[]
    )
    for name in ("examples.npz", "metrics.csv", "env.json", "run.yaml"):
        (folder / name).unlink()
    write_report(folder)
    text = page(folder)
    assert NO_DIAGNOSIS in text
    assert NO_NOISE in text
    assert "from I at PCC" in text
    for part in ("<img", "<h2>From each", "<h2>One record", "<h2>Heart", "<h2>Amplitude", "<h2>Sources", "<h2>Train"):
        assert part not in text


def test_page_and_terminal_show_no_nan_where_scores_are_null(tmp_path):
    """Null scores are dashes and empty cells."""

    def spoil(result):
        for row in (*result["scores"], *result["paired"]):
            row.update(mean=None, ci_low=None, ci_high=None)
        for row in result["cells"]:
            row.update(mse=None, pcc=None)
        for row in result["calibration"]:
            row.update(slope=None, intercept=None, r2=None)
        for row in result["diagnostic"]:
            row.update(auroc_macro=None, f1_macro=None, ci_low=None, ci_high=None)

    folder = make_rebuilt_run(tmp_path / "r", {"m": 0.7, "zero": 0.0}, examples=SHORT, edit=spoil)
    write_report(folder)
    shown = re.sub(r"base64,[^\"]*|<style>.*</style>", "", page(folder), flags=re.S)
    assert not re.search(r"\b(nan|inf)\b", shown.lower())
    assert terminal_table(read_run(folder).result).row_count == 11


def test_external_test_sets_have_a_table_without_the_note_of_classes(tmp_path):
    """Sources have a row each; the note on classes belongs to another task."""
    facts = TASKS["reconstruction"]
    scores = make_rebuilt_scores({"m": 0.7}, [ANY, *SINGLE], n_records=9)
    found = facts.summarise(scores, facts.specs[:2], n_resamples=5).to_dict("records")
    sources = [row | {"source": name} for name in ("ptbxl", "cpsc2018") for row in found]
    folder = make_rebuilt_run(tmp_path / "r", {"m": 0.7}, [ANY, *SINGLE[:2]], cells=[], examples=SHORT, sources=sources)
    write_report(folder)
    assert "m by source, any lead" in page(folder)
    assert "macro average of one source" not in page(folder)


def test_text_from_files_is_escaped(tmp_path):
    """Markup in notes, record names and classifiers is shown and not run."""
    evil = "<script>alert(1)</script>"
    rows = [{"system": "real", "input": None, "classifier": evil, "auroc_macro": 0.9, "f1_macro": 0.5,
             "ci_low": None, "ci_high": None}]  # fmt: skip
    examples = SHORT | {"record_id": np.array(evil)}
    folder = make_rebuilt_run(tmp_path / "r", {"m": 0.7}, SINGLE[:2], examples=examples, notes=[evil], diagnostic=rows)
    write_report(folder)
    assert evil not in page(folder)
    assert page(folder).count("&lt;script&gt;alert(1)") >= 3


def test_markdown_holds_the_tables(full_run):
    """The same tables as the page, as pipe tables."""
    markdown = (full_run / "report.md").read_text(encoding="utf-8")
    for title in ("PCC ↑ by given lead", "R amplitude by rebuilt lead", "Limb leads, from any lead",
                  "What xresnet1d101 still sees", "PCC ↑ under noise"):  # fmt: skip
        assert f"### {title}\n" in markdown
    assert "| twelve real leads | all |" in markdown or "| **twelve real leads** | all |" in markdown


def test_runs_are_compared_on_their_common_records_with_a_picture_by_given_lead(tmp_path):
    """Two seeds of one label are averaged, another model stands beside them, and the picture has a series for each."""
    conditions = [ANY, *SINGLE, THREE]
    folders = [
        make_rebuilt_run(tmp_path / f"{label}{seed}", {label: level, "zero": 0.0}, conditions, label=label, seed=seed)
        for label, level, seed in (("mcma", 0.78, 0), ("mcma", 0.76, 1), ("mamba_unet", 0.85, 0))
    ]
    text = compare(folders, tmp_path / "out").read_text(encoding="utf-8")
    assert "PCC on the 54 common records from any lead" in text
    assert 'alt="Score by given lead"' in text
    assert "mean of 2" in text
    assert text.index("<strong>mamba_unet</strong>") < text.index("zero (baseline)")
