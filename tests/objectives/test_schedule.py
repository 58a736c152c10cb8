"""Beta and the learning rate are what the recipe says, in the first epoch, the last and between."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from objectives.training.config import BetaSchedule, Training
from objectives.training.schedule import ANSWER, FLOOR, LARGEST_ANSWER, RECOVERY, Course, beta, learning_rate


@st.composite
def ramps(draw: st.DrawFn) -> BetaSchedule:
    low, high = sorted(10 ** draw(st.floats(-12, 0)) for _ in range(2))
    return BetaSchedule(initial=low, final=high, warm_up=draw(st.floats(0, 0.99)))


@given(ramps(), st.integers(2, 2000))
def test_a_ramp_goes_from_initial_to_final(ramp: BetaSchedule, epochs: int) -> None:
    values = [beta(ramp, epoch, epochs) for epoch in range(epochs)]
    assert values[0] == ramp.initial
    assert values[-1] == pytest.approx(ramp.final, rel=1e-12)
    assert all(later >= earlier for earlier, later in itertools.pairwise(values))


def test_a_ramp_is_straight_in_the_logarithm_after_the_warm_up() -> None:
    ramp = BetaSchedule(initial=1e-6, final=1e-2, warm_up=0.2)
    values = [beta(ramp, epoch, 11) for epoch in range(11)]
    assert values[:3] == [1e-6] * 3
    steps = [later / earlier for earlier, later in itertools.pairwise(values[2:])]
    assert steps == pytest.approx([10 ** (4 / 8)] * 8)


def test_a_single_epoch_has_the_final_beta() -> None:
    assert beta(BetaSchedule(initial=1e-6, final=1e-2), 0, 1) == pytest.approx(1e-2)


@given(st.integers(1, 500))
def test_constant_is_final_throughout(epochs: int) -> None:
    constant = BetaSchedule(schedule="constant", initial=1e-1, final=1e-4)
    assert {beta(constant, epoch, epochs) for epoch in range(epochs)} == {1e-4}


# ---- beta that follows EBOPs ---------------------------------------------------------------------

FOLLOWING = BetaSchedule(
    schedule="ebops-ramp", initial=1e-5, final=1e-2, warm_up=0.2, first_ebops=10_000, last_ebops=100
)


@given(st.integers(0, 60), st.floats(-5, -2).map(lambda x: 10**x), st.integers(0, 10**7))
def test_an_ebops_ramp_stays_in_its_range_and_takes_small_steps(
    epoch: int, before: float, ebops: int
) -> None:
    now = beta(FOLLOWING, epoch, 61, Course(before, ebops))
    assert 1e-5 <= now <= 1e-2
    if epoch <= 12:
        assert now == 1e-5, "the warm-up"
    else:
        assert 1 / LARGEST_ANSWER * 0.999 <= now / before <= LARGEST_ANSWER * 1.001


def test_an_ebops_ramp_answers_ebops_that_are_off_their_line() -> None:
    def at_half_way(ebops: int) -> float:
        return beta(FOLLOWING, 6, 11, Course(1e-4, ebops)) / 1e-4

    assert at_half_way(1000) == pytest.approx(1), "10,000 to 100, half of the way in the logarithm"
    assert at_half_way(1200) == pytest.approx(1.2**ANSWER)
    assert at_half_way(800) == pytest.approx(0.8**ANSWER)
    assert at_half_way(1_000_000) == LARGEST_ANSWER
    assert at_half_way(0) == 1 / LARGEST_ANSWER


def test_the_first_epoch_of_an_ebops_ramp_has_the_initial_beta() -> None:
    assert beta(FOLLOWING.model_copy(update={"warm_up": 0.0}), 0, 10) == 1e-5


def test_after_a_death_beta_is_a_tenth_and_rises_slowly() -> None:
    course = Course(1e-3, 50_000).died(1e-3)
    found = []
    for epoch in range(20, 26):
        found.append(beta(FOLLOWING, epoch, 61, course))
        course = course.survived(found[-1], 50_000)  # far too many: it would go up by half each time
    assert found == pytest.approx([1e-4 * RECOVERY**n for n in range(6)])
    assert (course.deaths, course.slowdown) == (1, 0.7)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_ebops_that_follow_beta_late_stay_near_their_line(scale: float) -> None:
    """A student whose EBOPs go a fifth of the way, each epoch, to what beta would leave of them."""
    epochs, ebops, course = 60, 50_000.0, Course()
    for epoch in range(epochs):
        now = beta(FOLLOWING, epoch, epochs, course)
        ebops *= (scale * 0.3 / now / ebops) ** 0.2
        course = course.survived(now, round(ebops))
        done = max((epoch - 0.2 * 59) / (0.8 * 59), 0)
        if done > 0.3:
            assert 0.5 < ebops / (10_000 * 0.01**done) < 2


def rates(epochs: int, restarts: int, first: float = 1e-2) -> list[float]:
    training = Training(epochs=epochs, restarts=restarts, learning_rate=first)
    return [learning_rate(training, epoch) for epoch in range(epochs)]


def test_without_restarts_the_rate_is_held() -> None:
    assert set(rates(50, 0)) == {1e-2}


@given(st.integers(1, 400), st.integers(1, 50))
@example(10, 6)  # a cycle of 5/3 epochs, whose third begins with epoch 5
def test_every_restart_begins_at_the_full_rate(epochs: int, restarts: int) -> None:
    values = rates(epochs, restarts)
    for cycle in range(restarts):
        if cycle * epochs % restarts == 0:  # the cycle begins with an epoch
            assert values[cycle * epochs // restarts] == pytest.approx(1e-2)
    assert min(values) >= FLOOR * 1e-2
    assert max(values) == values[0]


@given(st.integers(1, 10), st.integers(2, 40))
def test_cycles_fall_and_are_alike(restarts: int, length: int) -> None:
    values = rates(restarts * length, restarts)
    cycle = values[:length]
    assert all(later < earlier for earlier, later in itertools.pairwise(cycle))
    assert values == pytest.approx(cycle * restarts)


def test_a_cycle_is_a_cosine_down_to_a_hundredth() -> None:
    values = rates(1000, 1)
    assert values[500] == pytest.approx(1e-2 * (1 + FLOOR) / 2)
    assert values[250] - values[500] == pytest.approx(values[500] - values[750])
    assert values[-1] == pytest.approx(FLOOR * 1e-2, rel=1e-3)
