"""A fleet of real workers on a simulated study, some of which are killed; see test_chaos and the benchmarks.

Run as a program it is where the workers come from. To each line on its stdin it answers with one: to
`start URL STUDY HOME` it forks a worker and says its process, to `wait` it waits for all of them and says
{process: exit code}. What takes seconds to import is imported once.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from sweep import home
from sweep.storage.database import open_storage
from sweep.storage.slots import Slots
from sweep.study import Study, create_or_resume, load
from sweep.study_file import StudyFile, parse_study


def simulated(runs: int, seconds: float, points: int = 4, name: str = "fleet", **sections: Any) -> StudyFile:
    """Return a study of simulated runs."""
    content = {
        "study": name,
        "dataset": {"source": {"kind": "pythia"}},
        "training": {
            "epochs": 40,
            "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
            "beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}},
        },
        "student": {"hidden": [8, 16, 32]},
        "objectives": ["mean_auc", "lut"],
        "constraints": {"latency_ns": {"max": 200}},
        "budget": {"trials": runs},
        "continuation": {"share": 0.5},
        "simulation": {"seconds": seconds, "points": points},
        **sections,
    }
    return parse_study(content, Path("fleet.yaml"))


class Nursery:
    """The program that workers are forked from."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def ask(self, line: str) -> str:
        """Return its answer to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def clear(self) -> None:
        """Leave no worker behind."""
        for worker in psutil.Process(self.process.pid).children():
            worker.kill()
        self.ask("wait")

    def close(self) -> None:
        """End it."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self.process.wait(60)


class Fleet:
    """Workers of one study on this machine."""

    def __init__(self, nursery: Nursery, url: str, study: str) -> None:
        self._nursery = nursery
        self._start = f"start {url} {study} {home.home()}"
        self.workers: list[int] = []
        self.killed: set[int] = set()

    def start(self, number: int = 1) -> None:
        """Start so many workers."""
        self.workers += [int(self._nursery.ask(self._start)) for _ in range(number)]

    def alive(self) -> list[int]:
        """Return the workers that are at work."""
        return [worker for worker in self.workers if worker not in self.killed and _is_alive(worker)]

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int | None:
        """Send a signal to a worker chosen by chance; return which."""
        alive = self.alive()
        if not alive:
            return None
        victim = random.choice(alive)
        with suppress(ProcessLookupError):
            os.kill(victim, number)
        if number == signal.SIGKILL:
            self.killed.add(victim)
        return victim

    def exit_codes(self) -> dict[int, int]:
        """Wait until all workers have ended, and return how."""
        codes: dict[str, int] = json.loads(self._nursery.ask("wait"))
        return {int(worker): code for worker, code in codes.items()}

    def close(self) -> None:
        """Leave nothing behind."""
        self._nursery.clear()


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def storm(
    nursery: Nursery,
    url: str,
    file: StudyFile,
    workers: int,
    *,
    kill_every: float | None = None,
    kills: int = 0,
    restart: Callable[[], None] | None = None,
    restarts: int = 0,
    seconds: float = 600.0,
) -> dict[str, Any]:
    """Let `workers` work off a study while some are killed and the server is restarted; return figures.

    Every worker that is killed is followed by another one. Restarts are spread over the runs.
    """
    create_or_resume(open_storage(url), file)[0].storage.engine.dispose()
    fleet = Fleet(nursery, url, file.study)
    study = load(open_storage(url, create=False), file.study)
    slots = Slots(study.storage.engine, study.id, "watching")
    budget, restarted = file.budget.trials, 0
    began = time.monotonic()
    next_kill = began + (kill_every or 0.0)
    try:
        fleet.start(workers)
        while (done := slots.done()) < budget:
            now = time.monotonic()
            assert now - began < seconds, f"{done} of {budget} runs after {now - began:.0f} s"
            if kill_every is not None and len(fleet.killed) < kills and now >= next_kill:
                next_kill = now + kill_every
                if fleet.kill() is not None:
                    fleet.start()
            if (
                restart is not None
                and restarted < restarts
                and done * (restarts + 1) >= budget * (restarted + 1)
            ):
                restarted += 1
                restart()
            time.sleep(0.1)
        took = time.monotonic() - began
        codes = fleet.exit_codes()
    finally:
        fleet.close()
    return {
        "workers": workers,
        "runs": budget,
        "seconds": round(took, 1),
        "killed": len(fleet.killed),
        "restarts": restarted,
        "exit_codes": dict(Counter(code for worker, code in codes.items() if worker not in fleet.killed)),
        **audit(study),
    }


def audit(study: Study) -> dict[str, Any]:
    """Return what is wrong with a study that has ended, by kind; all of it is 0 where nothing is."""
    file, simulation = study.file, study.file.simulation
    assert simulation is not None
    slots = Slots(study.storage.engine, study.id, "watching")
    trials = study.trials()
    runs = [t for t in trials if t.user_attrs.get("role") == "run"]
    points = [t for t in trials if t.user_attrs.get("role") == "point"]
    of_slot = Counter(run.user_attrs["slot"] for run in runs)
    origins = Counter((p.user_attrs["parent"], p.user_attrs["epoch"]) for p in points)
    wanted = {run.number: simulation.points for run in runs if run.state.name == "COMPLETE"}
    found = Counter(point.user_attrs["parent"] for point in points)
    attempts = slots.attempts()
    return {
        "trials": len(trials),
        "stuck": sum(not t.state.is_finished() for t in trials) + len(slots.open()),
        "lost_runs": file.budget.trials - len(of_slot),
        "lost_points": sum(max(number - found[run], 0) for run, number in wanted.items()),
        "duplicate_runs": sum(number - 1 for number in of_slot.values())
        + len(runs)
        - len({run.user_attrs["digest"] for run in runs}),
        "duplicate_points": sum(number - 1 for number in origins.values()),
        "wrong_numbers": sum(trial.number != index for index, trial in enumerate(trials)),
        "failed_runs": sum(run.state.name != "COMPLETE" for run in runs),
        "attempts_without_an_end": sum(attempt["ended"] is None for attempt in attempts),
        "attempts_lost": sum(attempt["ending"] == "lost" for attempt in attempts),
    }


#: What must be 0, whatever happened on the way.
FAULTS = (
    "stuck",
    "lost_runs",
    "lost_points",
    "duplicate_runs",
    "duplicate_points",
    "wrong_numbers",
    "attempts_without_an_end",
)


def main() -> None:
    import threading

    from sweep.processes import stop_on_signals
    from sweep.worker.worker import Worker

    children: list[int] = []
    for line in sys.stdin:
        if line.strip() == "wait":
            codes = {child: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
            children.clear()
            print(json.dumps(codes), flush=True)
            continue
        _, url, name, folder = line.split()
        child = os.fork()
        if child == 0:
            os.environ["SWEEP_HOME"] = folder
            stop = threading.Event()
            stop_on_signals(stop)
            study = load(open_storage(url, create=False, patient=True), name)
            Worker(study, lambda _: None, stop=stop).work()
            os._exit(0)
        print(child, flush=True)
        children.append(child)


if __name__ == "__main__":
    main()
