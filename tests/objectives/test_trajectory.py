"""A run keeps every epoch that none of its others dominates, and no other."""

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.errors import TrainingError
from objectives.quantization import Quantization
from objectives.recipe import Recipe
from objectives.training import schedule
from objectives.training.graphs import State
from objectives.training.trainer import Trainer
from objectives.training.trajectory import (
    DEAD_AFTER,
    REVIVALS,
    Snapshot,
    Trajectory,
    epoch_order,
    run_trajectory,
    thin,
)

# ---- a run of which every epoch is known --------------------------------------------------------

Epoch = tuple[float, float, int]  # two scores and EBOPs


@dataclass
class Sizes:
    zero_bias: int = 20
    exposure: int = 5


class Scripted:
    """Stands in for a `Trainer`: the figures of each epoch are given."""

    def __init__(
        self,
        epochs: list[Epoch],
        loss: float = 1.0,
        outputs: tuple[float, ...] = (0.0, 1.0),
        constant: Collection[int] = (),
    ) -> None:
        self.data = Sizes()
        self.anneals = True
        self.epochs = epochs
        self.loss, self.outputs, self.constant = loss, outputs, constant
        self.done = 0
        self.asked: list[tuple[list[int], float, float]] = []
        self.begun: list[tuple[Quantization, int, State | None]] = []

    def start(self, quantization: Quantization, seed: int, parent: State | None = None) -> None:
        self.begun.append((quantization, seed, parent))

    def train_epoch(self, order: NDArray[np.int32], learning_rate: float, beta: float) -> float:
        self.asked.append((order.tolist(), learning_rate, beta))
        self.done += 1
        return self.loss

    def measure(self) -> tuple[NDArray[np.float64], int]:
        outputs = np.array([*self.outputs, self.done])
        if self.done - 1 in self.constant:
            outputs[:] = self.done
        return outputs, self.epochs[self.done - 1][2]

    def adder_bits(self) -> float:
        return 0.5 + self.epochs[self.done - 1][1]

    def state(self) -> list[NDArray[Any]]:
        return [np.array(self.done - 1)]

    def run(
        self, seed: int = 0, *, last_epoch: int | None = None, parent: State | None = None, **training: Any
    ) -> Trajectory:
        recipe = Recipe.model_validate({"training": {"epochs": len(self.epochs), "batch": 4, **training}})
        return run_trajectory(
            cast(Trainer, self), recipe, seed, self.judge, last_epoch=last_epoch, parent=parent
        )

    def judge(self, outputs: NDArray[Any]) -> Mapping[str, float]:
        one, two, _ = self.epochs[int(outputs[-1]) - 1]
        return {"one": one, "two": two}


class Revivable(Scripted):
    """A scripted student whose optimizer can be put back, too; notes what is."""

    def __init__(self, epochs: list[Epoch], **more: Any) -> None:
        super().__init__(epochs, **more)
        self.loaded: list[tuple[int, int]] = []

    def optimizer_state(self) -> list[NDArray[Any]]:
        return [np.array(100 + self.done)]

    def load(self, state: State) -> None:
        self.state_loaded = int(state[0])

    def load_optimizer(self, state: State) -> None:
        self.loaded.append((self.state_loaded, int(state[0])))


epochs_of_runs = st.lists(
    st.tuples(st.integers(0, 4).map(float), st.integers(0, 2).map(float), st.integers(0, 5)),
    min_size=1,
    max_size=14,
)


def dominates(one: Epoch, other: Epoch) -> bool:
    """At least as good in everything."""
    return one[0] >= other[0] and one[1] >= other[1] and one[2] <= other[2]


@given(epochs_of_runs)
def test_what_is_kept_is_the_front(epochs: list[Epoch]) -> None:
    trajectory = Scripted(epochs).run()
    kept = [snapshot.epoch for snapshot in trajectory.snapshots]
    for one, other in itertools.permutations(kept, 2):
        assert not dominates(epochs[one], epochs[other])
    for epoch, figures in enumerate(epochs):
        assert any(dominates(epochs[k], figures) and (k <= epoch or epochs[k] != figures) for k in kept)
    assert [s.cost for s in trajectory.snapshots] == sorted(s.cost for s in trajectory.snapshots)


