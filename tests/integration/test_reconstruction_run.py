"""A reconstruction from the command line's overrides to a scored folder, and its weights on other recordings."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate

from ecgbench import evaluate, experiment
from ecgbench.config import ConfigError, compose
from ecgbench.data.record import LEADS

SMALL = ("model.width=6", "model.widths=[8,10,12]", "model.taps=5")
Run = Callable[..., Path]


@pytest.fixture
def rebuild(store_dir: Path, tmp_path: Path) -> Run:
    """A tiny run in this process; returns its folder."""
    base = ["task=reconstruction", "dataset.n_records=24", "dataset.duration_s=4", "batch_size=4", "jobs=1"]
    more = ["trainer.max_epochs=1", "logger=csv", f"store_dir={store_dir}", f"output_dir={tmp_path / 'outputs'}"]
    return lambda *own: experiment.run(compose([*base, *more, *own]))


def read(run_dir: Path) -> dict:
    return json.loads((run_dir / "result.json").read_text())


def test_a_run_ends_with_scores_cells_and_a_page(rebuild: Run) -> None:
    """Every record under every input, 144 cells for each system, and the mean over inputs recomputed by hand."""
    run_dir = rebuild("model=mamba_unet", *SMALL)
    result, scores = read(run_dir), pd.read_parquet(run_dir / "scores.parquet")
    n_test = result["records"]["test"]
    assert len(scores) == 2 * 13 * n_test
    assert len(result["cells"]) == 2 * 144
    own = scores[scores["system"] == "mamba_unet"]
    singles = own[own["condition"].isin(LEADS)].groupby("record_id")["mse_hidden"].mean()
    any_lead = own[own["condition"] == "any lead"].set_index("record_id")["mse_hidden"]
    np.testing.assert_allclose(any_lead, singles.loc[any_lead.index], rtol=1e-12)
    found = next(s for s in result["scores"] if s["metric"] == "mse_hidden" and s["condition"] == "any lead")
    assert found["mean"] == pytest.approx(any_lead.mean(), rel=1e-12)
    assert "From each lead to each lead" in (run_dir / "report.html").read_text()


def test_zero_predicts_nothing_and_scores_the_signal_s_energy(rebuild: Run) -> None:
    """MSE of the hidden leads is their mean square, correlation is 0: computed from the recordings themselves."""
    run_dir = rebuild("model=zero", "task.test_inputs=[I]", "task.features=false", "~task.baselines.lead_fir")
    scores = pd.read_parquet(run_dir / "scores.parquet").set_index("record_id")
    data = experiment.load_data(compose(["task=reconstruction", *_same(run_dir)]))
    for record_id, row in scores.iterrows():
        windows = data.examples.windows(int(np.flatnonzero(data.store.index["record_id"] == record_id)[0]))[0]
        assert row["mse_hidden"] == pytest.approx(float(np.square(windows[:, 1:].astype(float)).mean()), rel=1e-6)
        assert row["pcc_hidden"] == 0


def _same(run_dir: Path) -> list[str]:
    overrides = json.loads(json.dumps(list(experiment.OmegaConf.load(run_dir / "run.yaml").overrides)))
    return [o for o in overrides if not o.startswith("task=reconstruction")]


def test_adversaries_train_and_score(rebuild: Run) -> None:
    """A GAN takes alternating steps; gradient clipping, which Lightning refuses there, is refused with the way on."""
    more = ("model=cgan", "model.base=4", "task.test_inputs=[I]", "task.features=false")
    run_dir = rebuild(*more, "trainer.gradient_clip_val=null")
    curve = pd.read_csv(run_dir / "metrics.csv")
    with experiment.torch.device("meta"):
        generator = experiment.instantiate(experiment.OmegaConf.load(run_dir / "run.yaml").model).generator
    assert read(run_dir)["n_parameters"] == sum(p.numel() for p in generator.parameters())
    assert {"train/generator_loss", "train/discriminator_loss"} <= set(curve)
    assert all(np.isfinite(s["mean"]) for s in read(run_dir)["scores"])
    with pytest.raises(ConfigError, match=r"set trainer\.gradient_clip_val=null"):
        rebuild(*more)


def test_copies_are_refused_where_zeros_mean_absent(rebuild: Run) -> None:
    """Closed-form baselines beside a copy-padded network still get zeros."""
    with pytest.raises(ConfigError, match=r"use task\.padding=zero"):
        rebuild("model=mamba_unet", "task.padding=copy")
    copies = ("task.padding=copy", "task.test_inputs=[I]", "task.features=false", "model=unet1d", "model.width=4")
    zeros = ("task.test_inputs=[I]", "task.features=false", "model=zero")
    fir = [
        pd.read_parquet(rebuild(*own) / "scores.parquet").query("system == 'lead_fir'")["mse_hidden"].to_numpy()
        for own in (copies, zeros)
    ]
    np.testing.assert_allclose(fir[0], fir[1], rtol=1e-12)


def test_weights_are_scored_on_other_recordings(rebuild: Run, tmp_path: Path, shared_data: Path) -> None:
    """A run's weights on CPSC 2018 give all its records; on its own recordings they give its own scores again."""
    run_dir = rebuild("model=mamba_unet", *SMALL, "task.test_inputs=[I,V2]", "task.features=false")
    out = f"output_dir={tmp_path / 'external'}"
    outside = evaluate.evaluate(run_dir, ["dataset=cpsc2018", f"dataset.root={shared_data / 'cpsc2018'}", out])
    result = read(outside)
    assert (result["dataset"], result["records"]["test"], result["records"]["train"]) == ("cpsc2018", 11, 0)
    assert any("run on dataset=simulated" in note for note in result["notes"])
    again = evaluate.evaluate(run_dir, [out])
    first, second = (pd.read_parquet(folder / "scores.parquet") for folder in (run_dir, again))
    pd.testing.assert_frame_equal(first, second)


