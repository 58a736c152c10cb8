import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import SynthesisError
from sweep.synthesis.process import LONGEST_LINE, Ending, Limits, clean, run_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are kept together by Linux")

Processes = Callable[[], list[psutil.Process]]
Eventually = Callable[[Callable[[], bool]], None]

#: What no test here reaches.
AMPLE = Limits(seconds=120, memory_bytes=2**36)

#: A process that leaves its parent and its session, keeps stdout open, and does not end when asked.
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("daemon", "w").close()
    time.sleep(600)
while not os.path.exists("daemon"):
    time.sleep(0.01)
"""


def python(code: str) -> tuple[str, ...]:
    """Return a command that runs `code`, in an interpreter that starts fast."""
    return sys.executable, "-I", "-S", "-c", textwrap.dedent(code)


@pytest.fixture
def run(tmp_path: Path, marked_processes: Processes) -> Callable[..., Ending]:
    """Runs Python code as a tool in `tmp_path`, with the log `log` there."""

    def run_code(code: str, limits: Limits = AMPLE, **more: object) -> Ending:
        ending = run_process(python(code), tmp_path, tmp_path / "log", limits, **more)  # type: ignore[arg-type]
        assert not marked_processes(), "it returned before everything had ended"
        return ending

    return run_code


# ---- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 12, 255])
def test_exit_code(run: Callable[..., Ending], code: int) -> None:
    ending = run(f"raise SystemExit({code})")
    assert (ending.reason, ending.exit_code) == ("exited", code)
    assert ending.peak_memory_bytes > 2**20
    assert 0 < ending.seconds < 60


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_signal(run: Callable[..., Ending], number: signal.Signals) -> None:
    ending = run(f"import os; os.kill(os.getpid(), {int(number)})")
    assert (ending.reason, ending.exit_code) == ("exited", -number)


def test_time_limit_though_it_does_not_end_when_asked(run: Callable[..., Ending]) -> None:
    ending = run(
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
        """,
        Limits(0.5, 2**36),
    )
    assert (ending.reason, ending.exit_code) == ("timed out", None)
    assert 0.5 <= ending.seconds < 60


def test_it_may_tidy_up_when_asked(run: Callable[..., Ending], tmp_path: Path) -> None:
    ending = run(
        """
        import signal, sys, time
        def tidy(*_):
            open("tidied", "w").close()
            sys.exit(0)
        signal.signal(signal.SIGTERM, tidy)
        time.sleep(600)
        """,
        Limits(1, 2**36),
    )
    assert ending.reason == "timed out"
    assert (tmp_path / "tidied").exists()


def test_memory_limit_holds_for_all_processes_together(run: Callable[..., Ending]) -> None:
    ending = run(
        """
        import os, time
        for _ in range(3):
            if os.fork() == 0:
                held = b"x" * (80 << 20)
                time.sleep(600)
        time.sleep(600)
        """,
        Limits(120, 170 << 20),
    )
    assert (ending.reason, ending.exit_code) == ("out of memory", None)
    assert (170 << 20) < ending.peak_memory_bytes < (400 << 20)


def test_peak_of_a_run_too_short_to_be_looked_at(run: Callable[..., Ending]) -> None:
    assert run("held = b'x' * (80 << 20)").peak_memory_bytes > 80 << 20


def test_stop(run: Callable[..., Ending], tmp_path: Path, eventually: Eventually) -> None:
    stop = threading.Event()

    def stop_when_running() -> None:
        eventually((tmp_path / "running").exists)
        stop.set()

    stopper = threading.Thread(target=stop_when_running)
    stopper.start()
    ending = run("import time; open('running', 'w').close(); time.sleep(600)", stop=stop)
    stopper.join()
    assert (ending.reason, ending.exit_code) == ("stopped", None)


def test_an_exception_of_the_worker_ends_the_tool(
    run: Callable[..., Ending], marked_processes: Processes
) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("import time; print('here', flush=True); time.sleep(600)", on_line=interrupt)
    assert not marked_processes()


# ---- nothing is left ------------------------------------------------------------------------------


def test_a_daemon_is_killed_when_the_tool_ends(run: Callable[..., Ending]) -> None:
    ending = run(DAEMON + "sys.exit(7)")
    assert (ending.reason, ending.exit_code) == ("exited", 7)


def test_a_daemon_is_killed_at_the_limit(run: Callable[..., Ending]) -> None:
    assert run(DAEMON + "time.sleep(600)", Limits(1, 2**36)).reason == "timed out"


def test_processes_that_are_always_others(run: Callable[..., Ending]) -> None:
    # Each starts the next and ends, so that whoever was seen is gone.
    ending = run(
        """
        import os, time
        if os.fork() == 0:
            os.setpgid(0, 0)
            while True:
                time.sleep(0.002)
                if os.fork():
                    os._exit(0)
        time.sleep(600)
        """,
        Limits(0.5, 2**36),
    )
    assert ending.reason == "timed out"


def _worker(folder: Path, code: str) -> "subprocess.Popen[bytes]":
    """Start a process that runs a tool, as a worker does."""
    script = f"""
        from pathlib import Path
        from sweep.synthesis.process import Limits, run_process
        folder = Path({str(folder)!r})
        run_process({python(code)!r}, folder, folder / "log", Limits(600, 2**36))
        """
    return subprocess.Popen(
        (sys.executable, "-c", textwrap.dedent(script)), env={**os.environ, "PYTHONPATH": "."}
    )


def test_the_death_of_the_worker(tmp_path: Path, marked_processes: Processes, eventually: Eventually) -> None:
    worker = _worker(tmp_path, DAEMON + "open('running', 'w').close(); time.sleep(600)")
    eventually((tmp_path / "running").exists)
    assert len(marked_processes()) >= 4  # worker, keeper, tool and daemon
    worker.kill()
    worker.wait()
    eventually(lambda: not marked_processes())


