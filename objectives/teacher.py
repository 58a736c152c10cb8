"""CICADA's teacher: a convolutional autoencoder of zero bias, and the targets that students learn.

Architecture (323,731 parameters), optimizer and target transform are those of Princeton-AD/cicada.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from objectives.config import content_digest
from objectives.data.config import DatasetConfig
from objectives.data.dataset import Dataset, Part, dataset_digest
from objectives.data.deposits import DEPOSITS
from objectives.data.geometry import IMAGE_SHAPE
from objectives.data.h5 import file_digest
from objectives.errors import TeacherError
from objectives.progress import Progress, silent
from objectives.teacher_config import TeacherConfig

if TYPE_CHECKING:
    import keras

#: Change when the same configuration would give another teacher.
VERSION = 1
#: File of the targets of all events but deposits, in a teacher's folder.
TARGETS = "targets.npz"
#: Largest score of 16 bits, 8 of them fractional.
LARGEST_TARGET = 256 - 1 / 256
#: Images in one step of a prediction.
BATCH = 1024
#: Deposits between two signs of progress, and in memory as single precision: 16 MB; whole batches.
DEPOSITS_AT_ONCE = 16 * BATCH


def target(loss: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the student's target, clip(32 ln(MSE), 0, 256 - 1/256) in steps of 1/256."""
    with np.errstate(divide="ignore"):  # a perfect reconstruction is as normal as can be: 0
        scaled = np.clip(32.0 * np.log(loss), 0.0, LARGEST_TARGET)
    return (np.round(scaled * 256) / 256).astype(np.float32)


class Teacher:
    """Targets of every event of a dataset, by part and class, as the cached teacher gave them."""

    def __init__(self, digest: str, targets: dict[str, NDArray[np.float32]]) -> None:
        self.digest = digest
        self._targets = targets

    def targets(self, part: str, name: str) -> NDArray[np.float32]:
        """Return targets (n,) of one class: `zero_bias`, a signal or an exposure class."""
        return self._targets[f"{part}/{name}"]


def load_teacher(
    config: TeacherConfig, dataset: Dataset, cache: Path, *, progress: Progress = silent
) -> Teacher:
    """Return the teacher of `dataset`, trained on its first use and read from `cache` after that.

    It has seen zero bias alone: datasets that differ in their deposits share one teacher, and one
    folder of `cache`, where the targets of each set of deposits are a file of their own.
    """
    digest = _digest(config, dataset.digest)
    folder = cache / digest
    finished = folder / TARGETS
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not finished.exists():
            _make(config, dataset, folder, finished, progress)
        made = _deposit_targets(config, dataset, folder, progress) if dataset.deposits else {}
    with np.load(finished) as stored:
        return Teacher(digest, {name: stored[name] for name in stored.files} | made)


def has_targets(config: TeacherConfig, dataset: DatasetConfig, cache: Path) -> bool:
    """Tell whether `cache` holds the targets of a dataset; its events need not be read for that.

    Raises DataError or TeacherError when a file that the user names cannot be read.
    """
    folder = cache / _digest(config, dataset_digest(dataset))
    there = (folder / TARGETS).exists()
    return there and (not dataset.deposits or any(folder.glob(_deposit_file(dataset.deposits, "*"))))


def _digest(config: TeacherConfig, dataset_digest: str) -> str:
    model_digest = _user_teacher_digest(config.file) if config.file else config.digest()
    return content_digest([VERSION, model_digest, dataset_digest])


def _deposit_file(count: int, content: str) -> str:
    return f"{DEPOSITS}-{count}-{content}.npy"


def _user_teacher_digest(file: Path) -> str:
    if not file.is_file():
        raise TeacherError(f"{file}: no such teacher; name a .keras file, or leave teacher.file out")
    return file_digest(file)


def _make(config: TeacherConfig, dataset: Dataset, folder: Path, finished: Path, progress: Progress) -> None:
    import keras  # slow to import, and not needed once the targets are cached

    if config.file:
        model = _load_model(config.file)
    else:
        model = _train(config, dataset.train.zero_bias, progress)
        model.save(folder / "teacher.tmp.keras")
        os.replace(folder / "teacher.tmp.keras", folder / "teacher.keras")
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    samples = {
        f"{part}/{name}": events
        for part, p in parts.items()
        for name, events in _classes(p).items()
        if not (dataset.deposits and name == DEPOSITS)
    }
    targets = {}
    for number, (name, events) in enumerate(samples.items()):
        progress("teacher scores", number, len(samples))
        targets[name] = target(_loss(model, events))
    progress("teacher scores", len(samples), len(samples))
    temporary = folder / "targets.tmp.npz"
    np.savez(temporary, **targets)  # type: ignore[arg-type]
    about = {"dataset": dataset.digest, "teacher": config.model_dump(mode="json"), "keras": keras.__version__}
    (folder / "about.json").write_text(json.dumps(about, indent=1))
    os.replace(temporary, finished)


