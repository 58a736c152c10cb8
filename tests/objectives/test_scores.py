"""Scores are counts: every tie, every threshold and every interval is the one that counting gives."""

from collections.abc import Mapping
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.errors import DataError
from objectives.scores import (
    BUNCH_RATE_KHZ,
    Interval,
    _binomial_quantiles,
    efficiency_at,
    roc,
    score,
    supported_rate,
)

quick = settings(max_examples=150, deadline=None)

Floats = NDArray[np.float64]


def samples(max_size: int = 30) -> st.SearchStrategy[Floats]:
    """Scores with many ties: few distinct values, in the steps of 1/256 that leave the chip."""
    steps = st.integers(0, 12).map(lambda n: n / 256) | st.integers(0, 2**16 - 1).map(lambda n: n / 256)
    return st.lists(steps, min_size=1, max_size=max_size).map(np.array)


def pairs_won(zero_bias: Floats, signal: Floats) -> float:
    """Return the AUC by looking at every pair."""
    wins = sum((s > z) + 0.5 * (s == z) for s in signal for z in zero_bias)
    return float(wins / (len(signal) * len(zero_bias)))


# ---- area under the curve -----------------------------------------------------------------------


@quick
@given(samples(), samples())
def test_auc_is_the_share_of_pairs_won(zero_bias: Floats, signal: Floats) -> None:
    assert score(zero_bias, {"tt": signal}).auc["tt"] == pytest.approx(
        pairs_won(zero_bias, signal), abs=1e-12
    )


@quick
@given(samples(), samples())
def test_auc_and_its_mirror_make_one(zero_bias: Floats, signal: Floats) -> None:
    there, back = score(zero_bias, {"tt": signal}), score(signal, {"tt": zero_bias})
    assert there.auc["tt"] + back.auc["tt"] == pytest.approx(1, abs=1e-12)


@quick
@given(samples(), samples(), samples(), st.sampled_from([0.0, 100.0, 3000.0, 28_000.0]))
def test_only_the_order_of_scores_counts(zero_bias: Floats, one: Floats, two: Floats, rate: float) -> None:
    plain = score(zero_bias, {"one": one, "two": two}, rate_khz=rate)
    for rising in (np.exp2, lambda x: 3 * x - 1000, lambda x: x**3 + x):
        mapped = score(rising(zero_bias), {"one": rising(one), "two": rising(two)}, rate_khz=rate)
        assert mapped == plain


@quick
@given(samples(), samples())
def test_the_area_below_the_roc_is_the_auc(zero_bias: Floats, signal: Floats) -> None:
    rate, efficiency = roc(zero_bias, signal)
    assert (rate[0], efficiency[0], rate[-1], efficiency[-1]) == (0, 0, 1, 1)
    assert (np.diff(rate) >= 0).all()
    assert (np.diff(efficiency) >= 0).all()
    area = np.sum(np.diff(rate) * (efficiency[1:] + efficiency[:-1]) / 2)
    assert area == pytest.approx(score(zero_bias, {"tt": signal}).auc["tt"], abs=1e-12)


@pytest.mark.parametrize(
    ("zero_bias", "signal", "auc"),
    [
        ([1, 2], [3, 4], 1.0),
        ([3, 4], [1, 2], 0.0),
        ([5, 5, 5], [5], 0.5),
        ([0, 1, 1, 2], [1], 0.5),
        ([0, 1], [1], 0.75),
    ],
)
def test_known_areas(zero_bias: list[float], signal: list[float], auc: float) -> None:
    assert score(np.array(zero_bias), {"tt": np.array(signal)}).auc == {"tt": auc}


def test_signals_are_summed_up_by_mean_and_worst() -> None:
    zero_bias = np.array([0.0, 1.0])
    scores = score(zero_bias, {"a": np.array([2.0]), "b": np.array([1.0]), "c": np.array([-1.0])})
    assert scores.auc == {"a": 1.0, "b": 0.75, "c": 0.0}
    assert (scores.mean_auc, scores.worst_auc) == (pytest.approx(1.75 / 3), 0.0)


# ---- efficiency at a trigger rate ---------------------------------------------------------------


def rate_of(passing: float, events: int) -> float:
    """Return the trigger rate in kHz when `passing` of `events` zero-bias events fire."""
    return passing / events * BUNCH_RATE_KHZ


def test_an_event_fires_at_the_threshold() -> None:
    zero_bias = np.arange(10.0)
    # Room for two and a half events: 8 and 9 fire, so the threshold is above 7.
    scores = score(zero_bias, {"tt": np.array([7.0, 8.0, 8.5, 0.0])}, rate_khz=rate_of(2.5, 10))
    assert (scores.at_rate.passing, scores.at_rate.efficiency) == (2, {"tt": 0.5})


