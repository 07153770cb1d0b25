"""Time of the Challenge score, on one core and in one run: python benchmarks/challenge.py [--records N].

The naive loop is the definition written down: every record, every label, every decision. It is timed on a subset, on
which both must agree, and its rate is compared with that of all records at once.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from ecgbench.metrics.challenge import NORMAL, challenge_score, challenge_weights
from ecgbench.metrics.thresholds import choose_thresholds

N_TRAINING_RECORDS_2021 = 88_253
SUBSET = 4_000
YEAR = 2021


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=N_TRAINING_RECORDS_2021)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    classes, weights = challenge_weights(YEAR)
    y, scores = records(options.records, len(classes))
    decisions = scores > 0.5
    whole_s, _ = timed(lambda: challenge_score(y, decisions, YEAR, classes), options.rounds)
    naive_s, naive = timed(lambda: naive_score(y[:SUBSET], decisions[:SUBSET], weights, classes.index(NORMAL)), 1)
    np.testing.assert_allclose(naive, challenge_score(y[:SUBSET], decisions[:SUBSET], YEAR, classes), rtol=1e-12)
    search_s, _ = timed(lambda: choose_thresholds(y, scores, f"challenge_{YEAR}", classes), 1)
    ratio = (naive_s / min(SUBSET, len(y))) / (whole_s / len(y))
    table = Table("what", "records", "time", title=f"Challenge score of {YEAR}, {len(classes)} classes")
    table.add_row("vectorised", f"{len(y):,}", f"{whole_s:.3f} s")
    table.add_row("naive loop", f"{min(SUBSET, len(y)):,}", f"{naive_s:.3f} s")
    table.add_row("ratio per record", "", f"{ratio:.0f} times faster")
    table.add_row("thresholds for it", f"{len(y):,}", f"{search_s:.2f} s")
    Console().print(table)


def records(n_records: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels as frequent as in the Challenge, about 1.6 a record, and scores that know something of them."""
    rng = np.random.default_rng(0)
    y = rng.random((n_records, n_classes)) < rng.beta(0.5, 7.5, n_classes)
    return y, 1 / (1 + np.exp(-(rng.normal(0, 1, y.shape) + 4 * y - 2)))


def naive_score(y: np.ndarray, decisions: np.ndarray, weights: np.ndarray, normal: int) -> float:
    """The score by the definition, one cell at a time."""
    inactive = np.zeros_like(y)
    inactive[:, normal] = True
    observed, right, baseline = (naive_rewards(y, answer, weights) for answer in (decisions, y, inactive))
    return (observed - baseline) / (right - baseline)


def naive_rewards(y: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> float:
    """The summed rewards of these answers."""
    reward = 0.0
    for labels, answer in zip(y, answers, strict=True):
        n_either = max(int((labels | answer).sum()), 1)
        for j in range(len(labels)):
            for k in range(len(labels)):
                if labels[j] and answer[k]:
                    reward += weights[j, k] / n_either
    return reward


def timed(run: Callable[[], object], rounds: int) -> tuple[float, object]:
    """Seconds of the fastest round, and what it returned."""
    seconds, result = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


if __name__ == "__main__":
    main()
