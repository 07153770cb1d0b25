"""The simulator's maths against independent sums, published matrices and physiology."""

import numpy as np
import pytest

from ecgbench.signal import heart_dipole as dipole
from ecgbench.signal import simulate
from ecgbench.signal.draws import CUT, Draws
from ecgbench.signal.patients import DIAGNOSES
from ecgbench.signal.rhythm import Breath, fibrillating_onsets, sinus_onsets, with_premature

FS_HZ, DURATION_S = 500.0, 10.0


def planned(label: str, n: int = 40, seed: int = 3) -> simulate.Plan:
    numbers = np.arange(n)
    return simulate.plan(seed, DURATION_S, numbers, numbers, np.full(n, label))


def rendered(label: str, n: int = 40) -> tuple[simulate.Plan, np.ndarray]:
    plan = planned(label, n)
    return plan, simulate.render(plan, FS_HZ, int(DURATION_S * FS_HZ), noise_uv=0, seed=3)


def beats_of(plan: simulate.Plan, signal_mv: np.ndarray, before_s: float, after_s: float) -> list[np.ndarray]:
    """Per record, its sinus beats (beat, lead, time) cut around the QRS onset."""
    offsets = np.arange(round(-before_s * FS_HZ), round(after_s * FS_HZ))
    out = []
    for onset_s, kind, record in zip(plan.onset_s, plan.kind, signal_mv, strict=True):
        whole = (onset_s > before_s) & (onset_s < DURATION_S - after_s) & (kind == dipole.SINUS)
        starts = np.round(onset_s[whole] * FS_HZ).astype(int)
        out.append(record[:, starts[:, None] + offsets].swapaxes(0, 1))
    return out


def lead(name: str) -> int:
    return ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6").index(name)


class TestDraws:
    def test_a_subject_draws_the_same_whoever_else_is_drawn(self):
        alone = Draws(1, 0, np.array([7]))
        among = Draws(1, 0, np.array([3, 7, 9]))
        for _ in range(2):
            np.testing.assert_array_equal(alone.uniform(0, 1, 4, 2)[0], among.uniform(0, 1, 4, 2)[1])

    @pytest.mark.parametrize(
        "other", [Draws(2, 0, np.arange(5)), Draws(1, 1, np.arange(5)), Draws(1, 0, np.arange(5, 10))]
    )
    def test_seed_stream_and_subject_all_change_the_numbers(self, other):
        assert not np.any(Draws(1, 0, np.arange(5)).uniform(0, 1, 8) == other.uniform(0, 1, 8))

    def test_uniform_numbers_fill_the_range_of_each_subject(self):
        values = Draws(0, 0, np.arange(2)).uniform(np.array([0.0, 10.0]), np.array([1.0, 14.0]), 4000)
        np.testing.assert_allclose(values.mean(axis=1), [0.5, 12.0], atol=0.1)
        np.testing.assert_allclose(values.std(axis=1), np.array([1, 4]) / np.sqrt(12), rtol=0.05)

    def test_normal_numbers_have_the_moments_asked_for_and_no_outliers(self):
        z = Draws(0, 0, np.arange(4)).normal(3.0, 2.0, 4000)
        assert abs(z.mean() - 3) < 0.05
        assert abs(z.std() - 2 * 0.954) < 0.05  # a standard normal cut at 2.5 has a deviation of 0.954
        assert np.abs(z - 3).max() <= 2 * CUT


