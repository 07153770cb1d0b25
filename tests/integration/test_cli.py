"""What a user types and reads: help, errors in one sentence, sweeps that finish, W&B files that hold the scores."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

Cli = Callable[..., Any]
Overrides = Callable[..., list[str]]


def test_help_names_groups_and_verbs(cli: Cli) -> None:
    """--help lists every choice of the main groups."""
    text = cli("--help").stdout
    for word in ("msecg", "srecg", "dcae_sr", "interp", "ptbxl", "nstdb", "ddp_cpu", "reproduce", "doctor"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=mseg"], "model=mseg does not exist; did you mean 'msecg'?"),
        (["task.upscal=4"], "unknown key 'task.upscal'; did you mean 'task.upscale'?"),
        (["modle=srecg"], "unknown key 'modle'; did you mean 'model'?"),
        (["+model.widht=3"], "unknown key model.widht; did you mean 'width'?"),
        (["model.width=wide"], "model.width is 'wide'; allowed is int"),
        (["task.protocol=clean"], "invalid value 'clean', expected one of [official, antialiased]"),
        (["seed=abc"], "seed=abc: value 'abc' of type 'str' could not be converted to Integer"),
        (["task.upscale=3"], "task 'superres' needs fs_hz % upscale == 0, got fs_hz=500 and upscale=3"),
        (["task.crop_s=0.333"], "crop_s=0.333 s is 166.5 samples at 500 Hz, which task.upscale=10 does not divide"),
        (["model=interp", "model.method=spline"], "model.method='spline' is not known"),
        (["trainer=gpu"], "trainer.accelerator=gpu, but torch sees no GPU"),
        (["+callbacks.evil._target_=os.system"], "allowed are ecgbench.*"),
        (["scan_backend=cuda"], "scan_backend"),
    ],
)
def test_wrong_commands_are_refused_in_one_sentence(
    cli: Cli, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """Exit code 2, one line that starts with `error:`, and nothing was written."""
    done = cli(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_single_run_ends_with_its_table_and_folder(cli: Cli, tiny: Overrides) -> None:
    """The last line printed is the run's folder."""
    done = cli(*tiny("model=interp", "model.method=linear"))
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert (folder / "report.html").is_file()
    assert "SNR" in done.stdout


def test_a_sweep_survives_a_failing_job_and_reruns_only_what_is_missing(cli: Cli, tiny: Overrides) -> None:
    """One job cannot run: the others do, the exit code says so, and a second call runs nothing twice."""
    output = Path(next(o for o in tiny() if o.startswith("output_dir=")).removeprefix("output_dir="))
    sweep = ("-m", "model.method=linear,spline,cubic", *tiny("model=interp"))
    done = cli(*sweep)
    assert done.returncode == 1
    runs = sorted(output.glob("superres/simulated/interp/*"))
    assert len(runs) == 2
    (page,) = output.glob("sweeps/*/comparison.html")
    assert "spline" in page.read_text()
    again = cli(*sweep)
    assert again.stdout.count("already there") == 2
    assert sorted(output.glob("superres/simulated/interp/*")) == runs


def test_doctor_says_which_scan_runs_and_why(cli: Cli) -> None:
    """Versions, devices, backend with its reason, free disk."""
    text = cli(module="ecgbench.doctor").stdout
    for word in ("torch", "pytorch-lightning", "scan on cpu", "free disk", "GiB"):
        assert word in text


def wandb_records(folder: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Every record of a run's offline W&B file: LevelDB's log format after a header of seven bytes."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, block, at, parts = path.read_bytes(), 32768, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_the_offline_wandb_file_holds_scores_tables_and_pictures(run: Callable[..., Path]) -> None:
    """The summary's benchmark values equal result.json; curves, both tables and the drawings are there."""
    folder = run("logger=offline")
    records = list(wandb_records(folder))
    summary, history = {}, set()
    for record in records:
        for item in record.summary.update:
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        history |= {"/".join(item.nested_key) or item.key for item in record.history.item}
    result = json.loads((folder / "result.json").read_text())
    own = [r for r in result["scores"] if r["system"] == "msecg"]
    assert len(own) == 30
    for row in own:
        key = f"test/{row['condition']}/{row['metric']}"
        if row["mean"] is not None:
            assert summary[key] == pytest.approx(row["mean"], rel=1e-6)
    for logged in ("train/loss", "val/loss", "benchmark/scores", "benchmark/records", "figures/papers_0"):
        assert any(key.startswith(logged) for key in history), logged
    runs = [record.run for record in records if record.HasField("run")]
    assert {r.display_name for r in runs} == {"msecg/simulated/s0"}
    assert {r.job_type for r in runs} == {"superres"}
