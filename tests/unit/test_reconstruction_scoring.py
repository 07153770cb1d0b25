"""ECGGenEval on records whose every number is known: multiples of one wave, 75 beats a minute."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from reconstruction_cases import GAINS, RR, TASK, Mix, OneHeart, Same, beats_mv, conditions, made_up, record_mv

from ecgbench.data.noise import Condition, GaussianNoise
from ecgbench.data.record import LEADS
from ecgbench.scoring.contract import write_json
from ecgbench.scoring.reconstruction import ReconstructionScoring
from ecgbench.scoring.reconstruction_records import RecordScorer
from ecgbench.scoring.reconstruction_tables import with_any_lead

CPU = torch.device("cpu")
ALL = conditions(*LEADS)


def scoring(**changes: Any) -> ReconstructionScoring:
    """The default protocol."""
    fields = dict(
        n_samples=1024, windows="overlap", padding="zero", bandpass_hz=None, bandpass_order=2, features=False,
        classifier=None,
    )  # fmt: skip
    return ReconstructionScoring(**{**fields, **changes})


def result_of(tmp_path: Path, data: Any, systems: dict[str, torch.nn.Module], **changes: Any) -> dict[str, Any]:
    """Predicted and finished; result.json's part of it, read back."""
    own = scoring(**changes)
    shares = own.predict(TASK, systems, data, CPU, progress=False)
    write_json(tmp_path / "part.json", own.finish(tmp_path, shares, TASK, systems, data, CPU))
    return json.loads((tmp_path / "part.json").read_text())


def means(result: dict[str, Any], system: str, condition: str) -> dict[str, float]:
    """Metric to mean of one system under one condition."""
    rows = [r for r in result["scores"] if (r["system"], r["condition"]) == (system, condition)]
    return {r["metric"]: r["mean"] for r in rows}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, list[np.ndarray]]:
    """Three records of 75 bpm, of different size and length, by an exact, a halving and a silent system."""
    folder = tmp_path_factory.mktemp("run")
    records = [record_mv(5000, 1.0), record_mv(5000, 0.6), record_mv(4000, 1.4)]
    systems = {"exact": OneHeart(), "half": OneHeart(0.5), "silent": OneHeart(0.0)}
    data = made_up(records, [*conditions("I", "II", "I+V2")])
    return result_of(folder, data, systems, features=True), folder, records


def test_an_exact_reconstruction_has_no_error(scored: tuple):
    """Nothing is off: r is 1, every error 0, no beat is lost and the limb leads agree."""
    found = means(scored[0], "exact", "I")
    assert found["pcc_hidden"] == pytest.approx(1, abs=1e-6)
    assert found["official_pcc"] == pytest.approx(1, abs=1e-6)
    for name in ("mse_hidden", "mae_hidden", "mse_projected", "official_mse"):
        assert found[name] == pytest.approx(0, abs=1e-6), name
    assert found["einthoven_uv"] == pytest.approx(0, abs=1e-3)
    for name in ("hr_mae_bpm", "hr_failed_pct", "qrs_error_ms", "qt_error_ms", "pr_error_ms", "official_hr_mae_bpm"):
        assert found[name] == pytest.approx(0, abs=0.05), name
    assert found["r_amplitude_error_uv"] == pytest.approx(0, abs=0.01)


def test_silence_loses_every_beat(scored: tuple):
    """No waveform: r 0, the error is the truth's energy; every heart rate is lost, and 0 bpm by the published rule."""
    result, _, records = scored
    found = means(result, "silent", "II")
    hidden = np.arange(12) != 1
    # Over windows, of which the last overlaps: the mean of the windows' means.
    starts = [[0, 1024, 2048, 3072, 3976], [0, 1024, 2048, 3072, 3976], [0, 1024, 2048, 2976]]
    by_lead = [
        np.mean([(r.astype(np.float32)[:, s : s + 1024] ** 2).mean(1) for s in at], axis=0)
        for r, at in zip(records, starts, strict=True)
    ]
    assert found["mse_hidden"] == pytest.approx(np.mean([m[hidden].mean() for m in by_lead]), rel=1e-5)
    assert found["official_mse"] == pytest.approx(np.mean([m.mean() for m in by_lead]), rel=1e-5)
    assert found["pcc_hidden"] == found["official_pcc"] == 0
    assert found["hr_failed_pct"] == 100
    assert found["hr_mae_bpm"] is None
    assert (found["official_hr_sd_bpm"], found["official_hr_range_bpm"]) == (0, 0)
    assert found["official_hr_mae_bpm"] == pytest.approx(75, abs=0.5)
    assert found["qrs_error_ms"] is None


