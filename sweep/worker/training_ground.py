"""What every run of a study shares: its events, targets and scores, and compiled graphs.

Loaded on first use and kept, so that a worker compiles once for each architecture.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data.dataset import Dataset, load_dataset
from objectives.measurement import all_events, split_outputs
from objectives.recipe import Recipe
from objectives.schemes.qkeras.remote import Child, RemoteTrainer
from objectives.scores import score
from objectives.teacher import load_teacher
from objectives.training.graphs import GraphKey, TrainingData
from objectives.training.student_trainer import StudentTrainer
from objectives.training.trainer import Trainer
from sweep import home, qkeras_environment
from sweep.search.screening import compared_scores
from sweep.study_file import StudyFile

#: Architectures whose compiled graphs a process keeps; each takes some 100 MB.
KEPT_TRAINERS = 8
#: Architectures after which a process has had its day: XLA never gives back what a compiled graph takes,
#: 60 to 100 MB, though nothing refers to it any more. Another process starts in the time that one takes.
COMPILED_AT_MOST = 24


class TrainingGround:
    """Events, targets, scores and compiled graphs of one study."""

    def __init__(self, file: StudyFile) -> None:
        self.file = file
        self._trainers: dict[GraphKey, StudentTrainer] = {}
        self._child: Child | None = None
        self._compiled = 0

    @property
    def is_worn_out(self) -> bool:
        """Tell whether so many graphs were compiled that a new process should go on."""
        return self._compiled >= COMPILED_AT_MOST

    @cached_property
    def dataset(self) -> Dataset:
        """Events of all parts."""
        return load_dataset(self.file.dataset, home.data_cache(), processes=1)

    @cached_property
    def training_data(self) -> TrainingData:
        """Zero bias, then every exposure class, with their targets; and the validation events."""
        teacher = load_teacher(self.file.teacher, self.dataset, home.teacher_cache())
        train = self.dataset.train
        return TrainingData.load(
            np.concatenate([train.zero_bias, *train.exposure.values()]),
            np.concatenate([teacher.targets("train", name) for name in ("zero_bias", *train.exposure)]),
            len(train.zero_bias),
            all_events(self.dataset.validation),
        )

    def is_compiled(self, recipe: Recipe) -> bool:
        """Tell whether `trainer` has this recipe's graphs already."""
        return GraphKey.of(recipe) in self._trainers

    def trainer(self, recipe: Recipe) -> StudentTrainer:
        """Return the trainer for a recipe's architecture, with its graphs."""
        key = GraphKey.of(recipe)
        trainer = self._trainers.pop(key, None) or self._new_trainer(recipe)
        self._trainers[key] = trainer  # the last used is the last to go
        if len(self._trainers) > KEPT_TRAINERS:
            del self._trainers[next(iter(self._trainers))]
        return trainer

    def _new_trainer(self, recipe: Recipe) -> StudentTrainer:
        self._compiled += 1
        if recipe.quantization.scheme == "hgq":
            return Trainer(recipe, self.training_data)
        if self._child is None:
            # Prepared already where `sweep run` is at work; a worker of another machine may need one.
            python = qkeras_environment.ensure(print)
            self._child = Child(python, self.training_data)
        return RemoteTrainer(self._child, recipe)

    def close(self) -> None:
        """End the process that trains QKeras students, if there is one."""
        self._trainers.clear()
        if self._child is not None:
            self._child.close()
            self._child = None

    def judge(self, outputs: NDArray[Any]) -> Mapping[str, float]:
        """Return what outputs (n,) on the validation events are compared by (`compared_scores`)."""
        found = score(
            *split_outputs(self.dataset.validation, outputs),
            rate_khz=self.file.rate_khz,
            other_rates_khz=self.file.other_rates_khz,
        ).as_json()
        return compared_scores(self.file, found)
