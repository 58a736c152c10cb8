"""A training run between two epochs, on disk: what another process needs to go on, bit for bit."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from objectives.errors import TrainingError
from objectives.training.schedule import Course

if TYPE_CHECKING:  # what brings TensorFlow
    from objectives.training.graphs import State
    from objectives.training.trajectory import Snapshot


@dataclass(frozen=True)
class Checkpoint:
    """A trajectory after `epochs` of its epochs, and the `course` of its beta.

    `model` and `optimizer` are every variable of the two; `front` the epochs kept so far, `newcomer`
    the last one unless its score was constant, and `constant_since` the epoch since which it has been.
    `seconds` is the processor time until then.
    """

    epochs: int
    course: Course
    model: "State"
    optimizer: "State"
    front: "list[Snapshot]"
    newcomer: "Snapshot | None"
    constant_since: int | None
    seconds: float = 0.0

    def save(self, path: Path, about: str) -> None:
        """Write the checkpoint of the run that `about` identifies, whole or not at all."""
        snapshots = [*self.front, *([self.newcomer] if self.newcomer is not None else [])]
        states = {"model": self.model, "optimizer": self.optimizer}
        states |= {f"snapshot{index}": snapshot.state for index, snapshot in enumerate(snapshots)}
        header = {
            "about": about,
            "epochs": self.epochs,
            "course": asdict(self.course),
            "constant_since": self.constant_since,
            "seconds": self.seconds,
            "newcomer": self.newcomer is not None,
            "lengths": {name: len(state) for name, state in states.items()},
            # "snapshots" in versions before 0.6, whose costs were in EBOPs: those must not be read as these.
            "kept": [[s.epoch, s.beta, s.loss, list(s.scores), s.cost] for s in snapshots],
        }
        arrays = {f"{name}.{i}": array for name, state in states.items() for i, array in enumerate(state)}
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink()
            raise

    @classmethod
    def load(cls, path: Path, about: str) -> "Checkpoint":
        """Read a checkpoint of the run that `about` identifies.

        Raises TrainingError for a file that is none, or is another run's.
        """
        from objectives.training.trajectory import Snapshot

        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                states: dict[str, Any] = {
                    name: [file[f"{name}.{index}"] for index in range(length)]
                    for name, length in header["lengths"].items()
                }
            if header["about"] != about:
                raise TrainingError(f"{path}: is the checkpoint of another run; remove it")
            snapshots = [
                Snapshot(epoch, beta, loss, tuple(scores), cost, states[f"snapshot{index}"])
                for index, (epoch, beta, loss, scores, cost) in enumerate(header["kept"])
            ]
            newcomer = snapshots.pop() if header["newcomer"] else None
            front = [newcomer if newcomer is not None and s.epoch == newcomer.epoch else s for s in snapshots]
            return cls(
                header["epochs"],
                Course(**header["course"]),
                states["model"],
                states["optimizer"],
                front,
                newcomer,
                header["constant_since"],
                header["seconds"],
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            if isinstance(error, TrainingError):
                raise
            raise TrainingError(f"{path}: cannot be read as a checkpoint ({error}); remove it") from error