def test_half_the_amplitude_is_seen(scored: tuple):
    """Half of every wave: r stays 1, the R amplitude is off by half of it, and so is the slope of the calibration."""
    result, _, records = scored
    found = means(result, "half", "I")
    assert found["pcc_hidden"] == pytest.approx(1, abs=1e-6)
    full_uv = [1e3 * peaks_mv(record) for record in records]
    assert found["r_amplitude_error_uv"] == pytest.approx(np.mean([np.mean(a[1:]) / 2 for a in full_uv]), rel=0.01)
    lines = [r for r in result["calibration"] if (r["system"], r["input"]) == ("half", "I+V2")]
    assert [r["lead"] for r in lines] == [lead for lead in LEADS if lead not in ("I", "V2")]
    for line in lines:
        assert (line["slope"], line["r2"], line["n"]) == pytest.approx((0.5, 1, 3), abs=1e-4)


def peaks_mv(record: np.ndarray) -> np.ndarray:
    """The highest value near the R peaks minus the median, mean over beats, by lead; beats found by their place."""
    peaks = range(150, record.shape[-1], RR)
    level = np.median(record, axis=1)
    return np.mean([record[:, max(0, p - 25) : p + 26].max(1) - level for p in peaks], axis=0)


def test_truth_and_example(scored: tuple):
    """The true records agree in their heart rates; the drawn record is the middle one, from its first inputs."""
    result, folder, records = scored
    truth = {row["metric"]: row["mean"] for row in result["truth"]}
    assert truth["einthoven_uv"] == pytest.approx(0, abs=1e-3)
    assert truth["official_hr_sd_bpm"] == pytest.approx(0, abs=0.3)
    drawn = np.load(folder / "examples.npz")
    assert drawn["inputs"].tolist() == ["I"]
    record = records[int(str(drawn["record_id"])[1:])]
    np.testing.assert_allclose(drawn["y_true"], record, atol=1e-6)
    np.testing.assert_allclose(drawn["y_pred"][0], record, atol=1e-5)


def test_the_table_is_one_row_per_record(scored: tuple):
    """scores.parquet holds keys, patient and metrics, and none of the columns that tables are made of."""
    scores = pd.read_parquet(scored[1] / "scores.parquet")
    assert len(scores) == 3 * 3 * 3
    assert scores.columns[:4].tolist() == ["system", "condition", "record_id", "patient_id"]
    assert not [name for name in scores if ":" in name]
    assert {"pcc_hidden", "qt_error_ms", "official_hr_mae_bpm"} <= set(scores)
    assert "any lead" not in set(scores["condition"])  # two of twelve inputs


def test_comparisons_are_model_minus_baseline(scored: tuple):
    """The model's r amplitude error minus the halving baseline's is minus the latter's, the former being 0."""
    result = scored[0]
    key = ("I", "r_amplitude_error_uv", "exact", "half")
    row = next(r for r in result["paired"] if (r["condition"], r["metric"], r["system"], r["baseline"]) == key)
    assert row["mean"] == pytest.approx(-means(result, "half", "I")["r_amplitude_error_uv"], abs=0.01)
    assert {r["baseline"] for r in result["paired"]} == {"half", "silent"}


def test_limb_leads_that_contradict_each_other_are_measured_and_projected(tmp_path: Path):
    """Random predictions against numpy's least squares over (I, II), and the residuals written out lead by lead."""
    record, model = record_mv(2048), Mix(4)
    found = means(result_of(tmp_path, made_up([record], conditions("V2")), {"mix": model}), "mix", "V2")
    predicted = model.matrix.numpy().astype(np.float64)[:, [7]] * record[[7]]
    one, two, three, avr, avl, avf = predicted[:6]
    residuals = [three - (two - one), avr + (one + two) / 2, avl - (one - two / 2), avf - (two - one / 2)]
    assert found["einthoven_uv"] == pytest.approx(1e3 * np.sqrt(np.mean(np.square(residuals))), rel=1e-4)
    combinations = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
    projected = predicted.copy()
    projected[:6] = combinations @ np.linalg.lstsq(combinations, predicted[:6], rcond=None)[0]
    hidden = np.arange(12) != 7
    assert found["mse_projected"] == pytest.approx(np.mean((projected - record)[hidden] ** 2), rel=1e-4)
    assert found["mse_hidden"] == pytest.approx(np.mean((predicted - record)[hidden] ** 2), rel=1e-4)


