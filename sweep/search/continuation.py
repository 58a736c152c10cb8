"""Runs that go on from a student of the front instead of starting anew.

A student that was annealed to few bits is a better start for its neighbours on the front than random
weights are: its run needs no new graph and begins near what is already good. Beta goes back below what
the parent was trained with, so that bits grow again, and up past it, at a learning rate and with an
exposure fraction of its own. In the words of evolution: inherited weights, mutated training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from objectives.recipe import Recipe
from sweep.artifacts.students import student_folder
from sweep.errors import StudyError
from sweep.search.history import STARTS_FROM, History, network_of
from sweep.search.space import RAMPS, SearchSpace
from sweep.start import START_DESIGN, start_network
from sweep.study import Study

if TYPE_CHECKING:  # what takes seconds to import, and is not needed to choose
    from objectives.training.graphs import State
    from objectives.training.student_trainer import StudentTrainer

#: Beta of a continued log-ramp in units of its parent's, log-uniform: where it starts and ends.
FIRST_BETA = (0.1, 1.0)
LAST_BETA = (2.0, 10.0)
#: The same of an ebops-ramp, which ends where its EBOPs say; and these in units of the parent's.
FIRST_BETA_OF_EBOPS = (0.03, 0.3)
FIRST_EBOPS, LAST_EBOPS = 4.0, 0.05
#: What a point that has another just like it has for room, that it may be chosen at all.
LEAST_ROOM = 1e-3
#: Share of the epochs at the first beta, in which the optimizer finds its feet.
WARM_UP = 0.2
#: A parent whose graph this worker would have to compile is chosen so much less often.
UNCOMPILED = 0.25
#: Where several ramps are searched, a continued run has any of them.
SCHEDULE = "training.beta.schedule"
#: What is drawn anew; all else is the parent's, for it decides the graph or is decided by the parent.
DRAWN = ("training.learning_rate", "training.restarts", "training.exposure_fraction")


@dataclass(frozen=True)
class Continuation:
    """A point to go on from, the parameters that it fixes, and the ramp that follows."""

    parent: FrozenTrial
    params: dict[str, Any]
    first_beta: float
    last_beta: float

    def continued(self, drawn: Recipe, epochs: int) -> Recipe:
        """Return the drawn recipe with the epochs and the ramp of this continuation."""
        beta = drawn.training.beta
        if beta.schedule != "constant" and drawn.quantization.scheme == "hgq":
            ramp = {"initial": self.first_beta, "final": self.last_beta, "warm_up": WARM_UP}
            if beta.schedule == "ebops-ramp":
                ebops = max(self.parent.user_attrs["cost"]["ebops"], 1)
                ramp |= {"warm_up": 0.0, "first_ebops": ebops * FIRST_EBOPS, "last_ebops": ebops * LAST_EBOPS}
            beta = beta.model_copy(update=ramp)
        training = drawn.training.model_copy(update={"epochs": epochs, "beta": beta})
        return drawn.model_copy(update={"training": training})


def chance(share: float, freshness: float) -> float:
    """Return how probable it is that a run goes on from the front instead of starting anew.

    While nothing has gone on from the front, `share`. A front that stays as it is, however often runs go
    on from it, has little left to give: its odds fall with its `freshness`.
    """
    return share * freshness / (share * freshness + 1 - share)


def choose_parent(
    history: History, space: SearchSpace, is_compiled: Callable[[Recipe], bool], rng: np.random.Generator
) -> Continuation | None:
    """Choose a point of the present front, or near it, to go on from; None while there is none.

    The more often a point, or any student of its network, has been a parent the less likely it is, so that
    all have their turn; and so is one among many that are nearly the same, so that every part of the front
    has its turn.
    """
    points = history.near_front()
    if not points:
        return None
    runs = [history.trial(point.user_attrs.get("parent", point.number)) for point in points]
    recipes = [Recipe.model_validate_json(run.user_attrs["recipe"]) for run in runs]
    weights = np.array(
        [
            (1.0 if is_compiled(recipe) else UNCOMPILED)
            / (1 + history.children[point.number])
            / (1 + history.children_of_network[network_of(recipe)])
            for point, recipe in zip(points, recipes, strict=True)
        ]
    )
    weights *= crowding(history.losses(points))
    chosen = int(rng.choice(len(points), p=weights / weights.sum()))
    parents = recipes[chosen].training.beta
    inherited = {name: value for name, value in runs[chosen].params.items() if name not in DRAWN}
    if SCHEDULE in inherited and parents.schedule in RAMPS:
        ramps = [schedule for schedule in space.beta_schedules() if schedule in RAMPS]
        inherited[SCHEDULE] = ramps[rng.integers(len(ramps))]
    schedule = inherited.get(SCHEDULE, parents.schedule)
    first, last = _ramp(points[chosen].user_attrs["beta"], schedule, parents.final, space, rng)
    params = space.params_at_beta(inherited, last) or inherited
    return Continuation(points[chosen], params, first, last)


def crowding(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much room each of the points (n, objectives) of a front has to itself (n,), above 0.

    NSGA-II's crowding distance (Deb et al. 2002, doi:10.1109/4235.996017), but for the ends of the front:
    they have twice the distance to their one neighbour, instead of an infinite one.

    >>> crowding(np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]])).tolist()
    [1.0, 2.0, 3.0]
    """
    room = np.zeros(len(losses))
    for values in losses.T:
        order = np.argsort(values, kind="stable")
        gaps = np.diff(values[order])
        if gaps.sum() > 0:
            left, right = np.insert(gaps, 0, gaps[0]), np.append(gaps, gaps[-1])
            room[order] += (left + right) / gaps.sum()
    return np.maximum(room, LEAST_ROOM)


