"""From finished searches to the benchmark's JSON. What was not run is left out, never filled in."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from statistics import median
from typing import Any

from tests.benchmarks.search.curves import (
    MOST_LUT,
    MOST_NS,
    REFERENCE_AUC,
    Step,
    chosen_front,
    common_levels,
    core_seconds_to,
    curve,
    gap,
    hypervolume,
    lut_for,
    median_core_seconds,
    value_at,
)
from tests.benchmarks.search.kept import Job, Search, read_search
from tests.benchmarks.search.measured import Measured

OURS = "this_project"
#: Core-seconds at which the JSON says what a search was worth.
MARKS = (30, 60, 120, 240, 600, 1200, 2400, 3600)


class Outcome:
    """One search within its budget, and what it was worth."""

    def __init__(self, job: Job, search: Search, core_seconds: float) -> None:
        self.method, self.seed = job.method, job.seed
        self.search = search.within(core_seconds)
        self.budget = core_seconds

    @cached_property
    def steps(self) -> list[Step]:
        return curve(self.search.measured)

    @cached_property
    def front(self) -> list[Measured]:
        return chosen_front(self.search.measured)

    @cached_property
    def hypervolume(self) -> float:
        return hypervolume(self.front)

    @property
    def at_budget(self) -> float:
        """Hypervolume when the budget was spent; what a search found after it does not count."""
        return value_at(self.steps, self.budget)

    @property
    def core_seconds(self) -> float:
        """Core-seconds until it found its last student; the whole budget if it found none."""
        return max(self.search.found_at, default=self.budget)

    def as_json(self) -> dict[str, Any]:
        found = self.search
        marks = {str(mark): value_at(self.steps, mark) for mark in MARKS if mark <= self.budget}
        whole = {} if found.spent is None else {"process": asdict(found.spent)}
        sampler = {} if found.sampler is None else {"sampler": found.sampler}
        return {
            "method": self.method,
            "seed": self.seed,
            **sampler,
            "hypervolume": self.hypervolume,
            "core_seconds": self.core_seconds,
            **whole,
            "students": len(found.found_at),
            "points": len(found.measured),
            "front": [[student.lut, student.validation, student.test] for student in self.front],
            "hypervolume_at": marks,
            "hypervolume_at_budget": self.at_budget,
        }


Outcomes = Mapping[str, Mapping[int, Outcome]]


def read_outcomes(jobs: Iterable[Job], core_seconds: float) -> Outcomes:
    """Return the searches of at least `core_seconds`, by method and seed.

    What a longer one found later is left out: none of the methods knows its end beforehand.
    """
    outcomes: dict[str, dict[int, Outcome]] = {}
    for job in jobs:
        if job.is_complete(core_seconds):
            outcome = Outcome(job, read_search(job), core_seconds)
            outcomes.setdefault(job.method, {})[job.seed] = outcome
    return outcomes


def report(outcomes: Outcomes, core_seconds: float) -> dict[str, Any]:
    """Return all that the benchmark says, for JSON; hypervolumes in AUC x decades of LUT."""
    summary: dict[str, Any] = {"methods": {name: _method(of) for name, of in outcomes.items()}}
    if OURS in outcomes:
        others = {name: of for name, of in outcomes.items() if name != OURS}
        summary["against"] = {name: _against(outcomes[OURS], of) for name, of in others.items()}
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "versions": {n: version(n) for n in ("tensorflow", "keras", "hgq2", "numpy", "alkaid", "optuna")},
            "python": sys.version.split()[0],
        },
        "reference_point": {"test_auc": REFERENCE_AUC, "lut": MOST_LUT},
        "constraints": {"lut": MOST_LUT, "latency_ns": MOST_NS},
        "unit": "AUC x decades of LUT",
        "core_seconds": core_seconds,
        "searches": [outcome.as_json() for of in outcomes.values() for outcome in of.values()],
        "summary": summary,
    }


def median_outcome(of: Mapping[int, Outcome]) -> Outcome:
    """Return the search of the median seed; the lower one of two."""
    ranked = sorted(of.values(), key=lambda outcome: outcome.hypervolume)
    return ranked[(len(ranked) - 1) // 2]


def _method(of: Mapping[int, Outcome]) -> dict[str, Any]:
    """Return medians over seeds, and how far seeds are apart."""
    worth = [outcome.hypervolume for outcome in of.values()]
    gaps = [flattery for outcome in of.values() if (flattery := gap(outcome.front)) is not None]
    return {
        "seeds": list(of),
        "core_seconds": median(outcome.core_seconds for outcome in of.values()),
        "hypervolume": median(worth),
        "hypervolume_at_budget": median(outcome.at_budget for outcome in of.values()),
        **({"hypervolume_range": [min(worth), max(worth)]} if len(worth) > 1 else {}),
        **({"validation_minus_test": median(gaps)} if gaps else {}),
    }


def _against(ours: Mapping[int, Outcome], theirs: Mapping[int, Outcome]) -> dict[str, Any]:
    """Return how this project compares with another method; above 1 it is ahead."""
    target = median(outcome.hypervolume for outcome in theirs.values())
    core_seconds = median(outcome.core_seconds for outcome in theirs.values())
    times = {seed: core_seconds_to(outcome.steps, target) for seed, outcome in ours.items()}
    ours_core_seconds = median_core_seconds(times.values())
    return {
        "target_hypervolume": target,
        "core_seconds": core_seconds,
        "core_seconds_of_this_project": ours_core_seconds,
        "core_seconds_of_this_project_by_seed": times,
        "times_faster": core_seconds / ours_core_seconds if ours_core_seconds else None,
        "ahead_at_budget": _ahead(ours, theirs),
        "lut_at_equal_auc": _luts(median_outcome(ours).front, median_outcome(theirs).front),
    }


def _ahead(ours: Mapping[int, Outcome], theirs: Mapping[int, Outcome]) -> dict[str, Any]:
    """Return whether this project is ahead when both have spent the budget."""
    by_seed = {seed: ours[seed].at_budget > theirs[seed].at_budget for seed in ours if seed in theirs}
    return {
        "our_worst_seed": min(outcome.at_budget for outcome in ours.values()),
        "their_best_seed": max(outcome.at_budget for outcome in theirs.values()),
        "every_seed_against_every_seed": min(outcome.at_budget for outcome in ours.values())
        > max(outcome.at_budget for outcome in theirs.values()),
        "seed_by_seed": by_seed,
    }


def _luts(ours: list[Measured], theirs: list[Measured]) -> list[dict[str, float]]:
    """Return the LUTs that both median seeds need for the same test AUC, at three levels of it."""
    levels = []
    for level in common_levels(ours, theirs):
        mine, other = lut_for(ours, level), lut_for(theirs, level)
        if mine and other:
            levels.append(
                {"test_auc": level, "lut": other, "lut_of_this_project": mine, "times_smaller": other / mine}
            )
    return levels
