"""A data set on a local web server that breaks connections, fails, lies and ignores what it is asked."""

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from ecgbench.data.fetch import FetchReport, Retry, fetch

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
    """What was asked, and how many bytes of the file were handed to the connection."""

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
                if request is not None:
                    request.n_sent += len(piece)  # before the client can have it and the test can look
                self.wfile.write(piece)
                time.sleep(mirror.seconds_per_piece)
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


def contents(root: Path) -> dict[str, bytes]:
    """Every file under a folder, without the lock that keeps two processes apart."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".fetch.lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def whole(mirror: Mirror) -> dict[str, bytes]:
    """What a complete download holds."""
    return mirror.files | {SUMS: mirror.listing()}


def get(mirror: Mirror, root: Path, **options) -> FetchReport:
    """Fetch quickly and quietly."""
    return fetch(mirror.url, root, retry=SOON, progress=False, **options)
