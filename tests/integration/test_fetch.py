"""Fetching against a local server that breaks connections, fails, lies and ignores what it is asked."""

import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from ecgbench import fetch as verb
from ecgbench.data.fetch import REMOTES, FetchError, Retry, check_url, fetch, parse_sums

SOON = Retry(attempts=3, wait_s=0.001, timeout_s=5.0)
SUMS = "SHA256SUMS.txt"
SIGNAL = bytes(range(256)) * 1200  # 307,200 bytes
FILES = {
    "RECORDS": b"100\n101\n",
    "records500/00000/00001_hr.dat": SIGNAL,
    "records100/00000/00001_lr.dat": SIGNAL[:999],
}


@dataclass
class Request:
    """What was asked, and how many bytes of the file were sent."""

    path: str
    start: int
    n_sent: int = 0


@dataclass
class Mirror:
    """A data set on a local server; `faults` maps a path to what goes wrong with its next requests, in order.

    A fault is an HTTP status to answer, or the number of bytes after which the connection is cut.
    """

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    ranges: bool = True
    seconds_per_piece: float = 0.0
    requests: list[Request] = field(default_factory=list)
    sums: str | None = None
    url: str = ""

    def listing(self) -> bytes:
        """SHA256SUMS.txt of the files, or the text given instead."""
        lines = (f"{hashlib.sha256(content).hexdigest()} {path}\n" for path, content in self.files.items())
        return ("".join(lines) if self.sums is None else self.sums).encode()

    def sent(self, path: str) -> int:
        """Bytes of a file sent over all requests."""
        return sum(request.n_sent for request in self.requests if request.path == path)

    def starts(self, path: str) -> list[int]:
        """First byte of each request for a file."""
        return [request.start for request in self.requests if request.path == path]


def handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    """The request handler of a mirror."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

        def do_GET(self) -> None:
            """Serve a file from the asked byte on, with the fault that is due."""
            path = unquote(self.path).removeprefix("/base/")
            asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            request = Request(path, int(asked))
            mirror.requests.append(request)
            fault = mirror.faults[path].pop(0) if mirror.faults.get(path) else None
            content = mirror.listing() if path == SUMS else mirror.files.get(path)
            if content is None or fault in (404, 500, 503):
                self.reply(404 if content is None else int(fault or 404), b"")
            elif mirror.ranges and request.start and request.start >= len(content):
                self.reply(416, b"")
            else:
                start = request.start if mirror.ranges else 0
                self.reply(206 if start else 200, content[start:], request, start, fault)

        def reply(self, status: int, body: bytes, request: Request | None = None, start: int = 0, cut: object = None):
            """Send the headers for the whole body, and the body up to the cut."""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 206:
                total = start + len(body)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.end_headers()
            end = cut if isinstance(cut, int) else len(body)
            for i in range(0, min(end, len(body)), 2**14):
                piece = body[i : min(i + 2**14, end)]
                self.wfile.write(piece)
                time.sleep(mirror.seconds_per_piece)
                if request is not None:
                    request.n_sent += len(piece)
            if end < len(body):
                self.close_connection = True

    return Handler


class QuietServer(ThreadingHTTPServer):
    """A server that does not print a traceback when a client goes away."""

    def handle_error(self, *_: object) -> None:
        """A client that was killed is part of the tests."""


def serve(mirror: Mirror, context: ssl.SSLContext | None = None) -> Iterator[Mirror]:
    """Run a mirror in a thread; its `url` is set."""
    server = QuietServer(("127.0.0.1", 0), handler(mirror))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    mirror.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/base"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield mirror
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A healthy mirror of three files."""
    yield from serve(Mirror())


