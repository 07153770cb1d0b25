"""The cluster bootstrap and the sign-flip test against scipy, enumeration by hand and their promised coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ecgbench.metrics import bootstrap
from ecgbench.metrics.bootstrap import cluster_totals, mean_interval, paired_difference

N_MANY = 20_000


def clustered(n_clusters: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values that share a part within each cluster (intra-class correlation 0.8), true mean 0; and the clusters."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (n_clusters, 1)) + rng.normal(0, 1, (n_clusters, size))
    return values.ravel(), np.repeat(np.arange(n_clusters), size)


def test_totals_by_hand():
    """Sums and counts per cluster, in the clusters' order, without the values that are not finite."""
    sums, counts = cluster_totals([1.0, 2.0, np.nan, 5.0, np.inf], ["b", "a", "a", "b", "c"])
    np.testing.assert_array_equal(sums, [2.0, 6.0, 0.0])
    np.testing.assert_array_equal(counts, [1, 2, 0])


def test_interval_equals_scipys_percentile_bootstrap():
    """With one record per patient it is scipy's percentile interval, within Monte-Carlo error."""
    values = np.random.default_rng(1).gamma(2.0, 3.0, 80)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=N_MANY, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    low, high = mean_interval(values, np.arange(80), n_resamples=N_MANY)
    # The standard error of a 2.5 % quantile of 20,000 draws is about 0.019 of their deviation.
    tolerance = 4 * 0.019 * np.sqrt(2) * values.std() / np.sqrt(80)
    assert (low, high) == pytest.approx(tuple(expected), abs=tolerance)


def test_interval_equals_enumeration_of_all_resamples():
    """Three patients with 1, 2 and 3 records: the percentiles of all 27 ways to draw three of them."""
    values, patients = [0.0, 4.0, 6.0, 1.0, 1.0, 7.0], ["a", "b", "b", "c", "c", "c"]
    groups = ([0.0], [4.0, 6.0], [1.0, 1.0, 7.0])
    means = [np.mean(np.concatenate(draw)) for draw in itertools.product(groups, repeat=3)]
    for level in (0.5, 0.8):
        low, high = mean_interval(values, patients, n_resamples=N_MANY, level=level)
        # 27 atoms: the quantile is one of them, as no tail of these levels falls on a boundary.
        tails = [(1 - level) / 2, (1 + level) / 2]
        assert (low, high) == pytest.approx(tuple(np.quantile(means, tails, method="inverted_cdf")), abs=1e-12)


def test_records_of_one_patient_do_not_narrow_the_interval():
    """Every record given ten times over is no new evidence: the interval stays bit for bit."""
    values, patients = clustered(30, 2, seed=0)
    once = mean_interval(values, patients)
    again = mean_interval(np.tile(values, 10), np.tile(patients, 10))
    np.testing.assert_allclose(again, once, rtol=1e-12)


def test_coverage_holds_for_patients_and_fails_for_records():
    """Over 300 simulated test sets of 40 patients x 5 alike records, 95 % intervals hold the truth in 89 to 98.5 %.

    Percentile intervals of 40 clusters are known to cover a little less than they say; taking each record for a
    patient of its own covers below 75 %.
    """
    hits = np.zeros(2)
    for seed in range(300):
        values, patients = clustered(40, 5, seed)
        for i, clusters in enumerate((patients, np.arange(len(values)))):
            low, high = mean_interval(values, clusters, n_resamples=400, seed=seed)
            hits[i] += low <= 0 <= high
    by_patient, by_record = hits / 300
    assert 0.89 <= by_patient <= 0.985
    assert by_record < 0.75


def test_metrics_together_equal_metrics_alone():
    """A table of metrics gives each the interval and the p-value it has by itself."""
    rng = np.random.default_rng(3)
    a, b, patients = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)), rng.integers(0, 25, 60)
    a[5, 2] = np.inf
    low, high = mean_interval(a, patients)
    both = paired_difference(a, b, patients)
    for k in range(4):
        np.testing.assert_allclose((low[k], high[k]), mean_interval(a[:, k], patients), rtol=1e-12)
        alone = paired_difference(a[:, k], b[:, k], patients)
        np.testing.assert_allclose([field[k] for field in both], alone, rtol=1e-12)


def test_chunks_change_nothing_but_memory(monkeypatch):
    """Drawn row by row or all at once, resamples and flips come from the same stream of the same law."""
    values, patients = clustered(20, 3, seed=1)
    whole = mean_interval(values, patients, n_resamples=N_MANY), paired_difference(values, 0.3 * values, patients)
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 64)
    parts = mean_interval(values, patients, n_resamples=N_MANY), paired_difference(values, 0.3 * values, patients)
    np.testing.assert_allclose(parts[0], whole[0], atol=0.05)
    assert parts[1].mean == whole[1].mean
    assert parts[1].p_value == pytest.approx(whole[1].p_value, abs=0.03)


