"""What a user sees while a study runs: a bar for each thing under way, a line for each point."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sweep.messages import Message, Noticed, PointFound, RunEnded, WorkerEnded, Working


class Display:
    """Shows messages of workers, live on a terminal and line by line elsewhere."""

    def __init__(self, console: Console, runs: int, done: int, unit: str = "runs") -> None:
        self.console = console
        self.started = time.monotonic()
        self.points = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, str] = {}
        self._study = self._progress.add_task(unit, total=runs, completed=done, detail="", visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, done: int, total: int | None = None) -> None:
        """Show how many runs of the study, or syntheses, are done."""
        self._progress.update(self._study, completed=done, total=total, visible=True)

    def under_way(self, lines: Mapping[str, str]) -> None:
        """Show what runs now, {name: last line of its log}; what is not named has ended."""
        for name in [name for name in self._tasks if name not in lines]:
            self._end(name)
        for name, line in lines.items():
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=None, detail="")
            self._progress.update(self._tasks[name], detail=escape(line[:60]))

    def show(self, message: Message) -> None:
        """Show one message."""
        match message:
            case Working():
                self._show_work(message)
            case PointFound():
                self.points += 1
                origin = "end of the run" if message.trial == message.parent else f"run {message.parent}"
                self.line(f"point {message.trial} ({origin}, epoch {message.epoch}): {message.line}")
            case RunEnded():
                self._end(message.worker)
                ending = f"; {message.problem}" if message.problem else ""
                self.line(f"run {message.run}: {message.points} points in {message.seconds:.0f} s{ending}")
            case Noticed():
                self.line(f"{message.worker}: {message.text}")
            case WorkerEnded():
                self._end(message.worker)

    def _show_work(self, message: Working) -> None:
        what = message.what if message.run is None else f"run {message.run}: {message.what}"
        if not self.console.is_terminal:
            # A log wants to know what began, not every step of it.
            if self._last_line.get(message.worker) != what:
                self._last_line[message.worker] = what
                if message.run is None or message.what in ("compiling", "training"):
                    self.line(what)
            return
        if message.run is None and message.worker == "preparation":
            key = message.what
        else:
            key = message.worker
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(what, total=message.total, detail="")
        task = self._tasks[key]
        self._progress.update(
            task, description=what, completed=message.done, total=message.total, detail=message.detail
        )

    def _end(self, worker: str) -> None:
        task = self._tasks.pop(worker, None)
        if task is not None:
            self._progress.remove_task(task)

    def line(self, text: str) -> None:
        """Print one line, with the seconds since the start."""
        seconds = time.monotonic() - self.started
        self.console.print(f"[{seconds:6.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)
