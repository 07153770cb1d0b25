"""R peaks, heart rate and waves: right where they are known, empty and never an exception where there is nothing."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from ecgbench.data.cpsc2018 import Cpsc2018
from ecgbench.data.ludb import Ludb
from ecgbench.data.record import LEADS
from ecgbench.data.simulated import Simulated
from ecgbench.signal.peaks import METHODS, Delineator, Waves, delineate, heart_rate_bpm, r_peaks

FS_HZ = 500
ALL = {"leads": LEADS, "train_folds": [], "val_folds": [], "test_folds": range(1, 11)}


def beats_mv(rate_bpm: float, seconds: float = 10, fs_hz: float = FS_HZ) -> np.ndarray:
    """QRS-like peaks of 10 ms at an even rate, and a T wave behind each."""
    time = np.arange(round(seconds * fs_hz)) / fs_hz
    centre = np.arange(0.4, seconds, 60 / rate_bpm)[:, None]
    qrs, t_wave = np.exp(-(((time - centre) / 0.01) ** 2)), np.exp(-(((time - centre - 0.25) / 0.05) ** 2))
    return (qrs + 0.2 * t_wave).sum(axis=0)


SIGNALS = {
    "flat": np.zeros(5000),
    "constant": np.full(5000, 0.7),
    "noise": np.random.default_rng(0).normal(0, 0.1, 5000),
    "one second": beats_mv(70, 1),
    "half a second": beats_mv(70, 0.5),
    "ten samples": beats_mv(70)[195:205],
    "one sample": np.ones(1),
    "nothing": np.zeros(0),
    "a NaN": np.where(np.arange(5000) == 2500, np.nan, beats_mv(70)),
    "an infinity": np.where(np.arange(5000) == 2500, np.inf, beats_mv(70)),
    "a step": (np.arange(5000) > 2500).astype(float),
    "nearly flat": 1e-12 * np.random.default_rng(0).normal(size=5000),
}


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("rate_bpm", [45, 72, 110, 160])
def test_the_rate_of_even_beats_is_found(rate_bpm: float, clean: bool) -> None:
    assert heart_rate_bpm(beats_mv(rate_bpm), FS_HZ, clean) == pytest.approx(rate_bpm, rel=0.005)


def test_the_rate_is_per_minute_at_any_sampling_rate() -> None:
    assert heart_rate_bpm(beats_mv(72, fs_hz=360), 360, clean=True) == pytest.approx(72, rel=0.005)


def test_the_rate_is_that_of_the_mean_interval() -> None:
    """Beats at 1, 2, 3 and 4.5 s: 3.5 s hold three intervals, so 60 * 3 / 3.5 bpm and not the mean of the rates."""
    time = np.arange(3000) / FS_HZ
    signal = sum(np.exp(-(((time - t) / 0.01) ** 2)) for t in (1, 2, 3, 4.5))
    np.testing.assert_allclose(r_peaks(signal, FS_HZ, clean=False), [500, 1000, 1500, 2250], atol=1)
    assert heart_rate_bpm(signal, FS_HZ, clean=False) == pytest.approx(60 * 3 / 3.5, rel=1e-3)


def test_two_beats_are_a_rate_and_one_is_none() -> None:
    """Beats at 1 and 2 s are 60 bpm."""
    time = np.arange(1500) / FS_HZ
    first, second = (np.exp(-(((time - t) / 0.01) ** 2)) for t in (1, 2))
    assert heart_rate_bpm(first + second, FS_HZ, clean=False) == pytest.approx(60, rel=1e-3)
    assert len(r_peaks(first, FS_HZ, clean=False)) == 1
    assert np.isnan(heart_rate_bpm(first, FS_HZ, clean=False))


def test_an_inverted_lead_has_the_same_rate(shared_data: Path) -> None:
    """As aVR."""
    lead = Cpsc2018(root=shared_data / "cpsc2018", **ALL).read("A6791").signal_mv[1]
    assert heart_rate_bpm(-lead, FS_HZ, clean=False) == pytest.approx(
        heart_rate_bpm(lead, FS_HZ, clean=False), rel=1e-3
    )


def test_cleaning_finds_beats_under_wander_and_hum() -> None:
    """Strong mains hum hides every beat from the detector that gets the lead as it is."""
    time = np.arange(5000) / FS_HZ
    signal = beats_mv(72) + 1.5 * np.sin(2 * np.pi * 0.2 * time) + 0.6 * np.sin(2 * np.pi * 50 * time)
    assert heart_rate_bpm(signal, FS_HZ, clean=True) == pytest.approx(72, rel=0.01)
    assert heart_rate_bpm(signal, FS_HZ, clean=False) != pytest.approx(72, rel=0.01)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("name", SIGNALS)
def test_no_rate_and_no_exception_where_there_is_no_rhythm(name: str, clean: bool) -> None:
    """Whatever is found in noise is a finite rate; everywhere else there is none, and no warning leaves."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        rate_bpm = heart_rate_bpm(SIGNALS[name], FS_HZ, clean)
        peaks = r_peaks(SIGNALS[name], FS_HZ, clean)
    assert not warned
    assert peaks.dtype == np.int64
    assert np.isnan(rate_bpm) == (len(peaks) < 2)
    if name not in ("noise", "nearly flat"):
        assert np.isnan(rate_bpm)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SIGNALS)
