"""What C synthesis of a student's hls4ml project would count: LUTs and DSPs, estimated.

In an hls4ml design at full parallelism every weight has a multiplier of its own. By a constant of
few signed digits it is shifts and additions in LUTs; a constant of three digits or more on a wide
product becomes a DSP. Each output then sums its products, and each activation is clipped and
rounded. Nothing is shared between outputs, which is why the adder graph of the same student is so
much smaller.

    LUT = LUT_PER_ADDER_BIT * (bits of all additions) + LUT_PER_DATA_BIT * (bits of all activations)

The two thresholds were chosen so that the DSPs of the published QKeras student come out, and the two
rates fitted by hand to the four published CICADA students with LUT counts (Vitis HLS 2021.1,
xc7vx690t): the deployed v2.1.2 weights stood for the QKeras row, students of equal EBOPs trained here
for the HGQ rows. docs/costs.md shows how far off it is. These are C-synthesis counts: Vivado finds 1.9
to 3.6 times fewer LUTs in the same design.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork

#: Signed digits of a constant from which a wide product takes a DSP.
DSP_DIGITS = 3
#: Width of a product, in bits, from which it may take a DSP.
DSP_WIDTH = 16
LUT_PER_ADDER_BIT = 2.75
LUT_PER_DATA_BIT = 7.5

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class HlsEstimate:
    """LUTs and DSPs as Vitis HLS would report them after C synthesis."""

    lut: float
    dsp: int


def estimate_hls(network: QuantizedNetwork) -> HlsEstimate:
    """Return the estimate for one student."""
    widths: Ints = np.zeros(network.input_shape, np.int64)
    adder_bits = data_bits = dsp = 0
    for step in network.steps:
        match step:
            case Quantize():
                widths = np.maximum(np.broadcast_to(step.k + step.i + step.f, widths.shape), 0)
                data_bits += int(widths.sum())
            case Flatten():
                widths = widths.reshape(-1)
            case Convolve():
                windows = step.windows(widths)
                bits, used = _multipliers(windows.reshape(-1, windows.shape[-1]), step.matrix())
                adder_bits, dsp = adder_bits + bits, dsp + used
                widths = np.zeros((*windows.shape[:-1], step.kernel.shape[-1]), np.int64)
            case Dense():
                bits, used = _multipliers(widths[None], step.kernel)
                adder_bits, dsp = adder_bits + bits, dsp + used
                widths = np.zeros(step.kernel.shape[1], np.int64)
    return HlsEstimate(LUT_PER_ADDER_BIT * adder_bits + LUT_PER_DATA_BIT * data_bits, dsp)


def _multipliers(widths: Ints, constants: NDArray[Any]) -> tuple[int, int]:
    """Return (bits of additions, DSPs) of widths (m, n) of data times constants (n, outputs)."""
    odd = odd_parts(constants)
    digits = signed_digits(odd)
    product = widths[:, :, None] + np.ceil(np.log2(np.abs(odd) + 1)).astype(np.int64)
    there = (widths[:, :, None] > 0) & (odd != 0)
    in_dsp = there & (digits >= DSP_DIGITS) & (product >= DSP_WIDTH)
    shift_and_add = (digits - 1) * product * (there & ~in_dsp)
    return int((shift_and_add + product * there).sum()), int(in_dsp.sum())


def odd_parts(constants: NDArray[Any]) -> Ints:
    """Return each constant (an integer times a power of two) without its factors of two."""
    mantissa, _ = np.frexp(np.asarray(constants, np.float64))
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = np.where(whole == 0, 1, whole & -whole)
    return np.asarray(whole // lowest, np.int64)


def signed_digits(integers: Ints) -> Ints:
    """Return the number of digits that are not zero in the canonical signed-digit form of each integer.

    The canonical form has the fewest: it is where n and 3n differ in binary (Prodinger, 2000).
    """
    n = np.abs(integers)
    return np.asarray(np.bitwise_count(n ^ (3 * n)), np.int64)