def contents(root: Path) -> dict[str, bytes]:
    """Every file under a folder, without the lock that keeps two processes apart."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".fetch.lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def whole(mirror: Mirror) -> dict[str, bytes]:
    """What a complete download holds."""
    return mirror.files | {SUMS: mirror.listing()}


def get(mirror: Mirror, root: Path, **options):
    """Fetch quickly and quietly."""
    return fetch(mirror.url, root, retry=SOON, progress=False, **options)


def test_a_data_set_arrives_whole_and_is_not_fetched_twice(mirror, tmp_path):
    """All listed files and the list itself; a second run asks for the list alone."""
    report = get(mirror, tmp_path / "ptb-xl")
    assert contents(tmp_path / "ptb-xl") == whole(mirror)
    assert (report.downloaded, report.present, report.failed) == (3, 0, {})
    assert report.n_bytes == sum(map(len, FILES.values()))
    mirror.requests.clear()
    again = get(mirror, tmp_path / "ptb-xl")
    assert (again.downloaded, again.present, again.n_bytes) == (0, 3, 0)
    assert [request.path for request in mirror.requests] == [SUMS]


def test_many_files_at_once(mirror, tmp_path):
    """Eight jobs bring sixty files, each asked for once."""
    mirror.files = {f"records500/{i:05d}_hr.dat": SIGNAL[i : 2000 + i] for i in range(60)}
    assert get(mirror, tmp_path, jobs=8).downloaded == 60
    assert contents(tmp_path) == whole(mirror)
    assert len(mirror.requests) == 61


def test_a_cut_connection_is_continued_where_it_broke(mirror, tmp_path):
    """Cut after 100,000 and again after 90,000 bytes: three requests, and hardly a byte is sent twice."""
    path = "records500/00000/00001_hr.dat"
    mirror.faults[path] = [100_000, 90_000]
    assert get(mirror, tmp_path).failed == {}
    assert contents(tmp_path) == whole(mirror)
    starts = mirror.starts(path)
    assert len(starts) == 3
    assert 0 < starts[1] <= 100_000 < starts[2] <= 190_000
    # At most one chunk of 16 KiB is lost per cut.
    assert len(SIGNAL) <= mirror.sent(path) <= len(SIGNAL) + 2 * 2**14


def test_progress_renews_the_patience(mirror, tmp_path):
    """Ten cuts are more than the three attempts, but each request brought the file forward."""
    path = "records500/00000/00001_hr.dat"
    mirror.faults[path] = [25_000] * 10
    assert get(mirror, tmp_path).failed == {}
    assert len(mirror.starts(path)) == 11


def test_a_server_that_ignores_ranges_is_asked_for_everything(mirror, tmp_path):
    """After a cut the whole file comes again and replaces the broken part."""
    mirror.ranges = False
    path = "records500/00000/00001_hr.dat"
    mirror.faults[path] = [100_000]
    assert get(mirror, tmp_path).failed == {}
    assert contents(tmp_path) == whole(mirror)
    assert mirror.starts(path)[1] > 0
    assert mirror.sent(path) == len(SIGNAL) + 100_000


def test_a_server_that_ignores_ranges_and_always_cuts_is_given_up(mirror, tmp_path):
    """No request gets further than the first, so the attempts run out instead of going on for ever."""
    mirror.ranges = False
    path = "records500/00000/00001_hr.dat"
    mirror.faults[path] = [100_000] * 50
    report = get(mirror, tmp_path)
    assert list(report.failed) == [path]
    assert len(mirror.starts(path)) <= 4


@pytest.mark.parametrize("faults", [[404, 404], [500, 503], [404, 100_000, 500]])
def test_errors_that_pass_are_outlasted(mirror, tmp_path, faults):
    """A file that is missing or refused for a while arrives in the end."""
    mirror.faults = {"records500/00000/00001_hr.dat": faults, SUMS: [503]}
    assert get(mirror, tmp_path).failed == {}
    assert contents(tmp_path) == whole(mirror)


def test_a_missing_file_fails_alone(mirror, tmp_path):
    """The others arrive; the report names the file and the server's answer; a later run fetches it alone."""
    mirror.faults["RECORDS"] = [404] * 3
    report = get(mirror, tmp_path)
    assert list(report.failed) == ["RECORDS"]
    assert "404" in report.failed["RECORDS"]
    assert report.downloaded == 2
    assert (tmp_path / "RECORDS").exists() is False
    assert get(mirror, tmp_path).downloaded == 1
    assert contents(tmp_path) == whole(mirror)


