"""The keeper: a small program between a worker and a tool, so that nothing the tool starts outlives either.

`sweep.synthesis.process` starts it in the tool's folder, on Linux without site-packages, for it to be
up in hundredths of a second::

    python -I -S keeper.py WORKER_PID TOOL ARGUMENT...

===========  ==========================================================================================
stdin        a pipe that the worker holds open; end of file, or any byte, asks for the tool's end
stdout       the worker reads lines: `started PID` or `failed ERRNO`, later `exited CODE BYTES` or
             `killed BYTES`, BYTES being the most memory that one process of the tool had
stderr       the tool's log; the tool's stdout and stderr both
===========  ==========================================================================================

On Linux the keeper is a subreaper: a process that daemonizes becomes its child, not init's, and so is
found and killed; and when the keeper itself is killed, the kernel kills the tool's main process. On
other systems neither exists: processes of the tool's group, and whatever was seen below it before,
are killed. A process that another service starts for the tool (systemd, a container engine, a batch
system) is out of reach everywhere.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

#: Seconds between asking processes to end and killing them.
GRACE_S = 1.0
#: Seconds after which processes that cannot be killed (they wait for a dead disk) are left.
PATIENCE_S = 30.0
#: Seconds between two looks at whether the worker lives.
LOOK_S = 0.5

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

LINUX = sys.platform == "linux"
NOTHING_TO_START = 127


def main(arguments: list[str]) -> None:
    worker, command = int(arguments[0]), arguments[1:]
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
    signals = _signals()
    tool = _start(command)
    if tool is None:
        return
    _tell(f"started {tool}")
    tree = Tree(tool)
    asked = False
    while tree.exit_code is None and not asked:
        ready, _, _ = select.select([0, signals], [], [], LOOK_S)
        came = os.read(signals, 4096) if signals in ready else b""
        tree.reap()
        if not LINUX:
            _seen(tool)  # before a daemon among them is no longer known as theirs
        # An exit that came first is the tool's own, whatever is asked now.
        asked = 0 in ready or os.getppid() != worker or any(number != signal.SIGCHLD for number in came)
    if tree.exit_code is None:
        tree.end(GRACE_S)
        _tell(f"killed {_most_memory()}")
    else:
        tree.end(0)
        _tell(f"exited {tree.exit_code} {_most_memory()}")


class Tree:
    """A tool's main process and all that came of it; `exit_code` is None while the former runs."""

    def __init__(self, tool: int) -> None:
        self.tool = tool
        self.exit_code: int | None = None
        self._waiting = True

    def reap(self) -> None:
        """Take note of children that ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._waiting = False
                return
            if pid == 0:
                return
            if pid == self.tool:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def end(self, grace: float) -> None:
        """Ask every process to end, kill those that remain after `grace` seconds, and wait for them."""
        started = time.monotonic()
        asked: set[int] = set()
        while time.monotonic() < started + grace and self._alive():
            new = _descendants(self.tool) - asked
            _send(signal.SIGTERM, new)
            asked |= new
            time.sleep(0.02)
        while time.monotonic() < started + grace + PATIENCE_S and self._alive():
            # Again and again: a process may have been started while the list was made.
            left = _descendants(self.tool)
            if any(_group(process) == self.tool for process in left):
                _kill_group(self.tool)  # all at once, so that none forks meanwhile
            _send(signal.SIGKILL, left)
            time.sleep(0.005)

    def _alive(self) -> bool:
        self.reap()
        # Orphans come to a subreaper: without a child there is no process further down.
        return self._waiting if LINUX else bool(_descendants(self.tool))


def _signals() -> int:
    """Let signals be read from a pipe, and return its end; none of them ends the keeper."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the worker's is not the tool's
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return read


def _start(command: list[str]) -> int | None:
    """Start the tool in a session of its own and return its process; None if it could not be."""
    keeper = os.getpid()
    read, write = os.pipe()
    tool = os.fork()
    if tool == 0:
        try:
            os.setsid()
            if LINUX:
                _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != keeper:
                    os._exit(NOTHING_TO_START)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(write, str(error.errno).encode())
        finally:
            os._exit(NOTHING_TO_START)
    os.close(write)
    problem = os.read(read, 64)  # nothing, once the tool's program has replaced this one
    os.close(read)
    if problem:
        os.waitpid(tool, 0)
        _tell(f"failed {problem.decode()}")
        return None
    return tool


def _tell(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # a dead worker needs no answer
        os.write(1, f"{line}\n".encode())


def _send(number: int, processes: set[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _group(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


def _most_memory() -> int:
    # Imported late: what is needed at the end need not delay the start.
    import resource

    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most * 1024 if LINUX else most


# ---- what the systems differ in ------------------------------------------------------------------


def _prctl(option: int, value: int) -> None:
    """Call prctl; a kernel that refuses leaves less protection, not none."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _descendants(tool: int) -> set[int]:
    """Return the processes that have come from this one."""
    if not LINUX:
        return _seen(tool)
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name of the program comes before, in brackets, and may hold anything.
            parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(folder.name))
    found: set[int] = set()
    new = [os.getpid()]
    while new:
        new = [child for parent in new for child in children.get(parent, ())]
        found.update(new)
    return found


_SEEN: dict[int, float] = {}


def _seen(tool: int) -> set[int]:
    """Return what is or once was below this process, or is in the tool's group, and still runs."""
    import psutil

    _SEEN.update((child.pid, child.create_time()) for child in psutil.Process().children(recursive=True))
    alive = set()
    for process in psutil.process_iter(["pid", "create_time", "status"]):
        about = process.info
        try:
            ours = _SEEN.get(about["pid"]) == about["create_time"] or os.getpgid(about["pid"]) == tool
        except (ProcessLookupError, PermissionError):
            continue
        if ours and about["status"] != psutil.STATUS_ZOMBIE:
            alive.add(about["pid"])
    return alive


if __name__ == "__main__":
    main(sys.argv[1:])
