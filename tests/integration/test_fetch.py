"""Fetching from a local server: resume, retries, hashes, interruptions, and what the command prints."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from local_mirror import FILES, SIGNAL, SOON, SUMS, Mirror, contents, get, serve, whole

from ecgbench import fetch as verb
from ecgbench.data.fetch import FetchError, fetch


def heed_interrupts() -> None:
    """In the child: Ctrl-C works again where these tests run in a background job, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A healthy mirror of three files."""
    yield from serve(Mirror())


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


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_run_leaves_parts_that_the_next_one_completes(mirror, tmp_path, how, code):
    """Ctrl-C or a kill in the middle of a file: no half file under its name, and the next run sends the rest only."""
    mirror.files = {"bw.dat": SIGNAL * 20}
    mirror.seconds_per_piece = 0.01
    command = [sys.executable, "-m", "ecgbench.fetch", "nstdb", "--base-url", mirror.url, "--root", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
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
    assert capsys.readouterr().out == f"{tmp_path}: 1 fetched (8 bytes), 0 already there, 0 failed\n"
    mirror.faults["records100/00000/00001_lr.dat"] = [500] * 3
    assert verb.main(arguments[:-2]) == 1
    out, errors = capsys.readouterr()
    assert out == f"{tmp_path}: 1 fetched (307.2 kB), 1 already there, 1 failed\n"
    assert "failed: records100/00000/00001_lr.dat: 500 Internal Server Error for http" in errors
    assert "Run the same command again" in errors
    assert verb.main([*arguments[:3], "--root", str(tmp_path / "x"), "--only", "nothing"]) == 1
    assert "error: --only 'nothing' matches none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["ptb-xl"],
            "'ptb-xl' cannot be fetched, only ptbxl, mitdb, nstdb, ludb, cinc2020, cinc2021 can. Did you mean 'ptbxl'?",
        ),
        (["imagenet"], "'imagenet' cannot be fetched, only ptbxl, mitdb, nstdb, ludb, cinc2020, cinc2021 can."),
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
