"""A NumPy archive of a released student's weights; its types are those it was released with.

`conv` (h, w, 1, filters), `dense1` (inputs, hidden), `dense1_bias` (hidden,) and `dense2`
(hidden, 1); a v1 student has no `conv`.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.errors import DataError
from objectives.students.deployed.fixed_type import exactly, parse_type
from objectives.students.deployed.layers import Layers
from objectives.students.network import Convolve, Dense, QuantizedNetwork

#: Types of the releases v2.1.2 and v1.1.2 (cms-hls4ml/CICADA, `defines.h`), where they differ in none.
_RELEASED = {
    name: parse_type(name, spelling)
    for name, spelling in {
        "input_t": "ap_uint<10>",
        "conv_accum_t": "ap_fixed<30,22>",
        "conv_t": "ap_fixed<12,4>",
        "hidden_t": "ap_ufixed<10,6,AP_RND_CONV,AP_SAT>",
        "dense1_accum_t": "ap_fixed<26,14>",
        "dense1_accum_t of v1": "ap_fixed<26,20>",
        "dense1_t": "ap_fixed<8,2>",
        "dense1_bias_t": "ap_fixed<8,4>",
        "dense2_accum_t": "ap_fixed<26,14>",
        "dense2_t": "ap_fixed<12,4>",
        "result_t": "ap_ufixed<16,8,AP_RND_CONV,AP_SAT>",
    }.items()
}


def read_archive(path: Path) -> QuantizedNetwork:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is no archive of arrays ({str(error).splitlines()[0]})") from None
    layers = Layers(_RELEASED["input_t"])
    if "conv" in arrays:
        kernel = _array(path, arrays, "conv", (None, None, 1, None), "conv_t")
        # Its stride is not in the archive; released students cut windows side by side.
        accumulator = _RELEASED["conv_accum_t"]
        layers.multiply(Convolve(kernel, kernel.shape[0]), accumulator, accumulator, f"{path}: conv")
        layers.relu(_RELEASED["hidden_t"])
    layers.flatten()
    hidden = _array(path, arrays, "dense1", (layers.shape[0], None), "dense1_t")
    bias = _array(path, arrays, "dense1_bias", (hidden.shape[1],), "dense1_bias_t")
    accumulator = _RELEASED["dense1_accum_t" if "conv" in arrays else "dense1_accum_t of v1"]
    layers.multiply(Dense(hidden, bias), accumulator, accumulator, f"{path}: dense1")
    layers.relu(_RELEASED["hidden_t"])
    last = _array(path, arrays, "dense2", (hidden.shape[1], 1), "dense2_t")
    accumulator = _RELEASED["dense2_accum_t"]
    layers.multiply(Dense(last, np.zeros(1)), accumulator, accumulator, f"{path}: dense2")
    layers.relu(_RELEASED["result_t"])
    return layers.network()


def _array(
    path: Path, arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], kind: str
) -> NDArray[np.float64]:
    if name not in arrays:
        raise DataError(f"{path}: has no array {name}; expected are conv, dense1, dense1_bias and dense2")
    values = arrays[name]
    fits = len(values.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(values.shape, shape, strict=True)
    )
    if not fits or values.size == 0 or values.dtype.kind not in "fiu":
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise DataError(f"{path}: {name} is {values.dtype} {values.shape}, numbers ({wanted}) are expected")
    return exactly(np.asarray(values, np.float64), _RELEASED[kind], f"{path}: {name}")
