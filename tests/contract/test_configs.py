"""Every configuration file composes, fits its constructor, and explains its keys."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ecgbench.config import CONF_DIR, check_targets, compose, groups, locate, targets

CHOICES = [(g, c) for g, choices in groups().items() for c in choices if g not in ("experiments", "debug")]
CHANGED = [(g, c) for g, choices in groups().items() for c in choices if g in ("experiments", "debug")]


def fitting(group: str, choice: str) -> list[str]:
    """The choice, with a task that it is for."""
    if group in ("preprocessing", "loss"):
        return ["task=classification", f"{group}={choice}"]
    if group != "model":
        return [f"{group}={choice}"]
    target = OmegaConf.load(CONF_DIR / "model" / f"{choice}.yaml")
    while "_target_" not in target:
        target = OmegaConf.load(CONF_DIR / "model" / f"{target.defaults[0]}.yaml")
    return [f"task={locate(target._target_, choice).tasks[0]}", f"{group}={choice}"]


OWN_FILES = [p for p in sorted(CONF_DIR.glob("*/*.yaml")) if p.parent.name not in ("hydra", "debug", "callbacks")]


def is_explained(line: str) -> bool:
    """Whether a YAML line is a comment, has one, or only opens a mapping or a list of defaults."""
    text = line.strip()
    says = not text or "#" in text or "${" in text
    return says or text.endswith(":") or text.startswith(("- ", "_target_", "defaults"))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_fits_its_constructor(group: str, choice: str) -> None:
    """Names and types of all keys agree with the signatures behind every `_target_`."""
    config = compose(fitting(group, choice))
    assert config.choices[group] == choice
    check_targets(config)


@pytest.mark.parametrize(("group", "choice"), CHANGED)
def test_every_recipe_and_debug_choice_composes(group: str, choice: str) -> None:
    """Recipes and debug choices change keys that exist."""
    config = compose([f"{group}={choice}"])
    check_targets(config)
    assert config.choices[group] == choice


def test_every_target_is_an_importable_public_name() -> None:
    """What `_target_` names is there, and its module is the file the name says."""
    for group, choice in CHOICES:
        for path, node in targets(compose(fitting(group, choice))):
            assert callable(locate(node["_target_"], path))


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_key_says_what_it_is(path: Path) -> None:
    """Each key of a group file carries a comment: what, unit, allowed values."""
    assert [line for line in path.read_text().splitlines() if not is_explained(line)] == []


def test_the_order_of_precedence_is_group_task_recipe_debug_command_line() -> None:
    """A recipe overrides the task's choice of noise, debug the recipe's epochs, the command line everything."""
    assert compose([]).choices.noise == "gaussian"
    recipe = compose(["experiments=superres_ptbxl"])
    assert (recipe.choices.dataset, recipe.choices.noise, recipe.trainer.max_epochs) == ("ptbxl", "none", 80)
    debugged = compose(["experiments=superres_ptbxl", "debug=fdr"])
    assert debugged.trainer.max_epochs == 1
    assert compose(["experiments=superres_ptbxl", "debug=fdr", "trainer.max_epochs=7"]).trainer.max_epochs == 7
    assert compose(["experiments=superres_ptbxl", "dataset=mitdb"]).choices.dataset == "mitdb"


def test_optimizers_and_schedulers_are_torch_objects() -> None:
    """Every scheduler runs one step with every optimizer."""
    import torch

    from ecgbench.train.schedule import optimizer_maker, schedule_maker

    model = torch.nn.Linear(2, 2)
    for optimizer_name in groups()["optimizer"]:
        for scheduler_name in groups()["scheduler"]:
            rate = ["optimizer.lr=1"] if scheduler_name == "noam" else []  # Noam sets the absolute rate
            config = compose([f"optimizer={optimizer_name}", f"scheduler={scheduler_name}", *rate])
            optimizer = optimizer_maker(config.optimizer)(model)
            schedule = schedule_maker(config.scheduler, "val/loss")(optimizer, 100)
            assert isinstance(optimizer, torch.optim.Optimizer)
            assert (schedule is None) == (scheduler_name == "none")


def test_noise_nodes_build_without_opening_recordings() -> None:
    """A noise group is an object before its folder is looked at."""
    for name in groups()["noise"]:
        noise = instantiate(compose([f"noise={name}"]).noise, _convert_="all")
        assert noise.conditions()[0].name == "clean"


def test_run_yaml_holds_no_interpolation() -> None:
    """The stored configuration is plain values."""
    assert "${" not in OmegaConf.to_yaml(compose(["dataset=ptbxl", "noise=nstdb"]))
