"""What breaks first with 1,000 and 10,000 workers: a discrete-event simulation from measured service times.

    uv run python -m tests.benchmarks.storage --json > storage.json
    uv run python -m tests.benchmarks.scaling storage.json --json

Workers of one study go round: read the trials that are new since they last looked, claim a slot, draw, begin
a run, train, store. Three things are shared. The server's cores serve one statement each. Transactions that
write trials number them under a lock on the study's row, so one at a time passes from its first statement to
its commit: its statements' trips over the network count, too. Connections are counted, not simulated. On
SQLite the lock is the whole database's, and there is no network and no server: what a worker takes of a
processor, it takes of the machine's.

Signs of life and renewals come at fixed intervals from every worker; they take their share of the server's
cores evenly, which are so much slower for the rest.

The building block is a queue; `test_scaling` holds it against Erlang's formulas, and the whole against that
of a closed network.
"""

import argparse
import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import simpy

from sweep.storage import register
from sweep.storage.lease import LEASE
from tests.benchmarks.storage import HARVEST

#: Share of workers' time outside training above which something counts as broken.
WASTE = 0.05


@dataclass(frozen=True)
class Costs:
    """Seconds of processors, here and at the server, and trips to the server, of parts of a run."""

    worker: float
    server: float
    trips: float


@dataclass(frozen=True)
class Setting:
    """A study, its workers and its server.

    `points` enter the study with each run besides its end; `trip` are the seconds of one trip over the
    network. `studies` share the workers and the server evenly, each with a lock and a history of its own.
    """

    workers: int
    training: float
    server_cores: float = 4
    points: int = HARVEST
    trip: float = 0.0005
    studies: int = 1


@dataclass(frozen=True)
class Found:
    """What came of a setting: `waste` is the share of workers' time outside training."""

    workers: int
    training_s: float
    server_cores: float
    studies: int
    runs_per_hour: float
    waste: float
    server_busy: float
    lock_busy: float
    reading_s: float
    lock_wait_s: float
    server_wait_s: float


