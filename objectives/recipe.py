"""All that decides a student: with a dataset, a teacher and a seed, a recipe trains to one result."""

from objectives.config import Config
from objectives.quantization import Quantization
from objectives.students.architecture import Architecture
from objectives.training.config import Training


class Recipe(Config):
    """One configuration of a student, every choice made."""

    student: Architecture = Architecture()
    quantization: Quantization = Quantization()
    training: Training = Training()
