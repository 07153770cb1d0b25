"""A whole run: every file is there, every test record is scored once, and the same run comes out the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ecgbench import reproduce
from ecgbench.config import ConfigError, compose
from ecgbench.experiment import check, label, load_data


def test_a_run_leaves_everything_its_reader_needs(run: Callable[..., Path]) -> None:
    """The folder holds config, environment, checkpoints, scores, result and a self-contained page."""
    folder = run()
    expected = {"run.yaml", "env.json", "metrics.csv", "scores.parquet", "result.json", "report.html", "report.md"}
    assert expected <= {p.name for p in folder.iterdir()}
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    result = json.loads((folder / "result.json").read_text())
    assert result["protocol"] == "superres-official-x10-1-45Hz-4s-v1"
    assert [s["name"] for s in result["systems"]] == ["msecg", "interp_cubic"]
    assert [c["name"] for c in result["conditions"]] == ["clean", "gaussian@10dB"]
    assert result["fit"]["epochs"] == 2
    assert any("imulated" in note for note in result["notes"])
    env = json.loads((folder / "env.json").read_text())
    assert env["packages"]["torch"] == torch.__version__
    assert env["data_hash"] == result["data_hash"]


def test_every_test_record_is_scored_once_per_system_and_condition(run: Callable[..., Path]) -> None:
    """scores.parquet is the full product of systems, conditions and the test fold's records."""
    folder = run()
    scores = pd.read_parquet(folder / "scores.parquet")
    assert not scores.duplicated(["system", "condition", "record_id"]).any()
    sizes = scores.groupby(["system", "condition"])["record_id"].nunique()
    result = json.loads((folder / "result.json").read_text())
    assert (sizes == result["records"]["test"]).all()
    assert len(sizes) == 4


def test_rows_of_the_result_are_means_over_records(run: Callable[..., Path]) -> None:
    """The table's mean is the plain mean of the per-record scores."""
    folder = run()
    scores = pd.read_parquet(folder / "scores.parquet")
    result = json.loads((folder / "result.json").read_text())
    row = next(
        r for r in result["scores"] if (r["system"], r["condition"], r["metric"]) == ("msecg", "clean", "snr_db")
    )
    own = scores[(scores["system"] == "msecg") & (scores["condition"] == "clean")]["snr_db"]
    assert row["mean"] == pytest.approx(own.mean())
    assert row["ci_low"] < row["mean"] < row["ci_high"]


