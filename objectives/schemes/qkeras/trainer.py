"""Training of QKeras students in compiled graphs, in the child that has qkeras-v3.

The loops are those of HGQ students (`objectives.training.graphs`); the forward pass is the model's own.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from qkeras import QActivation, QConv2D

from objectives.recipe import Recipe
from objectives.schemes.qkeras.dropout import dropped
from objectives.schemes.qkeras.student import build_student, initialise, quantized_weights
from objectives.training.batch_last_operations import cut_windows, multiply_windows
from objectives.training.graphs import PREDICT_BATCH, State, TrainingData, predict_parts, train_steps

Floats = NDArray[np.float32]


class CompiledStudent:
    """A model and the compiled graphs that train it; `start` readies them for a run."""

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        self.data = data
        self.batch = recipe.training.batch
        self.loss = recipe.training.loss
        self.model = build_student(recipe.student, recipe.quantization.layers)
        self.optimizer = keras.optimizers.Adam(1e-3)
        self.optimizer.build(self.model.trainable_variables)
        self._epoch = tf.function(self._epoch_graph, jit_compile=True, autograph=False)
        self._measure = tf.function(self._measure_graph, jit_compile=True, autograph=False)

    def start(self, seed: int, parent: State | None) -> None:
        """Set all variables to the beginning of the run with this seed, from `parent` if there is one."""
        initialise(self.model, seed)
        if parent is not None:
            self.load(parent)
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def train_epoch(self, order: NDArray[np.int32], learning_rate: float) -> float:
        """Train on the events of `order`, whole batches of them, and return the mean loss."""
        self.optimizer.learning_rate.assign(learning_rate)
        steps = tf.constant(len(order) // self.batch)
        return float(self._epoch(self.data.padded(order, self.batch), steps))

    def measure(self) -> Floats:
        """Return the scores (n,) of the validation events, compiled."""
        scores: Floats = self._measure().numpy()[: self.data.validation_events]
        return scores

    def finish(self) -> tuple[dict[str, NDArray[np.float64]], Floats]:
        """Return (quantized weights, validation scores), both from the model as it is, not compiled."""
        events = self.data.validation[: self.data.validation_events].numpy()
        parts = (events[i : i + PREDICT_BATCH] for i in range(0, len(events), PREDICT_BATCH))
        scores = [
            np.asarray(self.model(part[..., None].astype(np.float32), training=False)) for part in parts
        ]
        return quantized_weights(self.model), np.concatenate(scores)[:, 0]

    def state(self) -> State:
        """Return a copy of every variable of the student."""
        return [np.array(v) for v in self.model.weights]

    def load(self, state: State) -> None:
        """Put the student back to a `state`."""
        for variable, value in zip(self.model.weights, state, strict=True):
            variable.assign(value)

    def save(self, file: Path) -> None:
        """Write the Keras model."""
        self.model.save(file)

    def read(self, file: Path) -> State:
        """Return the variables of a saved student of this architecture, which this one then has too.

        Raises OSError or ValueError when it cannot be read.
        """
        self.model.load_weights(file)
        return self.state()

    # --- graphs ------------------------------------------------------------------------------

    def _epoch_graph(self, order: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        return train_steps(
            self.data,
            order,
            steps,
            batch=self.batch,
            loss=self.loss,
            forward=lambda events: forward(self.model, events, True),
            penalty=lambda: tf.constant(0.0),
            optimizer=self.optimizer,
            variables=self.model.trainable_variables,
        )

    def _measure_graph(self) -> tf.Tensor:
        return predict_parts(self.data.validation, lambda events: forward(self.model, events, False))


def forward(model: keras.Model, events: tf.Tensor, training: bool) -> tf.Tensor:
    """Return the scores (n,) of `events` (n, 18, 14): what the model gives, up to rounding, and faster.

    Images have the batch on the last axis, and dropout numbers of its own; all else is the model's.
    """
    count = events.shape[0]
    x = tf.transpose(tf.cast(events, tf.float32), (1, 2, 0))
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, QConv2D):
            kernel = tf.reshape(layer.kernel_quantizer_internal(layer.kernel), [-1, layer.filters])
            x = multiply_windows(kernel, cut_windows(x, layer.kernel_size, layer.strides))
        elif isinstance(layer, keras.layers.Flatten):
            x = tf.transpose(tf.reshape(x, [-1, count]))
        elif isinstance(layer, QActivation):
            x = layer.activation(x)
        elif isinstance(layer, keras.layers.Dropout):
            x = dropped(layer, x) if training else x
        else:
            x = layer(x, training=training)
    return x[:, 0]
