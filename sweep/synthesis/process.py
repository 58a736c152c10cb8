"""Running a tool: a process group of its own, with limits, that nothing outlives.

Between the worker and the tool stands the keeper (`sweep.synthesis.keeper`), which kills all that the
tool started when the tool ends, when the worker asks, and when the worker dies. The worker watches
limits, for it has the means to measure at hand, and the keeper is to be small.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import psutil

from sweep.errors import SynthesisError
from sweep.synthesis import keeper

#: Characters of a line that `on_line` gets.
LONGEST_LINE = 500

#: Seconds between two looks at the clock and at `stop`, and between two looks at memory and log.
_TICK_S = 0.1
_LOOK_S = 0.5
#: Bytes at the end of a log in which its last line is looked for.
_TAIL = 16 * 1024
#: Colours and cursor movements of terminals, control characters, and what reverses or breaks lines.
_UNSHOWN = re.compile(r"(?:\x1b\[[0-9;?]*[@-~]|[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069])+")


@dataclass(frozen=True)
class Limits:
    """Wall-clock seconds, and bytes of resident memory of all processes of a run together."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    `exit_code` is None unless `reason` is `exited`; it is negative for a signal that came from
    elsewhere. `seconds` is wall-clock time. `peak_memory_bytes` is the most that the processes were
    seen to hold together, twice a second, and no less than any one of them held at any time.
    """

    reason: Literal["exited", "timed out", "out of memory", "stopped"]
    exit_code: int | None
    seconds: float
    peak_memory_bytes: int = 0


def run_process(
    arguments: tuple[str, ...],
    folder: Path,
    log: Path,
    limits: Limits,
    *,
    stop: threading.Event | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Ending:
    """Run `arguments` in `folder`, everything that it prints being appended to `log`.

    It runs in a session of its own, without an input. When it ends, when a limit is reached, when
    `stop` is set, when this function is left by an exception or this process is killed, its processes
    are killed, those that have daemonized too: first asked (except after its own end), then forced.
    Returns only when none is left. Memory that processes share counts for each of them.

    `on_line` gets the log's last complete line, twice a second at most and only if there is a new
    one: without control characters, cut to `LONGEST_LINE` characters.

    Raises SynthesisError when the program cannot be started or the log not be written. Linux is
    where all of this holds; `sweep.synthesis.keeper` says what other systems lack.
    """
    if not arguments:
        raise SynthesisError("there is nothing to run")
    if not folder.is_dir():
        raise SynthesisError(f"{folder}: no such folder to run {arguments[0]} in")
    started = time.monotonic()
    with _log(log) as file, _kept(arguments, folder, file) as run:
        watch = _Watch(run, limits, started, stop, _LastLine(log, on_line))
        reason = watch.until_end()
        run.dismiss()
        words = run.answer()
    seconds = time.monotonic() - started
    match words:
        case ["failed", number]:
            raise SynthesisError(f"{arguments[0]}: cannot be started: {os.strerror(int(number))}")
        case ["exited", code, most]:
            return Ending("exited", int(code), seconds, max(watch.peak, int(most)))
        case ["killed", most]:
            # Without a reason of our own it was the keeper that somebody asked to end.
            return Ending(reason or "stopped", None, seconds, max(watch.peak, int(most)))
    if reason is not None:
        return Ending(reason, None, seconds, watch.peak)
    if run.exit_code < 0:
        return Ending("exited", run.exit_code, seconds, watch.peak)
    raise SynthesisError(f"{arguments[0]}: its keeper ended with exit code {run.exit_code}; see {log}")


@contextmanager
def _log(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise SynthesisError(f"{path}: the log cannot be written: {error.strerror}") from None
    with file:
        yield file


# ---- the keeper, seen from the worker -------------------------------------------------------------


class _Run:
    """A keeper at work, and what is known of the processes below it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._said = b""
        self._seen: dict[int, psutil.Process] = {}
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self.ended = False

    @property
    def exit_code(self) -> int:
        return self._process.wait()

    def wait(self, seconds: float) -> bool:
        """Return whether the keeper has ended within `seconds`."""
        if not self.ended and self._selector.select(max(seconds, 0)):
            some = os.read(self._stdout.fileno(), 4096)
            self._said += some
            self.ended = not some
        return self.ended

    def memory(self) -> int:
        """Return the bytes that all processes below the keeper hold now."""
        total = 0
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            self._seen = {
                child.pid: child for child in psutil.Process(self._process.pid).children(recursive=True)
            }
        for child in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += child.memory_info().rss
        return total

    def dismiss(self) -> None:
        """Let the keeper end the tool, if it still runs."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def answer(self) -> list[str]:
        """Wait for the keeper's end and return the words of its last line, if that says how it went."""
        while not self.wait(1):
            pass
        lines = [line.split() for line in self._said.decode("ascii", "replace").splitlines()]
        if self.exit_code < 0:
            self._clear(next((int(words[1]) for words in lines if words[:1] == ["started"]), None))
        return lines[-1] if lines and lines[-1][0] != "started" else []

    def _clear(self, tool: int | None) -> None:
        """Kill what a killed keeper has left: the kernel killed no more than the tool's main process."""
        left = list(self._seen.values())
        for process in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                left += process.children(recursive=True)
        if tool is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(tool, signal.SIGKILL)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        psutil.wait_procs(left, timeout=keeper.PATIENCE_S)

    def close(self) -> None:
        self.dismiss()
        self._process.wait()
        self._selector.close()
        self._stdout.close()


