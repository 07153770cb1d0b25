"""CODE-test: order of leads, unit and padding, and what a copy or an environment that lacks something is told.

The exams here are made up, and the HDF5 file stands in as an array behind h5py's interface, as neither comes with the
tests; one test uses h5py itself where it is installed.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ecgbench.data.code_test import CLASSES, CodeTest
from ecgbench.data.record import LEADS, RecordError
from ecgbench.data.splits import assert_patient_disjoint

ALL = {"train_folds": [], "val_folds": [], "test_folds": range(1, 11)}
OF_THE_DATA = [0, 1, 2, 4, 5, 3, 6, 7, 8, 9, 10, 11]
"""The standard leads in the order I, II, III, aVL, aVF, aVR, V1, ..."""


def exams_mv(n: int = 40, seed: int = 0) -> np.ndarray:
    """Exams (n, 4096, 12) in the standard order of leads, every second 7 s long, the others 10 s."""
    rng = np.random.default_rng(seed)
    beat = np.exp(-(((np.arange(4096) % 320 - 160) / 8) ** 2))
    one, two, *chest = (rng.uniform(0.4, 1.5, (8, n, 1)) * beat + rng.normal(0, 0.02, (8, n, 4096))).clip(1e-3)
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    exams = np.stack([*limb, *chest], axis=-1)
    for i, pad in enumerate([648, 48] * (n // 2)):
        exams[i, :pad] = exams[i, 4096 - pad :] = 0
    return exams.astype(np.float32)


class File(dict):
    """An open HDF5 file as the source uses one."""

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def copy_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, exams: np.ndarray | None = None, name: str = "tracings"
) -> Path:
    """A download whose HDF5 file holds `exams`; exam i is of a (20 + i)-year-old, and every tenth has 1dAVb and AF."""
    exams = exams_mv() if exams is None else exams
    stub = ModuleType("h5py")
    stub.File = lambda path, mode: File({name: exams})
    monkeypatch.setitem(sys.modules, "h5py", stub)
    (folder / "ecg_tracings.hdf5").touch()
    write_tables(folder, len(exams))
    return folder


def write_tables(folder: Path, n: int) -> None:
    """attributes.csv and the gold standard of n exams."""
    people = [f"{20 + i % 70},{'MF'[i % 2]}" for i in range(n)]
    (folder / "attributes.csv").write_text("\n".join(["age,sex", *people, ""]))
    (folder / "annotations").mkdir(exist_ok=True)
    gold = ["1,0,0,0,1,0" if i % 10 == 0 else "0,0,0,0,0,0" for i in range(n)]
    (folder / "annotations/gold_standard.csv").write_text("\n".join([",".join(CLASSES), *gold, ""]))


def code_test(root: Path, **changes: object) -> CodeTest:
    """The source as configured by default."""
    return CodeTest(root=root, **({"leads": LEADS} | ALL | changes))


@pytest.mark.parametrize("order", [list(range(12)), OF_THE_DATA], ids=["aVR first", "aVL first"])
def test_either_documented_order_of_leads_comes_out_as_the_standard_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    exams = exams_mv()
    source = code_test(copy_of(tmp_path, monkeypatch, exams[:, :, order]))
    assert source.lead_order == tuple(LEADS[i] for i in order)
    np.testing.assert_array_equal(source.read("0001").signal_mv, exams[1, 48:4048].T)
    some = code_test(tmp_path, leads=["aVF", "V1", "aVR"])
    np.testing.assert_array_equal(some.read("0001").signal_mv, exams[1, 48:4048, [5, 6, 3]])
    assert any(", ".join(LEADS[i] for i in order[3:6]) in note for note in source.notes(40))


def test_an_order_that_fits_no_document_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """aVF first, I and II swapped, and noise that follows no identity."""
    exams = exams_mv()
    noise = np.random.default_rng(1).normal(size=exams.shape)
    for wrong in (exams[:, :, [0, 1, 2, 5, 3, 4, *range(6, 12)]], exams[:, :, [1, 0, *range(2, 12)]], noise):
        source = code_test(copy_of(tmp_path, monkeypatch, wrong))
        with pytest.raises(ValueError, match="no known order of leads fits"):
            source.read("0000")


def test_a_few_bad_exams_do_not_hide_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median decides: five of the first 32 are noise, one is empty."""
    exams = exams_mv()
    exams[:5] = np.random.default_rng(1).normal(size=exams[:5].shape)
    exams[5] = 0
    source = code_test(copy_of(tmp_path, monkeypatch, exams[:, :, OF_THE_DATA]))
    assert source.lead_order[3:6] == ("aVL", "aVF", "aVR")
    with pytest.raises(RecordError, match="record 0005: all its samples are 0"):
        source.read("0005")


