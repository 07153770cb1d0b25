"""The simulated data set: its manifest, its determinism, and what independent detectors find in it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.interpolate import CubicSpline
from scipy.signal import butter, filtfilt

from ecgbench.data.record import LEADS, RecordError
from ecgbench.data.simulated import Simulated
from ecgbench.signal.patients import DIAGNOSES

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "dataset" / "simulated.yaml"


@pytest.fixture(scope="module")
def source() -> Simulated:
    return Simulated(n_records=110)


@pytest.fixture(scope="module")
def manifest(source: Simulated) -> pd.DataFrame:
    return source.manifest().set_index("record_id", drop=False)


def lead_ii(source: Simulated, record_id: str) -> np.ndarray:
    return source.read(record_id).signal_mv[1].astype(float)


class TestManifest:
    def test_config_builds_the_source_with_its_default_values(self):
        config = yaml.safe_load(CONFIG.read_text())
        assert config.pop("_target_") == "ecgbench.data.simulated.Simulated"
        assert Simulated(**config).identity() == Simulated().identity()

    def test_rows_describe_every_record(self, source, manifest):
        assert manifest.record_id.is_unique
        assert len(manifest) == 110
        assert manifest.notna().drop(columns="pr_ms").all().all()
        assert (manifest.pr_ms.isna() == (manifest.label == "AFIB")).all()
        assert set(manifest.label) == set(DIAGNOSES)
        assert manifest.age.between(18, 90).all()
        assert set(manifest.sex) == {"male", "female"}

    def test_folds_follow_the_patients_as_in_ptbxl(self, manifest):
        per_patient = manifest.groupby("patient_id")
        assert (per_patient.fold.nunique() == 1).all()
        assert (per_patient.label.nunique() == 1).all()
        assert per_patient.size().value_counts().to_dict() == {1: 66, 2: 22}
        expected = manifest.fold.map(lambda fold: {9: "val", 10: "test"}.get(fold, "train"))
        assert (manifest.split == expected).all()
        assert set(manifest.fold) == set(range(1, 11))

    @pytest.mark.parametrize("seed", range(5))
    def test_twelve_records_fill_every_split(self, seed):
        assert set(Simulated(n_records=12, seed=seed).manifest().split) == {"train", "val", "test"}

    def test_more_records_leave_the_first_ones_as_they_are(self, manifest):
        longer = Simulated(n_records=200).manifest().head(110)
        pd.testing.assert_frame_equal(manifest.reset_index(drop=True), longer)

    def test_intervals_meet_the_definition_of_each_diagnosis(self):
        rows = Simulated(n_records=1100).manifest().groupby("label")
        low, high = rows.min(numeric_only=True), rows.max(numeric_only=True)
        assert high.heart_rate_bpm["SB"] < 60
        assert low.heart_rate_bpm["ST"] > 100
        assert low.heart_rate_bpm["NORM"] > 57
        assert high.heart_rate_bpm["NORM"] < 103
        assert low.pr_ms["1AVB"] > 200
        assert high.pr_ms.drop("1AVB").max() <= 200
        assert low.qrs_ms[["RBBB", "LBBB"]].min() >= 120
        assert high.qrs_ms.drop(["RBBB", "LBBB"]).max() < 120

    def test_a_diagnosis_listed_twice_is_dealt_twice_as_often(self):
        labels = Simulated(n_records=300, labels=["NORM", "NORM", "AFIB"]).manifest().label.value_counts()
        assert abs(labels["NORM"] / labels["AFIB"] - 2) < 0.2

    def test_age_and_sex_are_numbers_too(self, manifest):
        assert (manifest.age_years == manifest.age).all()
        assert (manifest.is_male == (manifest.sex == "male")).all()

    def test_targets_are_the_diagnoses(self, source, manifest):
        """One class a record, in the order of the labels; one that is listed twice has one column."""
        targets = source.targets(manifest)
        assert targets.classes == tuple(DIAGNOSES)
        assert [targets.classes[c] for c in targets.y.argmax(axis=1)] == manifest.label.tolist()
        assert (targets.y.sum(axis=1) == 1).all()
        assert targets.y.dtype == np.float32
        assert targets.kept.all()
        assert targets.notes == []
        twice = Simulated(n_records=60, labels=["AFIB", "NORM", "AFIB"])
        assert twice.targets(twice.manifest()).classes == ("AFIB", "NORM")

    def test_a_class_without_training_records_is_named(self, source, manifest):
        (note,) = source.targets(manifest[(manifest.split != "train") | (manifest.label != "LVH")]).notes
        assert "No training record has LVH" in note

    def test_another_dataset_s_rows_are_refused(self, manifest):
        with pytest.raises(ValueError, match=r"diagnoses 1AVB, .*labels=\['NORM', 'AFIB'\] does not list"):
            Simulated(n_records=110, labels=["NORM", "AFIB"]).targets(manifest)

    def test_parquet_keeps_the_manifest(self, manifest, tmp_path):
        manifest.to_parquet(tmp_path / "m.parquet", index=False)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "m.parquet"), manifest.reset_index(drop=True))


class TestRecords:
    def test_record_has_the_bytes_of_any_batch(self, source, manifest):
        ids = list(manifest.record_id[:20])
        backwards = source.read_batch(ids[::-1])[::-1]
        for record_id, record in zip(ids, backwards, strict=True):
            assert record.record_id == record_id
            assert record.patient_id == manifest.patient_id[record_id]
            assert record.signal_mv.dtype == np.float32
            np.testing.assert_array_equal(source.read(record_id).signal_mv, record.signal_mv)

    def test_record_does_not_depend_on_how_many_there_are(self, source):
        longer = Simulated(n_records=5000).read("sim-000007")
        np.testing.assert_array_equal(longer.signal_mv, source.read("sim-000007").signal_mv)

    def test_another_seed_makes_other_records(self, source):
        other = Simulated(n_records=110, seed=1)
        assert np.abs(other.read("sim-000000").signal_mv - source.read("sim-000000").signal_mv).max() > 0.1
        assert (other.manifest().fold != source.manifest().fold).any()

    def test_two_patients_differ_more_than_two_records_of_one(self, source):
        def shape(record_id: str) -> np.ndarray:
            """The QRS of each lead, averaged over the beats, cut around the R peak."""
            signal_mv, r_peak = source.read(record_id).signal_mv, source.truth(record_id).r_peak.round().astype(int)
            r_peak = r_peak[(r_peak > 50) & (r_peak < 4950)].to_numpy()
            return signal_mv[:, r_peak[:, None] + np.arange(-25, 26)].mean(axis=1)

        rows = source.manifest()
        healthy = rows[rows.label == "NORM"]
        patient_id = healthy.patient_id.value_counts().index[0]
        first, second = healthy.record_id[healthy.patient_id == patient_id]
        others = healthy.record_id[healthy.patient_id != patient_id]
        assert np.abs(shape(first) - shape(second)).max() < 0.15
        assert min(np.abs(shape(first) - shape(other)).max() for other in others) > 0.3

    def test_leads_are_a_selection_of_the_twelve(self, source):
        two = Simulated(n_records=110, leads=["V5", "II"]).read("sim-000003")
        assert two.leads == ("V5", "II")
        np.testing.assert_array_equal(two.signal_mv, source.read("sim-000003").signal_mv[[10, 1]])

    def test_einthoven_and_goldberger_hold_with_noise(self, source):
        lead = dict(zip(LEADS, source.read("sim-000020").signal_mv, strict=True))
        assert np.abs(lead["I"] + lead["III"] - lead["II"]).max() < 1e-6
        assert np.abs(lead["aVR"] + lead["aVL"] + lead["aVF"]).max() < 1e-6
        assert np.abs(lead["aVL"] - (lead["I"] - lead["III"]) / 2).max() < 1e-6

    def test_rate_and_duration_change_the_grid_but_not_the_heart(self):
        fast = Simulated(n_records=20, noise_uv=0).read("sim-000002").signal_mv
        slow = Simulated(n_records=20, noise_uv=0, fs_hz=250).read("sim-000002").signal_mv
        assert Simulated(n_records=20, duration_s=12.5, fs_hz=360).read("sim-000002").signal_mv.shape == (12, 4500)
        np.testing.assert_allclose(slow, fast[:, ::2], atol=2e-4)

    def test_unknown_records_are_named(self, source):
        good, bad = source.read_batch(["sim-000001", "sim-000110"])
        assert good.record_id == "sim-000001"
        assert isinstance(bad, RecordError)
        for record_id in ("sim-000110", "sim-1", "ptb-000001"):
            with pytest.raises(RecordError, match=f"{record_id}.*sim-000000 to sim-000109"):
                source.read(record_id)
        with pytest.raises(RecordError, match="nothing"):
            source.truth("nothing")

    def test_identity_tells_apart_what_changes_the_data(self, source):
        assert source.files("sim-000000") == []
        assert Simulated(n_records=110).identity() == source.identity()
        changes = [
            {"seed": 1},
            {"fs_hz": 250},
            {"duration_s": 8},
            {"noise_uv": 0},
            {"labels": ["NORM"]},
            {"leads": ["I"]},
        ]
        for change in changes:
            assert Simulated(**({"n_records": 110} | change)).identity() != source.identity()


class TestBadParameters:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"leads": ["I", "V7"]}, r"dataset.leads is .*V7.*; use one or more of I, II"),
            ({"labels": ["WPW"]}, r"dataset.labels is \['WPW'\]; use one or more of NORM"),
            ({"labels": []}, r"dataset.labels is \[\]"),
            ({"n_records": 0}, r"dataset.n_records is 0; it must be 1 or more"),
            ({"noise_uv": -1}, r"dataset.noise_uv is -1; it must be 0 or more"),
            ({"duration_s": 1}, r"dataset.duration_s is 1; it must be 4 or more"),
        ],
    )
    def test_is_refused_with_the_allowed_values(self, given, message):
        with pytest.raises(ValueError, match=message):
            Simulated(**given)

    def test_too_few_records_for_a_split_are_refused(self):
        with pytest.raises(
            ValueError,
            match=r"dataset.n_records=3 leaves the split .* without a record; .* dataset.n_records=12 or more",
        ):
            Simulated(n_records=3).manifest()


class TestAgainstDetectors:
    """neurokit2 knows nothing of how the records were made."""

    fs_hz = 500

    def detect(self, signal_mv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import neurokit2 as nk

        clean = nk.ecg_clean(signal_mv, sampling_rate=self.fs_hz)
        return clean, np.asarray(nk.ecg_peaks(clean, sampling_rate=self.fs_hz)[1]["ECG_R_Peaks"])

    def test_heart_rate_is_the_detected_one(self, source, manifest):
        """Beats within 0.4 s of either end are left out on both sides: the detector is unsure of them."""

        def rate_bpm(peaks: np.ndarray) -> float:
            inside = peaks[(peaks > 200) & (peaks < 4800)]
            return 60 * self.fs_hz * (len(inside) - 1) / (inside[-1] - inside[0])

        sinus = manifest[manifest.label.isin(["NORM", "SB", "ST", "1AVB", "STTC"])].record_id
        for record_id in sinus:
            _, detected = self.detect(lead_ii(source, record_id))
            true = source.truth(record_id).r_peak.to_numpy()
            assert abs(rate_bpm(detected) - rate_bpm(true)) < 1
            assert abs(rate_bpm(true) - manifest.heart_rate_bpm[record_id]) < 2.5, "the ends change the mean a little"

    def test_detected_r_peaks_are_the_true_ones(self, source, manifest):
        for record_id in manifest[manifest.label == "NORM"].record_id[:8]:
            _, detected = self.detect(lead_ii(source, record_id))
            true = source.truth(record_id).r_peak.to_numpy()
            assert np.median(np.abs(detected[:, None] - true).min(axis=1)) / self.fs_hz < 0.008

    def test_fibrillation_is_irregular_and_sinus_rhythm_is_not(self, source, manifest):
        def variation(record_id: str) -> float:
            intervals = np.diff(self.detect(lead_ii(source, record_id))[1])
            return float(intervals.std() / intervals.mean())

        rows = manifest[manifest.label.isin(["AFIB", "NORM", "ST"])]
        found = rows.record_id.map(variation).groupby(rows.label)
        assert found.min()["AFIB"] > 0.1
        assert found.max()[["NORM", "ST"]].max() < 0.1

    def test_intervals_are_near_what_was_asked(self):
        """Medians over 40 records, by the prominence method (Emrich et al. 2024).

        neurokit2's wavelet methods take the last downward slope before Q for the QRS onset, which in a lead without Q
        is the P wave's: on PTB-XL too they find a QRS of about 180 ms.
        """
        import neurokit2 as nk

        source = Simulated(n_records=40, labels=["NORM", "SB", "1AVB"])
        rows, errors_ms = source.manifest(), []
        for row in rows.itertuples():
            clean, peaks = self.detect(lead_ii(source, row.record_id))
            waves = nk.ecg_delineate(clean, peaks, sampling_rate=self.fs_hz, method="prominence")[1]
            at = {name: np.asarray(waves[name], float) for name in ("ECG_P_Onsets", "ECG_R_Onsets", "ECG_R_Offsets")}
            t_offset = np.asarray(waves["ECG_T_Offsets"], float)
            onset = at["ECG_R_Onsets"]
            found = [
                np.nanmedian(v) * 2 for v in (onset - at["ECG_P_Onsets"], at["ECG_R_Offsets"] - onset, t_offset - onset)
            ]
            errors_ms.append(np.subtract(found, (row.pr_ms, row.qrs_ms, row.qt_ms)))
        pr, qrs, qt = np.abs(np.median(errors_ms, axis=0))
        assert pr < 10
        assert qrs < 20
        assert qt < 20

    def test_ten_fold_decimation_loses_what_it_loses_on_recordings(self, source, manifest):
        """A cubic spline through every tenth sample reaches 13.9 dB on fold 10 of PTB-XL, after the same filter."""
        b, a = butter(2, (1, 45), btype="bandpass", fs=500)
        snr_db = []
        for record in source.read_batch(list(manifest.record_id)):
            true = filtfilt(b, a, record.signal_mv.astype(float), axis=-1)
            kept = np.arange(0, true.shape[1], 10)
            error = CubicSpline(kept, true[:, kept], axis=1)(np.arange(true.shape[1])) - true
            snr_db.append(10 * np.log10((true**2).sum() / (error**2).sum()))
        assert 12.5 < np.mean(snr_db) < 15.5
