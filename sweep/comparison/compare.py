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
from sweep.comparison.curve import Bound, Reading
from sweep.comparison.levels import round_costs, round_scores, shared

Floats = NDArray[np.float64]

#: Latency that CICADA has in practice, and its limit, in ns.
LATENCY_LIMITS_NS = (200, 500)
#: Budgets of processor time are called equal up to this share.
EQUAL_BUDGETS = 0.1


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
        scores, costs = self._levels(at_score, at_cost)
        equal_performance = [self._at(a.name, a.score, a.costs, anchor=a) for a in anchors]
        equal_resources = [self._under(a.name, a.costs, a.score, anchor=a) for a in anchors]
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
            "equal_performance": equal_performance + [self._at(None, np.array([x]), None) for x in scores],
            "equal_resources": equal_resources + [self._under(None, np.array([x]), None) for x in costs],
            "students": self._students(anchors),
            "notes": self._notes(),
        }

    # ---- levels ---------------------------------------------------------------------------------

    def _anchors(self) -> list["_Anchor"]:
        """Whose score and cost the others are held against: references, and each contender's best."""
        best = [
            _Anchor(
                f"best of {c.name}",
                c.name,
                np.median(_equally_long([m.scores[:, -1] for m in c.members]), axis=0),
                float(np.median([m.costs[-1] for m in c.members])),
                float(np.median([m.validation[-1] for m in c.members])),
            )
            for c in self.contenders
        ]
        fixed = [
            _Anchor(m.name, None, m.scores[:, 0], float(m.costs[0]), float(m.validation[0]))
            for m in self.references
        ]
        return fixed + (best if len(best) > 1 else [])

    def _levels(self, at_score: Sequence[float], at_cost: Sequence[float]) -> tuple[list[float], list[float]]:
        scores, costs = list(at_score), list(at_cost)
        if not scores and (span := shared(self._ranges(lambda m: m.curve.scores[0]))):
            scores = round_scores(*span)
        if not costs and (span := shared(self._ranges(lambda m: m.costs))):
            costs = round_costs(*span)
        return scores, costs

    def _ranges(self, values: Callable[[Member], Floats]) -> list[tuple[float, float]]:
        """Return the range that all members of each contender cover."""
        ranges = [
            (max(values(m)[0] for m in c.members), min(values(m)[-1] for m in c.members))
            for c in self.contenders
        ]
        return [(float(low), float(high)) for low, high in ranges if low <= high]

    # ---- tables ---------------------------------------------------------------------------------

    def _at(
        self, of: str | None, level: Floats, cost: Floats | None, anchor: "_Anchor | None" = None
    ) -> dict[str, Any]:
        """A row of equal performance: the cost of each contender, and its ratio to the anchor's."""
        found = {
            c.name: _median([m.curve.cost_at(_fit(level, m)) for m in c.members]) for c in self.contenders
        }
        own = None if anchor is None else anchor.owner
        base = _Median(cost, None, None, (1, 1)) if cost is not None else found[self.contenders[0].name]
        baseline = anchor.name if anchor else self.contenders[0].name
        rows = {}
        for name, value in found.items():
            if name == own:
                continue
            rows[name] = value.as_json()
            if name != baseline:
                rows[name]["ratio"] = _combined(np.divide, value, base)
        return {
            "level": float(level[0]),
            "of": of,
            "cost": _first(cost),
            "baseline": baseline,
            "contenders": rows,
        }

    def _under(
        self, of: str | None, level: Floats, score: Floats | None, anchor: "_Anchor | None" = None
    ) -> dict[str, Any]:
        """A row of equal resources: the score of each contender, and its difference to the anchor's."""
        found = {
            c.name: _median([m.curve.score_at(_fit(level, m)) for m in c.members]) for c in self.contenders
        }
        own = None if anchor is None else anchor.owner
        base = _Median(score, None, None, (1, 1)) if score is not None else found[self.contenders[0].name]
        baseline = anchor.name if anchor else self.contenders[0].name
        rows = {}
        for name, value in found.items():
            if name == own:
                continue
            rows[name] = value.as_json()
            if name != baseline:
                rows[name]["difference"] = _combined(np.subtract, value, base)
        return {
            "level": float(level[0]),
            "of": of,
            "score": _first(score),
            "baseline": baseline,
            "contenders": rows,
        }

    def _about(self, contender: Contender) -> dict[str, Any]:
        members = contender.members
        seconds = [m.study.core_seconds() if m.study else 0.0 for m in members]
        return {
            "name": contender.name,
            "studies": [m.name for m in members],
            "runs": [sum(t.state.is_finished() for t in m.study.runs()) if m.study else 0 for m in members],
            "core_seconds": seconds,
            "fronts": [_front(m) for m in members],
            "hypervolume": _median([Reading(m.hypervolume(self.axes)) for m in members]).as_json(),
            "best": _median([Reading(m.scores[:, -1]) for m in members]).as_json(),
            "cost_of_best": _median([Reading(m.costs[-1:]) for m in members]).as_json(),
            "latency_ns": {str(limit): self._within(contender, limit) for limit in LATENCY_LIMITS_NS},
        }

    def _within(self, contender: Contender, limit: float) -> dict[str, Any]:
        """The best score on validation of points within a latency: how it tests."""
        readings, points = [], []
        for member in contender.members:
            inside = [n for n, s in enumerate(member.students) if s.cost["latency_ns"] <= limit]
            points.append(len(inside))
            # On a front the last point scores highest on validation.
            values = member.scores[:, inside[-1]] if inside else np.full(len(member.scores), -np.inf)
            readings.append(Reading(values))
        return {"points": points, "best": _median(readings).as_json()}

    def _students(self, anchors: Sequence["_Anchor"]) -> list[dict[str, Any]]:
        """Real students, not interpolated: of each contender its best, and those that replace an anchor.

        Both are chosen on validation events. Of several members the one of median hypervolume speaks.
        """
        rows = []
        for contender in self.contenders:
            volumes = [m.hypervolume(self.axes)[0] for m in contender.members]
            member = contender.members[int(np.argsort(volumes, kind="stable")[(len(volumes) - 1) // 2])]
            chosen: dict[int, list[str]] = {len(member.students) - 1: ["best"]}
            for anchor in anchors:
                as_good = np.flatnonzero(member.validation >= anchor.validation)
                if anchor.owner != contender.name and as_good.size:
                    chosen.setdefault(int(as_good[0]), []).append(f"as good as {anchor.name}")
            for index in sorted(chosen):
                rows.append(
                    {
                        **_student(contender.name, member, member.students[index]),
                        "why": chosen[index],
                        "of_several": len(contender.members) > 1,
                    }
                )
        return rows

    # ---- what to keep in mind -------------------------------------------------------------------

    def _notes(self) -> list[str]:
        notes = []
        seconds = {
            c.name: float(np.median([m.study.core_seconds() for m in c.members if m.study]))
            for c in self.contenders
        }
        if max(seconds.values()) > (1 + EQUAL_BUDGETS) * min(seconds.values()):
            told = ", ".join(f"{name} {value:,.0f}" for name, value in seconds.items())
            notes.append(f"budgets differ: core-seconds spent are {told}")
        ranges = dict(zip([c.name for c in self.contenders], self._spans(), strict=True))
        names = list(ranges)
        for n, one in enumerate(names):
            for other in names[n + 1 :]:
                (a, b), (c, d) = ranges[one], ranges[other]
                if max(a, c) > min(b, d):
                    notes.append(
                        f"the fronts of {one} ({a:.4f} to {b:.4f}) and {other} ({c:.4f} to {d:.4f}) do not"
                        f" overlap in test {self.axes.score}: there is no equal performance to compare at"
                    )
        clocks = {
            (m.study.file.hardware.part, m.study.file.hardware.clock_ns)
            for c in self.contenders
            for m in c.members
            if m.study
        }
        if len(clocks) > 1:
            told = ", ".join(f"{part} at {clock:g} ns" for part, clock in sorted(clocks))
            notes.append(f"latency and FF are of different hardware: {told}")
        if self.references:
            notes.append(
                "a reference was trained elsewhere, on data of its own: its score here is what it gives on"
                " these events, not what its network could"
            )
        members = [*self.references, *(m for c in self.contenders for m in c.members)]
        notes += [f"{m.name} has no intervals: {m.unpaired}" for m in members if m.unpaired]
        passing = max(s.test["passing"] for m in members for s in m.students)
        if passing < 30:
            notes.append(
                f"at {self.axes.rate_khz:g} kHz the threshold rests on {passing} zero-bias test events or"
                " fewer: efficiencies say little"
            )
        return notes

    def _spans(self) -> list[tuple[float, float]]:
        """Return the range of test scores of each contender, all members together."""
        return [
            (
                float(min(m.curve.scores[0, 0] for m in c.members)),
                float(max(m.curve.scores[0, -1] for m in c.members)),
            )
            for c in self.contenders
        ]


@dataclass(frozen=True)
class _Anchor:
    """A student to hold others against: test score by replicate, cost, score on validation.

    `owner` is the contender that it is of, None for a reference.
    """

    name: str
    owner: str | None
    score: Floats
    cost: float
    validation: float

    @property
    def costs(self) -> Floats:
        """Its cost by replicate: no event changes it."""
        return np.full(len(self.score), self.cost)


@dataclass(frozen=True)
class _Median:
    """The median of readings by replicate, None where not all members have one, and what it hides."""

    values: Floats | None
    bound: Bound | None
    range: tuple[float, float] | None
    reached: tuple[int, int]

    def as_json(self) -> dict[str, Any]:
        return {
            "value": _first(self.values),
            "bound": self.bound,
            "interval": _interval(self.values),
            "range": list(self.range) if self.range else None,
            "reached": list(self.reached),
        }


def _median(readings: Sequence[Reading]) -> _Median:
    there = [bool(np.isfinite(r.values[0])) for r in readings]
    reached = sum(there), len(readings)
    if not all(there):
        return _Median(None, None, None, reached)
    bound = next((r.bound for r in readings if r.bound), None)
    observed = [float(r.values[0]) for r in readings]
    values = np.median(_equally_long([r.values for r in readings]), axis=0)
    return _Median(values, bound, (min(observed), max(observed)) if len(readings) > 1 else None, reached)


def _combined(operation: np.ufunc, value: _Median, base: _Median) -> dict[str, Any] | None:
    """Return `value` held against `base` (a ratio, a difference); None where one is missing."""
    if value.values is None or base.values is None or base.bound:
        return None
    one, other = _equally_long([value.values, base.values])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = operation(one, other)
    if not np.isfinite(found[0]):  # held against a cost of 0
        return None
    return {"value": float(found[0]), "bound": value.bound, "interval": _interval(found)}


def _interval(values: Floats | None) -> list[float | None] | None:
    """Return the central 68 % of replicates; an end that is not finite is open, None."""
    if values is None or len(values) < 3:
        return None
    # A difference of two infinities is none; it counts as not reached.
    ends = np.quantile(
        np.nan_to_num(values[1:], nan=np.inf, posinf=np.inf, neginf=-np.inf), [0.16, 0.84], method="nearest"
    )
    return [float(end) if np.isfinite(end) else None for end in ends]


def _equally_long(rows: Sequence[Floats]) -> Floats:
    """Return rows as one array: of what has no replicates, none but the first is known."""
    length = min(len(row) for row in rows)
    return np.stack([row[:length] for row in rows])


def _fit(level: Floats, member: Member) -> Floats:
    """Return a level for the replicates that a member has."""
    return level if len(level) in (1, len(member.scores)) else level[:1]


def _first(values: Floats | None) -> float | None:
    return None if values is None else float(values[0])


def _front(member: Member) -> list[dict[str, Any]]:
    """Return the points of a front, cheapest first, with test scores."""
    return [
        {
            "trial": student.trial.number if student.trial else None,
            "cost": float(cost),
            "score": float(scores[0]),
            "interval": _interval(scores),
            "validation": float(validation),
            "latency_ns": student.cost["latency_ns"],
        }
        for student, cost, scores, validation in zip(
            member.students, member.costs, member.scores.T, member.validation, strict=True
        )
    ]


def _student(contender: str | None, member: Member, student: Student) -> dict[str, Any]:
    """Return a student's record as `sweep front --json` has it."""
    about = student.trial.user_attrs if student.trial else {}
    return {
        "contender": contender,
        "name": member.name,
        "trial": student.trial.number if student.trial else None,
        "validation": student.validation,
        "test": student.test,
        "cost": student.cost,
        "within_ns": {str(limit): student.cost["latency_ns"] <= limit for limit in LATENCY_LIMITS_NS},
        "synthesis": about.get("synthesis", []),
        "student": str(student.folder),
    }