@given(epochs_of_runs)
def test_snapshots_are_of_their_epochs(epochs: list[Epoch]) -> None:
    run = Scripted(epochs)
    trajectory = run.run(beta={"initial": 1e-6, "final": 1e-2})
    assert trajectory.end is not None
    assert trajectory.end.epoch == len(epochs) - 1
    assert trajectory.died_at is None
    for snapshot in [*trajectory.snapshots, trajectory.end]:
        assert (*snapshot.scores, snapshot.cost) == epochs[snapshot.epoch]
        assert int(snapshot.state[0]) == snapshot.epoch
        assert snapshot.beta == run.asked[snapshot.epoch][2]
        assert snapshot.loss == 1.0


def test_epochs_can_be_compared_by_adder_bits() -> None:
    run = Scripted([(1.0, 2.0, 10), (1.0, 1.0, 30), (2.0, 2.0, 20)])  # score, adder bits, EBOPs
    recipe = Recipe.model_validate({"training": {"epochs": 3, "batch": 4}})

    def judge(outputs: NDArray[Any]) -> Mapping[str, float]:
        return {"one": run.judge(outputs)["one"]}

    by_ebops = run_trajectory(cast(Trainer, run), recipe, 0, judge)
    run.done = 0
    by_bits = run_trajectory(cast(Trainer, run), recipe, 0, judge, compared_by="adder_bits")
    assert [(s.epoch, s.cost) for s in by_ebops.snapshots] == [(0, 10), (2, 20)]
    assert [(s.epoch, s.cost) for s in by_bits.snapshots] == [(1, 1.5), (2, 2.5)]


def test_a_run_follows_its_recipe() -> None:
    run = Scripted([(1.0, 0.0, 5)] * 6)
    run.run(
        seed=11, learning_rate=0.01, restarts=2, exposure_fraction=0.2, beta={"initial": 1e-5, "final": 1e-1}
    )
    training = Recipe.model_validate(
        {
            "training": {
                "epochs": 6,
                "restarts": 2,
                "learning_rate": 0.01,
                "beta": {"initial": 1e-5, "final": 1e-1},
            }
        }
    ).training
    assert run.begun == [(Quantization(), 11, None)]
    assert [asked[1] for asked in run.asked] == [schedule.learning_rate(training, n) for n in range(6)]
    assert [asked[2] for asked in run.asked] == [schedule.beta(training.beta, n, 6) for n in range(6)]
    orders = [asked[0] for asked in run.asked]
    assert len({tuple(order) for order in orders}) == 6
    again, other = Scripted([(1.0, 0.0, 5)] * 6), Scripted([(1.0, 0.0, 5)] * 6)
    again.run(seed=11, exposure_fraction=0.2)
    other.run(seed=12, exposure_fraction=0.2)
    assert [asked[0] for asked in again.asked] == orders
    assert [asked[0] for asked in other.asked] != orders


def test_beta_of_an_ebops_ramp_follows_the_epoch_before() -> None:
    ramp = {"schedule": "ebops-ramp", "initial": 1e-5, "final": 1e-2, "warm_up": 0.0}
    run = Revivable([(1.0, 0.0, ebops) for ebops in (90_000, 20_000, 30, 30, 4000, 100)])
    run.run(beta=ramp)
    training = Recipe.model_validate({"training": {"epochs": 6, "beta": ramp}}).training
    asked = [beta for _, _, beta in run.asked]
    course = schedule.Course()
    for epoch, beta in enumerate(asked):
        assert beta == schedule.beta(training.beta, epoch, 6, course)
        course = course.survived(beta, run.epochs[epoch][2])
    assert asked[1] > asked[0]
    assert asked[3] < asked[2]


def test_each_epoch_is_told() -> None:
    told: list[tuple[int, float, Mapping[str, float], int]] = []
    run = Scripted([(0.1, 0.2, 9), (0.3, 0.4, 7)])
    recipe = Recipe.model_validate({"training": {"epochs": 2, "batch": 4}})
    run_trajectory(cast(Trainer, run), recipe, 0, run.judge, on_epoch=lambda *epoch: told.append(epoch))
    assert told == [(0, 1.0, {"one": 0.1, "two": 0.2}, 9), (1, 1.0, {"one": 0.3, "two": 0.4}, 7)]


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [(math.nan, (0.0, 1.0)), (math.inf, (0.0, 1.0)), (1.0, (0.0, math.nan)), (1.0, (0.0, math.inf))],
)
def test_what_is_not_finite_has_diverged(loss: float, outputs: tuple[float, ...]) -> None:
    with pytest.raises(
        TrainingError, match=r"diverged in epoch 0 .*: lower training\.learning_rate"
    ) as caught:
        Scripted([(1.0, 1.0, 1)] * 3, loss, outputs).run()
    assert "\n" not in str(caught.value)


