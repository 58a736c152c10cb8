"""What a run leaves besides its records, put into the study's artifact store before anybody hears of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from sweep.artifacts import stores
from sweep.artifacts.students import LOG, STUDENT, archive
from sweep.messages import Message, Noticed, Tell, Working
from sweep.study import Study
from sweep.worker.runs import Measured, Result


@dataclass(frozen=True)
class Kept:
    """Ids of artifacts by name: of each point, by its epoch, and of the run's own trial."""

    points: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    run: Mapping[str, str] = field(default_factory=dict)


NOTHING = Kept()


class RunLog:
    """Hands messages on, and notes of each run what a person would look for if it went wrong."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lines: list[str] = []
        self._doing = ""

    def __call__(self, message: Message) -> None:
        if isinstance(message, Noticed):
            self.note(message.text)
        elif isinstance(message, Working) and message.what != self._doing:
            self._doing = message.what
            self.note(message.what)
        self._tell(message)

    def begin(self, text: str) -> None:
        """Start anew, with a first line."""
        self._lines, self._doing = [], ""
        self.note(text)

    def note(self, text: str) -> None:
        """Add a line, with the time in UTC."""
        self._lines.append(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def keep(study: Study, result: Result, log: RunLog) -> Kept:
    """Put the students of a run and its log into the study's artifact store, if it has one.

    Raises ArtifactError; then none of them is recorded.
    """
    place = study.artifacts
    if place is None:
        return NOTHING
    points = {point.epoch: _student(place, point) for point in result.points}
    run = {} if result.end is None or result.problem is not None else _student(place, result.end)
    log.note(result.problem or f"{len(result.points)} points, {len(run)} at the end")
    return Kept(points, {**run, LOG: stores.put(place, log.text().encode())})


def _student(place: str, measured: Measured) -> dict[str, str]:
    if measured.folder is None:
        return {}
    return {STUDENT: stores.put(place, archive(measured.folder))}
