"""Noise injection: which noise each sample gets, and the traces it is cut from.

A draw is a function of (seed, epoch, record id, window) for training and of (condition, record id, window) for
validation and test, so it does not depend on workers, processes or batch order, and every model and every seed meets
the same test noise.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ecgbench.data.file_hash import hash_files
from ecgbench.data.keyed_random import uniforms
from ecgbench.data.nstdb import FS_HZ as NSTDB_FS_HZ
from ecgbench.data.nstdb import Nstdb
from ecgbench.signal.noise import gain_for_snr, thin_antialiased, thin_as_published

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Condition(NamedTuple):
    """One test condition: clean, one kind of noise at one SNR, or some of the leads."""

    name: str
    kind: str | None
    snr_db: float | None
    leads: tuple[str, ...] | None = None
    """The leads that the model is given; None for all."""


CLEAN = Condition("clean", None, None)


class NoiseDraw(NamedTuple):
    """The noise of one sample: which recording, which channel, where in it (0 to 1), how strong."""

    kind: str | None
    channel: float
    position: float
    snr_db: float


class Noise(ABC):
    """A kind of corruption: the training draws, the test conditions, and the traces at the low rate."""

    kinds: Sequence[str]
    clean_fraction: float
    train_snr_db: Sequence[float]
    test_snr_db: Sequence[float]
    redraw: Literal["epoch", "run"]

    @abstractmethod
    def traces(self, split: Split, low_fs_hz: float) -> dict[str, np.ndarray]:
        """Noise of each kind at the low rate, (channel, time), from the part of the recording kept for this split."""

    @property
    def variant(self) -> str:
        """What sets test noise apart from the usual one, for the protocol's name; empty when nothing does."""
        return ""

    def identity(self) -> dict[str, object]:
        """Everything that decides the test noise at a given kind and SNR, as plain values."""
        return {"noise": type(self).__name__}

    def check_ranges(self) -> None:
        """Refuse shares and levels that cannot be drawn from."""
        if not 0 <= self.clean_fraction <= 1:
            raise ValueError(f"noise.clean_fraction is {self.clean_fraction}; it is a part, from 0 to 1")
        if len(self.train_snr_db) != 2 or self.train_snr_db[0] > self.train_snr_db[1]:
            raise ValueError(f"noise.train_snr_db is {list(self.train_snr_db)}; give the lowest and the highest, in dB")

    def conditions(self) -> list[Condition]:
        """The test conditions: clean first, then each kind at each SNR."""
        noisy = [Condition(f"{k}@{snr:g}dB", k, float(snr)) for k in self.kinds for snr in self.test_snr_db]
        return [CLEAN, *noisy]

    def draw_mixture(self, key: tuple[object, ...]) -> NoiseDraw:
        """Clean with probability `clean_fraction`, else a uniform kind, channel, place and SNR."""
        is_clean, kind, channel, position, snr, *_ = uniforms("mixture", *key)
        if not self.kinds or is_clean < self.clean_fraction:
            return NoiseDraw(None, 0.0, 0.0, np.inf)
        low, high = self.train_snr_db
        return NoiseDraw(self.kinds[int(kind * len(self.kinds))], channel, position, low + snr * (high - low))

    def draw_training(self, seed: int, epoch: int, record_id: str, start: int) -> NoiseDraw:
        """The noise of one training sample: anew in each epoch, or the same in all, as `redraw` says."""
        return self.draw_mixture(("train", seed, epoch if self.redraw == "epoch" else "run", record_id, start))

    def draw_condition(self, condition: Condition, record_id: str, start: int) -> NoiseDraw:
        """The test noise of one window; the stretch of noise is the same at every SNR of a kind."""
        if condition.kind is None or condition.snr_db is None:
            return NoiseDraw(None, 0.0, 0.0, np.inf)
        channel, position, *_ = uniforms("test", condition.kind, record_id, start)
        return NoiseDraw(condition.kind, channel, position, condition.snr_db)


@dataclass(kw_only=True)
class NoNoise(Noise):
    """Clean recordings only."""

    kinds: Sequence[str] = ()
    clean_fraction: float = 1.0
    train_snr_db: Sequence[float] = (np.inf, np.inf)
    test_snr_db: Sequence[float] = ()
    redraw: Literal["epoch", "run"] = "run"

    def traces(self, split: Split, low_fs_hz: float) -> dict[str, np.ndarray]:
        """No traces."""
        return {}


@dataclass(kw_only=True)
class GaussianNoise(Noise):
    """White noise, the same trace on all leads as in the published protocol; no model of a real artefact."""

    clean_fraction: float
    train_snr_db: Sequence[float]
    test_snr_db: Sequence[float]
    redraw: Literal["epoch", "run"]
    kinds: Sequence[str] = ("gaussian",)

    def __post_init__(self) -> None:
        """Refuse shares and levels that cannot be drawn from."""
        self.check_ranges()

    def traces(self, split: Split, low_fs_hz: float) -> dict[str, np.ndarray]:
        """Two channels of 100,000 samples, different ones for each split."""
        rng = np.random.default_rng([SPLITS.index(split), 20_260_101])
        return {"gaussian": rng.standard_normal((2, 100_000), dtype=np.float32)}


