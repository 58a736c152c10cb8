"""The plain network computes fixed point as it is defined, and is named by its content."""

import dataclasses
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu

OVERFLOWS = ("WRAP", "SAT", "SAT_SYM")
ROUNDINGS = ("RND", "RND_CONV", "TRN")


# ---- quantizers ---------------------------------------------------------------------------------


def fixed_point(x: Fraction, k: int, i: int, f: int, overflow: str, rounding: str) -> Fraction:
    """Return x in fixed point: k sign bits, i integer and f fractional ones."""
    if k + i + f <= 0:
        return Fraction(0)
    scaled = x * Fraction(2) ** f
    whole = {"TRN": floor(scaled), "RND": floor(scaled + Fraction(1, 2)), "RND_CONV": round(scaled)}[rounding]
    span = 2 ** (i + f) if i + f >= 0 else 0
    if overflow == "WRAP":
        low = -span if k else 0
        whole = (whole - low) % (span * (1 + k)) + low
    else:
        low = (-span + (overflow == "SAT_SYM")) * k
        whole = min(max(whole, low), span - 1)
    return whole / Fraction(2) ** f


@settings(max_examples=400, deadline=None)
@given(
    st.integers(-(2**14), 2**14).map(lambda n: n / 64),
    st.integers(0, 1),
    st.integers(-4, 10),
    st.integers(-6, 8),
    st.sampled_from(OVERFLOWS),
    st.sampled_from(ROUNDINGS),
)
def test_quantizing_is_fixed_point(x: float, k: int, i: int, f: int, overflow: str, rounding: str) -> None:
    # Below zero bits before the sign there is no such type in hardware, nor in a student.
    if k + i + f > 0 and i + f < 0:
        return
    step = Quantize(np.array([k]), np.array([i]), np.array([f]), overflow, rounding)
    assert Fraction(float(step(np.array([[x]]))[0, 0])) == fixed_point(
        Fraction(x), k, i, f, overflow, rounding
    )


def test_known_values() -> None:
    def quantized(x: float, k: int, i: int, f: int, overflow: str, rounding: str) -> float:
        return float(Quantize(np.array(k), np.array(i), np.array(f), overflow, rounding)(np.array(x)))

    assert [quantized(x, 0, 3, 0, "WRAP", "TRN") for x in (7, 8, 9.9, -1)] == [7, 0, 1, 7]
    assert [quantized(x, 1, 3, 0, "WRAP", "TRN") for x in (7, 8, -8, -9)] == [7, -8, -8, 7]
    assert [quantized(x, 1, 3, 0, "SAT", "TRN") for x in (7, 8, -8, -9)] == [7, 7, -8, -8]
    assert [quantized(x, 1, 3, 0, "SAT_SYM", "TRN") for x in (7, 8, -8, -9)] == [7, 7, -7, -7]
    assert [quantized(x, 1, 4, 1, "SAT", "RND") for x in (0.25, 0.75, -0.25)] == [0.5, 1, 0]
    assert [quantized(x, 1, 4, 1, "SAT", "RND_CONV") for x in (0.25, 0.75, -0.25)] == [0, 1, 0]
    assert [quantized(x, 0, 10, -3, "WRAP", "TRN") for x in (7, 8, 1023)] == [0, 8, 1016]
    assert quantized(5.0, 0, 3, -3, "WRAP", "TRN") == 0


