"""What is exported in tests, and for which target."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.export.form import Source
from sweep.export.vectors import Vectors
from sweep.export.verification import Verified
from sweep.synthesis.target import Target

TARGET = Target(tool="vitis")
ABOUT = {"study": "a study", "trial": 7, "design": "0123456789abcdef", "emulator_version": "0.0.7"}


@dataclass(frozen=True)
class Student:
    """A saved student, and what Keras says of events."""

    folder: Path
    model: Any
    network: Any

    def source(self, collisions: dict[str, NDArray[np.uint16]], version: str) -> Source:
        """Return it as forms are given it, with the scores of Keras itself."""
        from objectives.costs.rtl import load_logic
        from objectives.costs.score_port import raw_scores
        from tests.objectives.students import keras_scores

        vectors = Vectors(collisions, 500)
        scores = raw_scores(keras_scores(self.model, vectors.images()))
        return Source(self.folder, "hgq", load_logic(self.folder), TARGET, version, vectors, scores)


@dataclass(frozen=True)
class Exported:
    """An export of all forms."""

    folder: Path
    found: Verified
