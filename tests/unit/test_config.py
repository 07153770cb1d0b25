"""Checks, identity and messages of configurations."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ecgbench.config import ConfigError, check_targets, compose, config_hash, load, locate, suggest


def test_the_hash_ignores_places_and_loggers_but_no_number() -> None:
    """Paths, loggers, workers and their spelling on the command line leave the hash; a seed or a rate changes it."""
    base = config_hash(compose([]))
    for same in (["output_dir=/elsewhere"], ["store_dir=x"], ["logger=csv"], ["num_workers=2"], ["jobs=7"], ["seed=0"]):
        assert config_hash(compose(same)) == base
    for other in (["seed=1"], ["optimizer.lr=0.1"], ["task.protocol=antialiased"], ["model=srecg"], ["noise=none"]):
        assert config_hash(compose(other)) != base
    assert len(base) == 8


def test_the_hash_does_not_depend_on_where_recordings_lie() -> None:
    """The data hash tells recordings apart, not their folder."""
    first, second = (compose(["dataset=ptbxl", f"dataset.root={root}"]) for root in ("/a", "/b"))
    assert config_hash(first) == config_hash(second)


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "subprocess.run", "torch.load", "ecgbenchmark.x"])
def test_targets_outside_the_allow_list_are_refused_before_import(target: str) -> None:
    """A stranger's config cannot name arbitrary code."""
    with pytest.raises(ConfigError, match="allowed are ecgbench"):
        check_targets(DictConfig({"model": {"_target_": target}}))


def test_a_mistyped_target_names_the_nearest_one() -> None:
    """Module and name are told apart."""
    with pytest.raises(ConfigError, match="did you mean 'MSECG'"):
        locate("ecgbench.models.msecg.MSEGC", "model")
    with pytest.raises(ConfigError, match=r"No module named 'ecgbench\.models\.msegc'"):
        locate("ecgbench.models.msegc.MSECG", "model")


def test_missing_and_unknown_arguments_are_named() -> None:
    """Both directions of a signature mismatch."""
    with pytest.raises(ConfigError, match=r"unknown key model\.method2; did you mean 'method'"):
        check_targets(
            DictConfig({"model": {"_target_": "ecgbench.models.interp.Interp", "upscale": 2, "method2": "x"}})
        )
    with pytest.raises(ConfigError, match="model lacks the key 'upscale'"):
        check_targets(DictConfig({"model": {"_target_": "ecgbench.models.interp.Interp"}}))


def test_types_follow_annotations() -> None:
    """An int stands for a float, a list for a tuple, a string for a path; a word is no number."""
    check_targets(compose(["dataset.fs_hz=250", "noise.train_snr_db=[0, 1]"]))
    with pytest.raises(ConfigError, match=r"dataset\.n_records is 'many'; allowed is int"):
        check_targets(compose(["dataset.n_records=many"]))
    with pytest.raises(ConfigError, match=r"on_bad_record is 'ignore'; allowed is one of 'error', 'skip'"):
        check_targets(compose(["dataset.on_bad_record=ignore"]))


def test_suggestions_list_everything_when_nothing_is_near() -> None:
    """No guess is better than a wrong one."""
    assert suggest("zzz", ["alpha", "beta"]) == "; allowed are alpha, beta"


def test_a_folder_without_run_yaml_is_refused(tmp_path: Path) -> None:
    """The message says what to give."""
    with pytest.raises(ConfigError, match=r"no run\.yaml in .*give the folder of a run"):
        load(tmp_path / "run.yaml")


def test_a_stored_configuration_loads_as_it_was(tmp_path: Path) -> None:
    """Round trip through the file."""
    config = compose(["seed=5"])
    OmegaConf.save(config, tmp_path / "run.yaml")
    assert load(tmp_path / "run.yaml") == config
