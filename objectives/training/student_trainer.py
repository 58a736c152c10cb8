"""What trains a student of any scheme, seen from runs, harvest and records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from objectives.quantization import Quantization
from objectives.students.network import QuantizedNetwork
from objectives.training.graphs import State, TrainingData


class StudentTrainer(Protocol):
    """Compiled graphs of one architecture; `start` readies them for a run."""

    data: TrainingData
    #: Whether beta applies: bitwidths that are given have no price.
    anneals: bool
    #: Packages of another environment that decide what a student is, with their versions.
    versions: Mapping[str, str]

    def start(self, quantization: Quantization, seed: int, parent: State | None = None) -> None:
        """Set weights, bitwidths and optimizer to the beginning of the run with this seed.

        The student is `parent`, if there is one.
        """

    def train_epoch(self, order: NDArray[np.int32], learning_rate: float, beta: float) -> float:
        """Train on the events of `order`, whole batches of them, and return the mean loss."""

    def measure(self) -> tuple[NDArray[np.float32], int]:
        """Return (validation scores, EBOPs) of the student as it is; training goes on unchanged."""

    def adder_bits(self) -> float:
        """Return the adder bits (`objectives.costs.adder_bits`) of the student as it was measured last."""

    def state(self) -> State:
        """Return a copy of every variable of the student."""

    def load(self, state: State) -> None:
        """Put the student back to a `state`."""

    def optimizer_state(self) -> State | None:
        """Return a copy of every variable of the optimizer.

        None where training draws random numbers that are kept nowhere: a run cannot be gone on with.
        """

    def load_optimizer(self, state: State) -> None:
        """Put the optimizer back to a state."""

    def adopt(self, network: QuantizedNetwork, exposure_fraction: float) -> State:
        """Return the variables of a student that computes what `network` does; the model then has them.

        `exposure_fraction` is that of the training to come. Raises StudentError when the scheme, or the
        architecture, is not the network's.
        """

    def calibrate(self) -> int:
        """Set the bitwidths that all training events need; return the EBOPs."""

    def finish(self) -> tuple[QuantizedNetwork, NDArray[np.float32], int]:
        """Calibrate; return (student as hardware, validation scores of the Keras model, EBOPs)."""

    def save(self, file: Path) -> Any:
        """Write the Keras model. Raises OSError when it cannot be written."""

    def read(self, file: Path) -> State:
        """Return the variables of a saved student of this architecture, which the model then has too.

        Raises OSError, ValueError or BadZipFile when it cannot be read.
        """