def test_other_windows_rates_and_inputs_are_tested_with_the_same_weights(rebuild: Run, tmp_path: Path) -> None:
    """Twice the window, half the rate unknown to the model, two leads at once: each its own test, none a training."""
    run_dir = rebuild("model=mamba_unet", *SMALL, "task.test_inputs=[I]", "task.features=false")
    out = f"output_dir={tmp_path / 'tested'}"
    hashes = {read(run_dir)["test_hash"]}
    for change in ("task.n_samples=512", "task.store.fs_hz=250"):
        result = read(evaluate.evaluate(run_dir, [change, out]))
        assert all(np.isfinite(s["mean"]) for s in result["scores"])
        hashes.add(result["test_hash"])
    assert len(hashes) == 3
    both = read(evaluate.evaluate(run_dir, ["task.test_inputs=[I+II]", out]))
    assert [c["name"] for c in both["conditions"]] == ["I+II"]


def test_adversaries_follow_the_schedule(rebuild: Run) -> None:
    """With the rate at zero from the first epoch's end on, the second epoch changes no weight."""
    small = ("model=cgan", "model.base=4", "task.test_inputs=[I]", "task.features=false", "trainer.max_epochs=3")
    stop = ("scheduler=step", "scheduler.schedule.step_size=1", "scheduler.schedule.gamma=0.0")
    run_dir = rebuild(*small, *stop, "trainer.gradient_clip_val=null", "noise=none")
    last = experiment.torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    rates = [group["lr"] for state in last["optimizer_states"] for group in state["param_groups"]]
    assert rates == [0.0, 0.0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=mcma"], "cannot be changed in an evaluation"),
        (["task.padding=copy"], "cannot be changed in an evaluation"),
    ],
)
def test_an_evaluation_changes_recordings_alone(rebuild: Run, overrides: list[str], message: str) -> None:
    """Any other key would be another training."""
    run_dir = rebuild("model=zero", "task.test_inputs=[I]", "task.features=false")
    with pytest.raises(ConfigError, match=message):
        evaluate.evaluate(run_dir, overrides)


def test_patients_that_were_trained_on_are_not_tested(shared_data: Path) -> None:
    """Fold 1 is refused for a run that was trained on it, and taken for one that was not."""
    own = ["task=reconstruction", "model=zero", "dataset=ptbxl", f"dataset.root={shared_data / 'ptb-xl'}"]
    tested = compose([*own, "dataset.train_folds=[]", "dataset.val_folds=[]", "dataset.test_folds=[1]"])
    source = instantiate(tested.dataset, _convert_="all")
    data = SimpleNamespace(source=source, store=SimpleNamespace(index=source.manifest()))
    with pytest.raises(ConfigError, match="of the patients to be tested"):
        evaluate.refuse_seen(compose(own), tested, data)
    evaluate.refuse_seen(compose([*own, "dataset.train_folds=[2]"]), tested, data)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=mamba_unet", "task.loss_on=hidden"], r"on which task\.loss_on has no effect"),
        (["model=cgan", "task.loss_on=hidden"], r"on which task\.loss_on has no effect"),
        (["model=cgan", "trainer=ddp_cpu", "trainer.gradient_clip_val=null"], "ddp_find_unused_parameters_true"),
    ],
)
def test_settings_that_a_model_s_own_training_ignores_are_refused(overrides: list[str], message: str) -> None:
    """Before anything is trained, with the way on."""
    with pytest.raises(ConfigError, match=message):
        experiment.check(compose(["task=reconstruction", *overrides]))
