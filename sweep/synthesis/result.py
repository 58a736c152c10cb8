"""How a synthesis ended, and what the tool said."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sweep.synthesis.target import Stage, ToolName


class Outcome(StrEnum):
    """How one run of a tool ended."""

    OK = "ok"
    DESIGN_FAILED = "design failed"  # the tool refused the design: it would refuse it again
    TOOL_FAILED = "tool failed"  # the tool or its surroundings broke
    LICENCE_MISSING = "licence missing"
    TIMED_OUT = "timed out"
    KILLED = "killed"  # by the memory limit, the operating system or a person


@dataclass(frozen=True)
class StageResult:
    """What a tool says of a design at one stage; None is what this tool or stage does not say.

    `wns_ns` is the worst slack of the clock, `clock_ns` the longest path that a tool without
    timing closure estimates, `latency_cycles` from the first input register to the output.
    """

    tool: ToolName | str
    version: str
    stage: Stage | str
    part: str
    lut: int
    ff: int
    dsp: int
    bram: float
    carry: int | None = None
    wns_ns: float | None = None
    clock_ns: float | None = None
    power_w: float | None = None
    latency_cycles: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the form of `synthesis` in `sweep front --json`."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """The outcome, the lines that show it, and for `ok` what was found, the last stage last."""

    outcome: Outcome
    evidence: tuple[str, ...] = ()
    results: tuple[StageResult, ...] = ()