def _deposit_targets(
    config: TeacherConfig, dataset: Dataset, folder: Path, progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """Return the targets of a dataset's deposits, by part and class; computed once for these events."""
    events = dataset.train.exposure[DEPOSITS]
    content = hashlib.sha256(np.ascontiguousarray(events).data).hexdigest()[:16]
    finished = folder / _deposit_file(len(events), content)
    if not finished.exists():
        model = _finished_teacher(config, folder)
        targets = np.empty(len(events), np.float32)
        for start in range(0, len(events), DEPOSITS_AT_ONCE):
            progress("teacher scores of deposits", start, len(events))
            some = slice(start, start + DEPOSITS_AT_ONCE)
            targets[some] = target(_loss(model, events[some]))
        progress("teacher scores of deposits", len(events), len(events))
        temporary = folder / f"{DEPOSITS}.tmp.npy"
        np.save(temporary, targets)
        os.replace(temporary, finished)
    return {f"train/{DEPOSITS}": np.load(finished)}


def _finished_teacher(config: TeacherConfig, folder: Path) -> "keras.Model":
    """Return the teacher that the other targets of `folder` are of."""
    if config.file:
        return _load_model(config.file)
    try:
        return _load_model(folder / "teacher.keras")
    except TeacherError as error:
        raise TeacherError(f"{error}; remove its folder to have it trained again") from error


def _classes(part: Part) -> dict[str, NDArray[np.uint16]]:
    return {"zero_bias": part.zero_bias, **part.signals, **part.exposure}


def build_teacher() -> "keras.Model":
    """Return CICADA's untrained autoencoder of images (n, 18, 14, 1) in counts."""
    from keras import Input, Sequential, layers

    def conv(filters: int) -> layers.Layer:
        return layers.Conv2D(filters, 3, padding="same", activation="relu")

    return Sequential(
        [
            Input((*IMAGE_SHAPE, 1)),
            conv(20),
            layers.AveragePooling2D(2),
            conv(30),
            layers.Flatten(),
            layers.Dense(80, activation="relu"),
            layers.Dense(9 * 7 * 30, activation="relu"),
            layers.Reshape((9, 7, 30)),
            conv(30),
            layers.UpSampling2D(2),
            conv(20),
            conv(1),
        ],
        name="teacher",
    )


def _train(config: TeacherConfig, events: NDArray[np.uint16], progress: Progress) -> "keras.Model":
    import keras

    keras.utils.set_random_seed(config.seed)
    model = build_teacher()
    model.compile(keras.optimizers.Adam(config.learning_rate), "mse")
    images = _images(events)
    for epoch in range(config.epochs):
        progress("teacher epochs", epoch, config.epochs)
        loss = model.fit(images, images, batch_size=config.batch, verbose=0).history["loss"][-1]
        if not np.isfinite(loss):
            raise TeacherError(f"the teacher diverged in epoch {epoch}: lower teacher.learning_rate")
    progress("teacher epochs", config.epochs, config.epochs)
    return model


def _load_model(file: Path) -> "keras.Model":
    """Return the model of a file, which must reconstruct regions."""
    import keras

    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TeacherError(f"{file}: not a Keras model that can be loaded ({reason})") from error
    shape = tuple(model.input_shape[1:])
    without_ones = tuple(size for size in shape if size != 1)
    # Transposed regions have the right size too, but would be cut in the wrong places.
    if without_ones not in (IMAGE_SHAPE, (math.prod(IMAGE_SHAPE),)) or tuple(model.output_shape[1:]) != shape:
        raise TeacherError(
            f"{file}: takes {shape} and gives {tuple(model.output_shape[1:])};"
            " a teacher reconstructs the 18x14 regions that it is given"
        )
    return model


def _loss(model: "keras.Model", events: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the mean squared error (n,) of the reconstruction, in counts squared."""
    images = _images(events).reshape(-1, *model.input_shape[1:])
    reconstructed = model.predict(images, batch_size=BATCH, verbose=0)
    axes = tuple(range(1, images.ndim))
    return np.asarray(((images - reconstructed) ** 2).mean(axis=axes), np.float32)


def _images(events: NDArray[np.uint16]) -> NDArray[np.float32]:
    return events.astype(np.float32)[..., None]
