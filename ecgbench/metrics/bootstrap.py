"""Confidence intervals and paired tests over records that come in clusters (several records of one patient).

What is resampled are whole patients, with replacement, as records of one patient are alike; the statistic is the mean
over records. An interval is the percentile interval of the resampled means (Efron & Tibshirani 1993, ch. 13; for
clusters Field & Welsh 2007, J. R. Stat. Soc. B 69(3)). It covers the choice of test patients, not the training seed,
and is too narrow for a few tens of patients or fewer.

Values are (record,), or (record, metric) to resample several metrics together. A non-finite value is left out of its
metric and counted by `PairedDifference.n_nonfinite` and `ecgbench.metrics.summary`. All numbers are functions of the
arguments alone: with one seed and the same patients, every metric sees the same resamples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CHUNK_CELLS = 2**21
"""Resamples are drawn in chunks of at most this many (resample, cluster) cells, 16 MiB in float64."""


class PairedDifference(NamedTuple):
    """The mean of a - b over records with its interval and p-value; scalars, or one entry per metric."""

    mean: Floats
    low: Floats
    high: Floats
    p_value: Floats
    """Two-sided, of the sign-flip permutation test by cluster."""
    n_nonfinite: NDArray[np.int64]
    """Records left out because their difference is not finite."""


def mean_interval(
    values: ArrayLike, clusters: ArrayLike, n_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats]:
    """Lower and upper end of the interval around the mean over records.

    Args:
        values: (record,) or (record, metric).
        clusters: (record,), the patient of each record; anything that can be compared.
        n_resamples: resampled means to take percentiles of.
        level: coverage aimed at, between 0 and 1.
        seed: of the resampling.

    Returns:
        Two scalars, or two arrays (metric,); NaN for a metric with finite values in fewer than two clusters.
    """
    return _percentile_interval(*cluster_totals(values, clusters), n_resamples, level, seed)


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike, n_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> PairedDifference:
    """The mean of a - b over the same records, its cluster-bootstrap interval and a two-sided p-value.

    The p-value is that of a sign-flip permutation test: if the two systems were exchangeable, swapping them for all
    records of a patient would leave the distribution of the mean difference as it is (Good 2005). It is
    (1 + flips at least as extreme) / (1 + n_resamples), so never zero; NaN below two clusters.

    a, b: (record,) or (record, metric), row by row of the same record; clusters: (record,).
    """
    with np.errstate(invalid="ignore"):  # inf - inf is one lost pair, counted below
        difference = _as_floats(a) - _as_floats(b)
    sums, counts = cluster_totals(difference, clusters)
    low, high = _percentile_interval(sums, counts, n_resamples, level, seed)
    p_value = np.where(_enough_clusters(counts), _sign_flip_p_value(sums, n_resamples, seed), np.nan)
    return PairedDifference(
        mean=_ratio(sums.sum(0), counts.sum(0)),
        low=low,
        high=high,
        p_value=p_value[()],
        n_nonfinite=(~np.isfinite(difference)).sum(0),
    )


def cluster_totals(values: ArrayLike, clusters: ArrayLike) -> tuple[Floats, Floats]:
    """Sum and number of the finite values of each cluster, (cluster,) or (cluster, metric) both."""
    values = _as_floats(values)
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if len(values) == 0 or codes.shape != values.shape[:1]:
        raise ValueError(
            f"{len(values)} records with {codes.size} cluster names cannot be resampled;"
            " both must have one entry per record and at least one record. Give the patient of each record."
        )
    finite = np.isfinite(values)
    sums, counts = np.zeros((2, len(names), *values.shape[1:]))
    np.add.at(sums, codes, np.where(finite, values, 0.0))
    np.add.at(counts, codes, finite)
    return sums, counts


def _as_floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _enough_clusters(counts: Floats) -> NDArray[np.bool_]:
    """Whether a metric has finite values in at least two clusters."""
    return (counts > 0).sum(0) >= 2


def _percentile_interval(
    sums: Floats, counts: Floats, n_resamples: int, level: float, seed: int
) -> tuple[Floats, Floats]:
    """Ends of the percentile interval of the mean, from the totals of each cluster."""
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [_ratio(weights @ sums, weights @ counts) for weights in patient_weights(len(sums), n_resamples, rng)]
    )
    enough = _enough_clusters(counts)
    tails = ((1 - level) / 2, (1 + level) / 2)
    # A resample may miss every cluster that holds a finite value; its mean does not exist and is not ranked.
    low, high = np.nanquantile(np.where(enough, means, 0.0), tails, axis=0)
    return np.where(enough, low, np.nan)[()], np.where(enough, high, np.nan)[()]


def _ratio(sums: Floats, counts: Floats) -> Floats:
    """Mean from sum and count, NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        return sums / counts


def patient_weights(n_clusters: int, n_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample, in chunks of (resample, cluster)."""
    for n_rows in _chunks(n_clusters, n_resamples):
        cells = rng.integers(n_clusters, size=(n_rows, n_clusters)) + n_clusters * np.arange(n_rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.float64)


def _sign_flip_p_value(sums: Floats, n_resamples: int, seed: int) -> Floats:
    """Share of random sign patterns over clusters whose total is at least as far from zero as the observed one."""
    rng = np.random.default_rng(seed)
    # Totals that are equal in exact arithmetic must not be told apart by rounding.
    observed = np.abs(sums.sum(0)) - 1e-12 * np.abs(sums).sum(0)
    extreme = np.zeros(sums.shape[1:])
    for n_rows in _chunks(len(sums), n_resamples):
        signs = 1.0 - 2.0 * rng.integers(2, size=(n_rows, len(sums)), dtype=np.int8)
        extreme += (np.abs(signs @ sums) >= observed).sum(0)
    return (1 + extreme) / (1 + n_resamples)


def _chunks(n_clusters: int, n_resamples: int) -> Iterator[int]:
    """Numbers of resamples to draw at a time; they add up to `n_resamples`."""
    step = max(1, CHUNK_CELLS // n_clusters)
    for start in range(0, n_resamples, step):
        yield min(step, n_resamples - start)
