"""Super-resolution's protocol and scores: all test windows scored, averaged by record; the records to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from torch import nn

from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.noise import Condition
from ecgbench.data.record import EcgBatch
from ecgbench.data.sampler import SampleKey
from ecgbench.data.superres_examples import EcgWindowDataset
from ecgbench.metrics.summary import KEYS, compare, summarise
from ecgbench.scoring.contract import Systems
from ecgbench.tasks.superres import PROTOCOL_VERSION, Superres, both_outputs


@dataclass(frozen=True, kw_only=True)
class SuperresScoring:
    """The protocol of super-resolution, and its scores by record."""

    protocol_kind: str
    """official | antialiased, as `task.protocol`."""
    upscale: int
    window_s: float
    crop_s: float | None
    bandpass_hz: Sequence[float] | None
    bandpass_order: int

    def protocol(self, noise_variant: str) -> str:
        """Decimation, factor, band and window."""
        band = "unfiltered" if self.bandpass_hz is None else "{:g}-{:g}Hz".format(*self.bandpass_hz)
        window = f"{self.window_s:g}s"
        parts = [
            "superres",
            self.protocol_kind,
            f"x{self.upscale}",
            band,
            window,
            noise_variant,
            f"v{PROTOCOL_VERSION}",
        ]
        return "-".join(part for part in parts if part)

    def conditions_of_test(self, data: EcgDataModule) -> dict[str, Any]:
        """Rate, window, filter and decimation."""
        band = self.bandpass_hz and list(self.bandpass_hz)
        return {
            "window": [data.store.fs_hz, self.window_s, band, self.bandpass_order],
            "degradation": [self.protocol_kind, self.upscale],
        }

    def notes(self, data: EcgDataModule, max_epochs: int | None) -> list[str]:
        """Says when there is noise, and when training saw crops."""
        found = []
        if any(condition.kind for condition in data.conditions):
            found.append("Noisy rows have no published counterpart: the published noise levels are unknown.")
        if self.crop_s is not None and max_epochs is not None:
            found.append(
                f"Trained for {max_epochs} epochs on random {self.crop_s:g} s crops, scored on whole windows; "
                "the published systems train on whole 10 s records for 350 epochs."
            )
        return found

    def check(self, data: EcgDataModule) -> None:
        """Nothing that the constructors do not check."""

    def predict(
        self, task: Superres, systems: Systems, data: EcgDataModule, device: torch.device, progress: bool
    ) -> pd.DataFrame:
        """One row per system, condition and test window of this process, with every metric."""
        return score_windows(task, systems, data, device, progress)

    def finish(
        self,
        run_dir: Path,
        shares: pd.DataFrame,
        task: Superres,
        systems: Systems,
        data: EcgDataModule,
        device: torch.device,
    ) -> dict[str, Any]:
        """Writes scores.parquet, the noise table and the examples; returns `scores` and `paired`."""
        model = next(iter(systems))
        scores = merge_windows(shares, data, list(systems))
        scores.to_parquet(run_dir / "scores.parquet")
        noise_table(data).to_parquet(run_dir / "predictions" / "noise.parquet")
        chosen = drawn_records(scores, model, data.conditions)
        write_examples(run_dir / "examples.npz", chosen, systems, task, data, device)
        return summaries(scores, task, model)


@torch.inference_mode()
def score_windows(
    task: Superres, systems: Mapping[str, nn.Module], data: EcgDataModule, device: torch.device, progress: bool
) -> pd.DataFrame:
    """One row per system, condition and test window of this process, with every metric."""
    frames = []
    for system in systems.values():
        system.eval().to(device)
    loader = data.test_dataloader()
    for batch in track(loader, "test", total=len(loader.sampler), disable=not progress, transient=True):  # type: ignore[arg-type]
        batch = EcgBatch(*(part.to(device) for part in batch))
        for name, system in systems.items():
            prediction, _ = both_outputs(system, batch.x)
            scores = {k: v.cpu().numpy() for k, v in task.scores(prediction, batch).items()}
            keys = {"system": name, "condition": batch.condition.cpu().numpy(), "row": batch.row.cpu().numpy()}
            frames.append(pd.DataFrame({**keys, **scores}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["system", "condition", "row"])


def merge_windows(windows: pd.DataFrame, data: EcgDataModule, systems: Sequence[str]) -> pd.DataFrame:
    """One row per system, condition and record; a record's score is the mean over its windows.

    Raises RuntimeError unless every test window was scored exactly once by every system under every condition.
    """
    expected = len(systems) * len(data.conditions) * len(data.rows("test"))
    unique = len(windows.drop_duplicates(["system", "condition", "row"]))
    if not len(windows) == unique == expected:
        raise RuntimeError(f"{expected} test windows were expected, {len(windows)} scored, {unique} of them different")
    index = data.store.index.loc[windows["row"], ["record_id", "patient_id"]].reset_index(drop=True)
    windows = pd.concat([windows.drop(columns="row"), index], axis=1)
    order = {name: i for i, name in enumerate(systems)}
    windows["order"] = windows["system"].map(order)
    groups = windows.groupby(["order", "condition", "record_id", "system", "patient_id"], sort=True)
    scores = groups.mean().assign(n_windows=groups.size()).reset_index().drop(columns="order")
    scores["condition"] = [data.conditions[i].name for i in scores["condition"]]
    metrics = [c for c in scores if c not in (*KEYS, "patient_id", "n_windows")]
    return pd.DataFrame(scores[[*KEYS, "patient_id", "n_windows", *metrics]])


def noise_table(data: EcgDataModule) -> pd.DataFrame:
    """The noise of every test window: kind, channel, first sample at the low rate, SNR."""
    test, index = data.dataset("test"), data.store.index
    assert isinstance(test, EcgWindowDataset)
    rows = []
    for i, condition in enumerate(data.conditions):
        for row in data.rows("test"):
            window = index.iloc[row]
            noise = test.noise_place(SampleKey(int(row), 0, i))
            rows.append((condition.name, window.record_id, window.start, *noise))
    return pd.DataFrame(rows, columns=["condition", "record_id", "start", "kind", "channel", "noise_start", "snr_db"])


def summaries(scores: pd.DataFrame, task: Superres, model: str) -> dict[str, list[dict[str, Any]]]:
    """`scores` (mean, spread and interval of everything) and `paired` (model minus each baseline) of result.json."""
    paired: list[dict[str, Any]] = []
    for baseline in scores.loc[scores["system"] != model, "system"].unique():
        pair = scores[scores["system"].isin([model, baseline])]
        paired += compare(pair, task.metrics, baseline).drop(columns="n_nonfinite").to_dict("records")
    return {"scores": summarise(scores, task.metrics).to_dict("records"), "paired": paired}


def drawn_records(scores: pd.DataFrame, model: str, conditions: Sequence[Condition]) -> list[tuple[str, str, int]]:
    """(role, record id, condition) to draw: the best, median and worst clean record, and the median under noise."""
    clean = scores[(scores["system"] == model) & (scores["condition"] == conditions[0].name)]
    ranked = clean.sort_values("snr_db", ascending=False)["record_id"].tolist()
    median = ranked[len(ranked) // 2]
    chosen = [("best", ranked[0], 0), ("median", median, 0), ("worst", ranked[-1], 0)]
    for kind in dict.fromkeys(c.kind for c in conditions if c.kind):
        of_kind = [i for i, c in enumerate(conditions) if c.kind == kind]
        chosen.append(("median", median, of_kind[len(of_kind) // 2]))
    return chosen


@torch.inference_mode()
def write_examples(
    path: Path,
    chosen: Sequence[tuple[str, str, int]],
    systems: Mapping[str, nn.Module],
    task: Superres,
    data: EcgDataModule,
    device: torch.device,
) -> None:
    """The drawn records' first windows: input, truth, and what the model and the first baseline made of them."""
    index = data.store.index
    first_row = {r: int(np.flatnonzero((index["record_id"] == r).to_numpy())[0]) for _, r, _ in chosen}
    batch = data.dataset("test")[[SampleKey(first_row[record], 0, condition) for _, record, condition in chosen]]
    names = list(systems)[:2] if len(systems) > 1 else list(systems) * 2
    outputs, snrs = [], []
    for name in names:
        prediction, _ = both_outputs(systems[name], batch.x.to(device))
        outputs.append(prediction.cpu())
        snrs.append(task.scores(outputs[-1], batch)["snr_db"].numpy())
    np.savez_compressed(
        path,
        role=[role for role, _, _ in chosen],
        record_id=[record for _, record, _ in chosen],
        condition=[data.conditions[condition].name for _, _, condition in chosen],
        x=batch.x.numpy(),
        y_true=batch.y.numpy(),
        y_pred=outputs[0].numpy(),
        y_baseline=outputs[1].numpy(),
        snr_db=snrs[0],
        snr_baseline_db=snrs[1],
        leads=list(data.store.leads),
        fs_hz=data.store.fs_hz,
        upscale=task.upscale,
        baseline=names[1],
    )
