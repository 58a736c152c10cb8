"""The one interface of synthesis tools: write a project, say what to run, judge what came of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.synthesis.process import Ending
from sweep.synthesis.result import Verdict
from sweep.synthesis.target import Target, ToolName


@dataclass(frozen=True)
class Command:
    """One process of a tool's run: its arguments, run in the job's folder, and its log's name there."""

    arguments: tuple[str, ...]
    log: str


class Tool(ABC):
    """A synthesis tool for one target.

    A run is: `write` the project into an empty folder, run `commands` in order in that folder until
    one does not end with exit code 0, and `judge` what is there.
    """

    name: ClassVar[ToolName]

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def version(self) -> str:
        """Return the tool's version; raises SynthesisError when it is not installed here."""

    @abstractmethod
    def write(self, student: Path, folder: Path) -> None:
        """Write what a run needs into `folder`, from a student's folder.

        `student` holds student.keras, adder_graph.json.gz and student.json. Raises SynthesisError
        when the student cannot be read.
        """

    @abstractmethod
    def commands(self, folder: Path) -> tuple[Command, ...]:
        """Return what to run in `folder`, in order."""

    @abstractmethod
    def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
        """Return what came of it: `ok` only if every sign of success is there.

        `endings` has one entry for each command that was started.
        """

    @abstractmethod
    def reports(self, folder: Path) -> tuple[Path, ...]:
        """Return the reports, sources and checkpoints of `folder` that are worth keeping."""
