"""The comparison: at equal performance the resources, at equal resources the performance.

Every figure is of test events and of fronts that were chosen on validation events. Of several
members of a contender it is the median, with the range of the members. Intervals are central 68 %
of the paired bootstrap: of the median, over events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data.dataset import Part
from sweep.comparison.contender import Axes, Contender, Member, Student
from sweep.comparison.curve import Curve, Reading
from sweep.comparison.levels import round_costs, round_scores, shared
from sweep.comparison.notes import notes
from sweep.comparison.quantity import Quantity, interval, side_by_side

Floats = NDArray[np.float64]

#: Latency that CICADA has in practice, and its limit, in ns.
LATENCY_LIMITS_NS = (200, 500)


@dataclass(frozen=True)
class _Anchor:
    """What others are held against: test score by replicate, cost, score on validation.

    `owner` is the contender that it is the best of, None for a reference; `student` is the one that it
    stands for, None for the median of several.
    """

    name: str
    owner: str | None
    score: Floats
    cost: float
    validation: float
    student: Student | None


@dataclass(frozen=True)
class _Kind:
    """A kind of table: what is read from fronts at its levels, and how it is held against another's."""

    read: Callable[[Curve, Floats], Reading]
    held: str
    operation: np.ufunc
    other: str


_EQUAL_PERFORMANCE = _Kind(Curve.cost_at, "ratio", np.divide, "cost")
_EQUAL_RESOURCES = _Kind(Curve.score_at, "difference", np.subtract, "score")


