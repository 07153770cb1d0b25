"""The noise protocol: what a sample gets is a function of names alone, at its stated SNR, from its own split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample

from ecgbench.data.noise import GaussianNoise, NoiseDraw, NstdbNoise, add_noise
from ecgbench.data.nstdb import Nstdb
from ecgbench.signal.noise import gain_for_snr, thin_as_published


def gaussian(**changes: object) -> GaussianNoise:
    """The default noise with some keys changed."""
    options = {"clean_fraction": 0.5, "train_snr_db": [0.0, 30.0], "test_snr_db": [0.0, 10.0], "redraw": "epoch"}
    return GaussianNoise(**{**options, **changes})  # type: ignore[arg-type]


def nstdb(root: Path, time_cut: Sequence[float] | None = (0.7, 0.1, 0.2), rate_path: str = "antialiased") -> NstdbNoise:
    """NSTDB noise as the default config sets it."""
    return NstdbNoise(
        root=root,
        kinds=["bw", "em", "ma"],
        rate_path=rate_path,  # type: ignore[arg-type]
        time_cut=time_cut,
        clean_fraction=0.5,
        train_snr_db=[-5.0, 20.0],
        test_snr_db=[-5.0, 20.0],
        redraw="epoch",
    )


def test_every_lead_has_exactly_the_drawn_snr() -> None:
    """10 log10(sum x^2 / sum n^2) of what was added is the drawn SNR on each lead, whatever its amplitude."""
    rng = np.random.default_rng(1)
    clean = (rng.standard_normal((2, 3, 400)) * np.array([0.01, 1.0, 30.0])[:, None]).astype(np.float32)
    traces = {"ma": rng.standard_normal((2, 5000)).astype(np.float32) + 3.0}
    draws = [NoiseDraw("ma", 0.9, 0.3, -5.0), NoiseDraw("ma", 0.0, 0.99, 20.0)]
    added = add_noise(clean, np.array([400, 400]), draws, traces).astype(float) - clean
    snr_db = 10 * np.log10((clean.astype(float) ** 2).sum(-1) / (added**2).sum(-1))
    np.testing.assert_allclose(snr_db, [[-5.0] * 3, [20.0] * 3], atol=1e-3)


def test_all_leads_get_the_same_trace() -> None:
    """The added noise of two leads differs by a factor only."""
    rng = np.random.default_rng(2)
    clean = rng.standard_normal((1, 2, 300)).astype(np.float32)
    noisy = add_noise(clean, np.array([300]), [NoiseDraw("em", 0.5, 0.5, 0.0)], {"em": rng.standard_normal((2, 900))})
    first, second = (noisy - clean)[0]
    assert abs(np.corrcoef(first, second)[0, 1]) == pytest.approx(1.0, abs=1e-5)


def test_noise_leaves_padding_and_clean_samples_alone() -> None:
    """Samples after the real ones stay zero, and a clean draw changes nothing."""
    clean = np.ones((2, 1, 100), dtype=np.float32)
    clean[0, :, 60:] = 0
    draws = [NoiseDraw("gaussian", 0.0, 0.0, 0.0), NoiseDraw(None, 0.0, 0.0, np.inf)]
    noisy = add_noise(clean, np.array([60, 100]), draws, gaussian().traces("test", 50.0))
    assert (noisy[0, :, 60:] == 0).all()
    assert (noisy[0, :, :60] != 1).any()
    np.testing.assert_array_equal(noisy[1], clean[1])


def test_a_silent_lead_gets_no_noise() -> None:
    """The gain for an all-zero lead is 0, not infinite."""
    assert gain_for_snr(np.zeros((1, 10)), np.ones(10), np.asarray(0.0)) == pytest.approx([0.0])


def test_training_draws_differ_between_epochs_and_seeds_and_repeat_for_equal_keys() -> None:
    """The same (seed, epoch, record, window) always draws the same; another epoch or seed draws something else."""
    noise = gaussian(clean_fraction=0.0)
    draw = noise.draw_mixture(("train", 0, 1, "00001_hr", 0))
    assert draw == noise.draw_mixture(("train", 0, 1, "00001_hr", 0))
    others = [("train", 0, 2, "00001_hr", 0), ("train", 1, 1, "00001_hr", 0), ("train", 0, 1, "00002_hr", 0)]
    assert len({draw, *(noise.draw_mixture(key) for key in others)}) == 4


def test_the_mixture_has_the_stated_proportions() -> None:
    """Half clean, the rest spread evenly over kinds and SNRs (4 standard errors of 4,000 draws)."""
    noise = NstdbNoise(
        root=Path("nowhere"), kinds=["bw", "em", "ma"], rate_path="official", time_cut=None, clean_fraction=0.5,
        train_snr_db=[-5.0, 20.0], test_snr_db=[], redraw="run",
    )  # fmt: skip
    draws = [noise.draw_mixture((i,)) for i in range(4000)]
    noisy = [d for d in draws if d.kind]
    assert len(noisy) / 4000 == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    for kind in noise.kinds:
        assert sum(d.kind == kind for d in noisy) / len(noisy) == pytest.approx(1 / 3, abs=0.05)
    snrs = np.array([d.snr_db for d in noisy])
    assert snrs.min() >= -5
    assert snrs.max() <= 20
    assert snrs.mean() == pytest.approx(7.5, abs=4 * 25 / 12**0.5 / len(noisy) ** 0.5)


def test_test_noise_is_the_same_stretch_at_every_snr() -> None:
    """Along an SNR curve only the strength changes."""
    noise = gaussian()
    _, low, high = noise.conditions()
    first, second = (noise.draw_condition(c, "sim-000001", 0) for c in (low, high))
    assert first[:3] == second[:3]
    assert (first.snr_db, second.snr_db) == (0.0, 10.0)


def test_conditions_are_clean_and_each_kind_at_each_level(shared_data: Path) -> None:
    """Clean first, then kinds by levels."""
    names = [c.name for c in nstdb(shared_data / "nstdb").conditions()]
    assert names == ["clean", "bw@-5dB", "bw@20dB", "em@-5dB", "em@20dB", "ma@-5dB", "ma@20dB"]


def test_splits_hear_different_parts_of_each_recording(shared_data: Path) -> None:
    """70, 10 and 20 % of 650,000 samples at 360 Hz, brought to 50 Hz, without overlap."""
    noise = nstdb(shared_data / "nstdb")
    lengths = {split: noise.traces(split, 50.0)["bw"].shape for split in ("train", "val", "test")}
    assert [lengths[s][0] for s in lengths] == [2, 2, 2]
    for split, part in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert lengths[split][1] == pytest.approx(650_000 * part * 50 / 360, abs=1)


def test_without_a_cut_every_split_hears_everything(shared_data: Path) -> None:
    """The published behaviour is there, and names itself."""
    noise = nstdb(shared_data / "nstdb", time_cut=None)
    np.testing.assert_array_equal(noise.traces("train", 50.0)["em"], noise.traces("test", 50.0)["em"])
    assert noise.variant == "uncut"


def test_the_published_thinning_reproduces_its_lengths(shared_data: Path) -> None:
    """650,000 samples become 90,278 for training (FFT to 350 Hz, every 7th) and 92,858 for test (every 7th)."""
    bw = Nstdb(shared_data / "nstdb").noise("bw")
    train, test = (thin_as_published(bw, 360.0, 50.0, training=t) for t in (True, False))
    assert (train.shape[1], test.shape[1]) == (90_278, 92_858)
    np.testing.assert_array_equal(test, bw[:, ::7])
    np.testing.assert_allclose(train, resample(bw, 650_000 * 350 // 360, axis=1)[:, ::7], rtol=1e-5, atol=1e-5)


def test_bad_noise_settings_are_refused(shared_data: Path) -> None:
    """Unknown kinds, parts that do not add up, and a recording shorter than the window are named."""
    with pytest.raises(ValueError, match="add up to 1"):
        nstdb(shared_data / "nstdb", time_cut=(0.7, 0.2, 0.2))
    with pytest.raises(ValueError, match=r"'xx'.*bw, em, ma"):
        NstdbNoise(root=Path(), kinds=["xx"], rate_path="official", time_cut=None, clean_fraction=0.5,
                   train_snr_db=[0, 1], test_snr_db=[], redraw="run")  # fmt: skip
    draw, traces = NoiseDraw("bw", 0.0, 0.0, 0.0), {"bw": np.ones((1, 100))}
    with pytest.raises(ValueError, match=r"100 samples, a window needs 200"):
        add_noise(np.ones((1, 1, 200), np.float32), np.array([200]), [draw], traces)
