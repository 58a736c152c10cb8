"""Which epochs of a run are worth measuring: those that the study does not know better students than.

Calibrating, compiling and scoring a student takes as long as ten epochs of training it, one of many bits
far longer. An epoch that a point of the study beats with confidence in scores and cost would not enter the
front; nor would one that costs more than a point that is already over a constraint. Cost is what is known
without compiling, adder bits or EBOPs; it compares less well between networks (architectures and
granularities).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from sweep import records
from sweep.study_file import StudyFile, direction_of

if TYPE_CHECKING:  # what brings TensorFlow
    from objectives.training.trajectory import CheapCost, Snapshot

#: By so much another's scores must be better, beyond what calibration moves them by ...
SCORE_MARGIN = 0.0
#: ... and so much lower its cost, beyond how LUTs scatter about it within a network.
COST_MARGIN = 0.95
#: Of students of two networks, the unit of one may be worth so many times that of the other. Of 2,260
#: students of 344 networks fewer than 1 in 100 pairs that are so far apart have LUTs in the other order.
BETWEEN_NETWORKS: Mapping["CheapCost", float] = {"adder_bits": 1.3, "ebops": 5.0}
#: Objectives that adder bits tell more of than EBOPs do.
OF_ADDER_GRAPH = ("lut", "ff", "lut_equivalent")


def compared_cost(file: StudyFile) -> "CheapCost":
    """Return what students of a study are compared by before they are compiled, besides their scores."""
    by_adders = file.scheme == "hgq" and any(name in OF_ADDER_GRAPH for name in file.objectives)
    return "adder_bits" if by_adders else "ebops"


def compared_scores(file: StudyFile, validation: Mapping[str, Any]) -> dict[str, float]:
    """Return what students of a study are compared by besides their cost, from their validation scores.

    First of all, where constraints are on scores, whether they are kept (1 or 0): so a student that keeps
    them is beaten by none that does not. Then the scores among the objectives.
    """
    bounds = {name: bound for name, bound in file.constraints.items() if bound.min is not None}
    kept = all(value <= 0 for value in records.constraint_values(bounds, validation, {}).values())
    names = [name for name in file.objectives if direction_of(name) == "maximize"]
    scores = {name: records.metric(name, validation, {}) for name in names}
    return {"constraints kept": float(kept), **scores} if bounds else scores


@dataclass(frozen=True)
class Known:
    """A point of the study: what it is compared by, and whether a cost is over its limit."""

    scores: tuple[float, ...]
    cost: float
    too_expensive: bool

    @classmethod
    def of_reference(cls, file: StudyFile) -> Self:
        """Return the point of reference of a study's hypervolume, as a student that costs nothing."""
        levels = zip(file.objectives, file.reference, strict=True)
        scores = [level for name, level in levels if direction_of(name) == "maximize"]
        if any(bound.min is not None for bound in file.constraints.values()):
            scores.insert(0, 1.0)  # as `compared_scores` has it
        return cls(tuple(scores), cost=0.0, too_expensive=False)

    def of_another_network(self, cost: "CheapCost") -> Self:
        """Return the point as it compares with students of another network: with its cost at worst."""
        return replace(self, cost=self.cost * BETWEEN_NETWORKS[cost])

    def rules_out(self, snapshot: "Snapshot") -> bool:
        """Tell whether an epoch need not be measured for this point's sake."""
        cheaper = self.cost <= COST_MARGIN * snapshot.cost
        if self.too_expensive:
            return cheaper
        better = all(
            mine >= theirs + SCORE_MARGIN for mine, theirs in zip(self.scores, snapshot.scores, strict=True)
        )
        return cheaper and better


def worth_measuring(snapshots: "Sequence[Snapshot]", known: Sequence[Known]) -> "list[Snapshot]":
    """Return the snapshots that no known point rules out."""
    return [s for s in snapshots if not any(point.rules_out(s) for point in known)]
