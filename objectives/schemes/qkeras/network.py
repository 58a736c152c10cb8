"""From the weights of a QKeras student to the network that its hardware computes, and its EBOPs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data.geometry import IMAGE_SHAPE
from objectives.quantization import SCORE_BITS
from objectives.recipe import Recipe
from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu, Step

#: Bits of a region's transverse energy.
REGION_BITS = 10


def network_of(recipe: Recipe, weights: Mapping[str, NDArray[Any]]) -> QuantizedNetwork:
    """Return the student with these quantized weights, as `quantized_weights` of the child gives them.

    QKeras rounds to the nearest, of two equally near to the even one, and then saturates.
    """
    student, layers = recipe.student, recipe.quantization.layers
    image = (*IMAGE_SHAPE, 1)
    steps: list[Step] = [_unsigned(image, REGION_BITS, 0, "WRAP", "TRN")]
    if student.input_clip:
        steps.append(_relu(image, student.input_clip.bit_length() - 1, 0))
    shape: tuple[int, ...] = image
    if student.family == "cicada-v2":
        convolve = Convolve(weights["conv"], student.stride)
        shape = (*convolve.windows(np.empty((1, *image))).shape[1:-1], student.filters)
        bits, whole = layers.conv.relu_bits, layers.conv.relu_integer_bits
        steps += [convolve, Relu(), _relu(shape, whole, bits - whole)]
    hidden = layers.dense1
    whole = hidden.relu_integer_bits
    steps += [
        Flatten(),
        Dense(weights["dense1"], weights["dense1_bias"]),
        Relu(),
        _relu((student.hidden,), whole, hidden.relu_bits - whole),
        Dense(weights["dense2"], np.zeros(1)),
        Relu(),
        _relu((1,), *SCORE_BITS),
    ]
    return QuantizedNetwork(image, tuple(steps))


def _relu(shape: tuple[int, ...], integer: int, fractional: int) -> Quantize:
    return _unsigned(shape, integer, fractional, "SAT", "RND_CONV")


def _unsigned(
    shape: tuple[int, ...], integer: int, fractional: int, overflow: str, rounding: str
) -> Quantize:
    k, i, f = (np.full(shape, bits, np.int64) for bits in (0, integer, fractional))
    return Quantize(k, i, f, overflow, rounding)


def ebops_of(recipe: Recipe) -> int:
    """Return the student's EBOPs by HGQ's definition: bits of data times bits of weights, and of biases.

    They follow from the bitwidths alone, and count a weight of zero as any other.
    """
    student, layers = recipe.student, recipe.quantization.layers
    rows, columns = IMAGE_SHAPE
    inputs, data_bits = rows * columns, REGION_BITS
    if student.input_clip:
        data_bits = student.input_clip.bit_length() - 1
    ebops = 0
    if student.family == "cicada-v2":
        places = [(size - student.kernel) // student.stride + 1 for size in IMAGE_SHAPE]
        outputs = places[0] * places[1] * student.filters
        ebops += outputs * student.kernel**2 * data_bits * (layers.conv.bits - 1)
        inputs, data_bits = outputs, layers.conv.relu_bits
    hidden = layers.dense1
    ebops += inputs * student.hidden * data_bits * (hidden.bits - 1)
    ebops += student.hidden * (hidden.bias_bits - 1)
    ebops += student.hidden * hidden.relu_bits * (layers.dense2.bits - 1)
    return ebops