@contextmanager
def _kept(arguments: tuple[str, ...], folder: Path, log: BinaryIO) -> Iterator[_Run]:
    # Without site-packages the interpreter starts in a third of the time; psutil is needed elsewhere.
    flags = ("-I", "-S") if sys.platform == "linux" else ("-I",)
    try:
        process = subprocess.Popen(
            (sys.executable, *flags, keeper.__file__, str(os.getpid()), *arguments),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the worker, which decides
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise SynthesisError(f"{arguments[0]}: cannot be started: {error}") from None
    run = _Run(process)
    try:
        yield run
    finally:
        run.close()


class _Watch:
    """Looks after a run until it ends or has to."""

    def __init__(
        self, run: _Run, limits: Limits, started: float, stop: threading.Event | None, line: "_LastLine"
    ) -> None:
        self.run = run
        self.limits = limits
        self.started = started
        self.stop = stop
        self.line = line
        self.peak = 0

    def until_end(self) -> Literal["timed out", "out of memory", "stopped"] | None:
        """Return why the run has to end; None if it has ended."""
        deadline = self.started + self.limits.seconds
        look = self.started
        while not self.run.wait(min(_TICK_S, deadline - time.monotonic())):
            if self.stop is not None and self.stop.is_set():
                return "stopped"
            if time.monotonic() >= deadline:
                return "timed out"
            if time.monotonic() >= look:
                memory = self.run.memory()
                self.peak = max(self.peak, memory)
                if memory > self.limits.memory_bytes:
                    return "out of memory"
                self.line.tell()
                look = time.monotonic() + _LOOK_S
        self.line.tell()
        return None


class _LastLine:
    """Tells the last complete line of a growing log."""

    def __init__(self, log: Path, tell: Callable[[str], None] | None) -> None:
        self._log = log
        self._tell = tell
        self._size = 0
        self._told = ""

    def tell(self) -> None:
        if self._tell is None:
            return
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - _TAIL, 0))
                tail = file.read(_TAIL)
        except OSError:
            return  # a log that is gone has no last line; the run is none the worse for it
        if size == self._size:
            return
        self._size = size
        line = _last_line(tail, from_start=size <= _TAIL)
        if line and line != self._told:
            self._told = line
            self._tell(line)


def _last_line(tail: bytes, *, from_start: bool) -> str:
    """Return the last complete line of a log's end that says something; empty if there is none."""
    lines = re.split(rb"[\r\n]", tail)[0 if from_start else 1 : -1]
    for line in reversed(lines):
        text = clean(line.decode(errors="replace"))
        if text:
            return text
    return ""


def clean(line: str) -> str:
    """Return a line of a log as it can be shown: no control characters, at most `LONGEST_LINE` long."""
    return _UNSHOWN.sub(" ", line).strip()[:LONGEST_LINE]
