"""The environment of QKeras students: made once, made whole, and named when it cannot be had."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objectives.errors import SchemeError
from sweep.qkeras_environment import PACKAGES, QKERAS_PYTHON, RECORD, ensure, install, interpreter

#: Stands in for uv: notes what it is asked for, and makes what is there afterwards.
UV = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
for last; do :; done
case $1 in
venv) mkdir -p "$last/bin" && ln -s {python} "$last/bin/python" ;;
pip) exit {code} ;;
esac
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep_home: Path) -> Callable[[int], Path]:
    """Puts a `uv` on the path, of which the installation ends with a given code; returns what it notes."""
    monkeypatch.delenv(QKERAS_PYTHON, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def put(code: int) -> Path:
        (folder / "uv").write_text(UV.format(python=sys.executable, code=code))
        (folder / "uv").chmod(0o755)
        return folder / "asked"

    return put


def test_it_is_made_once(uv: Callable[[int], Path]) -> None:
    asked = uv(0)
    assert interpreter() is None
    said: list[str] = []
    python = ensure(said.append)
    assert len(said) == 1
    assert str(python.parents[1]) in said[0]
    assert python.is_file()
    assert interpreter() == python
    assert ensure(said.append) == install() == python
    assert len(said) == 1
    venv, pip = asked.read_text().splitlines()
    assert venv.startswith("venv ")
    assert all(package in pip for package in PACKAGES)
    assert install(force=True) == python
    assert len(asked.read_text().splitlines()) == 4


def test_what_was_stopped_half_way_is_made_anew(uv: Callable[[int], Path]) -> None:
    uv(0)
    python = install()
    (python.parents[1] / RECORD).unlink()
    (python.parents[1] / "half").touch()
    assert interpreter() is None
    assert install() == python
    assert not (python.parents[1] / "half").exists()


def test_packages_that_cannot_be_had(uv: Callable[[int], Path], sweep: Callable[..., Any]) -> None:
    uv(2)
    with pytest.raises(SchemeError, match=r"uv ended with exit code 2 .*qkeras-v3==1\.2\.1"):
        install()
    assert interpreter() is None
    said = sweep("qkeras", "install")
    assert said.code == 2
    assert said.err.startswith("error: the environment of QKeras students cannot be made")
    assert len(said.err.splitlines()) == 1


def test_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep_home: Path) -> None:
    """The real installer, which may neither connect nor take what it kept."""
    monkeypatch.delenv(QKERAS_PYTHON, raising=False)
    for name, value in {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    # Where there is no uv, pip is asked, of a place that holds nothing.
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(empty)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SchemeError, match=r"^the environment of QKeras students cannot be made: .*connect"):
        install()
    assert interpreter() is None


def test_one_of_the_users_own(monkeypatch: pytest.MonkeyPatch, sweep_home: Path) -> None:
    monkeypatch.setenv(QKERAS_PYTHON, sys.executable)
    assert interpreter() == Path(sys.executable)
    monkeypatch.setenv(QKERAS_PYTHON, "/no/python")
    with pytest.raises(SchemeError, match=rf"^{QKERAS_PYTHON}=/no/python: there is no such program$"):
        interpreter()


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(QKERAS_PYTHON, raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(SchemeError, match="set SWEEP_HOME to a folder of yours"):
        install()
