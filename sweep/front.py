"""The Pareto front of a study: its feasible points that no other dominates, and the front's contract.

Costs are compared as calibration sees them today, whenever a point was measured: otherwise a point
from before a correction would be held against one from after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from sweep import home, records
from sweep.calibration.correction import Correction, correction_for, raw_cost
from sweep.storage.trial_rows import Excerpt
from sweep.study import Study

if TYPE_CHECKING:  # it knows alkaid and the data, which take long to import
    from sweep.references import Reference


@dataclass(frozen=True)
class Front:
    """Non-dominated feasible points on the validation part, cheapest first, and their hypervolume."""

    study: Study
    points: list[FrozenTrial]
    hypervolume: float
    costs: dict[int, dict[str, Any]] = field(repr=False)

    @cached_property
    def numbers(self) -> frozenset[int]:
        """The numbers of the front's trials."""
        return frozenset(trial.number for trial in self.points)

    def measured(self) -> list[FrozenTrial]:
        """Return the points that the front was chosen from; a running study may have more by now."""
        return [trial for trial in self.study.points() if trial.number in self.costs]

    def cost(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the cost of any point of the study, corrected where calibration is in force."""
        return self.costs[trial.number]

    def values(self, trial: FrozenTrial) -> list[float]:
        """Return a point's objectives, its costs corrected."""
        return _values(self.study, trial, self.cost(trial))

    def is_feasible(self, trial: FrozenTrial) -> bool:
        """Tell whether a point keeps every constraint, its costs corrected."""
        return _is_feasible(self.study, trial, self.cost(trial))

    def losses_of(self, trial: FrozenTrial) -> list[float]:
        """Return a point's objectives, all to be minimized."""
        return [float(loss) for loss in _losses(self.study, [self.values(trial)])[0]]

    def losses(self) -> NDArray[np.float64]:
        """Return the points' objectives (points, objectives), all to be minimized."""
        return _losses(self.study, [self.values(trial) for trial in self.points])

    def reference(self) -> NDArray[np.float64]:
        """Return the study's reference point, all objectives to be minimized."""
        return _reference(self.study)

    def as_json(self, references: Sequence["Reference"] = ()) -> dict[str, Any]:
        """Return the contract of `sweep front --json` (docs/front.md), with references if there are any."""
        file = self.study.file
        return {
            "study": self.study.name,
            "objectives": [
                {"name": name, "direction": direction}
                for name, direction in zip(file.objectives, file.directions, strict=True)
            ],
            "reference_point": list(file.reference),
            "hypervolume": self.hypervolume,
            "points": [self._point(trial) for trial in self.points],
            **({"references": [reference.as_json() for reference in references]} if references else {}),
        }

    def _point(self, trial: FrozenTrial) -> dict[str, Any]:
        about = trial.user_attrs
        return {
            "trial": trial.number,
            "parent": about.get("parent"),
            "epoch": about["epoch"],
            "params": trial.params,
            "values": dict(zip(self.study.file.objectives, self.values(trial), strict=True)),
            "validation": about["validation"],
            "test": about["test"],
            "cost": self.cost(trial),
            "synthesis": about.get("synthesis", []),
            "student": str(home.students_folder(self.study.name) / about["student"]),
        }


def front_of(study: Study) -> Front:
    """Return the study's front as it is now."""
    points = study.measured()
    correction = None
    if study.file.synthesis.calibration:
        correction = correction_for(study.storage.engine, study.file.target)
    costs = {trial.number: _cost(study, correction, trial) for trial in points}
    feasible = [trial for trial in points if _is_feasible(study, trial, costs[trial.number])]
    losses = _losses(study, [_values(study, trial, costs[trial.number]) for trial in feasible])
    best = [feasible[i] for i in np.flatnonzero(moocore.is_nondominated(losses))] if feasible else []
    cost = next(i for i, d in enumerate(study.file.directions) if d == "minimize")
    best.sort(key=lambda trial: _values(study, trial, costs[trial.number])[cost])
    return Front(study, study.whole(best), _hypervolume(study, best, costs), costs)


def _cost(study: Study, correction: Correction | None, trial: Excerpt) -> dict[str, Any]:
    cost = trial.user_attrs["cost"]
    if correction is None:
        return raw_cost(cost)
    return correction.apply(cost, study.file.hardware.clock_ns)


def _is_feasible(study: Study, trial: FrozenTrial | Excerpt, cost: dict[str, Any]) -> bool:
    validation = trial.user_attrs["validation"]
    kept = records.constraint_values(study.file.constraints, validation, cost)
    return all(value <= 0 for value in kept.values())


def _values(study: Study, trial: FrozenTrial | Excerpt, cost: dict[str, Any]) -> list[float]:
    validation = trial.user_attrs["validation"]
    return [records.metric(name, validation, cost) for name in study.file.objectives]


def _hypervolume(study: Study, trials: list[Excerpt], costs: dict[int, dict[str, Any]]) -> float:
    """Return the volume between `trials` and the study's reference point, costs in their own units."""
    if not trials:
        return 0.0
    losses = _losses(study, [_values(study, trial, costs[trial.number]) for trial in trials])
    return float(moocore.hypervolume(losses, ref=_reference(study)))


def _losses(study: Study, values: list[list[float]]) -> NDArray[np.float64]:
    """Return objective values (points, objectives), all to be minimized."""
    signs = np.array([-1.0 if d == "maximize" else 1.0 for d in study.file.directions])
    return np.asarray(signs * np.array(values, np.float64).reshape(-1, len(signs)), np.float64)


def _reference(study: Study) -> NDArray[np.float64]:
    """Return the study's reference point (objectives,), all objectives to be minimized."""
    return _losses(study, [list(study.file.reference)]).reshape(-1)