def test_a_run_may_start_from_another_student() -> None:
    run, parent = Scripted([(1.0, 0.0, 5)] * 3), [np.array([1.0, 2.0])]
    run.run(seed=4, parent=parent)
    ((_, seed, begun),) = run.begun
    assert (seed, begun is parent) == (4, True)


# ---- students that die, or nearly ----------------------------------------------------------------

EPOCHS = 12


@given(st.sets(st.integers(0, EPOCHS - 1)), st.none() | st.integers(0, EPOCHS - 1))
def test_constant_epochs_are_survived_or_are_the_end(constant: set[int], last_epoch: int | None) -> None:
    # Each epoch is better than those before: what is not constant is kept if it was reached and is last.
    run = Scripted([(n / 99, 0.0, 50 + n) for n in range(EPOCHS)], constant=constant)
    trajectory = run.run(last_epoch=last_epoch)
    reached = EPOCHS if last_epoch is None else last_epoch + 1
    dead = next((n for n in range(reached) if set(range(n + 1 - DEAD_AFTER, n + 1)) <= constant), None)
    reached = reached if dead is None else dead + 1
    assert run.done == reached
    assert [s.epoch for s in trajectory.snapshots] == [n for n in range(reached) if n not in constant]
    if reached - 1 in constant:
        assert trajectory.end is None
        assert trajectory.died_at == max(n for n in range(-1, reached) if n not in constant) + 1
    else:
        assert trajectory.died_at is None
        assert trajectory.end is not None
        assert trajectory.end.epoch == reached - 1


@pytest.mark.parametrize("first", [0, 3])
def test_a_student_comes_back_before_it_is_dead(first: int) -> None:
    constant = range(first, first + DEAD_AFTER - 1)
    run = Scripted([(n / 99, 0.0, 50 - n) for n in range(EPOCHS)], constant=constant)
    trajectory = run.run()
    assert run.done == EPOCHS
    assert trajectory.died_at is None
    assert trajectory.end is not None
    assert trajectory.end.epoch == EPOCHS - 1


@pytest.mark.parametrize("first", [0, 3])
def test_a_student_is_dead_after_so_many_constant_epochs(first: int) -> None:
    constant = range(first, first + DEAD_AFTER)
    run = Scripted([(n / 99, 0.0, 50 + n) for n in range(EPOCHS)], constant=constant)
    trajectory = run.run()
    assert run.done == first + DEAD_AFTER
    assert (trajectory.died_at, trajectory.end) == (first, None)
    assert [s.epoch for s in trajectory.snapshots] == list(range(first))


def test_constant_epochs_apart_do_not_add_up() -> None:
    constant = [n for n in range(EPOCHS - 1) if n % 3]
    assert len(constant) > DEAD_AFTER
    trajectory = Scripted([(n / 99, 0.0, 50) for n in range(EPOCHS)], constant=constant).run()
    assert trajectory.died_at is None


@pytest.mark.parametrize("constant", [1, DEAD_AFTER - 1])
def test_a_student_that_is_constant_at_its_end_is_dead(constant: int) -> None:
    alive = EPOCHS - constant
    epochs = [(n / 99, 0.0, 50 + n) for n in range(EPOCHS)]
    trajectory = Scripted(epochs, constant=range(alive, EPOCHS)).run()
    assert (trajectory.died_at, trajectory.end) == (alive, None)
    assert [s.epoch for s in trajectory.snapshots] == list(range(alive))


def test_an_epoch_that_is_looked_at_while_constant_is_dead() -> None:
    epochs = [(n / 99, 0.0, 50 + n) for n in range(EPOCHS)]
    run = Scripted(epochs, constant=range(3, 3 + DEAD_AFTER - 1))
    trajectory = run.run(last_epoch=4)
    assert run.done == 5
    assert (trajectory.died_at, trajectory.end) == (3, None)


def test_a_constant_epoch_is_never_kept_nor_told() -> None:
    # It would be the best of all: no EBOPs, and scores that nothing beats.
    epochs = [(0.5, 0.5, 9), (1.0, 1.0, 0), (0.6, 0.5, 9)]
    run, told = Scripted(epochs, constant=[1]), []
    recipe = Recipe.model_validate({"training": {"epochs": 3, "batch": 4}})
    trajectory = run_trajectory(
        cast(Trainer, run), recipe, 0, run.judge, on_epoch=lambda epoch, *_: told.append(epoch)
    )
    assert [s.epoch for s in trajectory.snapshots] == [2]
    assert told == [0, 2]


