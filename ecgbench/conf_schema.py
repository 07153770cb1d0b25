"""Types of the configuration keys that are the project's own.

Every node with a `_target_` has its constructor's signature as its schema (see `config.check_targets`); what is left
is typed here, so that a wrong type is refused when the config is composed.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class ScanBackend(StrEnum):
    """Implementations of the selective scan."""

    auto = "auto"
    cuda = "cuda"
    native = "native"
    torch = "torch"


class Interval(StrEnum):
    """When a learning-rate schedule moves on."""

    step = "step"
    epoch = "epoch"


class Protocol(StrEnum):
    """How the low-rate input of super-resolution is made; scores of two protocols never share a table."""

    official = "official"
    antialiased = "antialiased"


class WandbMode(StrEnum):
    """Where a W&B run is written."""

    offline = "offline"
    online = "online"


@dataclass
class SchedulerConf:
    """Group `scheduler`."""

    interval: Interval = Interval.epoch
    schedule: Any = None


@dataclass
class WandbConf:
    """Key `logger.wandb`."""

    mode: WandbMode = WandbMode.offline
    project: str = "ecgbench"
    entity: str | None = None
    group: str | None = None


@dataclass
class LoggerConf:
    """Group `logger`; a CSV of the training curves is always written."""

    wandb: WandbConf | None = None


@dataclass
class SuperresConf:
    """Group choice `task=superres`."""

    name: str = MISSING
    protocol: Protocol = Protocol.official
    upscale: int = MISSING
    window_s: float = MISSING
    crop_s: float | None = None
    augment: Any = None
    bandpass_hz: list[float] | None = None
    bandpass_order: int = 2
    module: Any = MISSING
    examples: Any = MISSING
    baselines: dict[str, Any] = field(default_factory=dict)


@dataclass
class Config:
    """A whole run."""

    dataset: Any = MISSING
    task: Any = MISSING
    model: Any = MISSING
    optimizer: Any = MISSING
    scheduler: SchedulerConf = field(default_factory=SchedulerConf)
    noise: Any = MISSING
    trainer: Any = MISSING
    logger: LoggerConf = field(default_factory=LoggerConf)
    callbacks: Any = MISSING
    seed: int = 0
    batch_size: int = 8
    scan_backend: ScanBackend = ScanBackend.auto
    num_workers: int = 0
    jobs: int = 2
    output_dir: str = "outputs"
    store_dir: str = "data/store"


def register() -> None:
    """Make the schemas known to Hydra under the names that the YAML files extend."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="task", name="superres_schema", node=SuperresConf)