@dataclass(kw_only=True)
class NstdbNoise(Noise):
    """Real ambulatory noise (MIT-BIH NSTDB), thinned to the low rate and cut in time between the splits.

    Moody, Muldrow and Mark 1984. The published super-resolution code uses all of each recording for all three
    splits; `time_cut=null` does the same, and the protocol's name then says `uncut`.
    """

    root: Path
    kinds: Sequence[str]
    rate_path: Literal["official", "antialiased"]
    time_cut: Sequence[float] | None
    clean_fraction: float
    train_snr_db: Sequence[float]
    test_snr_db: Sequence[float]
    redraw: Literal["epoch", "run"]

    def __post_init__(self) -> None:
        """Refuse unknown kinds, parts that do not add up, shares and levels that cannot be drawn from."""
        self.check_ranges()
        unknown = sorted(set(self.kinds) - {"bw", "em", "ma"})
        if unknown:
            raise ValueError(f"noise.kinds names {unknown}; allowed are bw, em, ma")
        if self.time_cut is not None and (len(self.time_cut) != 3 or abs(sum(self.time_cut) - 1.0) > 1e-9):
            raise ValueError(f"noise.time_cut is {list(self.time_cut)}; give three parts that add up to 1, or null")

    @property
    def variant(self) -> str:
        """`uncut` when test noise has been heard in training."""
        return "uncut" if self.time_cut is None else ""

    def identity(self) -> dict[str, object]:
        """The recordings' bytes and how they are cut and thinned."""
        files = [Path(self.root) / f"{kind}{end}" for kind in self.kinds for end in (".hea", ".dat")]
        cut = None if self.time_cut is None else list(self.time_cut)
        return {**super().identity(), "rate_path": self.rate_path, "time_cut": cut, "files": hash_files(files)}

    def traces(self, split: Split, low_fs_hz: float) -> dict[str, np.ndarray]:
        """This split's part of bw, em and ma in mV at the low rate, (2, time)."""
        database = Nstdb(self.root)
        return {kind: self._thin(self._part(database.noise(kind), split), split, low_fs_hz) for kind in self.kinds}

    def _part(self, noise: np.ndarray, split: Split) -> np.ndarray:
        if self.time_cut is None:
            return noise
        edges = np.concatenate([[0.0], np.cumsum(self.time_cut)])
        first, last = np.round(edges[SPLITS.index(split) :][:2] * noise.shape[-1]).astype(int)
        return noise[:, first:last]

    def _thin(self, noise: np.ndarray, split: Split, low_fs_hz: float) -> np.ndarray:
        if self.rate_path == "official":
            return thin_as_published(noise, NSTDB_FS_HZ, low_fs_hz, training=split == "train")
        return thin_antialiased(noise, NSTDB_FS_HZ, low_fs_hz)


def add_noise(
    low_mv: np.ndarray, valid: np.ndarray, draws: Sequence[NoiseDraw], traces: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The low-rate input with each sample's noise added; padding stays zero.

    One noise trace goes to all leads, each lead with its own gain, so that every lead has exactly the drawn SNR
    against its clean low-rate self (MSECG's public code).

    Args:
        low_mv: clean input, (batch, lead, time), mV.
        valid: number of real samples of each row, (batch,).
        draws: one per row.
        traces: noise of each kind at the low rate, (channel, time).
    """
    noisy = low_mv.copy()
    for i, draw in enumerate(draws):
        if draw.kind is None:
            continue
        n = int(valid[i])
        noise = cut(traces[draw.kind], draw, n)
        gain = gain_for_snr(low_mv[i, :, :n], noise, np.asarray(draw.snr_db))
        noisy[i, :, :n] += (gain[:, None] * noise).astype(np.float32)
    return noisy


def cut(trace: np.ndarray, draw: NoiseDraw, n_samples: int) -> np.ndarray:
    """The drawn stretch of one channel, (n_samples,)."""
    channel, start = place(trace, draw, n_samples)
    return trace[channel, start : start + n_samples]


def place(trace: np.ndarray, draw: NoiseDraw, n_samples: int) -> tuple[int, int]:
    """Channel and first sample of a draw; an error when the recording is shorter than the window."""
    room = trace.shape[-1] - n_samples + 1
    if room < 1:
        raise ValueError(
            f"the {draw.kind} noise kept for this split has {trace.shape[-1]} samples, a window needs {n_samples}; "
            "shorten task.window_s or give the split a larger part in noise.time_cut"
        )
    return int(draw.channel * trace.shape[0]), int(draw.position * room)
