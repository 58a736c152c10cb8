"""Students for tests: untrained, with weights and bitwidths anywhere, and the events to try them on."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from objectives.quantization import Quantization
from objectives.schemes import hgq
from objectives.students.architecture import Architecture
from objectives.students.network import Convolve, Dense, Quantize, QuantizedNetwork

#: Whole numbers up to 2**24 are exact in single precision.
SINGLE_PRECISION_BITS = 24


def student(architecture: Architecture, quantization: Quantization, seed: int) -> keras.Model:
    """Return a student with random weights and with bitwidths scattered about their start."""
    model = hgq.build_student(architecture, quantization)
    hgq.initialise(model, quantization, seed, output_bias=20)
    rng = np.random.default_rng(seed)
    layers = hgq.quantized_layers(model)
    for layer in layers:
        first, last = layer is layers[0], layer is layers[-1]
        # The last layer adds more than it takes away: else one student of two is dead.
        kernel = rng.uniform(-0.3 if last else -1, 1, layer.kernel.shape)
        layer.kernel.assign(kernel * rng.choice([0.3, 1], layer.kernel.shape))
        scatter(layer.kq.quantizer._b, rng, *((2, 4) if last else (0, 3)))
        scatter(layer.kq.quantizer._i, rng, *((0, 0) if last else (-1, 0)))
        if layer.bias is not None:
            layer.bias.assign(rng.uniform(-4, 12, layer.bias.shape))
            scatter(layer.bq.quantizer._b, rng, 0, 6)
            scatter(layer.bq.quantizer._i, rng, 1, 4)
        scatter(layer.iq.quantizer._i, rng, *((6, 10) if first else (3, 7)))
        scatter(layer.iq.quantizer._f, rng, *((-5, 0) if first else (-2, 2)))
        if hasattr(layer, "moving_mean"):
            layer.bn_gamma.assign(rng.uniform(0.5, 2, layer.bn_gamma.shape))
            layer.moving_mean.assign(rng.uniform(0, 1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 9, layer.moving_variance.shape))
    return model


def scatter(bits: Any, rng: np.random.Generator, low: int, high: int) -> None:
    """Draw bitwidths from `low` to `high`, not whole, as training leaves them.

    Where few are shared by many values, the two lowest are left out: they would kill the student.
    """
    low = min(low + 2, high) if np.prod(bits.shape) < 8 else low
    whole = rng.integers(low, high + 1, bits.shape)
    bits.assign((whole + rng.uniform(-0.4, 0.4, bits.shape)).astype(np.float32))


def events(seed: int, count: int = 40) -> NDArray[np.uint16]:
    """Events (4 * count + 4, 18, 14): the corners, single hot regions, soft events and full ones."""
    rng = np.random.default_rng(seed)
    corners = np.zeros((4, 252), np.uint16)
    corners[1], corners[2, ::2], corners[3, 100:140] = 1023, 1023, 512
    hot = np.zeros((count, 252), np.uint16)
    hot[np.arange(count), rng.permutation(252)[:count]] = rng.choice([1, 511, 512, 1022, 1023], count)
    soft = np.minimum(rng.exponential(20, (count, 252)), 1023) * (rng.random((count, 252)) < 0.4)
    sparse = rng.integers(0, 1024, (count, 252)) * (rng.random((count, 252)) < 0.1)
    full = rng.integers(0, 1024, (count, 252)) >> rng.integers(0, 8, (count, 1))
    parts = [corners, hot, *(part.astype(np.uint16) for part in (soft, sparse, full))]
    return np.concatenate(parts).reshape(-1, 18, 14)


def keras_scores(model: keras.Model, regions: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the scores (n,) that Keras gives, outside of training."""
    return np.asarray(model(regions[..., None].astype(np.float32), training=False))[:, 0]


def borders(
    network: QuantizedNetwork, regions: NDArray[np.uint16]
) -> Iterator[tuple[Any, NDArray[np.float64]]]:
    """Yield each step with what goes into it."""
    values = np.asarray(regions, np.float64).reshape(len(regions), *network.input_shape)
    for step in network.steps:
        yield step, values
        values = step(values)


def widest_sum(network: QuantizedNetwork, regions: NDArray[np.uint16]) -> float:
    """Return the bits that the widest sum takes, in whatever order it is added up."""
    widest, unit = 0.0, 1.0
    for step, values in borders(network, regions):
        if isinstance(step, Quantize):
            alive = step.k + step.i + step.f > 0
            unit = 2.0 ** -float(step.f[alive].max(initial=0))
        elif isinstance(step, Convolve | Dense):
            kernel = step.matrix() if isinstance(step, Convolve) else step.kernel
            bias = step.bias if isinstance(step, Dense) else np.zeros(1)
            inputs = step.windows(values) if isinstance(step, Convolve) else values
            largest = float((np.abs(inputs) @ np.abs(kernel) + np.abs(bias)).max())
            finest = min(unit * _unit(kernel), _unit(bias))
            widest = max(widest, np.log2(max(largest / finest, 1)))
    return widest


def _unit(values: NDArray[np.float64]) -> float:
    """Return the largest power of two, one at most, of which all values are multiples."""
    unit = 1.0
    while (values / unit != np.round(values / unit)).any():
        unit /= 2
    return unit
