"""Levels to compare at: round numbers inside the range that contenders share."""

import math
from collections.abc import Sequence

#: Steps that people count in, and marks that they read a logarithmic axis by.
_STEPS = (1.0, 2.0, 5.0)
_MARKS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))


def shared(ranges: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return the range in which at least two of `ranges` are (one if it is alone), None if there is none."""
    if len(ranges) == 1:
        return ranges[0]
    overlaps = [(max(a[0], b[0]), min(a[1], b[1])) for n, a in enumerate(ranges) for b in ranges[n + 1 :]]
    overlaps = [(low, high) for low, high in overlaps if low <= high]
    if not overlaps:
        return None
    return min(low for low, _ in overlaps), max(high for _, high in overlaps)


def round_scores(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` round numbers from `low` to `high`, evenly apart.

    >>> round_scores(0.72, 0.9477)
    [0.75, 0.8, 0.85, 0.9]
    """
    if high <= low:
        return []
    power = math.floor(math.log10(high - low)) - 2
    for exponent in range(power, power + 4):
        for step in _STEPS:
            unit = step * 10.0**exponent
            first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
            if last - first < most:
                return [round(n * unit, 12) for n in range(first, last + 1)]
    return []


def round_costs(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` round numbers from `low` to `high`, as on a logarithmic axis.

    >>> round_costs(354, 16114)
    [500.0, 1000.0, 2000.0, 5000.0, 10000.0]
    """
    low = max(low, 1.0)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(max(high, low))) + 1)
    finest: list[float] = []
    for marks in _MARKS:
        found = [mark * 10.0**decade for decade in decades for mark in marks]
        found = [value for value in found if low <= value <= high]
        if len(found) > most:
            return finest or found[:: math.ceil(len(found) / most)]
        finest = found
    return finest
