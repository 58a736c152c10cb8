"""Searches that are finished: RESULTS/METHOD-SEED, a folder each.

An anchor's folder holds the students that it found, `candidates.json` and, once its search has ended,
`done`. What students were found to be stands in `measured.json`, which makes a search complete.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from objectives.errors import CicadaError
from tests.benchmarks.search.measured import Candidate, Measured

#: Ways of searching that end by themselves, and those that are told how long they may take.
OF_FIXED_LENGTH = ("recipe_of_2025", "hgq_ramp")
ANCHORS = (*OF_FIXED_LENGTH, "plain_optuna")
STUDIES = ("random_search", "this_project")
METHODS = (*ANCHORS, *STUDIES)


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
    def has_searched(self) -> bool:
        """Tell whether an anchor's search has ended; its students may not be measured yet."""
        return (self.folder / "done").exists()

    @property
    def is_complete(self) -> bool:
        return (self.folder / "measured.json").exists()


@dataclass(frozen=True)
class Spent:
    """What a search took from its start to its end, with all its processes."""

    core_seconds: float
    wall_seconds: float


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

    def within_budget(self) -> "Search":
        """Return the search without what it found when its time was over."""
        if self.budget is None:
            return self
        return replace(
            self,
            found_at=[at for at in self.found_at if at <= self.budget],
            measured=[student for student in self.measured if student.core_seconds <= self.budget],
        )


def jobs(results: Path, methods: list[str], seeds: int) -> Iterator[Job]:
    """Yield the searches of all methods from seeds 1 to `seeds`, seed by seed."""
    for seed in range(1, seeds + 1):
        for method in methods:
            yield Job(method, seed, results / f"{method}-{seed}")


def write_search(job: Job, search: Search) -> None:
    """Keep a finished search."""
    _write(job.folder / "measured.json", asdict(search))


def read_search(job: Job, core_seconds: float) -> Search:
    """Return a finished search; raises SearchError if it was given another time than `core_seconds`."""
    content = json.loads((job.folder / "measured.json").read_text())
    content["measured"] = [Measured(**student) for student in content["measured"]]
    content["spent"] = content["spent"] and Spent(**content["spent"])
    search = Search(**content)
    if search.budget not in (None, core_seconds):
        raise SearchError(
            f"{job.folder} holds a search of {search.budget:g} core-seconds, not {core_seconds:g}:"
            f" give --core-seconds {search.budget:g}, or another folder of --results"
        )
    return search


def write_spent(job: Job, spent: Spent) -> None:
    """Note that an anchor's search has ended, and what it took."""
    _write(job.folder / "done", asdict(spent))


def read_spent(job: Job) -> Spent | None:
    """Return what an anchor's search took; None if nobody noted it."""
    text = (job.folder / "done").read_text()
    return Spent(**json.loads(text)) if text else None


def read_candidates(folder: Path) -> list[Candidate]:
    """Return what an anchor found, in the order in which it did."""
    path = folder / "candidates.json"
    return [Candidate(**each) for each in json.loads(path.read_text())] if path.exists() else []


def _write(path: Path, content: object) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
