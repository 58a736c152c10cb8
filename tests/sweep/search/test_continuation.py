"""Runs that go on from a point of the front: which point, with which ramp, and what the study keeps of it."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.config import content_digest
from objectives.recipe import Recipe
from objectives.training import schedule
from objectives.training.trainer import Trainer
from sweep import home
from sweep.errors import StudyError
from sweep.messages import Message, Noticed
from sweep.search.continuation import (
    DRAWN,
    FIRST_BETA,
    FIRST_BETA_OF_EBOPS,
    FIRST_EBOPS,
    LAST_BETA,
    LAST_EBOPS,
    WARM_UP,
    Continuation,
    _ramp,
    chance,
    choose_parent,
    crowding,
    parent_state,
)
from sweep.search.history import STARTS_FROM, History, network_of
from sweep.search.space import SearchSpace
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile
from sweep.worker.worker import Worker

MakeFile = Callable[..., StudyFile]
MakePoint = Callable[..., FrozenTrial]

FINAL = {"low": 1e-7, "high": 1e-2, "log": True}
#: What is searched: all that a run that goes on draws anew, and what it inherits.
SEARCHED: dict[str, Any] = {
    "student": {"hidden": [4, 8]},
    "quantization": {"weights": {"bits": {"low": 3, "high": 8}}},
    "training": {
        "epochs": [20, 30],
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "restarts": [0, 2, 4],
        "exposure_fraction": {"low": 0.1, "high": 0.4},
        "beta": {"initial": 1e-7, "final": FINAL},
    },
}
#: Where no recipe is left after two.
FINITE: dict[str, Any] = {"student": {"hidden": [4, 8]}, "training": {"epochs": 5}}
#: As good as every run goes on, if it may.
ALWAYS = {"share": 0.999, "epochs": 7}


@pytest.fixture
def make_study(storage: RDBStorage, study_file: MakeFile) -> Callable[..., Study]:
    def make(**sections: Any) -> Study:
        return create_or_resume(storage, study_file(**{**SEARCHED, "continuation": ALWAYS, **sections}))[0]

    return make


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study()


PARAMS: dict[str, Any] = {
    "student.hidden": 4,
    "quantization.weights.bits": 5,
    "training.epochs": 30,
    "training.learning_rate": 2e-3,
    "training.restarts": 2,
    "training.exposure_fraction": 0.3,
    "training.beta.final": 1e-3,
}


def add_run(study: Study, params: Mapping[str, Any] = PARAMS, **attributes: Any) -> int:
    """Add a run that ended without a student; return its number."""
    space = study.file.recipe_space()
    params = {name: value for name, value in params.items() if name in space.distributions}
    recipe = space.resolve(params)
    about = {"role": "run", "digest": recipe.digest(), "recipe": recipe.model_dump_json(), **attributes}
    study.optuna.add_trial(
        create_trial(
            state=TrialState.FAIL,
            params=params,
            distributions={name: space.distributions[name] for name in params},
            user_attrs=about,
        )
    )
    return len(study.trials()) - 1


def add(study: Study, point: FrozenTrial) -> int:
    study.optuna.add_trial(point)
    return len(study.trials()) - 1


def choices(study: Study, draws: int, is_compiled: Callable[[Recipe], bool] = lambda _: True) -> Counter[int]:
    """Choose so many parents; return how often each was."""
    space, rng = study.file.recipe_space(), np.random.default_rng(0)
    history = History(study)
    history.refresh()
    chosen = (choose_parent(history, space, is_compiled, rng) for _ in range(draws))
    return Counter(c.parent.number for c in chosen if c is not None)


# ---- which point ----------------------------------------------------------------------------------


def test_parents_are_of_the_feasible_front(study: Study, point: MakePoint) -> None:
    assert choices(study, 3) == {}
    run = add_run(study)
    assert choices(study, 3) == {}, "a run without a student is no point"
    expensive = add(study, point(0.95, 900.0, latency_ns=300.0, parent=run))
    add(study, point(0.94, 950.0, latency_ns=300.0, parent=run))
    assert choices(study, 5) == {expensive: 5}, "without a feasible point, the front of all"
    good = add(study, point(0.90, 4000.0, parent=run))
    assert choices(study, 5) == {good: 5}
    add(study, point(0.90, 5000.0, parent=run))  # dominated
    add(study, point(0.80, 4500.0, parent=run))  # dominated
    add(study, point(0.90, 4000.0, parent=run))  # the same again
    cheap = add(study, point(0.80, 2000.0, parent=run))
    found = choices(study, 60)
    assert found.keys() == {good, cheap}
    assert min(found.values()) > 15


def test_no_run_goes_on_from_what_lies_below_the_reference(
    make_study: Callable[..., Study], point: MakePoint
) -> None:
    study = make_study(reference_point=[0.8, 5000.0])
    run, other = add_run(study), add_run(study, {**PARAMS, "student.hidden": 8})
    low = add(study, point(0.79, 300.0, parent=run))
    dear = add(study, point(0.95, 5001.0, parent=run))
    assert choices(study, 60).keys() == {low, dear}, "there is nothing else"
    good = add(study, point(0.9, 4000.0, parent=run))
    near = add(study, point(0.89, 4000.0, parent=other))
    add(study, point(0.78, 300.0, parent=other))
    assert choices(study, 60).keys() == {good, near}
    best = add(study, point(0.91, 1500.0, parent=run))
    assert choices(study, 5) == {best: 5}, "the front as it is now"


def test_the_end_of_a_run_is_a_point(study: Study, point: MakePoint) -> None:
    number = add_run(study)
    run = study.trials()[number]
    about = {**point(0.9, 4000.0).user_attrs, **run.user_attrs}
    del about["parent"]
    end = add(study, create_trial(values=[0.9, 4000.0], user_attrs=about))
    assert choices(study, 3) == {end: 3}


DRAWS = 400


def close(found: int, share: float) -> bool:
    return abs(found - DRAWS * share) < 5 * math.sqrt(DRAWS * share * (1 - share))


@pytest.mark.parametrize("children", [0, 1, 4])
def test_who_was_a_parent_before_is_chosen_less_often(children: int, study: Study, point: MakePoint) -> None:
    run = add_run(study)
    one, other = (add(study, point(auc, lut, parent=run)) for auc, lut in ((0.9, 4000.0), (0.8, 2000.0)))
    for _ in range(children):
        add_run(study, **{STARTS_FROM: one})
    found = choices(study, DRAWS)
    assert close(found[one], 1 / (children + 2))
    assert found[one] + found[other] == DRAWS


def test_who_is_compiled_is_chosen_more_often(study: Study, point: MakePoint) -> None:
    runs = [add_run(study), add_run(study, {**PARAMS, "student.hidden": 8})]
    one = add(study, point(0.9, 4000.0, parent=runs[0]))
    other = add(study, point(0.8, 2000.0, parent=runs[1]))
    assert close(choices(study, DRAWS, lambda recipe: recipe.student.hidden == 4)[one], 0.8)
    assert close(choices(study, DRAWS, lambda recipe: recipe.student.hidden == 8)[other], 0.8)
    assert close(choices(study, DRAWS, lambda _: False)[one], 0.5)


def test_a_network_that_is_not_far_behind_may_be_gone_on_from(
    make_study: Callable[..., Study], point: MakePoint
) -> None:
    study = make_study(student={"hidden": [4, 6, 8]})
    run, other = add_run(study), add_run(study, {**PARAMS, "student.hidden": 8})
    best = add(study, point(0.9, 3000.0, parent=run))
    add(study, point(0.89, 3100.0, parent=run))  # behind one of its own network
    near = add(study, point(0.9, 4400.0, parent=other))
    add(study, point(0.9, 4450.0, parent=other))
    add(study, point(0.91, 5000.0, latency_ns=300.0, parent=other))  # not feasible
    assert choices(study, 40).keys() == {best, near}
    for _ in range(4):
        add_run(study, **{STARTS_FROM: best})
    found = choices(study, DRAWS)
    assert found[near] > 0.9 * DRAWS, "whose network has been gone on from less often"
    far = add_run(study, {**PARAMS, "student.hidden": 6})
    add(study, point(0.9, 4600.0, parent=far))
    assert choices(study, 60).keys() <= {best, near}, "more than NEAR of what the front costs"


def test_points_that_are_nearly_the_same_share_their_chance(study: Study, point: MakePoint) -> None:
    run = add_run(study)
    lone = add(study, point(0.8, 1000.0, parent=run))
    crowd = {add(study, point(0.9 + n * 1e-5, 4000.0 + n, parent=run)) for n in range(20)}
    found = choices(study, DRAWS)
    assert found[lone] > DRAWS / 4
    assert sum(found[each] for each in crowd) > DRAWS / 4


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12, unique=True), st.floats(1e-3, 1e3))
def test_room_on_a_front_has_no_unit_and_no_order(values: list[int], scale: float) -> None:
    front = np.array([[value, -value] for value in values], float)
    room = crowding(front)
    assert (room > 0).all()
    np.testing.assert_allclose(crowding(front * [scale, 1.0]), room)
    np.testing.assert_allclose(crowding(front[::-1]), room[::-1])


# ---- the ramp and the recipe ----------------------------------------------------------------------

betas = st.floats(-9, 0).map(lambda exponent: 10.0**exponent)


@given(st.tuples(betas, betas).map(sorted), betas, st.integers(0, 2**32))
def test_a_ramp_goes_up_inside_what_is_searched(ends: list[float], beta: float, seed: int) -> None:
    low, high = ends
    final = {"low": low, "high": high, "log": True} if low < high else low
    space = SearchSpace.parse({"training": {"beta": {"initial": low, "final": final}}})
    first, last = _ramp(beta, "log-ramp", 1.0, space, np.random.default_rng(seed))
    assert first <= last
    if low < high:
        assert low <= first
        assert last <= high
        if low <= beta <= high:
            assert first <= beta <= last, "back to its parent's beta, and past it"
    if (low < high and low <= first and last < high) or low == high:
        assert first == low or FIRST_BETA[0] * 0.999 <= first / beta <= FIRST_BETA[1] * 1.001
        assert last in (low, 1.0) or LAST_BETA[0] * 0.999 <= last / beta <= LAST_BETA[1] * 1.001
    assert 0 < last <= 1, "a recipe may have it"


@given(betas, st.integers(0, 2**32))
def test_any_point_of_a_ramp_is_of_the_space(beta: float, seed: int) -> None:
    space = SearchSpace.parse({"training": {"beta": {"initial": 1e-7, "final": FINAL}}})
    first, last = _ramp(min(max(beta, 1e-7), 1e-2), "log-ramp", 1.0, space, np.random.default_rng(seed))
    params = space.params_at_beta({}, last)
    assert params is not None
    continuation = Continuation(create_trial(value=0.0), params, first, last)
    recipe = continuation.continued(space.resolve(params), 9)
    for epoch in range(9):
        at = schedule.beta(recipe.training.beta, epoch, 9)
        harvested = space.params_at_beta(params, at)
        assert harvested is not None
        space.resolve(harvested)
        create_trial(value=0.0, params=harvested, distributions=space.distributions)


@given(st.tuples(betas, betas).map(sorted), betas, st.integers(0, 2**32))
def test_an_ebops_ramp_begins_below_its_parents_beta(ends: list[float], beta: float, seed: int) -> None:
    low, high = ends
    beta = min(max(beta, low), high)
    for final in ({"low": low, "high": high, "log": True}, high) if low < high else (high,):
        content = {"schedule": "ebops-ramp", "initial": low, "final": final}
        space = SearchSpace.parse({"training": {"beta": content}})
        first, last = _ramp(beta, "ebops-ramp", high, space, np.random.default_rng(seed))
        assert first <= last == high
        small, large = FIRST_BETA_OF_EBOPS
        assert first == low or small * 0.999 <= first / beta <= large * 1.001


def test_ebops_go_from_above_the_parents_to_next_to_nothing() -> None:
    ramp = {"schedule": "ebops-ramp", "initial": 1e-5, "final": 1e-2}
    drawn = Recipe.model_validate({"training": {"beta": ramp}})
    parent = create_trial(value=0.0, user_attrs={"cost": {"ebops": 500}})
    beta = Continuation(parent, {}, 2e-6, 1e-2).continued(drawn, 9).training.beta
    assert (beta.schedule, beta.initial, beta.final, beta.warm_up) == ("ebops-ramp", 2e-6, 1e-2, 0.0)
    assert (beta.first_ebops, beta.last_ebops) == (500 * FIRST_EBOPS, 500 * LAST_EBOPS)
    assert beta.first_ebops > 500 > beta.last_ebops


def continuation(first: float = 2e-6, last: float = 3e-5) -> Continuation:
    return Continuation(create_trial(value=0.0), {}, first, last)


@pytest.mark.parametrize("final", [1e-6, 3e-3])
def test_a_constant_beta_stays_constant(final: float) -> None:
    drawn = Recipe.model_validate({"training": {"beta": {"schedule": "constant", "final": final}}})
    continued = continuation().continued(drawn, 9)
    assert {schedule.beta(continued.training.beta, epoch, 9) for epoch in range(9)} == {final}
    assert continued.training.beta == drawn.training.beta
    assert continued.training.epochs == 9


def test_all_but_epochs_and_ramp_is_as_drawn() -> None:
    drawn = Recipe.model_validate(
        {
            "student": {"hidden": 5},
            "training": {"epochs": 90, "batch": 64, "learning_rate": 0.02, "restarts": 3, "loss": "mse"},
        }
    )
    continued = continuation().continued(drawn, 9)
    assert (continued.student, continued.quantization) == (drawn.student, drawn.quantization)
    training, beta = continued.training, continued.training.beta
    assert (training.epochs, beta.schedule) == (9, "log-ramp")
    assert (beta.initial, beta.final, beta.warm_up) == (2e-6, 3e-5, WARM_UP)
    assert training.model_copy(update={"epochs": 90, "beta": drawn.training.beta}) == drawn.training
    assert Recipe.model_validate_json(continued.model_dump_json()) == continued


# ---- what a worker begins -------------------------------------------------------------------------


@pytest.fixture
def said() -> list[Message]:
    return []


@pytest.fixture
def begin(said: list[Message]) -> Callable[[Study], FrozenTrial | None]:
    """Claims the next slot and begins its run, without training it."""

    def next_trial(study: Study) -> FrozenTrial | None:
        worker = Worker(study, said.append)
        worker.history.refresh()
        claim = worker.slots.claim(1000)
        assert claim is not None
        trial = worker._trial_of(claim)
        if trial is None:
            worker.slots.finish(claim, lambda _: None)
        return trial

    return next_trial


Begin = Callable[[Study], FrozenTrial | None]


def test_a_run_inherits_what_it_does_not_draw(study: Study, point: MakePoint, begin: Begin) -> None:
    run = add_run(study)
    parent = add(study, point(0.9, 4000.0, parent=run, beta=2e-5))
    space, kept = study.file.recipe_space(), set(PARAMS) - {*DRAWN, "training.beta.final"}
    drawn: list[tuple[Any, ...]] = []
    for _ in range(4):
        trial = begin(study)
        assert trial is not None
        attributes, params = trial.user_attrs, trial.params
        assert attributes[STARTS_FROM] == parent
        recipe = Recipe.model_validate_json(attributes["recipe"])
        without_ramp = space.resolve(params)  # all parameters are there, and in their domains
        assert {name: params[name] for name in kept} == {name: PARAMS[name] for name in kept}
        assert recipe.student == without_ramp.student
        assert recipe.training.epochs == ALWAYS["epochs"]
        assert 2e-6 <= recipe.training.beta.initial <= 2e-5
        assert 4e-5 <= recipe.training.beta.final <= 2e-4
        assert params["training.beta.final"] == recipe.training.beta.final
        design = study.trials()[parent].user_attrs["design"]
        assert attributes["digest"] == content_digest([recipe.digest(), design])
        drawn.append((recipe.training.beta.initial, *(params[name] for name in DRAWN)))
    for index, name in enumerate(("initial beta", *DRAWN)):
        assert len({values[index] for values in drawn}) > 1, f"{name} is another in each run"
    digests = [run.user_attrs["digest"] for run in study.runs()]
    assert len(set(digests)) == len(digests)


def test_a_fresh_run_and_one_that_goes_on_never_share_a_digest(
    make_study: Callable[..., Study], point: MakePoint, begin: Begin
) -> None:
    """The very same recipe, but for the student that it starts from."""
    constant = {"training": {"epochs": 7, "beta": {"schedule": "constant"}}}
    study = make_study(student={"hidden": 4}, quantization={"weights": {"bits": [4, 5]}}, **constant)
    run = add_run(study, {"quantization.weights.bits": 4})
    add(study, point(0.9, 4000.0, parent=run, design="one"))
    trial = begin(study)
    assert trial is not None
    recipe = Recipe.model_validate_json(trial.user_attrs["recipe"])
    assert recipe.model_dump_json() == study.trials()[run].user_attrs["recipe"]
    assert trial.user_attrs["digest"] != study.trials()[run].user_attrs["digest"]
    add(study, point(0.95, 3000.0, parent=run, design="other"))
    again = begin(study)
    assert again is not None
    assert again.user_attrs["recipe"] == trial.user_attrs["recipe"]
    assert again.user_attrs["digest"] != trial.user_attrs["digest"]


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_share_of_runs_goes_on(
    share: float, make_study: Callable[..., Study], point: MakePoint, begin: Begin
) -> None:
    study = make_study(continuation={"share": share})
    assert STARTS_FROM not in begin(study).user_attrs, "there is no front yet"  # type: ignore[union-attr]
    run, going_on = add_run(study), 0
    for number in range(30):
        add(study, point(0.9 + number / 1000, 4000.0, parent=run))  # one that no run has gone on from yet
        trial = begin(study)
        assert trial is not None
        going_on += STARTS_FROM in trial.user_attrs
    assert going_on == 0 if share == 0 else 5 < going_on < 25


shares = st.floats(0.0, 0.99)
freshnesses = st.floats(0.01, 1.0)


@given(shares, freshnesses)
def test_the_odds_of_going_on_fall_with_freshness(share: float, freshness: float) -> None:
    now, fresh = chance(share, freshness), chance(share, 1.0)
    assert fresh == pytest.approx(share)
    assert now / (1 - now) == pytest.approx(freshness * fresh / (1 - fresh))


def test_a_front_is_used_up_by_its_children_and_fresh_by_what_is_new(study: Study, point: MakePoint) -> None:
    def freshness() -> float:
        history = History(study)
        history.refresh()
        return history.freshness()

    run = add_run(study)
    assert freshness() == 1
    one = add(study, point(0.9, 4000.0, parent=run))
    assert freshness() == 1
    add_run(study, **{STARTS_FROM: one})
    add_run(study, **{STARTS_FROM: one})
    assert freshness() == pytest.approx(1 / 3)
    add(study, point(0.8, 2000.0, parent=run))
    assert freshness() == pytest.approx((1 / 3 + 1) / 2)
    add(study, point(0.95, 1500.0, parent=run))
    assert freshness() == 1, "what was used up is no longer on the front"


@pytest.mark.parametrize("whole", [True, False])
def test_new_runs_ramp_through_all_that_is_searched(
    make_study: Callable[..., Study], begin: Begin, whole: bool
) -> None:
    study = make_study(harvest={"whole_ramps": whole}, continuation={"share": 0.0})
    trials = [begin(study) for _ in range(4)]
    ends = {trial.params["training.beta.final"] for trial in trials if trial is not None}
    assert (ends == {FINAL["high"]}) == whole
    assert len(ends) == (1 if whole else 4)


def test_what_has_no_ramp_of_its_own_is_drawn() -> None:
    def ramp(beta: Mapping[str, Any]) -> dict[str, Any]:
        return SearchSpace.parse({"training": {"beta": {"initial": 1e-7, **beta}}}).whole_ramp()

    assert ramp({"final": FINAL}) == {"training.beta.final": 1e-2}
    assert ramp({"final": 1e-3}) == ramp({"final": [1e-3, 1e-2]}) == {}
    assert ramp({"schedule": ["log-ramp", "constant"], "final": FINAL}) == {}


GRANULARITIES = {part: {"granularity": ["parameter", "channel"]} for part in ("weights", "data")}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_new_runs_try_every_network_before_they_repeat_one(
    make_study: Callable[..., Study], begin: Begin, sampler: str
) -> None:
    """A sampler learns nothing of runs that gave no point, and would draw what it likes again and again."""
    searched = {"student": {"hidden": [2, 3, 4]}, "quantization": GRANULARITIES}
    study = make_study(**searched, sampler={"name": sampler}, continuation={"share": 0.0})
    assert study.file.recipe_space().networks() == 12
    networks = []
    for _ in range(14):
        trial = begin(study)
        assert trial is not None
        networks.append(network_of(Recipe.model_validate_json(trial.user_attrs["recipe"])))
    assert len(set(networks[:9])) == 9, "the last few of a small space may be missed"


def test_a_study_of_one_network_draws_it_again(make_study: Callable[..., Study], begin: Begin) -> None:
    study = make_study(student={"hidden": 4}, continuation={"share": 0.0})
    assert study.file.recipe_space().networks() == 1
    digests = {trial.user_attrs["digest"] for _ in range(4) if (trial := begin(study)) is not None}
    assert len(digests) == 4


def test_first_runs_are_as_the_study_says(
    make_study: Callable[..., Study], point: MakePoint, begin: Begin
) -> None:
    first = [{"student.hidden": 8, "training.learning_rate": 5e-3}, PARAMS, {}]
    study = make_study(sampler={"first": first})
    # A front that they could go on from.
    add(study, point(0.9, 4000.0, parent=add_run(study, {**PARAMS, "student.hidden": 8})))
    params = []
    for expected in first:
        trial = begin(study)
        assert trial is not None
        assert STARTS_FROM not in trial.user_attrs
        assert expected.items() <= trial.params.items()
        recipe = study.file.recipe_space().resolve(trial.params)
        assert trial.user_attrs["recipe"] == recipe.model_dump_json()
        params.append(trial.params)
    drawn = "training.exposure_fraction"
    assert params[0][drawn] != params[2][drawn], "the rest is drawn"
    assert [p["training.beta.final"] for p in params] == [1e-2, 1e-3, 1e-2], "but for the ramp"
    later = begin(study)
    assert later is not None
    assert STARTS_FROM in later.user_attrs


# ---- a space that is exhausted --------------------------------------------------------------------


def exhausted(make_study: Callable[..., Study], begin: Begin, share: float) -> Study:
    """Return a study all of whose recipes have been begun, afresh."""
    study = make_study(quantization={}, **FINITE, continuation={"share": share, "epochs": 7})
    assert study.file.recipe_space().size() == 2
    trials = [begin(study) for _ in range(2)]
    assert all(trial is not None and STARTS_FROM not in trial.user_attrs for trial in trials)
    return study


def test_where_all_was_tried_runs_go_on(
    make_study: Callable[..., Study], point: MakePoint, begin: Begin
) -> None:
    study = exhausted(make_study, begin, 0.01)
    parent = add(study, point(0.9, 4000.0, parent=0))
    for _ in range(6):
        trial = begin(study)
        assert trial is not None
        assert trial.user_attrs[STARTS_FROM] == parent
    digests = {run.user_attrs["digest"] for run in study.runs()}
    assert len(digests) == 8


def test_where_all_was_tried_and_nothing_goes_on_the_user_is_told(
    make_study: Callable[..., Study], point: MakePoint, begin: Begin, said: list[Message]
) -> None:
    study = exhausted(make_study, begin, 0)
    add(study, point(0.9, 4000.0, parent=0))
    trials = len(study.trials())
    worker = Worker(study, said.append)
    worker.history.refresh()
    claim = worker.slots.claim(1000)
    assert claim is not None
    assert worker._hold(claim)
    assert [m.text for m in said if isinstance(m, Noticed)] == [
        "every configuration of this search space has been tried"
    ]
    assert claim.slot not in worker.slots.open(), "the slot is done"
    assert len(study.trials()) == trials


def test_where_all_was_tried_and_there_is_no_point_nothing_begins(
    make_study: Callable[..., Study], begin: Begin
) -> None:
    study = exhausted(make_study, begin, 0.9)
    assert begin(study) is None


# ---- the student that a run goes on from ----------------------------------------------------------


def small_model(seed: int) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    for variable in model.weights:
        variable.assign(np.random.default_rng(seed).normal(size=variable.shape))
    return model


@pytest.fixture
def saved(study: Study, point: MakePoint, sweep_home: Path) -> Path:
    """The folder of the student of trial 1."""
    add(study, point(0.9, 4000.0, parent=add_run(study), student="0-3-abc"))
    folder = home.students_folder(study.name) / "0-3-abc"
    folder.mkdir(parents=True)
    small_model(1).save(folder / "student.keras")
    return folder


def reader() -> Trainer:
    """Return a trainer of a small model of other weights, that can do no more than read."""
    trainer = Trainer.__new__(Trainer)
    trainer.model = small_model(2)
    return trainer


@pytest.mark.usefixtures("saved")
def test_the_parents_variables_are_read(study: Study) -> None:
    assert parent_state(study, {"role": "run"}, reader()) is None
    state = parent_state(study, {STARTS_FROM: 1}, reader())
    assert state is not None
    assert all((a == b.numpy()).all() for a, b in zip(state, small_model(1).weights, strict=True))


def no_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def no_file(folder: Path) -> None:
    (folder / "student.keras").unlink()


def half_a_file(folder: Path) -> None:
    content = (folder / "student.keras").read_bytes()
    (folder / "student.keras").write_bytes(content[: len(content) // 2])


def another_student(folder: Path) -> None:
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]).save(folder / "student.keras")


@pytest.mark.parametrize("spoil", [no_folder, no_file, half_a_file, another_student])
def test_a_parent_that_is_gone_is_said_in_one_line(
    spoil: Callable[[Path], None], study: Study, saved: Path
) -> None:
    spoil(saved)
    with pytest.raises(StudyError) as refused:
        parent_state(study, {STARTS_FROM: 1}, reader())
    text = str(refused.value)
    assert text.isprintable(), "one line"
    assert text.startswith(f"{saved / 'student.keras'}: the student of trial 1, which a run goes on from")
    assert text.endswith("restore the folder")
