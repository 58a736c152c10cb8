"""Which epochs of a run are worth measuring: those that the study does not know better students than.

Calibrating, compiling and scoring a student takes as long as ten epochs of training it, one of many bits
far longer. An epoch that a point of the study beats with confidence in scores and EBOPs would not enter the
front; nor would one with more EBOPs than a point that already costs more than a constraint allows. Between
networks (architectures and granularities) EBOPs compare only roughly: there it must have a fifth of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from sweep import records
from sweep.study_file import StudyFile, direction_of

if TYPE_CHECKING:  # what brings TensorFlow
    from objectives.training.trajectory import Snapshot

#: By so much another's scores must be better, beyond what calibration moves them by ...
SCORE_MARGIN = 0.0
#: ... and so many times fewer must its EBOPs be, beyond how their ratio to LUTs scatters.
EBOPS_MARGIN = 0.95
#: Of two students of other networks, one EBOP may cost so many times what the other's does: from 0.38 to 2.24
#: LUT in nine of ten of 552 points of 40 networks.
BETWEEN_NETWORKS = 5


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
    """A point of the study: what it is compared by, its EBOPs, and whether a cost is over its limit."""

    scores: tuple[float, ...]
    ebops: int
    too_expensive: bool

    @classmethod
    def of_reference(cls, file: StudyFile) -> Self:
        """Return the point of reference of a study's hypervolume, as a student that costs nothing."""
        levels = zip(file.objectives, file.reference, strict=True)
        scores = [level for name, level in levels if direction_of(name) == "maximize"]
        if any(bound.min is not None for bound in file.constraints.values()):
            scores.insert(0, 1.0)  # as `compared_scores` has it
        return cls(tuple(scores), ebops=0, too_expensive=False)

    def of_another_network(self) -> Self:
        """Return the point as it compares with students of another network: with its EBOPs at worst."""
        return replace(self, ebops=self.ebops * BETWEEN_NETWORKS)

    def rules_out(self, snapshot: "Snapshot") -> bool:
        """Tell whether an epoch need not be measured for this point's sake."""
        fewer = self.ebops <= EBOPS_MARGIN * snapshot.ebops
        if self.too_expensive:
            return fewer
        better = all(
            mine >= theirs + SCORE_MARGIN for mine, theirs in zip(self.scores, snapshot.scores, strict=True)
        )
        return fewer and better


def worth_measuring(snapshots: "Sequence[Snapshot]", known: Sequence[Known]) -> "list[Snapshot]":
    """Return the snapshots that no known point rules out."""
    return [s for s in snapshots if not any(point.rules_out(s) for point in known)]
