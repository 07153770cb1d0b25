"""`python -m ecgbench.fetch DATASET`: download recordings from PhysioNet, with resume and SHA-256 checks.

Run the same command again to continue after an interruption; files that are whole are not fetched twice.
"""

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path

from rich.filesize import decimal

from ecgbench.data.fetch import REMOTES, FetchError, FetchReport, fetch

EXAMPLES = """examples:
  python -m ecgbench.fetch ptbxl                      all of PTB-XL 1.0.3 into data/ptb-xl (about 3 GB)
  python -m ecgbench.fetch ptbxl --only ptbxl_database.csv --only 'records500/00000/*'
  python -m ecgbench.fetch nstdb --root ../data/nstdb --jobs 2
"""
INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every file is there, 1 when one failed or nothing could be fetched, 2 on a wrong command."""
    options = _parser().parse_args(arguments)
    remote = REMOTES[options.dataset]
    root = options.root or remote.root
    try:
        report = fetch(options.base_url or remote.base_url, root, options.only, options.jobs)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    return _tell(report, root)


def _tell(report: FetchReport, root: Path) -> int:
    """Print the counts and the failed files; 1 when there are any."""
    print(
        f"{root}: {report.downloaded} fetched ({decimal(report.n_bytes)}), {report.present} already there,"
        f" {len(report.failed)} failed"
    )
    if not report.failed:
        return 0
    for path, reason in sorted(report.failed.items()):
        print(f"failed: {path}: {reason}", file=sys.stderr)
    print("error: some files could not be fetched. Run the same command again to try only these.", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ecgbench fetch",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=_dataset, help=f"{' | '.join(REMOTES)}")
    parser.add_argument("--root", type=Path, help="folder to write into (default: data/ptb-xl, data/mitdb, data/nstdb)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="fetch files matching this; may be repeated"
    )
    parser.add_argument("--jobs", type=_jobs, default=4, help="files to fetch at once (default: 4)")
    parser.add_argument("--base-url", help="a mirror of the data set's folder; https, or http on this machine")
    return parser


def _dataset(name: str) -> str:
    """A known data set's name, or the nearest one in the error."""
    if name in REMOTES:
        return name
    near = get_close_matches(name, REMOTES, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise argparse.ArgumentTypeError(f"'{name}' cannot be fetched, only {', '.join(REMOTES)} can.{hint}")


def _jobs(text: str) -> int:
    """A positive number."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a number of files; give 1 or more.")


if __name__ == "__main__":
    sys.exit(main())