def test_the_death_of_a_worker_whose_child_holds_the_pipe(
    tmp_path: Path, marked_processes: Processes, eventually: Eventually
) -> None:
    script = f"""
        import os, threading, time
        from pathlib import Path
        from sweep.synthesis.process import Limits, run_process
        folder = Path({str(tmp_path)!r})
        def fork():
            while not (folder / "running").exists():
                time.sleep(0.01)
            if os.fork() == 0:
                os.environ.clear()
                (folder / "forked").touch()
                time.sleep(30)
                os._exit(0)
        threading.Thread(target=fork).start()
        code = "import time; open('running', 'w').close(); time.sleep(600)"
        command = (*{python("")[:-1]!r}, code)
        run_process(command, folder, folder / "log", Limits(600, 2**36))
        """
    worker = subprocess.Popen(
        (sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)),
        env={**os.environ, "PYTHONPATH": "."},
    )
    eventually((tmp_path / "forked").exists)
    worker.kill()
    worker.wait()
    eventually(lambda: len(marked_processes()) == 1)  # the fork, which is none of the tool's
    marked_processes()[0].kill()
    eventually(lambda: not marked_processes())


def test_the_death_of_the_keeper(tmp_path: Path, marked_processes: Processes, eventually: Eventually) -> None:
    endings: list[Ending] = []
    command = python(DAEMON + "open('running', 'w').close(); time.sleep(600)")
    runner = threading.Thread(
        target=lambda: endings.append(run_process(command, tmp_path, tmp_path / "log", AMPLE))
    )
    runner.start()
    eventually((tmp_path / "running").exists)
    eventually(lambda: len(marked_processes()) == 3)
    threading.Event().wait(1.5)  # for the worker to have seen the daemon, which it does twice a second
    [keeper] = [p for p in marked_processes() if any("keeper.py" in part for part in p.cmdline())]
    keeper.kill()
    runner.join(60)
    assert [(ending.reason, ending.exit_code) for ending in endings] == [("exited", -signal.SIGKILL)]
    eventually(lambda: not marked_processes())


def test_a_keeper_that_somebody_asks_to_end(
    tmp_path: Path, marked_processes: Processes, eventually: Eventually
) -> None:
    endings: list[Ending] = []
    command = python("import time; open('running', 'w').close(); time.sleep(600)")
    runner = threading.Thread(
        target=lambda: endings.append(run_process(command, tmp_path, tmp_path / "log", AMPLE))
    )
    runner.start()
    eventually((tmp_path / "running").exists)
    [keeper] = [p for p in marked_processes() if any("keeper.py" in part for part in p.cmdline())]
    keeper.terminate()
    runner.join(60)
    assert [ending.reason for ending in endings] == ["stopped"]


# ---- surroundings, log and last line --------------------------------------------------------------


def test_surroundings(run: Callable[..., Ending], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    run(
        """
        import os, signal, sys
        print(os.getcwd())
        print("input", sys.stdin.read() or "none", flush=True)
        print("own session", os.getsid(0) == os.getpid(), file=sys.stderr, flush=True)
        print("interrupts", signal.getsignal(signal.SIGINT) == signal.default_int_handler)
        """
    )
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["before", str(tmp_path), "input none", "own session True", "interrupts True"]


def test_last_line(run: Callable[..., Ending]) -> None:
    lines: list[str] = []
    run(
        r"""
        import sys
        out = sys.stdout.buffer
        out.write(b"first\n" + bytes(range(256)) + b"\n\x1b[31mred\x07\x1b[0m \xff" + b"x" * 600 + b"\n \n")
        out.write(b"not complete")
        """,
        on_line=lines.append,
    )
    assert lines == [("red  \N{REPLACEMENT CHARACTER}" + 600 * "x")[:LONGEST_LINE]]


def test_lines_come_while_it_runs(run: Callable[..., Ending], tmp_path: Path) -> None:
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        (tmp_path / line).touch()

    run(
        """
        import os, time
        for word in ("one", "two"):
            print(word, flush=True)
            while not os.path.exists(word):
                time.sleep(0.02)
        """,
        on_line=hear,
    )
    assert lines == ["one", "two"]


def test_a_line_longer_than_what_is_looked_at(run: Callable[..., Ending]) -> None:
    lines: list[str] = []
    run("print('a' * 100_000)", on_line=lines.append)
    assert lines == []


@given(st.text())
def test_clean_lines_can_be_shown(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) <= LONGEST_LINE
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", cleaned)
    assert len(cleaned.splitlines()) <= 1


# ---- what cannot be started -----------------------------------------------------------------------


def test_what_cannot_be_started(tmp_path: Path, marked_processes: Processes) -> None:
    (tmp_path / "text").write_text("not a program")
    for arguments, folder, log, problem in [
        (("no-such-tool",), tmp_path, tmp_path / "log", "no-such-tool: cannot be started: No such file"),
        (("./text",), tmp_path, tmp_path / "log", r"\./text: cannot be started: Permission denied"),
        (("true", "a\0b"), tmp_path, tmp_path / "log", "true: cannot be started: embedded null byte"),
        (("true",), tmp_path / "nowhere", tmp_path / "log", "nowhere: no such folder to run true in"),
        (("true",), tmp_path, tmp_path, "the log cannot be written: Is a directory"),
        (("true",), tmp_path, tmp_path / "nowhere" / "log", "the log cannot be written: No such file"),
        ((), tmp_path, tmp_path / "log", "there is nothing to run"),
    ]:
        with pytest.raises(SynthesisError, match=problem) as caught:
            run_process(arguments, folder, log, AMPLE)
        assert "\n" not in str(caught.value)
