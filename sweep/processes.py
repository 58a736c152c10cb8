"""Child processes of a local run: one that prepares data and teacher, and the workers.

Each is a spawned interpreter of its own, so that thread counts can be set before TensorFlow starts,
and writes what libraries print to a log file. What it has to say to the user comes through a queue.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

from objectives.errors import CicadaError
from sweep import home, qkeras_environment
from sweep.messages import Message, Noticed, WorkerEnded, Working
from sweep.study_file import StudyFile
from sweep.worker_name import worker_name

SPAWN = get_context("spawn")


def start_preparation(file: StudyFile, processes: int, queue: "Queue[Message]", log: Path) -> BaseProcess:
    """Start the process that makes dataset and teacher, with all `processes` cores."""
    return _start(_prepare, "preparation", processes, queue, log, file.model_dump_json())


def start_worker(url: str, study: str, name: str, queue: "Queue[Message]", log: Path) -> BaseProcess:
    """Start a worker on one core."""
    return _start(_work, name, 1, queue, log, url, study)


def _start(
    target: Callable[..., None], name: str, threads: int, queue: "Queue[Message]", log: Path, *args: object
) -> BaseProcess:
    log.parent.mkdir(parents=True, exist_ok=True)
    process = SPAWN.Process(target=_child, args=(target, threads, queue, log, args), name=name)
    process.start()
    return process


def _child(
    target: Callable[..., None], threads: int, queue: "Queue[Message]", log: Path, args: tuple[object, ...]
) -> None:
    # Ctrl-C reaches the whole group; the parent decides, and asks with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    limit_threads(threads)
    with log.open("a", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        error: str | None = None
        try:
            target(threads, _teller(queue), *args)
        except CicadaError as problem:
            error = str(problem)
        except KeyboardInterrupt:
            error = "stopped"
        queue.put(WorkerEnded(worker_name(), error))
        queue.close()
        queue.join_thread()
    sys.exit(0 if error is None else 1)


def _teller(queue: "Queue[Message]") -> Callable[[Message], None]:
    parent = parent_process()

    def tell(message: Message) -> None:
        if parent is not None and not parent.is_alive():
            raise KeyboardInterrupt  # nobody is left to stop this process
        queue.put(message)

    return tell


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


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


def _prepare(threads: int, tell: Callable[[Message], None], file_json: str) -> None:
    from objectives.data.dataset import load_dataset
    from objectives.teacher import load_teacher

    def progress(what: str, done: int, total: int) -> None:
        tell(Working("preparation", None, what, done, total))

    file = StudyFile.model_validate_json(file_json, strict=True)
    if file.scheme == "qkeras":
        qkeras_environment.ensure(lambda text: tell(Noticed("preparation", text)))
    dataset = load_dataset(file.dataset, home.data_cache(), processes=threads, progress=progress)
    load_teacher(file.teacher, dataset, home.teacher_cache(), progress=progress)


def _work(threads: int, tell: Callable[[Message], None], url: str, study: str) -> None:
    gc.disable()  # importing TensorFlow leaves nothing to collect, and looking takes 0.7 s
    from sweep.storage import open_storage
    from sweep.study import load
    from sweep.worker import Worker

    gc.enable()

    tell(Working(worker_name(), None, "starting", 0, 1))
    Worker(load(open_storage(url, create=False), study), tell).work()