def test_a_rerun_is_bit_identical(run: Callable[..., Path]) -> None:
    """`reproduce` runs again from run.yaml and finds every score of every record equal to the last bit."""
    first = run()
    second = reproduce.reproduce(first, [])
    table = reproduce.compare_runs(first, second, rtol=0.0)
    assert set(table["verdict"]) == {"equal"}
    assert (table["largest_record_difference"] == 0).all()
    weights = [torch.load(f / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for f in (first, second)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_another_seed_gives_other_weights_but_the_same_test_noise(run: Callable[..., Path]) -> None:
    """The run's seed decides training alone."""
    folders = run("seed=0"), run("seed=1")
    noise = [pd.read_parquet(f / "predictions" / "noise.parquet") for f in folders]
    pd.testing.assert_frame_equal(*noise)
    scores = [pd.read_parquet(f / "scores.parquet").query("system == 'msecg'")["mse"].to_numpy() for f in folders]
    assert not np.allclose(*scores)


def test_reproduce_refuses_other_data(run: Callable[..., Path]) -> None:
    """A changed data hash is named together with the wanted one, and nothing is run."""
    first = run()
    result = json.loads((first / "result.json").read_text())
    wanted, result["data_hash"] = result["data_hash"], "0" * 64
    (first / "result.json").write_text(json.dumps(result))
    with pytest.raises(ConfigError, match=f"0{{64}}.*{wanted}"):
        reproduce.reproduce(first, [])
    assert len(list(first.parent.iterdir())) == 1


def test_reproduce_refuses_to_change_the_experiment(run: Callable[..., Path]) -> None:
    """Only places may differ on another machine."""
    with pytest.raises(ConfigError, match=r"'seed=1' cannot be changed.*dataset\.root"):
        reproduce.reproduce(run("model=interp", "model.method=linear"), ["seed=1"])


def test_reproduce_sees_a_difference(run: Callable[..., Path]) -> None:
    """A score that moved by one part in a thousand is different at 1e-4 and within tolerance at 1e-2."""
    first = run("model=interp", "model.method=linear")
    second = reproduce.reproduce(first, [])
    scores = pd.read_parquet(second / "scores.parquet")
    scores["mse"] *= 1.001
    scores.to_parquet(second / "scores.parquet")
    strict = reproduce.compare_runs(first, second, rtol=1e-4).set_index("metric")["verdict"]
    loose = reproduce.compare_runs(first, second, rtol=1e-2).set_index("metric")["verdict"]
    assert set(strict["mse"]) == {"different"}
    assert set(loose["mse"]) == {"within tolerance"}
    assert set(strict["mae"]) == {"equal"}


def test_a_store_is_shared_by_runs(tiny: Callable[..., list[str]]) -> None:
    """Two configurations with the same recordings and window open the same folder."""
    assert load_data(compose(tiny("seed=0"))).store.path == load_data(compose(tiny("seed=1"))).store.path


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("batch_size=0", "batch_size is 0; it must be at least 1"),
        ("trainer.max_epochs=0", "trainer.max_epochs is 0"),
        ("trainer.check_val_every_n_epoch=5", "no validation would happen in 2 epochs"),
        ("trainer.limit_val_batches=0", "no checkpoint could be chosen"),
        ("task.baselines.interp_cubic.method=akima", "'akima' is not known"),
        ("noise.train_snr_db=[10]", "give the lowest and the highest"),
        ("noise.clean_fraction=1.5", "it is a part, from 0 to 1"),
        ("+task.baselines.msecg={_target_: ecgbench.models.interp.Interp, upscale: 10}", "the model's own name"),
        ("model.scan_backend=cuda", "scan_backend=cuda"),
    ],
)
def test_what_would_fail_late_is_refused_early(tiny: Callable[..., list[str]], override: str, sentence: str) -> None:
    """Before any recording is opened."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        check(compose(tiny(override)))


def test_lengths_that_floats_cannot_hold_exactly_are_accepted(tiny: Callable[..., list[str]]) -> None:
    """2.01 s at 500 Hz is 1005 samples, although 2.01 * 500 is not 1005 in binary."""
    check(compose(tiny("task.window_s=2.01", "task.crop_s=null", "task.upscale=5")))


def test_double_precision_runs_to_its_report(run: Callable[..., Path]) -> None:
    """The scores are those of a model that was trained in float64."""
    assert (run("trainer.precision=64-true", "trainer.max_epochs=1") / "report.html").is_file()


def test_the_antialiased_protocol_has_a_name_and_a_hash_of_its_own(run: Callable[..., Path]) -> None:
    """Its runs never share a table with official ones; nor do runs with another filter order."""
    results = [
        json.loads((run("model=interp", *more) / "result.json").read_text())
        for more in ((), ("task.protocol=antialiased",), ("task.bandpass_order=3",))
    ]
    assert len({r["test_hash"] for r in results}) == 3
    assert results[0]["protocol"] != results[1]["protocol"]
    assert len({r["data_hash"] for r in results}) == 1


def test_a_label_names_whatever_was_changed(tiny: Callable[..., list[str]]) -> None:
    """Learning rate and epochs are in the label, places and seeds are not."""
    named = label(compose(["optimizer.lr=0.01", "model.n_layer=2", "seed=3", "output_dir=x", "logger=csv"]))
    assert named == "msecg (optimizer.lr=0.01, n_layer=2)"
