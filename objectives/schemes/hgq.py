"""Scheme `hgq`: students whose bitwidths are trained, down to every single weight.

Built with HGQ2 (Sun et al., "Gradient-based Automatic Mixed Precision Quantization for Neural
Networks On-Chip", arXiv:2405.00645). A student takes region images (n, 18, 14, 1) in 0.5 GeV
counts and returns (n, 1) scores in [0, 256) in steps of 1/256: the 16 bits that leave the chip.

The input is truncated, never rounded or wrapped: a region's ten bits are known, so the first
quantizer only drops low bits (no hardware) and keeps all high ones, however rare they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from hgq.config import QuantizerConfig
from hgq.constraints import MinMax
from hgq.layers import QBatchNormDense, QConv2D, QDense
from hgq.quantizer import Quantizer
from hgq.quantizer.internal import DefaultBitwidthMapper
from keras import ops
from numpy.typing import NDArray

from objectives.data.geometry import IMAGE_SHAPE
from objectives.errors import StudentError
from objectives.quantization import (
    SCORE_BITS,
    DataQuantization,
    Granularity,
    Quantization,
    Rounding,
    WeightQuantization,
)
from objectives.students.architecture import Architecture
from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu, Step

#: Bits of a region's transverse energy.
REGION_BITS = 10


@keras.saving.register_keras_serializable(package="cicada_sweep")
class FlattenedChannels(DefaultBitwidthMapper):  # type: ignore[misc]
    """One bitwidth for each channel of an image that was flattened (channels run fastest)."""

    def __init__(self, channels: int) -> None:
        super().__init__(heterogeneous_axis=(-1,))
        self.channels = channels

    def inference_weight_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, self.channels)

    def bw_to_x(self, bw: keras.KerasTensor, x_shape: tuple[int, ...]) -> keras.KerasTensor:
        return ops.broadcast_to(ops.tile(bw, (1, x_shape[-1] // self.channels)), x_shape)

    def x_to_bw_absmax(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.max(ops.abs(ops.reshape(x, (-1, self.channels))), axis=0, keepdims=True)

    def x_to_bw_sign(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.any(ops.reshape(x, (-1, self.channels)) < 0, axis=0, keepdims=True)

    def get_config(self) -> dict[str, int]:
        return {"channels": self.channels}


def build_student(student: Architecture, quantization: Quantization) -> keras.Model:
    """Return an untrained student; call `initialise` before use.

    Bitwidths and weights are set by `initialise`, so students that differ only in those share
    one model, and with it one compiled training graph.
    """
    weights, data = quantization.weights, quantization.data
    kernel = _weight_config(weights)
    x = inputs = keras.Input((*IMAGE_SHAPE, 1), name="regions")
    if student.input_clip:
        x = Quantizer(_clip_config(student.input_clip), name="clip")(x)
    first_input = _input_config(data.granularity)
    flattened_channels = 1
    if student.family == "cicada-v2":
        x = QConv2D(
            student.filters,
            student.kernel,
            strides=student.stride,
            use_bias=False,
            activation="relu",
            kq_conf=kernel,
            iq_conf=first_input,
            name="conv",
        )(x)
        first_input = None
        flattened_channels = student.filters
    x = keras.layers.Flatten(name="flatten")(x)
    dense = QBatchNormDense if student.batch_norm else QDense
    x = dense(
        student.hidden,
        activation="relu",
        kq_conf=kernel,
        iq_conf=first_input or _data_config(data, flattened_channels),
        bq_conf=_bias_config(weights.granularity),
        name="dense1",
    )(x)
    if student.hidden_2:
        x = QDense(
            student.hidden_2,
            activation="relu",
            kq_conf=kernel,
            iq_conf=_data_config(data),
            bq_conf=_bias_config(weights.granularity),
            name="dense_extra",
        )(x)
    x = QDense(
        1,
        activation="relu",
        kq_conf=kernel,
        iq_conf=_data_config(data),
        bq_conf=_bias_config(weights.granularity),
        enable_oq=True,
        oq_conf=_score_config(quantization.score_rounding),
        name="dense2",
    )(x)
    return keras.Model(inputs, x, name=student.family.replace("-", "_"))


def _weight_axes(granularity: Granularity) -> dict[str, tuple[int, ...] | None]:
    if granularity == "parameter":
        return {"homogeneous_axis": (), "heterogeneous_axis": None}
    return {"homogeneous_axis": None, "heterogeneous_axis": (-1,) if granularity == "channel" else ()}


def _weight_config(weights: WeightQuantization) -> QuantizerConfig:
    return QuantizerConfig(
        "kbi",
        "weight",
        b0=weights.bits,
        i0=weights.integer_bits,
        overflow_mode=weights.overflow,
        round_mode=weights.rounding,
        **_weight_axes(weights.granularity),
    )


def _bias_config(granularity: Granularity) -> QuantizerConfig:
    # A bias is added once to each output: its cost is small, its scale is not the kernel's.
    return QuantizerConfig("kbi", "bias", **_weight_axes(granularity))


def _data_config(data: DataQuantization, channels: int | None = None) -> QuantizerConfig:
    """Quantizer of activations after a ReLU; `channels` for an image that was flattened."""
    axes: dict[str, object]
    if data.granularity == "parameter":
        axes = {"homogeneous_axis": (0,), "heterogeneous_axis": None}
    elif data.granularity == "channel" and channels:
        axes = {
            "homogeneous_axis": None,
            "heterogeneous_axis": None,
            "bw_mapper": FlattenedChannels(channels),
        }
    else:
        axes = {
            "homogeneous_axis": None,
            "heterogeneous_axis": (-1,) if data.granularity == "channel" else (),
        }
    return QuantizerConfig(
        "kif",
        "datalane",
        k0=False,
        i0=data.integer_bits,
        f0=data.fractional_bits,
        overflow_mode=data.overflow,
        round_mode=data.rounding,
        **axes,
    )


def _input_config(granularity: Granularity) -> QuantizerConfig:
    axes: dict[str, object] = {"homogeneous_axis": (0,), "heterogeneous_axis": None}
    if granularity != "parameter":  # the image has one channel
        axes = {"homogeneous_axis": None, "heterogeneous_axis": ()}
    return QuantizerConfig(
        "kif",
        "datalane",
        k0=False,
        i0=REGION_BITS,
        f0=0,
        # Counts are whole: fractional bits would only be carried along.
        fc=MinMax(-REGION_BITS, 0),
        overflow_mode="WRAP",
        round_mode="TRN",
        **axes,
    )


def _clip_config(input_clip: int) -> QuantizerConfig:
    return QuantizerConfig(
        "kif",
        "datalane",
        k0=False,
        i0=input_clip.bit_length() - 1,
        f0=0,
        overflow_mode="SAT",
        round_mode="TRN",
        homogeneous_axis=None,
        heterogeneous_axis=(),
        trainable=False,
    )


def _score_config(rounding: Rounding) -> QuantizerConfig:
    return QuantizerConfig(
        "kif",
        "datalane",
        k0=False,
        i0=SCORE_BITS[0],
        f0=SCORE_BITS[1],
        overflow_mode="SAT",
        round_mode=rounding,
        homogeneous_axis=None,
        heterogeneous_axis=(),
        trainable=False,
    )


def quantized_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers that multiply, in order."""
    return [layer for layer in model.layers if isinstance(layer, QConv2D | QDense)]


