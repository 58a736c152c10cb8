"""How a student is quantized: by HGQ, which trains bitwidths, or by QKeras, which is told them.

For the scheme `hgq`: granularity, initial bitwidths, overflow and rounding, in HGQ's words. A
quantizer of kind *kbi* has a sign bit k, b bits without sign, i of them integer; one of kind *kif* has
i integer and f fractional bits. For the scheme `qkeras`: the bitwidths of each layer, in its words.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from objectives.config import Config

Granularity = Literal["parameter", "channel", "layer"]
Overflow = Literal["WRAP", "SAT", "SAT_SYM"]
Rounding = Literal["RND", "RND_CONV", "TRN"]

#: Integer and fractional bits of the score that leaves the chip, ap_ufixed<16, 8>.
SCORE_BITS = (8, 8)


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


def _check_fit(name: str, bits: int, integer_name: str, integer_bits: int, sign: int = 1) -> None:
    if integer_bits > bits - sign:
        besides = " besides the sign" if sign else ""
        raise ValueError(f"{integer_name} {integer_bits} does not fit into {name} {bits}{besides}")


class ConvBits(Config):
    """Bitwidths of QKeras around the convolution: its kernel, and the ReLU behind it.

    `bits` and `integer_bits` are those of `quantized_bits(bits, integer_bits, 1, alpha=1)`, in which
    `bits` counts the sign; `relu_bits` and `relu_integer_bits` those of `quantized_relu`.
    """

    bits: int = Field(12, ge=2, le=16)
    integer_bits: int = Field(3, ge=0, le=8)
    relu_bits: int = Field(10, ge=1, le=16)
    relu_integer_bits: int = Field(6, ge=0, le=12)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        _check_fit("bits", self.bits, "integer_bits", self.integer_bits)
        _check_fit("relu_bits", self.relu_bits, "relu_integer_bits", self.relu_integer_bits, sign=0)
        return self


class HiddenBits(ConvBits):
    """The same around the hidden layer, and of its bias."""

    bits: int = Field(8, ge=2, le=16)
    integer_bits: int = Field(1, ge=0, le=8)
    bias_bits: int = Field(8, ge=2, le=16)
    bias_integer_bits: int = Field(3, ge=0, le=8)

    @model_validator(mode="after")
    def _bias_fits(self) -> Self:
        _check_fit("bias_bits", self.bias_bits, "bias_integer_bits", self.bias_integer_bits)
        return self


class OutputBits(Config):
    """Bitwidths of the last kernel; the score behind it is always `quantized_relu(16, 8)`."""

    bits: int = Field(12, ge=2, le=16)
    integer_bits: int = Field(3, ge=0, le=8)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        _check_fit("bits", self.bits, "integer_bits", self.integer_bits)
        return self


class LayerBits(Config):
    """Bitwidths of a QKeras student, layer by layer; the defaults are those of the deployed ones."""

    conv: ConvBits = ConvBits()
    dense1: HiddenBits = HiddenBits()
    dense2: OutputBits = OutputBits()


class Quantization(Config):
    """A student's quantization scheme; where HGQ starts from, or the bitwidths of QKeras.

    `weights`, `data` and `score_rounding`, that of the 16 bits that leave the chip, belong to the scheme
    `hgq`, `layers` to `qkeras`; what the other scheme has is ignored.
    """

    scheme: Literal["hgq", "qkeras"] = "hgq"
    weights: WeightQuantization = WeightQuantization()
    data: DataQuantization = DataQuantization()
    score_rounding: Rounding = "TRN"
    layers: LayerBits = LayerBits()

    @model_validator(mode="after")
    def _drop_what_the_scheme_ignores(self) -> Self:
        # Otherwise two equal students would have two digests, and be trained twice.
        for name in ("layers",) if self.scheme == "hgq" else ("weights", "data", "score_rounding"):
            object.__setattr__(self, name, type(self).model_fields[name].default)
        return self
