"""A release's folder, as cms-hls4ml/CICADA has them: C++ that is read and never executed.

Types are in `defines.h`, sizes in `parameters.h`, the order of layers in one C++ file, values in
`weights/w3.txt` or, where that is missing, in `weights/w3.h`. The `firmware` folder of an hls4ml
project is the same.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from objectives.errors import DataError
from objectives.students.deployed.fixed_type import FixedType, exactly, fraction_of, parse_type
from objectives.students.deployed.layers import Layers
from objectives.students.network import Convolve, Dense, QuantizedNetwork

Floats = NDArray[np.float64]

#: Bytes that a released file may have; the largest so far has 41 kB.
MAX_BYTES = 10_000_000
#: What C++ calls of hls4ml's namespace besides layers.
_NO_LAYERS = ("nnet::load_weights_from_txt", "nnet::save_layer_output")


@dataclass(frozen=True)
class _Call:
    """One layer as the C++ calls it."""

    function: str
    types: tuple[str, ...]
    config: str
    arguments: tuple[str, ...]


class _Release:
    """The files of a release, as far as they describe the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        defines = _source(folder / "defines.h")
        self.numbers = {name: int(value) for name, value in re.findall(r"#define\s+(\w+)\s+(\d+)\b", defines)}
        self.spellings = {
            name: spelling for spelling, name in re.findall(r"\btypedef\s+([^;]+?)\s+(\w+)\s*;", defines)
        }
        self.configs = dict(
            re.findall(
                r"\bstruct\s+(\w+)\s*:\s*nnet::\w+\s*\{(.*?)\n\s*\};", _source(folder / "parameters.h"), re.S
            )
        )
        self.file, self.calls = self._layers()

    def _layers(self) -> tuple[Path, list[_Call]]:
        found = {}
        for file in sorted(self.folder.glob("*.cpp")):
            if calls := _calls(file):
                found[file] = calls
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise DataError(
                f"{self.folder}: one .cpp file must call hls4ml's layers (nnet::…), here does {names}; give"
                " the folder that holds it, defines.h, parameters.h and weights"
            )
        return next(iter(found.items()))

    def type(self, name: str) -> FixedType:
        if name not in self.spellings:
            raise DataError(f"{self.folder / 'defines.h'}: type {name} is not defined")
        with _named(self.folder / "defines.h"):
            return parse_type(name, self.spellings[name])

    def size(self, config: str, name: str) -> int:
        """Return a number of a layer's configuration."""
        value = self._member(config, name, r"static\s+const\s+unsigned\s+{}\s*=\s*(\w+)\s*;")
        if not value.isdigit() and value not in self.numbers:
            raise DataError(f"{self.folder / 'parameters.h'}: {config}.{name}: {value!r} is no number")
        return self.numbers[value] if value in self.numbers else int(value)

    def type_of(self, config: str, name: str) -> FixedType:
        return self.type(self._member(config, name, r"typedef\s+(\w+)\s+{}\s*;"))

    def is_resource(self, config: str) -> bool:
        """Tell whether weights are stored outputs first, as hls4ml's strategy of that name has them."""
        strategy = self._member(config, "strategy", r"static\s+const\s+unsigned\s+{}\s*=\s*nnet::(\w+)\s*;")
        return strategy == "resource"

    def _member(self, config: str, name: str, pattern: str) -> str:
        if config not in self.configs:
            raise DataError(
                f"{self.folder / 'parameters.h'}: there is no struct {config}, which {self.file.name} uses"
            )
        found = re.search(pattern.format(name), self.configs[config])
        if found is None:
            raise DataError(f"{self.folder / 'parameters.h'}: {config} has no {name}")
        return found[1]

    def values(self, name: str, size: int) -> tuple[Floats, Path]:
        """Return the `size` values of one array (w3, b3, …) and the file they are from."""
        folder = self.folder / "weights"
        file = folder / f"{name}.txt"
        if file.exists():
            text = _text(file)
        else:
            file = folder / f"{name}.h"
            if not file.exists():
                raise DataError(f"{folder / name}.txt: is missing, and so is {name}.h")
            found = re.search(rf"\b{re.escape(name)}\s*\[[^\]]*\]\s*=\s*\{{([^{{}}]*)\}}\s*;", _source(file))
            if found is None:
                raise DataError(f"{file}: holds no values of {name}")
            text = found[1]
        words = [word.strip() for word in text.strip().rstrip(",").split(",")]
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            bad = next(word for word in words if not _is_number(word))
            raise DataError(
                f"{file}: {bad[:40]!r} is no number; expected {size} of them with commas between"
            ) from None
        if len(values) != size:
            raise DataError(f"{file}: holds {len(values)} values, {size} are expected")
        if not np.isfinite(values).all():
            raise DataError(f"{file}: holds a value that is not finite")
        return values, file

    def constants(self, name: str, size: int, kind: FixedType) -> Floats:
        values, file = self.values(name, size)
        return exactly(values, kind, str(file))


