"""A run that is left between two epochs and gone on with by another process ends as if it had not been."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from objectives.errors import TrainingError
from objectives.recipe import Recipe
from objectives.training.checkpoint import Checkpoint
from objectives.training.schedule import Course
from objectives.training.trainer import Trainer
from objectives.training.trajectory import Snapshot, Trajectory, run_trajectory

Judge = Callable[[NDArray[Any]], Mapping[str, float]]


class Left(Exception):
    """Somebody told the worker to stop."""


def snapshot(epoch: int, ebops: int = 100) -> Snapshot:
    state = [np.full((2, 3), epoch, np.float32), np.array(epoch, np.int64)]
    return Snapshot(epoch, 1e-5 * epoch, 1 / (1 + epoch), (0.1 * epoch, 0.7), ebops, state)


def checkpoint(**changes: Any) -> Checkpoint:
    model = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((), np.int8)]
    front = [snapshot(1), snapshot(4)]
    return dataclasses.replace(
        Checkpoint(
            5, Course(2e-5, 120, 1e-3, 0.7, 1), model, [np.ones(4, np.float64)], front, front[1], None, 12.5
        ),
        **changes,
    )


def content(of: Checkpoint) -> Any:
    """Return all that a checkpoint is, as plain values."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return str(value.dtype), value.shape, value.tolist()
        if isinstance(value, Snapshot):
            return [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return [plain(part) for part in value] if isinstance(value, list) else value

    return [plain(getattr(of, field.name)) for field in dataclasses.fields(of)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"front": [], "newcomer": None, "constant_since": 0},
        {"newcomer": snapshot(4), "front": [snapshot(1)]},  # the last epoch is dominated
        {"constant_since": 3, "newcomer": None},
    ],
)
def test_what_is_read_is_what_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    kept = checkpoint(**changes)
    kept.save(tmp_path / "deep" / "7.npz", "run 7")
    read = Checkpoint.load(tmp_path / "deep" / "7.npz", "run 7")
    assert content(read) == content(kept)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["7.npz"], "nothing half-written is left"
    if kept.newcomer in kept.front:
        assert any(each is read.newcomer for each in read.front), "the end of a run is one of its students"


def test_a_checkpoint_of_another_run_or_none_at_all_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "7.npz"
    checkpoint().save(file, "run 7")
    with pytest.raises(TrainingError, match="another run"):
        Checkpoint.load(file, "run 8")
    whole = file.read_bytes()
    for spoiled in (whole[: len(whole) // 2], b"", b"no archive", whole[:100] + b"\0" * 50 + whole[150:]):
        file.write_bytes(spoiled)
        with pytest.raises(TrainingError, match=r"7.npz: cannot be read as a checkpoint"):
            Checkpoint.load(file, "run 7")
    with pytest.raises(TrainingError, match="cannot be read"):
        Checkpoint.load(tmp_path / "none.npz", "run 7")


def test_an_object_that_would_have_to_be_unpickled_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "7.npz"
    np.savez(file, header=np.array({"about": "run 7"}, dtype=object))
    with pytest.raises(TrainingError, match="cannot be read"):
        Checkpoint.load(file, "run 7")


@pytest.mark.parametrize("ramp", ["log-ramp", "ebops-ramp"])
def test_a_run_that_was_left_ends_as_if_it_had_not_been(
    ramp: str, trainer: Trainer, recipe: Recipe, judge: Judge, tmp_path: Path
) -> None:
    content = recipe.model_dump()
    content["training"]["beta"]["schedule"] = ramp
    recipe = Recipe.model_validate(content)
    undisturbed = run_trajectory(trainer, recipe, 3, judge)
    file = tmp_path / "0.npz"

    def leave(epochs: int, make: Callable[[], Checkpoint | None]) -> None:
        if epochs == 5:
            kept = make()
            assert kept is not None
            kept.save(file, "run 0")
            raise Left

    with pytest.raises(Left):
        run_trajectory(trainer, recipe, 3, judge, between_epochs=leave)
    run_trajectory(trainer, recipe, 99, judge, last_epoch=2)  # another run of the same worker
    told: list[int] = []
    again = run_trajectory(
        trainer,
        recipe,
        3,
        judge,
        resume=Checkpoint.load(file, "run 0"),
        on_epoch=lambda epoch, *_: told.append(epoch),
    )
    assert told == list(range(5, recipe.training.epochs)), "nothing is trained twice"
    assert_same(again, undisturbed)


def assert_same(one: Trajectory, other: Trajectory) -> None:
    """Bit for bit."""
    assert one.died_at == other.died_at
    assert len(one.snapshots) == len(other.snapshots)
    assert one.end is not None
    assert other.end is not None
    for mine, theirs in zip([*one.snapshots, one.end], [*other.snapshots, other.end], strict=True):
        assert (mine.epoch, mine.beta, mine.loss, mine.scores, mine.cost) == (
            theirs.epoch,
            theirs.beta,
            theirs.loss,
            theirs.scores,
            theirs.cost,
        )
        for a, b in zip(mine.state, theirs.state, strict=True):
            np.testing.assert_array_equal(a, b)
