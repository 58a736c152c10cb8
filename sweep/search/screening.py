"""Which epochs of a run are worth measuring: those that the study does not know better students than.

Calibrating, compiling and scoring a student takes as long as ten epochs of training it, one of many bits
far longer. An epoch that a point of the study beats with confidence in scores and EBOPs would not enter the
front; nor would one with more EBOPs than a point that already costs more than a constraint allows. Between
granularities EBOPs compare only roughly: there the point must have a tenth of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # what brings TensorFlow
    from objectives.training.trajectory import Snapshot

#: By so much another's scores must be better, beyond what calibration moves them by ...
SCORE_MARGIN = 0.0
#: ... and so many times fewer must its EBOPs be, beyond how their ratio to LUTs scatters.
EBOPS_MARGIN = 0.95
#: Of two students of other granularities, one EBOP may cost so many times what the other's does: from 0.12 to
#: 2.1 LUT in 431 points of ten studies, nine in ten of them from 0.27 to 1.73.
BETWEEN_GRANULARITIES = 10


@dataclass(frozen=True)
class Known:
    """A point of the study: its scores on validation, its EBOPs, and whether a cost is over its limit."""

    scores: tuple[float, ...]
    ebops: int
    too_expensive: bool

    def of_another_granularity(self) -> Self:
        """Return the point as it compares with students of another granularity: with its EBOPs at worst."""
        return replace(self, ebops=self.ebops * BETWEEN_GRANULARITIES)

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
