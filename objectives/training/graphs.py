"""What compiled training of every scheme shares: resident data, the epoch's loop, what decides a graph.

Nothing here knows a scheme's package: students of QKeras are trained in an environment without HGQ2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from objectives.data.geometry import IMAGE_SHAPE
from objectives.recipe import Recipe
from objectives.students.architecture import Architecture

Counts = NDArray[np.uint16]
#: Every variable of a student.
State = list[NDArray[Any]]

#: Events in one step of a loop without gradients.
FORWARD_BATCH = 1024
#: Events that Keras predicts at once.
PREDICT_BATCH = 2048


@dataclass(frozen=True)
class GraphKey:
    """What decides a compiled graph; all else of a recipe is a variable.

    HGQ's bitwidths are variables, those of QKeras are constants of the graph.
    """

    student: Architecture
    quantization: str
    batch: int
    loss: str

    @classmethod
    def of(cls, recipe: Recipe) -> "GraphKey":
        structure = recipe.quantization.model_dump(mode="json")
        for bits in ("bits", "integer_bits", "fractional_bits"):
            structure["weights"].pop(bits, None)
            structure["data"].pop(bits, None)
        return cls(recipe.student, str(structure), recipe.training.batch, recipe.training.loss)


@dataclass(frozen=True)
class TrainingData:
    """Resident data: `events` (n, 18, 14) counts with `targets` (n,), the first `zero_bias` of them
    zero bias and the rest exposure; `validation` (m, 18, 14) is predicted after each epoch."""

    events: tf.Tensor
    targets: tf.Tensor
    zero_bias: int
    validation: tf.Tensor
    validation_events: int

    @classmethod
    def load(
        cls, events: Counts, targets: NDArray[np.float32], zero_bias: int, validation: Counts
    ) -> "TrainingData":
        """Move arrays into the memory of the compiled graphs, as uint16."""
        return cls(
            tf.constant(events),
            tf.constant(targets, tf.float32),
            zero_bias,
            tf.constant(_padded(validation)),
            len(validation),
        )

    @property
    def exposure(self) -> int:
        return int(self.events.shape[0]) - self.zero_bias

    @property
    def longest_order(self) -> int:
        """Events of the longest epoch that one graph takes: any exposure fraction below one half."""
        return 2 * int(self.events.shape[0])

    def padded(self, order: NDArray[np.int32], batch: int) -> tf.Tensor:
        """Return an epoch's `order` at the one length that the graph was compiled for; more recompiles."""
        whole = np.zeros(max(self.longest_order + batch, len(order)), np.int32)
        whole[: len(order)] = order
        return tf.constant(whole)


def train_steps(
    data: TrainingData,
    order: tf.Tensor,
    steps: tf.Tensor,
    *,
    batch: int,
    loss: str,
    forward: Callable[[tf.Tensor], tf.Tensor],
    penalty: Callable[[], tf.Tensor],
    optimizer: keras.optimizers.Optimizer,
    variables: list[keras.Variable],
) -> tf.Tensor:
    """Train `variables` on `steps` batches of the events in `order`, and return the mean loss.

    `forward` gives the scores (n,) of events (n, 18, 14), `penalty` what is added to their loss.
    """
    events = rows(data.events)

    def step(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        index = tf.slice(order, [i * batch], [batch])
        x = images(tf.gather(events, index))
        y = tf.gather(data.targets, index)
        with tf.GradientTape() as tape:
            error = forward(x) - y
            mean = tf.reduce_mean(tf.abs(error) if loss == "mae" else tf.square(error))
            objective = mean + penalty()
        optimizer.apply(tape.gradient(objective, variables), variables)
        return i + 1, total + mean

    _, total = tf.while_loop(lambda i, _: i < steps, step, [tf.constant(0), tf.constant(0.0)])
    return total / tf.cast(steps, tf.float32)


def predict_parts(events: tf.Tensor, forward: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Return the scores of `events`, whole forward batches of them, `forward` taking a batch at a time."""
    parts = events.shape[0] // FORWARD_BATCH

    def step(i: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = forward(tf.slice(events, [i * FORWARD_BATCH, 0, 0], [FORWARD_BATCH, *events.shape[1:]]))
        return i + 1, tf.tensor_scatter_nd_update(scores, [[i]], [part])

    _, scores = tf.while_loop(
        lambda i, _: i < parts, step, [tf.constant(0), tf.zeros([parts, FORWARD_BATCH])]
    )
    return tf.reshape(scores, [-1])


def rows(events: tf.Tensor) -> tf.Tensor:
    """Events as rows, which XLA gathers four times faster than images."""
    return tf.reshape(events, [events.shape[0], -1])


def images(rows: tf.Tensor) -> tf.Tensor:
    """Rows as events (n, 18, 14)."""
    return tf.reshape(rows, [-1, *IMAGE_SHAPE])


def _padded(events: Counts) -> Counts:
    """Repeat the last event up to whole forward batches; it adds no range and is cut off again."""
    missing = -len(events) % FORWARD_BATCH
    return np.concatenate([events, np.repeat(events[-1:], missing, axis=0)]) if missing else events