def initialise(
    model: keras.Model, quantization: Quantization, seed: int, *, output_bias: float = 0.0
) -> None:
    """Set every weight and bitwidth to its value before training; the same for the same seed.

    Kernels are drawn Glorot-uniform as in Keras; values come from NumPy, so that they do not
    depend on the order in which layers were built in this process. `output_bias` lifts the score
    to where the targets are: below zero the last ReLU has no gradient, and the student is born dead.
    """
    rng = np.random.default_rng(seed)
    weights, data = quantization.weights, quantization.data
    for number, layer in enumerate(quantized_layers(model)):
        shape = layer.kernel.shape
        fan_in, fan_out = np.prod(shape[:-1]), np.prod(shape[:-2]) * shape[-1]
        limit = np.sqrt(6.0 / (fan_in + fan_out))
        layer.kernel.assign(rng.uniform(-limit, limit, shape).astype(np.float32))
        for quantizer in (layer.kq, layer.iq, *([layer.bq] if layer.bias is not None else [])):
            # Calibration takes the sign bit from what is never negative.
            _fill(quantizer.quantizer._k, quantizer.quantizer._k0.value)
        _fill(layer.kq.quantizer._b, weights.bits)
        _fill(layer.kq.quantizer._i, weights.integer_bits)
        if layer.bias is not None:
            _fill(layer.bias, 0.0)
            _fill(layer.bq.quantizer._b, BIAS_BITS)
            _fill(layer.bq.quantizer._i, BIAS_INTEGER_BITS)
        if number == 0:
            _fill(layer.iq.quantizer._i, _input_bits(model))
            _fill(layer.iq.quantizer._f, 0)
        else:
            _fill(layer.iq.quantizer._i, data.integer_bits)
            _fill(layer.iq.quantizer._f, data.fractional_bits)
        if isinstance(layer, QBatchNormDense):
            _fill(layer.bn_gamma, 1.0)
            _fill(layer.moving_mean, 0.0)
            _fill(layer.moving_variance, 1.0)
    _fill(quantized_layers(model)[-1].bias, output_bias)


