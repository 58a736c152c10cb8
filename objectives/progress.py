"""How long work in `objectives` tells its caller how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; `done` counts up to `total` for each `what`."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` for callers that show nothing."""