def read_folder(folder: Path) -> QuantizedNetwork:
    release = _Release(folder)
    first = release.calls[0]
    input_type = release.type(first.types[0])
    with _named(folder / "defines.h"):
        layers = Layers(input_type)
    previous = first.arguments[0]
    for call in release.calls:
        layer = f"{release.file}: nnet::{call.function} of {call.config}"
        if call.function not in _LAYERS:
            raise DataError(f"{layer}: is not known here; known are {', '.join(_LAYERS)}")
        if len(call.types) != 2 or len(call.arguments) not in (2, 4):
            raise DataError(
                f"{layer}: expected <input type, output type, config>(input, output[, weights, bias])"
            )
        if call.arguments[0] != previous:
            raise DataError(f"{layer}: takes {call.arguments[0]}, expected {previous}, the layer's before it")
        previous = call.arguments[1]
        _LAYERS[call.function](release, layers, call, layer)
    with _named(release.file):
        return layers.network()


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Begin what errors say with the name of a file."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _convolution(release: _Release, layers: Layers, call: _Call, layer: str) -> None:
    config = call.config
    height, width, filters, channels = (
        release.size(config, name) for name in ("filt_height", "filt_width", "n_filt", "n_chan")
    )
    image = tuple(release.size(config, name) for name in ("in_height", "in_width", "n_chan"))
    stride = release.size(config, "stride_height")
    if image != layers.shape:
        raise DataError(f"{layer}: takes an image {image}, here it is {layers.shape}")
    padded = any(release.size(config, f"pad_{side}") for side in ("top", "bottom", "left", "right"))
    if padded or stride != release.size(config, "stride_width") or min(height, width, filters, stride) < 1:
        raise DataError(f"{layer}: only convolutions without padding and with one stride are known here")
    weights, bias = _constants(release, call, layer, height * width * channels * filters, filters)
    if bias.any():
        raise DataError(f"{layer}: has a bias, which a convolution of a CICADA student has not")
    if release.is_resource(config):
        weights = weights.reshape(filters, -1).T
    step = Convolve(weights.reshape(height, width, channels, filters), stride)
    layers.multiply(step, release.type_of(config, "accum_t"), release.type(call.types[1]), layer)


def _dense(release: _Release, layers: Layers, call: _Call, layer: str) -> None:
    layers.flatten()
    inputs, outputs = release.size(call.config, "n_in"), release.size(call.config, "n_out")
    if (inputs,) != layers.shape:
        raise DataError(f"{layer}: takes {inputs} values, here are {layers.shape[0]}")
    weights, bias = _constants(release, call, layer, inputs * outputs, outputs)
    kernel = (
        weights.reshape(outputs, inputs).T
        if release.is_resource(call.config)
        else weights.reshape(inputs, outputs)
    )
    accumulator = release.type_of(call.config, "accum_t")
    layers.multiply(Dense(kernel, bias), accumulator, release.type(call.types[1]), layer)


def _normalize(release: _Release, layers: Layers, call: _Call, layer: str) -> None:
    layers.flatten()
    size = release.size(call.config, "n_in")
    if (size,) != layers.shape or len(call.arguments) != 4:
        raise DataError(f"{layer}: takes {size} values, here are {layers.shape[0]}")
    # Written with more digits than the type has: the compiler casts them, and so is done here.
    scale, bias = (
        release.type_of(call.config, kind).quantize()(release.values(name, size)[0])
        for name, kind in zip(call.arguments[2:], ("scale_t", "bias_t"), strict=True)
    )
    product = layers.fraction + fraction_of(scale)
    layers.affine(Dense(np.diag(scale), bias), max(product, fraction_of(bias)))
    layers.cast(release.type(call.types[1]))


def _relu(release: _Release, layers: Layers, call: _Call, layer: str) -> None:
    layers.relu(release.type(call.types[1]))


def _linear(release: _Release, layers: Layers, call: _Call, layer: str) -> None:
    layers.cast(release.type(call.types[1]))


_LAYERS: Mapping[str, Callable[[_Release, Layers, _Call, str], None]] = {
    "conv_2d_cl": _convolution,
    "dense": _dense,
    "normalize": _normalize,
    "relu": _relu,
    "linear": _linear,
}


def _constants(
    release: _Release, call: _Call, layer: str, weights: int, biases: int
) -> tuple[Floats, Floats]:
    if len(call.arguments) != 4:
        raise DataError(f"{layer}: expected (input, output, weights, bias)")
    kernel, bias = call.arguments[2:]
    return (
        release.constants(kernel, weights, release.type_of(call.config, "weight_t")),
        release.constants(bias, biases, release.type_of(call.config, "bias_t")),
    )


def _calls(file: Path) -> list[_Call]:
    """Return the layers that a C++ file calls, in order; DataError for a call that cannot be read."""
    text = _source(file)
    used = [use for use in re.findall(r"\bnnet::\w+[^;\n]*", text) if not use.startswith(_NO_LAYERS)]
    aliases = dict(re.findall(r"\bauto\s*&\s*(\w+)\s*=\s*(\w+)\s*;", text))
    calls = []
    for use in used:
        found = re.fullmatch(r"nnet::(\w+)\s*<([^<>]*)>\s*\(([^()]*)\)\s*", use)
        types = _words(found[2]) if found else []
        if not found or not types:
            raise DataError(
                f"{file}: cannot read {use[:60]!r}, which should be nnet::layer<types>(arguments)"
            )
        call = _Call(found[1], tuple(types[:-1]), types[-1], tuple(_words(found[3])))
        calls.append(_resolved(call, aliases))
    return calls


def _resolved(call: _Call, aliases: Mapping[str, str]) -> _Call:
    """Return a call with names that only stand for others replaced."""
    arguments = tuple(aliases.get(name, name) for name in call.arguments)
    return _Call(call.function, call.types, call.config, arguments)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{file}: is larger than {MAX_BYTES} bytes, which no file of a release is")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not text, see byte {error.start}") from None


def _source(file: Path) -> str:
    """Return C++ without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", " ", _text(file), flags=re.S)
