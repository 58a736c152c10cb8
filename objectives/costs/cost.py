"""What a student costs on the FPGA, by source of the figure."""

from dataclasses import asdict, dataclass
from typing import Any

#: HGQ's exchange rate: one DSP stands for this many LUTs (Sun et al., arXiv:2405.00645).
LUT_PER_DSP = 55


@dataclass(frozen=True)
class Cost:
    """Cost of one student; LUT and DSP are those of the adder-graph design, which has no DSP.

    The `hls_` figures estimate the same student as C synthesis of its hls4ml project counts it.
    """

    lut: float
    ff: int
    dsp: float
    ebops: int
    latency_cycles: int
    latency_ns: float
    hls_lut: float
    hls_dsp: float
    source: str = "estimated"

    @property
    def lut_equivalent(self) -> float:
        return self.lut + LUT_PER_DSP * self.dsp

    @property
    def hls_lut_equivalent(self) -> float:
        return self.hls_lut + LUT_PER_DSP * self.hls_dsp

    def as_json(self) -> dict[str, Any]:
        """Return the form of the `sweep front --json` contract."""
        derived = {"lut_equivalent": self.lut_equivalent, "hls_lut_equivalent": self.hls_lut_equivalent}
        return {**asdict(self), **derived}
