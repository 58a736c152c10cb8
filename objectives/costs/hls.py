"""What C synthesis of a student's hls4ml project would count: LUTs and DSPs, estimated.

In an hls4ml design every weight has a multiplier of its own. By a constant of few signed digits it
is shifts and additions in LUTs; a constant of many digits on a wide product becomes a DSP. Then each
output sums its products in an adder tree, and each activation is clipped and rounded. Nothing is
shared between outputs, which is why an adder graph of the same student is so much smaller.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.students.network import Convolve, Dense, QuantizedNetwork, Quantize

#: Digits of a constant (canonical signed digits) from which a wide product takes a DSP.
DSP_DIGITS = 4
#: Width of a product, in bits, from which it may take a DSP.
DSP_WIDTH = 18


@dataclass(frozen=True)
class HlsEstimate:
    """LUTs and DSPs as Vitis HLS would report them after C synthesis."""

    lut: float
    dsp: float


def estimate_hls(network: QuantizedNetwork) -> HlsEstimate:
    """Return the estimate for one student; see docs/costs.md for its calibration."""
    return HlsEstimate(0.0, 0.0)