#: HGQ's own defaults for a bias.
BIAS_BITS, BIAS_INTEGER_BITS = 8, 2


def adopt(model: keras.Model, network: QuantizedNetwork, events: NDArray[np.uint16]) -> None:
    """Set every weight and bitwidth so that the student computes what `network` does.

    Kernels and biases get the fewest bits that hold all of their layer, data those of the network's
    quantizers; the first quantizer keeps the whole input. A batch norm takes its moments from `events`
    (n, 18, 14), and the kernel in front of it is scaled to be the network's behind it, so that training,
    which uses a batch's own moments, begins there too. Bit for bit the same where overflow and rounding
    of the data and of the score are the network's. Raises StudentError when the layers are others.
    """
    layers = quantized_layers(model)
    values = np.asarray(events, np.float64).reshape(len(events), *network.input_shape)
    quantizer: Quantize | None = None
    taken = 0
    for step in network.steps:
        if isinstance(step, Quantize):
            quantizer = step
        elif isinstance(step, Convolve | Dense):
            layer = layers[taken] if taken < len(layers) else None
            if layer is None or tuple(layer.kernel.shape) != step.kernel.shape:
                shape = "x".join(map(str, step.kernel.shape))
                raise StudentError(
                    f"layer {taken + 1} of the network to start from ({shape}) is not this one's"
                )
            _adopt_data_bits(layer, quantizer, None if taken else _input_bits(model))
            _adopt_weights(layer, step, values)
            taken += 1
        values = step(values)
    if taken != len(layers):
        raise StudentError(f"the network to start from has {taken} layers, this student {len(layers)}")


def _adopt_data_bits(layer: keras.Layer, step: Quantize | None, input_bits: int | None) -> None:
    inner = layer.iq.quantizer
    _fill(inner._k, inner._k0.value)
    whole, fractional = (None, None) if step is None else (step.i, step.f)
    for variable, bits in ((inner._i, whole), (inner._f, fractional)):
        if input_bits is not None and variable is inner._i:
            _fill(variable, input_bits)
        elif bits is None:
            _fill(variable, 0.0)
        else:
            # The most that any value needs that shares the bitwidth; counted from below all of them.
            lowest = float(bits.min()) - 1.0
            # A quantizer in front of a flattening has the image's shape.
            above = np.asarray(bits, np.float32).reshape(1, *layer.input.shape[1:]) - lowest
            shared = np.asarray(inner.bw_mapper.x_to_bw_absmax(ops.convert_to_tensor(above))) + lowest
            variable.assign(np.broadcast_to(shared, variable.shape).astype(np.float32))
    if input_bits is not None and step is not None:
        inner._f.assign(ops.minimum(inner._f, 0.0))  # counts are whole


def _adopt_weights(layer: keras.Layer, step: Convolve | Dense, inputs: NDArray[np.float64]) -> None:
    """Set kernel and bias of a layer, and their bitwidths, to those of a step that these values go into."""
    _adopt_weight_bits(layer.kq, step.kernel)
    kernel = step.kernel + _inside(layer.kq, step.kernel)
    if layer.bias is not None:
        bias = step.bias if isinstance(step, Dense) else np.zeros(layer.bias.shape)
        _adopt_weight_bits(layer.bq, bias)
        bias = bias + _inside(layer.bq, bias)
    if isinstance(layer, QBatchNormDense):
        mean, variance = inputs.mean(0), inputs.var(0)
        _fill(layer.bn_gamma, 1.0)
        layer.moving_mean.assign(mean.astype(np.float32))
        layer.moving_variance.assign(variance.astype(np.float32))
        kernel = kernel * np.sqrt(variance + layer.epsilon)[:, None]
    layer.kernel.assign(kernel.astype(np.float32))
    if isinstance(layer, QBatchNormDense):
        # As the layer takes it off again, in single precision. Else a bias of zero would be what was lost
        # of large numbers: little, but calibration finds bits for it, and it decides ties.
        bias = bias + np.asarray(ops.dot(layer.moving_mean, layer.kernel), np.float64)
    if layer.bias is not None:
        layer.bias.assign(bias.astype(np.float32))


