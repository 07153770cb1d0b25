"""Downloading published recordings from PhysioNet, checked file by file; the only module that opens a connection.

A data set is what its SHA256SUMS.txt lists. Each file is written beside its place as `<name>.part`, compared with its
listed SHA-256 and renamed into place, so whatever bears its own name is whole. A connection that breaks, or a run that
is killed, leaves `.part` files which the next attempt continues with an HTTP range request. (pooch and wfdb download
too, but neither continues a file or takes its hashes from the data set's own list.)

Nothing is written outside the data set's folder: a list that names an absolute path or `..` is refused as a whole, and
a link that leads out of the folder is not followed. Certificates are always checked, and a redirect from https to http
is not taken.
"""

import hashlib
import ipaddress
import os
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar
from urllib.parse import quote, urlsplit

import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SUMS = "SHA256SUMS.txt"
CHUNK_BYTES = 2**14
"""Read at a time; what a broken connection loses at most."""
RANGE_NOT_SATISFIABLE = 416

Result = TypeVar("Result")


@dataclass(frozen=True)
class Remote:
    """Where a data set is published and where it goes."""

    base_url: str
    root: Path


REMOTES = {
    "ptbxl": Remote("https://physionet.org/files/ptb-xl/1.0.3", Path("data/ptb-xl")),
    "mitdb": Remote("https://physionet.org/files/mitdb/1.0.0", Path("data/mitdb")),
    "nstdb": Remote("https://physionet.org/files/nstdb/1.0.0", Path("data/nstdb")),
    "ludb": Remote("https://physionet.org/files/ludb/1.0.1", Path("data/ludb")),
    "cinc2020": Remote("https://physionet.org/files/challenge-2020/1.0.2", Path("data/cinc2020")),
    "cinc2021": Remote("https://physionet.org/files/challenge-2021/1.0.3", Path("data/cinc2021")),
}
"""The data sets that can be fetched, by the name of their config."""


class FetchError(RuntimeError):
    """Why nothing can be fetched, or why fetching had to stop."""


class FileFailedError(RuntimeError):
    """Why one file could not be fetched; the others go on."""


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a request is repeated."""

    attempts: int = 5
    """Requests in a row that may fail without bringing the file forward."""
    wait_s: float = 1.0
    """Before the first repetition; doubled for each further one, up to 30 s, and shortened by up to half at random."""
    timeout_s: float = 20.0
    """For connecting, and between two pieces of data."""

    def delay_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return min(self.wait_s * 2 ** (failures - 1), 30.0) * random.uniform(0.5, 1.0)


@dataclass
class FetchReport:
    """What a fetch did."""

    downloaded: int = 0
    present: int = 0
    """Files that were there with the listed hash."""
    failed: dict[str, str] = field(default_factory=dict)
    """Path of each file that could not be fetched, and why."""
    n_bytes: int = 0
    """Bytes received."""


def fetch(
    base_url: str,
    root: Path,
    only: Sequence[str] = (),
    jobs: int = 4,
    retry: Retry | None = None,
    progress: bool = True,
) -> FetchReport:
    """Make `root` hold the files that `base_url`/SHA256SUMS.txt lists, each with its listed hash.

    Args:
        base_url: folder of the data set's release; https, or http on this machine.
        root: folder to write into; files of other names in it are left alone.
        only: shell patterns over the listed paths (`*` also matches `/`); a file matching any of them is fetched.
        jobs: files to fetch at once.
        retry: how to repeat failed requests.
        progress: whether to draw a progress bar on stderr.

    Raises:
        FetchError: the list cannot be had or is not to be trusted, no file matches, `root` cannot be written or is
            being fetched into by another process.
    """
    check_url(base_url)
    with closing(_Fetcher(base_url, root, retry or Retry())) as fetcher:
        text = fetcher.listing()
        chosen = select(parse_sums(text), only)
        with _writing_to(root):
            (root / f"{SUMS}.part").write_text(text, encoding="utf-8")
            (root / f"{SUMS}.part").replace(root / SUMS)
            return _fetch_all(fetcher, chosen, jobs, progress)


def check_url(url: str) -> None:
    """Refuse anything but https, or http to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise FetchError(f"base URL '{url}' is not safe: https://... is allowed, and http:// to this machine. Use https.")