def test_delineation_never_raises(name: str, method: Delineator) -> None:
    """Nine arrays of one length, with samples inside the signal or NaN."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        waves = delineate(SIGNALS[name], FS_HZ, method)
    assert not warned
    assert {w.shape for w in waves} == {waves.r_peak.shape}
    assert all(w.dtype == np.float64 for w in waves)
    known = np.concatenate(waves)[~np.isnan(np.concatenate(waves))]
    assert ((known >= 0) & (known < len(SIGNALS[name]))).all()


def test_two_leads_at_once_are_a_mistake() -> None:
    for function in (lambda s: heart_rate_bpm(s, FS_HZ, True), lambda s: delineate(s, FS_HZ)):
        with pytest.raises(ValueError, match=r"shape \(2, 500\); give one lead"):
            function(np.zeros((2, 500)))


def test_an_unknown_delineator_is_refused() -> None:
    with pytest.raises(ValueError, match="method='cwt' is no delineator here; use prominence or dwt"):
        delineate(beats_mv(72), FS_HZ, "cwt")


def test_the_signal_is_left_alone() -> None:
    signal = beats_mv(72).astype(np.float32)
    before = signal.copy()
    delineate(signal, FS_HZ), heart_rate_bpm(signal, FS_HZ, clean=True)
    np.testing.assert_array_equal(signal, before)


def test_all_leads_of_a_recording_have_its_rate(shared_data: Path) -> None:
    """A6791: ten QRS complexes from sample 558 to 4,610, so 66.6 bpm; cleaned leads may show an eleventh."""
    record = Cpsc2018(root=shared_data / "cpsc2018", **ALL).read("A6791")
    expected = 60 * 500 * 9 / (4610 - 558)
    for clean, tolerance_bpm in ((False, 0.1), (True, 2.1)):
        rates_bpm = [heart_rate_bpm(lead, record.fs_hz, clean) for lead in record.signal_mv]
        np.testing.assert_allclose(rates_bpm, expected, atol=tolerance_bpm)


def test_the_true_beats_of_a_simulated_recording_are_found() -> None:
    """Sinus rhythm: all R peaks within 20 ms, and the rate within 1 %."""
    source = Simulated(leads=LEADS, n_records=12, labels=["NORM"], seed=3)
    record = source.read(source.manifest()["record_id"][0])
    true = source.truth(record.record_id)["r_peak"].to_numpy()
    found = r_peaks(record.signal_mv[1], record.fs_hz, clean=True)
    inner = true[(true > 300) & (true < 4700)]
    assert max(np.abs(found - t).min() for t in inner) <= 10
    assert len(found) == pytest.approx(len(true), abs=2)


def test_waves_are_near_the_cardiologists(shared_data: Path) -> None:
    """Lead II of LUDB: nine in ten QRS onsets, QRS ends and P peaks, seven in ten T peaks, within 60 ms of theirs."""
    source = Ludb(root=shared_data / "ludb", **ALL)
    near = {"onset": [], "offset": [], "P": [], "T": []}
    for record_id in ("1", "3", "10", "44", "101", "120", "150"):
        truth = source.delineation(record_id).query("lead == 'II'").dropna()
        waves = delineate(source.read(record_id).signal_mv[1], FS_HZ)
        for key, wave, column, found in (
            ("onset", "QRS", "onset", waves.qrs_onset),
            ("offset", "QRS", "offset", waves.qrs_offset),
            ("P", "P", "peak", waves.p_peak),
            ("T", "T", "peak", waves.t_peak),
        ):
            marked = truth.loc[truth["wave"] == wave, column]
            near[key] += [np.nanmin(np.abs(found - at)) <= 30 for at in marked]
    share = {key: np.mean(hits) for key, hits in near.items()}
    assert min(share["onset"], share["offset"], share["P"]) >= 0.9
    assert share["T"] >= 0.7
    assert all(len(hits) > 25 for hits in near.values())


def test_waves_of_a_beat_are_in_order(shared_data: Path) -> None:
    """P before QRS before T, each between its onset and its end."""
    waves = delineate(Ludb(root=shared_data / "ludb", **ALL).read("1").signal_mv[1], FS_HZ)
    names = Waves._fields
    assert names[0] == "p_onset"
    assert names[-1] == "t_offset"
    table = np.stack(waves)
    whole = table[:, ~np.isnan(table).any(axis=0)]
    assert whole.shape[1] >= 5
    assert (np.diff(whole, axis=0) > 0).all()
