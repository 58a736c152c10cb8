"""All that decides a student: with a dataset, a teacher and a seed, a recipe trains to one result."""

from typing import Self

from pydantic import model_validator

from objectives.config import Config
from objectives.quantization import Quantization
from objectives.students.architecture import Architecture
from objectives.training.config import BetaSchedule, Training


class Recipe(Config):
    """One configuration of a student, every choice made."""

    student: Architecture = Architecture()
    quantization: Quantization = Quantization()
    training: Training = Training()

    @model_validator(mode="after")
    def _qkeras_students_can_be(self) -> Self:
        if self.quantization.scheme == "qkeras":
            if self.student.hidden_2:
                raise ValueError("student.hidden_2: must be 0 with the scheme qkeras")
            # Bitwidths that are given have no price: see `Architecture` for why the default stands here.
            object.__setattr__(self, "training", self.training.model_copy(update={"beta": BetaSchedule()}))
        return self