def test_a_flat_true_lead_has_no_amplitude_to_miss(tmp_path: Path):
    """V1 was not connected: what a system makes of it is no amplitude error, and V1 has no calibration."""
    record = record_mv(5000)
    record[6] = 0.0
    result = result_of(tmp_path, made_up([record], conditions("I")), {"exact": OneHeart()}, features=True)
    found = means(result, "exact", "I")
    assert found["r_amplitude_error_uv"] == pytest.approx(0, abs=0.01)
    assert {r["lead"]: r["n"] for r in result["calibration"]} == {lead: int(lead != "V1") for lead in LEADS[1:]}


@pytest.mark.parametrize("n_samples", [5000, 4096, 1500, 700])
@pytest.mark.parametrize("windows", ["overlap", "published_repeat", "published_zero"])
def test_what_is_stitched_is_the_record(n_samples: int, windows: str):
    """A system that hands its input on gives the given leads back to the sample, and nothing else, at any length."""
    rng = np.random.default_rng(5)
    record = rng.normal(size=(12, n_samples)).astype(np.float32)
    data = made_up([record], conditions("I+V3"), windows=windows)
    scorer = RecordScorer(task=TASK, systems={}, data=data, device=CPU, features=False, diagnosis=None)
    x = scorer.input_windows(0, data.conditions[0])
    stitched = scorer.stitched(scorer.rebuilt(Same(), x[None])[0], scorer.load(0))
    wanted = np.zeros((12, n_samples), dtype=np.float32)
    wanted[[0, 8]] = record[[0, 8]]
    np.testing.assert_array_equal(stitched, wanted)


def test_many_windows_go_through_the_model_in_parts():
    """More windows than one forward pass takes come back in order."""
    record = np.random.default_rng(6).normal(size=(12, 70 * 1024)).astype(np.float32)
    data, sizes = made_up([record], conditions("I", "V6")), []
    task = SimpleNamespace(predict=lambda model, x: sizes.append(len(x)) or model(x))
    scorer = RecordScorer(task=task, systems={}, data=data, device=CPU, features=False, diagnosis=None)
    x = np.stack([scorer.input_windows(0, condition) for condition in data.conditions])
    np.testing.assert_array_equal(scorer.rebuilt(Same(), x).numpy(), x)
    assert sum(sizes) == 140
    assert max(sizes) <= 64


def test_cells_are_those_of_a_naive_loop(tmp_path: Path):
    """12 x 12 means over windows, records of unequal length and a window with a flat lead left out of all cells."""
    rng = np.random.default_rng(8)
    records = [rng.normal(size=(12, n)).cumsum(-1).astype(np.float32) * 0.01 for n in (3 * 1024, 1024, 2 * 1024)]
    records[0][7, 1024:2048] = 0.25  # V2 flat in the second of three windows
    model = Mix(1)
    result = result_of(tmp_path, made_up(records, ALL), {"mix": model})
    windows = [r[:, s : s + 1024] for r in records for s in range(0, r.shape[1], 1024)]
    kept = [w for w in windows if (w.std(axis=1) >= 1e-4).all()]
    assert (len(windows), len(kept)) == (6, 5)
    table = {(c["input"], c["output"]): c for c in result["cells"]}
    assert len(table) == len(result["cells"]) == 144
    for i, given in enumerate(LEADS):
        for j, output in enumerate(LEADS):
            errors, coefficients = [], []
            for window in kept:
                predicted = model.matrix.numpy()[j, i] * window[i].astype(np.float64)
                errors.append(np.mean((predicted - window[j]) ** 2))
                coefficients.append(np.corrcoef(predicted, window[j])[0, 1])
            cell = table[given, output]
            assert cell["mse"] == pytest.approx(np.mean(errors), rel=1e-4)
            assert cell["pcc"] == pytest.approx(np.mean(coefficients), rel=1e-4, abs=1e-6)
            assert cell["n"] == 5
    assert (result["excluded_windows"], result["scored_windows"]) == (1, 5)


