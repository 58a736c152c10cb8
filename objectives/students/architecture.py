"""What a CICADA student looks like before it is quantized: families `cicada-v1` and `cicada-v2`.

`cicada-v1` is a dense network on the 252 regions; `cicada-v2` puts one convolution in front.
"""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from objectives.config import Config


class Architecture(Config):
    """The choices of a student's architecture that a study may search.

    `filters`, `kernel` and `stride` belong to the convolution of `cicada-v2` and are
    ignored by `cicada-v1`. `hidden_2 = 0` means no second hidden layer. `input_clip` is the
    largest region energy that the student sees plus one, in 0.5 GeV counts; 0 leaves all ten bits.
    """

    family: Literal["cicada-v1", "cicada-v2"] = "cicada-v2"
    filters: int = Field(4, ge=1, le=32)
    kernel: int = Field(2, ge=1, le=7)
    stride: int = Field(2, ge=1, le=7)
    hidden: int = Field(16, ge=1, le=128)
    hidden_2: int = Field(0, ge=0, le=128)
    batch_norm: bool = True
    input_clip: int = Field(0, description="0, or a power of two from 2 to 512, in 0.5 GeV counts")

    @field_validator("input_clip")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value != 0 and value not in [2**n for n in range(1, 10)]:
            raise ValueError("must be 0 (no clipping) or a power of two from 2 to 512")
        return value

    @model_validator(mode="after")
    def _drop_what_the_family_ignores(self) -> Self:
        # Otherwise two equal networks would have two digests, and be trained twice.
        if self.family == "cicada-v1":
            for name in ("filters", "kernel", "stride"):
                object.__setattr__(self, name, type(self).model_fields[name].default)
        return self
