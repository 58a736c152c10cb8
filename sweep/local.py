"""Run a study on this machine until its budget is spent: prepare, start workers, watch them."""

import time
from collections.abc import Iterable
from multiprocessing.connection import wait

from objectives.data.dataset import is_made
from objectives.errors import CicadaError
from objectives.teacher import has_targets
from sweep import home
from sweep.display import Display
from sweep.errors import StudyError
from sweep.messages import Message, Noticed, RunEnded, WorkerEnded
from sweep.processes import Child, start_preparation, start_worker
from sweep.start import start_network
from sweep.storage.slots import Slots
from sweep.study import Study
from sweep.study_file import StudyFile
from sweep.worker.name import is_dead, worker_name

#: A worker that dies without a word is replaced; this many times in all.
MAX_REPLACEMENTS = 3
#: Seconds that workers have to end their epoch and hand back their runs when the user stops a study.
GRACE = 25.0


def run_here(study: Study, url: str, workers: int, display: Display) -> None:
    """Work on `study` with `workers` processes until its budget is spent.

    Raises StudyError when workers stop with an error, or were told to stop before the study was done,
    and KeyboardInterrupt when the user stops them.
    """
    start_network(study)  # refuses what no run could start from
    slots = Slots(study.storage.engine, study.id, worker_name())
    release_dead(slots)
    logs = home.logs_folder(study.name)
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"{logs}: cannot be made ({error.strerror}); set SWEEP_HOME to a folder of yours"
        ) from error
    if study.file.simulation is None:
        prepare_here(study, workers, display)
    remaining = max(study.file.budget.trials - slots.done(), 1)
    children = [
        start_worker(url, study.name, f"worker-{number}", logs / f"worker-{number}.log")
        for number in range(min(workers, remaining))
    ]
    try:
        _watch(study, url, children, slots, display)
    except BaseException:
        _stop(children)
        release_dead(slots)
        raise
    done = slots.done()
    if stopped_early(study, done):
        raise StudyError(
            f"workers were told to stop with {done} of {study.file.budget.trials} runs done;"
            " the same command goes on where this was"
        )


def stopped_early(study: Study, done: int) -> bool:
    """Tell whether workers, all ended well, left some of the budget after `done` runs: they were told to."""
    return done < study.file.budget.trials and not study.hours_are_spent()


def release_dead(slots: Slots) -> None:
    """Hand back the runs of workers on this machine that are gone."""
    for worker in {*slots.open().values()}:
        if is_dead(worker):
            slots.release_of(worker)


def prepare_here(study: Study, cores: int, display: Display) -> None:
    """Make what all workers of a study share, its dataset and its teacher, unless they are there."""
    if _is_prepared(study.file):
        return
    log = home.logs_folder(study.name) / "preparation.log"
    child = start_preparation(study.file, cores, log)
    try:
        while True:
            message = _next(child)
            if message is None:
                child.process.join()
                code = child.process.exitcode
                raise StudyError(f"preparing data and teacher ended with exit code {code}; {log} says why")
            if isinstance(message, WorkerEnded):
                if message.error:
                    raise CicadaError(message.error)
                child.process.join()
                return
            display.show(message)
    finally:
        _stop([child])


def _is_prepared(file: StudyFile) -> bool:
    """Tell whether a worker has nothing to make, but only to read."""
    if file.scheme == "qkeras":  # its environment may have to be made
        return False
    made = is_made(file.dataset, home.data_cache())
    return made and has_targets(file.teacher, file.dataset, home.teacher_cache())


def _next(child: Child) -> Message | None:
    """Return the next message of a child; None when it has ended, or was killed in the middle of one."""
    try:
        return child.messages.recv()
    except (EOFError, OSError):
        return None


def _watch(study: Study, url: str, children: list[Child], slots: Slots, display: Display) -> None:
    """Show what workers say until all have ended."""
    replaced = 0
    worn_out: dict[str, str] = {}  # names of workers here, and those under which they held leases
    while children:
        by_pipe = {child.messages: child for child in children}
        for pipe in wait(by_pipe):
            child = by_pipe[pipe]  # type: ignore[index]
            message = _next(child)
            if message is not None:
                display.show(message)
                if isinstance(message, WorkerEnded) and message.error:
                    raise StudyError(f"worker {message.worker}: {message.error}")
                if isinstance(message, WorkerEnded) and message.worn_out:
                    worn_out[child.process.name] = message.worker
                if isinstance(message, RunEnded):
                    display.advance(slots.done())
                continue
            children.remove(child)
            child.process.join()
            code, name = child.process.exitcode, child.process.name
            if code == 0:
                if name in worn_out:
                    children.append(start_worker(url, study.name, name, child.log, worn_out.pop(name)))
                continue
            release_dead(slots)
            replaced += 1
            if replaced > MAX_REPLACEMENTS:
                raise StudyError(f"{name} ended with exit code {code} again; {child.log} says why")
            display.show(Noticed(name, f"ended with exit code {code} ({child.log}); another one goes on"))
            children.append(start_worker(url, study.name, name, child.log))


def _stop(children: Iterable[Child]) -> None:
    children = list(children)
    for child in children:
        if child.process.is_alive():
            child.process.terminate()
    end = time.monotonic() + GRACE
    for child in children:
        while child.process.is_alive() and time.monotonic() < end:
            if child.messages.poll(0.1) and _next(child) is None:  # or it could wait for a reader
                child.process.join(max(end - time.monotonic(), 0.1))
        if child.process.is_alive():
            child.process.kill()
        child.process.join()
        child.messages.close()
