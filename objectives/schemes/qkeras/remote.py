"""The child seen from here: started once for each worker, and a trainer for each architecture.

A `RemoteTrainer` has the methods of an HGQ student's `Trainer`, so that runs, harvest and records know
no difference. Each call is a request to the child and waits for its answer.
"""

import subprocess
from collections.abc import Mapping
from os import environ
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

import objectives
from objectives.errors import SchemeError, StudentError
from objectives.quantization import Quantization
from objectives.recipe import Recipe
from objectives.schemes.qkeras import child
from objectives.schemes.qkeras.border import listed, numbered, receive, send
from objectives.schemes.qkeras.network import ebops_of, network_of
from objectives.students.network import QuantizedNetwork
from objectives.training.graphs import State, TrainingData

#: Seconds that a child has to end by itself.
GRACE = 10.0


class Child:
    """An interpreter of the QKeras environment, with the training data in its memory."""

    def __init__(self, python: Path, data: TrainingData) -> None:
        """Start it. Raises SchemeError when it does not come up."""
        self.python = python
        self.data = data
        package = Path(objectives.__file__).resolve().parent
        command = [str(python), "-I", str(Path(child.__file__).resolve()), str(package)]
        try:
            # What it says on standard error belongs with what this process says there.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**environ, "KERAS_BACKEND": "tensorflow"},
            )
        except OSError as error:
            raise SchemeError(
                f"{python}: the QKeras environment does not start ({error.strerror})"
            ) from error
        self._requests = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)
        ready, _ = self._receive()
        self.versions: Mapping[str, str] = ready["versions"]
        events = {
            "events": data.events.numpy(),
            "targets": data.targets.numpy(),
            "validation": data.validation[: data.validation_events].numpy(),
        }
        self.ask({"zero_bias": data.zero_bias}, events)

    def ask(
        self, request: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Send a request and return the answer. Raises SchemeError when the child has ended."""
        try:
            send(self._requests, request, arrays)
        except BrokenPipeError:
            raise self._ended() from None
        return self._receive()

    def close(self) -> None:
        """End the child."""
        self._requests.close()
        self._wait()
        self._answers.close()

    def _wait(self) -> int:
        try:
            return self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _receive(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        try:
            return receive(self._answers)
        except EOFError:
            raise self._ended() from None

    def _ended(self) -> SchemeError:
        return SchemeError(
            f"{self.python}: the process that trains QKeras students ended (exit code {self._wait()});"
            " the worker's log says why; `sweep qkeras install --force` makes its environment anew"
        )


class RemoteTrainer:
    """The compiled graphs of one QKeras architecture and its bitwidths, in a child."""

    #: Bitwidths are given: no beta applies.
    anneals = False

    def __init__(self, process: Child, recipe: Recipe) -> None:
        self.data = process.data
        self.versions: Mapping[str, str] = process.versions
        self._child = process
        self._recipe = recipe

    def start(self, quantization: Quantization, seed: int, parent: State | None = None) -> None:
        """Set weights and optimizer to the beginning of the run with this seed, or to `parent`."""
        self._ask("start", arrays=numbered(parent) if parent is not None else None, seed=seed)

    def train_epoch(self, order: NDArray[np.int32], learning_rate: float, beta: float) -> float:
        """Train on the events of `order`, and return the mean loss; `beta` is for HGQ alone."""
        _, arrays = self._ask("train_epoch", arrays={"order": order}, learning_rate=learning_rate)
        return float(arrays["loss"])

    def measure(self) -> tuple[NDArray[np.float32], int]:
        """Return (validation scores, EBOPs) of the student as it is."""
        return self._ask("measure")[1]["scores"], ebops_of(self._recipe)

    def adder_bits(self) -> float:
        """Raise StudentError: its weights are in the child, and its runs are told apart by score alone."""
        raise StudentError("epochs of the scheme qkeras are compared by EBOPs, not by adder bits")

    def state(self) -> State:
        """Return a copy of every variable of the student."""
        return listed(self._ask("state")[1])

    def load(self, state: State) -> None:
        """Put the student back to a `state`."""
        self._ask("load", arrays=numbered(state))

    def optimizer_state(self) -> None:
        """Return None: where dropout stands in its random numbers, the child alone knows."""

    def load_optimizer(self, state: State) -> None:
        """Raise StudentError: no such state was ever given away."""
        raise StudentError("a run of the scheme qkeras cannot be gone on with; it starts from its beginning")

    def adopt(self, network: QuantizedNetwork, exposure_fraction: float) -> State:
        """Raise StudentError: bitwidths that are given cannot be another student's."""
        raise StudentError("a student of the scheme qkeras cannot start from another one")

    def calibrate(self) -> int:
        """Return the EBOPs: bitwidths that are given need no calibration."""
        return ebops_of(self._recipe)

    def finish(self) -> tuple[QuantizedNetwork, NDArray[np.float32], int]:
        """Return (student as hardware, validation scores of the Keras model itself, EBOPs)."""
        _, arrays = self._ask("finish")
        scores = arrays.pop("scores")
        return network_of(self._recipe, arrays), scores, ebops_of(self._recipe)

    def save(self, file: Path) -> None:
        """Write the Keras model. Raises OSError when it cannot be written."""
        answer, _ = self._ask("save", file=str(file))
        if "problem" in answer:
            raise OSError(answer["problem"])

    def read(self, file: Path) -> State:
        """Return the variables of a saved student of this architecture. Raises ValueError if it cannot."""
        answer, arrays = self._ask("read", file=str(file))
        if "problem" in answer:
            raise ValueError(answer["problem"])
        return listed(arrays)

    def _ask(
        self, call: str, *, arrays: Mapping[str, NDArray[Any]] | None = None, **more: Any
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        request = {"call": call, "recipe": self._recipe.model_dump(mode="json"), **more}
        return self._child.ask(request, arrays)