def test_a_flat_input_is_told_and_not_scored(tmp_path: Path):
    """A record whose lead V1 is flat throughout has no score under any input, and is named under the input V1 only."""
    records = [record_mv(2048), record_mv(2048, 0.5)]
    records[1][6] = 0.0
    result = result_of(tmp_path, made_up(records, conditions("I", "V1")), {"exact": OneHeart()})
    assert result["flat_inputs"] == [{"input": "V1", "n_windows": 2, "records": ["r1"]}]
    assert result["excluded_windows"] == 2
    scores = pd.read_parquet(tmp_path / "scores.parquet").set_index(["condition", "record_id"])
    for condition in ("I", "V1"):
        assert np.isnan(scores.loc[(condition, "r1"), "mse_hidden"])
        assert scores.loc[(condition, "r0"), "mse_hidden"] == pytest.approx(0, abs=1e-6)
    row = next(r for r in result["scores"] if (r["condition"], r["metric"]) == ("V1", "pcc_hidden"))
    assert (row["n_records"], row["n_nonfinite"]) == (2, 1)


def test_a_prediction_that_is_nan_has_no_published_correlation(tmp_path: Path):
    """NaN: the published rule counts r as 0 and the benchmark's own keeps the NaN, so that it is counted as lost."""
    data = made_up([record_mv(1024)], conditions("I"))
    result = result_of(tmp_path, data, {"nan": Same(float("nan"))}, features=True)
    found = means(result, "nan", "I")
    assert found["official_pcc"] == 0
    for name in ("pcc_hidden", "mse_hidden", "official_mse", "r_amplitude_error_uv"):
        assert found[name] is None, name
    assert found["hr_failed_pct"] == 100


def test_published_windows_score_what_they_fill_up(tmp_path: Path):
    """1,500 samples: 548 zeros of the second window are 'rebuilt' as 1 mV; only the published rule counts them."""
    signal = np.random.default_rng(9).normal(size=(12, 1500)).astype(np.float32)
    shifted = Same(1.0)
    results = {}
    for windows in ("overlap", "published_zero"):
        data = made_up([signal], conditions("I"), windows=windows)
        results[windows] = means(result_of(tmp_path, data, {"one": shifted}, windows=windows), "one", "I")
    ends = {"overlap": [signal[:, :1024], signal[:, 476:]]}
    ends["published_zero"] = [signal[:, :1024], np.pad(signal[:, 1024:], ((0, 0), (0, 548)))]
    for windows, parts in ends.items():
        wanted = np.mean([np.mean((1 - part[1:].astype(np.float64)) ** 2) for part in parts])
        assert results[windows]["mse_hidden"] == pytest.approx(wanted, rel=1e-5)


def frame(values: list[float], metric: str = "mse_hidden") -> pd.DataFrame:
    """Twelve inputs of one record."""
    keys = {"system": "m", "condition": list(LEADS), "record_id": "r", "patient_id": "p"}
    return pd.DataFrame({**keys, metric: values})


def test_any_lead_is_the_mean_over_the_inputs():
    """1 to 12: 6.5, first of the conditions; the inputs' own rows stay."""
    found = with_any_lead(frame([float(k) for k in range(1, 13)]), ["mse_hidden"])
    assert found["condition"].tolist() == ["any lead", *LEADS]
    assert found["mse_hidden"].iloc[0] == 6.5


@pytest.mark.parametrize(("metric", "wanted"), [("mse_hidden", np.nan), ("hr_mae_bpm", 2.0)])
def test_any_lead_hides_no_failure_of_the_signal(metric: str, wanted: float):
    """An input without an error makes the mean undefined; one in which no beat was found is left out of heart rates."""
    found = with_any_lead(frame([np.nan] + [2.0] * 11, metric), [metric])
    assert found[metric].iloc[0] == pytest.approx(wanted, nan_ok=True)


def test_any_lead_needs_all_twelve():
    """Without V6 there is no mean over any lead."""
    assert "any lead" not in set(with_any_lead(frame([1.0] * 12)[:-1], ["mse_hidden"])["condition"])


