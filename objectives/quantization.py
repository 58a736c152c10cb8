"""How a student is quantized: granularity, initial bitwidths, overflow and rounding.

The words are HGQ's. A quantizer of kind *kbi* has a sign bit k, b bits without sign, i of them
integer; one of kind *kif* has i integer and f fractional bits.
"""

from typing import Literal

from pydantic import Field

from objectives.config import Config

Granularity = Literal["parameter", "channel", "layer"]
Overflow = Literal["WRAP", "SAT", "SAT_SYM"]
Rounding = Literal["RND", "RND_CONV", "TRN"]


class WeightQuantization(Config):
    """Quantizers of kernels (kind kbi). `bits` excludes the sign, `integer_bits` may be negative."""

    granularity: Granularity = "parameter"
    bits: int = Field(8, ge=1, le=16)
    integer_bits: int = Field(2, ge=-8, le=8)
    overflow: Overflow = "SAT_SYM"
    rounding: Rounding = "RND"


class DataQuantization(Config):
    """Quantizers of activations (kind kif)."""

    granularity: Granularity = "parameter"
    integer_bits: int = Field(2, ge=-8, le=12)
    fractional_bits: int = Field(6, ge=-8, le=16)
    overflow: Overflow = "WRAP"
    rounding: Rounding = "RND"


class Quantization(Config):
    """A student's quantization scheme and its starting point."""

    scheme: Literal["hgq"] = "hgq"
    weights: WeightQuantization = WeightQuantization()
    data: DataQuantization = DataQuantization()
