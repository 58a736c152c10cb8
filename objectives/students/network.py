"""A quantized student as plain NumPy: the bridge from a training framework to hardware.

Every quantization scheme describes its trained student as a `QuantizedNetwork`; costs, bit-exact
checks and code generation start from there and need no Keras. All values are exact in float64:
they are integers times powers of two.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quantizers.fixed_point.fixed_point_ops_np import get_fixed_quantizer_np

Array = NDArray[Any]


@dataclass(frozen=True)
class Quantize:
    """Fixed-point quantizer; `k`, `i`, `f` (sign, integer and fractional bits) have the data's shape."""

    k: Array
    i: Array
    f: Array
    overflow: str
    rounding: str

    def __call__(self, x: Array) -> Array:
        quantizer = get_fixed_quantizer_np(round_mode=self.rounding, overflow_mode=self.overflow)
        return np.where(self.k + self.i + self.f > 0, quantizer(x, self.k, self.i, self.f), 0.0)


@dataclass(frozen=True)
class Convolve:
    """Valid convolution with `kernel` (height, width, channels in, channels out) at a square stride."""

    kernel: Array
    stride: int

    def windows(self, x: Array) -> Array:
        """Cut x (..., rows, columns, channels) into windows (..., rows out, columns out, kernel inputs)."""
        height, width = self.kernel.shape[:2]
        view = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(-3, -2))
        view = np.moveaxis(view[..., :: self.stride, :: self.stride, :, :, :], -3, -1)
        return view.reshape(*view.shape[:-3], -1)

    def matrix(self) -> Array:
        """Return the kernel as (height * width * channels in, channels out)."""
        return self.kernel.reshape(-1, self.kernel.shape[-1])

    def __call__(self, x: Array) -> Array:
        return self.windows(x) @ self.matrix()


@dataclass(frozen=True)
class Dense:
    """Matrix product with `kernel` (inputs, outputs) plus `bias` (outputs,)."""

    kernel: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.kernel + self.bias


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""

    def __call__(self, x: Array) -> Array:
        return np.maximum(x, 0.0)


@dataclass(frozen=True)
class Flatten:
    """Row-major flattening of all but the first axis."""

    def __call__(self, x: Array) -> Array:
        return x.reshape(x.shape[0], -1)


Step = Quantize | Convolve | Dense | Relu | Flatten


@dataclass(frozen=True)
class QuantizedNetwork:
    """A student as the hardware computes it: `steps` applied in order to an image of counts."""

    input_shape: tuple[int, ...]
    steps: tuple[Step, ...]

    def predict(self, x: Array, batch: int = 4096) -> NDArray[np.float64]:
        """Return the scores (n,) of region images x (n, *input_shape), exact in every bit."""
        if len(x) == 0:
            return np.empty(0)
        return np.concatenate([self._forward(part) for part in _batches(x, batch)])

    def _forward(self, x: Array) -> NDArray[np.float64]:
        y = np.asarray(x, np.float64).reshape(len(x), *self.input_shape)
        for step in self.steps:
            y = step(y)
        return y[:, 0]

    def digest(self) -> str:
        """Return 16 hex digits that name this design: equal networks, equal digests."""
        sha = hashlib.sha256(repr(self.input_shape).encode())
        for step in self.steps:
            sha.update(type(step).__name__.encode())
            for field in fields(step):
                value = getattr(step, field.name)
                sha.update(field.name.encode())
                if isinstance(value, np.ndarray):
                    sha.update(repr(value.shape).encode())
                    # + 0.0 makes -0.0 and 0.0 the same bytes
                    sha.update((np.ascontiguousarray(value, np.float64) + 0.0).tobytes())
                else:
                    sha.update(repr(value).encode())
        return sha.hexdigest()[:16]


def _batches(x: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(x), size):
        yield x[start : start + size]