def parent_state(study: Study, run: Mapping[str, Any], trainer: "StudentTrainer") -> "State | None":
    """Return the variables of the student that a run goes on from, by the run's user attributes.

    None for a run that starts anew, of a study that starts from no student. `trainer` has the run's
    architecture; its variables are overwritten.
    Raises StudyError when the student's folder is gone.
    """
    number = run.get(STARTS_FROM)
    if number is None:
        return _start_state(study, run, trainer)
    file = student_folder(study, study.trials()[number]) / "student.keras"
    try:
        return trainer.read(file)
    except (OSError, ValueError, BadZipFile) as error:
        raise StudyError(
            f"{file}: the student of trial {number}, which a run goes on from, cannot be read"
            f" ({str(error).splitlines()[0]}); restore the folder"
        ) from error


def compare_start(study: Study, trainer: "StudentTrainer", state: "State") -> str:
    """Say how many validation events have another score than the student that the study starts from.

    `state` is what a run begins with; bitwidths are calibrated first, as those of every point.
    """
    trainer.load(state)
    _, scores, _ = trainer.finish()
    events = trainer.data.validation[: trainer.data.validation_events].numpy()
    network = start_network(study)
    differ = 0 if network is None else int((network.predict(events) != scores).sum())
    return (
        f"starts from {study.file.start_from}: {differ:,} of {len(scores):,} validation events have another"
        " score before any training"
    )


def _start_state(study: Study, run: Mapping[str, Any], trainer: "StudentTrainer") -> "State | None":
    """Return the variables of the student that a study starts from, None when it starts from none."""
    network = start_network(study)
    if network is None:
        return None
    if run.get(START_DESIGN, network.digest()) != network.digest():
        raise StudyError(
            f"start_from: {study.file.start_from} holds another student than when this run began"
        )
    fraction = Recipe.model_validate_json(run["recipe"]).training.exposure_fraction
    return trainer.adopt(network, fraction)


def _ramp(
    beta: float, schedule: str, final: float, space: SearchSpace, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the first and last beta after a parent trained with `beta`, inside what the study searches.

    The last beta of an ebops-ramp is but a limit: the parent's `final`, where none is searched.
    """
    allowed = space.beta_range()
    if schedule == "ebops-ramp":
        low, high = (allowed.low, allowed.high) if allowed else (0.0, final)
        return min(max(beta * _between(FIRST_BETA_OF_EBOPS, rng), low), high), high
    low, high = (allowed.low, allowed.high) if allowed else (0.0, 1.0)
    first, last = (beta * _between(between, rng) for between in (FIRST_BETA, LAST_BETA))
    last = min(max(last, low), high)
    return min(max(first, low), last), last


def _between(ends: tuple[float, float], rng: np.random.Generator) -> float:
    """Return a number between two others, evenly distributed in its logarithm."""
    return float(np.exp(rng.uniform(*np.log(ends))))
