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


class MonitorMode(StrEnum):
    """Which of two validation scores is the better one."""

    min = "min"
    max = "max"


class Thresholds(StrEnum):
    """What the decision thresholds of a classifier maximise on the validation split."""

    f1 = "f1"
    challenge_2020 = "challenge_2020"
    challenge_2021 = "challenge_2021"
    fixed = "fixed"


class Aggregate(StrEnum):
    """How the probabilities of a record's windows become one."""

    max = "max"
    mean = "mean"


class WindowRule(StrEnum):
    """How a record is cut into windows for reconstruction."""

    overlap = "overlap"
    published_repeat = "published_repeat"
    published_zero = "published_zero"


class CropRule(StrEnum):
    """Where training windows begin."""

    fixed = "fixed"
    random = "random"


class LeadPadding(StrEnum):
    """What stands in the leads that are not given."""

    zero = "zero"
    copy = "copy"


class LossOn(StrEnum):
    """The leads that training's error is taken over."""

    all = "all"
    hidden = "hidden"


class BandpassKind(StrEnum):
    """Design of a zero-phase band-pass."""

    butterworth = "butterworth"
    fir = "fir"


class TestCrop(StrEnum):
    """Where the scored part of a long record lies."""

    first = "first"
    centre = "centre"


class Normalise(StrEnum):
    """How a classifier's input loses its unit."""

    zscore = "zscore"
    minmax_record = "minmax_record"
    train_scalar = "train_scalar"
    none = "none"


class Side(StrEnum):
    """The side of a short record that is filled with zeros."""

    right = "right"
    left = "left"


class Wide(StrEnum):
    """What a classifier is told beside the signal."""

    none = "none"
    age_sex = "age_sex"
    prna = "prna"


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
class TaskConf:
    """What every choice of the group `task` holds."""

    name: str = MISSING
    monitor: str = MISSING
    monitor_mode: MonitorMode = MonitorMode.min
    module: Any = MISSING
    store: Any = MISSING
    examples: Any = MISSING
    scoring: Any = MISSING
    baselines: dict[str, Any] = field(default_factory=dict)


@dataclass
class SuperresConf(TaskConf):
    """Group choice `task=superres`."""

    protocol: Protocol = Protocol.official
    upscale: int = MISSING
    window_s: float = MISSING
    crop_s: float | None = None
    augment: Any = None
    bandpass_hz: list[float] | None = None
    bandpass_order: int = 2


@dataclass
class ClassificationConf(TaskConf):
    """Group choice `task=classification`."""

    n_classes: int = MISSING
    thresholds: Thresholds = Thresholds.f1
    aggregate: Aggregate = Aggregate.max
    mix: Any = None
    monitor_mode: MonitorMode = MonitorMode.max


@dataclass
class ReconstructionConf(TaskConf):
    """Group choice `task=reconstruction`."""

    n_samples: int = MISSING
    windows: WindowRule = WindowRule.overlap
    crops: CropRule = CropRule.fixed
    padding: LeadPadding = LeadPadding.zero
    train_inputs: list[str] = MISSING
    test_inputs: list[str] = MISSING
    noise_inputs: list[str] = MISSING
    loss_on: LossOn = LossOn.all
    bandpass_hz: list[float] | None = None
    bandpass_order: int = 2
    features: bool = True
    classifier: str | None = None


@dataclass
class PreprocessingConf:
    """Group `preprocessing`: from a recording to what a classifier is given."""

    fs_hz: float = MISSING
    bandpass_hz: list[float] | None = None
    bandpass_order: int = MISSING
    bandpass_kind: BandpassKind = BandpassKind.butterworth
    store_window_s: float = MISSING
    n_samples: int = MISSING
    test_samples: int = MISSING
    stride_samples: int = MISSING
    test_crop: TestCrop = TestCrop.first
    normalise: Normalise = Normalise.zscore
    pad: Side = Side.right
    train_leads: list[int] = MISSING
    test_leads: list[int] = MISSING
    wide: Wide = Wide.none


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
    preprocessing: Any = None
    loss: Any = None
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
    store.store(group="task", name="classification_schema", node=ClassificationConf)
    store.store(group="task", name="reconstruction_schema", node=ReconstructionConf)
    store.store(group="preprocessing", name="preprocessing_schema", node=PreprocessingConf)
