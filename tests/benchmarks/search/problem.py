"""What every way of searching is given, and how its students are measured in the end."""

import json
import sys
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from hgq.utils import trace_minmax
from numpy.typing import NDArray

from objectives.costs.adder_graph import AdderGraph
from objectives.costs.compiler import Compiler
from objectives.data.dataset import Dataset, Part, load_dataset
from objectives.errors import CostError
from objectives.measurement import all_events, score_part
from objectives.progress import Progress, silent
from objectives.schemes import hgq
from objectives.scores import WORKING_POINT_KHZ
from objectives.teacher import Teacher, load_teacher
from sweep import home
from sweep.study_file import StudyFile, load_study_file
from tests.benchmarks.search.kept import read_candidates
from tests.benchmarks.search.measured import STUDY_FILE, Candidate, Measured

#: Of the events that a recipe without a choice of its own trains on.
EXPOSURE_FRACTION = 0.2
#: A student of 117,714 EBOPs cost 16,799 LUT; one of so many more is not feasible, and compiles for minutes.
MOST_EBOPS = 400_000


class Problem:
    """Events, targets and the space of students."""

    def __init__(self) -> None:
        self.file: StudyFile = load_study_file(STUDY_FILE)

    @cached_property
    def dataset(self) -> Dataset:
        return load_dataset(self.file.dataset, home.data_cache())

    @cached_property
    def teacher(self) -> Teacher:
        return load_teacher(self.file.teacher, self.dataset, home.teacher_cache())

    def sample(self, fraction: float, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (images, targets) of all zero bias and of exposure, which is `fraction` of the sample."""
        train = self.dataset.train
        exposure = np.concatenate(list(train.exposure.values()))
        targets = np.concatenate([self.teacher.targets("train", name) for name in train.exposure])
        wanted = round(len(train.zero_bias) * fraction / (1 - fraction))
        chosen = np.resize(rng.permutation(len(exposure)), wanted)
        events = np.concatenate([train.zero_bias, exposure[chosen]])
        both = np.concatenate([self.teacher.targets("train", "zero_bias"), targets[chosen]])
        return events.astype(np.float32)[..., None], both.astype(np.float32)[:, None]

    def mean_target(self) -> float:
        return float(self.teacher.targets("train", "zero_bias").mean())

    @cached_property
    def training_images(self) -> NDArray[np.float32]:
        """All training events (n, 18, 14, 1), which students are calibrated on."""
        train = self.dataset.train
        return np.concatenate([train.zero_bias, *train.exposure.values()]).astype(np.float32)[..., None]

    @cached_property
    def validation_images(self) -> tf.Tensor:
        return tf.constant(all_events(self.dataset.validation).astype(np.float32)[..., None])

    def validation_auc(self, model: keras.Model) -> float:
        """Return the mean AUC of a Keras model on the validation part."""
        outputs = model.predict(self.validation_images, batch_size=4096, verbose=0)[:, 0]
        return score_part(self.dataset.validation, outputs, WORKING_POINT_KHZ).mean_auc


class Keeper:
    """Notes what a search finds, and when, in processor seconds of its process and those before it.

    `core_seconds` is what the search may take in all, `earlier` what it had taken before it was
    started again.
    """

    def __init__(self, folder: Path, core_seconds: float, earlier: float = 0.0) -> None:
        self.folder = folder
        self.core_seconds = core_seconds
        self.earlier = earlier
        self.candidates = read_candidates(folder)

    def is_over(self) -> bool:
        return self.earlier + time.process_time() >= self.core_seconds

    def keep(self, model: keras.Model) -> None:
        path = self.folder / f"{len(self.candidates)}.keras"
        model.save(path)
        self.note(path, time.process_time())

    def note(self, path: Path, process_seconds: float) -> None:
        self.candidates.append(Candidate(self.earlier + process_seconds, path.name))
        (self.folder / "candidates.json").write_text(json.dumps([asdict(c) for c in self.candidates]))


def measure(
    problem: Problem, folder: Path, candidates: list[Candidate], graphs: Compiler, progress: Progress = silent
) -> list[Measured]:
    """Measure `candidates`, whose files are in `folder`, as the points of a study are measured.

    A student that is far too large, or that cannot be compiled, is left out.
    """
    measured = []
    for number, candidate in enumerate(candidates):
        progress("measuring", number, len(candidates))
        student = _measure(problem, candidate, folder / candidate.model, graphs)
        if student is not None:
            measured.append(student)
    return measured


def _measure(problem: Problem, candidate: Candidate, path: Path, graphs: Compiler) -> Measured | None:
    keras.backend.clear_session()
    model = keras.models.load_model(path)
    ebops = trace_minmax(model, problem.training_images, batch_size=8192, verbose=False)
    if ebops > MOST_EBOPS:
        return None
    hgq.open_input_range(model)
    try:
        graph = graphs.result(graphs.submit(hgq.describe(model)))
    except CostError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None
    return Measured(
        candidate.core_seconds,
        _mean_auc(graph, problem.dataset.validation),
        _mean_auc(graph, problem.dataset.test),
        graph.lut,
        graph.latency_ns,
    )


def _mean_auc(graph: AdderGraph, part: Part) -> float:
    return score_part(part, graph.predict(all_events(part)), WORKING_POINT_KHZ).mean_auc
