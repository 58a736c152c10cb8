"""What every launcher does: show what it would start, start it, tell how it is, stop it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """What one worker asks of a batch system; None leaves it to the system's defaults.

    `minutes` is the wall-clock limit of a job, `partition` Slurm's, `account` Slurm's account or HTCondor's
    accounting group.
    """

    cpus: int = 1
    memory_gib: float = 3.0
    minutes: int = 24 * 60
    gpus: int = 0
    partition: str | None = None
    account: str | None = None


@dataclass(frozen=True)
class Order:
    """So many workers, each by the same command, with logs in a folder that they all reach.

    `environment` is what workers need beside what a batch system passes on. What is secret stays there:
    a command is seen by every user of a machine.
    """

    study: str
    workers: int
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    resources: Resources


class Launcher(ABC):
    """Starts workers in one way."""

    #: As in `sweep launch --engine`.
    name: str
    #: Whether its workers may be on other machines, which SQLite does not serve.
    many_machines: bool

    @abstractmethod
    def describe(self, order: Order) -> str:
        """Return what `start` would run or submit, as text."""

    @abstractmethod
    def start(self, order: Order) -> list[str]:
        """Start the workers; return what they are known by, one a worker.

        Raises LaunchError when the batch system is not there, or refuses.
        """

    @abstractmethod
    def states(self, jobs: Sequence[str]) -> dict[str, str]:
        """Return the state of each job: waiting, running, ended or unknown."""

    @abstractmethod
    def stop(self, jobs: Sequence[str]) -> None:
        """End the jobs in order: those that wait never start, those that run hand back what they hold."""