def test_a_file_that_is_not_what_the_list_says_never_gets_its_name(mirror, tmp_path):
    """Both hashes are named, nothing of the file stays, and it is not asked for again and again."""
    mirror.sums = mirror.listing().decode().replace(hashlib.sha256(SIGNAL).hexdigest(), "0" * 64)
    path = "records500/00000/00001_hr.dat"
    report = get(mirror, tmp_path)
    assert report.failed == {
        path: f"its SHA-256 is {hashlib.sha256(SIGNAL).hexdigest()}, but SHA256SUMS.txt lists {'0' * 64}"
    }
    assert set(contents(tmp_path)) == {SUMS, "RECORDS", "records100/00000/00001_lr.dat"}
    assert mirror.starts(path) == [0]


def test_a_changed_file_is_replaced(mirror, tmp_path):
    """A file whose hash is not the listed one is fetched again; files of other names stay."""
    get(mirror, tmp_path)
    (tmp_path / "RECORDS").write_bytes(b"edited")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    assert get(mirror, tmp_path).downloaded == 1
    assert contents(tmp_path) == whole(mirror) | {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("left_behind", "starts"),
    [
        (SIGNAL[:5000], [5000]),
        (SIGNAL, [len(SIGNAL)]),
        (b"of another release", [18, 0]),
        (SIGNAL + b"too long", [len(SIGNAL) + 8, 0]),
    ],
    ids=["beginning", "whole", "other", "too long"],
)
def test_what_an_earlier_run_left_is_used_or_thrown_away(mirror, tmp_path, left_behind, starts):
    """A right beginning is continued, a whole one is taken as it is, a wrong one is fetched from the start."""
    path = "records500/00000/00001_hr.dat"
    part = tmp_path / f"{path}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left_behind)
    assert get(mirror, tmp_path).failed == {}
    assert contents(tmp_path) == whole(mirror)
    assert mirror.starts(path) == starts


def test_patterns_choose_files(mirror, tmp_path):
    """Two patterns bring the union of what they match."""
    get(mirror, tmp_path, only=["records500/00000/*", "RECORDS"])
    assert set(contents(tmp_path)) == {SUMS, "RECORDS", "records500/00000/00001_hr.dat"}
    with pytest.raises(FetchError, match=r"'\*\.mat' matches none of the 3 listed files, such as 'RECORDS'"):
        get(mirror, tmp_path, only=["RECORDS", "*.mat"])


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "..",
        "..\\evil",
        "C:evil",
        "C:/evil",
        "//server/evil",
        "a\x00b",
        "./",
        "a\x1b[2J",
    ],
)
def test_a_list_that_names_a_path_outside_is_refused_as_a_whole(mirror, tmp_path, path):
    """Nothing is asked for but the list, and nothing is written, inside or outside."""
    mirror.sums = mirror.listing().decode() + f"{'0' * 64} {path}\n"
    with pytest.raises(FetchError, match="line 4 of SHA256SUMS.txt names .* nothing was fetched"):
        get(mirror, tmp_path / "inside")
    assert contents(tmp_path) == {}
    assert [request.path for request in mirror.requests] == [SUMS]


def test_a_linked_folder_that_leads_outside_is_not_written_to(mirror, tmp_path):
    """Its file fails with the reason; the rest arrives. A linked root is the user's own choice."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "records500").symlink_to(tmp_path / "outside")
    report = get(mirror, tmp_path / "root")
    assert list(report.failed) == ["records500/00000/00001_hr.dat"]
    assert "leads out of" in report.failed["records500/00000/00001_hr.dat"]
    assert contents(tmp_path / "outside") == {}
    assert (tmp_path / "real" / "RECORDS").read_bytes() == FILES["RECORDS"]


def test_linked_files_are_replaced_and_never_written_through(mirror, tmp_path):
    """A link in a file's place gives way to the file; a link in its part's place stops the run. Both targets stay."""
    (tmp_path / "precious").write_bytes(b"mine")
    root = tmp_path / "root"
    root.mkdir()
    (root / "RECORDS").symlink_to(tmp_path / "precious")
    assert get(mirror, root, only=["RECORDS"]).downloaded == 1
    assert (root / "RECORDS").read_bytes() == FILES["RECORDS"]
    assert not (root / "RECORDS").is_symlink()
    (root / "records100" / "00000").mkdir(parents=True)
    (root / "records100" / "00000" / "00001_lr.dat.part").symlink_to(tmp_path / "precious")
    with pytest.raises(FetchError, match="cannot be written"):
        get(mirror, root)
    assert (tmp_path / "precious").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("text", "message"), [("", "lists no file"), ("<html>login</html>", "line 1 of .* is '<html>login")]
)
def test_a_list_that_is_none_is_refused(mirror, tmp_path, text, message):
    """An empty answer and a web page in the list's place say so."""
    mirror.sums = text
    with pytest.raises(FetchError, match=message):
        get(mirror, tmp_path)


