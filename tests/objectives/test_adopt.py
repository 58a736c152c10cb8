"""An HGQ student takes over another student, bit for bit, and is trained from there."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.errors import StudentError
from objectives.quantization import DataQuantization, Quantization, WeightQuantization
from objectives.recipe import Recipe
from objectives.schemes import hgq
from objectives.schemes.qkeras.network import network_of
from objectives.students.architecture import Architecture
from objectives.students.network import Dense, QuantizedNetwork
from objectives.training import batch_last
from tests.objectives.students import events, keras_scores, student


def qkeras_network(architecture: Architecture, seed: int = 1) -> QuantizedNetwork:
    """Return a student as QKeras leaves it: kernels of many bits and most of them used."""
    rng = np.random.default_rng(seed)
    recipe = Recipe.model_validate({"student": architecture, "quantization": {"scheme": "qkeras"}})

    def draw(shape: tuple[int, ...], bits: int, integer: int, width: float) -> NDArray[np.float64]:
        step, most = 2.0 ** -(bits - 1 - integer), 2.0**integer
        return np.clip(np.round(rng.normal(0, width, shape) / step) * step, -most + step, most - step)

    weights = {"dense2": np.abs(draw((architecture.hidden, 1), 12, 3, 1.0))}
    inputs = 252
    if architecture.family == "cicada-v2":
        weights["conv"] = draw((2, 2, 1, architecture.filters), 12, 3, 0.3)
        inputs = 63 * architecture.filters
    weights["dense1"] = draw((inputs, architecture.hidden), 8, 1, 0.05)
    weights["dense1_bias"] = draw((architecture.hidden,), 8, 3, 2.0)
    return network_of(recipe, weights)


def like_qkeras(granularity: str, weights: str = "RND") -> Quantization:
    return Quantization(
        weights=WeightQuantization(granularity=granularity, rounding=weights),
        data=DataQuantization(granularity=granularity, overflow="SAT", rounding="RND_CONV"),
        score_rounding="RND_CONV",
    )


ADOPTED = [
    (Architecture(filters=2, hidden=4), "parameter", "RND"),
    (Architecture(filters=2, hidden=4, batch_norm=False), "channel", "RND_CONV"),
    (Architecture(family="cicada-v1", hidden=3, input_clip=64), "layer", "TRN"),
]


@pytest.mark.parametrize(("architecture", "granularity", "rounding"), ADOPTED)
def test_a_qkeras_student_is_taken_over_bit_for_bit(
    architecture: Architecture, granularity: str, rounding: str
) -> None:
    network = qkeras_network(architecture)
    model = hgq.build_student(architecture, like_qkeras(granularity, rounding))
    hgq.adopt(model, network, events(2))
    regions = events(3, 200)
    wanted = network.predict(regions)
    assert len(np.unique(wanted)) > 100
    assert (hgq.describe(model).predict(regions) == wanted).all()
    assert (keras_scores(model, regions) == wanted).all()


def test_a_bias_of_zero_is_zero_where_events_are_hot() -> None:
    """A batch norm takes a sum of large numbers off a bias, in single precision; nothing may be left."""
    architecture = Architecture(hidden=16)
    network = qkeras_network(architecture)
    zero = [dataclasses.replace(s, bias=s.bias * 0) if isinstance(s, Dense) else s for s in network.steps]
    model = hgq.build_student(architecture, like_qkeras("parameter"))
    hot = np.random.default_rng(2).integers(0, 256, (2000, 18, 14)).astype(np.uint16)
    hgq.adopt(model, QuantizedNetwork(network.input_shape, tuple(zero)), hot)
    dense1 = hgq.quantized_layers(model)[1]
    assert np.abs(dense1.bias).max() > 1
    left = dense1.bias - keras.ops.dot(dense1.moving_mean, dense1.kernel)
    assert not np.asarray(left).any()


def test_an_hgq_student_is_taken_over_with_bitwidths_of_its_own() -> None:
    architecture = Architecture(filters=2, hidden=4)
    quantization = Quantization(data=DataQuantization(overflow="SAT"))
    network = hgq.describe(student(architecture, quantization, 4))
    model = hgq.build_student(architecture, quantization)
    hgq.adopt(model, network, events(2))
    regions = events(3)
    # Only the first quantizer is not its own: that one keeps all high bits.
    adopted = hgq.describe(model)
    wanted = QuantizedNetwork(network.input_shape, (adopted.steps[0], *network.steps[1:])).predict(regions)
    assert len(np.unique(wanted)) > 10
    assert (adopted.predict(regions) == wanted).all()


def test_a_score_that_is_cut_off_is_at_most_one_step_lower() -> None:
    architecture = Architecture(filters=2, hidden=4)
    network = qkeras_network(architecture)
    quantization = like_qkeras("parameter").model_copy(update={"score_rounding": "TRN"})
    model = hgq.build_student(architecture, quantization)
    hgq.adopt(model, network, events(2))
    lower = network.predict(events(3)) - hgq.describe(model).predict(events(3))
    assert set(np.unique(lower)) == {0, 1 / 256}


def test_training_begins_where_the_student_is() -> None:
    """With the moments of a batch, as in training, the scores are near; with those of all events, equal."""
    architecture = Architecture(filters=2, hidden=4)
    network = qkeras_network(architecture)
    rng = np.random.default_rng(0)
    regions = (rng.exponential(20, (4096, 18, 14)) * (rng.random((4096, 18, 14)) < 0.4)).astype(np.uint16)
    model = hgq.build_student(architecture, like_qkeras("parameter"))
    hgq.adopt(model, network, regions)
    wanted = network.predict(regions)
    trained = np.asarray(batch_last.forward(model, regions[:1024], True))
    assert np.corrcoef(trained, wanted[:1024])[0, 1] > 0.99
    hgq.adopt(model, network, regions[:1024])
    trained = np.asarray(batch_last.forward(model, regions[:1024], True))
    assert (np.abs(trained - wanted[:1024]) < 0.05 * wanted.std()).mean() > 0.95


def test_another_network_is_refused() -> None:
    network = qkeras_network(Architecture(filters=2, hidden=4))
    for other in (Architecture(filters=2, hidden=5), Architecture(filters=2, hidden=4, hidden_2=2)):
        model = hgq.build_student(other, Quantization())
        with pytest.raises(StudentError, match="network to start from"):
            hgq.adopt(model, network, events(2))


@given(st.lists(st.integers(-4095, 4095), min_size=1), st.integers(-8, 12))
def test_fractional_bits_are_the_fewest_that_hold_all(numbers: list[int], shift: int) -> None:
    values = np.array(numbers) * 2.0**-shift
    bits = hgq.fractional_bits(values)
    assert (values * 2.0**bits == np.round(values * 2.0**bits)).all()
    assert bits == 0 or (values * 2.0 ** (bits - 1) != np.round(values * 2.0 ** (bits - 1))).any()
