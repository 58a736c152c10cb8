"""All that decides a student: with a dataset, a teacher and a seed, a recipe trains to one result."""

from typing import Self

from pydantic import model_validator

from objectives.config import Config
from objectives.quantization import ConvBits, Quantization
from objectives.students.architecture import Architecture
from objectives.training.config import BetaSchedule, Training


class Recipe(Config):
    """One configuration of a student, every choice made."""

    student: Architecture = Architecture()
    quantization: Quantization = Quantization()
    training: Training = Training()

    @model_validator(mode="after")
    def _qkeras_students_can_be(self) -> Self:
        if self.quantization.scheme != "qkeras":
            return self
        if self.student.hidden_2:
            raise ValueError("student.hidden_2: must be 0 with the scheme qkeras")
        # Bitwidths that are given have no price, and `cicada-v1` has no convolution. Defaults stand for
        # what decides nothing, as in `Architecture`.
        training = self.training.model_copy(update={"beta": BetaSchedule()})
        object.__setattr__(self, "training", training)
        if self.student.family == "cicada-v1":
            layers = self.quantization.layers.model_copy(update={"conv": ConvBits()})
            quantization = self.quantization.model_copy(update={"layers": layers})
            object.__setattr__(self, "quantization", quantization)
        return self