class TestHeartDipole:
    def test_lead_vectors_are_undone_by_the_published_inverse(self):
        """The inverse Dower matrix of Edenbrandt and Pahlm (1988), columns V1-V6, I, II."""
        inverse = np.array(
            [
                [-0.172, -0.074, 0.122, 0.231, 0.239, 0.194, 0.156, -0.010],
                [0.057, -0.019, -0.106, -0.022, 0.041, 0.048, -0.227, 0.887],
                [-0.229, -0.310, -0.246, -0.063, 0.055, 0.108, 0.022, 0.102],
            ]
        )
        lead_vectors = np.roll(dipole.LEAD_VECTORS, -2, axis=0)
        np.testing.assert_allclose(inverse @ lead_vectors, np.eye(3), atol=0.01)

    def test_derived_leads_obey_einthoven_and_goldberger(self):
        independent = np.random.default_rng(0).normal(0, 1, (3, 8, 50)).astype(np.float32)
        i, ii, iii, avr, avl, avf = dipole.twelve_leads(independent)[:, :6].swapaxes(0, 1)
        for residual in (i + iii - ii, avr + avl + avf, avr + (i + ii) / 2, avl - (i - iii) / 2, avf - (ii + iii) / 2):
            assert np.abs(residual).max() < 1e-6
        np.testing.assert_array_equal(dipole.twelve_leads(independent)[:, 6:], independent[:, 2:])

    def test_wave_trains_equal_the_sum_over_all_beats(self):
        onset, peak = np.array([[-100.0, 310.3, 702.9, 1100.0]]), np.array([[-40.5, 55.25]])
        width, gain = np.array([[[8.0, 5.0], [20.0, 30.0]]]), np.random.default_rng(0).uniform(0.5, 1.5, (1, 4, 2))
        trains = dipole.wave_trains(onset, gain, peak, width, 1000)
        time = np.arange(1000.0)
        for wave in range(2):
            expected = np.zeros(1000)
            for beat in range(4):
                z = time - onset[0, beat] - peak[0, wave]
                expected += gain[0, beat, wave] * np.exp(-0.5 * (z / np.where(z < 0, *width[0, wave])) ** 2)
            np.testing.assert_allclose(trains[0, wave], expected, atol=1e-4)

    def test_rotation_about_each_axis_turns_the_next_axis_into_the_one_after(self):
        quarter, zero = np.array([np.pi / 2]), np.array([0.0])
        x, y, z = np.eye(3)
        np.testing.assert_allclose(dipole.rotation(quarter, zero, zero)[0] @ y, z, atol=1e-12)
        np.testing.assert_allclose(dipole.rotation(zero, quarter, zero)[0] @ z, x, atol=1e-12)
        np.testing.assert_allclose(dipole.rotation(zero, zero, quarter)[0] @ x, y, atol=1e-12)


class TestRhythm:
    breath = Breath(np.array([0.25]), np.array([0.3]))

    def test_without_modulation_the_beats_are_even(self):
        onset = sinus_onsets(Draws(0, 1, np.array([0])), np.array([1.25]), np.array([0.0]), self.breath, 30)
        np.testing.assert_allclose(np.diff(onset), 0.8, atol=1e-9)

    def test_intervals_oscillate_with_the_breath(self):
        onset = sinus_onsets(Draws(0, 1, np.array([0])), np.array([1.2]), np.array([0.06]), self.breath, 400)[0]
        interval = np.diff(onset)
        time = np.arange(onset[0], onset[-1], 0.25)
        power = np.abs(np.fft.rfft(np.interp(time, onset[1:], interval - interval.mean()))) ** 2
        frequency = np.fft.rfftfreq(len(time), 0.25)
        respiratory = frequency > 0.15
        assert abs(frequency[respiratory][power[respiratory].argmax()] - 0.25) < 0.01
        assert abs(1 / interval.mean() - 1.2) < 0.01

    def test_fibrillation_is_irregular_but_refractory(self):
        draws = Draws(0, 1, np.arange(50))
        interval = np.diff(fibrillating_onsets(draws, np.full(50, 1.5), np.full(50, 0.4), 60))
        variation = interval.std(axis=1) / interval.mean(axis=1)
        assert interval.min() >= 0.4 - 1e-9
        assert variation.min() > 0.12
        assert variation.max() < 0.35
        # successive intervals are independent: their correlation is that of noise, about 1 / sqrt(50 * 58)
        assert abs(np.corrcoef(interval[:, :-1].ravel(), interval[:, 1:].ravel())[0, 1]) < 0.15

    def test_ventricular_beats_pause_fully_and_atrial_beats_reset_the_node(self):
        kind = np.array([dipole.PREMATURE_VENTRICULAR, dipole.PREMATURE_ATRIAL, dipole.SINUS])
        regular = np.tile(np.arange(-3, 13, 0.8), (3, 1))
        onset, kinds = with_premature(Draws(0, 1, np.arange(3)), regular, kind, np.full(3, 0.4), DURATION_S)
        interval = np.diff(onset)
        for row, after in ((0, None), (1, 0.8)):
            early = np.flatnonzero(kinds[row, 1:-1] == kind[row]) + 1
            assert len(early) >= 2
            assert interval[row, early - 1].max() < 0.6
            expected = 1.6 - interval[row, early - 1] if after is None else after
            np.testing.assert_allclose(interval[row, early], expected, atol=1e-9)
        np.testing.assert_array_equal(onset[2], regular[2])
        assert not kinds[2].any()


