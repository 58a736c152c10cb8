"""What a worker tells the process that started it, to be shown."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Working:
    """A worker is at `done` of `total` of `what` in a run."""

    worker: str
    run: int | None
    what: str
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True)
class PointFound:
    """A student was measured and is in the study."""

    worker: str
    trial: int
    parent: int
    epoch: int
    line: str


@dataclass(frozen=True)
class RunEnded:
    """A training run is over; `problem` says why it is not a finished trial, if it is not."""

    worker: str
    run: int
    points: int
    seconds: float
    problem: str | None


@dataclass(frozen=True)
class Noticed:
    """Something a user should know that ends nothing."""

    worker: str
    text: str


@dataclass(frozen=True)
class WorkerEnded:
    """The worker has nothing left to do, or stopped with an error of one line.

    One that is `worn_out` has more to do, and another is to take its place.
    """

    worker: str
    error: str | None
    worn_out: bool = False


Message = Working | PointFound | RunEnded | Noticed | WorkerEnded
Tell = Callable[[Message], None]
