"""The batch-last forward pass against HGQ's own layers, called through Keras."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hgq.utils.minmax_trace import TrainingFlagWrapper
from numpy.typing import NDArray

from objectives.quantization import DataQuantization, Quantization, WeightQuantization
from objectives.schemes import hgq
from objectives.students.architecture import Architecture
from objectives.training import batch_last

STUDENTS = {
    "v2": Architecture(),
    "v2-overlapping-windows": Architecture(filters=3, kernel=3, stride=2, hidden=5),
    "v2-matrix-products": Architecture(filters=9, kernel=4, stride=3, hidden=4),
    "v2-skipped-regions": Architecture(kernel=2, stride=4, hidden=6),
    "v2-clipped": Architecture(input_clip=64),
    "v2-deep-without-normalization": Architecture(hidden=8, hidden_2=6, batch_norm=False),
    "v1": Architecture(family="cicada-v1"),
    "v1-clipped-deep": Architecture(family="cicada-v1", hidden=8, hidden_2=6, input_clip=128),
}
QUANTIZATIONS = {
    "channel": Quantization(
        weights=WeightQuantization(granularity="channel"), data=DataQuantization(granularity="channel")
    ),
    "layer": Quantization(
        weights=WeightQuantization(granularity="layer"), data=DataQuantization(granularity="layer")
    ),
    "saturating": Quantization(
        weights=WeightQuantization(overflow="SAT", rounding="TRN"),
        data=DataQuantization(overflow="SAT", rounding="RND_CONV"),
    ),
    "wrapping": Quantization(
        weights=WeightQuantization(overflow="WRAP", rounding="RND_CONV"),
        data=DataQuantization(overflow="SAT_SYM", rounding="TRN"),
    ),
}
CASES = [pytest.param(student, Quantization(), id=name) for name, student in STUDENTS.items()] + [
    pytest.param(Architecture(), quantization, id=name) for name, quantization in QUANTIZATIONS.items()
]

#: Folds to 48 columns in sums over the batch.
EVENTS = 192


def student_in_training(student: Architecture, quantization: Quantization) -> keras.Model:
    """Return a student whose bitwidths have come apart, as they do in training."""
    model = hgq.build_student(student, quantization)
    hgq.initialise(model, quantization, seed=3, output_bias=20.0)
    rng = np.random.default_rng(4)
    for variable in model.trainable_variables:
        if variable.path.endswith(("/f", "/b", "/i")):
            variable.assign(variable.numpy() + rng.uniform(-2, 1, variable.shape))
    for layer in hgq.quantized_layers(model):
        layer._beta.assign(1e-4)
    return model


def regions() -> NDArray[np.uint16]:
    rng = np.random.default_rng(5)
    shape = (EVENTS, 18, 14)
    return np.where(rng.random(shape) < 0.6, 0, rng.gamma(0.6, 20.0, shape)).clip(0, 1023).astype(np.uint16)


def states(model: keras.Model) -> dict[str, NDArray[Any]]:
    """Every variable but the record of EBOPs, which only HGQ's call keeps."""
    return {v.path: v.numpy().astype(np.float64) for v in model.weights if not v.path.endswith("/ebops")}


def through_keras(model: keras.Model, events: NDArray[np.uint16]) -> tuple[tf.Tensor, tf.Tensor]:
    scores = model(tf.constant(events, tf.float32)[..., None], training=True)[:, 0]
    return scores, tf.add_n(model.losses)


def batch_last_path(model: keras.Model, events: NDArray[np.uint16]) -> tuple[tf.Tensor, tf.Tensor]:
    scores = batch_last.forward(model, tf.constant(events), True)
    return scores, batch_last.penalty(model)


def step(path: Any, model: keras.Model) -> tuple[NDArray[Any], float, list[NDArray[Any]], dict[str, Any]]:
    """Return scores, penalty, gradients and the variables after one forward pass in training."""
    targets = np.linspace(0, 40, EVENTS, dtype=np.float32)
    with tf.GradientTape() as tape:
        scores, penalty = path(model, regions())
        objective = tf.reduce_mean(tf.square(scores - targets)) + penalty
    gradients = tape.gradient(objective, model.trainable_variables, unconnected_gradients="zero")
    return scores.numpy(), float(penalty), [g.numpy() for g in gradients], states(model)


@pytest.mark.parametrize(("student", "quantization"), CASES)
def test_a_training_step_is_that_of_the_layers(student: Architecture, quantization: Quantization) -> None:
    model = student_in_training(student, quantization)
    start = [v.numpy() for v in model.weights]
    scores, penalty, gradients, after = step(through_keras, model)
    for variable, value in zip(model.weights, start, strict=True):
        variable.assign(value)
    fast_scores, fast_penalty, fast_gradients, fast_after = step(batch_last_path, model)

    assert np.ptp(scores) > 1
    np.testing.assert_allclose(fast_scores, scores, atol=1e-5)
    assert fast_penalty == pytest.approx(penalty, rel=1e-5)
    for variable, fast, plain in zip(model.trainable_variables, fast_gradients, gradients, strict=True):
        scale = max(float(np.abs(plain).max()), 1e-6)
        np.testing.assert_allclose(fast, plain, atol=2e-4 * scale, rtol=1e-4, err_msg=variable.path)
    for name, value in after.items():
        np.testing.assert_allclose(fast_after[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("student", "quantization"), CASES)
def test_tracing_and_prediction_are_those_of_the_layers(
    student: Architecture, quantization: Quantization
) -> None:
    model = student_in_training(student, quantization)
    start = [v.numpy() for v in model.weights]
    tracing = TrainingFlagWrapper("tracing")
    images = tf.constant(regions(), tf.float32)[..., None]

    model(images, training=tracing)
    traced, scores = states(model), model(images, training=False)[:, 0].numpy()
    for variable, value in zip(model.weights, start, strict=True):
        variable.assign(value)
    batch_last.forward(model, tf.constant(regions()), tracing)

    for name, value in traced.items():
        np.testing.assert_array_equal(states(model)[name], value, err_msg=name)
    np.testing.assert_array_equal(batch_last.forward(model, tf.constant(regions()), False), scores)


@pytest.mark.parametrize("events", [1, 7, 64, 65, 130])
def test_any_number_of_events(events: int) -> None:
    model = student_in_training(Architecture(), Quantization())
    images = tf.constant(regions()[:events], tf.float32)[..., None]
    expected = model(images, training=False)[:, 0]
    np.testing.assert_array_equal(batch_last.forward(model, tf.constant(regions()[:events]), False), expected)
