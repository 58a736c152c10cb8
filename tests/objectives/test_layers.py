"""A student layer by layer: its bits, and what each layer costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.costs.layers import lut_by_layer
from objectives.quantization import Quantization
from objectives.schemes import hgq
from objectives.students.architecture import Architecture
from objectives.students.layers import layers_of
from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu
from tests.objectives.students import student

ARCHITECTURES = [
    Architecture(filters=2, kernel=3, stride=2, hidden=3, hidden_2=3, input_clip=64),
    Architecture(family="cicada-v1", hidden=4),
]


@pytest.fixture(scope="module", params=range(len(ARCHITECTURES)))
def network(request: pytest.FixtureRequest) -> QuantizedNetwork:
    return hgq.describe(student(ARCHITECTURES[request.param], Quantization(), seed=7))


def test_layers_sum_to_the_students_estimate(network: QuantizedNetwork) -> None:
    by_layer = lut_by_layer(network)
    assert list(by_layer) == ["input", *(layer.name for layer in layers_of(network))]
    assert all(lut >= 0 for lut in by_layer.values())
    assert sum(by_layer.values()) == pytest.approx(compile_adder_graph(network, Hardware()).lut, rel=1e-12)


def test_clipping_costs_something_and_no_clipping_nothing() -> None:
    clipped, plain = (lut_by_layer(hgq.describe(student(a, Quantization(), seed=7))) for a in ARCHITECTURES)
    assert clipped["input"] > 0
    assert plain["input"] == 0


def test_a_layer_without_weights_costs_nothing() -> None:
    bits = np.full((18, 14, 1), 1)
    quantize = Quantize(bits * 0, bits * 4, bits * 0, "WRAP", "TRN")
    kernel = np.zeros((252, 2))
    kernel[:3, 0] = [1, 2, -1]
    steps = (quantize, Flatten(), Dense(kernel, np.array([0.0, 3.0])), Relu())
    lut = lut_by_layer(QuantizedNetwork((18, 14, 1), (*steps, Dense(np.zeros((2, 1)), np.ones(1)))))
    assert lut == {"input": 0, "dense 1": 0, "dense 2": 0}, "nothing of it reaches the score"


def test_names_shapes_and_bits(network: QuantizedNetwork) -> None:
    layers = layers_of(network)
    multiplying = [s for s in network.steps if isinstance(s, Convolve | Dense)]
    assert [layer.kind for layer in layers] == [
        "convolution" if isinstance(s, Convolve) else "dense" for s in multiplying
    ]
    assert layers[0].input_bits.shape == (18, 14, 1)
    if layers[0].kind == "convolution":
        assert layers[1].input_bits.shape == (8, 6, 2), "a flattened image keeps its rows and columns"
    for layer, step in zip(layers, multiplying, strict=True):
        matrix = step.matrix() if isinstance(step, Convolve) else step.kernel
        assert layer.weight_bits.shape == matrix.shape
        assert ((layer.weight_bits == 0) == (matrix == 0)).all()
        assert layer.input_bits.min() >= 0


@given(st.integers(-(2**20), 2**20), st.integers(-20, 20))
def test_bits_of_a_weight_are_those_between_its_highest_and_lowest(whole: int, exponent: int) -> None:
    kernel = np.array([[whole * 2.0**exponent]])
    network = QuantizedNetwork((1,), (Dense(kernel, np.zeros(1)),))
    expected = len(bin(abs(whole)).rstrip("0")) - 2 if whole else 0
    assert layers_of(network)[0].weight_bits.tolist() == [[expected]]
