"""How well a student tells signals from zero bias: ROC AUC and efficiency at a trigger rate.

Everything is computed from counts at distinct score values, so ties are exact: a tie between a
signal and a zero-bias event counts one half in the AUC (the Mann-Whitney statistic), and an event
fires the trigger when its score is at or above the threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.errors import DataError

#: Rate of colliding bunches at the LHC, 2544 bunches * 11.245 kHz (Princeton-AD/cicada), in kHz.
BUNCH_RATE_KHZ = 2544 * 11.245
#: CICADA's working point, in kHz.
WORKING_POINT_KHZ = 3.0

#: Zero-bias events above a threshold from which an efficiency there means something.
ENOUGH_PASSING = 30

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Interval:
    """A central bootstrap interval."""

    low: float
    high: float


@dataclass(frozen=True)
class AtRate:
    """Efficiency of each signal at a trigger rate.

    Of the sample's zero-bias events `passing` lie at or above the threshold and `expected` may: a small
    `expected` says that the efficiency rests on few events, `passing` far below it that scores tie.
    """

    rate_khz: float
    expected: float
    passing: int
    efficiency: dict[str, float]

    @property
    def mean_efficiency(self) -> float:
        return float(np.mean(list(self.efficiency.values())))

    def as_json(self) -> dict[str, Any]:
        return {
            "efficiency": self.efficiency,
            "mean_efficiency": self.mean_efficiency,
            "rate_khz": self.rate_khz,
            "expected": self.expected,
            "passing": self.passing,
        }


@dataclass(frozen=True)
class Scores:
    """Scores of one student on one part of a dataset.

    Efficiencies are those `at_rate`, and at other rates where they were asked for. `intervals` holds
    bootstrap intervals by name (`mean_auc`, `worst_auc`, a signal) where they were asked for.
    """

    auc: dict[str, float]
    at_rate: AtRate
    at_other_rates: tuple[AtRate, ...] = ()
    intervals: dict[str, Interval] | None = None

    @property
    def mean_auc(self) -> float:
        return float(np.mean(list(self.auc.values())))

    @property
    def worst_auc(self) -> float:
        return min(self.auc.values())

    def as_json(self) -> dict[str, Any]:
        """Return the form of the `sweep front --json` contract."""
        result: dict[str, Any] = {
            "mean_auc": self.mean_auc,
            "worst_auc": self.worst_auc,
            "auc": self.auc,
            **self.at_rate.as_json(),
            "at_other_rates": [each.as_json() for each in self.at_other_rates],
        }
        if self.intervals is not None:
            result["intervals"] = {name: [x.low, x.high] for name, x in self.intervals.items()}
        return result


def score(
    zero_bias: Floats,
    signals: Mapping[str, Floats],
    *,
    rate_khz: float = WORKING_POINT_KHZ,
    other_rates_khz: Sequence[float] = (),
    bootstraps: int = 0,
    seed: int = 0,
) -> Scores:
    """Score a student from its outputs on zero bias (n,) and on each signal (m,).

    With `bootstraps` > 0, central 68 % intervals come from that many resamplings of the zero-bias
    and of each signal sample. Raises DataError for an empty sample or a value that is not finite.
    """
    for name, values in {"zero bias": zero_bias, **signals}.items():
        if len(values) == 0:
            raise DataError(f"{name}: no events to score; give it at least one")
        if not np.isfinite(values).all():
            raise DataError(f"{name}: scores are not finite; the student or teacher is broken")
    if not signals:
        raise DataError("signals: nothing to score; name at least one signal")

    _, counts = _counts([zero_bias, *signals.values()])
    background, *foregrounds = counts
    auc = {name: float(_auc(background, c)) for name, c in zip(signals, foregrounds, strict=True)}

    def at(rate_khz: float) -> AtRate:
        first, passing = _threshold(background, rate_khz)
        shares = {n: float(c[first:].sum() / c.sum()) for n, c in zip(signals, foregrounds, strict=True)}
        return AtRate(rate_khz, rate_khz / BUNCH_RATE_KHZ * len(zero_bias), passing, shares)

    intervals = _bootstrap(counts, list(signals), bootstraps, seed) if bootstraps else None
    return Scores(auc, at(rate_khz), tuple(map(at, other_rates_khz)), intervals)


@dataclass(frozen=True)
class Efficiency:
    """Mean efficiency of the signals at a trigger rate, and how well a sample knows it.

    `expected` zero-bias events of the sample lie above the threshold in the mean, `passing` do.
    `interval` holds the efficiencies of all thresholds that may have this rate (`efficiency_at`).
    """

    rate_khz: float
    expected: float
    passing: int
    mean: float
    interval: Interval

    def as_json(self) -> dict[str, Any]:
        return {
            "rate_khz": self.rate_khz,
            "expected": self.expected,
            "passing": self.passing,
            "mean_efficiency": self.mean,
            "interval": [self.interval.low, self.interval.high],
        }


def efficiency_at(zero_bias: Floats, signals: Mapping[str, Floats], rate_khz: float) -> Efficiency:
    """Return the mean efficiency at a rate, with a central 68 % interval of its threshold.

    How many events of a sample lie above the threshold of the whole population is binomial, whatever
    their distribution; so order statistics bound that threshold (David and Nagaraja, "Order
    Statistics", 2003, section 7.1). A bootstrap would not do: it never draws an event beyond the highest.
    Where the threshold may lie above all events, the interval begins at 0.
    """
    descending = np.sort(zero_bias)[::-1]
    share = rate_khz / BUNCH_RATE_KHZ
    fewest, most = _binomial_quantiles(len(descending), share, (0.16, 0.84))

    def over(threshold: float) -> float:
        return float(np.mean([(outputs > threshold).mean() for outputs in signals.values()]))

    low = over(descending[fewest - 1]) if fewest else 0.0
    high = over(descending[most]) if most < len(descending) else 1.0
    found = score(zero_bias, signals, rate_khz=rate_khz).at_rate
    return Efficiency(rate_khz, found.expected, found.passing, found.mean_efficiency, Interval(low, high))


def supported_rate(zero_bias: int, rate_khz: float) -> float:
    """Return the lowest rate from `rate_khz` on, in kHz, that leaves `ENOUGH_PASSING` of so many events.

    Rounded up to two digits.

    >>> supported_rate(18_000, 3.0), supported_rate(10_000_000, 3.0)
    (48.0, 3.0)
    """
    needed = min(ENOUGH_PASSING / zero_bias, 1.0) * BUNCH_RATE_KHZ
    if rate_khz >= needed:
        return rate_khz
    digit = 10.0 ** (np.floor(np.log10(needed)) - 1)
    return float(np.ceil(needed / digit) * digit)


def _binomial_quantiles(trials: int, share: float, levels: Sequence[float]) -> list[int]:
    """Return the least numbers of successes whose cumulative probability reaches `levels`."""
    if share >= 1:
        return [trials] * len(levels)
    successes = np.arange(trials)
    steps = np.log((trials - successes) / (successes + 1)) + np.log(share / (1 - share))
    logarithms = trials * np.log1p(-share) + np.concatenate([[0.0], np.cumsum(steps)])
    return [int(k) for k in np.searchsorted(np.cumsum(np.exp(logarithms)), levels)]


def roc(zero_bias: Floats, signal: Floats) -> tuple[Floats, Floats]:
    """Return (false-positive rate, efficiency) at each distinct threshold, from (0, 0) to (1, 1)."""
    _, (background, foreground) = _counts([zero_bias, signal])
    rates = [np.concatenate([[0.0], np.cumsum(c[::-1]) / c.sum()]) for c in (background, foreground)]
    return rates[0], rates[1]


def _counts(samples: Sequence[Floats]) -> tuple[Floats, list[NDArray[np.int64]]]:
    """Return the distinct values (u,) of all samples, ascending, and each sample's counts there."""
    values, inverse = np.unique(np.concatenate(samples), return_inverse=True)
    borders = np.cumsum([len(s) for s in samples])[:-1]
    return values, [np.bincount(part, minlength=len(values)) for part in np.split(inverse, borders)]


def _auc(background: NDArray[Any], foreground: NDArray[Any]) -> NDArray[np.float64]:
    """AUC from counts (..., u) at ascending scores; leading axes are resamplings."""
    below = np.cumsum(background, axis=-1) - background
    wins = ((below + 0.5 * background) * foreground).sum(axis=-1)
    return np.asarray(wins / (background.sum(axis=-1) * foreground.sum(axis=-1)), np.float64)


def _threshold(background: NDArray[np.int64], rate_khz: float) -> tuple[int, int]:
    """Return the index of the lowest threshold whose rate is not above `rate_khz`, and who passes."""
    allowed = rate_khz / BUNCH_RATE_KHZ * background.sum()
    at_or_above = np.cumsum(background[::-1])[::-1]
    first = int(np.searchsorted(-at_or_above, -allowed, side="left"))
    return first, int(background[first:].sum())


def _bootstrap(
    counts: list[NDArray[np.int64]], names: list[str], number: int, seed: int
) -> dict[str, Interval]:
    rng = np.random.default_rng(seed)
    resampled = [rng.multinomial(c.sum(), c / c.sum(), size=number) for c in counts]
    aucs = np.stack([_auc(resampled[0], foreground) for foreground in resampled[1:]])
    values = {
        "mean_auc": aucs.mean(axis=0),
        "worst_auc": aucs.min(axis=0),
        **dict(zip(names, aucs, strict=True)),
    }
    return {name: Interval(*map(float, np.quantile(v, [0.16, 0.84]))) for name, v in values.items()}