# ---- a real run ---------------------------------------------------------------------------------

Judge = Callable[[NDArray[Any]], Mapping[str, float]]


def test_a_student_learns_and_loses_bits(trainer: Trainer, recipe: Recipe, judge: Judge) -> None:
    told: list[tuple[int, float, Mapping[str, float], int]] = []
    trajectory = run_trajectory(trainer, recipe, 3, judge, on_epoch=lambda *epoch: told.append(epoch))
    assert trajectory.end is not None
    assert told[-1][1] < 0.7 * told[0][1]
    assert told[-1][3] < 0.5 * told[0][3]
    assert trajectory.snapshots[0].scores[0] > 0.65
    # A kept snapshot is still the student of its epoch, whatever was trained since.
    for snapshot in trajectory.snapshots:
        trainer.load(snapshot.state)
        outputs, ebops = trainer.measure()
        assert tuple(judge(outputs).values()) == snapshot.scores
        assert ebops == snapshot.cost


def test_a_student_that_dies_ends_its_run(trainer: Trainer, recipe: Recipe, judge: Judge) -> None:
    training = recipe.training.model_dump() | {"epochs": 40, "beta": {"initial": 1e-6, "final": 1.0}}
    told: list[int] = []
    trajectory = run_trajectory(
        trainer,
        Recipe.model_validate(recipe.model_dump() | {"training": training}),
        3,
        judge,
        on_epoch=lambda epoch, *_: told.append(epoch),
    )
    assert trajectory.died_at is not None
    assert 0 < trajectory.died_at < 40 - DEAD_AFTER, "the run ended before its epochs did"
    assert trajectory.end is None
    assert told[-1] == trajectory.died_at - 1
    assert trajectory.snapshots
    assert all(snapshot.epoch < trajectory.died_at for snapshot in trajectory.snapshots)
    assert min(snapshot.cost for snapshot in trajectory.snapshots) > 0
    # It is dead where it stopped: one score for all.
    _, scores, ebops = trainer.finish()
    assert len(np.unique(scores)) == 1
    assert ebops < trajectory.snapshots[0].cost


