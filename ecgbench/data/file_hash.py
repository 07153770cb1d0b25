"""SHA-256 of a source's files, remembered between runs so that an unchanged download is read only once."""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ecgbench.data.source import Source

MEMO = "file_hashes.json"
"""{path: [size, mtime_ns, SHA-256]}, beside the stores."""
MISSING = "missing"
"""Stands for the hash of a file that is not there."""

Memo = dict[str, list[int | str]]


def data_hash(source: Source, memo_folder: Path | None = None) -> str:
    """Hex SHA-256 of the bytes of the source's files and of its identity: where they lie does not enter.

    `memo_folder` holds the hashes of earlier calls; files whose size and time of change are as before are not read.
    """
    record_ids = source.manifest()["record_id"].tolist()
    files = [(record_id, path) for record_id in record_ids for path in source.files(record_id)]
    hashes = hash_files([path for _, path in files], memo_folder)
    digest = hashlib.sha256(json.dumps(source.identity(), sort_keys=True).encode())
    for (record_id, path), file_hash in zip(files, hashes, strict=True):
        digest.update(f"{record_id} {path.name} {file_hash}\n".encode())
    return digest.hexdigest()


def hash_files(paths: Iterable[Path], memo_folder: Path | None = None) -> list[str]:
    """Hex SHA-256 of each file, 'missing' for those that are not there; reads in as many threads as there are cores."""
    names = [os.path.abspath(path) for path in paths]
    states = {name: state for name in names if (state := _state(name)) is not None}
    memo = _load(memo_folder)
    changed = [name for name, state in states.items() if memo.get(name, [])[:2] != state]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fresh = dict(zip(changed, pool.map(_sha256, changed), strict=True))
    memo |= {name: [*states[name], fresh[name]] for name in changed}
    if memo_folder is not None and changed:
        _save(memo, memo_folder)
    return [str(memo[name][2]) if name in states else MISSING for name in names]


def _state(name: str) -> list[int] | None:
    """Size and time of change of a file, None where there is none."""
    try:
        stat = os.stat(name)
    except FileNotFoundError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _sha256(name: str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(folder: Path | None) -> Memo:
    """The hashes noted in `folder`; none where there is no folder or its note is unreadable."""
    try:
        return {} if folder is None else json.loads((folder / MEMO).read_text())
    except (OSError, ValueError):
        return {}


def _save(memo: Memo, folder: Path) -> None:
    """Replaces the note in one step; of two processes that save together the later one stays, which is harmless."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{MEMO}.{os.getpid()}"
    temporary.write_text(json.dumps(memo))
    temporary.replace(folder / MEMO)
