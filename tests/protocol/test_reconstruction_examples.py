"""Reconstruction's examples: how records are cut and put together again, and which leads the model is given."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ecgbench.config import compose
from ecgbench.data.datamodule import EcgDataModule
from ecgbench.data.reconstruction_examples import ReconstructionExamples, lead_set
from ecgbench.data.record import LEADS
from ecgbench.data.sampler import SampleKey
from ecgbench.experiment import load_data

Load = Callable[..., EcgDataModule]


def examples_of(**options: Any) -> ReconstructionExamples:
    plain = {"n_samples": 4, "windows": "overlap", "crops": "fixed", "padding": "zero"}
    inputs = {"train_inputs": ["any"], "test_inputs": ["I"], "noise_inputs": []}
    return ReconstructionExamples(**{**plain, **inputs, **options})


def ramp(n_total: int) -> np.ndarray:
    """Twelve leads, each a ramp 0, 1, 2, ... from its own thousand on."""
    return np.arange(n_total)[None] + 1000.0 * np.arange(12)[:, None]


@pytest.fixture
def load(store_dir: Any, tmp_path: Any) -> Load:
    """The data module of a small simulated set."""
    base = ["task=reconstruction", "model=zero", "dataset.n_records=24", "dataset.duration_s=4", "batch_size=4"]
    places = [f"store_dir={store_dir}", f"output_dir={tmp_path}", "jobs=1"]
    return lambda *more: load_data(compose([*base, *places, *more]))


def test_overlapping_windows_end_with_the_record() -> None:
    """Ten samples in windows of four: 0-3, 4-7, then 6-9; nothing is filled up."""
    windows, mask = examples_of().cut(ramp(10))
    assert windows[:, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert mask.all()


@pytest.mark.parametrize(("rule", "tail"), [("published_repeat", [8, 9, 8, 9]), ("published_zero", [8, 9, 0, 0])])
def test_published_windows_are_filled_up(rule: str, tail: list[int]) -> None:
    """The last window takes the record's last two samples again, or zeros; the mask tells them from real ones."""
    windows, mask = examples_of(windows=rule).cut(ramp(10))
    assert windows[2, 0].tolist() == tail
    assert mask.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]


@pytest.mark.parametrize("rule", ["overlap", "published_repeat", "published_zero"])
@pytest.mark.parametrize("n_total", [3, 4, 7, 8, 13])
def test_cut_and_stitched_a_record_is_itself(rule: str, n_total: int) -> None:
    """Whatever the length and the rule, also for a record shorter than a window."""
    examples = examples_of(windows=rule)
    assert np.array_equal(examples.stitch(examples.cut(ramp(n_total))[0], n_total), ramp(n_total))


def test_a_later_window_gives_only_what_is_missing() -> None:
    """Of the overlapping last window, samples 8 and 9 alone are taken."""
    windows = examples_of().cut(ramp(10))[0]
    windows[2] += 0.5
    stitched = examples_of().stitch(windows, 10)
    assert stitched[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8.5, 9.5]


def test_only_the_given_leads_are_in_the_input() -> None:
    """Zero-padding keeps each lead in its channel; copy-padding fills all twelve with the one."""
    given = examples_of().model_input(ramp(4)[None], lead_set("II+V3"))
    assert np.flatnonzero(given[0].any(-1)).tolist() == [1, 8]
    copied = examples_of(padding="copy").model_input(ramp(4)[None], ("V3",))
    assert all(np.array_equal(lead, ramp(4)[8]) for lead in copied[0])
    alone = examples_of(padding="copy").model_input(ramp(4)[None], ("V3",), reads_presence=True)
    assert np.flatnonzero(alone[0].any(-1)).tolist() == [8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_inputs": ["X"]}, "task.test_inputs holds 'X'; allowed are leads joined by +, of I, II"),
        ({"train_inputs": []}, "task.train_inputs is empty"),
        ({"test_inputs": ["+".join(LEADS)]}, "holds all twelve leads"),
        ({"test_inputs": ["any"]}, "task.test_inputs holds 'any'"),
        ({"padding": "copy", "test_inputs": ["I+II"]}, "task.padding=copy takes single leads"),
        ({"n_samples": 0}, "task.n_samples is 0"),
    ],
)
def test_impossible_lead_sets_are_refused(options: dict[str, Any], message: str) -> None:
    """Each with what was given and what is allowed."""
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        examples_of(**options)


def test_training_draws_every_lead_evenly_and_anew_each_epoch(load: Load) -> None:
    """Of 36 training windows in 60 epochs each lead is given to a twelfth, within four standard deviations."""
    dataset = load().dataset("train")
    rows = load().rows("train")
    drawn = [dataset.given(SampleKey(int(r), e, 0))[0] for r in rows for e in range(60)]
    expected, spread = len(drawn) / 12, np.sqrt(len(drawn) * 11) / 12
    assert all(abs(Counter(drawn)[lead] - expected) < 4 * spread for lead in LEADS)
    again = [dataset.given(SampleKey(int(r), e, 0))[0] for r in rows for e in range(60)]
    assert drawn == again