@dataclass(frozen=True)
class Comparison:
    """What is compared, and by which events; `resamplings` is the number of replicates beside the first."""

    axes: Axes
    contenders: tuple[Contender, ...]
    references: tuple[Member, ...]
    test: Part
    resamplings: int

    def as_json(self, at_score: Sequence[float] = (), at_cost: Sequence[float] = ()) -> dict[str, Any]:
        """Return the form of `sweep compare --json` (docs/compare.md), at levels given or round ones."""
        anchors = self._anchors()
        scores = list(at_score) or self._round(lambda member: member.curve.scores[0], round_scores)
        costs = list(at_cost) or self._round(lambda member: member.costs, round_costs)
        return {
            "score": self.axes.score,
            "cost": self.axes.cost,
            "cost_source": "estimated",
            "rate_khz": self.axes.rate_khz,
            "reference_point": list(self.axes.reference_point),
            "resamplings": self.resamplings,
            "test_events": {
                "zero_bias": len(self.test.zero_bias),
                **{name: len(events) for name, events in self.test.signals.items()},
            },
            "contenders": [self._about(contender) for contender in self.contenders],
            "references": [
                {**_student(None, member, member.students[0]), "front": _front(member)}
                for member in self.references
            ],
            "equal_performance": self._table(_EQUAL_PERFORMANCE, anchors, scores),
            "equal_resources": self._table(_EQUAL_RESOURCES, anchors, costs),
            "students": self._students(anchors),
            "notes": notes(self.axes, self.contenders, self.references),
        }

    # ---- levels ---------------------------------------------------------------------------------

    def _anchors(self) -> list[_Anchor]:
        """Return the references and, where there are several contenders, the best of each."""
        fixed = [
            _Anchor(m.name, None, m.scores[:, 0], float(m.costs[0]), float(m.validation[0]), m.students[0])
            for m in self.references
        ]
        best = [
            _Anchor(
                f"best of {c.name}",
                c.name,
                np.median(side_by_side([m.scores[:, -1] for m in c.members]), axis=0),
                float(np.median([m.costs[-1] for m in c.members])),
                float(np.median([m.validation[-1] for m in c.members])),
                c.members[0].students[-1] if len(c.members) == 1 else None,
            )
            for c in self.contenders
        ]
        return fixed + (best if len(best) > 1 else [])

    def _round(
        self, values: Callable[[Member], Floats], rounding: Callable[[float, float], list[float]]
    ) -> list[float]:
        """Return round levels where two contenders, with all their members, have values."""
        ranges = [
            (float(max(values(m)[0] for m in c.members)), float(min(values(m)[-1] for m in c.members)))
            for c in self.contenders
        ]
        span = shared([(low, high) for low, high in ranges if low <= high])
        return rounding(*span) if span else []

    # ---- tables ---------------------------------------------------------------------------------

    def _table(
        self, kind: _Kind, anchors: Sequence[_Anchor], levels: Sequence[float]
    ) -> list[dict[str, Any]]:
        """Return one row an anchor, then one a level, where the first contender is held against."""
        rows = []
        for anchor in anchors:
            costs = np.full(len(anchor.score), anchor.cost)  # no event changes it
            level, value = (anchor.score, costs) if kind is _EQUAL_PERFORMANCE else (costs, anchor.score)
            rows.append(self._row(kind, level, anchor, Quantity(value)))
        return rows + [self._row(kind, np.array([level]), None, None) for level in levels]

    def _row(
        self, kind: _Kind, level: Floats, anchor: _Anchor | None, value: Quantity | None
    ) -> dict[str, Any]:
        found = {}
        for contender in self.contenders:
            readings = []
            for member in contender.members:
                # Without replicates of its own, a member is read where the level was measured.
                fits = len(level) in (1, len(member.scores))
                readings.append(kind.read(member.curve, level if fits else level[:1]))
            found[contender.name] = Quantity.of(readings)
        first = self.contenders[0].name
        base, baseline = (found[first], first) if value is None else (value, anchor.name if anchor else first)
        rows = {}
        for name, quantity in found.items():
            if anchor is None or anchor.owner != name:
                rows[name] = quantity.as_json()
                if name != baseline:
                    rows[name][kind.held] = quantity.against(base, kind.operation)
        return {
            "level": float(level[0]),
            "of": anchor.name if anchor else None,
            kind.other: None if value is None or value.values is None else float(value.values[0]),
            "baseline": baseline,
            "contenders": rows,
        }

    def _about(self, contender: Contender) -> dict[str, Any]:
        members = contender.members
        return {
            "name": contender.name,
            "studies": [member.name for member in members],
            "runs": [member.runs for member in members],
            "core_seconds": [member.core_seconds for member in members],
            "fronts": [_front(member) for member in members],
            "hypervolume": Quantity.of([Reading(m.hypervolume(self.axes)) for m in members]).as_json(),
            "best": Quantity.of([Reading(m.scores[:, -1]) for m in members]).as_json(),
            "cost_of_best": Quantity.of([Reading(m.costs[-1:]) for m in members]).as_json(),
            "latency_ns": {str(limit): _within(contender, limit) for limit in LATENCY_LIMITS_NS},
        }

    def _students(self, anchors: Sequence[_Anchor]) -> list[dict[str, Any]]:
        """Real students, not interpolated: of each contender its best, and those that replace an anchor.

        Both are chosen on validation events. Of several members the one of median hypervolume speaks.
        """
        rows = []
        for contender in self.contenders:
            volumes = [member.hypervolume(self.axes)[0] for member in contender.members]
            member = contender.members[int(np.argsort(volumes, kind="stable")[(len(volumes) - 1) // 2])]
            replaced: dict[int, list[_Anchor]] = {len(member.students) - 1: []}
            for anchor in anchors:
                as_good = np.flatnonzero(member.validation >= anchor.validation)
                if anchor.owner != contender.name and as_good.size:
                    replaced.setdefault(int(as_good[0]), []).append(anchor)
            for index in sorted(replaced):
                student = member.students[index]
                rows.append(
                    {
                        **_student(contender.name, member, student),
                        "best": index == len(member.students) - 1,
                        "replaces": [self._replaced(student, anchor) for anchor in replaced[index]],
                        "of_several": len(contender.members) > 1,
                    }
                )
        return rows

    def _replaced(self, student: Student, anchor: _Anchor) -> dict[str, Any]:
        """Return what a student that is as good as an anchor costs, in units of the anchor's cost."""
        synthesized = []
        for mine in student.synthesis if anchor.student else []:
            for theirs in anchor.student.synthesis if anchor.student else []:
                alike = all(mine[key] == theirs[key] for key in ("tool", "version", "stage", "part"))
                if alike and self.axes.cost in ("lut", "ff", "dsp") and theirs[self.axes.cost]:
                    ratio = mine[self.axes.cost] / theirs[self.axes.cost]
                    synthesized.append({"tool": mine["tool"], "stage": mine["stage"], "ratio": ratio})
        ratio = float(student.cost[self.axes.cost] / anchor.cost) if anchor.cost else None
        return {"name": anchor.name, "ratio": ratio, "synthesized": synthesized}


def _within(contender: Contender, limit: float) -> dict[str, Any]:
    """Return how that point tests which scores highest on validation within a latency."""
    readings, points = [], []
    for member in contender.members:
        inside = [n for n, student in enumerate(member.students) if student.cost["latency_ns"] <= limit]
        points.append(len(inside))
        # On a front the last point scores highest on validation.
        scores = member.scores[:, inside[-1]] if inside else np.full(len(member.scores), -np.inf)
        readings.append(Reading(scores))
    return {"points": points, "best": Quantity.of(readings).as_json()}


def _front(member: Member) -> list[dict[str, Any]]:
    """Return the points of a front, cheapest first, with test scores."""
    return [
        {
            "trial": student.number,
            "cost": float(cost),
            "score": float(scores[0]),
            "interval": interval(scores),
            "validation": float(validation),
            "latency_ns": student.cost["latency_ns"],
        }
        for student, cost, scores, validation in zip(
            member.students, member.costs, member.scores.T, member.validation, strict=True
        )
    ]


def _student(contender: str | None, member: Member, student: Student) -> dict[str, Any]:
    """Return a student's record as `sweep front --json` has it, and its efficiencies with intervals."""
    return {
        "contender": contender,
        "name": member.name,
        "trial": student.number,
        "validation": student.validation,
        "test": student.test,
        "cost": student.cost,
        "efficiencies": [found.as_json() for found in student.efficiencies],
        "within_ns": {str(limit): student.cost["latency_ns"] <= limit for limit in LATENCY_LIMITS_NS},
        "synthesis": list(student.synthesis),
        "student": str(student.folder),
    }
