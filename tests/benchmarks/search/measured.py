"""What a search finds, and what all its students are compared by; no TensorFlow here."""

from dataclasses import dataclass
from pathlib import Path

#: What every way of searching is given.
STUDY_FILE = Path(__file__).with_name("problem.yaml")


@dataclass(frozen=True)
class Candidate:
    """A student that a search found, before anybody compared it; `model` is its file's name.

    `core_seconds` is the processor time that the search had used by then.
    """

    core_seconds: float
    model: str


@dataclass(frozen=True)
class Measured:
    """A student on the common scale: mean AUC of both parts, LUT and latency of its adder graph."""

    core_seconds: float
    validation: float
    test: float
    lut: float
    latency_ns: float
