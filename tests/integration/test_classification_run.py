"""A whole classification run: its numbers recomputed from its own files, on simulated and on real recordings."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgbench import experiment, reproduce
from ecgbench.config import ConfigError, compose
from ecgbench.data.record import LEADS

TINY = (
    "task=classification",
    "preprocessing=compact",
    "batch_size=8",
    "trainer.max_epochs=1",
    "logger=csv",
    "jobs=1",
)
SMALL_MAMBA = ("model.d_model=16", "model.n_layer=1")
SMALL_ISIBRNO = ("model=isibrno", "model.width=16", "model.n_blocks=2", "model.n_head=2")
RICH = (
    "dataset.n_records=44",
    "trainer.max_epochs=2",
    "noise=gaussian",
    "noise.test_snr_db=[10]",
    "preprocessing.train_leads=[12,2]",
    "preprocessing.test_leads=[12,2]",
)
"""Random leads in training, noise and two leads at the test."""
KEYS = ["system", "condition", "record_id"]


@pytest.fixture(scope="module")
def places(store_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Where the runs of this file go."""
    return (f"store_dir={store_dir}", f"output_dir={tmp_path_factory.mktemp('outputs')}")


@pytest.fixture(scope="module")
def classify(places: tuple[str, ...]) -> Callable[..., Path]:
    """A tiny classification run in this process; returns its folder."""

    def call(*more: str) -> Path:
        model = () if any(o.startswith("model=") for o in more) else SMALL_MAMBA
        return experiment.run(compose([*TINY, *model, *more, *places]))

    return call


