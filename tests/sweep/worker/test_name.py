"""Worker names: no two processes share one, and the dead of this machine are known."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sweep.storage.slots import SLOTS
from sweep.worker.name import is_dead, worker_name


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_process_keeps_its_name() -> None:
    assert worker_name() == worker_name(os.getpid())
    host, pid, started = worker_name().rsplit(":", 2)
    assert (host, int(pid)) == (socket.gethostname(), os.getpid())
    assert abs(time.time() - int(started)) < 24 * 3600


def test_another_process_has_another_name(sleeper: subprocess.Popen[bytes]) -> None:
    assert worker_name(sleeper.pid) != worker_name()


def test_this_process_and_its_children_are_alive(sleeper: subprocess.Popen[bytes]) -> None:
    assert not is_dead(worker_name())
    assert not is_dead(worker_name(sleeper.pid))


def test_who_was_killed_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    name = worker_name(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert is_dead(name)


def test_who_was_killed_is_dead_before_its_parent_looks(sleeper: subprocess.Popen[bytes]) -> None:
    name = worker_name(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert is_dead(name)


def test_a_process_that_got_the_number_of_a_dead_one_is_not_it(sleeper: subprocess.Popen[bytes]) -> None:
    host, pid, started = worker_name(sleeper.pid).rsplit(":", 2)
    assert is_dead(f"{host}:{pid}:{int(started) - 3600}")


@pytest.mark.parametrize("step", [-2, 2])
def test_a_clock_that_was_set_right_kills_nobody(sleeper: subprocess.Popen[bytes], step: int) -> None:
    host, pid, started = worker_name(sleeper.pid).rsplit(":", 2)
    assert not is_dead(f"{host}:{pid}:{int(started) + step}")


def test_who_works_elsewhere_may_be_alive(sleeper: subprocess.Popen[bytes]) -> None:
    name = worker_name(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert not is_dead(name.replace(socket.gethostname(), "another-host"))


def test_the_longest_name_fits_its_column() -> None:
    longest = len("h" * 64) + len(":4194304") + len(f":{int(time.time())}0")  # Linux: names, process numbers
    assert longest <= SLOTS.c.worker.type.length  # type: ignore[attr-defined]
