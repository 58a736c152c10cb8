"""The environment of QKeras students, apart from this one: HGQ2 and QKeras cannot share one.

`SWEEP_QKERAS_PYTHON` names the Python of one that exists; without it there is one in `SWEEP_HOME`,
made by `install` and found by `interpreter`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from objectives.config import content_digest
from objectives.errors import SchemeError
from sweep import home

#: Names the Python of an environment of the user's.
QKERAS_PYTHON = "SWEEP_QKERAS_PYTHON"
#: What training, saving and converting QKeras students needs.
PACKAGES = (
    "qkeras-v3==1.2.1",
    "tensorflow==2.21.0",
    "keras==3.15.1",
    "hls4ml==1.3.0",
    "pydantic>=2.12,<3",
)
#: Written last: says that an environment is whole.
RECORD = "environment.json"


def interpreter() -> Path | None:
    """Return the Python that has qkeras-v3, None where there is no environment yet.

    Raises SchemeError when `SWEEP_QKERAS_PYTHON` names no program.
    """
    named = os.environ.get(QKERAS_PYTHON, "")
    if named:
        found = shutil.which(named)
        if found is None:
            raise SchemeError(f"{QKERAS_PYTHON}={named}: there is no such program")
        # Not resolved: an environment is known by the link to its Python.
        return Path(found).absolute()
    return _python(_folder()) if (_folder() / RECORD).is_file() else None


def ensure(notice: Callable[[str], None]) -> Path:
    """Return the Python that has qkeras-v3; make its environment first if there is none, and say so."""
    python = interpreter()
    if python is not None:
        return python
    notice(
        f"QKeras students need an environment of their own: making it in {_folder()}"
        " (once; some 2 GB from the package index)"
    )
    return install()


def install(*, force: bool = False) -> Path:
    """Make the environment in `SWEEP_HOME` and return its Python; with `force` anew if it is there.

    Uses uv where it is installed, else venv and pip. Raises SchemeError when packages cannot be had.
    """
    folder = _folder()
    log = folder.with_suffix(".log")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if (folder / RECORD).is_file() and not force:
                return _python(folder)
            shutil.rmtree(folder, ignore_errors=True)  # of an installation that was stopped, too
            with log.open("w") as output:
                for command in _commands(folder):
                    _execute(command, output.fileno(), log)
            (folder / RECORD).write_text(json.dumps({"packages": PACKAGES}))
    except OSError as error:
        raise SchemeError(
            f"{folder}: cannot be made ({error.strerror}); set SWEEP_HOME to a folder of yours"
        ) from error
    return _python(folder)


def _folder() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return home.environments() / f"qkeras-{content_digest([*PACKAGES, version])}"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _commands(folder: Path) -> list[list[str]]:
    python, uv = str(_python(folder)), shutil.which("uv")
    if uv is not None:
        return [
            [uv, "venv", "--no-project", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--python", python, *PACKAGES],
        ]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *PACKAGES],
    ]


def _execute(command: list[str], output: int, log: Path) -> None:
    # This environment's packages are not for that one.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    code = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=kept, check=False
    ).returncode
    if code != 0:
        raise SchemeError(
            f"the environment of QKeras students cannot be made: {Path(command[0]).name} ended with exit code"
            f" {code} ({log} says why). It needs {', '.join(PACKAGES)} from a package index: connect this"
            f" machine and run `sweep qkeras install`, or set {QKERAS_PYTHON} to a Python that has them"
        )