def test_the_padding_is_trimmed_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 s at 400 Hz are 2,800 samples between 648 zeros on either side, 10 s are 4,000 between 48."""
    exams = exams_mv()
    source = code_test(copy_of(tmp_path, monkeypatch, exams))
    assert (source.extent("0000"), source.extent("0001")) == ((648, 3448), (48, 4048))
    assert [source.read(name).signal_mv.shape for name in ("0000", "0001")] == [(12, 2800), (12, 4000)]
    record = code_test(tmp_path, padding="keep").read("0000")
    np.testing.assert_array_equal(record.signal_mv, exams[0].T)
    assert (record.fs_hz, record.patient_id) == (400.0, "0000")


def test_the_gain_scales_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = code_test(copy_of(tmp_path, monkeypatch), code_gain=0.5)
    np.testing.assert_array_equal(source.read("0001").signal_mv, exams_mv()[1, 48:4048].T / 2)
    assert source.identity() != code_test(tmp_path).identity()


@pytest.mark.parametrize(("factor", "guess"), [(1e-3, "volts"), (1e4, "microvolts")])
def test_values_in_another_unit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, guess: str
) -> None:
    source = code_test(copy_of(tmp_path, monkeypatch, exams_mv() * factor))
    with pytest.raises(RecordError, match=rf"record 0001: dataset.code_gain=1 does not give mV: .*{guess}"):
        source.read("0001")


def test_the_manifest_has_labels_ages_and_sexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = code_test(copy_of(tmp_path, monkeypatch)).manifest()
    assert manifest["record_id"].tolist() == [f"{i:04d}" for i in range(40)]
    assert manifest["diagnoses"].tolist() == ["1dAVb,AF" if i % 10 == 0 else "" for i in range(40)]
    assert manifest["age_years"].tolist() == [20.0 + i for i in range(40)]
    assert manifest["sex"].tolist() == ["male", "female"] * 20
    assert manifest["split"].eq("test").all()
    assert any("40 of 827 exams" in note for note in code_test(tmp_path).notes(40))


def test_folds_share_the_diagnoses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 exams, 20 of them with a diagnosis: 20 and two in each fold."""
    root = copy_of(tmp_path, monkeypatch, np.zeros((200, 4096, 12), dtype=np.float32))
    manifest = code_test(root, train_folds=range(1, 9), val_folds=[9], test_folds=[10]).manifest()
    assert_patient_disjoint(manifest)
    assert manifest["split"].value_counts().to_dict() == {"train": 160, "val": 20, "test": 20}
    assert manifest.groupby("fold")["diagnoses"].apply(lambda d: (d != "").sum()).eq(2).all()


def test_without_h5py_the_user_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "h5py", None)  # what import finds where a package is not there
    with pytest.raises(ValueError, match=r"h5py, which is not installed; run `pip install h5py`"):
        code_test(root).manifest()


def test_missing_files_and_other_shapes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no ecg_tracings.hdf5"):
        code_test(tmp_path).manifest()
    for name, exams in (("tracings", np.zeros((3, 4096, 8))), ("signal", np.zeros((3, 4096, 12)))):
        with pytest.raises(ValueError, match=r"should hold a dataset 'tracings' of exams x 4096 samples x 12 leads"):
            code_test(copy_of(tmp_path, monkeypatch, exams, name)).manifest()
    root = copy_of(tmp_path, monkeypatch)
    write_tables(root, 39)
    with pytest.raises(ValueError, match=r"attributes.csv has 39 rows of age, sex; expected is one row"):
        code_test(root).manifest()
    (root / "attributes.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no attributes.csv"):
        code_test(root).manifest()
    with pytest.raises(RecordError, match=r"record 0040: not among the 40 exams"):
        code_test(root).read("0040")


@pytest.mark.parametrize(("changes", "says"), [({"code_gain": 0.0}, "not a gain"), ({"fs_hz": 0}, "not a rate")])
def test_impossible_settings_are_refused(tmp_path: Path, changes: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        code_test(tmp_path, **changes)


def test_a_real_hdf5_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is optional")
    exams = exams_mv()
    with h5py.File(tmp_path / "ecg_tracings.hdf5", "w") as file:
        file["tracings"] = exams[:, :, OF_THE_DATA]
    write_tables(tmp_path, len(exams))
    source = code_test(tmp_path)
    assert len(source.manifest()) == 40
    np.testing.assert_array_equal(source.read("0003").signal_mv, exams[3, 48:4048].T)
