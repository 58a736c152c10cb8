"""Converts a saved student to an hls4ml project, in an interpreter of its own.

    python hls_project.py STUDENT.keras FOLDER --scheme hgq --register objectives.schemes.hgq …

It imports TensorFlow, which a worker never does, and runs in whatever environment the student was
trained in: QKeras and HGQ2 cannot share one. Hence nothing of this project is imported here.

Exit code 0: FOLDER holds the project and, written last, `conversion.json`. `SURROUNDINGS`: something is
not installed here, and the last line says what. Anything else: hls4ml or Keras refused this student.
"""

import argparse
import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: Exit code for "this environment cannot do it", as opposed to "this student cannot be converted".
SURROUNDINGS = 3
#: Says that the project is whole; holds the token that the caller gave.
RECORD = "conversion.json"
#: What a region is on the chip, whatever part of it the student looks at.
REGION = "ap_ufixed<10,10>"

#: The package that each scheme is made with.
PACKAGES = {"hgq": "hgq2", "qkeras": "qkeras-v3"}
#: hls4ml's names of our strategies.
STRATEGIES = {"latency": "Latency", "distributed_arithmetic": "distributed_arithmetic"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and return the exit code; raises what Keras and hls4ml raise about the student."""
    options = _parse(arguments)
    # Run as a file, Python looks for every module beside it first, and finds `process` or `result`.
    beside = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != beside]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        for module in _needed(options.scheme, options.strategy, options.register):
            importlib.import_module(module)
        # hgq2 brings a package `qkeras` too, which is none.
        version(PACKAGES[options.scheme])
    except ImportError as error:
        print(f"{sys.executable}: {error}; {_advice(options.scheme, options.strategy)}")
        return SURROUNDINGS
    try:
        _write_project(_load(options.student, options.scheme), options)
    except (ImportError, OSError, MemoryError) as error:
        print(f"{options.student}: {type(error).__name__}: {error}")
        return SURROUNDINGS
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert a saved student to an hls4ml project.")
    parser.add_argument("student", type=Path, help="student.keras")
    parser.add_argument("folder", type=Path, help="where the project goes")
    parser.add_argument("--top", default="student", help="name of the top function")
    parser.add_argument("--scheme", choices=tuple(PACKAGES), default="hgq")
    parser.add_argument("--register", default="", help="module that defines the student's own classes")
    parser.add_argument("--backend", choices=("Vitis", "Vivado"), default="Vitis")
    parser.add_argument("--strategy", choices=tuple(STRATEGIES), default="latency")
    parser.add_argument("--part", required=True)
    parser.add_argument("--clock-ns", type=float, required=True)
    parser.add_argument("--clock-uncertainty", type=float, required=True, help="share of the period")
    parser.add_argument("--cycles", type=int, default=1, help="clock cycles from one event to the next")
    parser.add_argument("--token", default="", help="is repeated in " + RECORD)
    return parser.parse_args(arguments)


def _needed(scheme: str, strategy: str, register: str) -> tuple[str, ...]:
    # hls4ml imports da4ml only in the middle of a conversion, where its absence looks like a refusal.
    arithmetic = ("da4ml",) if strategy == "distributed_arithmetic" else ()
    return ("keras", "hls4ml", scheme, *((register,) if register else ()), *arithmetic)


def _advice(scheme: str, strategy: str) -> str:
    if strategy == "distributed_arithmetic":
        return "the strategy distributed_arithmetic needs the packages of hls4ml[da]"
    return f"students of the scheme {scheme} need {PACKAGES[scheme]}, hls4ml and tensorflow"


def load_student(student: Path, scheme: str) -> Any:
    """Return the saved Keras model; the module of its own classes must be imported."""
    import keras

    own = _qkeras_objects() if scheme == "qkeras" else {}
    return keras.models.load_model(student, compile=False, custom_objects=own)


def _load(student: Path, scheme: str) -> Any:
    if scheme == "hgq":
        _correct_hgq_conversion()
        return load_student(student, scheme)
    _register_qkeras_layers()
    return _without_batch_norm(load_student(student, scheme))


def _write_project(model: Any, options: argparse.Namespace) -> None:
    import hls4ml

    if options.scheme == "qkeras":
        config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend=options.backend)
        for name, precision in _whole_activations(model).items():
            config["LayerName"][name]["Precision"]["result"] = precision
    else:
        # The precisions are in the model: what is given here would replace them.
        config = {"Model": {}, "LayerName": {}}
    config["Model"] |= {"ReuseFactor": 1, "Strategy": STRATEGIES[options.strategy]}
    layers = config["LayerName"]
    layers.setdefault(model.layers[0].name, {})["Precision"] = {"result": REGION}
    factors = parallelization(model, options.cycles)
    for name, factor in factors.items():
        layers.setdefault(name, {})["ParallelizationFactor"] = factor
    project = hls4ml.converters.convert_from_keras_model(
        model,
        output_dir=str(options.folder),
        project_name=options.top,
        backend=options.backend,
        io_type="io_parallel",
        part=options.part,
        clock_period=options.clock_ns,
        clock_uncertainty=f"{100 * options.clock_uncertainty:g}%",
        hls_config=config,
        allow_da_fallback=False,
    )
    project.write()
    packages = ("hls4ml", "keras", "tensorflow", PACKAGES[options.scheme])
    record = {
        "token": options.token,
        "scheme": options.scheme,
        "strategy": options.strategy,
        "backend": options.backend,
        "parallelization": factors,
        "versions": {name: version(name) for name in packages},
    }
    (options.folder / RECORD).write_text(json.dumps(record, indent=1))


def parallelization(model: Any, cycles: int) -> dict[str, int]:
    """Return how many positions of each convolution are computed at once: as few as keep up.

    hls4ml cuts the positions into equal partitions and starts one in each clock cycle, so that there
    may be as many partitions as there are cycles between events (at 160 MHz four, and 3 partitions of
    21 positions for an image of 9 x 7). One partition makes it pipeline the whole student as one.
    """
    factors = {}
    for layer in model.layers:
        if "Conv2D" in type(layer).__name__:
            _, height, width, _ = layer.output.shape
            positions = height * width
            partitions = max(n for n in range(1, max(cycles, 1) + 1) if positions % n == 0)
            factors[layer.name] = positions // partitions
    return factors


# ---- HGQ -----------------------------------------------------------------------------------------


@cache
def _correct_hgq_conversion() -> None:
    """Correct three steps of hls4ml 1.3.0, without which its project is not bit-exact for some students."""
    import numpy as np
    from hls4ml.converters.keras_v3 import layer_handlers
    from hls4ml.converters.keras_v3.hgq2 import _base as handlers
    from hls4ml.model.layers import Input, Reshape
    from hls4ml.model.optimizer import get_optimizer
    from hls4ml.model.optimizer.passes import bit_exact

    # Bitwidths that several values share in a way of the student's own are read as if it were NumPy's.
    read = handlers.extract_fixed_quantizer_config

    def read_spread(quantizer: Any, tensor: Any, is_input: bool) -> Any:
        inner = quantizer.quantizer
        shape = (1, *tensor.shape[1:])
        kif = tuple(inner.bw_mapper.bw_to_x(bits, shape) for bits in inner.kif)
        spread = SimpleNamespace(kif=kif, overflow_mode=inner.overflow_mode, round_mode=inner.round_mode)
        return read(SimpleNamespace(name=quantizer.name, quantizer=spread), tensor, is_input)

    handlers.extract_fixed_quantizer_config = read_spread

    # A saturating quantizer is narrowed to the bits that its input has, and then saturates elsewhere.
    narrow = bit_exact._produce_kif.dispatch(bit_exact.FixedPointQuantizer)

    def narrow_wrapping(layer: Any) -> Any:
        if layer.SAT == "WRAP":
            return narrow(layer)
        k, bits, integer = (
            np.broadcast_to(part[0], bit_exact.get_output_shape(layer)).astype(np.int16)
            for part in layer.mask_kbi
        )
        alive = bits > 0
        return alive * k, alive * (integer - k), alive * (bits - integer)

    bit_exact._produce_kif.register(bit_exact.FixedPointQuantizer, narrow_wrapping)

    # What is next to the input becomes the type of the port, and clipping is left to whoever feeds it.
    name = "keras.src.layers.core.input_layer.InputLayer"
    describe_input = layer_handlers[name]
    layer_handlers[name] = lambda *about: tuple(
        {**described, "trusted": True} for described in describe_input(*about)
    )
    fuse = get_optimizer("fuse_fixed_point_quantizer")
    matches = fuse.match

    def matches_inside(layer: Any) -> bool:
        [before] = bit_exact.get_input_layers(layer)
        while isinstance(before, Reshape):
            [before] = bit_exact.get_input_layers(before)
        return not isinstance(before, Input)

    fuse.match = lambda layer: matches(layer) and matches_inside(layer)


# ---- QKeras --------------------------------------------------------------------------------------


def _qkeras_objects() -> Mapping[str, type]:
    """Return the classes that qkeras-v3 neither registers nor can build from what Keras 3 saved."""
    import qkeras

    base: Any = qkeras.QDenseBatchnorm
    known = {"name", "trainable", "dtype", *inspect.signature(base.__init__).parameters}

    # Keras looks for the saved weights by the name of the class.
    class QDenseBatchnorm(base):  # type: ignore[misc]
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            # The batch norm's newer options are saved with the layer, which does not take them.
            return cls(**{name: value for name, value in config.items() if name in known})

    return {"QDenseBatchnorm": QDenseBatchnorm}


def _without_batch_norm(model: Any) -> Any:
    """Return the same function without dropout, and with batch norms folded into their layers.

    hls4ml knows no QDenseBatchnorm, and gives a dropout a type that does not hold what goes through.
    Raises ValueError when the layers are no chain.
    """
    import keras
    import qkeras

    first, *layers = model.layers
    if not isinstance(first, keras.layers.InputLayer) or any(
        layer.input is not previous.output for previous, layer in zip(model.layers, layers, strict=False)
    ):
        raise ValueError("a QKeras student has to be one chain of layers")
    x = inputs = keras.Input(model.input_shape[1:], name=first.name)
    for layer in layers:
        if isinstance(layer, keras.layers.Dropout):
            continue
        if not isinstance(layer, qkeras.QDenseBatchnorm):
            x = layer(x)
            continue
        folded = qkeras.QDense(
            layer.units,
            activation=layer.activation,
            kernel_quantizer=layer.kernel_quantizer,
            bias_quantizer=layer.bias_quantizer,
            name=layer.name,
        )
        x = folded(x)
        folded.set_weights([keras.ops.convert_to_numpy(weights) for weights in layer.get_folded_weights()])
    return keras.Model(inputs, x, name=model.name)


def _whole_activations(model: Any) -> dict[str, str]:
    """Return the type of each ReLU that has no fractional bits, by layer.

    hls4ml makes a plain integer of it, which wraps where the ReLU saturates: a clipped input would be lost.
    """
    import qkeras

    quantizers = {layer.name: getattr(layer, "activation", None) for layer in model.layers}
    return {
        name: f"ap_ufixed<{quantizer.bits},{quantizer.bits},AP_RND_CONV,AP_SAT>"
        for name, quantizer in quantizers.items()
        if isinstance(quantizer, qkeras.quantized_relu) and quantizer.bits == quantizer.integer
    }


def _register_qkeras_layers() -> None:
    """Teach hls4ml's reader of Keras 3 models the QKeras layers that its reader of Keras 2 knows.

    Its own bridge between the two stops at the activation of a QActivation, which is no function.
    """
    import keras
    from hls4ml.converters.keras import qkeras as handlers
    from hls4ml.converters.keras_v3 import layer_handlers

    def convert(handler: Any, layer: Any, inputs: Any, outputs: Any) -> tuple[dict[str, Any]]:
        kind = type(layer).__name__
        if kind != "QActivation" and layer.activation not in (None, keras.activations.linear):
            raise ValueError(f"layer {layer.name!r}: its activation must be a QActivation that follows it")

        class Weights:
            def get_weights_data(self, _: str, name: str) -> Any:
                found = (w for w in layer.weights if name in w.name)
                return next(map(keras.ops.convert_to_numpy, found), None)

        names, shapes = [tensor.name for tensor in inputs], [list(tensor.shape) for tensor in inputs]
        described, _ = handler({"class_name": kind, "config": layer.get_config()}, names, shapes, Weights())
        described["input_keras_tensor_names"] = names
        described["output_keras_tensor_names"] = [tensor.name for tensor in outputs]
        return (described,)

    def register(kind: str, handler: Any) -> None:
        layer_handlers[kind] = lambda *about: convert(handler, *about)

    register("QActivation", handlers.parse_qactivation_layer)
    register("QConv2D", handlers.parse_qconv_layer)
    register("QDense", handlers.parse_qdense_layer)


if __name__ == "__main__":
    sys.exit(main())
