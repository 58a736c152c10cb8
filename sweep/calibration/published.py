"""Designs that others have routed with Vivado and published: where a calibration starts.

Ten JEDI-linear jet taggers (Que, Sun et al., "JEDI-linear: Fast and Efficient Graph Neural Networks
for Jet Tagging on FPGAs", arXiv:2508.15468), trained with HGQ and compiled by da4ml, as alkaid was
called before. The authors ship their Vivado reports with their code, github.com/calad0i/JEDI-linear,
whose `src/syn_test.py` names the part, the clock aimed at (2 ns) and stages of two adders. The figures
are carried over from a table of those reports: LUT, FF, cycles and the clock achieved after routing,
and adder-graph cost, the estimate. It has no estimate of registers and no version of Vivado.

They are networks of 34,000 to 101,000 LUT on another part and clock than CICADA's. The intervals of
a calibration widen accordingly, and a study's own designs soon outweigh these.
"""

from sweep.calibration.features import Estimate
from sweep.calibration.model import Design

#: What the figures are of: the tool, how far it went, and the part.
PUBLISHED_TOOL = "vivado"
PUBLISHED_STAGE = "routed"
PUBLISHED_PART = "xcvu13p-flga2577-2-e"

_SOURCE = "arXiv:2508.15468"
_CLOCK_NS = 2.0  # aimed at; none of them met it


def _design(
    name: str, ebops: int, adder_graph: float, lut: int, ff: int, cycles: int, achieved_ns: float
) -> Design:
    estimate = Estimate(adder_graph, ebops=ebops, latency_cycles=cycles, clock_ns=_CLOCK_NS)
    return Design(f"JEDI-linear {name}", estimate, lut, ff, cycles * achieved_ns, _SOURCE)


PUBLISHED: tuple[Design, ...] = (
    # name, EBOPs, adder-graph cost, LUT, FF, cycles, clock achieved in ns
    _design("8-particle-3-feature", 43197, 34161.5, 35684, 20016, 19, 2.594),
    _design("8-particle-16-feature", 60577, 47642.0, 51670, 27626, 19, 2.781),
    _design("16-particle-3-feature", 57237, 42015.5, 43809, 22438, 19, 2.822),
    _design("16-particle-16-feature", 45116, 34736.5, 37675, 20106, 20, 2.62),
    _design("32-particle-3-feature", 66425, 45471.5, 45299, 25668, 19, 3.325),
    _design("32-particle-16-feature", 77468, 58026.0, 61904, 33131, 21, 2.876),
    _design("64-particle-3-feature", 102664, 69233.0, 70704, 38305, 20, 3.045),
    _design("64-particle-16-feature", 116939, 82985.5, 84326, 46736, 22, 3.051),
    _design("128-particle-3-feature", 144427, 100961.0, 97822, 48231, 21, 3.882),
    _design("128-particle-16-feature", 127525, 91132.0, 92580, 46023, 22, 3.5),
)