def test_lists_as_sha256sum_writes_them():
    """One blank or two, a star before binary files, upper-case digits, blanks in names, empty lines."""
    a, b = "a" * 64, "B" * 64
    assert parse_sums(f"{a} x\n{a}  y\n\n{b} *z\n{a} ./sub/my file.txt\n") == {
        "x": a,
        "y": a,
        "z": "b" * 64,
        "sub/my file.txt": a,
    }


def test_a_list_that_cannot_be_had_names_its_address(tmp_path):
    """Nobody listens there: the address and the way on, and no folder is made."""
    with pytest.raises(FetchError, match=r"http://127\.0\.0\.1:9/none/SHA256SUMS\.txt cannot be read.*Check the URL"):
        fetch("http://127.0.0.1:9/none", tmp_path / "root", retry=SOON, progress=False)
    assert not (tmp_path / "root").exists()


def test_a_full_disk_stops_the_run(mirror, tmp_path, monkeypatch):
    """Writing fails: the folder and the system's reason are named, and no file has got its name."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ecgbench.data.fetch._open_no_link", full)
    with pytest.raises(FetchError, match=f"{tmp_path} cannot be written: .*No space left on device"):
        get(mirror, tmp_path)
    assert set(contents(tmp_path)) == {SUMS}


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://physionet.org/files/ptb-xl/1.0.3", True),
        ("http://127.0.0.1:8000/x", True),
        ("http://localhost/x", True),
        ("http://[::1]:8000/x", True),
        ("http://physionet.org/files/ptb-xl/1.0.3", False),
        ("http://127.0.0.1.example.org/x", False),
        ("http://localhost.example.org/x", False),
        ("http://127.0.0.1@example.org/x", False),
        ("ftp://physionet.org/x", False),
        ("file:///etc", False),
        ("physionet.org/files", False),
        ("https://", False),
    ],
)
def test_only_encrypted_or_local_addresses_are_taken(url, safe):
    """https anywhere, http to this machine only."""
    if safe:
        check_url(url)
    else:
        with pytest.raises(FetchError, match="is not safe"):
            check_url(url)


def test_the_published_addresses_are_encrypted():
    """Every data set comes from PhysioNet over https into a folder of its own."""
    assert set(REMOTES) == {"ptbxl", "mitdb", "nstdb"}
    assert all(remote.base_url.startswith("https://physionet.org/files/") for remote in REMOTES.values())
    assert len({remote.root for remote in REMOTES.values()}) == 3


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, made by openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the test's certificate")
    pem = tmp_path / "self-signed.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out", f"{pem}.crt"],
        check=True,
        capture_output=True,
    )
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    return pem


@pytest.fixture
def https_mirror(certificate) -> Iterator[Mirror]:
    """A mirror behind the self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    yield from serve(Mirror(), context)


def test_a_certificate_nobody_vouches_for_is_refused(https_mirror, tmp_path, monkeypatch):
    """No request gets through, not even with an empty certificate variable in the environment."""
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        get(https_mirror, tmp_path / "root")
    assert https_mirror.requests == []


