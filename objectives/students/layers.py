"""A quantized student layer by layer: how wide what enters each layer is, and each of its weights."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu, Step

Bits = NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """One layer that multiplies.

    `input_bits` has the shape of what enters it: (rows, columns, channels) where that is an image,
    flattened or not, otherwise (n,). `weight_bits` is (inputs of one output, outputs): from the
    highest to the lowest bit that is set, the sign not counted; 0 is no weight at all. Its steps in
    the network are those from `first`, which multiplies, to `last`, which rounds for the next layer.
    """

    name: str
    kind: str
    input_bits: Bits
    weight_bits: Bits
    first: int
    last: int


def layers_of(network: QuantizedNetwork) -> list[Layer]:
    """Return the layers of a student, in order."""
    starts = [n for n, step in enumerate(network.steps) if isinstance(step, Convolve | Dense)]
    ends = [*starts[1:], len(network.steps)]
    inputs = list(_inputs(network))
    return [
        Layer(
            name,
            "convolution" if isinstance(step := network.steps[start], Convolve) else "dense",
            inputs[start],
            _significant_bits(_matrix(step)),
            start,
            end - 1,
        )
        for name, start, end in zip(_names(network.steps, starts), starts, ends, strict=True)
    ]


def _matrix(step: Step) -> NDArray[np.float64]:
    if isinstance(step, Convolve):
        return step.matrix()
    assert isinstance(step, Dense)
    return step.kernel


def _names(steps: tuple[Step, ...], starts: list[int]) -> Iterator[str]:
    dense = 0
    for start in starts:
        if isinstance(steps[start], Convolve):
            yield "conv"
        else:
            dense += 1
            yield f"dense {dense}"


def _inputs(network: QuantizedNetwork) -> Iterator[Bits]:
    """Yield the bits of what enters each step, as an image for as long as it is one, flattened or not."""
    bits = np.full(network.input_shape, 10)  # a region has ten
    for step in network.steps:
        yield bits
        match step:
            case Quantize():
                bits = np.maximum(step.k + step.i + step.f, 0).reshape(bits.shape)
            case Convolve():
                # What a sum is wide is not known here: the next quantizer says what is kept of it.
                bits = np.zeros((*step.windows(bits).shape[:2], step.kernel.shape[-1]), np.int64)
            case Dense():
                bits = np.zeros(step.kernel.shape[1], np.int64)
            case Relu() | Flatten():
                pass


def _significant_bits(weights: NDArray[np.float64]) -> Bits:
    """Return from the highest to the lowest set bit of each weight, 0 for a weight of 0."""
    mantissa, _ = np.frexp(np.abs(weights))
    whole = (mantissa * 2.0**53).astype(np.int64)  # the leading bit of what is not 0 is bit 52
    lowest = whole & -whole
    trailing = np.log2(np.where(whole == 0, 1, lowest)).astype(np.int64)
    return np.where(whole == 0, 0, 53 - trailing)