def test_the_threshold_is_as_low_as_the_rate_allows() -> None:
    # Between 7 and 8 no zero bias lies, so a signal there costs no rate and fires too.
    zero_bias = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    scores = score(zero_bias, {"tt": np.array([7.5])}, rate_khz=rate_of(2.5, 10))
    assert scores.at_rate.efficiency == {"tt": 1.0}


def test_ties_are_all_in_or_all_out() -> None:
    zero_bias = np.array([0.0] * 95 + [5.0] * 4 + [9.0])
    signal = {"tt": np.array([5.0, 9.0])}
    assert score(zero_bias, signal, rate_khz=rate_of(4.5, 100)).at_rate.passing == 1
    assert score(zero_bias, signal, rate_khz=rate_of(4.5, 100)).at_rate.efficiency == {"tt": 0.5}
    assert score(zero_bias, signal, rate_khz=rate_of(5.5, 100)).at_rate.passing == 5


def test_nothing_fires_where_nothing_may() -> None:
    zero_bias = np.arange(10.0)
    scores = score(
        zero_bias, {"tt": np.array([9.0, 3.0]), "far": np.array([10.0])}, rate_khz=rate_of(0.5, 10)
    )
    assert scores.at_rate.passing == 0
    assert scores.at_rate.efficiency == {"tt": 0.0, "far": 1.0}
    saturated = score(np.full(10, 255.0), {"tt": np.full(4, 255.0)}, rate_khz=rate_of(9.5, 10))
    assert (saturated.at_rate.passing, saturated.at_rate.efficiency) == (0, {"tt": 0.0})


def test_everything_fires_where_everything_may() -> None:
    scores = score(np.arange(10.0), {"tt": np.array([-5.0, 3.0])}, rate_khz=rate_of(10.5, 10))
    assert (scores.at_rate.passing, scores.at_rate.efficiency) == (10, {"tt": 1.0})


@quick
@given(samples(60), samples(), st.floats(0, 1.2))
def test_efficiency_is_the_best_within_the_rate(zero_bias: Floats, signal: Floats, share: float) -> None:
    scores = score(zero_bias, {"tt": signal}, rate_khz=share * BUNCH_RATE_KHZ)
    allowed = share * len(zero_bias)
    assert scores.at_rate.passing <= allowed * (1 + 1e-9)
    # Among all thresholds that keep to the rate, the one with most signal; up to rounding of the share.
    thresholds = [*np.unique(np.concatenate([zero_bias, signal])), np.inf]
    best = {}
    for slack in (1 - 1e-9, 1 + 1e-9):
        within = [t for t in thresholds if (zero_bias >= t).sum() <= allowed * slack]
        best[slack] = max(float((signal >= t).mean()) for t in within)
    assert best[1 - 1e-9] <= scores.at_rate.efficiency["tt"] <= best[1 + 1e-9]


# ---- efficiency with the interval of its threshold ----------------------------------------------


@quick
@given(samples(), samples(), st.floats(0.001, 1.0))
def test_an_efficiency_lies_in_its_interval(zero_bias: Floats, signal: Floats, share: float) -> None:
    found = efficiency_at(zero_bias, {"tt": signal}, share * BUNCH_RATE_KHZ)
    plain = score(zero_bias, {"tt": signal}, rate_khz=share * BUNCH_RATE_KHZ)
    assert (found.mean, found.passing) == (plain.at_rate.mean_efficiency, plain.at_rate.passing)
    assert 0 <= found.interval.low <= found.mean <= found.interval.high <= 1
    assert found.expected == pytest.approx(share * len(zero_bias))


@pytest.mark.parametrize("expected", [1.9, 30])
def test_the_interval_holds_the_efficiency_of_the_population(expected: float) -> None:
    """Of signals that score as zero bias does, a share of rate / 28.6 MHz fires: it must be inside."""
    rng = np.random.default_rng(4)
    events, times = 2000, 400
    rate = expected / events * BUNCH_RATE_KHZ
    signal = np.linspace(0, 1, 200_001)
    inside = 0
    for _ in range(times):
        interval = efficiency_at(rng.random(events), {"tt": signal}, rate).interval
        inside += interval.low <= expected / events <= interval.high
    # 68 % or more, for counts are whole; four standard deviations of so many times.
    assert 0.68 - 0.1 < inside / times < 0.92


def test_where_nothing_may_pass_the_threshold_may_be_beyond_all_events() -> None:
    zero_bias, signal = np.arange(100.0), np.array([50.0, 98.5, 99.5, 200.0])
    found = efficiency_at(zero_bias, {"tt": signal}, 0.001 * BUNCH_RATE_KHZ)
    assert (found.passing, found.mean) == (0, 0.5)
    assert (found.interval.low, found.interval.high) == (0, 0.5)


