"""Training of HGQ students in compiled graphs that outlive a trial.

One XLA graph holds a whole epoch: the data stay resident as tensors, a while loop gathers each
batch, and nothing returns to Python in between. Another calibrates the bitwidths and predicts the
validation events. Learning rate, beta, weights and initial bitwidths are variables, so a worker
compiles once for each architecture and trains every trial of it with the same graphs.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from hgq.utils.minmax_trace import TrainingFlagWrapper
from numpy.typing import NDArray

from objectives.costs.adder_bits import adder_bits
from objectives.data.geometry import IMAGE_SHAPE
from objectives.quantization import Quantization
from objectives.recipe import Recipe
from objectives.schemes import hgq
from objectives.students.network import QuantizedNetwork
from objectives.training import batch_last
from objectives.training.graphs import (
    FORWARD_BATCH,
    PREDICT_BATCH,
    Counts,
    State,
    TrainingData,
    images,
    predict_parts,
    rows,
    train_steps,
)
from objectives.training.order import epoch_order

#: Steps of `FORWARD_BATCH` events in the calibration after each epoch.
CALIBRATION_PARTS = 8
#: Events that the moments of batch norms are taken from where a student is taken over.
ADOPTING_EVENTS = 20_000


class Trainer:
    """The compiled graphs of one architecture; `start` readies them for a recipe."""

    anneals = True
    versions: Mapping[str, str] = MappingProxyType({})

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        self.data = data
        self.batch = recipe.training.batch
        self.loss = recipe.training.loss
        self.model = hgq.build_student(recipe.student, recipe.quantization)
        self.layers = hgq.quantized_layers(self.model)
        self.optimizer = keras.optimizers.Adam(1e-3)
        self.optimizer.build(self.model.trainable_variables)
        self._parts = hgq.parts_of(self.model)
        self._measured: list[list[tf.Tensor]] = []
        self._ranges = [q for q in _quantizers(self.model) if hasattr(q, "_i_decay_speed") and q.trainable]
        self._all_events, self._some_events = self._calibration_orders()
        self._epoch = tf.function(self._epoch_graph, jit_compile=True, autograph=False)
        self._calibrate = tf.function(self._calibrate_graph, jit_compile=True, autograph=False)
        self._predict = tf.function(self._keras_graph, jit_compile=True, autograph=False)

    # --- a trial -----------------------------------------------------------------------------

    def start(self, quantization: Quantization, seed: int, parent: State | None = None) -> None:
        """Set weights, bitwidths and optimizer to the beginning of the trial with this seed.

        The student is `parent`, if there is one, which decides weights and bitwidths.
        """
        if parent is None:
            mean_target = float(tf.reduce_mean(self.data.targets[: self.data.zero_bias]))
            hgq.initialise(self.model, quantization, seed, output_bias=mean_target)
        else:
            self.load(parent)
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def train_epoch(self, order: NDArray[np.int32], learning_rate: float, beta: float) -> float:
        """Train on the events of `order`, whole batches of them, and return the mean loss."""
        self.optimizer.learning_rate.assign(learning_rate)
        for layer in self.layers:
            layer._beta.assign(beta)
        steps = tf.constant(len(order) // self.batch)
        return float(self._epoch(self.data.padded(order, self.batch), steps))

    def measure(self) -> tuple[NDArray[np.float32], int]:
        """Return (validation scores, EBOPs) of the student as it is; training goes on unchanged.

        Bitwidths are calibrated on a fixed share of the training events, so both figures are near
        those of `finish`, not equal to them.
        """
        parts = min(CALIBRATION_PARTS, len(self._some_events) // FORWARD_BATCH)
        scores, ebops, self._measured = self._calibrate(
            self._some_events, tf.constant(parts), tf.constant(True)
        )
        return scores.numpy()[: self.data.validation_events], int(ebops)

    def adder_bits(self) -> float:
        """Return the adder bits of the student as it was when it was measured last."""
        return adder_bits(hgq.network_of(self.model, self._parts, self._measured))

    def state(self) -> State:
        """Return a copy of every variable of the student."""
        return [np.array(v.numpy()) for v in self.model.weights]

    def load(self, state: State) -> None:
        """Put the student back to a `state`."""
        for variable, value in zip(self.model.weights, state, strict=True):
            variable.assign(value)

    def save(self, file: Path) -> None:
        """Write the Keras model. Raises OSError when it cannot be written."""
        self.model.save(file)

    def read(self, file: Path) -> State:
        """Return the variables of a saved student of this architecture, which the model then has too.

        Raises OSError, ValueError or BadZipFile when it cannot be read.
        """
        self.model.load_weights(file)
        return self.state()

    def adopt(self, network: QuantizedNetwork, exposure_fraction: float) -> State:
        """Return the variables of a student that computes what `network` does; the model then has them.

        Batch norms get the moments of a training sample with this share of exposure, so that training
        begins where the network is. Raises StudentError when the model is of another architecture.
        """
        order = epoch_order(
            self.data.zero_bias, self.data.exposure, exposure_fraction, self.batch, np.random.default_rng(0)
        )
        sample = tf.gather(self.data.events, order[:ADOPTING_EVENTS]).numpy()
        hgq.adopt(self.model, network, sample)
        return self.state()

    def optimizer_state(self) -> State:
        """Return a copy of every variable of the optimizer."""
        return [np.array(v.numpy()) for v in self.optimizer.variables]

    def load_optimizer(self, state: State) -> None:
        """Put the optimizer back to a state."""
        for variable, value in zip(self.optimizer.variables, state, strict=True):
            variable.assign(value)

    def calibrate(self) -> int:
        """Set the bitwidths that all training events need; return the EBOPs."""
        parts = tf.constant(len(self._all_events) // FORWARD_BATCH)
        _, ebops, _ = self._calibrate(self._all_events, parts, tf.constant(False))
        for layer in self.layers:
            layer._ebops.assign(self._layer_ebops(layer))
        return int(ebops)

    def finish(self) -> tuple[QuantizedNetwork, NDArray[np.float32], int]:
        """Calibrate; return (student as hardware, validation scores, EBOPs).

        The scores are those of the Keras model itself, not of the training path: hardware is held
        against them.
        """
        ebops = self.calibrate()
        validation = self.data.validation[: self.data.validation_events].numpy()
        return hgq.describe(self.model), self.predict(validation), ebops

    def predict(self, events: Counts) -> NDArray[np.float32]:
        """Return the scores (n,) that the Keras model gives the events (n, 18, 14).

        Compiled, which is five times faster, as long as XLA rounds every weight as the model itself
        does: a folded batch norm is a quotient that a compiler is free to compute in other ways.
        """
        whole = np.concatenate([events, np.repeat(events[-1:], -len(events) % PREDICT_BATCH, axis=0)])
        images = whole.reshape(-1, PREDICT_BATCH, *IMAGE_SHAPE, 1).astype(np.float32)
        weights = _quantized_weights(self.model)
        scores = []
        for part in images:
            outputs, compiled_weights = self._predict(tf.constant(part))
            same = all(np.array_equal(a, b) for a, b in zip(weights, compiled_weights, strict=True))
            scores.append(outputs if same else self.model(part, training=False))
        return np.concatenate([np.asarray(part)[:, 0] for part in scores])[: len(events)]

    # --- graphs ------------------------------------------------------------------------------

    def _epoch_graph(self, order: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        return train_steps(
            self.data,
            order,
            steps,
            batch=self.batch,
            loss=self.loss,
            forward=lambda x: batch_last.forward(self.model, x, True),
            penalty=lambda: batch_last.penalty(self.model),
            optimizer=self.optimizer,
            variables=self.model.trainable_variables,
        )

    def _calibrate_graph(
        self, order: tf.Tensor, parts: tf.Tensor, restore: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[list[tf.Tensor]]]:
        """Set every wrapping range to what the events of `order` need, as HGQ's trace_minmax does.

        Returns (validation scores, EBOPs, what its parts read) with those ranges; `restore` puts back the
        ranges that training tracks once all are known.
        """
        ranges = [v for q in self._ranges for v in (q._i, q._k)]
        kept = [tf.identity(v.value) for v in ranges]
        for quantizer in self._ranges:
            quantizer._i.assign(tf.fill(quantizer._i.shape, -1e9))
            quantizer._k.assign(tf.zeros(quantizer._k.shape, quantizer._k.dtype))

        events = rows(self.data.events)

        def step(i: tf.Tensor) -> tuple[tf.Tensor]:
            index = tf.slice(order, [i * FORWARD_BATCH], [FORWARD_BATCH])
            batch_last.forward(self.model, images(tf.gather(events, index)), TrainingFlagWrapper("tracing"))
            return (i + 1,)

        tf.while_loop(lambda i: i < parts, step, [tf.constant(0)])
        hgq.open_input_range(self.model)
        ebops = tf.add_n([self._layer_ebops(layer) for layer in self.layers])
        scores = predict_parts(self.data.validation, lambda part: batch_last.forward(self.model, part, False))
        parts_read = [[tf.identity(value) for value in part.read()] for part in self._parts]
        with tf.control_dependencies([scores, ebops, *(value for read in parts_read for value in read)]):
            for variable, value in zip(ranges, kept, strict=True):
                variable.assign(tf.where(restore, value, variable.value))
        return scores, ebops, parts_read

    def _keras_graph(self, images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the model's scores, and the weights that they were computed with."""
        return self.model(images, training=False), _quantized_weights(self.model)

    def _layer_ebops(self, layer: keras.Layer) -> tf.Tensor:
        return tf.cast(batch_last.layer_ebops(layer), tf.int32)

    def _calibration_orders(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Every training event, and an even share of zero bias and exposure, in whole batches."""
        events = int(self.data.events.shape[0])
        length = events + -events % FORWARD_BATCH
        every = np.minimum(np.arange(length), events - 1)
        share = np.resize(np.linspace(0, events - 1, min(CALIBRATION_PARTS * FORWARD_BATCH, length)), length)
        return tf.constant(every, tf.int32), tf.constant(share.astype(np.int32))


def _quantizers(model: keras.Model) -> list[Any]:
    return [x for x in model._flatten_layers() if hasattr(x, "bw_mapper")]


def _quantized_weights(model: keras.Model) -> list[tf.Tensor]:
    layers = hgq.quantized_layers(model)
    return [layer.qkernel for layer in layers] + [layer.qbias for layer in layers if layer.bias is not None]
