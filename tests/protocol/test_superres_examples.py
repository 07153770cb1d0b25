"""Samples as the model meets them: cropping, masks, decimation, and independence from batches and processes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ecgbench.config import compose
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.sampler import FixedBatches, GlobalBatches, SampleKey
from ecgbench.data.superres_examples import SuperresExamples
from ecgbench.experiment import load_data
from ecgbench.scoring.superres import noise_table
from ecgbench.tasks.superres import Superres, squared_error

Overrides = Callable[..., list[str]]


def examples_of(protocol: str) -> SuperresExamples:
    return SuperresExamples(fs_hz=500, upscale=10, protocol=protocol, window_s=10, crop_s=None, augment=None)


def data_of(overrides: list[str]) -> EcgDataModule:
    """The data module of a composed configuration."""
    config = compose(overrides)
    return load_data(config)


def test_a_sample_does_not_depend_on_its_batch(tiny: Overrides) -> None:
    """A key gives the same crop and the same noise alone, in any batch and in any order."""
    train = data_of(tiny()).dataset("train")
    keys = [SampleKey(row, epoch=3, condition=0) for row in (0, 1, 2, 3, 4)]
    together, backwards = train[keys], train[keys[::-1]]
    for i, key in enumerate(keys):
        alone = train[[key]]
        assert torch.equal(together.x[i], alone.x[0])
        assert torch.equal(together.y[i], backwards.y[len(keys) - 1 - i])


def test_a_sample_does_not_depend_on_the_worker(tiny: Overrides) -> None:
    """Two loader processes yield what the main process yields."""
    data = data_of(tiny())
    batches = GlobalBatches(data.rows("train"), 4, seed=0)
    serial, parallel = (list(DataLoader(data.dataset("train"), None, sampler=batches, num_workers=n)) for n in (0, 2))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(serial, parallel, strict=True))


def test_epochs_bring_other_crops_and_other_noise(tiny: Overrides) -> None:
    """The same record looks different in the next epoch, validation does not."""
    data = data_of(tiny("noise.clean_fraction=0"))
    train = data.dataset("train")
    first, second = (train[[SampleKey(0, epoch, 0)]] for epoch in (0, 1))
    assert not torch.equal(first.y, second.y)
    val = data.dataset("val")
    row = int(data.rows("val")[0])
    assert torch.equal(val[[SampleKey(row, 0, 0)]].x, val[[SampleKey(row, 5, 0)]].x)


def test_a_clean_input_is_every_tenth_sample_of_the_target(tiny: Overrides) -> None:
    """Also inside a random crop, whose first sample is the first of the low rate."""
    data = data_of(tiny("noise=none"))
    batch = data.dataset("train")[[SampleKey(row, 1, 0) for row in range(5)]]
    assert torch.equal(batch.x, batch.y[:, :, ::10])
    assert batch.y.shape == (5, 12, 500)


def test_the_antialiased_input_holds_nothing_from_above_its_nyquist_frequency() -> None:
    """A 40 Hz sine vanishes at 50 Hz sampling; decimation without a filter folds it to 10 Hz at full strength."""
    t = np.arange(5000) / 500.0
    sine = np.sin(2 * np.pi * 40 * t)[None, None].astype(np.float32)
    power = {
        protocol: float(np.square(examples_of(protocol).low(sine, np.array([5000]))).mean())
        for protocol in ("official", "antialiased")
    }
    assert power["official"] == pytest.approx(0.5, rel=0.01)
    assert power["antialiased"] < 1e-4


def test_antialiased_crops_are_stretches_of_the_test_time_input(tiny: Overrides) -> None:
    """Training sees the low-rate signal that a whole window has, not one made from the crop alone."""
    data = data_of(tiny("task.protocol=antialiased", "noise=none"))
    keys = [SampleKey(row, 2, 0) for row in range(4)]
    crops = data.dataset("train")[keys]
    whole_mv = data.store.signals[:4]
    low_mv = examples_of("antialiased").low(whole_mv, np.full(4, whole_mv.shape[-1]))
    for crop_mv, target_mv, window_mv, low in zip(crops.x, crops.y, whole_mv, low_mv, strict=True):
        start = next(s for s in range(0, 1501, 10) if np.array_equal(window_mv[:, s : s + 500], target_mv))
        np.testing.assert_array_equal(low[:, start // 10 : start // 10 + 50], crop_mv)


def test_antialiased_padding_stays_zero_and_out_of_the_signal() -> None:
    """A short row gives what it gives alone, then zeros."""
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.standard_normal((1, 2, 400)), axis=-1).astype(np.float32)
    padded = np.concatenate([signal, np.zeros((1, 2, 600), np.float32)], axis=-1)
    examples = examples_of("antialiased")
    low = examples.low(padded, np.array([400]))
    np.testing.assert_array_equal(low[..., :40], examples.low(signal, np.array([400])))
    assert (low[..., 40:] == 0).all()


def test_the_stored_noise_table_rebuilds_the_input_of_a_padded_window(tiny: Overrides) -> None:
    """Kind, channel and first sample of the table, cut from the traces by hand, give the noise that was added."""
    config = compose(tiny("task.window_s=6", "noise.test_snr_db=[10]"))
    data = load_data(config)
    table = noise_table(data).query("condition == 'gaussian@10dB'").reset_index()
    rows = data.rows("test")
    noisy, clean = (data.dataset("test")[[SampleKey(int(r), 0, c) for r in rows]].x.numpy() for c in (1, 0))
    for added, row in zip(noisy - clean, table.itertuples(), strict=True):
        trace = data.traces["test"]["gaussian"][row.channel, row.noise_start : row.noise_start + 200]
        lead = added[1, :200]
        assert np.corrcoef(lead, trace)[0, 1] > 0.9999
        assert (added[:, 200:] == 0).all()


def test_short_windows_are_masked_and_padding_changes_no_loss_and_no_score(tiny: Overrides) -> None:
    """4 s records in 6 s windows: the mask ends at 2,000 samples; garbage after it changes neither loss nor metric."""
    config = compose(tiny("task.window_s=6", "noise=none"))
    data = load_data(config)
    batch = data.dataset("test")[[SampleKey(int(data.rows("test")[0]), 0, 0)]]
    assert batch.y.shape[-1] == 3000
    assert batch.mask.sum() == 2000
    assert bool(batch.mask[0, :2000].all())
    prediction = batch.y + 0.1
    garbage = prediction.clone()
    garbage[..., 2000:] = 1e3
    plain, spoilt = (squared_error(p, batch.y, batch.mask) for p in (prediction, garbage))
    assert plain == spoilt
    assert float(plain[0] / plain[1]) == pytest.approx(0.01, rel=1e-4)
    task = Superres(model=torch.nn.Identity(), make_optimizer=None, make_schedule=None, fs_hz=500.0, upscale=10)  # type: ignore[arg-type]
    scores = [task.scores(p, batch) for p in (prediction, garbage)]
    assert all(torch.equal(scores[0][k], scores[1][k]) for k in scores[0])
    assert float(scores[0]["mse"]) == pytest.approx(0.01, rel=1e-4)


def test_global_batches_are_the_same_for_one_process_and_for_two() -> None:
    """The union of the two processes' batches is the single process's batch, epoch by epoch."""
    rows = np.arange(21)
    for epoch in (0, 1):
        single, *pair = (GlobalBatches(rows, 4, 7, rank, world) for rank, world in ((0, 1), (0, 2), (1, 2)))
        for sampler in (single, *pair):
            sampler.set_epoch(epoch)
        for whole, first, second in zip(list(single), *map(list, pair), strict=False):
            assert sorted(whole) == sorted(first + second)
    assert len(single) == len(pair[0]) == 5  # the last sample alone has no variance and cannot be shared
    assert len(GlobalBatches(np.arange(22), 4, 0)) == 6
    assert len(GlobalBatches(np.arange(1), 4, 0)) == 1


def test_every_epoch_visits_every_row_in_another_order() -> None:
    """A permutation each time."""
    sampler = GlobalBatches(np.arange(10, 20), 4, seed=0)
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        orders.append([key.row for batch in sampler for key in batch])
        assert sorted(orders[-1]) == list(range(10, 20))
    assert orders[0] != orders[1]


def test_test_batches_cover_everything_once_over_all_processes() -> None:
    """Rows times conditions, no sample twice, for three processes and an odd number of rows."""
    keys = [key for rank in range(3) for batch in FixedBatches(np.arange(7), 2, (0, 1), rank, 3) for key in batch]
    assert sorted((k.row, k.condition) for k in keys) == [(row, c) for row in range(7) for c in (0, 1)]


def test_a_batch_size_that_does_not_divide_is_refused() -> None:
    """The message names both numbers."""
    with pytest.raises(ValueError, match=r"batch_size=5 does not divide among 2 processes"):
        GlobalBatches(np.arange(3), 5, 0, 0, 2)