@pytest.fixture(scope="module")
def rich(classify: Callable[..., Path]) -> Path:
    """One finished run that many tests look at."""
    return classify(*RICH)


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def tables_of(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Validation and test predictions."""
    return pd.read_parquet(folder / "predictions" / "validation.parquet"), pd.read_parquet(folder / "scores.parquet")


def part(table: pd.DataFrame, name: str, classes: list[str]) -> np.ndarray:
    """The columns `name/<class>`, (record, class)."""
    return table[[f"{name}/{c}" for c in classes]].to_numpy(dtype=float)


def macro_by_hand(table: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """Scikit-learn's areas of the classes that have any, averaged."""
    y, score = part(table, "label", classes), part(table, "score", classes)
    mixed = [k for k in range(len(classes)) if 0 < y[:, k].sum() < len(y)]
    present = [k for k in range(len(classes)) if y[:, k].sum()]
    return {
        "auroc_macro": float(np.mean([roc_auc_score(y[:, k], score[:, k]) for k in mixed])),
        "auprc_macro": float(np.mean([average_precision_score(y[:, k], score[:, k]) for k in present])),
    }


def assert_scores_are_their_records(folder: Path) -> None:
    """result.json's macro areas are those of scores.parquet, for every system and condition."""
    result, (_, test) = result_of(folder), tables_of(folder)
    for system, condition in dict.fromkeys(zip(test["system"], test["condition"], strict=True)):
        own = test[(test["system"] == system) & (test["condition"] == condition)]
        rows = [r for r in result["scores"] if (r["system"], r["condition"]) == (system, condition)]
        found = {r["metric"]: r["mean"] for r in rows}
        expected = macro_by_hand(own, result["label_names"])
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
        assert all(r["n_nonfinite"] == 0 for r in rows)


def test_scores_are_scikit_learn_s_of_the_stored_predictions(rich: Path) -> None:
    """Macro AUROC and average precision of each system and condition, also by class."""
    assert_scores_are_their_records(rich)
    result, (_, test) = result_of(rich), tables_of(rich)
    assert not test.duplicated(KEYS).any()
    sizes = test.groupby(["system", "condition"]).size()
    assert (sizes == result["records"]["test"]).all()
    clean = test[(test["system"] == "majority") & (test["condition"] == "clean")]
    for row in result["classes"]:
        if (row["system"], row["condition"]) == ("majority", "clean"):
            label = clean[f"label/{row['class']}"].to_numpy()
            assert row["n_test"] == label.sum()
            assert row["auroc"] == (0.5 if label.any() and not label.all() else None)  # one score for all records


def test_decisions_are_those_of_thresholds_from_validation(rich: Path) -> None:
    """No other threshold has a larger F1 on validation; it decides every test record, and the global one likewise."""
    result, (validation, test) = result_of(rich), tables_of(rich)
    thresholds = {(r["system"], r["class"]): r["threshold"] for r in result["classes"]}
    for system, own in validation.groupby("system"):
        scored = test[test["system"] == system]
        for name in result["label_names"]:
            label, score = own[f"label/{name}"].to_numpy(), own[f"score/{name}"].to_numpy(float)
            chosen = thresholds[system, name]
            if label.any():
                candidates = [f1_score(label, score >= t) for t in {*score, 2.0}]
                assert f1_score(label, score >= chosen) == pytest.approx(max(candidates))
            else:
                assert chosen == 0.5
            assert (scored[f"decision/{name}"] == (scored[f"score/{name}"].astype(float) >= chosen)).all()
            one = result["global_threshold"][system]
            assert (scored[f"decision_global/{name}"] == (scored[f"score/{name}"].astype(float) >= one)).all()


def test_splits_share_no_patient_and_hold_the_manifest_s_labels(rich: Path) -> None:
    """Validation and test rows are the simulated patients of their folds, with the diagnoses they were made with."""
    manifest = experiment.load_data(compose([*TINY, *RICH, "store_dir=" + str(rich)])).source.manifest()
    of_record = manifest.set_index("record_id")
    for split, table in zip(("val", "test"), tables_of(rich), strict=True):
        assert set(table["record_id"]) == set(manifest["record_id"][manifest["split"] == split])
        names = result_of(rich)["label_names"]
        found = [names[i] for i in part(table, "label", names).argmax(1)]
        assert found == of_record["label"][table["record_id"]].tolist()
    assert set(tables_of(rich)[1]["patient_id"]).isdisjoint(manifest["patient_id"][manifest["split"] == "train"])


def test_noise_and_lead_subsets_are_conditions(rich: Path) -> None:
    """Clean first, then noise, then two leads; the trivial row scores alike in all, the model does not."""
    result, (validation, test) = result_of(rich), tables_of(rich)
    assert [c["name"] for c in result["conditions"]] == ["clean", "gaussian@10dB", "2 leads"]
    assert result["conditions"][2]["leads"] == ["I", "II"]
    assert set(validation["condition"]) == {"clean"}
    scores = [c for c in test.columns if c.startswith("score/")]
    for system, alike in (("majority", True), ("ecg_mamba_1d_small", False)):
        one, two, three = (
            test[(test["system"] == system) & (test["condition"] == c)][scores].to_numpy()
            for c in ("clean", "gaussian@10dB", "2 leads")
        )
        assert np.array_equal(one, two) is alike
        assert np.array_equal(one, three) is alike


def test_the_report_has_its_sections(rich: Path) -> None:
    """Curves, classes, reliability, co-occurrence, confusion and the worst records, on one self-contained page."""
    page = (rich / "report.html").read_text()
    for words in ("Precision", "ROC", "Reliability", "occur", "confusion", "Threshold", "worst 1", "simulated"):
        assert words.lower() in page.lower(), words
    assert "<script src" not in page
    assert (rich / "report.md").is_file()
    worst = np.load(rich / "examples.npz")
    assert (np.diff(worst["error"]) <= 0).all()
    _, test = tables_of(rich)
    own = test[(test["system"] == "ecg_mamba_1d_small") & (test["condition"] == "clean")]
    classes = result_of(rich)["label_names"]
    y, p = part(own, "label", classes), part(own, "score", classes)
    error = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(1)
    assert worst["record_id"][0] == own["record_id"].to_numpy()[error.argmax()]
    assert worst["error"][0] == pytest.approx(error.max(), rel=1e-4)


def test_a_rerun_is_equal(rich: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`reproduce` finds every probability and every decision of every record the same to the last bit."""
    assert reproduce.main([str(rich)]) == 0
    printed = capsys.readouterr().out
    assert "0 within tolerance, 0 different" in printed.replace("\n", " ")


def test_two_processes_score_as_one(rich: Path, classify: Callable[..., Path]) -> None:
    """Training, validation and prediction shared by two processes: every probability within 1e-4 of one process's."""
    one, two = (
        pd.read_parquet(folder / "scores.parquet").set_index(KEYS).sort_index()
        for folder in (rich, classify(*RICH, "trainer=ddp_cpu"))
    )
    assert one.index.equals(two.index)
    names = [c for c in one.columns if c.startswith(("score/", "label/"))]
    np.testing.assert_allclose(two[names].astype(float), one[names].astype(float), atol=1e-4)


def test_a_challenge_run_reports_both_heads(classify: Callable[..., Path], shared_data: Path) -> None:
    """ISIBrno's mixture loss on the real cut: two systems, Challenge score, thresholds for it, scores by source."""
    folder = classify(
        *SMALL_ISIBRNO, "loss=challenge_mixture", "dataset=cinc2021", f"dataset.root={shared_data / 'cinc2021'}",
        "task.thresholds=challenge_2021",
    )  # fmt: skip
    result, (_, test) = result_of(folder), tables_of(folder)
    assert [(s["name"], s["role"]) for s in result["systems"]] == [
        ("isibrno", "model"),
        ("isibrno (logits)", "model"),
        ("majority", "baseline"),
    ]
    assert_scores_are_their_records(folder)
    heads = [test[test["system"] == s].filter(like="score/").to_numpy() for s in ("isibrno", "isibrno (logits)")]
    assert not np.allclose(*heads)
    challenge = {r["system"]: r["mean"] for r in result["scores"] if r["metric"] == "challenge_2021"}
    assert len(challenge) == 3
    assert all(np.isfinite(value) for value in challenge.values())
    sources = {r["source"]: r["n_records"] for r in result["sources"]}
    assert sources == test[test["system"] == "majority"].groupby("source").size().to_dict()
    assert any("SNOMED CT codes outside the label set" in note for note in result["notes"])


def test_a_class_that_training_lacks_is_named_and_hurts_nothing(
    classify: Callable[..., Path], shared_data: Path
) -> None:
    """PTB-XL's rhythms on the real cut with balanced weights: some are in no training record, all is finite."""
    folder = classify(
        "dataset=ptbxl", f"dataset.root={shared_data / 'ptb-xl'}", "dataset.fs_hz=100", "dataset.flat_leads=keep",
        "dataset.labels=ptbxl_rhythm", "loss.pos_weight=balanced", "batch_size=32",
    )  # fmt: skip
    result, (_, test) = result_of(folder), tables_of(folder)
    absent = {r["class"] for r in result["classes"] if r["n_train"] == 0}
    assert absent
    note = next(note for note in result["notes"] if "No training record has" in note)
    assert all(re.search(rf"\b{re.escape(name)}\b", note) for name in absent)
    assert np.isfinite(test.filter(like="score/").to_numpy()).all()
    assert_scores_are_their_records(folder)
    curve = pd.read_csv(folder / "metrics.csv")["train/loss"].dropna()
    assert len(curve)
    assert np.isfinite(curve).all()


def write_challenge(root: Path, dx: Callable[[int], str | None]) -> Path:
    """Forty 2-s challenge records of white noise; `dx` gives each one's codes, None leaves the line out."""
    folder, rng = root / "training" / "georgia" / "g1", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(40):
        values = rng.integers(-500, 500, (12, 1000)).astype(np.int16)
        savemat(folder / f"E{i}.mat", {"val": values}, format="4")
        checks = [int(trace.sum(dtype=np.int64).astype(np.int16)) for trace in values]
        leads = [
            f"E{i}.mat 16+24 1000/mV 16 0 {trace[0]} {check} 0 {lead}"
            for trace, check, lead in zip(values, checks, LEADS, strict=True)
        ]
        codes = dx(i)
        facts = [f"#Age: {20 + i}", "#Sex: Male", *([] if codes is None else [f"#Dx: {codes}"])]
        (folder / f"E{i}.hea").write_text("\n".join([f"E{i} 12 500 1000", *leads, *facts]) + "\n")
    return root


SINUS, FIBRILLATION = "426783006", "164889003"


def load_challenge(root: Path, *more: str) -> Any:
    """The data of a challenge run over made records."""
    own = ("task=classification", "dataset=cinc2021", f"dataset.root={root}", "preprocessing=raw_100hz", "jobs=1")
    return experiment.load_data(compose([*own, f"store_dir={root / 'stores'}", *more]))


def test_unknown_codes_are_counted_and_listed(tmp_path: Path) -> None:
    """One foreign code 40 times and another 20 times, in every record: none is dropped in silence."""
    root = write_challenge(tmp_path, lambda i: f"{SINUS if i % 2 else FIBRILLATION},111{',222' if i % 2 else ''}")
    data = load_challenge(root)
    note = next(n for n in experiment.notes(compose_like(root), data, is_trained=True) if "outside the label set" in n)
    assert "2 SNOMED CT codes" in note
    assert "60 times in 40 of 40 records" in note
    assert "111 40, 222 20" in note


def compose_like(root: Path) -> Any:
    """The configuration of `load_challenge`."""
    return compose(["task=classification", "dataset=cinc2021", f"dataset.root={root}", "preprocessing=raw_100hz"])


def test_a_header_without_dx_line_is_refused_by_name_or_listed(tmp_path: Path) -> None:
    """By default the run stops with the record's name; told to skip, it leaves it out and says why."""
    root = write_challenge(tmp_path, lambda i: None if i == 7 else SINUS if i % 2 else FIBRILLATION)
    with pytest.raises(ValueError, match=r"1 of 40 records cannot be used \(E7: its header has no Dx line"):
        load_challenge(root)
    data = load_challenge(root, "dataset.on_bad_record=skip")
    assert [bad["record_id"] for bad in data.store.skipped] == ["E7"]
    assert "E7" not in set(data.store.index["record_id"])


def test_records_without_any_class_of_the_set_are_refused(tmp_path: Path) -> None:
    """The message counts the codes that are there."""
    root = write_challenge(tmp_path, lambda i: "111,222")
    with pytest.raises(ValueError, match=r"none of 40 records has a code of the label set .*111 40, 222 40.*choose"):
        load_challenge(root)


def test_a_source_without_records_is_refused(tmp_path: Path) -> None:
    """It is named, together with those that have some."""
    root = write_challenge(tmp_path, lambda i: SINUS)
    with pytest.raises(ValueError, match=r"dataset\.sources names ptb, which has no record .*those there: georgia"):
        load_challenge(root, "dataset.sources=[georgia,ptb]")
    with pytest.raises(ValueError, match=r"dataset\.train_sources names ningbo"):
        load_challenge(root, "dataset.train_sources=[ningbo]")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["dataset=cinc2021", "dataset.labels=ptbxl_form"], r"labels is 'ptbxl_form'; allowed is one of 'cinc2021'"),
        (["dataset=mitdb"], r"task=classification does not fit dataset=mitdb"),
        (
            ["dataset=cinc2021", "dataset.labels=cinc2020", "task.thresholds=challenge_2021"],
            r"set cinc2021 and dataset",
        ),
        (["model=isibrno", "loss=challenge_mixture"], r"loss\.weights=challenge_2021 is for the label set cinc2021"),
        (["model=interp", "model.upscale=10"], r"model=interp does not do task=classification"),
        (["preprocessing.test_leads=[6]"], r"start it with 12"),
    ],
)
def test_what_the_data_cannot_give_is_refused_early(overrides: list[str], sentence: str) -> None:
    """Before any recording is opened."""
    with pytest.raises(ConfigError, match=sentence):
        experiment.check(compose(["task=classification", *overrides]))


