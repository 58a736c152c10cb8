"""Train a trial again from what the database says of it: the same student, bit for bit."""

from objectives.recipe import Recipe
from objectives.students.network import QuantizedNetwork
from objectives.training.trajectory import run_trajectory
from sweep.errors import StudyError
from sweep.search.continuation import parent_state
from sweep.study import Study
from sweep.worker.training_ground import TrainingGround


def retrain(study: Study, number: int, ground: TrainingGround) -> QuantizedNetwork:
    """Return the student of trial `number`, trained anew from its run's recipe and seed.

    Bit for bit on the same kind of processor, with one thread. Raises StudyError for a trial that
    holds no student.
    """
    trials = study.trials()
    if not 0 <= number < len(trials) or "design" not in trials[number].user_attrs:
        raise StudyError(f"trial {number} of study {study.name!r} holds no student; `sweep front` lists some")
    trial = trials[number]
    run = trials[trial.user_attrs.get("parent", number)]
    recipe = Recipe.model_validate_json(run.user_attrs["recipe"])
    trainer = ground.trainer(recipe)
    parent = parent_state(study, run.user_attrs, trainer)
    epoch = trial.user_attrs["epoch"]
    seed = run.user_attrs["seed"]
    trajectory = run_trajectory(trainer, recipe, seed, ground.judge, last_epoch=epoch, parent=parent)
    if trajectory.end is None or trajectory.end.epoch != epoch:
        raise StudyError(f"trial {number}: its student is dead in epoch {epoch} here; versions differ")
    trainer.load(trajectory.end.state)
    return trainer.finish()[0]
