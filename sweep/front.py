"""The Pareto front of a study: its feasible points that no other dominates, and the front's contract."""

from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from sweep import home
from sweep.study import Study


@dataclass(frozen=True)
class Front:
    """Non-dominated feasible points on the validation part, cheapest first, and their hypervolume."""

    study: Study
    points: list[FrozenTrial]
    hypervolume: float

    def as_json(self) -> dict[str, Any]:
        """Return the contract of `sweep front --json` (docs/front.md)."""
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
        }

    def _point(self, trial: FrozenTrial) -> dict[str, Any]:
        about = trial.user_attrs
        return {
            "trial": trial.number,
            "parent": about.get("parent"),
            "epoch": about["epoch"],
            "params": trial.params,
            "values": dict(zip(self.study.file.objectives, trial.values, strict=True)),
            "validation": about["validation"],
            "test": about["test"],
            "cost": about["cost"],
            "synthesis": about.get("synthesis", []),
            "student": str(home.students_folder(self.study.name) / about["student"]),
        }


def front_of(study: Study) -> Front:
    """Return the study's front as it is now."""
    feasible = [t for t in study.points() if all(v <= 0 for v in t.constraints.values())]
    losses = _losses(study, feasible)
    best = [feasible[i] for i in np.flatnonzero(moocore.is_nondominated(losses))] if feasible else []
    cost = next(i for i, d in enumerate(study.file.directions) if d == "minimize")
    best.sort(key=lambda trial: trial.values[cost])
    return Front(study, best, hypervolume(study, best))


def hypervolume(study: Study, trials: list[FrozenTrial]) -> float:
    """Return the volume between `trials` and the study's reference point, costs in their own units."""
    if not trials:
        return 0.0
    signs = np.array([-1.0 if d == "maximize" else 1.0 for d in study.file.directions])
    reference = signs * np.array(study.file.reference)
    return float(moocore.hypervolume(_losses(study, trials), ref=reference))


def _losses(study: Study, trials: list[FrozenTrial]) -> NDArray[np.float64]:
    """Return objective values (trials, objectives), all to be minimized."""
    signs = np.array([-1.0 if d == "maximize" else 1.0 for d in study.file.directions])
    values = np.array([trial.values for trial in trials], np.float64).reshape(-1, len(signs))
    return np.asarray(signs * values, np.float64)
