"""What fetching refuses: paths and links out of the folder, lists that are none, unencrypted and unproven servers."""

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from local_mirror import FILES, SOON, SUMS, Mirror, QuietServer, contents, get, serve

from ecgbench import fetch as verb
from ecgbench.data.fetch import REMOTES, FetchError, check_url, fetch, parse_sums


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A healthy mirror of three files."""
    yield from serve(Mirror())


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
    with pytest.raises(FetchError, match=r"line 4 of SHA256SUMS\.txt names .* nothing was fetched"):
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
    assert set(REMOTES) == {"ptbxl", "mitdb", "nstdb", "ludb", "cinc2020", "cinc2021"}
    assert all(remote.base_url.startswith("https://physionet.org/files/") for remote in REMOTES.values())
    assert len({remote.root for remote in REMOTES.values()}) == len(REMOTES)


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, made by openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the test's certificate")
    pem = tmp_path / "self-signed.pem"
    subprocess.run(
        (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
            f" -addext subjectAltName=IP:127.0.0.1 -keyout {pem} -out {pem}.crt"
        ).split(),
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


def test_an_unsafe_mirror_is_refused_by_the_command(tmp_path, capsys):
    """http to another machine ends before any connection."""
    assert verb.main(["nstdb", "--base-url", "http://example.org/nstdb", "--root", str(tmp_path / "x")]) == 1
    assert "http://example.org/nstdb' is not safe" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
