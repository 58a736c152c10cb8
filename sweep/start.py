"""Studies of HGQ students that start from a student that is there: `start_from` of the study file.

Its weights are the new student's, its bitwidths the first ones, so that what is deployed is annealed
further instead of trained anew. All that is read of it is the network that its hardware computes, so
students of any scheme will do, and of firmware that nobody has a Keras model of.
"""

import itertools
from pathlib import Path

import numpy as np

from objectives.recipe import Recipe
from objectives.students.deployed import read_deployed
from objectives.students.network import Convolve, Dense, QuantizedNetwork
from objectives.students.network_file import NETWORK, read_network
from sweep.artifacts.students import student_folder
from sweep.errors import StudyError
from sweep.study import Study, load

#: User attribute of a run that started from the study's `start_from`: the design of that student.
START_DESIGN = "start_design"


def start_network(study: Study) -> QuantizedNetwork | None:
    """Return the student that a study's runs start from, None when they start anew.

    It is the student of a trial, of a folder, or a released CICADA. Raises StudyError when there is no
    such trial, and StudentError or DataError when a folder holds no student.
    """
    source = study.file.start_from
    if source is None:
        return None
    network = _network(study, source)
    wanted, found = _shapes(study.file.recipe_space().example(), network)
    if wanted != found:
        raise StudyError(
            f"start_from: {source} has layers of {_show(found)}, the study's `student` has {_show(wanted)};"
            " both must be the same network"
        )
    return network


def _network(study: Study, source: str | Path) -> QuantizedNetwork:
    if isinstance(source, Path) and (source.suffix == ".npz" or (source / "defines.h").exists()):
        return read_deployed(source)
    return read_network(_folder(study, source) / NETWORK)


def _folder(study: Study, source: str | Path) -> Path:
    if isinstance(source, Path):
        return source
    name, _, number = source.partition("/")
    other = load(study.storage, name)
    trials = other.trials()
    if int(number) >= len(trials) or "student" not in trials[int(number)].user_attrs:
        raise StudyError(
            f"start_from: trial {number} of study {name!r} holds no student; `sweep front` lists some"
        )
    return student_folder(other, trials[int(number)])


def _shapes(recipe: Recipe, network: QuantizedNetwork) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the kernels, and stride, of the student of a recipe and of a network."""
    student = recipe.student
    inputs = int(np.prod(network.input_shape))
    wanted: list[tuple[int, ...]] = []
    if student.family == "cicada-v2":
        wanted.append((student.kernel, student.kernel, 1, student.filters, student.stride))
        places = [(size - student.kernel) // student.stride + 1 for size in network.input_shape[:2]]
        inputs = places[0] * places[1] * student.filters
    sizes = [inputs, student.hidden, *([student.hidden_2] if student.hidden_2 else []), 1]
    wanted += itertools.pairwise(sizes)
    found = [
        (*step.kernel.shape, step.stride) if isinstance(step, Convolve) else step.kernel.shape
        for step in network.steps
        if isinstance(step, Convolve | Dense)
    ]
    return wanted, found


def _show(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
