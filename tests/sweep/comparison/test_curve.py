"""Reading a front: known answers, the definition of isotonic regression, and no value beyond an end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.comparison.curve import Curve, isotonic

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def curve(*points: tuple[float, float]) -> Curve:
    costs, scores = zip(*points, strict=True)
    return Curve(np.array(costs), np.array([scores]))


def cost(of: Curve, level: float) -> tuple[float, str | None]:
    reading = of.cost_at(np.array([level]))
    return float(reading.values[0]), reading.bound


def score(of: Curve, level: float) -> tuple[float, str | None]:
    reading = of.score_at(np.array([level]))
    return float(reading.values[0]), reading.bound


def test_between_points_costs_go_by_their_logarithm() -> None:
    line = curve((100.0, 0.6), (10_000.0, 0.8))
    assert cost(line, 0.7) == (pytest.approx(1000), None)
    assert score(line, 1000.0) == (pytest.approx(0.7), None)
    assert cost(line, 0.6) == (pytest.approx(100), None)
    assert cost(line, 0.8) == (pytest.approx(10_000), None)


def test_beyond_its_ends_a_curve_bounds_or_says_nothing() -> None:
    line = curve((100.0, 0.6), (10_000.0, 0.8))
    assert cost(line, 0.5) == (100.0, "at most")
    assert cost(line, 0.81) == (np.inf, None)
    assert score(line, 20_000.0) == (0.8, "at least")
    assert score(line, 99.0) == (-np.inf, None)


def test_a_front_of_one_point() -> None:
    one = curve((500.0, 0.7))
    assert cost(one, 0.7) == (500.0, None)
    assert cost(one, 0.71) == (np.inf, None)
    assert score(one, 500.0) == (0.7, None)


def test_a_dip_is_levelled_not_chosen_from() -> None:
    dipped = curve((100.0, 0.6), (200.0, 0.8), (400.0, 0.7), (800.0, 0.9))
    assert score(dipped, 200.0)[0] == pytest.approx(0.75)
    assert score(dipped, 400.0)[0] == pytest.approx(0.75)
    assert cost(dipped, 0.75)[0] == pytest.approx(200)


def test_each_replicate_has_its_own_level() -> None:
    two = Curve(np.array([100.0, 10_000.0]), np.array([[0.6, 0.8], [0.7, 0.8]]))
    assert two.cost_at(np.array([0.7, 0.75])).values == pytest.approx([1000, 1000])


@given(SCORES)
def test_isotonic_regression_keeps_its_promises(values: list[float]) -> None:
    """It increases, keeps the mean, and no step that goes up could be moved to be closer (KKT)."""
    given_, fitted = np.array(values), isotonic(np.array(values))
    assert (np.diff(fitted) >= -1e-12).all()
    assert fitted.mean() == pytest.approx(given_.mean())
    for value in np.unique(fitted.round(12)):
        block = np.isclose(fitted, value, atol=1e-11)
        assert given_[block].mean() == pytest.approx(value, abs=1e-9)
        parts = np.cumsum(given_[block] - value)
        assert (parts >= -1e-9).all(), "the first part of a level stretch lies above it"


@given(SCORES, st.integers(0, 11))
def test_reading_back_gives_the_point(values: list[float], index: int) -> None:
    costs = 100.0 * 2.0 ** np.arange(len(values))
    line = Curve(costs, np.array([np.sort(values)]))
    at = index % len(values)
    level, bound = score(line, costs[at])
    assert bound is None
    assert level == pytest.approx(np.sort(values)[at])
    assert cost(line, level)[0] <= costs[at] * (1 + 1e-9)
