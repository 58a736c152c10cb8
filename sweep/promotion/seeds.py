"""How far a candidate's figures depend on its seed: its recipe, trained again from others."""

from contextlib import closing
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from objectives.costs.compiler import Compiler, compiler
from objectives.errors import CostError, TrainingError
from objectives.measurement import Point, measure_point
from objectives.progress import Progress
from objectives.recipe import Recipe
from objectives.training.trajectory import run_trajectory
from sweep.search.continuation import parent_state
from sweep.study import Study
from sweep.worker.training_ground import TrainingGround


def seed_spreads(
    study: Study, trials: list[FrozenTrial], seeds: int, progress: Progress
) -> list[dict[str, Any]]:
    """Return, for each trial, scores and costs of its recipe trained from `seeds` other seeds."""
    with compiler(study.file.hardware) as graphs, closing(TrainingGround(study.file)) as ground:
        return [_spread(study, trial, seeds, ground, graphs, progress) for trial in trials]


def _spread(
    study: Study, trial: FrozenTrial, seeds: int, ground: TrainingGround, graphs: Compiler, progress: Progress
) -> dict[str, Any]:
    """Train a trial's recipe from `seeds` other seeds up to its epoch; return scores and costs by seed.

    A student that died, diverged or could not be compiled is counted under `failed`.
    """
    run = study.trials()[trial.user_attrs.get("parent", trial.number)]
    tried = [
        int(seed) for seed in np.random.SeedSequence(run.user_attrs["seed"]).generate_state(seeds) % 2**31
    ]
    spread: dict[str, Any] = {"seeds": [], "mean_auc": [], "lut": [], "failed": {}}
    for number, seed in enumerate(tried):
        progress(f"training trial {trial.number} from other seeds", number, seeds)
        try:
            point = _trained(study, run, seed, trial.user_attrs["epoch"], ground, graphs)
        except (TrainingError, CostError) as error:
            spread["failed"][str(seed)] = str(error)
            continue
        spread["seeds"].append(seed)
        spread["mean_auc"].append(point.test.mean_auc)
        spread["lut"].append(point.cost.lut)
    progress(f"training trial {trial.number} from other seeds", seeds, seeds)
    return spread


def _trained(
    study: Study, run: FrozenTrial, seed: int, epoch: int, ground: TrainingGround, graphs: Compiler
) -> Point:
    recipe = Recipe.model_validate_json(run.user_attrs["recipe"])
    trainer = ground.trainer(recipe)
    parent = parent_state(study, run.user_attrs, trainer)
    trajectory = run_trajectory(trainer, recipe, seed, ground.judge, last_epoch=epoch, parent=parent)
    if trajectory.end is None:
        raise TrainingError(f"the student died in epoch {trajectory.died_at} (constant score)")
    trainer.load(trajectory.end.state)
    network, outputs, ebops = trainer.finish()
    graph = graphs.result(graphs.submit(network))
    return measure_point(
        network,
        graph,
        outputs,
        ebops,
        ground.dataset.validation,
        ground.dataset.test,
        rate_khz=ground.file.rate_khz,
        other_rates_khz=ground.file.other_rates_khz,
    )