class Queue:
    """Servers with one queue, first come first served; counts waits and how busy it was."""

    def __init__(self, environment: simpy.Environment, servers: int) -> None:
        self.environment = environment
        self.resource = simpy.Resource(environment, servers)
        self.waited = self.served = self.busy = 0.0

    def serve(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        """Wait for a server and keep it busy for so long."""
        yield from self.during(self._hold(seconds))

    def during(self, work: Generator[simpy.Event, Any, None]) -> Generator[simpy.Event, Any, None]:
        """Wait for a server and hold it while `work` goes on."""
        came = self.environment.now
        with self.resource.request() as turn:
            yield turn
            began = self.environment.now
            self.waited += began - came
            yield from work
            self.busy += self.environment.now - began
            self.served += 1

    def _hold(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        yield self.environment.timeout(seconds)

    def mean_wait(self) -> float:
        return self.waited / self.served if self.served else 0.0


class Model:
    """Workers that go round, and what they share."""

    def __init__(
        self,
        setting: Setting,
        costs: Mapping[str, Costs],
        seed: int = 0,
        training: Callable[[random.Random, float], float] | None = None,
    ) -> None:
        self.setting, self.costs = setting, costs
        self.random = random.Random(seed)
        self.draw_training = training or (lambda rng, mean: rng.uniform(0.5, 1.5) * mean)
        self.environment = simpy.Environment()
        whole = max(int(setting.server_cores), 1)
        self.server = Queue(self.environment, whole)
        self.slower = (whole / setting.server_cores) / max(1 - self.signs_of_life(), 1e-9)
        self.locks = [Queue(self.environment, 1) for _ in range(setting.studies)]
        self.trials = [0] * setting.studies
        self.runs = 0
        self.trained = self.reading = 0.0
        self.training_since: dict[int, float] = {}

    def signs_of_life(self) -> float:
        """Return the share of the server's cores that signs of life and renewals take."""
        sign, renewal = self.costs["sign_of_life"].server, self.costs["renewal"].server
        each = sign / register.EVERY + renewal / (LEASE / 4)
        return min(self.setting.workers * each / self.setting.server_cores, 1.0)

    def run(self, rounds: float = 3) -> Found:
        """Let workers come within one training time, and count from the third on, for so many."""
        setting, environment = self.setting, self.environment
        for number in range(setting.workers):
            environment.process(self._worker(number))
        warm_up, end = 2 * setting.training, (2 + rounds) * setting.training
        environment.run(warm_up)
        before = self._figures()
        for queue in (self.server, *self.locks):
            queue.waited = queue.served = 0.0
        environment.run(end)
        now = self._figures()
        runs, trained, reading, server, lock = (b - a for a, b in zip(before, now, strict=True))
        counted = end - warm_up
        return Found(
            setting.workers,
            setting.training,
            setting.server_cores,
            setting.studies,
            round(3600 * runs / counted, 1),
            round(1 - trained / (setting.workers * counted), 4),
            round(min(server / counted / self.server.resource.capacity + self.signs_of_life(), 1.0), 4),
            round(lock / counted, 4),
            round(reading / max(runs, 1), 2),
            round(self.locks[0].mean_wait(), 2),
            round(self.server.mean_wait(), 4),
        )

    def _worker(self, number: int) -> Generator[simpy.Event, Any, None]:
        environment, study = self.environment, number % self.setting.studies
        lock, known = self.locks[study], 0
        yield environment.timeout(self.random.uniform(0, self.setting.training))
        known = self.trials[study]
        while True:
            began = environment.now
            new, known = self.trials[study] - known, self.trials[study]
            yield from self._at_server("read_1000_trials", new / 1000)
            self.reading += environment.now - began
            yield from self._at_server("claim")
            yield environment.timeout(self.costs["draw"].worker)
            yield from lock.during(self._at_server("begin"))
            yield from self._train(number)
            yield from lock.during(self._at_server("store"))
            self.trials[study] += self.setting.points + 1
            self.runs += 1

    def _train(self, number: int) -> Generator[simpy.Event, Any, None]:
        began = self.training_since[number] = self.environment.now
        yield self.environment.timeout(self.draw_training(self.random, self.setting.training))
        self.trained += self.environment.now - began
        del self.training_since[number]

    def _figures(self) -> tuple[float, ...]:
        """Return what has been counted until now; of runs under way, what has been trained of them."""
        now = self.environment.now
        trained = self.trained + sum(now - began for began in self.training_since.values())
        return self.runs, trained, self.reading, self.server.busy, self.locks[0].busy

    def _at_server(self, part: str, times: float = 1.0) -> Generator[simpy.Event, Any, None]:
        """Do one part of a run: what it takes here, on the way, and at the server."""
        if times <= 0:
            return
        costs = self.costs[part]
        yield self.environment.timeout(costs.worker * times + costs.trips * self.setting.trip)
        if costs.server:
            yield from self.server.serve(costs.server * times * self.slower)


def costs_of(row: Mapping[str, Any]) -> dict[str, Costs]:
    """Return the costs of one row of `tests.benchmarks.storage`.

    A machine with SQLite serves itself: what its workers take of processors is the server's.
    """
    found = {}
    for part, taken in row["demand"].items():
        worker, server = taken["worker_cpu_ms"] / 1e3, taken["server_cpu_ms"] / 1e3
        found[part] = Costs(worker, server, taken["statements"] + 2 * taken["transactions"])
    found["draw"] = Costs(row["run_ms"]["draw_cpu"] / 1e3, 0.0, 0)
    return found


def largest(setting: Setting, costs: Mapping[str, Costs], waste: float = WASTE) -> int:
    """Return about how many workers there may be until they waste more of their time than `waste`."""
    low, high = 1, 2
    while high <= 50_000 and Model(replace(setting, workers=high), costs).run(2).waste <= waste:
        low, high = high, 2 * high
    while high / low > 1.15:
        middle = round((low * high) ** 0.5)
        if Model(replace(setting, workers=middle), costs).run(2).waste <= waste:
            low = middle
        else:
            high = middle
    return low


def main() -> None:
    """Print what the simulation finds, as a table or JSON."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("measured", type=Path, help="what `tests.benchmarks.storage --json` printed")
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--training", type=float, nargs="+", default=[60.0, 600.0], help="seconds of a run")
    parser.add_argument("--cores", type=int, nargs="+", default=[4, 32], help="of the server")
    parser.add_argument("--studies", type=int, nargs="+", default=[1], help="that share the workers")
    parser.add_argument("--most", action="store_true", help="look for the most workers, too")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = json.loads(given.measured.read_text())["results"]
    row = max((row for row in rows if row["database"] == "postgresql"), key=lambda row: row["points"])
    costs = costs_of(row)
    kinds = [
        Setting(1, training, cores, studies=studies)
        for training in given.training
        for cores in given.cores
        for studies in given.studies
    ]
    found = [
        asdict(Model(replace(kind, workers=workers), costs).run())
        for kind in kinds
        for workers in given.workers
    ]
    most = [
        {
            "training_s": kind.training,
            "server_cores": kind.server_cores,
            "studies": kind.studies,
            "workers": largest(kind, costs),
        }
        for kind in kinds
        if given.most
    ]
    held = row["connections_of_a_worker"]
    result = {
        "costs": {part: asdict(cost) for part, cost in costs.items()},
        "connections": {workers: workers * held for workers in given.workers},
        "settings": found,
        "most_workers": most,
    }
    if given.json:
        print(json.dumps(result, indent=1))
        return
    for each in found:
        print(", ".join(f"{name} {value:g}" for name, value in each.items()))
    for each in most:
        print(f"wasting {WASTE:.0%}: " + ", ".join(f"{name} {value:g}" for name, value in each.items()))


if __name__ == "__main__":
    main()