def test_https_never_falls_back_to_http(https_mirror, certificate, mirror, tmp_path, monkeypatch):
    """With the certificate trusted files arrive, but a redirect to http is not followed."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
    assert get(https_mirror, tmp_path / "root", only=["RECORDS"]).downloaded == 1

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{mirror.url}/{SUMS}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = QuietServer(("127.0.0.1", 0), Redirect)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        with pytest.raises(FetchError, match="No connection adapters were found for 'http://"):
            fetch(f"https://127.0.0.1:{server.server_address[1]}/x", tmp_path / "other", retry=SOON, progress=False)
    finally:
        server.shutdown()
        server.server_close()
    assert mirror.requests == []


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_run_leaves_parts_that_the_next_one_completes(mirror, tmp_path, how, code):
    """Ctrl-C or a kill in the middle of a file: no half file under its name, and the next run sends the rest only."""
    mirror.files = {"bw.dat": SIGNAL * 20}
    mirror.seconds_per_piece = 0.01
    command = [sys.executable, "-m", "ecgbench.fetch", "nstdb", "--base-url", mirror.url, "--root", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "bw.dat.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 200_000):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert how == signal.SIGKILL or "run the same command again" in errors
    assert set(contents(tmp_path)) == {SUMS, "bw.dat.part"}
    left = part.stat().st_size
    assert 200_000 < left < len(SIGNAL) * 20
    mirror.seconds_per_piece = 0.0
    mirror.requests.clear()
    assert get(mirror, tmp_path).downloaded == 1
    assert contents(tmp_path) == whole(mirror)
    assert mirror.starts("bw.dat") == [left]
    assert mirror.sent("bw.dat") == len(SIGNAL) * 20 - left


def test_two_processes_do_not_fetch_into_one_folder(mirror, tmp_path):
    """The second is told to wait; the first completes."""
    mirror.files = {"bw.dat": SIGNAL}
    mirror.seconds_per_piece = 0.02
    first = threading.Thread(target=get, args=(mirror, tmp_path))
    first.start()
    while not (tmp_path / "bw.dat.part").exists():
        time.sleep(0.005)
    with pytest.raises(FetchError, match="another process is fetching"):
        get(mirror, tmp_path)
    first.join()
    assert contents(tmp_path) == whole(mirror)


def test_the_command_tells_what_it_did(mirror, tmp_path, capsys, monkeypatch):
    """Counts and exit code 0; with a failed file its name, the way on and exit code 1."""
    monkeypatch.setattr(verb, "fetch", lambda *args: fetch(*args, retry=SOON))
    arguments = ["mitdb", "--base-url", mirror.url, "--root", str(tmp_path), "--only", "RECORDS"]
    assert verb.main(arguments) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 1 files fetched (8 bytes), 0 were there, 0 failed\n"
    mirror.faults["records100/00000/00001_lr.dat"] = [500] * 3
    assert verb.main(arguments[:-2]) == 1
    out, errors = capsys.readouterr()
    assert out == f"{tmp_path}: 1 files fetched (307.2 kB), 1 were there, 1 failed\n"
    assert "failed: records100/00000/00001_lr.dat: 500 Server Error" in errors
    assert "Run the same command again" in errors
    assert verb.main([*arguments[:3], "--root", str(tmp_path / "x"), "--only", "nothing"]) == 1
    assert "error: --only 'nothing' matches none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ptb-xl"], "'ptb-xl' cannot be fetched, only ptbxl, mitdb, nstdb can. Did you mean 'ptbxl'?"),
        (["imagenet"], "'imagenet' cannot be fetched, only ptbxl, mitdb, nstdb can."),
        (["ptbxl", "--jobs", "0"], "'0' is not a number of files; give 1 or more."),
        (["ptbxl", "--jobs", "two"], "'two' is not a number of files"),
    ],
)
def test_wrong_commands_are_explained(arguments, message, capsys):
    """What was given, what is allowed, and exit code 2."""
    with pytest.raises(SystemExit) as stop:
        verb.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unsafe_mirror_is_refused_by_the_command(tmp_path, capsys):
    """http to another machine ends before any connection."""
    assert verb.main(["nstdb", "--base-url", "http://example.org/nstdb", "--root", str(tmp_path / "x")]) == 1
    assert "http://example.org/nstdb' is not safe" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
