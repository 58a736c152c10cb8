"""The 16 bits that leave the chip: what a student's result has to fit into.

A score is ``ap_ufixed<16, 8>``: from 0 to 255 + 255/256 in steps of 1/256. Where scores are compared bit
by bit they are whole numbers of such steps, the *raw* score.
"""

from dataclasses import dataclass

import numpy as np
from alkaid.types import CombLogic
from numpy.typing import NDArray

from objectives.errors import CostError

SCORE_WIDTH = 16
SCORE_FRACTION = 8
#: Regions of an event, each a whole number of counts of this many bits.
REGIONS = 252
REGION_BITS = 10


@dataclass(frozen=True)
class ResultPort:
    """Bits of an adder graph's result: `width` of them, of which the lowest counts 2**-`fraction`."""

    width: int
    fraction: int


def result_port(logic: CombLogic) -> ResultPort:
    """Return the result of a student's adder graph; raises CostError when a score cannot hold it."""
    if logic.shape != (REGIONS, 1):
        raise CostError(
            f"the adder graph is {logic.shape[0]} to {logic.shape[1]}, not {REGIONS} regions to 1"
        )
    interval = logic.out_qint[0]
    if interval.min == interval.max == 0:
        return ResultPort(0, 0)
    signed, integer, fraction = interval.kif
    if signed or integer > SCORE_WIDTH - SCORE_FRACTION or fraction > SCORE_FRACTION:
        raise CostError(
            f"the student's result runs from {interval.min:g} to {interval.max:g} in steps of"
            f" {interval.step:g}; a score is ap_ufixed<{SCORE_WIDTH},{SCORE_WIDTH - SCORE_FRACTION}>,"
            " so its last layer has to clip and round to that"
        )
    return ResultPort(int(integer + fraction), int(fraction))


def raw_scores(scores: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return scores (n,) in steps of 1/256; raises CostError for one that is no 16-bit score."""
    steps = np.asarray(scores, np.float64) * 2**SCORE_FRACTION
    bad = ~((steps >= 0) & (steps < 2**SCORE_WIDTH) & (steps == np.floor(steps)))
    if bad.any():
        event = int(np.argmax(bad))
        raise CostError(f"event {event}: {scores[event]!r} is no score of 16 bits in steps of 1/256")
    return np.asarray(steps, np.uint16)
