"""A `QuantizedNetwork` in a file: NumPy's .npz without anything pickled, exact in every bit."""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from objectives.errors import StudentError
from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu, Step

#: Name of the file in a student's folder.
NETWORK = "network.npz"

_STEPS = {kind.__name__: kind for kind in (Quantize, Convolve, Dense, Relu, Flatten)}
_ABOUT = "network"


def write_network(file: Path, network: QuantizedNetwork) -> None:
    """Write `network`; `read_network` returns its equal."""
    about: dict[str, Any] = {"input_shape": network.input_shape, "steps": []}
    arrays: dict[str, NDArray[Any]] = {}
    for number, step in enumerate(network.steps):
        values = {field.name: getattr(step, field.name) for field in fields(step)}
        plain = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        about["steps"].append({"kind": type(step).__name__, **plain})
        arrays |= {f"{number}.{name}": value for name, value in values.items() if name not in plain}
    with file.open("wb") as stream:
        np.savez_compressed(stream, **{_ABOUT: np.array(json.dumps(about))}, **arrays)  # type: ignore[arg-type]


def read_network(file: Path) -> QuantizedNetwork:
    """Return the network of a file. Raises StudentError when it is not there, or holds no network."""
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
        about = json.loads(str(arrays.pop(_ABOUT)))
        steps = tuple(_step(number, dict(said), arrays) for number, said in enumerate(about["steps"]))
        network = QuantizedNetwork(tuple(int(size) for size in about["input_shape"]), steps)
        network.predict(np.zeros((1, math.prod(network.input_shape))))
    except FileNotFoundError:
        raise StudentError(f"{file}: there is no such file") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise StudentError(f"{file}: holds no quantized network ({type(error).__name__})") from error
    return network


def _step(number: int, said: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Step:
    kind = _STEPS[said.pop("kind")]
    prefix = f"{number}."
    own: dict[str, Any] = {
        name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)
    }
    return kind(**said, **own)
