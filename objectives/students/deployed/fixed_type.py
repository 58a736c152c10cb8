"""Vitis HLS's fixed-point types, as C++ spells them."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.errors import DataError
from objectives.students.network import Quantize

Floats = NDArray[np.float64]

_ROUNDINGS = {"AP_TRN": "TRN", "AP_RND": "RND", "AP_RND_CONV": "RND_CONV"}
_OVERFLOWS = {"AP_WRAP": "WRAP", "AP_SAT": "SAT", "AP_SAT_SYM": "SAT_SYM"}


@dataclass(frozen=True)
class FixedType:
    """One of Vitis HLS's fixed-point types: `integer` counts the sign bit, as there."""

    name: str
    signed: bool
    width: int
    integer: int
    rounding: str = "TRN"
    overflow: str = "WRAP"

    @property
    def fraction(self) -> int:
        return self.width - self.integer

    @property
    def low(self) -> float:
        if self.overflow == "SAT_SYM":
            return -self.high if self.signed else 0.0
        return -(2.0 ** (self.integer - 1)) if self.signed else 0.0

    @property
    def high(self) -> float:
        return float(2.0 ** (self.integer - self.signed) - 2.0**-self.fraction)

    def quantize(self, shape: tuple[int, ...] = ()) -> Quantize:
        """Return the cast of data of that shape to this type, the same for every value."""
        sign = int(self.signed)
        k, i, f = (np.full(shape, bits, np.int64) for bits in (sign, self.integer - sign, self.fraction))
        return Quantize(k, i, f, self.overflow, self.rounding)


def parse_type(name: str, spelling: str) -> FixedType:
    """Return the type that C++ spells ``ap_fixed<30,22>`` and the like; DataError for another.

    >>> parse_type("result_t", "ap_ufixed<16,8,AP_RND_CONV,AP_SAT>").fraction
    8
    """
    found = re.fullmatch(r"ap_(u?)(fixed|int)<([^<>]*)>", "".join(spelling.split()))
    arguments = found[3].split(",") if found else []
    numbers, modes = arguments[:2], arguments[2:]
    if found and found[2] == "int":
        numbers, modes = [*arguments[:1], *arguments[:1]], arguments[1:]
    rounding = _ROUNDINGS.get(modes[0] if modes else "AP_TRN")
    overflow = _OVERFLOWS.get(modes[1] if modes[1:] else "AP_WRAP")
    # A fifth argument is the number of bits kept when wrapping; releases have AP_SAT there, which is 0.
    plain = len(modes) < 3 or (len(modes) == 3 and modes[2] in ("0", "AP_SAT"))
    if not found or not rounding or not overflow or not plain or (found[2] == "int" and modes):
        raise DataError(
            f"type {name}: cannot read {spelling.strip()!r}; known are ap_[u]fixed<width,integer[,rounding"
            f"[,overflow]]> and ap_[u]int<width>, with {', '.join([*_ROUNDINGS, *_OVERFLOWS])}"
        )
    try:
        width, integer = map(int, numbers)
    except ValueError:
        width, integer = 0, 0
    if not 1 <= width <= 64 or not -64 <= integer <= 64:
        raise DataError(f"type {name}: {spelling.strip()!r} has no width from 1 to 64 bits")
    return FixedType(name, found[1] == "", width, integer, rounding, overflow)


def fraction_of(values: Floats) -> int:
    """Return the fractional bits that the finest of some binary fractions needs, at least 0."""
    for bits in range(64):
        if (np.rint(values * 2.0**bits) == values * 2.0**bits).all():
            return bits
    return 64


def exactly(values: Floats, kind: FixedType, what: str) -> Floats:
    """Return `values`; DataError where one is not a value of the type."""
    held = kind.quantize()(values)
    if (bad := np.flatnonzero(held != values)).size:
        raise DataError(
            f"{what}: value {bad[0] + 1} of {values.size}, {values.ravel()[bad[0]]:g}, is not a value of"
            f" {kind.name} ({'' if kind.signed else 'un'}signed, {kind.width} bits, {kind.integer} of them"
            " integer); types and weights are of different releases"
        )
    return values