class TestDiagnoses:
    def test_record_is_the_same_in_any_company(self):
        labels = np.array(["NORM", "AFIB", "PVC", "LBBB", "PAC"])
        numbers = np.array([4, 9, 2, 30, 11])
        together = simulate.render(simulate.plan(0, 10, numbers, numbers, labels), FS_HZ, 5000, 5.0, 0)
        for k in (4, 1):
            one = slice(k, k + 1)
            plan = simulate.plan(0, 10, numbers[one], numbers[one], labels[one])
            np.testing.assert_array_equal(simulate.render(plan, FS_HZ, 5000, 5.0, 0)[0], together[k])

    def test_noise_has_the_level_asked_for(self):
        plan, clean = rendered("NORM", 8)
        noise_uv = 1e3 * (simulate.render(plan, FS_HZ, 5000, 5.0, 3) - clean)
        np.testing.assert_allclose(noise_uv[:, [0, 1, 6, 11]].std(axis=-1), 5.0, rtol=0.05)

    @pytest.mark.parametrize("label", DIAGNOSES)
    def test_amplitudes_are_physiological(self, label):
        """The tallest lead's peak is between 0.6 and 5 mV, and an R wave in some limb lead above 0.3 mV."""
        _, signal_mv = rendered(label)
        tallest = np.abs(signal_mv).max(axis=(1, 2))
        assert tallest.min() > 0.6
        assert tallest.max() < 5
        assert signal_mv[:, :3].max(axis=(1, 2)).min() > 0.3
        assert signal_mv[:, 1].max(axis=-1).max() < 3

    def test_p_wave_is_upright_in_ii_and_negative_in_avr(self):
        plan, signal_mv = rendered("NORM")
        times = simulate.fiducials(plan)
        to_peak = np.round((times.p_peak - times.qrs_onset)[:, 0] * FS_HZ).astype(int)
        for beats, delay in zip(beats_of(plan, signal_mv, 0.3, 0.1), to_peak, strict=True):
            at_peak = beats.mean(axis=0)[:, 150 + delay]
            assert at_peak[lead("II")] > 0.03
            assert at_peak[lead("aVR")] < -0.02

    def test_fibrillation_has_waves_but_no_p(self):
        """Averaged over beats, what stands before the QRS in lead II is far below a P wave, unlike its single beats."""

        def swing(label: str) -> np.ndarray:
            plan, signal_mv = rendered(label)
            return np.array(
                [np.ptp(beats.mean(axis=0)[lead("II"), :110]) for beats in beats_of(plan, signal_mv, 0.22, 0.1)]
            )

        assert np.median(swing("AFIB")) < 0.6 * np.median(swing("NORM"))
        assert np.isnan(simulate.fiducials(planned("AFIB")).p_peak).all()
        plan, signal_mv = rendered("AFIB")
        v1 = [beats[:, lead("V1"), 25:110].std(axis=1).mean() for beats in beats_of(plan, signal_mv, 0.22, 0.1)]
        assert np.median(v1) > 0.02

    def test_r_wave_grows_and_s_wave_shrinks_from_v1_to_v5(self):
        plan, signal_mv = rendered("NORM")
        qrs = np.stack([beats.mean(axis=0) for beats in beats_of(plan, signal_mv, 0.0, 0.1)])
        r, s = np.median(qrs.max(axis=-1), axis=0), -np.median(qrs.min(axis=-1), axis=0)
        assert r[lead("V1")] < s[lead("V1")]
        assert r[lead("V5")] > 2 * s[lead("V5")]
        assert r[lead("V1")] < r[lead("V3")] < r[lead("V4")]

    def test_right_bundle_branch_block_ends_with_r_in_v1_and_s_in_i_and_v6(self):
        plan, signal_mv = rendered("RBBB")
        assert plan.qrs_s.min() >= 0.120
        late = [beats.mean(axis=0)[:, 35:55] for beats in beats_of(plan, signal_mv, 0.0, 0.12)]
        peaks = np.median([(beat[6].max(), beat[0].min(), beat[11].min()) for beat in late], axis=0)
        assert peaks[0] > 0.4
        assert peaks[1] < -0.1
        assert peaks[2] < -0.1

    def test_left_bundle_branch_block_is_positive_in_v6_and_i_and_negative_in_v1(self):
        plan, signal_mv = rendered("LBBB")
        assert plan.qrs_s.min() >= 0.120
        qrs = np.stack([beats.mean(axis=0) for beats in beats_of(plan, signal_mv, 0.0, 0.12)])
        v1, v6 = qrs[:, lead("V1")], qrs[:, lead("V6")]
        assert np.median(v1.min(axis=-1)) < -0.7
        assert np.median(v6.max(axis=-1)) > 0.6
        assert np.median(v6.min(axis=-1)) > -0.1
        late = np.stack([beats.mean(axis=0)[:, 120:] for beats in beats_of(plan, signal_mv, 0.0, 0.42)])
        assert np.median(late[:, lead("V6")].min(axis=-1)) < -0.1, "the T wave is discordant"

    def test_hypertrophy_meets_the_voltage_criterion_that_healthy_hearts_do_not(self):
        """Sokolow and Lyon (1949): S in V1 plus R in V5 or V6 is 3.5 mV or more."""

        def positive(label: str) -> float:
            _, signal_mv = rendered(label)
            r = signal_mv[:, [lead("V5"), lead("V6")]].max(axis=(1, 2))
            return float(np.mean(r - signal_mv[:, lead("V1")].min(axis=-1) >= 3.5))

        assert positive("LVH") > 0.6
        assert positive("NORM") < 0.15

    def test_st_change_lowers_st_and_inverts_t_in_lateral_leads(self):
        def st_and_t(label: str) -> np.ndarray:
            plan, signal_mv = rendered(label)
            times = simulate.fiducials(plan)
            delays = np.stack([times.qrs_offset + 0.06, times.t_peak], axis=-1) - times.qrs_onset[..., None]
            samples = np.round(delays[:, 0] * FS_HZ).astype(int)
            beats = beats_of(plan, signal_mv, 0.0, 0.45)
            return np.median([b.mean(axis=0)[lead("V5"), at] for b, at in zip(beats, samples, strict=True)], axis=0)

        assert st_and_t("NORM")[0] > -0.03
        assert st_and_t("NORM")[1] > 0.2
        assert (st_and_t("STTC") < -0.1).all()

    def test_ventricular_beats_are_wide_and_without_p(self):
        plan = planned("PVC")
        times = simulate.fiducials(plan)
        foreign = plan.kind == dipole.PREMATURE_VENTRICULAR
        inside = (times.r_peak > 0) & (times.r_peak < DURATION_S)
        assert (foreign & inside).any(axis=1).all()
        assert (times.qrs_offset - times.qrs_onset)[foreign].min() >= 0.12
        assert np.isnan(times.p_onset[foreign]).all()
        assert not np.isnan(times.p_onset[~foreign]).any()

    def test_peaks_of_t_are_where_the_truth_says(self):
        """The largest deflection of the T interval, in a lead where T is tall, for sinus and ventricular beats."""
        plan, signal_mv = rendered("PVC")
        times = simulate.fiducials(plan)
        inside = (times.qrs_onset > 0) & (times.t_offset < DURATION_S)
        for record, beat in np.argwhere(inside):
            first, last = (round(t[record, beat] * FS_HZ) for t in (times.t_onset, times.t_offset))
            strength = np.abs(signal_mv[record, :, first:last]).sum(axis=0)
            assert abs((first + strength.argmax()) / FS_HZ - times.t_peak[record, beat]) < 0.012

    def test_every_wave_stays_within_its_interval(self):
        """At the limits of each interval the wave has fallen to a few percent: the part's sum is small there."""
        plan, signal_mv = rendered("NORM")
        for beats, qrs_s, pr_s in zip(beats_of(plan, signal_mv, 0.25, 0.12), plan.qrs_s, plan.pr_s, strict=True):
            beat = np.abs(beats.mean(axis=0))
            peak = beat.max()
            for time_s in (-pr_s, 0.0, qrs_s):
                assert beat[:, round((0.25 + time_s) * FS_HZ)].max() < 0.08 * peak

    def test_qt_follows_fridericia_and_sex(self):
        labels = np.resize(["NORM", "SB", "ST"], 900)
        numbers = np.arange(900)
        plan = simulate.plan(0, DURATION_S, numbers, numbers, labels)
        interval_s = 60 / simulate.heart_rate_bpm(simulate.fiducials(plan).r_peak, DURATION_S)
        slope = np.polyfit(np.log(interval_s), np.log(plan.qt_s), 1)[0]
        assert abs(slope - 1 / 3) < 0.03
        qtc_ms = 1e3 * plan.qt_s / np.cbrt(interval_s)
        male = plan.patient.is_male
        assert 5 < qtc_ms[~male].mean() - qtc_ms[male].mean() < 15
