"""What a search was worth, moment by moment.

A front is chosen on validation: the feasible students found so far that no other beats in validation
AUC and LUT. What it is worth is the hypervolume of the test AUC of these same students against
log10(LUT), from a fixed point of reference; its unit is AUC x decades of LUT. A student that was lucky
on validation can so make a search worth less than it was before.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median
from typing import NamedTuple

import moocore
import numpy as np

from tests.benchmarks.search.measured import Measured

#: Point of reference, and what a student may have at most.
REFERENCE_AUC = 0.8
MOST_LUT = 20_000.0
MOST_NS = 200.0


class Step(NamedTuple):
    """From `core_seconds` on, a search is worth `hypervolume` (AUC x decades)."""

    core_seconds: float
    hypervolume: float


class Band(NamedTuple):
    """From `core_seconds` on, searches from several seeds are worth this much (AUC x decades)."""

    core_seconds: float
    lowest: float
    median: float
    highest: float


# ---- fronts -------------------------------------------------------------------------------------


def chosen_front(students: Iterable[Measured]) -> list[Measured]:
    """Return the feasible students that validation would choose, cheapest first.

    Of students that are equal on validation the first found is chosen.
    """
    *_, last = [], *_fronts(students)
    return sorted(last, key=lambda student: student.lut)


def hypervolume(front: Sequence[Measured]) -> float:
    """Return the hypervolume of a front's test AUC against log10(LUT), in AUC x decades."""
    if not front:
        return 0.0
    losses = np.array([[-student.test, math.log10(student.lut)] for student in front])
    return float(moocore.hypervolume(losses, ref=[-REFERENCE_AUC, math.log10(MOST_LUT)]))


def front_on_test(front: Iterable[Measured]) -> list[Measured]:
    """Return the students of a chosen front that none of it beats in test AUC and LUT, cheapest first."""
    best: list[Measured] = []
    for student in sorted(front, key=lambda student: (student.lut, -student.test)):
        if not best or student.test > best[-1].test:
            best.append(student)
    return best


def lut_for(front: Iterable[Measured], test_auc: float) -> float | None:
    """Return the fewest LUTs with which a chosen front reaches a test AUC; None if it does not."""
    return min((student.lut for student in front if student.test >= test_auc), default=None)


def common_levels(one: Iterable[Measured], other: Iterable[Measured]) -> list[float]:
    """Return the quartiles of the range of test AUC, from the reference up, that both fronts cover."""
    ranges = [[student.test for student in front_on_test(front)] for front in (one, other)]
    if not all(ranges):
        return []
    low, high = max(REFERENCE_AUC, *(r[0] for r in ranges)), min(r[-1] for r in ranges)
    return [low + (high - low) * share for share in (0.25, 0.5, 0.75)] if low < high else []


def gap(front: Sequence[Measured]) -> float | None:
    """Return by how much validation flatters a front: mean of validation AUC minus test AUC.

    Students that validation saw below the reference are nobody's choice, and do not count.
    """
    gaps = [student.validation - student.test for student in front if student.validation >= REFERENCE_AUC]
    return fmean(gaps) if gaps else None


# ---- curves -------------------------------------------------------------------------------------


def curve(students: Iterable[Measured]) -> list[Step]:
    """Return what a search was worth from each core-second on at which its front changed."""
    steps: list[Step] = []
    for front in _fronts(students):
        step = Step(front[-1].core_seconds, hypervolume(front))
        if steps and steps[-1].core_seconds == step.core_seconds:
            steps.pop()
        steps.append(step)
    return steps


def value_at(steps: Sequence[Step], core_seconds: float) -> float:
    """Return the hypervolume at a moment; before its first student a search is worth nothing."""
    index = bisect_right(steps, core_seconds, key=lambda step: step.core_seconds)
    return steps[index - 1].hypervolume if index else 0.0


def core_seconds_to(steps: Iterable[Step], target: float) -> float | None:
    """Return the core-seconds after which a search was first worth `target`; None if it never was."""
    return next((step.core_seconds for step in steps if step.hypervolume >= target), None)


def band(curves: Sequence[Sequence[Step]]) -> list[Band]:
    """Return lowest, median and highest of several curves, at every core-second at which one changes."""
    times = sorted({step.core_seconds for steps in curves for step in steps})
    values = ([value_at(steps, at) for steps in curves] for at in times)
    return [Band(at, min(v), median(v), max(v)) for at, v in zip(times, values, strict=True)]


def median_core_seconds(times: Iterable[float | None]) -> float | None:
    """Return the median over seeds, of which those that never came count as endless; None if it is."""
    middle = median(math.inf if time is None else time for time in times)
    return middle if math.isfinite(middle) else None


def _fronts(students: Iterable[Measured]) -> Iterator[list[Measured]]:
    """Yield the chosen front each time it changes, the newest student last."""
    front: list[Measured] = []
    for student in sorted(filter(_is_feasible, students), key=lambda student: student.core_seconds):
        if not any(_is_as_good(known, student) for known in front):
            front = [*(known for known in front if not _is_as_good(student, known)), student]
            yield front


def _is_feasible(student: Measured) -> bool:
    """Tell whether a student fits; one without any logic has a constant score, and is dead."""
    return 0 < student.lut <= MOST_LUT and student.latency_ns <= MOST_NS


def _is_as_good(one: Measured, other: Measured) -> bool:
    return one.validation >= other.validation and one.lut <= other.lut
