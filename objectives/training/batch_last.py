"""An HGQ student's forward pass with the batch on the last axis: the fast path of training.

Most of a student's arithmetic is element by element: quantize, convolve two by two regions, sum over
the batch for the gradient of one bitwidth. Keras keeps the batch first and so one to four channels
innermost, too few for a processor's vector instructions; with the batch innermost, every bitwidth and
every weight is one number for a whole row of events. Layers and variables are the model's own and all
that is small (bitwidths, kernels, EBOPs) is still computed by HGQ; outputs, gradients and updates of
ranges are those of `model(x, training=...)` up to rounding.

Every input of a quantizer of data must be non-negative, as region counts and outputs of ReLUs are:
the greatest value then decides the range.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from hgq.layers import QBatchNormDense, QConv2D, QDense
from hgq.quantizer import Quantizer

from objectives.training.batch_last_operations import (
    cut_windows,
    moments,
    multiply_windows,
    over_batch,
    sum_over_batch,
)

Shape = tuple[int, ...]


def forward(model: keras.Model, events: tf.Tensor, training: object) -> tf.Tensor:
    """Return the scores (n,) of `events` (n, 18, 14), in any type of number.

    `training` is True, False, or HGQ's flag for tracing, with the meaning it has for the model.
    """
    count, *image = events.shape
    shape: Shape = (*image, 1)
    flat = tf.reshape(events, [count, -1])
    top = tf.reshape(tf.cast(tf.reduce_max(flat, 0), tf.float32), [*image, 1])
    x = tf.reshape(tf.cast(tf.transpose(flat), tf.float32), [*image, count])
    for layer in model.layers:
        if isinstance(layer, Quantizer):
            # Quantization is monotone: the greatest input gives the greatest output.
            top = _quantize(layer.quantizer, top, top, shape, training)
            x = _quantize(layer.quantizer, x, top, shape, training)
        elif isinstance(layer, keras.layers.Flatten):
            shape = (math.prod(shape),)
            x, top = tf.reshape(x, [*shape, count]), tf.reshape(top, [*shape, 1])
        elif isinstance(layer, QConv2D | QDense):
            multiply = _convolve if isinstance(layer, QConv2D) else _dense
            x = layer.activation(multiply(layer, x, top, shape, training))
            shape = tuple(layer.compute_output_shape((1, *shape))[1:])
            top = over_batch(tf.maximum, tf.reduce_max, tf.stop_gradient(x))
            if layer.enable_oq:
                x = _quantize(layer.oq.quantizer, x, top, shape, training)
        elif not isinstance(layer, keras.layers.InputLayer):
            raise TypeError(f"layer {layer.name!r} of type {type(layer).__name__} has no batch-last form")
    return x[0]


def penalty(model: keras.Model) -> tf.Tensor:
    """Return what HGQ adds to the loss: EBOPs times beta, and the bitwidths' regularizers."""
    terms = [v.regularizer(v) for v in model.trainable_variables if v.regularizer is not None]
    multiplying = [layer for layer in model.layers if isinstance(layer, QConv2D | QDense)]
    return tf.add_n(terms + [layer.beta * layer_ebops(layer) for layer in multiplying])


def layer_ebops(layer: keras.Layer) -> tf.Tensor:
    """Return the EBOPs of a layer at its present bitwidths."""
    return layer._compute_ebops((1, *layer.input.shape[1:]))


def _convolve(layer: QConv2D, x: tf.Tensor, top: tf.Tensor, shape: Shape, training: object) -> tf.Tensor:
    """Return (rows, columns, filters, n) of an image `x` (18, 14, n)."""
    rows, columns = layer.compute_output_shape((1, *shape))[1:3]

    def windows(image: tf.Tensor) -> tf.Tensor:
        return cut_windows(image, layer.kernel_size, layer.strides)

    x = _quantize(layer.iq.quantizer, x, top, shape, training, windows)
    kernel = tf.reshape(layer.kq(layer.kernel, training=training), [-1, layer.filters])
    return tf.reshape(multiply_windows(kernel, x), [rows, columns, layer.filters, -1])