# ---- steps --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_a_convolution_is_its_sum(
    height: int, width: int, stride: int, channels: int, filters: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 16, (2, 7, 5, channels)).astype(float)
    kernel = rng.integers(-4, 5, (height, width, channels, filters)).astype(float)
    result = Convolve(kernel, stride)(x)
    assert result.shape == (2, (7 - height) // stride + 1, (5 - width) // stride + 1, filters)
    for n, row, column, out in np.ndindex(result.shape):
        window = x[n, row * stride : row * stride + height, column * stride : column * stride + width]
        assert result[n, row, column, out] == (window * kernel[..., out]).sum()


def toy(**changes: Any) -> QuantizedNetwork:
    """Return a network of images (3, 3, 1), every kind of step in it."""
    kernel = np.array([[1.0, -1.0], [0.5, 0.0]]).reshape(2, 2, 1, 1)
    bits = np.zeros((3, 3, 1), np.int64)
    parts = {
        "input": Quantize(bits, bits + 10, bits, "WRAP", "TRN"),
        "convolve": Convolve(kernel, 1),
        "relu": Relu(),
        "flatten": Flatten(),
        "dense": Dense(np.array([[1.0], [2.0], [0.0], [-1.0]]), np.array([3.0])),
    }
    return QuantizedNetwork((3, 3, 1), tuple((parts | changes).values()))


def test_a_network_is_its_steps() -> None:
    image = np.arange(1, 10).reshape(1, 3, 3)
    # windows 1245, 2356, 4578, 5689: a - b + c / 2 = 1, 1.5, 2.5, 3
    assert toy().predict(image).tolist() == [1 + 2 * 1.5 + 0 - 3 + 3]
    assert toy().predict(image).dtype == np.float64


@given(hnp.arrays(np.uint16, (7, 3, 3), elements=st.integers(0, 1023)), st.integers(1, 8))
def test_batches_do_not_matter(images: NDArray[np.uint16], batch: int) -> None:
    whole = toy().predict(images)
    assert toy().predict(images, batch=batch).tolist() == whole.tolist()
    assert toy().predict(images[..., None]).tolist() == whole.tolist()
    assert toy().predict(images.astype(float)).tolist() == whole.tolist()


def test_no_events_have_no_scores() -> None:
    assert toy().predict(np.empty((0, 3, 3))).shape == (0,)


# ---- digest -------------------------------------------------------------------------------------


def test_equal_networks_have_one_digest() -> None:
    assert toy().digest() == toy().digest()
    assert len(toy().digest()) == 16
    negative_zero = Dense(np.array([[1.0], [2.0], [-0.0], [-1.0]]), np.array([3.0]))
    assert toy(dense=negative_zero).digest() == toy().digest()
    other_types = Dense(np.array([[1], [2], [0], [-1]], np.float32), np.array([3], np.int8))
    assert toy(dense=other_types).digest() == toy().digest()


@given(st.data())
def test_any_change_is_another_digest(data: st.DataObject) -> None:
    network = toy()
    number = data.draw(st.sampled_from([n for n, s in enumerate(network.steps) if dataclasses.fields(s)]))
    step = network.steps[number]
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(step)]))
    value: Any = getattr(step, name)
    if isinstance(value, np.ndarray):
        changed = value.copy()
        index = data.draw(st.integers(0, value.size - 1))
        changed.flat[index] += data.draw(st.sampled_from([1, -1, 2]))
    else:
        changed = {"WRAP": "SAT", "TRN": "RND", 1: 2}[value]
    steps = list(network.steps)
    steps[number] = dataclasses.replace(step, **{name: changed})
    assert QuantizedNetwork(network.input_shape, tuple(steps)).digest() != network.digest()


def test_shape_and_order_are_part_of_the_digest() -> None:
    network = toy()
    digests = {
        network.digest(),
        QuantizedNetwork((9, 1, 1), network.steps).digest(),
        QuantizedNetwork(network.input_shape, network.steps[::-1]).digest(),
        QuantizedNetwork(network.input_shape, network.steps[:-1]).digest(),
        toy(dense=Dense(np.array([[1.0, 2.0, 0.0, -1.0]]), np.array([3.0]))).digest(),
    }
    assert len(digests) == 5


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_bits_may_differ_by_element(overflow: str) -> None:
    step = Quantize(np.array([0, 1, 0]), np.array([3, 2, -5]), np.array([0, 1, 0]), overflow, "TRN")
    x = np.array([[6.6, -1.3, 900.0]])
    assert step(x).tolist() == [[6.0, -1.5, 0.0]]
