"""Searches that are finished: RESULTS/METHOD-SEED, a folder each.

An anchor's folder holds the students that it found, `candidates.json` and, once its search has ended,
`done`. What can go on where it was has its study's database and `readings.json`. What students were
found to be stands in `measured.json`, which makes a search complete.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from objectives.errors import CicadaError
from sweep.study_file import read_yaml
from tests.benchmarks.search.measured import Candidate, Measured

#: Ways of searching that end by themselves, and those that are told how long they may take.
OF_FIXED_LENGTH = ("recipe_of_2025", "hgq_ramp")
ANCHORS = (*OF_FIXED_LENGTH, "plain_optuna")
STUDIES = ("random_search", "this_project")
METHODS = (*ANCHORS, *STUDIES)
#: this_project, changed in one thing each.
VARIATIONS_FILE = Path(__file__).with_name("variations.yaml")
VARIATIONS = tuple(read_yaml(VARIATIONS_FILE.read_bytes(), VARIATIONS_FILE.name))


class SearchError(CicadaError, RuntimeError):
    """A search failed, or kept results are not those of this benchmark."""


@dataclass(frozen=True)
class Job:
    """One search: a method from a seed, and the folder that it works in."""

    method: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.method} {self.seed}"

    @property
    def is_anchor(self) -> bool:
        return self.method in ANCHORS

    @property
    def goes_on(self) -> bool:
        """Tell whether it can go on where it was."""
        return self.method not in OF_FIXED_LENGTH

    def has_searched(self, core_seconds: float) -> bool:
        """Tell whether an anchor has searched for so long, or to its end; students may be unmeasured."""
        if not (self.folder / "done").exists():
            return False
        return not self.goes_on or _read_done(self)["budget"] >= core_seconds

    @property
    def is_measured(self) -> bool:
        return (self.folder / "measured.json").exists()

    def is_complete(self, core_seconds: float) -> bool:
        """Tell whether a search of so many core-seconds, or more, is kept."""
        if not self.is_measured:
            return False
        budget = read_search(self).budget
        return budget is None or budget >= core_seconds


@dataclass(frozen=True)
class Spent:
    """What a search took from its start to its end, with all its processes."""

    core_seconds: float
    wall_seconds: float


#: Time of day, and the processor time that a search had used by then, both in seconds.
Reading = tuple[float, float]
NOTHING = Spent(0.0, 0.0)


@dataclass(frozen=True)
class Search:
    """A finished search.

    `found_at` are the core-seconds at which it found students, `measured` those that could be
    measured. `budget` are the core-seconds that it was given, where it takes any notice of them, and
    `sampler` is that of a study.
    """

    found_at: list[float]
    measured: list[Measured]
    budget: float | None = None
    spent: Spent | None = None
    sampler: dict[str, Any] | None = None

    def within(self, core_seconds: float) -> "Search":
        """Return the search without what it found later, if it takes notice of its time at all."""
        if self.budget is None:
            return self
        return replace(
            self,
            found_at=[at for at in self.found_at if at <= core_seconds],
            measured=[student for student in self.measured if student.core_seconds <= core_seconds],
        )


def jobs(results: Path, methods: list[str], seeds: int) -> Iterator[Job]:
    """Yield the searches of all methods from seeds 1 to `seeds`, seed by seed."""
    for seed in range(1, seeds + 1):
        for method in methods:
            yield Job(method, seed, results / f"{method}-{seed}")


def write_search(job: Job, search: Search) -> None:
    """Keep a finished search."""
    _write(job.folder / "measured.json", asdict(search))


def read_search(job: Job) -> Search:
    """Return a finished search."""
    content = json.loads((job.folder / "measured.json").read_text())
    content["measured"] = [Measured(**student) for student in content["measured"]]
    content["spent"] = content["spent"] and Spent(**content["spent"])
    return Search(**content)


def write_readings(folder: Path, spent: Spent, readings: list[Reading]) -> None:
    """Keep what a search that can go on took so far."""
    _write(folder / "readings.json", {"spent": asdict(spent), "readings": readings})


def read_readings(folder: Path) -> tuple[Spent, list[Reading]]:
    """Return what a search that can go on took so far; nothing if it did not begin."""
    path = folder / "readings.json"
    if not path.exists():
        return NOTHING, []
    content = json.loads(path.read_text())
    return Spent(**content["spent"]), [(at, used) for at, used in content["readings"]]


def write_done(job: Job, spent: Spent, budget: float) -> None:
    """Note that an anchor's search of `budget` core-seconds has ended, and what it took."""
    _write(job.folder / "done", {"spent": asdict(spent), "budget": budget})


def read_spent(job: Job) -> Spent:
    """Return what an anchor's search took."""
    return Spent(**_read_done(job)["spent"])


def _read_done(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job.folder / "done").read_text())
    return content


def read_candidates(folder: Path) -> list[Candidate]:
    """Return what an anchor found, in the order in which it did."""
    path = folder / "candidates.json"
    return [Candidate(**each) for each in json.loads(path.read_text())] if path.exists() else []


def _write(path: Path, content: object) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