def test_a_seed_fixes_every_number():
    """The same arguments give the same bits; another seed gives other resamples."""
    values, patients = clustered(20, 3, seed=1)
    assert mean_interval(values, patients, seed=3) == mean_interval(values, patients, seed=3)
    assert mean_interval(values, patients, seed=3) != mean_interval(values, patients, seed=4)


def test_the_order_of_records_does_not_matter():
    """Shuffled rows of the same table have the same interval and p-value."""
    values, patients = clustered(20, 3, seed=1)
    order = np.random.default_rng(0).permutation(len(values))
    np.testing.assert_allclose(
        mean_interval(values[order], patients[order]), mean_interval(values, patients), rtol=1e-12
    )
    shuffled = paired_difference(values[order], 0.5 * values[order], patients[order])
    np.testing.assert_allclose(shuffled, paired_difference(values, 0.5 * values, patients), rtol=1e-12)


def test_one_patient_has_no_interval():
    """Nothing is known about other patients from one, however many records it has."""
    assert np.isnan(mean_interval([1.0, 2.0, 3.0], ["a", "a", "a"])).all()
    difference = paired_difference([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], ["a", "a", "a"])
    assert difference.mean == 2.0
    assert np.isnan([difference.low, difference.high, difference.p_value]).all()


def test_values_that_are_not_finite_are_left_out_and_counted():
    """The interval is that of the finite values; inf - inf is one lost pair, not a zero."""
    values, patients = clustered(20, 3, seed=1)
    spoilt = np.concatenate([values, [np.inf, np.nan]])
    more_patients = np.concatenate([patients, [3, 7]])
    np.testing.assert_allclose(mean_interval(spoilt, more_patients), mean_interval(values, patients), rtol=1e-12)
    difference = paired_difference(spoilt, np.concatenate([0.5 * values, [np.inf, 0.0]]), more_patients)
    assert difference.n_nonfinite == 2
    assert difference.mean == pytest.approx(0.5 * values.mean(), rel=1e-12)
    assert np.isnan(mean_interval([np.nan, np.inf], ["a", "b"])).all()


def test_a_patient_whose_values_are_all_lost_may_be_drawn():
    """A resample of such patients only has no mean and is not ranked: the interval stays finite."""
    low, high = mean_interval([1.0, 2.0, np.nan, np.nan, np.nan], list("abcde"))
    assert (low, high) == (1.0, 2.0)


def test_p_value_equals_scipys_permutation_test():
    """With one record per patient it is scipy's exact paired permutation test of the mean, two-sided."""
    rng = np.random.default_rng(2)
    a = rng.normal(0.5, 1.0, 12)
    b = rng.normal(0.0, 1.0, 12)
    exact = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert 0.02 < exact < 0.9
    found = paired_difference(a, b, np.arange(12), n_resamples=N_MANY).p_value
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / N_MANY))


def test_p_value_flips_whole_patients():
    """Three patients, all better by one: 2 of the 8 sign patterns are as extreme, however many records there are."""
    patients = np.repeat([0, 1, 2], 50)
    p_value = paired_difference(np.ones(150), np.zeros(150), patients, n_resamples=N_MANY).p_value
    assert p_value == pytest.approx(0.25, abs=0.015)


def test_p_value_of_equal_and_of_clearly_different_systems():
    """No difference at all has p = 1; the same gain for each of 40 patients has the least p the flips can show."""
    assert paired_difference(np.ones(40), np.ones(40), np.arange(40)).p_value == 1.0
    difference = paired_difference(np.full(40, 3.0), np.zeros(40), np.arange(40), n_resamples=999)
    assert difference.p_value == 1 / 1000
    assert (difference.mean, difference.low, difference.high) == (3.0, 3.0, 3.0)


def test_p_value_is_uniform_when_the_systems_are_alike():
    """Under the null hypothesis a p-value below 0.1 comes up in about a tenth of 300 tables (3 sigma: 0.05 to 0.15)."""
    rng = np.random.default_rng(0)
    below = 0
    for seed in range(300):
        patients = np.repeat(np.arange(25), 3)
        a, b = rng.normal(0, 1, (2, 25))[:, patients] + rng.normal(0, 0.3, (2, 75))
        below += paired_difference(a, b, patients, n_resamples=300, seed=seed).p_value < 0.1
    assert 0.05 <= below / 300 <= 0.15


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0, 2.0], ["a"]), ([1.0], ["a", "b"])])
def test_records_without_their_patient_are_refused(values, clusters):
    """Values and patients must match record by record."""
    with pytest.raises(ValueError, match="one entry per record"):
        mean_interval(values, clusters)
