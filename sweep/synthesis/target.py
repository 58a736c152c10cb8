"""What a design is synthesized for: all that decides the figures, and nothing else."""

from typing import Literal

from pydantic import Field

from objectives.config import Config
from objectives.costs.config import Hardware

ToolName = Literal["yosys", "vivado", "vitis"]
Stage = Literal["synthesized", "routed"]
Implementation = Literal["adder_graph", "hls4ml"]
Strategy = Literal["latency", "distributed_arithmetic"]


class Target(Config):
    """Tool, device and clock of a synthesis; its digest is part of a job's unique key.

    `stage` is how far the tool goes. `dsp` lets Yosys map multipliers to DSPs. `strategy` is
    hls4ml's, for the tool `vitis`.
    """

    tool: ToolName = "yosys"
    stage: Stage = "synthesized"
    dsp: bool = False
    strategy: Strategy = "latency"
    hardware: Hardware = Field(default_factory=Hardware)

    @property
    def implementation(self) -> Implementation:
        """How the student becomes logic: its adder graph as RTL, or its hls4ml project."""
        return "hls4ml" if self.tool == "vitis" else "adder_graph"
