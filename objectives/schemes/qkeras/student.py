"""Building QKeras students; imported only where qkeras-v3 is installed.

The networks are CICADA's v1 and v2 (Princeton-AD/cicada, `models.py`), at the bitwidths of a
`LayerBits`, with the choices of architecture that an HGQ student has as well.
"""

import keras
import numpy as np
from numpy.typing import NDArray
from qkeras import QActivation, QConv2D, QDense, QDenseBatchnorm, quantized_bits, quantized_relu

from objectives.data.geometry import IMAGE_SHAPE
from objectives.quantization import SCORE_BITS, LayerBits
from objectives.students.architecture import Architecture

#: Dropout of the flattened convolution, and of the hidden layer.
CONV_DROPOUT, HIDDEN_DROPOUT = 1 / 9, 1 / 8


def build_student(student: Architecture, layers: LayerBits) -> keras.Model:
    """Return a student of region images (n, 18, 14, 1); `initialise` it before use."""
    x = inputs = keras.Input((*IMAGE_SHAPE, 1), name="regions")
    if student.input_clip:
        bits = student.input_clip.bit_length() - 1
        x = QActivation(quantized_relu(bits, bits), name="clip")(x)
    if student.family == "cicada-v2":
        conv = layers.conv
        x = QConv2D(
            student.filters,
            student.kernel,
            strides=student.stride,
            padding="valid",
            use_bias=False,
            kernel_quantizer=_kernel(conv.bits, conv.integer_bits),
            name="conv",
        )(x)
        x = QActivation(quantized_relu(conv.relu_bits, conv.relu_integer_bits), name="relu0")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    if student.family == "cicada-v2":
        x = keras.layers.Dropout(CONV_DROPOUT, name="dropout0")(x)
    hidden = layers.dense1
    x = (QDenseBatchnorm if student.batch_norm else QDense)(
        student.hidden,
        kernel_quantizer=_kernel(hidden.bits, hidden.integer_bits),
        bias_quantizer=_kernel(hidden.bias_bits, hidden.bias_integer_bits),
        name="dense1",
    )(x)
    x = QActivation(quantized_relu(hidden.relu_bits, hidden.relu_integer_bits), name="relu1")(x)
    x = keras.layers.Dropout(HIDDEN_DROPOUT, name="dropout1")(x)
    x = QDense(
        1,
        use_bias=False,
        kernel_quantizer=_kernel(layers.dense2.bits, layers.dense2.integer_bits),
        name="dense2",
    )(x)
    x = QActivation(quantized_relu(sum(SCORE_BITS), SCORE_BITS[0]), name="outputs")(x)
    return keras.Model(inputs, x, name=student.family.replace("-", "_"))


def _kernel(bits: int, integer_bits: int) -> quantized_bits:
    return quantized_bits(bits, integer_bits, 1, alpha=1.0)


def initialise(model: keras.Model, seed: int) -> None:
    """Set every variable to its value before training; the same for the same seed.

    Kernels are drawn as QKeras does, He-normal. The last one is drawn positive: the score is never
    below zero, and without a bias a student that starts there on all events has no gradient and stays.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(rng.integers(2**31, size=2).astype(np.uint32))
        if not isinstance(layer, QConv2D | QDense):
            continue
        shape = layer.kernel.shape
        kernel = _truncated_normal(rng, shape) * np.sqrt(2.0 / np.prod(shape[:-1])) / TRUNCATED_DEVIATION
        layer.kernel.assign((np.abs(kernel) if layer.name == "dense2" else kernel).astype(np.float32))
        if layer.bias is not None:
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
        if isinstance(layer, QDenseBatchnorm):
            norm = layer.batchnorm
            for ones in (norm.gamma, norm.moving_variance):
                ones.assign(np.ones(ones.shape, np.float32))
            for zeros in (norm.beta, norm.moving_mean):
                zeros.assign(np.zeros(zeros.shape, np.float32))
            layer._iteration.assign(-1)


#: Standard deviation of a standard normal distribution that is cut off at two.
TRUNCATED_DEVIATION = 0.87962566103423978


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values


def quantized_weights(model: keras.Model) -> dict[str, NDArray[np.float64]]:
    """Return the kernels and biases that the hardware has, batch norm folded in, by layer."""
    found: dict[str, NDArray[np.float64]] = {}
    for layer in model.layers:
        if not isinstance(layer, QConv2D | QDense):
            continue
        kernel, bias = layer.kernel, layer.bias
        if isinstance(layer, QDenseBatchnorm):
            kernel, bias = layer.get_folded_weights()
        found[layer.name] = np.asarray(layer.kernel_quantizer_internal(kernel), np.float64)
        if bias is not None:
            found[f"{layer.name}_bias"] = np.asarray(layer.bias_quantizer_internal(bias), np.float64)
    return found