def test_processes_share_the_records(tmp_path: Path):
    """Rows in another order from several processes give the same result; a missing or doubled one is refused."""
    data = made_up([record_mv(1024, a) for a in (0.5, 1.0, 2.0)], ALL)
    own, systems = scoring(), {"half": OneHeart(0.5), "exact": OneHeart()}
    shares = own.predict(TASK, systems, data, CPU, progress=False)
    one = own.finish(tmp_path, shares, TASK, systems, data, CPU)
    two = own.finish(tmp_path, shares.sample(frac=1, random_state=1), TASK, systems, data, CPU)
    pd.testing.assert_frame_equal(pd.DataFrame(one["scores"]), pd.DataFrame(two["scores"]))
    pd.testing.assert_frame_equal(pd.DataFrame(one["cells"]), pd.DataFrame(two["cells"]))
    assert [c["name"] for c in one["conditions"]] == ["any lead", *LEADS]
    for wrong in (shares[1:], pd.concat([shares, shares[:1]])):
        with pytest.raises(RuntimeError, match="72 scored records were expected"):
            own.finish(tmp_path, wrong, TASK, systems, data, CPU)


def test_features_measured_elsewhere_are_the_same():
    """Measured in a process of their own, heart rates and all others are equal to the digit."""
    data = made_up([record_mv(3000, a) for a in (0.5, 1.0)], conditions("II"))
    own, systems = scoring(features=True), {"half": OneHeart(0.5), "exact": OneHeart()}
    here = own.predict(TASK, systems, data, CPU, progress=False)
    data.num_workers = 1
    pd.testing.assert_frame_equal(own.predict(TASK, systems, data, CPU, progress=False), here)
    assert here["official_hr_mae_bpm"].notna().all()


def test_each_process_takes_every_other_record(monkeypatch: pytest.MonkeyPatch):
    """Two processes: the first takes records 0 and 2, the second record 1."""
    data = made_up([record_mv(1024)] * 3, conditions("I"))
    rows = {}
    for rank in (0, 1):
        monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
        rows[rank] = scoring().predict(TASK, {"exact": OneHeart()}, data, CPU, progress=False)["row"].tolist()
    assert rows == {0: [0, 2], 1: [1]}


def test_noise_reaches_the_given_lead_and_never_the_truth(tmp_path: Path):
    """Under 0 dB of noise, the given lead handed on has as much error as its own power; the other leads are zero."""
    noise = GaussianNoise(clean_fraction=0, train_snr_db=(0, 0), test_snr_db=(0,), redraw="run")
    noisy = Condition("II gaussian@0dB", "gaussian", 0.0, ("II",))
    data = made_up([record_mv(1024)], [*conditions("II"), noisy], noise=noise)
    shares = scoring().predict(TASK, {"same": Same()}, data, CPU, progress=False).set_index("condition")
    assert shares.loc[0, "mse:II"] == 0
    assert shares.loc[1, "mse:II"] == pytest.approx(np.mean((GAINS[1] * beats_mv(1024)) ** 2), rel=0.02)
    assert shares.loc[1, "mse:I"] == pytest.approx(np.mean(beats_mv(1024) ** 2), rel=1e-5)


def test_the_protocol_names_what_moves_a_score():
    """Windows, their length and the band are part; padding, which is what a system is given, is not."""
    assert scoring().protocol("") == "reconstruction-overlap-1024samples-unfiltered-v1"
    changed = scoring(windows="published_zero", n_samples=512, bandpass_hz=[0.5, 40.0], padding="copy")
    assert changed.protocol("uncut") == "reconstruction-published_zero-512samples-0.5-40Hz-uncut-v1"
    data = made_up([record_mv(1024)], conditions("I"))
    assert scoring().conditions_of_test(data) == scoring(padding="copy").conditions_of_test(data)
    assert scoring().conditions_of_test(data) != scoring(n_samples=512).conditions_of_test(data)


def test_notes_say_what_was_left_out():
    """Copies, features that were not measured and the missing classifier are told."""
    data = made_up([record_mv(1024)], conditions("I"))
    notes = " ".join(scoring(padding="copy").notes(data, None))
    assert "copies" in notes
    assert "task.features=false" in notes
    assert "task.classifier=null" in notes
    assert "copies" not in " ".join(scoring().notes(data, None))
