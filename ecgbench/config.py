"""Composition, checks and identity of a configuration. Imports no torch: `--help` must be quick."""

import difflib
import hashlib
import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from ecgbench import conf_schema
from ecgbench.data.label_sets import n_classes

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent
CONF_DIR = CHECKOUT / "conf" if (CHECKOUT / "conf" / "config.yaml").is_file() else PACKAGE / "_conf"
TARGET_PREFIXES = ("ecgbench.", "torch.optim.", "pytorch_lightning.")
PLACE_KEYS = ("dataset.root", "noise.root", "output_dir", "store_dir", "jobs")
"""Keys that say where things are on a machine, not what is computed."""
SUPPLIED = {"params", "optimizer", "total_steps", "model", "make_optimizer", "make_schedule"}
"""Constructor arguments that the program passes, never the config."""


class ConfigError(ValueError):
    """A configuration that cannot run; the message says what was given, what is allowed and what to do."""


def register() -> None:
    """Register the schemas, the resolvers and the folder of recipes. Safe to call twice."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class Recipes(SearchPathPlugin):
        """Makes the checkout's `experiments/` folder a config group, also for glob() and tab completion."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            if CONF_DIR.parent == CHECKOUT:
                search_path.append("ecgbench-recipes", f"file://{CHECKOUT}")

    conf_schema.register()
    OmegaConf.register_new_resolver("len", lambda items: len(items), replace=True)
    OmegaConf.register_new_resolver("n_classes", n_classes, replace=True)
    Plugins.instance().register(Recipes)


def groups() -> dict[str, list[str]]:
    """The choices of every config group, recipes included."""
    folders = sorted(p for p in CONF_DIR.iterdir() if p.is_dir() and p.name != "hydra")
    recipes = CHECKOUT / "experiments"
    if CONF_DIR.parent == CHECKOUT and recipes.is_dir():
        folders.append(recipes)
    return {folder.name: sorted(f.stem for f in folder.glob("*.yaml")) for folder in folders}


def compose(overrides: list[str]) -> DictConfig:
    """The resolved configuration of a command line's overrides, composed outside of a running Hydra application."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = hydra_compose("config", overrides, return_hydra_config=True)
        return from_hydra(config, config.hydra)


def from_hydra(config: DictConfig, job: DictConfig) -> DictConfig:
    """The resolved run configuration, from the composed one and Hydra's own node."""
    choices = {str(k): v for k, v in job.runtime.choices.items() if v is not None and k != "hydra" and "/" not in k}
    own = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
    try:
        return resolved(own, choices, list(job.overrides.task))
    except InterpolationKeyError as error:
        raise ConfigError(_misfit(str(error.full_key), str(error), choices)) from error


def _misfit(full_key: str, message: str, choices: dict[str, str]) -> str:
    """One sentence on a key that takes its value from a group where it is not."""
    match = re.search(r"Interpolation key '([^']+)' not found", message)
    asked = match.group(1) if match else "another key"
    names = [part.partition(".")[0] for part in (full_key, asked)]
    first, second = (f"{name}={choices[name]}" if name in choices else name for name in names)
    return f"{first} does not fit {second}: {full_key} is taken from {asked}, which is not there; choose others"


def load(run_yaml: Path) -> DictConfig:
    """The resolved configuration of a finished run."""
    if not run_yaml.is_file():
        raise ConfigError(f"no run.yaml in {run_yaml.parent}; give the folder of a run, as its last line printed it")
    config = OmegaConf.load(run_yaml)
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{run_yaml} holds a list; a run.yaml is a mapping of the run's groups")
    return config


def resolved(config: DictConfig, choices: dict[str, str], overrides: list[str]) -> DictConfig:
    """The configuration with every interpolation replaced, and the names and overrides it was composed from."""
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True, throw_on_missing=True)
    return OmegaConf.create({"choices": choices, "overrides": overrides, **typing.cast(dict, plain)})