# ---- the events of an epoch ---------------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.integers(1, 300), st.integers(0, 100), st.floats(0, 0.9), st.integers(1, 120), st.integers(0, 2**32)
)
def test_an_epoch_is_all_zero_bias_and_its_share_of_exposure(
    zero_bias: int, exposure: int, fraction: float, batch: int, seed: int
) -> None:
    order = epoch_order(zero_bias, exposure, fraction, batch, np.random.default_rng(seed))
    again = epoch_order(zero_bias, exposure, fraction, batch, np.random.default_rng(seed))
    assert order.tolist() == again.tolist()
    assert order.dtype == np.int32
    assert order.min() >= 0
    assert order.max() < zero_bias + exposure
    wanted = round(zero_bias * fraction / (1 - fraction)) if exposure else 0
    total = zero_bias + wanted
    assert len(order) == max(total // batch, 1) * batch
    if len(order) > total:
        # Fewer events than a batch: all of them, then all again.
        counts = np.bincount(order, minlength=zero_bias)[:zero_bias]
        assert len(order) // total <= counts.min() <= counts.max() <= -(-len(order) // total)
        return
    # What does not fill a batch is left out of this epoch: fewer than one batch, drawn at random.
    left_out = total - len(order)
    of_zero_bias = order[order < zero_bias]
    of_exposure = np.bincount(order[order >= zero_bias] - zero_bias, minlength=exposure)
    assert len(np.unique(of_zero_bias)) == len(of_zero_bias) >= zero_bias - left_out
    assert wanted - left_out <= of_exposure.sum() <= wanted
    if exposure and left_out == 0:
        assert of_exposure.sum() == wanted
        assert of_exposure.max() - of_exposure.min() <= 1


def test_whole_batches_hold_every_event_once() -> None:
    order = epoch_order(80, 20, 0.2, 10, np.random.default_rng(0))
    assert sorted(order) == list(range(100))
    assert order.tolist() != sorted(order)
    # exposure is spread over the epoch
    assert min((part >= 80).sum() for part in np.split(order, 4)) > 0


# ---- thinning -----------------------------------------------------------------------------------


def snapshot(epoch: int, ebops: int, score: float) -> Snapshot:
    return Snapshot(epoch, 1e-6, 1.0, (score,), ebops, [])


@st.composite
def fronts(draw: st.DrawFn) -> list[Snapshot]:
    """Fronts, fewest EBOPs first and with rising scores, from near copies to decades apart."""
    ebops = sorted(draw(st.sets(st.integers(0, 40) | st.integers(0, 10**6), min_size=1, max_size=30)))
    scores = sorted(draw(st.lists(st.floats(0.5, 1), min_size=len(ebops), max_size=len(ebops), unique=True)))
    return [snapshot(n, *figures) for n, figures in enumerate(zip(ebops, scores, strict=True))]


@given(fronts(), st.integers(1, 12))
def test_thinning_keeps_the_best_of_each_stretch(front: list[Snapshot], limit: int) -> None:
    kept = thin(front, limit)
    numbers = [s.epoch for s in kept]
    assert len(kept) <= limit
    assert numbers == sorted(set(numbers))
    assert front[-1] in kept
    if len(front) <= limit:
        assert kept == front
    # Whatever is dropped has one as good, or better, at hardly more EBOPs.
    position = [math.log(max(s.cost, 1)) for s in front]
    stretch = (position[-1] - position[0]) / limit
    for dropped in (s for s in front if s.epoch not in numbers):
        assert any(
            s.scores >= dropped.scores and abs(position[s.epoch] - position[dropped.epoch]) <= stretch + 1e-9
            for s in kept
        )


def test_thinning_spreads_over_decades() -> None:
    front = [snapshot(n, round(10 ** (n / 10)), n / 100) for n in range(10, 51)]
    kept = thin(front, 4)
    assert [s.cost for s in kept] == [100, 1000, 10_000, 100_000]
    assert thin(front, 1) == [front[-1]]
    assert thin([], 3) == []


def test_thinning_looks_at_scores_in_their_order() -> None:
    front = [
        Snapshot(0, 1e-6, 1.0, (0.8, 0.9), 100, []),
        Snapshot(1, 1e-6, 1.0, (0.9, 0.1), 101, []),
        Snapshot(2, 1e-6, 1.0, (0.9, 0.2), 102, []),
    ]
    assert thin(front, 1) == [front[2]]


# ---- back from the dead ---------------------------------------------------------------------------


RAMP = {"schedule": "ebops-ramp", "initial": 1e-5, "final": 1e-2, "warm_up": 0.0}


def test_along_an_ebops_ramp_a_student_that_dies_goes_on_as_it_was_before() -> None:
    run = Revivable([(1.0, 0.0, 90_000 - n) for n in range(20)], constant=[8, 9])
    trajectory = run.run(beta=RAMP, learning_rate=0.1)
    assert run.loaded == [(7, 108), (7, 108)], "the student and its optimizer, both times from epoch 7"
    rates, asked = [rate for _, rate, _ in run.asked], [beta for *_, beta in run.asked]
    assert rates == pytest.approx([*[0.1] * 9, 0.07, *[0.049] * 10]), "and learns more slowly"
    assert asked[9] == pytest.approx(0.1 * asked[8]), "at a lower beta"
    assert asked[10] == pytest.approx(max(0.1 * asked[9], 1e-5))
    assert (trajectory.died_at, trajectory.end and trajectory.end.epoch) == (None, 19)
    assert {8, 9}.isdisjoint(snapshot.epoch for snapshot in trajectory.snapshots)


def test_who_dies_at_once_begins_again() -> None:
    run = Revivable([(1.0, 0.0, 500)] * 3, constant=[0])
    assert run.run(beta=RAMP).died_at is None
    assert run.loaded == [(-1, 100)]


def test_who_dies_too_often_stays_dead() -> None:
    run = Revivable([(1.0, 0.0, 5000)] * 30, constant=range(2, 30))
    trajectory = run.run(beta=RAMP)
    assert len(run.asked) == 2 + REVIVALS + 1
    assert (trajectory.died_at, trajectory.end) == (2 + REVIVALS, None)
    assert [snapshot.epoch for snapshot in trajectory.snapshots] == [0]


def test_who_dies_late_stays_dead() -> None:
    run = Revivable([(1.0, 0.0, 5000)] * 20, constant=[10])
    assert run.run(beta=RAMP).died_at == 10
    assert len(run.asked) == 11


def test_along_other_ramps_nobody_is_brought_back() -> None:
    run = Revivable([(1.0, 0.0, 5000)] * 30, constant=range(2, 30))
    assert run.run().died_at == 2
    assert not run.loaded