def _dense(layer: QDense, x: tf.Tensor, top: tf.Tensor, shape: Shape, training: object) -> tf.Tensor:
    x = _quantize(layer.iq.quantizer, x, top, shape, training)
    kernel, bias = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias)
    if isinstance(layer, QBatchNormDense):
        mean, variance = layer.moving_mean, layer.moving_variance
        if training and layer.trainable:
            mean, variance = moments(x)
            for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
                moving.assign(moving * layer.momentum + now * (1.0 - layer.momentum))
        bias = bias - tf.linalg.matvec(kernel, mean, transpose_a=True)
        kernel = (layer.bn_gamma / tf.sqrt(variance + layer.epsilon))[:, None] * kernel
    kernel, bias = layer.kq(kernel, training=training), layer.bq(bias, training=training)
    return tf.matmul(kernel, x, transpose_a=True) + bias[:, None]


# --- quantizers of data ----------------------------------------------------------------------


def _quantize(
    quantizer: Any,
    x: tf.Tensor,
    top: tf.Tensor,
    shape: Shape,
    training: object,
    windows: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """Do what the quantizer's `call` does to `x` (..., n), whose greatest values are `top`.

    Returns the quantized values, or `windows` of them.
    """
    if _tracks_range(quantizer, training):
        fractional = _spread(quantizer, quantizer.f, shape)
        _track_range(quantizer, top, fractional, shape, training)
        return _round(quantizer, windows(x), windows(fractional))
    k, i, f = (windows(_spread(quantizer, bits, shape)) for bits in quantizer.kif)
    x = windows(x)
    if training is True:
        return quantizer.stateless_quantizer(x, k, i, f, True)
    if quantizer.overflow_mode == "WRAP":
        return _wrap(quantizer, x, k, i, f)
    return tf.where(k + i + f > 0, quantizer.stateless_quantizer(x, k, i, f), 0.0)


def _wrap(quantizer: Any, x: tf.Tensor, k: tf.Tensor, i: tf.Tensor, f: tf.Tensor) -> tf.Tensor:
    """Round and drop the high bits: a remainder by a power of two, exact and faster this way."""
    scale, values = 2.0**f, 2.0 ** tf.maximum(k + i + f, 0.0)
    least = k * values / 2
    steps = quantizer.stateless_quantizer.round_fn(x * scale) + least
    steps -= tf.floor(steps / values) * values
    return tf.where(values > 1, steps - least, 0.0) / scale


def _tracks_range(quantizer: Any, training: object) -> bool:
    """Whether it follows the values it sees, so that it only rounds."""
    following = bool(training) or training == "tracing"
    return bool(quantizer.overflow_mode == "WRAP" and quantizer.trainable and following)


def _track_range(
    quantizer: Any, top: tf.Tensor, fractional: tf.Tensor, shape: Shape, training: object
) -> None:
    top = tf.stop_gradient(_round(quantizer, top, fractional))
    needed = quantizer.get_minimal_i(tf.reshape(top, (1, *shape)))
    if training is True:
        needed = tf.maximum(quantizer._i - quantizer.i_decay_speed, needed)
    else:
        if quantizer._i.constraint is not None:
            needed = quantizer._i.constraint(needed)
        needed = tf.maximum(quantizer.i, needed)
    quantizer._i.assign(tf.stop_gradient(needed))


def _round(quantizer: Any, x: tf.Tensor, fractional: tf.Tensor) -> tf.Tensor:
    """Round to `fractional` (..., 1) bits; the gradient takes the rounding of `x` for the identity."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def rounded(x: tf.Tensor, fractional: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
        scale = 2.0**fractional
        # The division is exact. As a multiplication, XLA would rather repeat all of this in every
        # loop that reads the result than store it.
        result = quantizer.stateless_quantizer.round_fn(x * scale) / scale

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return upstream, math.log(2) * sum_over_batch(upstream * (x - result))

        return result, gradient

    return rounded(x, fractional)


def _spread(quantizer: Any, bits: tf.Tensor, shape: Shape) -> tf.Tensor:
    """Return the bits of every value as (..., 1), an image without its one channel."""
    axes = shape[:2] if len(shape) == 3 else shape
    return tf.reshape(quantizer.bw_mapper.bw_to_x(bits, (1, *shape)), [*axes, 1])
