"""What each form of an export is: files that can be written, and scores that they give."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from alkaid.types import CombLogic
from numpy.typing import NDArray

from sweep.export.vectors import Vectors
from sweep.synthesis.target import Strategy, Target

FormName = Literal["keras", "rtl", "hls", "cmssw"]

#: Collisions that a form carries for its own test bench.
BENCH_EVENTS = 200


@dataclass(frozen=True)
class Source:
    """A measured student, and what it is built for."""

    #: Its folder, as `sweep.records` writes it.
    folder: Path
    scheme: str
    logic: CombLogic
    target: Target
    #: Of the emulator, as 0.0.42.
    version: str
    vectors: Vectors
    #: Raw scores (n,) of the vectors.
    scores: NDArray[np.uint16]

    @property
    def strategy(self) -> Strategy:
        return self.target.strategy

    def bench(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Return collisions of every kind (m, 252) and their raw scores (m,), for a test bench."""
        kinds = len(self.vectors.collisions)
        each = max(BENCH_EVENTS // max(kinds, 1), 1)
        starts = np.cumsum([0, *(count for _, count in self.vectors.kinds)])
        chosen = np.concatenate(
            [np.arange(starts[n], min(starts[n] + each, starts[n + 1])) for n in range(kinds)]
        )
        return self.vectors.regions[chosen], self.scores[chosen]


@dataclass(frozen=True)
class Answer:
    """Raw scores (n,) that a form gives, and the versions of what ran it."""

    scores: NDArray[np.uint16]
    tools: dict[str, str]


class Form(ABC):
    """One form of an export, in a folder of its name."""

    name: ClassVar[FormName]

    @abstractmethod
    def write(self, source: Source, folder: Path) -> None:
        """Write the form into `folder`, which is there and empty."""

    @abstractmethod
    def answer(self, folder: Path, scheme: str, vectors: Vectors, scratch: Path) -> Answer:
        """Return the scores that what is in `folder` gives the events; build in `scratch`.

        Raises NotVerifiedError when a program that this takes is not here, ExportError when it fails.
        """
