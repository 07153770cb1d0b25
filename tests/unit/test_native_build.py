"""Building the native kernels: by hand, as part of a wheel, and on machines that cannot."""

import ctypes
import importlib.util
import stat
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "ecgbench" / "ops" / "csrc" / "build.py"
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tiny"
version = "1"
[tool.hatch.build.hooks.custom]
path = "tiny/csrc/build.py"
[tool.hatch.build.targets.wheel]
packages = ["tiny"]
"""


@pytest.fixture
def build() -> ModuleType:
    """The build script as a module."""
    spec = importlib.util.spec_from_file_location("build_kernels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fake_compiler(tmp_path, monkeypatch) -> Path:
    """A compiler in $CXX that writes its arguments to the file it is asked for."""
    path = tmp_path / "fake-c++"
    path.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(path))
    return path


def test_compiled_library_answers(build, tmp_path):
    """What the compiler of this machine makes of the sources can be loaded and called."""
    compiler = build.find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    name, flags = next(reversed(build.variants().items()))
    library = ctypes.CDLL(str(build.compile_library(compiler, name, flags, tmp_path)))
    assert library.vector_bytes() in (16, 32, 64)
    assert [path.name for path in tmp_path.iterdir()] == [f"kernels_{name}.so"]


def test_flags_keep_the_rounding_and_the_portability(build, fake_compiler, tmp_path):
    """Never -ffast-math, which breaks exp2, and never -march=native, which breaks on other machines."""
    libraries, _ = build.build(tmp_path / "out")
    commands = [path.read_text() for path in libraries]
    assert len(commands) == len(build.variants())
    for command in commands:
        assert "-ffp-contract=fast" in command
        assert "-ffast-math" not in command
        assert "-march=native" not in command


def test_x86_gets_two_instruction_sets_and_others_one(build, monkeypatch):
    """Which of the two runs is decided on the machine that runs."""
    monkeypatch.setattr(build.platform, "machine", lambda: "AMD64")
    assert build.variants().keys() == {"avx512", "avx2"}
    monkeypatch.setattr(build.platform, "machine", lambda: "arm64")
    assert build.variants() == {"generic": []}


def test_ziglang_is_the_compiler_of_last_resort(build, monkeypatch):
    """Without a system compiler the pip-installable one is taken, if it is there."""
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: object() if name == "ziglang" else None)
    assert build.find_compiler() == [sys.executable, "-m", "ziglang", "c++"]


def test_no_compiler_is_one_line_and_no_error(build, monkeypatch, tmp_path):
    """The package installs all the same."""
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    libraries, message = build.build(tmp_path)
    assert libraries == []
    assert message.startswith("native kernels not built: no C++ compiler")
    assert "\n" not in message


def test_failing_compiler_is_one_line_and_leaves_nothing_behind(build, fake_compiler, tmp_path):
    """The first line of what the compiler said is passed on."""
    fake_compiler.write_text("#!/bin/sh\necho 'error: no such flag' >&2\necho 'more' >&2\nexit 1\n")
    libraries, message = build.build(tmp_path / "out")
    assert libraries == []
    assert message.endswith("failed (error: no such flag)")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("compiles", [True, False])
def test_wheel_holds_the_libraries_and_is_tagged_for_the_platform(fake_compiler, tmp_path, compiles):
    """Any Python 3 takes the wheel; without a compiler it is a pure one."""
    wheel = pytest.importorskip("hatchling.builders.wheel")
    sources = tmp_path / "project" / "tiny" / "csrc"
    sources.mkdir(parents=True)
    (sources / "build.py").write_bytes(SCRIPT.read_bytes())
    (sources.parent / "__init__.py").touch()
    (tmp_path / "project" / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "project" / ".gitignore").write_text("*.so\n")
    if not compiles:
        fake_compiler.write_text("#!/bin/sh\nexit 1\n")
    builder = wheel.WheelBuilder(str(tmp_path / "project"))
    (artifact,) = builder.build(directory=str(tmp_path / "dist"), versions=["standard"])
    libraries = [name for name in zipfile.ZipFile(artifact).namelist() if name.endswith(".so")]
    if compiles:
        assert Path(artifact).name.startswith("tiny-1-py3-none-")
        assert not Path(artifact).name.endswith("-any.whl")
        assert all(name.startswith("tiny/_native/kernels_") for name in libraries)
        assert libraries
    else:
        assert Path(artifact).name.endswith("-any.whl")
        assert libraries == []
