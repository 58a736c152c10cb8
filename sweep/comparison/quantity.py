"""A figure of a comparison: its value, its interval over events, its range over repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.comparison.curve import Bound, Reading

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """The median of readings by replicate, None where one of them is missing, and what it hides.

    `range` are the least and largest reading as measured, where there are several; `reached` is how
    many of how many there are.
    """

    values: Floats | None
    bound: Bound | None = None
    range: tuple[float, float] | None = None
    reached: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> "Quantity":
        """Return the median of readings, one a member of a contender."""
        measured = [float(reading.values[0]) for reading in readings]
        reached = int(np.isfinite(measured).sum()), len(readings)
        if reached[0] < reached[1]:
            return cls(None, reached=reached)
        bound = next((reading.bound for reading in readings if reading.bound), None)
        values = np.median(side_by_side([reading.values for reading in readings]), axis=0)
        spread = (min(measured), max(measured)) if len(readings) > 1 else None
        return cls(values, bound, spread, reached)

    def against(self, base: "Quantity", operation: np.ufunc) -> dict[str, Any] | None:
        """Return this held against `base`, as a ratio or difference; None where that says nothing."""
        if self.values is None or base.values is None or base.bound:
            return None
        one, other = side_by_side([self.values, base.values])
        with np.errstate(invalid="ignore", divide="ignore"):
            found = operation(one, other)
        if not np.isfinite(found[0]):  # held against a cost of 0
            return None
        return {"value": float(found[0]), "bound": self.bound, "interval": interval(found)}

    def as_json(self) -> dict[str, Any]:
        """Return the form of `sweep compare --json`."""
        return {
            "value": None if self.values is None else float(self.values[0]),
            "bound": self.bound,
            "interval": None if self.values is None else interval(self.values),
            "range": list(self.range) if self.range else None,
            "reached": list(self.reached),
        }


def interval(values: Floats) -> list[float | None] | None:
    """Return the central 68 % of replicates (1 + n,), None without any; an end at infinity is open, None.

    What is held against something that is not reached either is not known, and counts as infinite.
    """
    if len(values) < 3:
        return None
    ends = np.quantile(np.where(np.isnan(values), np.inf, values)[1:], [0.16, 0.84], method="nearest")
    return [float(end) if np.isfinite(end) else None for end in ends]


def side_by_side(rows: Sequence[Floats]) -> Floats:
    """Return rows as one array: of what has no replicates, none but the first is known."""
    length = min(len(row) for row in rows)
    return np.stack([row[:length] for row in rows])
