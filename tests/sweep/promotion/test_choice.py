"""Which points are promoted: known answers on fronts made by hand, and what holds for any front."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, create_trial

from sweep.errors import StudyError
from sweep.front import Front, front_of
from sweep.promotion.choice import Chosen, choose, knee_distances
from sweep.study import Study, create_or_resume
from sweep.study_file import Promotion, StudyFile, parse_study

MakePoint = Callable[..., FrozenTrial]
#: Scores count above 0.5, LUT below this.
MOST_LUT = 20_000.0

CONTENT = {
    "study": "by-hand",
    "dataset": {},
    "training": {"epochs": [1, 2]},
    "objectives": ["mean_auc", "lut"],
    "reference_point": [0.5, MOST_LUT],
    "budget": {"trials": 1},
}


def front_with(points: Sequence[tuple[float, float]], **sections: Any) -> Front:
    """Return a front of (AUC, LUT), cheapest first as fronts are; trial n is the n-th."""
    file = parse_study({**CONTENT, **sections}, Path("by-hand.yaml"))
    trials, costs = [], {}
    for number, (auc, lut) in enumerate(sorted(points, key=lambda p: p[1])):
        trial = create_trial(values=[auc, lut], user_attrs={"validation": {"mean_auc": auc}})
        trial.number = number
        trials.append(trial)
        costs[number] = {"lut": lut}
    return Front(cast(Study, Named(file)), trials, area(points), costs)


class Named:
    """A study that is a file and no database."""

    def __init__(self, file: StudyFile) -> None:
        self.file, self.name = file, file.study


def area(points: Sequence[tuple[float, float]]) -> float:
    """Return the area that points dominate up to the reference, strip by strip."""
    inside = [(auc - 0.5, lut) for auc, lut in points if auc > 0.5 and lut < MOST_LUT]
    edges = sorted({lut for _, lut in inside} | {MOST_LUT})
    return sum(
        (right - left) * max(auc for auc, lut in inside if lut <= left)
        for left, right in itertools.pairwise(edges)
    )


def numbers(chosen: list[Chosen]) -> list[int]:
    return [choice.trial.number for choice in chosen]


def by_hypervolume(front: Front, size: int) -> list[int]:
    return numbers(choose(front, Promotion(policy="hypervolume", size=size)))


# ---- hypervolume ------------------------------------------------------------------------------------


def test_the_largest_rectangle_comes_first_then_what_adds_most() -> None:
    # Alone: 0.1 * 19000 = 1900, 0.3 * 16000 = 4800, 0.4 * 10000 = 4000, 0.45 * 2000 = 900.
    # After trial 1: trial 0 adds 0.1 * 3000 = 300, trial 2 0.1 * 10000 = 1000, trial 3 0.15 * 2000 = 300.
    # After trial 2 as well: trial 0 adds 300 still, trial 3 only 0.05 * 2000 = 100.
    front = front_with([(0.6, 1000.0), (0.8, 4000.0), (0.9, 10_000.0), (0.95, 18_000.0)])
    assert by_hypervolume(front, 1) == [1]
    assert by_hypervolume(front, 2) == [1, 2]
    assert by_hypervolume(front, 3) == [1, 2, 0]
    assert by_hypervolume(front, 9) == [1, 2, 0, 3]
    reasons = [c.reason for c in choose(front, Promotion(size=9))]
    shares = [4800 / 6200, 1000 / 6200, 300 / 6200, 100 / 6200]
    assert reasons == [f"adds {share:.1%} of the front's hypervolume" for share in shares]


def test_greedy_takes_the_middle_though_the_two_beside_it_cover_more() -> None:
    # Alone 3800, 4480, 3600; with the middle 5480 or 5520; the outer two 3800 + 0.25 * 8000 = 5800.
    front = front_with([(0.7, 1000.0), (0.82, 6000.0), (0.95, 12_000.0)])
    assert by_hypervolume(front, 2) == [1, 2]
    assert area_of(front, [1, 2]) == pytest.approx(5520)
    assert area_of(front, [0, 2]) == pytest.approx(5800)


def area_of(front: Front, chosen: Sequence[int]) -> float:
    values = [front.values(front.points[i]) for i in chosen]
    return area([(auc, lut) for auc, lut in values])


def test_points_beyond_the_reference_add_nothing_and_are_left() -> None:
    front = front_with([(0.45, 10.0), (0.7, 1000.0), (0.8, 3000.0), (0.99, 25_000.0)])
    assert by_hypervolume(front, 10) == [2, 1]


def test_of_points_that_are_all_beyond_the_reference_one_is_taken() -> None:
    """Somebody who asks for a synthesis gets one."""
    front = front_with([(0.45, 10.0), (0.99, 25_000.0)])
    (chosen,) = choose(front, Promotion(size=5))
    assert chosen.reason == "adds 0.0% of the front's hypervolume"


@st.composite
def fronts(draw: st.DrawFn, most: int = 7) -> list[tuple[float, float]]:
    """Points none of which beats another, some beyond the reference point; the AUC not round in binary."""
    scores = draw(st.lists(st.integers(0, 1000), min_size=1, max_size=most, unique=True))
    costs = draw(st.lists(st.integers(1, 25_000), min_size=len(scores), max_size=len(scores), unique=True))
    return [(0.4 + 0.0006 * s, c / 1.0) for s, c in zip(sorted(scores), sorted(costs), strict=True)]


@settings(max_examples=150, deadline=None)
@given(points=fronts(), size=st.integers(1, 8))
def test_greedy_keeps_its_bound(points: list[tuple[float, float]], size: int) -> None:
    front = front_with(points)
    chosen = by_hypervolume(front, size)
    assert len(set(chosen)) == len(chosen) <= min(size, len(points))

    own = [area_of(front, [i]) for i in range(len(points))]
    assert own[chosen[0]] == pytest.approx(max(own)), "the first has the largest volume of its own"
    covered = [area_of(front, chosen[: n + 1]) for n in range(len(chosen))]
    gains = [after - before for before, after in itertools.pairwise([0.0, *covered])]
    assert all(earlier >= later - 1e-6 for earlier, later in itertools.pairwise(gains)), "most wanted first"
    assert all(gain > 0 for gain in gains[1:]), "none without a reason"

    subsets = itertools.combinations(range(len(points)), min(size, len(points)))
    best = max(area_of(front, subset) for subset in subsets)
    assert covered[-1] >= (1 - 1 / math.e) * best - 1e-9
    if size >= len(points):
        assert covered[-1] == pytest.approx(front.hypervolume)


@settings(max_examples=50, deadline=None)
@given(points=fronts(), size=st.integers(1, 6))
def test_more_points_begin_with_fewer(points: list[tuple[float, float]], size: int) -> None:
    front = front_with(points)
    more = by_hypervolume(front, size + 1)
    assert more[:size] == by_hypervolume(front, size)


# ---- knee -------------------------------------------------------------------------------------------

#: Positions along log LUT of a front whose loss falls as (1 - sqrt(u))^2: the knee is at u = 1/4.
ALONG = np.linspace(0, 1, 9)


def curve(position: float) -> tuple[float, float]:
    """Return (AUC, LUT) on that front, over two decades of LUT."""
    return 0.9 - 0.3 * (1 - math.sqrt(position)) ** 2, 100 * 100**position


def test_the_knee_of_a_known_curve_on_log_cost() -> None:
    front = front_with([curve(u) for u in ALONG])
    chosen = choose(front, Promotion(policy="knee", size=3))
    assert ALONG[chosen[0].trial.number] == 0.25
    assert {float(ALONG[n]) for n in numbers(chosen)} == {0.125, 0.25, 0.375}
    # sqrt(u) + sqrt(v) = 1 at u = v = 1/4: half way to the corner, (1 - 1/2) / sqrt(2) from the line.
    distance = 0.5 / math.sqrt(2)
    assert (
        chosen[0].reason
        == f"{distance:.3f} from the line between the front's ends; the knee has {distance:.3f}"
    )
    # With cost as it is, not its logarithm, it would be another point.
    losses = front.losses()
    plain = knee_distances(losses, np.array([False, False]))
    assert int(np.argmax(plain)) != chosen[0].trial.number


def test_a_single_point_is_its_own_knee() -> None:
    (chosen,) = choose(front_with([(0.8, 100.0)]), Promotion(policy="knee", size=4))
    assert chosen.trial.number == 0
    assert chosen.reason.startswith("0.000 from the line")


def test_on_a_straight_line_all_are_the_knee_and_the_cheapest_comes_first() -> None:
    losses = np.array([[0.0, 1000.0], [-1.0, 2000.0], [-2.0, 4000.0]])  # straight in log cost
    assert knee_distances(losses, np.array([False, True])) == pytest.approx(np.zeros(3), abs=1e-12)
    front = front_with([(0.6, 1000.0), (0.7, 2000.0), (0.8, 4000.0)])
    assert len(choose(front, Promotion(policy="knee", size=2))) == 2


def test_a_cost_that_all_points_share_decides_nothing() -> None:
    two = np.array([[-0.6, 10.0], [-0.85, 30.0], [-0.9, 100.0]])
    three = np.insert(two, 2, 55.0, axis=1)
    kinds = np.array([False, True])
    assert knee_distances(three, np.append(kinds, True)) == pytest.approx(knee_distances(two, kinds))


def test_no_dsp_is_next_to_one_dsp() -> None:
    """A logarithm of next to nothing would put all but the point without DSP at the worst end."""
    losses = np.array([[-0.60, 0.0], [-0.85, 10.0], [-0.88, 100.0], [-0.9, 1000.0]])
    distances = knee_distances(losses, np.array([False, True]))
    assert int(np.argmax(distances)) == 1


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e6), st.floats(1, 1e3)), min_size=1, max_size=8),
    scale=st.floats(1, 1e3),
)
def test_the_knee_does_not_depend_on_the_unit_of_a_cost(
    points: list[tuple[float, float, float]], scale: float
) -> None:
    losses = np.array([[-auc, lut, dsp] for auc, lut, dsp in points])
    costs = np.array([False, True, True])
    distances = knee_distances(losses, costs)
    assert np.isfinite(distances).all()
    other = losses * np.array([1.0, scale, 1.0])
    assert knee_distances(other, costs) == pytest.approx(distances, abs=1e-6)


# ---- budget -----------------------------------------------------------------------------------------


@pytest.fixture
def study_of(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: MakePoint
) -> Callable[..., Study]:
    """Makes a study of (AUC, LUT, changes of its cost)."""

    def make(*points: tuple[float, float, dict[str, Any]], **sections: Any) -> Study:
        study, _ = create_or_resume(storage, study_file(**sections))
        for auc, lut, cost in points:
            trial = point(auc, lut)
            trial.user_attrs["cost"].update(cost)
            study.optuna.add_trial(trial)
        return study

    return make


def under(study: Study, *limits: float, cost: str | None = None) -> list[Chosen]:
    return choose(front_of(study), Promotion(policy="budget", limits=limits, cost=cost))


def test_the_best_under_each_limit(study_of: Callable[..., Study]) -> None:
    study = study_of((0.7, 1000.0, {}), (0.8, 2000.0, {}), (0.9, 4000.0, {}))
    chosen = under(study, 4000, 2000, 3999.9)
    assert numbers(chosen) == [1, 2]
    assert [c.reason for c in chosen] == [
        "best mean_auc with lut at most 2,000; best mean_auc with lut at most 3,999.9",
        "best mean_auc with lut at most 4,000",
    ]
    assert numbers(under(study, 1e9)) == [2]
    assert numbers(under(study, 999, 1000)) == [0], "a limit that none keeps takes none"


def test_nothing_under_a_limit_is_told_in_one_line(study_of: Callable[..., Study]) -> None:
    study = study_of((0.7, 1000.0, {}), (0.8, 2000.0, {}))
    with pytest.raises(
        StudyError, match="no point of the front has lut under any of them; the least is 1,000"
    ):
        under(study, 10, 999)


@pytest.mark.parametrize("cost", ["hls_dsp", "ff", "dsp"])
def test_limits_on_a_cost_that_is_no_objective(study_of: Callable[..., Study], cost: str) -> None:
    study = study_of((0.7, 1000.0, {cost: 5}), (0.8, 2000.0, {cost: 50}), (0.9, 4000.0, {cost: 10}))
    assert numbers(under(study, 5, 49, cost=cost)) == [0, 2]
    with pytest.raises(StudyError, match=rf"has {cost} under any of them; the least is 5$") as refused:
        under(study, 4, cost=cost)
    assert len(str(refused.value).splitlines()) == 1


def test_the_score_is_the_first_that_is_an_objective(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: MakePoint
) -> None:
    study, _ = create_or_resume(storage, study_file(objectives=["lut", "worst_auc", "mean_auc"]))
    for auc, lut in ((0.7, 900.0), (0.8, 1000.0)):
        study.optuna.add_trial(point(auc, lut, values=(lut, auc - 0.01, auc)))
    (chosen,) = under(study, 1000)
    assert (chosen.trial.number, chosen.reason) == (1, "best worst_auc with lut at most 1,000")


@settings(max_examples=60, deadline=None)
@given(points=fronts(), limits=st.lists(st.integers(1, 30_000), min_size=1, max_size=4))
def test_any_limits(points: list[tuple[float, float]], limits: list[int]) -> None:
    front = front_with(points)
    promotion = Promotion(policy="budget", limits=tuple(map(float, limits)))
    expected = {
        max((auc, lut) for auc, lut in points if lut <= limit)
        for limit in limits
        if any(lut <= limit for _, lut in points)
    }
    if not expected:
        with pytest.raises(StudyError):
            choose(front, promotion)
        return
    chosen = choose(front, promotion)
    assert sorted(tuple(front.values(c.trial)) for c in chosen) == sorted(expected)


# ---- named, and nothing at all ----------------------------------------------------------------------


def test_named_points_need_not_be_on_the_front(measured: Study) -> None:
    chosen = choose(front_of(measured), Promotion(policy="named", trials=(3, 6, 2, 3)))
    assert numbers(chosen) == [3, 6, 2], "infeasible, on the front, dominated; in the order of their names"
    assert {c.reason for c in chosen} == {"named"}


@pytest.mark.parametrize("number", [0, 7, 99, 2**40], ids=["a run", "failed", "unknown", "huge"])
def test_a_named_trial_without_a_student_is_refused(measured: Study, number: int) -> None:
    with pytest.raises(StudyError, match=f"trial {number} of study 'hand-made' holds no student"):
        choose(front_of(measured), Promotion(policy="named", trials=(6, number)))


@pytest.mark.parametrize(
    "promotion",
    [Promotion(), Promotion(policy="knee"), Promotion(policy="budget", limits=(1.0,))],
    ids=lambda promotion: promotion.policy,
)
def test_an_empty_front_has_nothing_to_promote(study: Study, promotion: Promotion) -> None:
    with pytest.raises(StudyError, match="study 'hand-made' has no feasible point yet to promote") as refused:
        choose(front_of(study), promotion)
    assert len(str(refused.value).splitlines()) == 1


def test_a_named_point_of_a_study_without_a_front(study: Study, point: MakePoint) -> None:
    study.optuna.add_trial(point(0.9, 100.0, latency_ns=900.0))
    front = front_of(study)
    assert front.points == []
    assert numbers(choose(front, Promotion(policy="named", trials=(0,)))) == [0]