def config_hash(config: DictConfig) -> str:
    """Eight hexadecimal digits that two runs share exactly when they compute the same thing."""
    identity = OmegaConf.create(OmegaConf.to_container(config))
    for key in (*PLACE_KEYS, "logger", "overrides", "choices.logger", "num_workers"):
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(identity, parent) if parent else identity
        if isinstance(node, DictConfig) and name in node:
            del node[name]
    text = json.dumps(OmegaConf.to_container(identity), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def targets(config: DictConfig | ListConfig, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every node with a `_target_`, with its path."""
    if isinstance(config, DictConfig) and "_target_" in config:
        yield path, config
    keys = config.keys() if isinstance(config, DictConfig) else range(len(config))
    for key in keys:
        child = config[key]
        if isinstance(child, DictConfig | ListConfig):
            yield from targets(child, f"{path}.{key}" if path else str(key))


def locate(target: str, path: str) -> Callable[..., Any]:
    """The class or function behind a `_target_`, if its prefix is allowed."""
    if not target.startswith(TARGET_PREFIXES):
        raise ConfigError(f"{path}._target_ is {target!r}; allowed are {', '.join(p + '*' for p in TARGET_PREFIXES)}")
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}._target_ is {target!r}, but {error}; check the module's name") from error
    if not hasattr(module, name):
        raise ConfigError(
            f"{path}._target_ is {target!r}, but {module_name} has no {name!r}{suggest(name, dir(module))}"
        )
    return getattr(module, name)


def check_targets(config: DictConfig) -> None:
    """Hold every `_target_` node against its constructor: names and plain types of all keys."""
    for path, node in targets(config):
        target = locate(node["_target_"], path)
        parameters = inspect.signature(target).parameters
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        hints = _type_hints(target)
        for key in node:
            name = str(key)
            if name.startswith("_"):
                continue
            if name not in parameters and not open_ended:
                raise ConfigError(f"unknown key {path}.{name}{suggest(name, parameters)}")
            _check_type(f"{path}.{name}", node[name], hints.get(name))
        for name, parameter in parameters.items():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.default is parameter.empty and name not in node and name not in SUPPLIED:
                raise ConfigError(f"{path} lacks the key {name!r}; add {path}.{name}=...")


def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations of a constructor; empty for foreign code whose annotations do not resolve."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _check_type(path: str, value: Any, hint: Any) -> None:
    """Refuse a plain value that its parameter's annotation does not admit."""
    from beartype.door import is_bearable

    if hint is None or isinstance(value, DictConfig):
        return
    plain = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
    if not any(is_bearable(reading, hint) for reading in _readings(plain)):
        raise ConfigError(f"{path} is {plain!r}; allowed is {_describe(hint)}")


def _readings(plain: Any) -> list[Any]:
    """What a YAML value may stand for: a list for a tuple, an integer for a float, a string for a path."""
    if isinstance(plain, list):
        floats = [float(v) if type(v) is int else v for v in plain]
        return [plain, tuple(plain), floats, tuple(floats)]
    if isinstance(plain, str):
        return [plain, Path(plain)]
    return [plain, float(plain)] if type(plain) is int else [plain]


def _describe(hint: Any) -> str:
    """An annotation in words a user knows."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(v) for v in typing.get_args(hint))
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "").replace("collections.abc.", "")


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest known name, or the list of names when none is near."""
    names = [k for k in known if not k.startswith("_") and k != "self"]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; allowed are {', '.join(sorted(names))}"


def leaf_keys(config: DictConfig, path: str = "") -> list[str]:
    """Every key of a configuration as a dotted path."""
    keys = []
    for name in config:
        full = f"{path}.{name}" if path else str(name)
        keys.append(full)
        child = None if OmegaConf.is_missing(config, name) else config._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            keys += leaf_keys(child, full)
    return keys


def explain(error: Exception, known_keys: Callable[[], list[str]]) -> str:
    """One sentence for an error that Hydra or OmegaConf raised while composing."""
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        return f"unknown key {key!r}{_nearest_key(key, known_keys())}"
    if match := re.search(r"(?:Could not find|In '[^']+': Could not find) '([^'/]+)/([^']+)'", text):
        group, choice = match.groups()
        options = [line.strip() for line in text.split("Available options in", 1)[-1].splitlines()[1:] if line.strip()]
        return f"{group}={choice} does not exist{suggest(choice, [o for o in options if ' ' not in o])}"
    if match := re.match(r"Error merging override (\S+)", text):
        cause = str(error.__cause__).splitlines()[0]
        return f"{match.group(1)}: {cause[0].lower()}{cause[1:]}"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("object_type")]
    return " ".join(lines)


def _nearest_key(key: str, known: list[str]) -> str:
    """The known path nearest to a mistyped one, compared by its full path, then by its last part."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:
        last = key.rpartition(".")[2]
        ends = {k.rpartition(".")[2]: k for k in known}
        near = [ends[m] for m in difflib.get_close_matches(last, ends, n=1, cutoff=0.6)]
    return f"; did you mean {near[0]!r}?" if near else "; python -m ecgbench --cfg job lists every key"
