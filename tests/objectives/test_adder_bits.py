"""Adder bits: values are followed as the ranges that they have, and adders counted where something varies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.costs.adder_bits import NO_DIGIT, _pixels, _stage, adder_bits, lowest_digit
from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.quantization import Quantization
from objectives.schemes import hgq
from objectives.students.architecture import Architecture
from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu, Step
from tests.objectives.students import borders, events, student

Floats = NDArray[np.float64]


def quantize(i: int, f: int = 0, overflow: str = "WRAP", rounding: str = "TRN", size: int = 1) -> Quantize:
    return Quantize(np.zeros(size, int), np.full(size, i), np.full(size, f), overflow, rounding)


def dense(*rows: tuple[float, ...], bias: tuple[float, ...] = ()) -> Dense:
    kernel = np.array(rows, float)
    return Dense(kernel, np.array(bias or [0.0] * kernel.shape[1]))


def network(*steps: Step, inputs: int = 1) -> QuantizedNetwork:
    return QuantizedNetwork((inputs,), steps)


# ---- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "bits"),
    [
        ([dense((4.0,), (4.0,))], 11),  # one adder of two regions of ten bits
        ([dense((3.0,), (4.0,))], 22),  # 4 - 1 is two digits
        ([dense((4.0,), (0.0,))], 0),  # a shift is a wire
        ([dense((-7.0,), (0.0,))], 11),  # 1 - 8
        ([dense((4.0,), (4.0,), bias=(1.0,))], 2 * (20 / 3 + 1)),  # a constant has no bits, but is added
        ([dense((4.0, 0.0), (4.0, 8.0))], 11),
        ([quantize(3, size=2), dense((1.0,), (1.0,))], 4),
        ([quantize(0, size=2), dense((1.0,), (1.0,), bias=(5.0,))], 0),  # all constant
        ([quantize(3, overflow="SAT", size=2)], 6),  # what is clipped are gates, a bit each
        ([quantize(12, overflow="SAT", size=2)], 0),  # no region is so hot
        ([quantize(4, -2, size=2), dense((1.0,), (1.0,))], 3),  # two bits of four are left
        ([dense((-4.0,), (-4.0,)), Relu()], 0),  # never above zero
        ([dense((4.0, 1.0), (4.0, 1.0)), dense((1.0,), (0.0,))], 11),  # the second sum is not used
        ([dense((4.0, 1.0), (4.0, 1.0)), dense((1.0,), (1.0,))], 11 + 11 + 12),  # sums have eleven bits
    ],
)
def test_adders_are_counted_by_their_bits(steps: list[Step], bits: float) -> None:
    assert adder_bits(network(*steps, inputs=2)) == pytest.approx(bits)


def test_a_convolution_is_counted_at_each_of_its_places() -> None:
    kernel = np.ones((2, 2, 1, 1))
    square = QuantizedNetwork(
        (4, 4, 1), (Convolve(kernel, 2), Flatten(), dense((0.0,), (1.0,), (0.0,), (1.0,)))
    )
    assert adder_bits(square) == 2 * 3 * 11 + 13  # two places are used: four regions each


@given(st.integers(-(2**20), 2**20).filter(bool), st.integers(-30, 30))
def test_the_lowest_digit(n: int, shift: int) -> None:
    exponent = lowest_digit(np.array([n * 2.0**shift]))[0]
    assert (n * 2.0 ** (shift - exponent)) % 2 == 1
    assert lowest_digit(np.zeros(1))[0] == NO_DIGIT


# ---- students -------------------------------------------------------------------------------------

searched = st.fixed_dictionaries(
    {
        "filters": st.sampled_from([1, 3]),
        "kernel": st.sampled_from([2, 3]),
        "hidden": st.sampled_from([2, 5]),
        "batch_norm": st.booleans(),
        "input_clip": st.sampled_from([0, 64]),
        "weights": st.sampled_from(["parameter", "channel"]),
        "data": st.sampled_from(["parameter", "channel", "layer"]),
        "seed": st.integers(0, 1000),
    }
)


def made_of(about: dict[str, Any]) -> QuantizedNetwork:
    network = {name: about[name] for name in ("filters", "kernel", "hidden", "batch_norm", "input_clip")}
    quantization = {name: {"granularity": about[name]} for name in ("weights", "data")}
    architecture = Architecture.model_validate(network)
    return hgq.describe(student(architecture, Quantization.model_validate(quantization), about["seed"]))


@settings(max_examples=15, deadline=None)
@given(searched)
def test_every_value_lies_in_its_range_and_is_a_multiple_of_its_unit(about: dict[str, Any]) -> None:
    made = made_of(about)
    values = _pixels(made.input_shape)
    for step, into in borders(made, events(1)):
        values = _stage(step, values).after
        found: Floats = step(into)
        assert (values.low <= found).all()
        assert (found <= values.high).all()
        units = 2.0 ** np.where(values.unit > 99, 0, values.unit)
        assert (found % units == 0).all()


@settings(max_examples=6, deadline=None)
@given(searched)
def test_luts_go_with_adder_bits(about: dict[str, Any]) -> None:
    made = made_of(about)
    bits, lut = adder_bits(made), compile_adder_graph(made, Hardware()).lut
    assert bits * 0.3 <= lut <= bits * 1.5 + 40


def test_what_a_student_does_not_use_costs_nothing() -> None:
    made = hgq.describe(student(Architecture(filters=2, hidden=4), Quantization(), 1))
    silent = [
        Dense(np.zeros_like(step.kernel), step.bias)
        if isinstance(step, Dense) and step.kernel.shape[1] == 1
        else step
        for step in made.steps
    ]
    assert adder_bits(made) > 100
    assert adder_bits(QuantizedNetwork(made.input_shape, tuple(silent))) == 0