def parse_sums(text: str) -> dict[str, str]:
    """Path and SHA-256 (hex) of each file that a SHA256SUMS.txt lists; refuses paths that leave the folder."""
    sums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S.*)", line)
        if match is None:
            raise FetchError(
                f"line {number} of {SUMS} is '{line[:60]}', but must be 64 hex digits and a path. Check the base URL."
            )
        path = match[2].rstrip()
        if _leaves_its_folder(path):
            raise FetchError(
                f"line {number} of {SUMS} names '{path}', but paths must stay inside the data set's folder;"
                " nothing was fetched. Do not trust this source."
            )
        sums[str(PurePosixPath(path))] = match[1].lower()
    return sums


def select(sums: dict[str, str], only: Sequence[str]) -> dict[str, str]:
    """The listed files that match any pattern, all of them without patterns; a pattern must match something."""
    if not sums:
        raise FetchError(f"{SUMS} lists no file. Check the base URL.")
    for pattern in only:
        if not any(fnmatchcase(path, pattern) for path in sums):
            raise FetchError(
                f"--only '{pattern}' matches none of the {len(sums)} listed files, such as '{next(iter(sums))}'."
                " Give a shell pattern over such paths."
            )
    return {path: sha for path, sha in sums.items() if not only or any(fnmatchcase(path, p) for p in only)}


def _leaves_its_folder(path: str) -> bool:
    """Whether a listed path could name something outside the folder, on any system."""
    pure, windows = PurePosixPath(path), PureWindowsPath(path)
    odd = "\\" in path or not path.isprintable() or not pure.parts
    return odd or pure.is_absolute() or bool(windows.anchor) or ".." in pure.parts


def _is_loopback(host: str) -> bool:
    """Whether a host name is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _writing_to(root: Path) -> Iterator[None]:
    """Make the folder and keep other processes from fetching into it; what the disk refuses is a FetchError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".fetch.lock", timeout=0):
            yield
    except Timeout:
        raise FetchError(f"another process is fetching into {root}; wait for it to end.") from None
    except OSError as error:
        raise FetchError(f"{root} cannot be written: {error}. Make room or give another folder.") from error


def _fetch_all(fetcher: "_Fetcher", sums: dict[str, str], jobs: int, progress: bool) -> FetchReport:
    """Fetch each file in a pool of threads; an interruption stops the running ones at their next chunk."""
    report = FetchReport()
    with _progress_bar(progress) as bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task(fetcher.root.name, total=len(sums), received=decimal(0))
        fetcher.on_bytes = lambda total: bar.update(task, received=decimal(total))
        futures = {pool.submit(fetcher.file, path, sha): path for path, sha in sums.items()}
        try:
            for future in as_completed(futures):
                _note(report, futures[future], future)
                bar.advance(task)
        finally:
            fetcher.stop.set()
            pool.shutdown(cancel_futures=True)
    report.n_bytes = fetcher.n_bytes
    return report


def _note(report: FetchReport, path: str, future: "Future[bool]") -> None:
    """Count the outcome of one file."""
    try:
        if future.result():
            report.downloaded += 1
        else:
            report.present += 1
    except FileFailedError as error:
        report.failed[path] = str(error)


