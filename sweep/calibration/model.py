"""A correction of estimates, learned from designs that were synthesized, and how sure it is.

For one quantity of one tool, stage, part and implementation:

    log(synthesized / estimate) = offset + sum_k slope_k * (z_k - centre_k) + noise

with z the features of `sweep.calibration.features` (log LUT; for latency also log clock) and
`centre` their mean over the designs. Offset and slopes are shrunk toward zero, that is toward the
estimate as it is: with X the centred features after a column of ones, r the logarithms on the left
and P the diagonal of prior weights (ridge regression; Bishop, "Pattern Recognition and Machine
Learning", 2006, eq. 3.50 to 3.54),

    b = (X'X + P)^-1 X'r

The 90 % interval of a new design with features x is Student's, in the logarithm:

    s2 = (nu0 * s0^2 + |r - X b|^2) / nu,    nu = nu0 + n - tr(X (X'X + P)^-1 X')
    log(estimate) + x'b  +-  t(0.95, nu) * sqrt(s2 * (1 + x' (X'X + P)^-1 x) + drift^2)

where the trace counts the parameters that the designs, not the prior, decide (Hastie, Tibshirani,
Friedman, "The Elements of Statistical Learning", 2nd ed., eq. 3.50). Outside the range of a
feature the correction stays what it is at the edge, because a slope is known only where designs
are; `drift` is how far the line would have gone on, so the interval covers both.

Why Student's interval and not the jackknife+ or another conformal one (Barber et al., "Predictive
inference with the jackknife+", arXiv:1905.02928): those are infinite at 90 % with less than nine
designs, promise 80 % only, and hardly widen away from the designs. What Student's interval assumes,
noise of one width in the logarithm, is checked for every fit: `Calibration.coverage`.

Priors are fixed, not fitted. An offset of four times the scatter is ordinary (registers that
synthesis removes), hence the weight 1/4^2. A factor e in size is expected to move the correction by
no more than the scatter: weight 1. A noise of 5 %, the fidelity that alkaid's cost is known for,
counts as one design, so that eight designs on one line by luck do not promise the ninth.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from objectives.config import Config
from objectives.errors import ConfigError
from sweep.calibration.features import FEATURES, Estimate, Quantity, check_positive

# Estimate and Quantity are at home in `features`; users of the model find them here too.
__all__ = [
    "MIN_DESIGNS",
    "Calibration",
    "Design",
    "Estimate",
    "Line",
    "Prediction",
    "Quantity",
    "fit",
    "leave_one_out",
]

#: Distinct designs below which nothing is fitted.
MIN_DESIGNS = 8
#: Share of designs that an interval is meant to hold.
LEVEL = 0.9

_OFFSET_WEIGHT = 1 / 16
_SLOPE_WEIGHT = 1.0
_NOISE_DESIGNS = 1.0
_NOISE = 0.05


@dataclass(frozen=True)
class Design:
    """What synthesis said of a design that had been estimated; None is what it did not say.

    `latency_ns` is cycles times the clock achieved (the clock aimed at less the worst slack).
    `source` says where the figures are from. Raises ConfigError where one is not positive and finite.
    """

    name: str
    estimate: Estimate
    lut: float
    ff: float | None
    latency_ns: float | None
    source: str

    def __post_init__(self) -> None:
        check_positive(f"design {self.name}", self)


@dataclass(frozen=True)
class Prediction:
    """The median of what synthesis will say and its 90 % interval; LUT, FF or ns."""

    value: float
    low: float
    high: float


class Line(Config):
    """What the module's formulas fit, k features: every list has k entries, `spread` k + 1 rows.

    `spread` is (X'X + P)^-1, `noise` s and `freedom` nu; `lowest` and `highest` bound the features
    of the designs.
    """

    offset: float
    slopes: tuple[float, ...]
    centre: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    spread: tuple[tuple[float, ...], ...]
    noise: float
    freedom: float

    def predict(self, raw: float, features: Sequence[float]) -> Prediction:
        """Return the figure expected where `raw` is estimated, in its unit."""
        centre, slopes = np.array(self.centre), np.array(self.slopes)
        inside = np.clip(features, self.lowest, self.highest)
        shift = self.offset + float(slopes @ (inside - centre))
        drift = float(slopes @ (features - inside))
        x = np.concatenate([[1.0], features - centre])
        variance = self.noise**2 * (1 + float(x @ np.array(self.spread) @ x)) + drift**2
        half = _student_quantile((1 + LEVEL) / 2, self.freedom) * math.sqrt(variance)
        return Prediction(*(raw * math.exp(shift + side * half) for side in (0, -1, 1)))


class Calibration(Config):
    """The correction of one quantity; numbers only, so that JSON holds it without loss.

    `raw_error` and `error` are mean absolute errors relative to what synthesis said: of the
    estimate as it is, and of the correction fitted without the design it is asked for. `coverage`
    is the share of designs that the 90 % interval, fitted without them, holds. `beats_raw` tells
    whether the correction may be used: see `fit`.
    """

    quantity: Quantity
    designs: int
    raw_error: float
    error: float
    coverage: float
    beats_raw: bool
    line: Line

    def predict(self, estimate: Estimate) -> Prediction:
        """Return what synthesis is expected to say of `estimate`.

        Raises ConfigError where `estimate` lacks what this quantity is estimated from.
        """
        raw, features = estimate.of(self.quantity), estimate.features(self.quantity)
        if raw is None or features is None:
            raise ConfigError(f"calibration of {self.quantity}: the design has no estimate of it")
        return self.line.predict(raw, features)

    def as_json(self) -> dict[str, Any]:
        """Return the form in which a calibration is stored."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Calibration":
        """Return the calibration that `as_json` was called on; ConfigError if `stored` is none."""
        try:
            return cls.model_validate(stored)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("calibration", *first["loc"])))
            raise ConfigError(f"{where}: {first['msg']}") from error


