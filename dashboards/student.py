"""One measured student, looked at closely: how it scores events, how wide it is, what each layer costs.

All comes from the student's saved files and the study's events; nothing here needs TensorFlow, but
for a student whose quantized network was not saved beside it.
"""

import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from objectives.costs.adder_graph import predict
from objectives.costs.layers import lut_by_layer
from objectives.costs.rtl import load_logic
from objectives.data.config import DatasetConfig, PythiaSource
from objectives.data.dataset import Part, load_dataset, pythia_folder
from objectives.errors import StudentError
from objectives.measurement import all_events, split_outputs
from objectives.scores import BUNCH_RATE_KHZ, roc
from objectives.students.layers import Layer, layers_of
from objectives.students.network import QuantizedNetwork
from objectives.students.network_file import NETWORK, read_network
from sweep import home
from sweep.artifacts.students import student_folder
from sweep.errors import StudyError
from sweep.study import Study
from sweep.study_file import StudyFile

Split = Literal["validation", "test"]
Value = TypeVar("Value")

#: Bins of a score distribution; scores are from 0 to below 256.
BINS = np.arange(0, 257, 2)
#: Points of a drawn ROC curve, which may have as many as there are events.
CURVE_POINTS = 300
#: Datasets kept in memory, and students whose scores are.
KEPT_DATASETS, KEPT_STUDENTS = 2, 64
#: Seconds that Keras has to load one old student.
PATIENCE = 300


@dataclass(frozen=True)
class Curve:
    """How one signal is told from zero bias, at the threshold of the study's rate and at all others.

    `rate_khz` and `efficiency` are the ROC curve, `counts` the signal's events in each of `BINS`.
    """

    auc: float
    rate_khz: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    at_rate: float
    events: int
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Performance:
    """A student's scores of one part of the data: `signals` by name, and the zero bias they stand against."""

    split: Split
    working_point_khz: float
    passing: int
    zero_bias: NDArray[np.int64]
    signals: dict[str, Curve]


@dataclass(frozen=True)
class Student:
    """A trial that holds a student."""

    study: Study
    trial: FrozenTrial

    @classmethod
    def of(cls, study: Study, number: int) -> "Student":
        """Return the student of a trial; StudyError for one that holds none."""
        trials = study.trials()
        if not 0 <= number < len(trials) or "student" not in trials[number].user_attrs:
            raise StudyError(f"trial {number} of study {study.name!r} holds no student")
        return cls(study, trials[number])

    @property
    def folder(self) -> Path:
        """Where it is saved; StudyError where it is not, as on a machine other than that of the study."""
        folder = student_folder(self.study, self.trial)
        if not folder.is_dir():
            raise StudyError(
                f"{folder}: the student of trial {self.trial.number} is not on this machine; set SWEEP_HOME"
                " to where the study ran"
            )
        return folder

    def performance(self, split: Split) -> Performance:
        """Return how the student scores the events of `split`, by its adder graph, every bit."""
        return _PERFORMANCES.get((str(self.folder), split), lambda: self._scored(split))

    def _scored(self, split: Split) -> Performance:
        part = part_of(self.study.file, split)
        outputs = predict(load_logic(self.folder), all_events(part))
        zero_bias, signals = split_outputs(part, outputs)
        recorded = self.trial.user_attrs[split]
        for name, values in signals.items():
            _check(self.trial.number, name, roc_auc(zero_bias, values), recorded["auc"][name])
        return Performance(
            split,
            recorded["rate_khz"],
            recorded["passing"],
            np.histogram(zero_bias, BINS)[0],
            {
                name: _curve(zero_bias, values, recorded["auc"][name], recorded["efficiency"][name])
                for name, values in signals.items()
            },
        )

    def network(self) -> QuantizedNetwork:
        """Return the student layer by layer; one that was not saved so is, on first use."""
        return _NETWORKS.get(str(self.folder), lambda: _network(self.folder))

    def layers(self) -> list[Layer]:
        return layers_of(self.network())

    def lut_by_layer(self) -> dict[str, float]:
        """Return the estimated LUTs of each layer; they sum to the student's, before calibration."""
        return _COSTS.get(str(self.folder), lambda: lut_by_layer(self.network()))


def roc_auc(zero_bias: NDArray[Any], signal: NDArray[Any]) -> float:
    """Return the area under the ROC curve; a tie counts one half."""
    rate, efficiency = roc(zero_bias, signal)
    return float(np.trapezoid(efficiency, rate))


def _check(number: int, signal: str, found: float, recorded: float) -> None:
    if abs(found - recorded) > 1e-9:
        raise StudyError(
            f"trial {number}: the saved student scores {signal} otherwise than the study recorded"
            f" (AUC {found:.6f}, was {recorded:.6f}); its data or its folder were changed"
        )


def _curve(zero_bias: NDArray[Any], signal: NDArray[Any], auc: float, at_rate: float) -> Curve:
    rate, efficiency = roc(zero_bias, signal)
    # Thinned evenly in the logarithm of the rate, for the trigger's working point is far to the left.
    wanted = np.geomspace(max(rate[rate > 0].min(), 1e-9), 1, CURVE_POINTS)
    keep = np.unique([0, *np.searchsorted(rate, wanted), len(rate) - 1])
    return Curve(
        auc,
        rate[keep] * BUNCH_RATE_KHZ,
        efficiency[keep],
        at_rate,
        len(signal),
        np.histogram(signal, BINS)[0],
    )


@lru_cache(KEPT_DATASETS)
def _parts(config: str) -> dict[str, Part]:
    dataset = load_dataset(
        DatasetConfig.model_validate_json(config, strict=True), home.data_cache(), processes=1
    )
    return {"validation": dataset.validation, "test": dataset.test}


def part_of(file: StudyFile, split: Split) -> Part:
    """Return a part of a study's events; StudyError where they would have to be generated first."""
    source = file.dataset.source
    if isinstance(source, PythiaSource) and not pythia_folder(source, home.data_cache()).is_dir():
        raise StudyError(
            f"the events of study {file.study!r} are not on this machine; set SWEEP_HOME to where the study"
            f" ran, or make them: sweep data generate {file.study}"
        )
    # Deposits are made for training alone.
    return _parts(file.dataset.model_copy(update={"deposits": 0}).model_dump_json())[split]


def _network(folder: Path) -> QuantizedNetwork:
    if not (folder / NETWORK).exists():
        _describe(folder)
    return read_network(folder / NETWORK)


def _describe(folder: Path) -> None:
    """Let Keras read a student that was saved without its network, in a process of its own."""
    command = [sys.executable, "-m", "dashboards.describe", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise StudentError(f"{folder}: its layers could not be read within {PATIENCE} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StudentError(f"{folder}: its layers could not be read ({last})")


class _Kept(Generic[Value]):
    """The last values that were asked for; one is made at a time, for each takes a whole core."""

    def __init__(self, most: int) -> None:
        self._values: OrderedDict[object, Value] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key]


_PERFORMANCES: _Kept[Performance] = _Kept(KEPT_STUDENTS)
_NETWORKS: _Kept[QuantizedNetwork] = _Kept(1024)
_COSTS: _Kept[dict[str, float]] = _Kept(1024)