def _adopt_weight_bits(quantizer: Quantizer, values: NDArray[np.float64]) -> None:
    """Give a quantizer of weights the fewest bits that hold all `values`; HGQ's own where they are 0."""
    inner = quantizer.quantizer
    _fill(inner._k, inner._k0.value)
    if not values.any():
        _fill(inner._b, BIAS_BITS)
        _fill(inner._i, BIAS_INTEGER_BITS)
        return
    fractional = fractional_bits(values)
    whole = int(np.ceil(np.log2(np.abs(values).max() + 2.0**-fractional)))
    _fill(inner._i, whole)
    _fill(inner._b, max(whole + fractional, 1))


def _inside(quantizer: Quantizer, values: NDArray[np.float64]) -> float:
    """Return how far inside of the values that are truncated to them `values` are kept."""
    truncates = quantizer.quantizer.round_mode == "TRN"
    return float(2.0 ** -(fractional_bits(values) + 1)) if truncates else 0.0


def fractional_bits(values: NDArray[np.float64]) -> int:
    """Return the bits behind the point that hold all of `values`, which are whole times powers of two.

    >>> fractional_bits(np.array([0.75, 2.0]))
    2
    """
    mantissa, exponent = np.frexp(values[values != 0])
    whole = (mantissa * 2.0**53).astype(np.int64)
    trailing_zeros = np.log2(whole & -whole).astype(np.int64)
    return int((53 - exponent - trailing_zeros).max(initial=0))


def _fill(variable: keras.Variable, value: float) -> None:
    variable.assign(np.full(variable.shape, value, np.float32))


def open_input_range(model: keras.Model) -> None:
    """Give the first quantizer the whole range of a region again, where it is not pruned.

    Calibration leaves it the bits that were seen; a region that is hotter than any seen so far is
    just what an anomaly trigger must not wrap to a small number.
    """
    first = quantized_layers(model)[0].iq.quantizer
    alive = first.i + first.f > 0
    first._i.assign(ops.where(alive, float(_input_bits(model)), first.i))


def _input_bits(model: keras.Model) -> int:
    """Bits of a region as the first layer sees it."""
    clip = next((x for x in model.layers if isinstance(x, Quantizer)), None)
    return REGION_BITS if clip is None else int(clip.quantizer._i0.value)


def describe(model: keras.Model) -> QuantizedNetwork:
    """Return the trained student as a `QuantizedNetwork`."""
    parts = parts_of(model)
    return network_of(model, parts, [part.read() for part in parts])


@dataclass(frozen=True)
class Part:
    """A step of a student: what it `read`s of the model, tensors, and the step that their values make."""

    read: Callable[[], list[Any]]
    make: Callable[..., Step]


def parts_of(model: keras.Model) -> list[Part]:
    """Return the parts of a student; a graph can read them together with what it computes."""
    parts: list[Part] = []
    shape = tuple(model.input_shape[1:])
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        parts += _parts_of_layer(layer, shape)
        shape = tuple(layer.output.shape[1:])
    return parts


def network_of(model: keras.Model, parts: list[Part], values: list[list[Any]]) -> QuantizedNetwork:
    """Return the student that the values of its parts make."""
    steps = [
        part.make(*(np.asarray(value, np.float64) for value in read))
        for part, read in zip(parts, values, strict=True)
    ]
    return QuantizedNetwork(tuple(model.input_shape[1:]), tuple(steps))


def _parts_of_layer(layer: keras.Layer, shape: tuple[int, ...]) -> Iterator[Part]:
    if isinstance(layer, Quantizer):
        yield _quantizing(layer, shape)
    elif isinstance(layer, keras.layers.Flatten):
        yield Part(list, Flatten)
    elif isinstance(layer, QConv2D | QDense):
        yield _quantizing(layer.iq, shape)
        if isinstance(layer, QConv2D):
            yield Part(lambda: [layer.qkernel], lambda kernel: Convolve(kernel, int(layer.strides[0])))
        else:
            yield Part(lambda: [layer.qkernel, layer.qbias], Dense)
        yield Part(list, Relu)
        if layer.enable_oq:
            yield _quantizing(layer.oq, tuple(layer.compute_output_shape((None, *shape))[1:]))
    else:
        raise TypeError(
            f"layer {layer.name!r} of type {type(layer).__name__} has no place in a CICADA student"
        )


def _quantizing(layer: Quantizer, shape: tuple[int, ...]) -> Part:
    quantizer = layer.quantizer

    def read() -> list[Any]:
        return [quantizer.bw_mapper.bw_to_x(bits, (1, *shape))[0] for bits in quantizer.kif]

    def make(*bits: NDArray[np.float64]) -> Quantize:
        k, i, f = (each.astype(np.int64) for each in bits)
        return Quantize(k, i, f, quantizer.overflow_mode, quantizer.round_mode)

    return Part(read, make)
