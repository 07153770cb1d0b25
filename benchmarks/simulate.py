"""How many records a second the simulator makes, next to neurokit2's, in one run on one core.

OMP_NUM_THREADS=1 python benchmarks/simulate.py
"""

import argparse
import time
from collections.abc import Callable

from ecgbench.data.simulated import Simulated


def fastest_s(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Times records of ten seconds, twelve leads and 500 Hz from each simulator's own interface."""
    import neurokit2 as nk

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1000, help="records to simulate (neurokit2 makes 5)")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the fastest counts")
    args = parser.parse_args()

    source = Simulated(n_records=args.records)
    ids = list(source.manifest().record_id)
    ours_s = fastest_s(lambda: source.read_batch(ids), args.repeats) / len(ids)
    theirs_s = (
        fastest_s(
            lambda: [
                nk.ecg_simulate(duration=10, sampling_rate=500, method="multileads", random_state=k) for k in range(5)
            ],
            args.repeats,
        )
        / 5
    )
    manifest_s = fastest_s(source.manifest, args.repeats)
    print(f"ecgbench   {1 / ours_s:10.1f} records/s   {1000 * ours_s:.2f} s for 1,000 records")
    print(f"neurokit2  {1 / theirs_s:10.1f} records/s   {1000 * theirs_s:.0f} s for 1,000 records")
    print(f"ratio      {theirs_s / ours_s:10.0f}")
    print(f"manifest   {len(ids) / manifest_s:10.0f} rows/s")


if __name__ == "__main__":
    main()
