"""Run a study on this machine until its budget is spent: prepare, start workers, watch them."""

import queue as queues
import time
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

from objectives.errors import CicadaError
from sweep import home
from sweep.display import Display
from sweep.errors import StudyError
from sweep.messages import Message, Noticed, RunEnded, WorkerEnded
from sweep.processes import SPAWN, start_preparation, start_worker
from sweep.slots import Slots
from sweep.start import start_network
from sweep.study import Study
from sweep.worker_name import is_dead, worker_name

#: A worker that dies without a word is replaced; this many times in all.
MAX_REPLACEMENTS = 3
#: Seconds that workers have to hand back their runs when the user stops a study.
GRACE = 20.0


def run_here(study: Study, url: str, workers: int, display: Display) -> None:
    """Work on `study` with `workers` processes until its budget is spent.

    Raises StudyError when workers stop with an error, and KeyboardInterrupt when the user does.
    """
    start_network(study)  # refuses what no run could start from
    slots = Slots(study.storage.engine, study.id, worker_name())
    release_dead(slots)
    messages: Queue[Message] = SPAWN.Queue()
    logs = home.students_folder(study.name).parent / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"{logs}: cannot be made ({error.strerror}); set SWEEP_HOME to a folder of yours"
        ) from error
    _wait_for_preparation(study, workers, messages, logs, display)
    remaining = study.file.budget.trials - slots.done()
    started = {
        p.pid: p
        for number in range(min(workers, remaining))
        if (p := start_worker(url, study.name, f"worker-{number}", messages, logs / f"worker-{number}.log"))
    }
    try:
        _watch(study, url, started, slots, messages, logs, display)
    except BaseException:
        _stop(list(started.values()))
        release_dead(slots)
        raise


def release_dead(slots: Slots) -> None:
    """Hand back the runs of workers on this machine that are gone."""
    for worker in {*slots.open().values()}:
        if is_dead(worker):
            slots.release_of(worker)


def _wait_for_preparation(
    study: Study, cores: int, messages: "Queue[Message]", logs: Path, display: Display
) -> None:
    process = start_preparation(study.file, cores, messages, logs / "preparation.log")
    try:
        while True:
            try:
                message = messages.get(timeout=0.5)
            except queues.Empty:
                if process.is_alive():
                    continue
                raise StudyError(
                    f"preparing data and teacher ended with exit code {process.exitcode};"
                    f" {logs / 'preparation.log'} says why"
                ) from None
            if isinstance(message, WorkerEnded):
                if message.error:
                    raise CicadaError(message.error)
                process.join()
                return
            display.show(message)
    finally:
        _stop([process])


def _watch(
    study: Study,
    url: str,
    processes: dict[int | None, BaseProcess],
    slots: Slots,
    messages: "Queue[Message]",
    logs: Path,
    display: Display,
) -> None:
    replaced = 0
    while processes:
        try:
            message = messages.get(timeout=0.5)
        except queues.Empty:
            message = None
        if message is not None:
            display.show(message)
            if isinstance(message, WorkerEnded) and message.error:
                raise StudyError(f"worker {message.worker}: {message.error}")
            if isinstance(message, RunEnded):
                display.advance(slots.done())
            continue
        for pid, process in list(processes.items()):
            if process.is_alive():
                continue
            del processes[pid]
            if process.exitcode == 0:
                continue
            release_dead(slots)
            replaced += 1
            log = logs / f"{process.name}.log"
            if replaced > MAX_REPLACEMENTS:
                raise StudyError(
                    f"{process.name} ended with exit code {process.exitcode} again; {log} says why"
                )
            display.show(
                Noticed(process.name, f"ended with exit code {process.exitcode} ({log}); another one goes on")
            )
            new = start_worker(url, study.name, process.name, messages, log)
            processes[new.pid] = new


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    end = time.monotonic() + GRACE
    for process in processes:
        process.join(max(end - time.monotonic(), 0.1))
        if process.is_alive():
            process.kill()
            process.join()