def _progress_bar(enabled: bool) -> Progress:
    """Files done of all, bytes received, time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files, {task.fields[received]} received"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not enabled,
    )


class _Sessions(threading.local):
    """One keep-alive session per thread, as requests does not promise that threads may share one."""

    def __init__(self, secure: bool, opened: list[requests.Session]) -> None:
        self.session = requests.Session()
        opened.append(self.session)
        if secure:
            # Without an adapter for http a redirect to it fails.
            del self.session.adapters["http://"]


class _Fetcher:
    """Fetches single files of one data set; used by several threads at once."""

    def __init__(self, base_url: str, root: Path, retry: Retry) -> None:
        self.base_url, self.root, self.retry = base_url.rstrip("/"), root, retry
        self.stop = threading.Event()
        self.n_bytes = 0
        self.on_bytes: Callable[[int], None] = lambda total: None
        self._opened: list[requests.Session] = []
        self._sessions = _Sessions(base_url.startswith("https"), self._opened)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads."""
        for session in self._opened:
            session.close()

    def listing(self) -> str:
        """The text of SHA256SUMS.txt."""
        try:
            return self._patiently(lambda: self._text(SUMS), lambda: 0)
        except (FileFailedError, UnicodeDecodeError) as error:
            raise FetchError(
                f"{self.base_url}/{SUMS} cannot be read: {error}. Check the URL and the network."
            ) from error

    def file(self, path: str, sha256: str) -> bool:
        """Bring one file; False when it was there with the right hash. Raises FileFailedError."""
        target = self._place(path)
        if target.is_file() and _sha256(target) == sha256:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        found = ""
        # Bytes that an earlier run left may be of another release: then once more from the start.
        for _ in range(2 if part.exists() else 1):
            self._patiently(lambda: self._receive(path, part), lambda: _size(part))
            found = _sha256(part)
            if found == sha256:
                part.replace(target)
                return True
            part.unlink()
        raise FileFailedError(f"its SHA-256 is {found}, but {SUMS} lists {sha256}")

    def _place(self, path: str) -> Path:
        """Where a listed file goes; refuses a folder that a link has moved outside."""
        target = self.root / path
        if not target.parent.resolve().is_relative_to(self.root.resolve()):
            raise FileFailedError(f"its folder {target.parent} is a link that leads out of {self.root}")
        return target

    def _text(self, path: str) -> str:
        """The whole of a text file."""
        with self._get(path) as response:
            return response.content.decode()

    def _receive(self, path: str, part: Path) -> None:
        """Append the rest of a file to its part, or all of it where the server does not answer ranges."""
        start = _size(part)
        with self._get(path, start) as response:
            if response.status_code == RANGE_NOT_SATISFIABLE:
                return  # the part holds all there is, or too much; its hash will tell
            appends = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            with open(part, "ab" if appends else "wb", opener=_open_no_link) as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    self._count(len(chunk))

    def _get(self, path: str, start: int = 0) -> requests.Response:
        """The response to a request for a file from byte `start` on; raises on every other HTTP error than 416."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        response = self._sessions.session.get(
            f"{self.base_url}/{quote(path)}", headers=headers, stream=True, timeout=self.retry.timeout_s
        )
        if response.ok or response.status_code == RANGE_NOT_SATISFIABLE:
            return response
        response.close()
        raise requests.HTTPError(f"{response.status_code} {response.reason} for {response.url}")

    def _patiently(self, attempt: Callable[[], Result], size: Callable[[], int]) -> Result:
        """What `attempt` returns, repeated while it fails; failures count only since `size` last grew."""
        failures, furthest = 0, size()
        while True:
            try:
                return attempt()
            except requests.RequestException as error:
                failures, furthest = (0, size()) if size() > furthest else (failures, furthest)
                failures += 1
                if failures >= self.retry.attempts:
                    raise FileFailedError(f"{error} ({failures} attempts)") from error
            if self.stop.wait(self.retry.delay_s(failures)):
                raise FileFailedError("interrupted")

    def _count(self, n_bytes: int) -> None:
        """Add received bytes; here a thread notices that it has to stop."""
        if self.stop.is_set():
            raise FileFailedError("interrupted")
        with self._lock:
            self.n_bytes += n_bytes
        self.on_bytes(self.n_bytes)


def _open_no_link(path: str, flags: int) -> int:
    """Open for writing without following a link (where the system can tell)."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _size(path: Path) -> int:
    """Bytes in a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
