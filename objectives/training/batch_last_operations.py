"""Arithmetic with the batch on the last axis, of no scheme in particular; `batch_last` says what for."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

#: Sums over a batch are folded in half down to this many columns, which vectorizes; then reduced.
FOLDED = 64
#: A convolution of at most so many weights is written out, pixel by pixel, and fused with its
#: neighbours; a greater one is a matrix product for each window.
WRITTEN_OUT = 128


def cut_windows(image: tf.Tensor, kernel_size: Sequence[int], strides: Sequence[int]) -> tf.Tensor:
    """Return the windows (m, pixels, n) that a valid convolution sees of an image (rows, columns, n)."""
    (height, width), (down, right) = kernel_size, strides
    rows, columns = (image.shape[0] - height) // down + 1, (image.shape[1] - width) // right + 1
    pixels = [
        image[i : i + down * (rows - 1) + 1 : down, j : j + right * (columns - 1) + 1 : right]
        for i in range(height)
        for j in range(width)
    ]
    return tf.reshape(tf.stack(pixels, 2), [rows * columns, len(pixels), -1])


def multiply_windows(kernel: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
    """Return (m, filters, n): windows (m, pixels, n) times a kernel (pixels, filters)."""
    multiply = _written_out if math.prod(kernel.shape) <= WRITTEN_OUT else _matrix_products
    return multiply(kernel, windows)


def _matrix_products(kernel: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(kernel, x, transpose_a=True)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _written_out(kernel: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Return `_matrix_products(kernel, x)` for a kernel (pixels, filters) and windows (m, pixels, n)."""
    pixels, filters = kernel.shape

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for_x = tf.add_n([upstream[:, j, None] * kernel[:, j, None] for j in range(filters)])
        return tf.reduce_sum(tf.matmul(x, upstream, transpose_b=True), 0), for_x

    return tf.add_n([x[:, i, None] * kernel[i, :, None] for i in range(pixels)]), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def moments(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
    """Return (mean, variance) over the batch."""
    count = x.shape[-1]
    mean = sum_over_batch(x) / count
    deviation = x - mean

    def gradient(for_mean: tf.Tensor, for_variance: tf.Tensor) -> tf.Tensor:
        return (for_mean[:, None] + 2.0 * for_variance[:, None] * deviation) / count

    return (mean[:, 0], sum_over_batch(tf.square(deviation))[:, 0] / count), gradient


def sum_over_batch(x: tf.Tensor) -> tf.Tensor:
    return over_batch(tf.add, tf.reduce_sum, x)


def over_batch(pair: Callable[..., Any], rest: Callable[..., Any], x: tf.Tensor) -> tf.Tensor:
    """Reduce the last axis to one: with `pair` as long as it folds, then with `rest`."""
    while x.shape[-1] > FOLDED and x.shape[-1] % 2 == 0:
        half = x.shape[-1] // 2
        x = pair(x[..., :half], x[..., half:])
    return rest(x, -1, keepdims=True)