@quick
@given(st.integers(1, 40), st.floats(0.001, 0.999), st.floats(0.01, 0.99))
def test_quantiles_of_the_binomial_distribution(trials: int, share: float, level: float) -> None:
    chances = [comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(trials + 1)]
    [found] = _binomial_quantiles(trials, share, [level])
    assert sum(chances[:found]) < level + 1e-9
    assert sum(chances[: found + 1]) > level - 1e-9


def test_the_rate_that_events_know() -> None:
    for events in (29, 1000, 18_000, 123_456):
        rate = supported_rate(events, 3.0)
        assert 30 <= rate / BUNCH_RATE_KHZ * events <= 33 or events < 30
    assert supported_rate(1_000_000, 3.0) == 3.0


# ---- intervals ----------------------------------------------------------------------------------


def smeared(seed: int = 0) -> tuple[Floats, dict[str, Floats]]:
    rng = np.random.default_rng(seed)
    signals = {
        name: np.round(rng.normal(shift, 1, 150) * 64) / 64 for name, shift in (("a", 0.5), ("b", 1.5))
    }
    return np.round(rng.normal(0, 1, 400) * 64) / 64, signals


def test_intervals_bracket_the_figure_and_come_again() -> None:
    zero_bias, signals = smeared()
    scores = score(zero_bias, signals, bootstraps=200, seed=5)
    assert scores.intervals is not None
    figures = {"mean_auc": scores.mean_auc, "worst_auc": scores.worst_auc, **scores.auc}
    assert scores.intervals.keys() == figures.keys()
    for name, figure in figures.items():
        assert scores.intervals[name].low < figure < scores.intervals[name].high
    assert score(zero_bias, signals, bootstraps=200, seed=5) == scores
    assert score(zero_bias, signals, bootstraps=200, seed=6).intervals != scores.intervals
    assert score(zero_bias, signals).intervals is None


def test_intervals_are_as_wide_as_samples_scatter() -> None:
    scores = score(*smeared(), bootstraps=400)
    assert scores.intervals is not None
    width = {name: interval.high - interval.low for name, interval in scores.intervals.items()}
    for name in ("a", "b", "mean_auc"):
        again = [score(*smeared(seed)) for seed in range(1, 101)]
        scatter = np.std([s.mean_auc if name == "mean_auc" else s.auc[name] for s in again])
        assert width[name] == pytest.approx(2 * scatter, rel=0.35)


def test_intervals_of_certain_scores_have_no_width() -> None:
    scores = score(np.zeros(20), {"tt": np.ones(5)}, bootstraps=20)
    assert scores.intervals is not None
    assert set(scores.intervals.values()) == {Interval(1.0, 1.0)}


@quick
@given(samples(60), samples(), st.lists(st.floats(0, 1.2), max_size=3))
def test_each_rate_has_efficiencies_of_its_own(
    zero_bias: Floats, signal: Floats, shares: list[float]
) -> None:
    rates = [share * BUNCH_RATE_KHZ for share in shares]
    scores = score(zero_bias, {"tt": signal}, rate_khz=3.0, other_rates_khz=rates)
    alone = [score(zero_bias, {"tt": signal}, rate_khz=rate).at_rate for rate in (3.0, *rates)]
    assert [scores.at_rate, *scores.at_other_rates] == alone
    assert [each.expected for each in alone[1:]] == pytest.approx([s * len(zero_bias) for s in shares])


def test_json_names_every_figure() -> None:
    zero_bias, signals = smeared()
    plain, full = score(zero_bias, signals).as_json(), score(zero_bias, signals, bootstraps=10).as_json()
    assert plain.keys() == {
        *("mean_auc", "worst_auc", "auc", "efficiency", "mean_efficiency", "rate_khz", "expected", "passing"),
        "at_other_rates",
    }
    assert full.keys() - plain.keys() == {"intervals"}
    assert all(len(interval) == 2 and interval[0] <= interval[1] for interval in full["intervals"].values())


# ---- what cannot be scored ----------------------------------------------------------------------

GOOD = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("zero_bias", "signals", "named"),
    [
        (np.array([]), {"tt": GOOD}, "zero bias"),
        (GOOD, {"tt": GOOD, "higgs": np.array([])}, "higgs"),
        (np.array([1.0, np.nan]), {"tt": GOOD}, "zero bias"),
        (GOOD, {"tt": np.array([np.inf, 1.0])}, "tt"),
        (GOOD, {"tt": np.array([1.0, np.nan])}, "tt"),
        (GOOD, {}, "signals"),
    ],
)
def test_what_cannot_be_scored_is_named(zero_bias: Floats, signals: Mapping[str, Floats], named: str) -> None:
    with pytest.raises(DataError, match=f"^{named}: ") as caught:
        score(zero_bias, signals)
    assert "\n" not in str(caught.value)