def test_a_loss_for_one_head_refuses_two(classify: Callable[..., Path]) -> None:
    """And says which one takes them."""
    with pytest.raises(ValueError, match=r"2 head\(s\), which loss=bce does not take; use loss=challenge_mixture"):
        classify(*SMALL_ISIBRNO, "dataset.n_records=44")


def test_training_that_breaks_down_says_so(classify: Callable[..., Path]) -> None:
    """An absurd learning rate ends in one sentence, not in scores of a broken model."""
    with pytest.raises(FloatingPointError, match=r"no epoch had a finite val/auprc_macro; lower optimizer\.lr"):
        classify(
            "model=s4", "model.d_model=8", "model.d_state=4", "model.n_layer=1", "dataset.n_records=44",
            "optimizer.lr=1e30", "scheduler=none", "trainer.gradient_clip_val=null",
        )  # fmt: skip


def test_the_command_line_says_what_is_wrong_in_one_line(cli: Callable, tmp_path: Path) -> None:
    """No traceback, exit code 1, the record's name and what to do."""
    root = write_challenge(tmp_path / "cinc", lambda i: None if i == 7 else SINUS)
    done = cli("task=classification", "dataset=cinc2021", f"dataset.root={root}", "preprocessing=raw_100hz", "jobs=1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 40 records cannot be used (E7: its header has no Dx line")
    assert "dataset.on_bad_record=skip" in last
