"""Who is compared: studies, repeats of one study under one name, and references, with replicates of each.

All are scored again on the same resampled test events, from their adder graphs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from objectives.costs.adder_graph import predict
from objectives.costs.rtl import load_logic
from objectives.data.dataset import Part, dataset_digest
from objectives.errors import CostError
from objectives.measurement import all_events, split_outputs
from objectives.progress import Progress
from objectives.resampling import Resampling
from objectives.scores import Efficiency, efficiency_at, supported_rate
from sweep import records
from sweep.artifacts.students import student_folder
from sweep.calibration.correction import raw_cost
from sweep.comparison.curve import Curve
from sweep.errors import StudyError
from sweep.front import front_of
from sweep.references import Reference
from sweep.study import Study
from sweep.study_file import direction_of, trigger_rate_khz

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axes:
    """What is compared: a score against a cost, at a trigger rate, and where hypervolumes count from."""

    score: str
    cost: str
    rate_khz: float
    reference_point: tuple[float, float]


@dataclass(frozen=True)
class Student:
    """One measured student: where its adder graph is, and what was recorded of it.

    `number` is its trial's; a reference has none. `efficiencies` on test events are at the study's rate
    and at the lowest that these events know well, where the student could be scored again.
    """

    folder: Path
    validation: dict[str, Any]
    test: dict[str, Any]
    cost: dict[str, Any]
    number: int | None = None
    synthesis: tuple[dict[str, Any], ...] = ()
    efficiencies: tuple[Efficiency, ...] = ()


@dataclass(frozen=True)
class Member:
    """A front on validation events, cheapest first, with test scores by replicate (replicates, points).

    There is one replicate, the recorded scores, where `unpaired` says why students could not be
    scored again.
    """

    name: str
    study: Study | None
    students: tuple[Student, ...]
    costs: Floats
    validation: Floats
    scores: Floats
    unpaired: str | None

    @property
    def core_seconds(self) -> float:
        return self.study.core_seconds() if self.study else 0.0

    @property
    def runs(self) -> int:
        """Training runs that have ended."""
        return sum(run.state.is_finished() for run in self.study.runs()) if self.study else 0

    @property
    def curve(self) -> Curve:
        return Curve(self.costs, self.scores)

    def hypervolume(self, axes: Axes) -> Floats:
        """Return the volume of the test front by replicate (replicates,), costs in their own units."""
        score, cost = axes.reference_point
        return np.array(
            [
                moocore.hypervolume(np.column_stack([-row, self.costs]), ref=np.array([-score, cost]))
                for row in self.scores
            ],
            np.float64,
        )


@dataclass(frozen=True)
class Contender:
    """A study, or several that repeat one."""

    name: str
    members: tuple[Member, ...]


def axes_of(studies: Sequence[Study], score: str | None = None, cost: str | None = None) -> Axes:
    """Return what studies are compared by: the first score and cost objective, or those given.

    Raises StudyError for studies that were not scored on the same test events at the same rate, and
    for a metric that one of them did not optimize.
    """
    first = studies[0].file
    digests = {study.name: dataset_digest(study.file.dataset) for study in studies}
    for study in studies[1:]:
        if digests[study.name] != digests[studies[0].name]:
            raise StudyError(
                f"study {study.name!r} was scored on other events than {studies[0].name!r} (their dataset"
                " differs); only studies of the same events can be compared"
            )
        if study.file.rate_khz != first.rate_khz:
            raise StudyError(
                f"study {study.name!r} has its efficiencies at {study.file.rate_khz:g} kHz,"
                f" {studies[0].name!r} at {first.rate_khz:g} kHz; only studies of one rate can be compared"
            )
    chosen = []
    for given, direction, what in ((score, "maximize", "score"), (cost, "minimize", "cost")):
        name = given or next(n for n in first.objectives if direction_of(n) == direction)
        for study in studies:
            if name not in study.file.objectives or direction_of(name) != direction:
                its = [n for n in study.file.objectives if direction_of(n) == direction]
                raise StudyError(
                    f"{name} is no {what} that study {study.name!r} optimized (it has {', '.join(its)});"
                    f" choose one of all studies with --{what}"
                )
        chosen.append(name)
    counted_from = (
        first.reference[first.objectives.index(chosen[0])],
        first.reference[first.objectives.index(chosen[1])],
    )
    return Axes(chosen[0], chosen[1], first.rate_khz, counted_from)


def front_students(study: Study, axes: Axes) -> tuple[Student, ...]:
    """Return the students of a study's front, cheapest first.

    It is the study's front, of those points that no other beats in score and estimated cost on
    validation events. Raises StudyError when there is none.
    """
    found = front_of(study).points
    costs = [raw_cost(trial.user_attrs["cost"]) for trial in found]
    losses = np.array(
        [
            (-records.metric(axes.score, t.user_attrs["validation"], c), c[axes.cost])
            for t, c in zip(found, costs, strict=True)
        ],
        np.float64,
    ).reshape(-1, 2)
    if not len(losses):
        raise StudyError(f"study {study.name!r} has no feasible point yet to compare; run it on")
    kept = sorted(np.flatnonzero(moocore.is_nondominated(losses)), key=lambda i: float(losses[i, 1]))
    return tuple(
        Student(
            student_folder(study, found[i]),
            found[i].user_attrs["validation"],
            found[i].user_attrs["test"],
            costs[i],
            found[i].number,
            tuple(found[i].user_attrs.get("synthesis", ())),
        )
        for i in kept
    )


def reference_student(reference: Reference, axes: Axes) -> Student:
    """Return a reference at its estimated cost; StudyError where that is not known."""
    cost = raw_cost(reference.cost)
    if cost.get(axes.cost) is None:
        raise StudyError(f"reference {reference.name}: its {axes.cost} is not known; compare by another cost")
    return Student(reference.folder, reference.validation, reference.test, cost)


def measure(
    name: str,
    study: Study | None,
    students: tuple[Student, ...],
    axes: Axes,
    test: Part,
    drawn: Resampling,
    progress: Progress,
) -> Member:
    """Return students as a front with replicates of their test scores.

    Raises StudyError where a saved student scores otherwise than was recorded of it.
    """
    recorded = np.array([records.metric(axes.score, s.test, s.cost) for s in students])
    scores, unpaired = recorded[None], None
    rates = sorted({axes.rate_khz, supported_rate(len(test.zero_bias), axes.rate_khz)})
    try:
        columns, found = [], []
        for number, student in enumerate(students):
            progress(f"scoring {name} on resampled events", number, len(students))
            outputs = split_outputs(test, predict(load_logic(student.folder), all_events(test)))
            columns.append(_replicates(outputs, axes, drawn))
            found.append(tuple(efficiency_at(*outputs, rate) for rate in rates))
        scores = np.stack(columns, axis=1)
        students = tuple(replace(s, efficiencies=e) for s, e in zip(students, found, strict=True))
    except CostError as error:
        unpaired = str(error)
    progress(f"scoring {name} on resampled events", len(students), len(students))
    if not np.allclose(scores[0], recorded, rtol=0, atol=1e-9):
        raise StudyError(
            f"{name}: a saved student scores otherwise on the test events than was recorded;"
            " its data or its folder were changed"
        )
    return Member(
        name,
        study,
        students,
        np.array([s.cost[axes.cost] for s in students], np.float64),
        np.array([records.metric(axes.score, s.validation, s.cost) for s in students]),
        scores,
        unpaired,
    )


def _replicates(
    outputs: tuple[NDArray[Any], dict[str, NDArray[Any]]], axes: Axes, drawn: Resampling
) -> Floats:
    rate = trigger_rate_khz(axes.score)
    found = drawn.score(*outputs, axes.rate_khz if rate is None else rate)
    if rate is not None:
        return found.mean_efficiency
    return found.mean_auc if axes.score == "mean_auc" else found.worst_auc
