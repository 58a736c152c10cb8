"""A training run as a trajectory: its non-dominated epochs are students in their own right.

While beta ramps up, a student loses bits epoch by epoch; every epoch that no other of the run
dominates in (scores up, cost down) on the validation events is kept. Cost is what is known of it before
anything is compiled: EBOPs, or adder bits (`objectives.costs.adder_bits`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from objectives.errors import TrainingError
from objectives.recipe import Recipe
from objectives.training import schedule
from objectives.training.checkpoint import Checkpoint
from objectives.training.graphs import State
from objectives.training.order import epoch_order
from objectives.training.student_trainer import StudentTrainer

Floats = NDArray[np.floating[Any]]
#: Epochs in a row with a constant score after which a student is dead; some come back before.
DEAD_AFTER = 5
#: Deaths in the first half of a run after each of which an ebops-ramp goes back to the epoch before, and on
#: more gently. Later ones are its end: the student had as few bits as it can do with.
REVIVALS = 3
#: What epochs are compared by besides their scores.
CheapCost = Literal["ebops", "adder_bits"]
#: From validation scores to what is maximized, by name.
Judge = Callable[[Floats], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A student at the end of one epoch (from 0), with its figures on the way, before calibration.

    `cost` is in EBOPs or adder bits, the same of all that are compared.
    """

    epoch: int
    beta: float
    loss: float
    scores: tuple[float, ...]
    cost: float
    state: State

    def dominates(self, other: "Snapshot") -> bool:
        """At least as good in every score and in cost; of two equal ones the earlier stays."""
        return self.cost <= other.cost and all(
            mine >= theirs for mine, theirs in zip(self.scores, other.scores, strict=True)
        )


@dataclass(frozen=True)
class Trajectory:
    """What a run left: its non-dominated snapshots, the cheapest first, and how it ended.

    `end` is the student after the last epoch, dominated or not; a student that died has none, and
    its score has been constant from epoch `died_at` on.
    """

    snapshots: list[Snapshot]
    end: Snapshot | None
    died_at: int | None


def run_trajectory(
    trainer: StudentTrainer,
    recipe: Recipe,
    seed: int,
    judge: Judge,
    *,
    compared_by: CheapCost = "ebops",
    on_epoch: Callable[[int, float, Mapping[str, float], int], None] | None = None,
    last_epoch: int | None = None,
    parent: State | None = None,
    resume: Checkpoint | None = None,
    between_epochs: Callable[[int, Callable[[], Checkpoint | None]], None] | None = None,
) -> Trajectory:
    """Train `recipe` from `seed` and keep the non-dominated epochs; stop after `last_epoch`, if given.

    An epoch's cost is what it is `compared_by`: EBOPs, or adder bits where the trainer knows them.
    Starts from the student `parent` where there is one, or goes on after `resume`: the rest is the same,
    bit for bit. `on_epoch` is called with (epoch, loss, scores, EBOPs); `between_epochs` after each epoch
    with (epochs done, what makes a checkpoint), and may raise to leave the run there. A student whose
    validation scores have been all equal for `DEAD_AFTER` epochs, or are at the end, is dead, and the run
    ends; early on an ebops-ramp it goes on as it was before the first of them, `REVIVALS` times at most.
    Raises TrainingError when loss or scores stop being finite.
    """
    training = recipe.training
    trainer.start(recipe.quantization, seed, parent)
    front: list[Snapshot] = []
    newcomer: Snapshot | None = None
    constant_since: int | None = None
    course = schedule.Course()
    done = 0
    if resume is not None:
        trainer.load(resume.model)
        trainer.load_optimizer(resume.optimizer)
        front, newcomer, constant_since = list(resume.front), resume.newcomer, resume.constant_since
        done, course = resume.epochs, resume.course
    revives = trainer.anneals and training.beta.schedule == "ebops-ramp"
    alive = _everything(trainer, trainer.state()) if revives else None
    for epoch in range(done, training.epochs):
        beta = schedule.beta(training.beta, epoch, training.epochs, course) if trainer.anneals else 0.0
        order = epoch_order(
            trainer.data.zero_bias,
            trainer.data.exposure,
            training.exposure_fraction,
            training.batch,
            np.random.default_rng([seed, epoch]),
        )
        learning_rate = schedule.learning_rate(training, epoch) * course.slowdown
        loss = trainer.train_epoch(order, learning_rate, beta)
        outputs, ebops = trainer.measure()
        if not np.isfinite(loss) or not np.isfinite(outputs).all():
            raise TrainingError(
                f"training diverged in epoch {epoch} (loss {loss}): lower training.learning_rate"
            )
        is_constant = outputs.min() == outputs.max()
        if is_constant and alive is not None and course.deaths < REVIVALS and 2 * epoch < training.epochs:
            course = course.died(beta)
            trainer.load(alive[0])
            trainer.load_optimizer(alive[1])
        elif is_constant:
            newcomer = None
            constant_since = epoch if constant_since is None else constant_since
            if epoch + 1 - constant_since == DEAD_AFTER or alive is not None:
                break
        else:
            constant_since = None
            course = course.survived(beta, ebops)
            scores = judge(outputs)
            if on_epoch is not None:
                on_epoch(epoch, loss, scores, ebops)
            cost = trainer.adder_bits() if compared_by == "adder_bits" else ebops
            newcomer = Snapshot(epoch, beta, loss, tuple(scores.values()), cost, trainer.state())
            if not any(kept.dominates(newcomer) for kept in front):
                front = [kept for kept in front if not newcomer.dominates(kept)] + [newcomer]
            if revives:
                alive = _everything(trainer, newcomer.state)
        if epoch == last_epoch:
            break
        if between_epochs is not None:
            between_epochs(
                epoch + 1, _checkpoint(trainer, epoch + 1, course, front, newcomer, constant_since)
            )
    return Trajectory(_by_cost(front), newcomer, constant_since)


def _everything(trainer: StudentTrainer, state: State) -> tuple[State, State] | None:
    """Return the student's and the optimizer's variables; None where training cannot go back to them."""
    optimizer = trainer.optimizer_state()
    return None if optimizer is None else (state, optimizer)


def _checkpoint(
    trainer: StudentTrainer,
    epochs: int,
    course: schedule.Course,
    front: list[Snapshot],
    newcomer: Snapshot | None,
    constant_since: int | None,
) -> Callable[[], Checkpoint | None]:
    """Return what makes a checkpoint: copying every variable is not worth it after each epoch."""
    kept = list(front)

    def make() -> Checkpoint | None:
        optimizer = trainer.optimizer_state()
        if optimizer is None:
            return None
        return Checkpoint(epochs, course, trainer.state(), optimizer, kept, newcomer, constant_since)

    return make


def _by_cost(snapshots: list[Snapshot]) -> list[Snapshot]:
    return sorted(snapshots, key=lambda snapshot: snapshot.cost)


def thin(snapshots: Sequence[Snapshot], limit: int) -> list[Snapshot]:
    """Return at most `limit` snapshots, evenly spread in log(cost), the best of each stretch.

    Neighbouring epochs of a run are near copies; their compilation would tell little.
    """
    if len(snapshots) <= limit:
        return list(snapshots)
    position = np.log([max(s.cost, 1) for s in snapshots])
    edges = np.linspace(position.min(), position.max(), limit + 1)[1:-1]
    stretches = np.searchsorted(edges, position, side="left")
    return [
        max(
            (s for s, where in zip(snapshots, stretches, strict=True) if where == stretch),
            key=lambda s: s.scores,
        )
        for stretch in np.unique(stretches)
    ]
