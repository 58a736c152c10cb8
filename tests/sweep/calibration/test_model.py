"""Calibration: laws recovered, intervals that hold what they promise, and nothing learned from noise."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from random import Random
from statistics import fmean, median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.errors import ConfigError
from sweep.calibration.features import FEATURES, Estimate
from sweep.calibration.model import MIN_DESIGNS, Calibration, Design, Quantity, fit, leave_one_out


def design(number: int, estimated: float, said: float) -> Design:
    return Design(f"design {number}", Estimate(estimated), said, None, None, "made up")


def designs_of(law: Callable[[float], float], count: int, noise: float = 0.0, seed: int = 0) -> list[Design]:
    """`count` designs of 600 to 17,000 LUT; `noise` is the standard deviation of the logarithm."""
    draw = np.random.default_rng(seed)
    estimates = np.exp(draw.uniform(math.log(600), math.log(17_000), count))
    factors = np.exp(noise * draw.standard_normal(count))
    return [
        design(n, float(e), law(float(e)) * float(f))
        for n, (e, f) in enumerate(zip(estimates, factors, strict=True))
    ]


def calibrated(designs: list[Design], quantity: Quantity = "lut") -> Calibration:
    found = fit(designs, quantity)
    assert found is not None
    return found


def power_law(estimate: float) -> float:
    return 0.7 * estimate * math.exp(0.15 * math.log(estimate / 4000))


# ---- known answers ------------------------------------------------------------------------------


def test_a_power_law_is_recovered() -> None:
    calibration = calibrated(designs_of(power_law, 30))
    assert calibration.raw_error > 0.4
    assert calibration.error < 0.01
    assert calibration.coverage == 1
    assert calibration.beats_raw
    for estimate in (1000.0, 4000.0, 15_000.0):
        assert calibration.predict(Estimate(estimate)).value == pytest.approx(power_law(estimate), rel=0.02)


def test_where_the_estimate_is_right_it_stays() -> None:
    calibration = calibrated(designs_of(lambda estimate: estimate, 12))
    assert calibration.raw_error == calibration.error == 0
    assert not calibration.beats_raw
    prediction = calibration.predict(Estimate(3000))
    assert prediction.value == pytest.approx(3000)
    assert prediction.low < 2950, "twelve designs on a line do not promise the thirteenth on it"


@pytest.mark.parametrize("count", [8, 15, 40])
@pytest.mark.parametrize(("offset", "slope", "noise"), [(0.0, 0.0, 0.05), (-0.3, 0.15, 0.1), (0.9, 0.0, 0.2)])
def test_nine_in_ten_new_designs_lie_in_the_interval(
    count: int, offset: float, slope: float, noise: float
) -> None:
    def law(estimate: float) -> float:
        return estimate * math.exp(offset + slope * math.log(estimate / 3000))

    held, told = [], []
    for seed in range(40):
        *known, new = designs_of(law, count + 1, noise, seed)
        calibration = calibrated(known)
        prediction = calibration.predict(new.estimate)
        held.append(prediction.low <= new.lut <= prediction.high)
        told.append(calibration.coverage)
    assert 0.78 <= fmean(held) <= 1, "binomial: 0.90 +- 0.05 for 40 trials"
    assert 0.85 <= fmean(told) <= 0.95, "what a calibration says of its own intervals"


@pytest.mark.parametrize("count", [8, 15, 40])
def test_scatter_about_a_right_estimate_is_seldom_taken_for_a_bias(count: int) -> None:
    beaten = [calibrated(designs_of(lambda e: e, count, 0.07, seed)).beats_raw for seed in range(40)]
    assert fmean(beaten) <= 0.15


@pytest.mark.parametrize("count", [8, 15, 40])
def test_a_bias_of_three_times_the_scatter_is_found(count: int) -> None:
    beaten = [calibrated(designs_of(lambda e: 0.8 * e, count, 0.07, seed)).beats_raw for seed in range(20)]
    assert all(beaten)


def test_away_from_the_designs_the_correction_stays_and_the_interval_widens() -> None:
    calibration = calibrated(designs_of(power_law, 20, 0.03))
    largest = math.exp(calibration.line.highest[0])
    edge, *beyond = [calibration.predict(Estimate(largest * factor)) for factor in (1, 3, 10, 100)]
    for factor, prediction in zip((3, 10, 100), beyond, strict=True):
        assert prediction.value / edge.value == pytest.approx(factor)
    widths = [prediction.high / prediction.low for prediction in (edge, *beyond)]
    assert all(after > before for before, after in pairwise(widths))
    line_gone_on = power_law(largest * 10)
    assert beyond[1].low < line_gone_on < beyond[1].high


def test_the_clock_aimed_at_widens_the_interval_of_another_clock() -> None:
    designs = [
        Design(
            d.name,
            Estimate(d.estimate.lut, latency_cycles=4, clock_ns=2.0),
            d.lut,
            None,
            8 * d.lut / d.estimate.lut,
            "",
        )
        for d in designs_of(lambda e: 1.4 * e, 12, 0.1)
    ]
    calibration = calibrated(designs, "latency_ns")
    same = calibration.predict(Estimate(3000, latency_cycles=4, clock_ns=2.0))
    other = calibration.predict(Estimate(3000, latency_cycles=4, clock_ns=6.25))
    assert same.value == pytest.approx(1.4 * 8, rel=0.1)
    assert other.value / 25 == pytest.approx(same.value / 8)
    assert other.high / other.low > same.high / same.low


# ---- properties ---------------------------------------------------------------------------------

sizes = st.floats(100, 100_000)
ratios = st.floats(0.8, 1.25)
some_designs = st.lists(st.tuples(sizes, ratios), min_size=MIN_DESIGNS, max_size=20, unique=True).map(
    lambda pairs: [design(n, size, size * ratio) for n, (size, ratio) in enumerate(pairs)]
)


@given(some_designs, sizes)
def test_predictions_are_positive_and_inside_their_interval(designs: list[Design], size: float) -> None:
    prediction = calibrated(designs).predict(Estimate(size))
    assert 0 < prediction.low < prediction.value < prediction.high < math.inf


@given(some_designs, st.tuples(sizes, sizes).map(sorted))
def test_a_larger_estimate_is_never_predicted_smaller(designs: list[Design], pair: list[float]) -> None:
    smaller, larger = (calibrated(designs).predict(Estimate(size)).value for size in pair)
    assert smaller <= larger * (1 + 1e-9)


@given(some_designs, st.floats(0.1, 10))
def test_the_unit_of_size_does_not_matter(designs: list[Design], unit: float) -> None:
    scaled = [design(n, d.estimate.lut * unit, d.lut * unit) for n, d in enumerate(designs)]
    here, there = calibrated(designs), calibrated(scaled)
    for one, other in zip(designs, scaled, strict=True):
        expected = unit * here.predict(one.estimate).value
        assert there.predict(other.estimate).value == pytest.approx(expected)


@given(some_designs, st.randoms(use_true_random=False))
def test_the_order_of_designs_changes_nothing(designs: list[Design], random: Random) -> None:
    shuffled = list(designs)
    random.shuffle(shuffled)
    assert calibrated(shuffled) == calibrated(designs)
    assert leave_one_out(shuffled, "lut") == leave_one_out(designs, "lut")


@given(some_designs, sizes)
def test_json_holds_a_calibration_exactly(designs: list[Design], size: float) -> None:
    calibration = calibrated(designs)
    again = Calibration.from_json(json.loads(json.dumps(calibration.as_json())))
    assert again == calibration
    assert again.predict(Estimate(size)) == calibration.predict(Estimate(size))


@given(some_designs)
def test_the_figures_told_are_those_of_leave_one_out(designs: list[Design]) -> None:
    calibration, left_out = calibrated(designs), leave_one_out(designs, "lut")
    assert calibration.designs == len(left_out) == len(designs)
    assert calibration.error == pytest.approx(fmean(abs(p.value / d.lut - 1) for d, p in left_out))
    assert calibration.raw_error == pytest.approx(fmean(abs(d.estimate.lut / d.lut - 1) for d, _ in left_out))
    assert calibration.coverage == pytest.approx(fmean(p.low <= d.lut <= p.high for d, p in left_out))


@given(some_designs)
def test_a_design_left_out_does_not_know_itself(designs: list[Design]) -> None:
    first = designs[0]
    changed = [design(0, first.estimate.lut, first.lut * 3), *designs[1:]]
    before = {d.name: p for d, p in leave_one_out(designs, "lut")}
    after = {d.name: p for d, p in leave_one_out(changed, "lut")}
    assert before[first.name] == after[first.name]


def test_one_wild_design_widens_the_intervals_and_moves_the_median_little() -> None:
    designs = designs_of(lambda e: 0.9 * e, 15, 0.03)
    wild = [*designs, design(99, 4000, 8000)]
    before, after = (calibrated(some).predict(Estimate(4000)) for some in (designs, wild))
    assert after.value / before.value < 1.1
    assert after.high / after.low > 1.5 * before.high / before.low


# ---- what there is not --------------------------------------------------------------------------


def test_few_designs_give_nothing() -> None:
    designs = designs_of(power_law, MIN_DESIGNS - 1)
    assert fit(designs, "lut") is None
    assert leave_one_out(designs, "lut") == []
    assert fit([], "lut") is None


def test_one_design_repeated_is_one_design() -> None:
    assert fit([design(n, 1000, 900) for n in range(50)], "lut") is None
    designs = designs_of(power_law, 10, 0.1)
    assert fit(designs + designs[:5], "lut") == fit(designs, "lut")


def test_designs_without_the_estimate_or_the_figure_say_nothing() -> None:
    designs = designs_of(power_law, 10)
    assert fit(designs, "ff") is None
    assert fit(designs, "latency_ns") is None
    half = [
        Design(d.name, Estimate(d.estimate.lut, ff=100 + n), d.lut, 90 + n, None, "")
        for n, d in enumerate(designs)
    ]
    assert calibrated(half + designs_of(power_law, 5, seed=1), "ff").designs == 10


def test_an_estimate_without_registers_has_no_calibrated_registers() -> None:
    designs = [Design(str(n), Estimate(1000 + n, ff=100 + n), 900, 90, None, "") for n in range(10)]
    with pytest.raises(ConfigError, match="^calibration of ff: the design has no estimate of it$"):
        calibrated(designs, "ff").predict(Estimate(1000))


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf])
def test_impossible_figures_are_refused_by_name(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"^estimate\.lut: .* is not a positive, finite number$"):
        Estimate(wrong)
    with pytest.raises(ConfigError, match=r"^estimate\.ff: "):
        Estimate(1000, ff=wrong)
    with pytest.raises(ConfigError, match=r"^design 7-a\.lut: "):
        Design("7-a", Estimate(1000), wrong, None, None, "")
    with pytest.raises(ConfigError, match=r"^design 7-a\.latency_ns: "):
        Design("7-a", Estimate(1000), 900, None, wrong, "")


def test_an_unknown_quantity_is_refused() -> None:
    with pytest.raises(ConfigError, match="'dsp' is none of lut, ff, latency_ns"):
        fit([], "dsp")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"quantity": "dsp"}, "quantity"),
        ({"error": None}, "error"),
        ({"more": 1}, "more"),
        ({"line": {}}, "line.offset"),
    ],
)
def test_stored_json_that_is_no_calibration_is_refused(change: dict[str, object], where: str) -> None:
    stored = calibrated(designs_of(power_law, 10)).as_json()
    with pytest.raises(ConfigError, match=f"^calibration.{where}: "):
        Calibration.from_json({**stored, **change})


# ---- estimates ----------------------------------------------------------------------------------

COST = {
    "lut": 2236.3,
    "ff": 3222,
    "dsp": 0.0,
    "ebops": 4495,
    "latency_cycles": 4,
    "hls_lut": 26052.0,
    "source": "estimated",
}


def test_an_estimate_is_read_from_a_cost() -> None:
    estimate = Estimate.from_cost(COST, 6.25)
    assert estimate == Estimate(2236.3, 3222, 4495, 4, 6.25)
    assert [estimate.of(quantity) for quantity in FEATURES] == [2236.3, 3222, 25.0]


def test_of_an_hls4ml_project_lut_alone_is_estimated() -> None:
    estimate = Estimate.from_cost(COST, 6.25, "hls4ml")
    assert [estimate.of(quantity) for quantity in FEATURES] == [26052.0, None, None]


def test_a_cost_that_is_no_estimate_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="^cost.source: an estimate is calibrated, and this is 'calibrated'$"
    ):
        Estimate.from_cost({**COST, "source": "calibrated"}, 6.25)
    with pytest.raises(ConfigError, match="^cost.ff: missing"):
        Estimate.from_cost({name: value for name, value in COST.items() if name != "ff"}, 6.25)


@pytest.mark.parametrize(("freedom", "tabulated"), [(5, 2.0150), (7, 1.8946), (10, 1.8125), (30, 1.6973)])
def test_intervals_are_as_wide_as_students_table_says(freedom: float, tabulated: float) -> None:
    """Tabulated: Student's 95th percentile. One feature at the centre of designs that are many."""
    line = calibrated(designs_of(power_law, 10)).line
    plain = line.model_copy(update={"spread": ((0.0, 0.0), (0.0, 0.0)), "freedom": freedom, "noise": 0.1})
    prediction = plain.predict(1000, line.centre)
    assert math.log(prediction.high / prediction.value) == pytest.approx(0.1 * tabulated, abs=1e-4)
    assert prediction.value == pytest.approx(math.sqrt(prediction.low * prediction.high))
    assert median([prediction.low, prediction.value, prediction.high]) == prediction.value
