"""A student described as plain arrays is the Keras student, in every bit of every layer."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
from hgq.utils import trace_minmax
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from objectives.quantization import DataQuantization, Quantization, WeightQuantization
from objectives.schemes import hgq
from objectives.schemes.hgq import FlattenedChannels
from objectives.students.architecture import Architecture
from objectives.students.network import Convolve, Dense, Quantize
from tests.objectives.students import (
    SINGLE_PRECISION_BITS,
    borders,
    events,
    keras_scores,
    student,
    widest_sum,
)

GRANULARITIES = ("parameter", "channel", "layer")
OVERFLOWS = st.sampled_from(("WRAP", "SAT", "SAT_SYM"))
ROUNDINGS = st.sampled_from(("RND", "RND_CONV", "TRN"))


@st.composite
def architectures(draw: st.DrawFn, family: str) -> Architecture:
    return Architecture(
        family=family,
        filters=draw(st.integers(1, 3)),
        kernel=draw(st.integers(1, 5)),
        stride=draw(st.integers(1, 5)),
        hidden=draw(st.integers(1, 6)),
        hidden_2=draw(st.sampled_from([0, 0, 3])),
        batch_norm=draw(st.booleans()),
        input_clip=draw(st.sampled_from([0, 0, 2, 64, 512])),
    )


@pytest.mark.parametrize("data", GRANULARITIES)
@pytest.mark.parametrize("weights", GRANULARITIES)
@pytest.mark.parametrize("family", ["cicada-v1", "cicada-v2"])
def test_the_description_is_the_student(family: str, weights: str, data: str) -> None:
    @settings(max_examples=4, deadline=None, phases=[Phase.generate])
    @given(
        architectures(family),
        st.tuples(OVERFLOWS, ROUNDINGS),
        st.tuples(OVERFLOWS, ROUNDINGS),
        st.integers(0, 2**16),
    )
    def holds(
        architecture: Architecture, of_weights: tuple[str, str], of_data: tuple[str, str], seed: int
    ) -> None:
        quantization = Quantization(
            weights=WeightQuantization(granularity=weights, overflow=of_weights[0], rounding=of_weights[1]),
            data=DataQuantization(granularity=data, overflow=of_data[0], rounding=of_data[1]),
        )
        model = student(architecture, quantization, seed)
        network, regions = hgq.describe(model), events(seed, 10)
        assert widest_sum(network, regions) <= SINGLE_PRECISION_BITS
        assert (network.predict(regions) == keras_scores(model, regions)).all()
        # A score hides much; the activations that enter each layer do not.
        layers = hgq.quantized_layers(model)
        entering = keras.Model(model.input, [layer.input for layer in layers])
        described = [x for step, x in borders(network, regions) if isinstance(step, Convolve | Dense)]
        values = entering(regions[..., None].astype(np.float32), training=False)
        for layer, value, expected in zip(layers, values, described, strict=True):
            assert (np.asarray(layer.iq(value)) == expected).all()

    holds()


V2 = Architecture(filters=3, hidden=5)
WRAPPING = Quantization()


def quantization(granularity: str) -> Quantization:
    return Quantization(
        weights=WeightQuantization(granularity=granularity), data=DataQuantization(granularity=granularity)
    )


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_granularity_is_that_of_the_bitwidths(granularity: str) -> None:
    model = student(V2, quantization(granularity), 3)
    conv, dense1, _ = hgq.quantized_layers(model)
    shapes = {
        "conv weights": tuple(conv.kq.quantizer._i.shape),
        "conv data": tuple(conv.iq.quantizer._i.shape),
        "dense weights": tuple(dense1.kq.quantizer._b.shape),
        "dense data": tuple(dense1.iq.quantizer._f.shape),
        "dense bias": tuple(dense1.bq.quantizer._b.shape),
    }
    assert (
        shapes
        == {
            "parameter": {
                "conv weights": (2, 2, 1, 3),
                "conv data": (1, 18, 14, 1),
                "dense weights": (189, 5),
                "dense data": (1, 189),
                "dense bias": (5,),
            },
            "channel": {
                "conv weights": (1, 1, 1, 3),
                "conv data": (1, 1, 1, 1),
                "dense weights": (1, 5),
                "dense data": (1, 3),
                "dense bias": (5,),
            },
            "layer": {
                "conv weights": (1, 1, 1, 1),
                "conv data": (1, 1, 1, 1),
                "dense weights": (1, 1),
                "dense data": (1, 1),
                "dense bias": (1,),
            },
        }[granularity]
    )


def test_flattened_channels_are_the_channels_of_the_image() -> None:
    mapper = FlattenedChannels(3)
    image = np.random.default_rng(0).normal(size=(5, 4, 2, 3)).astype(np.float32)
    image[..., 1] = np.abs(image[..., 1])
    flat = image.reshape(5, -1)
    assert mapper.inference_weight_shape((None, 24)) == (1, 3)
    assert np.asarray(mapper.x_to_bw_absmax(flat))[0].tolist() == np.abs(image).max((0, 1, 2)).tolist()
    assert np.asarray(mapper.x_to_bw_sign(flat))[0].tolist() == [True, False, True]
    spread = np.asarray(mapper.bw_to_x(np.array([[1.0, 2.0, 3.0]]), (1, 24)))
    assert spread.reshape(4, 2, 3)[2, 1].tolist() == [1, 2, 3]
    assert (spread.reshape(-1, 3) == [1, 2, 3]).all()


# ---- saved and loaded ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "granularity"),
    [
        (V2, "channel"),
        (V2.model_copy(update={"hidden_2": 3, "input_clip": 128, "batch_norm": False}), "parameter"),
        (Architecture(family="cicada-v1", hidden=4), "layer"),
    ],
)
def test_a_saved_student_comes_back_the_same(
    architecture: Architecture, granularity: str, tmp_path: Path
) -> None:
    model = student(architecture, quantization(granularity), 5)
    before = hgq.describe(model)
    model.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras", safe_mode=True)
    after = hgq.describe(loaded)
    assert after.digest() == before.digest()
    regions = events(5, 5)
    assert (after.predict(regions) == keras_scores(model, regions)).all()
    # and every weight is in the digest
    kernel = hgq.quantized_layers(loaded)[-1].kernel
    kernel.assign(-kernel.numpy())
    assert hgq.describe(loaded).digest() != before.digest()


# ---- the beginning of a trial -------------------------------------------------------------------


def test_the_beginning_depends_on_seed_and_bits_alone() -> None:
    one, other = hgq.build_student(V2, WRAPPING), student(V2, WRAPPING, 9)
    trace_minmax(other, events(9)[..., None].astype(np.float32))  # this one has been calibrated before

    def beginning(model: keras.Model, seed: int, start: Quantization = WRAPPING) -> list[np.ndarray]:
        hgq.initialise(model, start, seed, output_bias=7)
        return [v.numpy() for v in model.weights if not v.path.endswith("/ebops")]

    def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
        return all((x == y).all() for x, y in zip(a, b, strict=True))

    assert equal(beginning(one, 3), beginning(other, 3))
    assert not equal(beginning(one, 3), beginning(one, 4))
    fewer = Quantization(weights=WeightQuantization(bits=3, integer_bits=1))
    assert not equal(beginning(one, 3), beginning(one, 3, fewer))
    kq = hgq.quantized_layers(one)[1].kq.quantizer
    assert (set(np.ravel(kq._b)), set(np.ravel(kq._i))) == ({3.0}, {1.0})
    assert np.asarray(hgq.quantized_layers(one)[-1].bias).tolist() == [7.0]


# ---- the input ----------------------------------------------------------------------------------


def first_quantizer(network: object) -> Quantize:
    return next(s for s in network.steps if isinstance(s, Quantize))  # type: ignore[attr-defined]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_input_is_truncated_and_nothing_else(granularity: str) -> None:
    """Calibrated on soft events, opened again: 1023 counts are 1023 counts, but for dropped low bits."""
    model = hgq.build_student(V2, quantization(granularity))
    hgq.initialise(model, quantization(granularity), 1, output_bias=20)
    first = hgq.quantized_layers(model)[0].iq.quantizer
    rng = np.random.default_rng(1)
    first._f.assign(-rng.integers(0, 4, first._f.shape).astype(np.float32))
    soft = rng.integers(0, 30, (1000, 18, 14)).astype(np.float32)[..., None]
    trace_minmax(model, soft)
    hot = np.zeros((252, 18, 14, 1))
    hot.reshape(252, 252)[np.arange(252), np.arange(252)] = 1023
    dropped = 2.0 ** -np.broadcast_to(first_quantizer(hgq.describe(model)).f, (18, 14, 1))
    expected = np.floor(hot / dropped) * dropped
    assert (first_quantizer(hgq.describe(model))(hot) != expected).any()
    hgq.open_input_range(model)
    assert (first_quantizer(hgq.describe(model))(hot) == expected).all()
    assert expected.max() >= 1016


def test_what_is_pruned_stays_pruned() -> None:
    model = hgq.build_student(V2, WRAPPING)
    hgq.initialise(model, WRAPPING, 1)
    first = hgq.quantized_layers(model)[0].iq.quantizer
    bits = np.zeros(first._f.shape, np.float32)
    bits[0, 3], bits[0, 4] = -10, -4
    first._f.assign(bits)
    seen = np.full(first._i.shape, 6, np.float32)
    seen[0, 5] = 0  # a region that was never above zero
    first._i.assign(seen)
    hgq.open_input_range(model)
    step = first_quantizer(hgq.describe(model))
    alive = np.ones((18, 14), bool)
    alive[3], alive[5] = False, False
    full = step(np.full((1, 18, 14, 1), 1023.0))[0, ..., 0]
    assert (full[~alive] == 0).all()
    assert (full[4] == 1008).all()
    assert (full[alive & (np.arange(18) != 4)[:, None]] == 1023).all()


@pytest.mark.parametrize("clip", [2, 64, 512])
def test_a_clipped_student_sees_no_more_than_the_clip(clip: int) -> None:
    architecture = V2.model_copy(update={"input_clip": clip})
    model = hgq.build_student(architecture, WRAPPING)
    hgq.initialise(model, WRAPPING, 2, output_bias=20)
    hgq.open_input_range(model)
    regions = events(2, 20)
    clipped = np.minimum(regions, clip - 1)
    network = hgq.describe(model)
    assert (regions != clipped).any()
    assert (network.predict(regions) == network.predict(clipped)).all()
    entering = next(x for step, x in borders(network, regions) if isinstance(step, Convolve))
    assert (entering[..., 0] == clipped).all()


def test_scores_are_cut_to_sixteen_bits() -> None:
    """Saturated at the top and truncated to steps of 1/256, where the last sum has more of both."""
    model = student(V2, WRAPPING, 1)
    last = hgq.quantized_layers(model)[-1]
    for variable, value in (
        (last.kq.quantizer._b, 4),
        (last.kq.quantizer._i, -2),
        (last.iq.quantizer._f, 6),
        (last.iq.quantizer._i, 9),
        (last.bq.quantizer._i, 9),
        (last.bq.quantizer._b, 12),
        (last.bias, 252.0),
    ):
        variable.assign(np.full(variable.shape, value, np.float32))
    regions = events(1)
    network = hgq.describe(model)
    scores, uncut = network.predict(regions), dataclasses.replace(network, steps=network.steps[:-1])
    assert widest_sum(network, regions) <= SINGLE_PRECISION_BITS
    assert (scores == keras_scores(model, regions)).all()
    sums = uncut.predict(regions)
    assert (sums > 256).any()
    assert (sums * 256 != np.floor(sums * 256)).any()
    assert (scores == np.minimum(np.floor(sums * 256) / 256, 256 - 1 / 256)).all()
    assert scores.min() >= 0
