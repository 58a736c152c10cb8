"""What searches are worth: known answers by hand, and what holds for any students."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.search.curves import (
    MOST_LUT,
    MOST_NS,
    REFERENCE_AUC,
    Band,
    Step,
    band,
    chosen_front,
    common_levels,
    core_seconds_to,
    curve,
    front_on_test,
    gap,
    hypervolume,
    lut_for,
    median_core_seconds,
    value_at,
)
from tests.benchmarks.search.measured import STUDY_FILE, Measured


def student(
    validation: float, lut: float, *, at: float = 1.0, test: float | None = None, latency_ns: float = 25.0
) -> Measured:
    return Measured(at, validation, validation if test is None else test, lut, latency_ns)


# ---- by hand ------------------------------------------------------------------------------------


def test_limits_are_those_of_the_study() -> None:
    file = yaml.safe_load(STUDY_FILE.read_text())
    assert file["reference_point"] == [REFERENCE_AUC, MOST_LUT]
    assert file["constraints"] == {"latency_ns": {"max": MOST_NS}, "lut": {"max": MOST_LUT}}


def test_one_point_is_a_rectangle() -> None:
    assert hypervolume([student(0.5, 2000, test=0.9)]) == pytest.approx(0.1 * 1), "0.1 of AUC, one decade"


def test_two_points_are_two_rectangles() -> None:
    front = [student(0.85, 200), student(0.95, 2000)]
    assert hypervolume(front) == pytest.approx(0.05 * 2 + 0.10 * 1)


def test_what_is_no_better_than_the_reference_is_worth_nothing() -> None:
    assert hypervolume([]) == 0
    assert hypervolume([student(REFERENCE_AUC, 10)]) == 0
    assert hypervolume([student(0.99, MOST_LUT)]) == 0
    assert hypervolume([student(0.55, 10)]) == 0


def test_what_loses_on_validation_does_not_count_though_it_is_best_on_test() -> None:
    chosen, best_on_test = student(0.90, 2000, test=0.85), student(0.89, 2000, test=0.99)
    assert chosen_front([best_on_test, chosen]) == [chosen]
    assert hypervolume(chosen_front([best_on_test, chosen])) == pytest.approx(0.05)


def test_a_lucky_student_makes_a_search_worth_less() -> None:
    good, lucky = student(0.90, 2000, test=0.90, at=1), student(0.91, 2000, test=0.85, at=2)
    assert [step.core_seconds for step in curve([good, lucky])] == [1, 2]
    assert [step.hypervolume for step in curve([good, lucky])] == pytest.approx([0.10, 0.05])


@pytest.mark.parametrize(
    "useless",
    [
        student(0.99, math.nextafter(MOST_LUT, math.inf)),
        student(0.99, 100, latency_ns=MOST_NS + 6.25),
        student(0.99, 0),
    ],
    ids=["too large", "too slow", "dead"],
)
def test_what_does_not_fit_is_ignored(useless: Measured) -> None:
    good = student(0.9, 2000, at=2)
    assert chosen_front([useless, good]) == [good]
    assert curve([useless, good]) == [Step(2, hypervolume([good]))]
    assert curve([useless]) == []


def test_a_student_at_its_limits_fits() -> None:
    limit = student(0.9, MOST_LUT, latency_ns=MOST_NS)
    assert chosen_front([limit]) == [limit]


def test_of_equals_the_first_found_is_chosen() -> None:
    first, second = student(0.9, 2000, test=0.85, at=1), student(0.9, 2000, test=0.95, at=2)
    assert chosen_front([second, first]) == [first]


STEPS = [Step(10, 0.1), Step(20, 0.3), Step(30, 0.2), Step(40, 0.4)]


@pytest.mark.parametrize(
    ("core_seconds", "value"), [(9.9, 0), (10, 0.1), (19.9, 0.1), (20, 0.3), (35, 0.2), (1e6, 0.4)]
)
def test_a_value_holds_until_the_next_and_the_last_to_the_end(core_seconds: float, value: float) -> None:
    assert value_at(STEPS, core_seconds) == value


@pytest.mark.parametrize(("target", "time"), [(0.05, 10), (0.1, 10), (0.11, 20), (0.35, 40), (0.41, None)])
def test_when_a_target_was_first_reached(target: float, time: float | None) -> None:
    assert core_seconds_to(STEPS, target) == time


def test_a_search_without_students_reaches_nothing() -> None:
    assert core_seconds_to([], 0) is None
    assert value_at([], 1e9) == 0


def test_seeds_that_never_arrive_count_as_endless() -> None:
    assert median_core_seconds([30, None, 10]) == 30
    assert median_core_seconds([30, None, None]) is None
    assert median_core_seconds([10, None]) is None
    assert median_core_seconds([10, 20]) == 15


def test_band_of_three_seeds() -> None:
    curves = [[Step(1, 0.1), Step(4, 0.4)], [Step(2, 0.2)], [Step(3, 0.3)]]
    assert band(curves) == [
        Band(1, 0, 0, 0.1),
        Band(2, 0, 0.1, 0.2),
        Band(3, 0.1, 0.2, 0.3),
        Band(4, 0.2, 0.3, 0.4),
    ]


def test_luts_for_a_test_auc() -> None:
    front = [student(0.85, 500, test=0.86), student(0.88, 900, test=0.84), student(0.9, 2000)]
    assert lut_for(front, 0.84) == 500
    assert lut_for(front, 0.87) == 2000
    assert lut_for(front, 0.91) is None
    assert front_on_test(front) == [front[0], front[2]]


def test_levels_are_quartiles_of_what_both_fronts_cover() -> None:
    one, other = [student(0.82, 100), student(0.90, 900)], [student(0.86, 100), student(0.95, 900)]
    assert common_levels(one, other) == pytest.approx([0.87, 0.88, 0.89])
    assert common_levels(other, one) == common_levels(one, other)
    assert common_levels(one, [student(0.91, 100), student(0.95, 900)]) == []
    assert common_levels(one, []) == []
    dead = [student(0.4, 1), student(0.9, 900)]
    assert common_levels(dead, dead) == pytest.approx([0.825, 0.85, 0.875]), "from the reference up"


def test_gap_is_the_mean_over_the_front() -> None:
    front = [student(0.85, 100, test=0.84), student(0.9, 900, test=0.87), student(0.5, 10, test=0.1)]
    assert gap(front) == pytest.approx(0.02)
    assert gap([]) is None


# ---- any students -------------------------------------------------------------------------------

aucs = st.integers(70, 100).map(lambda cent: cent / 100)
students = st.lists(
    st.builds(
        Measured,
        core_seconds=st.integers(1, 20).map(float),
        validation=aucs,
        test=aucs,
        lut=st.sampled_from([0.0, 20.0, 200.0, 2000.0, MOST_LUT, 30_000.0]),
        latency_ns=st.sampled_from([25.0, 200.0, 250.0]),
    ),
    max_size=30,
)


def fits(one: Measured) -> bool:
    return 0 < one.lut <= MOST_LUT and one.latency_ns <= MOST_NS


def beats(one: Measured, other: Measured) -> bool:
    as_good = one.validation >= other.validation and one.lut <= other.lut
    return as_good and (one.validation, one.lut) != (other.validation, other.lut)


def rectangles(front: Sequence[Measured]) -> float:
    """Return the hypervolume as a sum over test AUC, one slice for each better student."""
    total, below = 0.0, REFERENCE_AUC
    for one in front_on_test(front):
        if one.test > below:
            total += (one.test - below) * math.log10(MOST_LUT / one.lut)
            below = one.test
    return total


@settings(deadline=None)
@given(found=students)
def test_the_front_is_what_its_definition_says(found: list[Measured]) -> None:
    fitting = [one for one in found if fits(one)]
    expected = {(s.validation, s.lut) for s in fitting if not any(beats(other, s) for other in fitting)}
    front = chosen_front(found)
    assert {(s.validation, s.lut) for s in front} == expected
    assert len(front) == len(expected)
    assert all(a.lut < b.lut and a.validation < b.validation for a, b in pairwise(front))


@settings(deadline=None)
@given(found=students)
def test_the_curve_is_the_worth_of_what_was_found_so_far(found: list[Measured]) -> None:
    steps = curve(found)
    assert all(a.core_seconds < b.core_seconds for a, b in pairwise(steps)), "each moment once, in order"
    for at in range(22):
        so_far = chosen_front(one for one in found if one.core_seconds <= at)
        assert value_at(steps, at) == hypervolume(so_far) == pytest.approx(rectangles(so_far))


@settings(deadline=None)
@given(found=students, target=st.floats(0, 1))
def test_a_target_is_reached_at_the_first_step_that_has_it(found: list[Measured], target: float) -> None:
    steps = curve(found)
    time = core_seconds_to(steps, target)
    before = [step for step in steps if time is None or step.core_seconds < time]
    assert all(step.hypervolume < target for step in before)
    assert time is None or value_at(steps, time) >= target


@settings(deadline=None)
@given(seeds=st.lists(students, min_size=1, max_size=4))
def test_the_median_is_within_the_band(seeds: list[list[Measured]]) -> None:
    curves = [curve(found) for found in seeds]
    for each in band(curves):
        values = sorted(value_at(steps, each.core_seconds) for steps in curves)
        assert (each.lowest, each.highest) == (values[0], values[-1])
        assert each.lowest <= each.median <= each.highest


@settings(deadline=None)
@given(found=students)
def test_a_band_of_one_seed_is_its_curve(found: list[Measured]) -> None:
    steps = curve(found)
    assert [(each.core_seconds, each.median) for each in band([steps])] == steps


@settings(deadline=None)
@given(found=students, level=aucs)
def test_luts_are_those_of_a_student_of_the_front(found: list[Measured], level: float) -> None:
    front = chosen_front(found)
    lut = lut_for(front, level)
    enough = [one.lut for one in front_on_test(front) if one.test >= level]
    assert lut == (enough[0] if enough else None)


@settings(deadline=None)
@given(one=students, other=students)
def test_both_fronts_reach_the_common_levels(one: list[Measured], other: list[Measured]) -> None:
    fronts: Any = chosen_front(one), chosen_front(other)
    levels = common_levels(*fronts)
    assert levels == sorted(levels)
    assert all(lut_for(front, level) for front in fronts for level in levels)
