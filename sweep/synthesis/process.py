"""Running a tool: a process group of its own, with limits, that nothing outlives."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Limits:
    """Wall-clock seconds, and bytes of resident memory of all processes of a run together."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    `exit_code` is None unless `reason` is `exited`; it is negative for a signal that came from
    elsewhere. `seconds` is wall-clock time.
    """

    reason: Literal["exited", "timed out", "out of memory", "stopped"]
    exit_code: int | None
    seconds: float
    peak_memory_bytes: int = 0


def run_process(
    arguments: tuple[str, ...],
    folder: Path,
    log: Path,
    limits: Limits,
    *,
    stop: threading.Event | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Ending:
    """Run `arguments` in `folder`, everything that it prints going to `log`."""
    raise NotImplementedError
