"""Epochs that a study knows better students than are not measured; all that could enter its front are."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from objectives.recipe import Recipe
from objectives.training.trajectory import Snapshot
from sweep.search.history import History
from sweep.search.screening import COST_MARGIN, Known, compared_scores, worth_measuring
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile, parse_study

scores = st.tuples(*[st.integers(0, 4).map(lambda n: n / 4)] * 2)
costs = st.integers(0, 40) | st.integers(0, 10**6)
snapshots = st.builds(Snapshot, st.just(0), st.just(1e-6), st.just(1.0), scores, costs, st.just([]))
points = st.builds(Known, scores, costs, st.booleans())


def snapshot(*of_scores: float, cost: float) -> Snapshot:
    return Snapshot(0, 1e-6, 1.0, of_scores, cost, [])


@given(st.lists(snapshots, max_size=8), st.lists(points, max_size=4))
def test_what_is_ruled_out_is_beaten_or_too_expensive(found: list[Snapshot], known: list[Known]) -> None:
    kept = worth_measuring(found, known)
    assert kept == [s for s in found if any(s is k for k in kept)], "in their order"
    for one in found:
        cheaper = [point for point in known if point.cost <= COST_MARGIN * one.cost]
        better = [p for p in cheaper if all(a >= b for a, b in zip(p.scores, one.scores, strict=True))]
        expensive = [point for point in cheaper if point.too_expensive]
        assert any(one is k for k in kept) == (not better and not expensive)


@given(st.lists(snapshots, max_size=8), st.lists(points, max_size=4), points)
def test_who_knows_more_measures_no_more(found: list[Snapshot], known: list[Known], one: Known) -> None:
    kept = worth_measuring(found, known)
    assert worth_measuring(kept, known) == kept
    assert len(worth_measuring(found, [*known, one])) <= len(kept)
    assert worth_measuring(found, []) == found


@pytest.mark.parametrize("too_expensive", [False, True])
def test_the_front_of_a_study_measured_again_is_kept(too_expensive: bool) -> None:
    """EBOPs and scores of a snapshot are not quite those of its point."""
    known = Known((0.8,), 1000, too_expensive)
    assert not known.rules_out(snapshot(0.8, cost=1000))
    assert not known.rules_out(snapshot(0.8, cost=1050))
    assert known.rules_out(snapshot(0.8, cost=1060))
    assert known.rules_out(snapshot(0.81, cost=1060)) == too_expensive


def test_one_better_score_is_enough() -> None:
    known = Known((0.8, 0.5), 100, too_expensive=False)
    assert not known.rules_out(snapshot(0.7, 0.6, cost=10_000))
    assert not known.rules_out(snapshot(0.9, 0.4, cost=10_000))
    assert known.rules_out(snapshot(0.7, 0.4, cost=10_000))


def test_a_student_that_breaks_a_constraint_on_scores_beats_none_that_keeps_it() -> None:
    file = parse_study(
        {
            "study": "tied",
            "dataset": {"source": {"kind": "pythia"}},
            "objectives": ["mean_auc", "lut"],
            "constraints": {"efficiency@48kHz": {"min": 0.2}},
            "budget": {"trials": 1},
        },
        Path("tied.yaml"),
    )

    def compared(auc: float, efficiency: float) -> tuple[float, ...]:
        at_rates = [{"rate_khz": 48.0, "mean_efficiency": efficiency}]
        about = {"mean_auc": auc, "rate_khz": 3.0, "mean_efficiency": 0.0, "at_other_rates": at_rates}
        return tuple(compared_scores(file, about).values())

    tied, resolved = compared(0.967, 0.0), compared(0.95, 0.4)
    assert (tied, resolved) == ((0, 0.967), (1, 0.95))
    assert not Known(tied, 100, too_expensive=False).rules_out(snapshot(*resolved, cost=1000))
    assert Known(resolved, 100, too_expensive=False).rules_out(snapshot(*compared(0.94, 0.0), cost=1000))
    assert not snapshot(*tied, cost=100).dominates(snapshot(*resolved, cost=1000))


# ---- what a worker knows --------------------------------------------------------------------------


@pytest.fixture
def study(storage: RDBStorage, study_file: Callable[..., StudyFile]) -> Study:
    """A study whose objectives are in another order than their scores are recorded in."""
    granularity = {"weights": {"granularity": ["parameter", "layer"]}, "data": {"granularity": "parameter"}}
    file = study_file(
        quantization=granularity,
        objectives=["worst_auc", "lut", "mean_auc"],
        constraints={"latency_ns": {"max": 200}, "lut": {"max": 5000}, "worst_auc": {"min": 0.7}},
    )
    return create_or_resume(storage, file)[0]


def begin(study: Study, granularity: str) -> Trial:
    """Begin a run; return its trial."""
    trial = study.optuna.ask()
    recipe = Recipe.model_validate({"quantization": {"weights": {"granularity": granularity}}})
    trial.set_user_attr("role", "run")
    trial.set_user_attr("recipe", recipe.model_dump_json())
    return trial


def recipe_of(trial: Trial) -> Recipe:
    return Recipe.model_validate_json(trial.user_attrs["recipe"])


def test_a_worker_knows_the_points_of_other_runs(study: Study, point: Callable[..., FrozenTrial]) -> None:
    other, layer, own = begin(study, "parameter"), begin(study, "layer"), begin(study, "parameter")

    def add(run: Trial, auc: float, lut: float, bits: float | None, latency_ns: float = 50.0) -> None:
        made = point(auc, lut, parent=run.number, latency_ns=latency_ns, values=(auc, lut, auc))
        about = {**made.user_attrs, "adder_bits": bits}
        study.optuna.add_trial(create_trial(values=made.values, user_attrs=about))

    add(other, 0.9, 4000.0, 11)
    add(other, 0.6, 4000.0, 12)  # too low a score makes nothing too expensive, and beats none that is not
    add(other, 0.9, 5001.0, 13)
    add(other, 0.9, 100.0, 14, latency_ns=201.0)  # one that is too slow says nothing of others
    add(layer, 0.9, 4000.0, 15)
    add(own, 0.9, 4000.0, 16)  # an earlier attempt's
    add(other, 0.9, 4000.0, None)  # an earlier version's, which says nothing
    study.optuna.add_trial(
        create_trial(state=TrialState.FAIL, user_attrs={"role": "point", "parent": 0, "problem": "broken"})
    )
    # The end of a run is a point, too.
    about = {**point(0.8, 300.0).user_attrs, **other.user_attrs}
    for name in set(about) - {"parent"} - set(other.user_attrs):
        other.set_user_attr(name, about[name])
    study.optuna.tell(other, [0.79, 300.0, 0.8])

    history = History(study)
    history.refresh()
    known = history.known(recipe_of(own), own.number)
    assert [dataclasses.astuple(k) for k in sorted(known, key=lambda k: k.cost)] == [
        ((1, pytest.approx(0.89), 0.9), 11, False),
        ((0, pytest.approx(0.59), 0.6), 12, False),
        ((1, pytest.approx(0.89), 0.9), 13, True),
        ((1, pytest.approx(0.89), 0.9), 15 * 1.3, False),  # layer's, at its worst
        ((1, pytest.approx(0.79), 0.8), 150, False),
    ]
    known = history.known(recipe_of(layer), begin(study, "layer").number)
    assert sorted(k.cost for k in known) == [11 * 1.3, 15, 12 * 1.3, 13 * 1.3, 16 * 1.3, 150 * 1.3]


@pytest.mark.parametrize(("objective", "costs"), [("ebops", [100, 500]), ("ff", [150, 195])])
def test_students_are_compared_by_what_the_study_is_about(
    storage: RDBStorage,
    study_file: Callable[..., StudyFile],
    point: Callable[..., FrozenTrial],
    objective: str,
    costs: list[float],
) -> None:
    granularity = {"weights": {"granularity": ["parameter", "layer"]}, "data": {"granularity": "parameter"}}
    file = study_file(quantization=granularity, objectives=["mean_auc", objective])
    study, _ = create_or_resume(storage, file)
    for one in ("parameter", "layer"):
        study.optuna.add_trial(point(0.9, 4000.0, parent=begin(study, one).number))
    history = History(study)
    history.refresh()
    mine = begin(study, "parameter")
    assert sorted(k.cost for k in history.known(recipe_of(mine), mine.number)) == pytest.approx(costs)


def test_what_lies_below_the_reference_is_not_measured_once_there_is_better(
    storage: RDBStorage, study_file: Callable[..., StudyFile], point: Callable[..., FrozenTrial]
) -> None:
    bounds = {"worst_auc": {"min": 0.5}}
    study, _ = create_or_resume(storage, study_file(reference_point=[0.8, 5000.0], constraints=bounds))
    run = begin(study, "parameter")
    low, good = snapshot(1, 0.79, cost=100), snapshot(1, 0.81, cost=100)
    forbidden = snapshot(0, 0.79, cost=100)

    def measured() -> list[Snapshot]:
        history = History(study)
        history.refresh()
        mine = begin(study, "parameter")
        return worth_measuring([low, good, forbidden], history.known(recipe_of(mine), mine.number))

    assert measured() == [low, good, forbidden]
    study.optuna.add_trial(point(0.79, 300.0, parent=run.number))
    study.optuna.add_trial(point(0.95, 5001.0, parent=run.number))
    assert measured() == [low, good, forbidden], "nothing is better than the reference in all"
    study.optuna.add_trial(point(0.9, 4000.0, parent=run.number))
    assert measured() == [good]
