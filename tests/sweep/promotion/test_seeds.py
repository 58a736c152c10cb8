"""Candidates trained again from other seeds: one small recipe, really trained."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from objectives.progress import silent
from objectives.recipe import Recipe
from sweep.front import front_of
from sweep.promotion.choice import choose
from sweep.promotion.promote import promote
from sweep.study import Study
from sweep.study_file import Promotion

#: Trains in seconds; the beta of the second run leaves no bit alive.
SECTIONS: dict[str, Any] = {
    "teacher": {"epochs": 1},
    "student": {"filters": 2, "kernel": 3, "stride": 3, "hidden": 4},
    "quantization": {"weights": {"bits": 4, "integer_bits": 1}, "data": {"fractional_bits": 2}},
    "training": {"exposure_fraction": 0, "batch": 64, "epochs": 40, "learning_rate": [0.005, 0.01]},
    "promotion": {"seeds": 2},
}
FATAL_BETA = 1.0


@pytest.fixture
def study(make_small: Callable[..., Study]) -> Study:
    """The small study with a recipe that can be trained, and trial 6, a point of a run that dies."""
    study = make_small(**SECTIONS)
    run, point = study.trials()[0], study.trials()[3]
    recipe = json.loads(run.user_attrs["recipe"])
    recipe["training"]["beta"] |= {"initial": FATAL_BETA, "final": FATAL_BETA, "schedule": "constant"}
    recipe["training"]["learning_rate"] = 0.1
    fatal = Recipe.model_validate(recipe).model_dump_json()
    study.optuna.add_trial(
        create_trial(state=TrialState.FAIL, user_attrs={"role": "run", "seed": 8, "recipe": fatal})
    )
    about = point.user_attrs | {"parent": 5, "epoch": 39}
    study.optuna.add_trial(create_trial(values=point.values, user_attrs=about))
    return study


def test_candidates_are_trained_from_other_seeds(study: Study) -> None:
    chosen = choose(front_of(study), Promotion(policy="named", trials=(3, 6)))
    steps: list[tuple[str, int, int]] = []
    alive, dead = (p.candidate.spread for p in promote(study, chosen, lambda *step: steps.append(step)))

    assert alive is not None
    assert alive["failed"] == {}
    assert len(set(alive["seeds"])) == 2
    assert study.trials()[0].user_attrs["seed"] not in alive["seeds"]
    assert len(set(alive["mean_auc"])) == 2, "another seed is another student"
    assert all(0 <= auc <= 1 for auc in alive["mean_auc"])
    assert len(alive["lut"]) == 2
    assert all(lut > 0 for lut in alive["lut"])

    assert dead is not None
    assert dead["seeds"] == dead["mean_auc"] == dead["lut"] == []
    assert len(dead["failed"]) == 2
    assert all("the student died in epoch" in problem for problem in dead["failed"].values())
    assert not dead["failed"].keys() & {str(seed) for seed in alive["seeds"]}
    assert ("training trial 3 from other seeds", 2, 2) in steps

    json.dumps([alive, dead], allow_nan=False)
    again = promote(study, chosen[:1], silent)
    assert again[0].candidate.spread == alive, "a seed leads to one student"
    assert not again[0].new
