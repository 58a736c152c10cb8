"""A command under way in a process of its own, and the processor time that it uses."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import psutil

from tests.benchmarks.search.kept import (
    NOTHING,
    Reading,
    SearchError,
    Spent,
    read_readings,
    write_readings,
)

ROOT = Path(__file__).resolve().parents[3]
#: Seconds that a command has to end when it is interrupted.
GRACE = 30.0


class Running:
    """A Python module that runs with arguments of its own; what it prints goes to a log.

    What it takes is counted from `earlier` on: what was used for the same work before.
    """

    def __init__(self, module: str, arguments: list[str], log: Path, earlier: Spent = NOTHING) -> None:
        self.log = log
        self.earlier = earlier
        with log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # Ctrl-C reaches it from here alone
            )
        self.readings: list[Reading] = [(time.time(), earlier.core_seconds)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def spent(self) -> Spent:
        """What it took until now."""
        (start, _), (end, used) = self.readings[0], self.readings[-1]
        return Spent(used, self.earlier.wall_seconds + end - start)

    def has_ended(self) -> bool:
        """Read the processor time, and tell whether the process is over."""
        used = self.earlier.core_seconds + _processor_seconds(self.process.pid)
        used = max(used, self.readings[-1][1])
        self.readings.append((time.time(), used))
        return self.process.poll() is not None

    def check(self) -> None:
        """Raise SearchError if the process has ended with an error."""
        if self.process.returncode:
            raise SearchError(f"exit code {self.process.returncode}; {self.log} says why")

    def stop(self) -> None:
        """End it, if it has not, with all its children."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def keep_readings(folder: Path, process: Running) -> None:
    """Add what a search took since it was started to what was known before."""
    _, earlier = read_readings(folder)
    known = earlier[-1][0] if earlier else 0.0
    write_readings(folder, process.spent, [*earlier, *(r for r in process.readings if r[0] > known)])


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process, its children, and all of them that have ended."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total
