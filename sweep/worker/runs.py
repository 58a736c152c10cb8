"""What a worker's loop and that which trains agree on: results, and when to stop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psutil
from optuna.trial import FrozenTrial

from objectives.errors import TrainingError
from objectives.recipe import Recipe
from sweep import records
from sweep.study_file import StudyFile

#: Seconds between two checkpoints of a run: what the heir of a killed worker trains again, at most ...
CHECKPOINT_EVERY = 60.0
#: ... and training of so many seconds is worth one before its students are measured.
WORTH_A_CHECKPOINT = 5.0
#: Seconds between two looks at the memory in use.
LOOK_AT_MEMORY = 2.0


@dataclass(frozen=True)
class Measured:
    """One student of a run: what its trial records, its objectives and constraints, and its folder.

    `values` is None for one that could not be measured; `attributes` then say why.
    """

    epoch: int
    beta: float
    attributes: Mapping[str, Any]
    values: tuple[float, ...] | None
    constraints: Mapping[str, float]
    folder: Path | None = None

    @classmethod
    def of(cls, file: StudyFile, attributes: Mapping[str, Any], folder: Path | None = None) -> "Measured":
        """Return a measured student by the attributes of its trial (`records.point_attributes`)."""
        validation, cost = attributes["validation"], attributes["cost"]
        return cls(
            attributes["epoch"],
            attributes["beta"],
            attributes,
            tuple(records.metric(name, validation, cost) for name in file.objectives),
            records.constraint_values(file.constraints, validation, cost),
            folder,
        )


@dataclass(frozen=True)
class Result:
    """What a run gave: harvested epochs, the student at its end, and what went wrong, if anything did."""

    points: tuple[Measured, ...]
    end: Measured | None
    problem: str | None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class HandBack(Exception):
    """The worker is to leave its run to another one; the reason is the exception's text."""


@dataclass(frozen=True)
class Limits:
    """What one run may take: seconds by the clock, and memory of the worker and its compiler, in GiB."""

    seconds: float | None = None
    memory_gib: float | None = None


NO_LIMITS = Limits()


class Watch:
    """Looks, between two epochs or students of one run, whether there is a reason not to go on."""

    def __init__(self, stop: Callable[[], str | None], limits: Limits) -> None:
        self._stop = stop
        self._limits = limits
        self._began = self._saved = self._looked = time.monotonic()
        self._core_seconds = core_seconds()
        #: Processor time of attempts that this one goes on from.
        self.earlier_seconds = 0.0

    def seconds(self) -> float:
        """Return the processor time of the run so far, in seconds."""
        return self.earlier_seconds + core_seconds() - self._core_seconds

    def look(self, save: Callable[[], None] = lambda: None, *, trained: bool = False) -> None:
        """Raise HandBack when the worker is to stop, and TrainingError when the run took too much.

        `save` writes a checkpoint: before a HandBack, now and then, and when the training is over.
        """
        reason = self._stop()
        if reason is not None:
            save()
            raise HandBack(reason)
        now = time.monotonic()
        self._check_limits(now)
        if now - self._saved > (WORTH_A_CHECKPOINT if trained else CHECKPOINT_EVERY):
            save()
            self._saved = now

    def _check_limits(self, now: float) -> None:
        seconds, memory = self._limits.seconds, self._limits.memory_gib
        if seconds is not None and now - self._began > seconds:
            raise TrainingError(f"the run took longer than its worker allows ({seconds:g} s)")
        if memory is not None and now - self._looked > LOOK_AT_MEMORY:
            self._looked = now
            used = memory_in_use() / 2**30
            if used > memory:
                raise TrainingError(
                    f"the run took more memory than its worker allows ({used:.1f} of {memory:g} GiB)"
                )


class Runs(Protocol):
    """Trains and measures the runs of one study: for good, or as a simulation (`sweep.testing`)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def is_compiled(self, recipe: Recipe) -> bool:
        """Tell whether a run of this recipe needs no new graph."""
        ...

    @property
    def is_worn_out(self) -> bool:
        """Tell whether another process should go on, for this one cannot give back memory that it holds."""
        ...

    def train(self, run: FrozenTrial, watch: Watch) -> Result:
        """Train a run and measure its students; raises TrainingError for one that cannot be trained."""
        ...

    def forget(self, run: FrozenTrial) -> None:
        """Remove what was kept of a run for the case that its worker dies."""
        ...


def core_seconds() -> float:
    """Return the processor time of this process and those below it, in seconds.

    Those that have ended count, too: a compiler that was killed did not give its time back.
    """
    return float(sum(sum(times[:4]) for times in _of_family("cpu_times")))


def memory_in_use() -> int:
    """Return the bytes that this process and those below it hold in memory."""
    return int(sum(memory.rss for memory in _of_family("memory_info")))


def _of_family(what: str) -> list[Any]:
    me = psutil.Process()
    found = []
    for process in (me, *me.children(recursive=True)):
        try:
            found.append(getattr(process, what)())
        except psutil.NoSuchProcess:
            continue
    return found
