"""Where the records of the PhysioNet/CinC Challenges lie, and their headers, all read at once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ecgbench.data.cinc_header import CincHeader, parse_header
from ecgbench.data.record import RecordError

LAYOUT = "training/<source>/g1/*.hea with *.mat beside them (or <source>/g1/... without training/)"
HEADERS_PER_TASK = 256


def find_headers(root: Path) -> dict[str, dict[str, Path]]:
    """The headers under each source's folder, by record and in alphabetical order; no file is opened.

    A source is a folder of `root`/training, or of `root` where there is no training/. Raises FileNotFoundError when
    no source holds a header, ValueError when two headers have one name.
    """
    top = root / "training" if (root / "training").is_dir() else root
    folders = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    found = {folder.name: _headers_in(folder) for folder in folders}
    if not any(found.values()):
        raise FileNotFoundError(
            f"dataset.root={root} holds no challenge record; expected is {LAYOUT}, as "
            "physionet.org/content/challenge-2021 gives them: set dataset.root to the folder that holds training/"
        )
    _check_unique(found)
    return found


def read_headers(paths: Sequence[Path]) -> list[CincHeader | RecordError]:
    """What each header says, or why it says nothing, in the order of `paths`."""
    chunks = [paths[i : i + HEADERS_PER_TASK] for i in range(0, len(paths), HEADERS_PER_TASK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads wait for the disk; parsing takes little
        return [header for chunk in pool.map(_read_chunk, chunks) for header in chunk]


def read_header(path: Path) -> CincHeader:
    """What the header file says; RecordError naming the record when it cannot be used."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise RecordError(path.stem, f"its header {path} cannot be read ({error.strerror})") from error
    return parse_header(text, path.stem)


def _read_chunk(paths: Sequence[Path]) -> list[CincHeader | RecordError]:
    """`read_headers`, one after the other."""
    headers: list[CincHeader | RecordError] = []
    for path in paths:
        try:
            headers.append(read_header(path))
        except RecordError as error:
            headers.append(error)
    return headers


def _headers_in(folder: Path) -> dict[str, Path]:
    """Every header under `folder`, by record."""
    names = [
        (name.removesuffix(".hea"), Path(place, name))
        for place, _, files in os.walk(folder)
        for name in files
        if name.endswith(".hea") and not name.startswith(".")
    ]
    headers = dict(sorted(names))
    if len(headers) < len(names):
        twice = sorted({str(path) for name, path in names if path != headers[name]})
        raise ValueError(_twice(twice))
    return headers


def _check_unique(found: dict[str, dict[str, Path]]) -> None:
    """ValueError when a record is in two sources."""
    seen: set[str] = set()
    for headers in found.values():
        if shared := sorted(seen & headers.keys()):
            raise ValueError(_twice([str(headers[name]) for name in shared]))
        seen |= headers.keys()


def _twice(paths: Sequence[str]) -> str:
    """The message for records that are there more than once."""
    return (
        f"{len(paths)} headers under dataset.root have the name of another one (first: {', '.join(paths[:3])}); "
        "a record's name is its identity, so move the copies away"
    )
