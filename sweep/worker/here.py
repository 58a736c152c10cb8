"""`sweep worker`: one worker in this process, until the study is done or somebody says stop."""

import os
import sys
import threading
from dataclasses import replace
from typing import NoReturn

from sweep.annotating import Annotating
from sweep.display import Display
from sweep.messages import Noticed
from sweep.processes import compile_sooner, limit_threads, stop_on_signals
from sweep.storage.database import open_storage
from sweep.study import Study, load
from sweep.worker.name import worker_name
from sweep.worker.worker import Options, Worker


def work_here(
    url: str, study: str, options: Options, threads: int, display: Display
) -> tuple[Study, int, bool]:
    """Work on the study called `study` with `threads` threads.

    Return it, how many runs ended here, and whether a new process is to go on (`go_on_anew`).

    SIGTERM, SIGINT, SIGUSR1 and SIGUSR2, which batch systems send before they kill, let the worker end its
    epoch, keep what there is, and hand its run back.
    """
    limit_threads(threads)
    compile_sooner()
    stop = threading.Event()
    stop_on_signals(stop)
    opened = load(open_storage(url, create=False, patient=True), study)
    display.show(Noticed(worker_name(), f"works on {study}"))
    annotating = Annotating(opened, url, display.show, stop)
    worker = Worker(opened, display.show, options=options, stop=stop, annotating=annotating)
    ended = worker.work()
    return opened, ended, worker.worn_out


def go_on_anew(url: str, study: str, options: Options, threads: int) -> NoReturn:
    """Become a fresh `sweep worker`: the same process to whoever started it, without what it holds."""
    os.environ["SWEEP_STORAGE"] = url  # not an argument, which everybody could read
    given = {
        "max-trials": options.max_trials,
        "idle-exit": options.idle_exit,
        "run-seconds": options.limits.seconds,
        "memory-gib": options.limits.memory_gib,
        "launch": options.launch,
        "threads": threads,
        "succeeds": worker_name(),
    }
    arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sweep", "worker", study, *arguments])


def without(options: Options, ended: int) -> Options:
    """Return what options leave to do after so many runs."""
    return options if options.max_trials is None else replace(options, max_trials=options.max_trials - ended)
