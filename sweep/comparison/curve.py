"""A front as a curve: score against cost, read at a level of either, and nowhere beyond its ends.

Points of a front were chosen on validation events, where a dearer one always scores more; on test
events a few do not. Taking the best of them there would choose by test. So the curve is the
increasing one that is closest to all test scores (isotonic regression), straight between points in
the logarithm of cost.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What a reading is when a level lies beyond an end of the curve: the end's value is a bound then.
Bound = Literal["at most", "at least"]
#: Share of a level that rounding may change.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Reading:
    """Values by replicate (replicates,): an infinity where the curve does not get there.

    `bound` tells that the level lies beyond an end of the curve as measured, whose value this is.
    """

    values: Floats
    bound: Bound | None = None


class Curve:
    """Costs (points,), ascending, and scores (replicates, points) of a front."""

    def __init__(self, costs: Floats, scores: Floats) -> None:
        self.costs = costs
        self.scores = np.stack([isotonic(row) for row in scores])
        self._logs = np.log(np.maximum(costs, 1.0))  # a cost below 1, such as no DSP, counts as 1

    def cost_at(self, level: Floats) -> Reading:
        """Return the cost at which the score reaches `level` (replicates,) or (1,).

        Infinite where it never does; the least cost, as a bound, where the first point has more.
        """
        levels = np.broadcast_to(level, len(self.scores))
        values = np.array([self._cost(row, x) for row, x in zip(self.scores, levels, strict=True)])
        return Reading(values, "at most" if levels[0] < self.scores[0, 0] - _ROUNDING else None)

    def _cost(self, scores: Floats, level: float) -> float:
        reached = np.flatnonzero(scores >= level - _ROUNDING)
        if not reached.size:
            return np.inf
        at = int(reached[0])
        rise = scores[at] - scores[at - 1] if at else 0.0
        if rise <= 0:
            return float(self.costs[at])
        share = min((level - scores[at - 1]) / rise, 1.0)
        return float(np.exp(self._logs[at - 1] + share * (self._logs[at] - self._logs[at - 1])))

    def score_at(self, level: Floats) -> Reading:
        """Return the score at cost `level` (replicates,) or (1,).

        Minus infinity where no point is that cheap; the highest, as a bound, beyond the last point.
        """
        levels = np.log(np.maximum(np.broadcast_to(level, len(self.scores)), 1.0))
        values = np.array(
            [np.interp(x, self._logs, row) for row, x in zip(self.scores, levels, strict=True)], np.float64
        )
        values[levels < self._logs[0] - _ROUNDING] = -np.inf
        return Reading(values, "at least" if levels[0] > self._logs[-1] + _ROUNDING else None)


def isotonic(values: Floats) -> Floats:
    """Return the non-decreasing sequence closest to `values` (n,) in the sum of squares.

    By the max-min formula: the largest over i <= n of the least mean of a stretch from i to beyond n
    (Barlow et al., "Statistical Inference under Order Restrictions", 1972).
    """
    if (np.diff(values) >= 0).all():
        return values.astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first, last = np.indices((len(values), len(values)))
    length = last - first + 1
    means = np.where(length > 0, (sums[last + 1] - sums[first]) / np.maximum(length, 1), np.inf)
    least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.where(length > 0, least, -np.inf).max(axis=0), np.float64)
