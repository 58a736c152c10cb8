"""Child processes of a local run: one that prepares data and teacher, and the workers.

Each is a spawned interpreter of its own, so that thread counts can be set before TensorFlow starts,
and writes what libraries print to a log file. What it has to say to the user comes through a pipe of its
own: one that is killed in the middle of a word silences nobody else.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from objectives.errors import CicadaError
from sweep import home, qkeras_environment
from sweep.messages import Message, Noticed, Tell, WorkerEnded, Working
from sweep.storage.patience import leaving
from sweep.study_file import StudyFile
from sweep.worker.name import worker_name

SPAWN = get_context("spawn")
#: Seconds between two looks of a worker at whether its parent is alive.
LOOK_AT_PARENT = 1.0
#: XLA's earlier way of writing loops: half the time to compile a training graph, and no slower to run.
COMPILE_SOONER = "--xla_cpu_use_fusion_emitters=false"
#: What Keras imports where it is there and no worker uses: a quarter of what importing TensorFlow takes.
NOT_FOR_WORKERS = ("matplotlib", "pandas")


@dataclass(frozen=True)
class Child:
    """A child process, the end of its pipe that is read here, and its log."""

    process: BaseProcess
    messages: "Connection[None, Message]"
    log: Path


def start_preparation(file: StudyFile, processes: int, log: Path) -> Child:
    """Start the process that makes dataset and teacher, with all `processes` cores."""
    return _start(_prepare, "preparation", processes, log, file.model_dump_json())


def start_worker(url: str, study: str, name: str, log: Path, succeeds: str | None = None) -> Child:
    """Start a worker on one core, in the place of another one if it `succeeds` that."""
    return _start(_work, name, 1, log, url, study, succeeds)


def _start(target: Callable[..., bool], name: str, threads: int, log: Path, *args: object) -> Child:
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_child, args=(target, threads, theirs, log, args), name=name)
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return Child(process, ours, log)


def _child(
    target: Callable[..., bool],
    threads: int,
    pipe: "Connection[Message, None]",
    log: Path,
    args: tuple[object, ...],
) -> None:
    # Ctrl-C reaches the whole group; the parent decides, and asks with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    limit_threads(threads)
    with log.open("a", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        error: str | None = None
        worn_out = False
        try:
            worn_out = target(threads, _teller(pipe), *args)
        except CicadaError as problem:
            error = str(problem)
        except KeyboardInterrupt:
            error = "stopped"
        with suppress(OSError):  # nobody is left to be told
            pipe.send(WorkerEnded(worker_name(), error, worn_out))
            pipe.close()
    sys.exit(0 if error is None else 1)


def _teller(pipe: "Connection[Message, None]") -> Tell:
    lock = threading.Lock()  # two threads must not mix what they say

    def tell(message: Message) -> None:
        try:
            with lock:
                pipe.send(message)
        except OSError:
            raise KeyboardInterrupt from None  # nobody is left to stop this process

    return tell


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def stop_on_signals(stop: threading.Event) -> None:
    """Let the signals by which a process is asked to end set `stop`; Ctrl-C again interrupts at once.

    Batch systems send SIGTERM, or SIGUSR1 or SIGUSR2 some time before.
    """

    def handle(signum: int, frame: object) -> None:
        if stop.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        leaving.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def limit_threads(threads: int) -> None:
    """Let TensorFlow, once it is imported, and what it starts use so many threads."""
    for variable in (
        "OMP_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "OPENBLAS_NUM_THREADS",
        "DA_DEFAULT_THREADS",
    ):
        os.environ[variable] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"


def compile_sooner() -> None:
    """Let XLA, once TensorFlow is imported, compile the graphs of a worker in half the time.

    It rounds otherwise, so whatever trains a worker's students again must be told the same.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if COMPILE_SOONER not in flags:
        os.environ["XLA_FLAGS"] = f"{COMPILE_SOONER} {flags}".strip()  # of two, the last counts: the user's


def _prepare(threads: int, tell: Tell, file_json: str) -> bool:
    from objectives.data.dataset import load_dataset
    from objectives.teacher import load_teacher

    def progress(what: str, done: int, total: int) -> None:
        tell(Working("preparation", None, what, done, total))

    file = StudyFile.model_validate_json(file_json, strict=True)
    if file.scheme == "qkeras":
        qkeras_environment.ensure(lambda text: tell(Noticed("preparation", text)))
    dataset = load_dataset(file.dataset, home.data_cache(), processes=threads, progress=progress)
    load_teacher(file.teacher, dataset, home.teacher_cache(), progress=progress)
    return False


def _work(threads: int, tell: Tell, url: str, study: str, succeeds: str | None) -> bool:
    """Work on a study; return whether another process is to go on."""
    compile_sooner()
    gc.disable()  # importing TensorFlow leaves nothing to collect, and looking takes 0.7 s
    for name in NOT_FOR_WORKERS:
        sys.modules[name] = None  # type: ignore[assignment]  # "not found", to whoever imports it
    from sweep.annotating import Annotating
    from sweep.storage.database import open_storage
    from sweep.study import load
    from sweep.worker.worker import Options, Worker

    stop = threading.Event()
    tell(Working(worker_name(), None, "starting", 0, 1))
    opened = load(open_storage(url, create=False, patient=True), study)
    options = Options(succeeds=succeeds)
    annotating = Annotating(opened, url, tell, stop)
    worker = Worker(opened, tell, options=options, stop=stop, annotating=annotating)
    gc.enable()
    stop_on_signals(stop)
    _stop_with_parent(stop)
    worker.work()
    return worker.worn_out


def _stop_with_parent(stop: threading.Event) -> None:
    """Set `stop` when the process that started this one is gone: nobody else would stop it."""
    parent = parent_process()

    def watch() -> None:
        while parent is not None and parent.is_alive():
            if stop.wait(LOOK_AT_PARENT):
                return
        stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