def fit(designs: Sequence[Design], quantity: Quantity) -> Calibration | None:
    """Return the correction of `quantity` that `designs` support, whatever their order.

    Designs that lack the estimate or the figure of `quantity` say nothing about it, and designs
    with the same estimate and figure are one; None if fewer than MIN_DESIGNS are left.

    `beats_raw` asks for more than a smaller error: where an estimate has no bias, 8 to 40 designs
    give a correction the smaller error by luck in 17 to 27 % of simulated cases. The gain in error,
    averaged over the designs, must exceed its own standard error (the one-standard-error rule;
    Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3), which leaves 2 to 8 %.
    """
    usable = _distinct(designs, quantity)
    if len(usable) < MIN_DESIGNS:
        return None
    raw_errors, errors, held = [], [], 0
    for known, prediction in _leave_one_out(usable):
        raw_errors.append(abs(known.raw / known.said - 1))
        errors.append(abs(prediction.value / known.said - 1))
        held += prediction.low <= known.said <= prediction.high
    gains = [raw - corrected for raw, corrected in zip(raw_errors, errors, strict=True)]
    return Calibration(
        quantity=quantity,
        designs=len(usable),
        raw_error=fmean(raw_errors),
        error=fmean(errors),
        coverage=held / len(usable),
        beats_raw=fmean(gains) > stdev(gains) / math.sqrt(len(gains)),
        line=_fit_line(usable),
    )


def leave_one_out(designs: Sequence[Design], quantity: Quantity) -> list[tuple[Design, Prediction]]:
    """Return each distinct design that says something of `quantity`, with what the others predict.

    Empty if they are fewer than MIN_DESIGNS.
    """
    usable = _distinct(designs, quantity)
    if len(usable) < MIN_DESIGNS:
        return []
    return [(known.design, prediction) for known, prediction in _leave_one_out(usable)]


class _Known(NamedTuple):
    """What one design says of one quantity; the numbers first, since they are what is sorted by."""

    raw: float
    said: float
    features: tuple[float, ...]
    design: Design


def _leave_one_out(usable: list[_Known]) -> Iterator[tuple[_Known, Prediction]]:
    for n, known in enumerate(usable):
        line = _fit_line(usable[:n] + usable[n + 1 :])
        yield known, line.predict(known.raw, known.features)


def _fit_line(usable: list[_Known]) -> Line:
    z = np.array([known.features for known in usable])
    ratios = np.array([math.log(known.said / known.raw) for known in usable])
    centre = z.mean(axis=0)
    x = np.column_stack([np.ones(len(z)), z - centre])
    prior = np.diag([_OFFSET_WEIGHT] + [_SLOPE_WEIGHT] * z.shape[1])
    spread = np.linalg.inv(x.T @ x + prior)
    weights = spread @ x.T @ ratios
    residuals = ratios - x @ weights
    freedom = _NOISE_DESIGNS + len(z) - float(np.trace(x @ spread @ x.T))
    variance = (_NOISE_DESIGNS * _NOISE**2 + float(residuals @ residuals)) / freedom
    return Line(
        offset=weights[0],
        slopes=tuple(weights[1:]),
        centre=tuple(centre),
        lowest=tuple(z.min(axis=0)),
        highest=tuple(z.max(axis=0)),
        spread=tuple(map(tuple, spread)),
        noise=math.sqrt(variance),
        freedom=freedom,
    )


def _distinct(designs: Sequence[Design], quantity: Quantity) -> list[_Known]:
    """Return what `designs` say of `quantity`, repeats dropped, in an order of its own."""
    if quantity not in FEATURES:
        raise ConfigError(f"calibration.quantity: {quantity!r} is none of {', '.join(FEATURES)}")
    kept: dict[tuple[float, float, tuple[float, ...]], Design] = {}
    for design in designs:
        raw, features = design.estimate.of(quantity), design.estimate.features(quantity)
        said: float | None = getattr(design, quantity)
        if raw is not None and said is not None and features is not None:
            kept.setdefault((raw, said, features), design)
    return [_Known(*key, kept[key]) for key in sorted(kept)]


def _student_quantile(probability: float, freedom: float) -> float:
    """Return Student's quantile at real `freedom`, by the Cornish-Fisher expansion about the normal.

    Abramowitz and Stegun, "Handbook of Mathematical Functions", eq. 26.7.5; at the 0.95 used here
    and 5 degrees of freedom or more it is within 0.001.
    """
    x = NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / freedom**order for order, term in enumerate(terms, 1))
