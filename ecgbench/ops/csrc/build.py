"""Compile the native kernels: a hook for hatchling, and a script to run by hand.

The library has a plain C interface, so it depends on the platform only, and not on the versions of Python or torch.
A machine without a compiler still installs: one line says so, and the operators then run in pure torch.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, where only the functions below are needed
    BuildHookInterface = object

SOURCES = Path(__file__).parent
OUTPUT = SOURCES.parent / "_native"
# -ffast-math is left out on purpose: it would undo the rounding on which exp2 rests, and hide NaN
FLAGS = [
    "-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden",
    "-shared", "-s", "-w",
]  # fmt: skip
X86_VARIANTS = {"avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "avx2": ["-march=x86-64-v3"]}


def variants() -> dict[str, list[str]]:
    """Builds of this machine's architecture, by name, with the compiler flags of each."""
    return X86_VARIANTS if platform.machine().lower() in ("x86_64", "amd64") else {"generic": []}


def find_compiler() -> list[str] | None:
    """The command of a C++ compiler that knows vector extensions, or None."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name.split()[0]):
            return name.split()
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


def compile_library(compiler: list[str], name: str, flags: list[str], output: Path = OUTPUT) -> Path:
    """Build one variant and return its path. The file appears under its name only when it is complete."""
    output.mkdir(parents=True, exist_ok=True)
    library = output / f"kernels_{name}.so"
    partial = library.with_suffix(f".{os.getpid()}.partial")
    if "ziglang" in compiler:  # which spells the names of CPUs in its own way
        flags = [flag.replace("x86-64-", "x86_64_") for flag in flags]
    code_flags = [] if sys.platform == "win32" else ["-fPIC", "-pthread"]
    command = [*compiler, *FLAGS, *flags, *code_flags, str(SOURCES / "kernels.cpp"), "-o", str(partial)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        partial.replace(library)
    finally:
        partial.unlink(missing_ok=True)
    return library


def build(output: Path = OUTPUT) -> tuple[list[Path], str]:
    """Libraries built for this machine (none where that is impossible), and one line that says what happened."""
    compiler = find_compiler()
    if compiler is None:
        return [], "native kernels not built: no C++ compiler (set CXX, or install g++, clang++ or `ziglang`)"
    try:
        libraries = [compile_library(compiler, name, flags, output) for name, flags in variants().items()]
    except (subprocess.CalledProcessError, OSError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return [], f"native kernels not built: `{' '.join(compiler)}` failed ({detail[0] if detail else error})"
    return libraries, f"native kernels built by `{' '.join(compiler)}`: {', '.join(p.name for p in libraries)}"


class NativeKernelsHook(BuildHookInterface):  # pyright: ignore[reportGeneralTypeIssues]
    """Build the kernels into the package, for wheels and for editable installs alike."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict) -> None:
        """Compile, add the libraries to the wheel and tag it for this platform (called by hatchling)."""
        if self.target_name != "wheel":
            return
        libraries, message = build()
        self.app.display_info(f"ecgbench: {message}")
        if libraries:
            root = Path(self.root)
            build_data["artifacts"] += [f"/{path.relative_to(root).as_posix()}" for path in libraries]
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def main() -> int:
    """Build into the package's folder; returns the exit status."""
    libraries, message = build()
    print(message)
    return 0 if libraries else 1


if __name__ == "__main__":
    sys.exit(main())
