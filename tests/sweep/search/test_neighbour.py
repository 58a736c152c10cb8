"""New networks differ from a good one in a choice or two, and are trained as it was."""

from collections.abc import Callable

import numpy as np
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.recipe import Recipe
from sweep.search.history import History, network_of
from sweep.search.neighbour import CHANGES, neighbour
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile
from sweep.worker.worker import Worker

MakeFile = Callable[..., StudyFile]
MakePoint = Callable[..., FrozenTrial]

PARAMS = {
    "student.filters": 4,
    "student.kernel": 2,
    "student.hidden": 8,
    "quantization.weights.granularity": "channel",
    "training.learning_rate": 3e-3,
    "training.beta.final": 1e-3,
}


@pytest.fixture
def study(storage: RDBStorage, study_file: MakeFile) -> Study:
    file = study_file(
        student={"filters": [2, 4, 6], "kernel": [2, 3], "hidden": [4, 8, 16]},
        quantization={"weights": {"granularity": ["parameter", "channel", "layer"]}},
        training={
            "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
            "beta": {"initial": 1e-6, "final": {"low": 1e-6, "high": 1e-2, "log": True}},
        },
        continuation={"share": 0.0},
        sampler={"name": "tpe", "startup_trials": 1000},
    )
    return create_or_resume(storage, file)[0]


def add_run(study: Study) -> int:
    space = study.file.recipe_space()
    recipe = space.resolve(PARAMS)
    about = {"role": "run", "digest": recipe.digest(), "recipe": recipe.model_dump_json()}
    names = {name: space.distributions[name] for name in PARAMS}
    study.optuna.add_trial(
        create_trial(state=TrialState.FAIL, params=PARAMS, distributions=names, user_attrs=about)
    )
    return len(study.trials()) - 1


def history_of(study: Study) -> History:
    history = History(study)
    history.refresh()
    return history


def test_a_neighbour_is_a_good_network_but_for_a_choice_or_two(study: Study, point: MakePoint) -> None:
    space, rng = study.file.recipe_space(), np.random.default_rng(0)
    assert neighbour(history_of(study), space, rng) is None, "nothing is good yet"
    run = add_run(study)
    study.optuna.add_trial(point(0.9, 4000.0, parent=run))
    history = history_of(study)
    drawn_anew = set()
    for _ in range(200):
        near = neighbour(history, space, rng)
        assert near is not None
        assert near.items() <= PARAMS.items()
        missing = PARAMS.keys() - near.keys()
        assert len(missing) in CHANGES
        assert missing <= space.network_params(), "it is trained as the good one was"
        drawn_anew |= missing
    assert drawn_anew == space.network_params()


def test_what_begins_anew_is_most_often_a_neighbour(study: Study, point: MakePoint) -> None:
    run = add_run(study)
    study.optuna.add_trial(point(0.9, 4000.0, parent=run))
    good = network_of(study.file.recipe_space().resolve(PARAMS))
    worker = Worker(study, lambda _: None)
    trained_alike, networks = 0, [good]
    for _ in range(30):
        worker.history.refresh()
        claim = worker.slots.claim(1000)
        assert claim is not None
        trial = worker._trial_of(claim)
        assert trial is not None
        assert trial.params["training.beta.final"] == 1e-2, "up the whole ramp"
        networks.append(network_of(Recipe.model_validate_json(trial.user_attrs["recipe"])))
        trained_alike += trial.params["training.learning_rate"] == PARAMS["training.learning_rate"]
    assert len({*networks}) == len(networks), "networks that no run has begun with"
    assert 15 <= trained_alike <= 29


def test_where_no_network_is_searched_there_is_no_neighbour(
    storage: RDBStorage, study_file: MakeFile, point: MakePoint
) -> None:
    study, _ = create_or_resume(storage, study_file(student={"hidden": 8}, training={"epochs": [5, 6]}))
    recipe = study.file.recipe_space().resolve({"training.epochs": 5})
    about = {"role": "run", "digest": recipe.digest(), "recipe": recipe.model_dump_json()}
    study.optuna.add_trial(create_trial(state=TrialState.FAIL, user_attrs=about))
    study.optuna.add_trial(point(0.9, 4000.0, parent=0))
    space = study.file.recipe_space()
    assert neighbour(history_of(study), space, np.random.default_rng(0)) is None