def test_subsets_are_of_the_independent_leads_and_of_every_size(load: Load) -> None:
    """One to seven of I, II, V1-V6, each number about as often, never the four leads that two others determine."""
    data = load("task.train_inputs=[subset]")
    dataset = data.dataset("train")
    drawn = [dataset.given(SampleKey(int(r), e, 0)) for r in data.rows("train") for e in range(30)]
    assert {lead for leads in drawn for lead in leads} == {"I", "II", "V1", "V2", "V3", "V4", "V5", "V6"}
    sizes = Counter(len(set(leads)) for leads in drawn)
    assert set(sizes) == set(range(1, 8))
    expected, spread = len(drawn) / 7, np.sqrt(len(drawn) * 6) / 7
    assert all(abs(count - expected) < 4.5 * spread for count in sizes.values())


def test_validation_goes_round_the_twelve_leads(load: Load) -> None:
    """Neighbouring windows are given neighbouring leads, the same in every epoch."""
    data = load()
    dataset = data.dataset("val")
    for row in data.rows("val"):
        assert {dataset.given(SampleKey(int(row), e, 0)) for e in (0, 5)} == {(LEADS[row % 12],)}


def test_input_and_target_are_the_source_s_signal(load: Load) -> None:
    """Unfiltered millivolts, from the window's first sample on, the given lead alone in the input."""
    data = load("task.test_inputs=[V2]")
    dataset, index = data.dataset("test"), data.examples.index
    rows = [int(row) for row in data.rows("test")]
    batch = dataset[[SampleKey(row, 0, 0) for row in rows]]
    for place, row in enumerate(rows):
        first = index["first"][row]
        signal_mv = data.source.read(index["record_id"][row]).signal_mv[:, first : first + 1024]
        assert np.array_equal(batch.y[place], signal_mv)
        assert np.array_equal(batch.x[place, 7], signal_mv[7])
        assert not np.delete(batch.x[place].numpy(), 7, axis=0).any()
        assert np.flatnonzero(batch.wide[place]).tolist() == [7]


def test_random_crops_lie_inside_the_record_and_move(load: Load) -> None:
    """Every crop is a stretch of its record, another one in another epoch."""
    data = load("task.crops=random")
    dataset, row = data.dataset("train"), int(data.rows("train")[0])
    record_mv = data.source.read(data.examples.index["record_id"][row]).signal_mv[0]
    starts = set()
    for epoch in range(8):
        crop = dataset[[SampleKey(row, epoch, 0)]].y[0, 0].numpy()
        starts.add(next(s for s in range(len(record_mv) - 1023) if np.array_equal(record_mv[s : s + 1024], crop)))
    assert len(starts) > 4


def test_noise_is_tested_on_the_leads_it_was_asked_for(load: Load) -> None:
    """Clean conditions first, then each noise level for the named input, exactly at its SNR."""
    data = load("noise=gaussian", "noise.test_snr_db=[10]", "task.test_inputs=[I,II]", "task.noise_inputs=[II]")
    assert [c.name for c in data.conditions] == ["I", "II", "II gaussian@10dB"]
    row = int(data.examples.records("test")[0])
    noisy = data.examples.noisy_windows(row, data.conditions[2], data.noise, data.traces["test"])
    n_total = int(data.store.n_total[row])
    clean_mv, noisy_mv = data.store.record_mv(row)[1], data.examples.config.stitch(noisy, n_total)[1]
    snr_db = 10 * np.log10(np.mean(clean_mv**2) / np.mean((noisy_mv - clean_mv) ** 2))
    assert snr_db == pytest.approx(10, abs=0.01)


def test_a_record_of_less_than_half_a_window_is_repeated_lead_by_lead() -> None:
    """Three samples in a window of eight: the five that lack are the same lead's again, never another lead's."""
    windows, mask = examples_of(n_samples=8, windows="published_repeat").cut(ramp(3))
    assert windows[0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert windows[0, 11].tolist() == [11000, 11001, 11002, 11000, 11001, 11002, 11000, 11001]
    assert mask[0].tolist() == [True] * 3 + [False] * 5


@pytest.mark.parametrize("key", ["test_inputs", "noise_inputs"])
def test_a_lead_set_named_twice_is_refused(key: str) -> None:
    """Both would be one condition, whose records could not be told apart after hours of training."""
    with pytest.raises(ValueError, match=rf"task\.{key} names 'V2' more than once"):
        examples_of(**{key: ["V2", "I", "V2"]})
