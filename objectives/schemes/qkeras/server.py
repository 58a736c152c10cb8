"""What the child answers: each request names a call, the recipe whose student is meant, and arrays."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from objectives.recipe import Recipe
from objectives.schemes.qkeras.border import listed, numbered, receive, send
from objectives.schemes.qkeras.trainer import CompiledStudent
from objectives.training.graphs import GraphKey, TrainingData

#: Packages that a saved student depends on.
PACKAGES = ("qkeras-v3", "keras", "tensorflow")
#: Architectures whose compiled graphs are kept.
KEPT_STUDENTS = 8

Content = Mapping[str, Any]
Arrays = Mapping[str, NDArray[Any]]
Answer = tuple[Content, Arrays]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Say what is imported, take the data, and answer requests until they end."""
    send(answers, {"versions": {name: version(name) for name in PACKAGES}})
    students: dict[GraphKey, CompiledStudent] = {}
    data: TrainingData | None = None
    while True:
        try:
            request, arrays = receive(requests)
        except EOFError:
            return
        if data is None:
            given = (arrays["events"], arrays["targets"], request["zero_bias"], arrays["validation"])
            data = TrainingData.load(*given)
            send(answers, {})
            continue
        student = _student(students, Recipe.model_validate(request["recipe"]), data)
        send(answers, *CALLS[request["call"]](student, request, arrays))


def _student(
    students: dict[GraphKey, CompiledStudent], recipe: Recipe, data: TrainingData
) -> CompiledStudent:
    key = GraphKey.of(recipe)
    student = students.pop(key, None) or CompiledStudent(recipe, data)
    students[key] = student  # the last used is the last to go
    if len(students) > KEPT_STUDENTS:
        del students[next(iter(students))]
    return student


# ---- calls ----------------------------------------------------------------------------------------


def _start(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    student.start(request["seed"], listed(arrays) if arrays else None)
    return {}, {}


def _train_epoch(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    loss = student.train_epoch(arrays["order"], request["learning_rate"])
    return {}, {"loss": np.array(loss)}  # JSON knows no infinity


def _measure(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    return {}, {"scores": student.measure()}


def _finish(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    weights, scores = student.finish()
    return {}, {**weights, "scores": scores}


def _state(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    return {}, numbered(student.state())


def _load(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    student.load(listed(arrays))
    return {}, {}


def _save(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    try:
        student.save(Path(request["file"]))
    except OSError as error:
        return {"problem": _first_line(error)}, {}
    return {}, {}


def _read(student: CompiledStudent, request: Content, arrays: Arrays) -> Answer:
    try:
        return {}, numbered(student.read(Path(request["file"])))
    except (OSError, ValueError, BadZipFile) as error:
        return {"problem": _first_line(error)}, {}


CALLS: Mapping[str, Callable[[CompiledStudent, Content, Arrays], Answer]] = {
    "start": _start,
    "train_epoch": _train_epoch,
    "measure": _measure,
    "finish": _finish,
    "state": _state,
    "load": _load,
    "save": _save,
    "read": _read,
}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
