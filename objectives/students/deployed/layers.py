"""hls4ml's arithmetic, put together layer by layer from a released student's types and weights.

At io_parallel, products and sums are held in the layer's accumulator type and then cast to the
layer's own. Sums wrap modulo a power of two, so that only the last one counts; a product that its
accumulator would cut is refused, for each would have to be cut before it is added.
"""

import numpy as np

from objectives.data.geometry import IMAGE_SHAPE
from objectives.errors import DataError
from objectives.students.deployed.fixed_type import FixedType, fraction_of
from objectives.students.network import Convolve, Dense, Flatten, QuantizedNetwork, Relu, Step

INPUT_SHAPE = (*IMAGE_SHAPE, 1)


class Layers:
    """Collects the steps of a network, layer by layer, and refuses what the steps could not do exactly.

    Beside them it knows the range and the fractional bits that values may have by now: a cast that
    changes none of these values is no step, for it is no logic either.
    """

    def __init__(self, input_type: FixedType) -> None:
        if input_type.signed or input_type.fraction > 0 or input_type.integer < 10:
            raise DataError(
                f"type {input_type.name}: the input must hold 10 bits without a sign, as ap_uint<10> does"
            )
        # A region's ten bits, whatever the type could hold: what is costed begins there.
        self.steps: list[Step] = [FixedType("region", False, 10, 10).quantize(INPUT_SHAPE)]
        self.shape: tuple[int, ...] = INPUT_SHAPE
        self.fraction = 0
        self.low, self.high = 0.0, 1023.0

    def multiply(self, step: Convolve | Dense, accumulator: FixedType, result: FixedType, layer: str) -> None:
        """Add a product with constants, summed in `accumulator` and cast to `result`."""
        kernel, bias = step.kernel, step.bias if isinstance(step, Dense) else np.zeros(1)
        finest = max(self.fraction + fraction_of(kernel), fraction_of(bias))
        if finest > accumulator.fraction or accumulator.overflow != "WRAP":
            held = "wraps" if accumulator.overflow == "WRAP" else "saturates"
            raise DataError(
                f"{layer}: products have {finest} fractional bits, its accumulator {accumulator.name} keeps"
                f" {accumulator.fraction} and {held}; sums that are cut on the way cannot be exact here"
            )
        self.affine(step, finest)
        self.cast(accumulator)
        self.cast(result)

    def affine(self, step: Convolve | Dense, fraction: int) -> None:
        """Add a product with constants whose exact result has `fraction` fractional bits."""
        self.steps.append(step)
        matrix, bias = (step.kernel, step.bias) if isinstance(step, Dense) else (step.matrix(), 0.0)
        up, down = np.maximum(matrix, 0).sum(axis=0), np.minimum(matrix, 0).sum(axis=0)
        low, high = self.low, self.high
        self.low, self.high = (
            float((up * low + down * high + bias).min()),
            float((up * high + down * low + bias).max()),
        )
        self.fraction = fraction
        if isinstance(step, Convolve):
            sizes = zip(self.shape[:2], step.kernel.shape[:2], strict=True)
            rows, columns = ((size - kernel) // step.stride + 1 for size, kernel in sizes)
            self.shape = (rows, columns, step.kernel.shape[-1])
        else:
            self.shape = (step.kernel.shape[1],)

    def relu(self, result: FixedType) -> None:
        """Add max(x, 0), cast to a type."""
        self.steps.append(Relu())
        self.low, self.high = max(self.low, 0.0), max(self.high, 0.0)
        self.cast(result)

    def cast(self, kind: FixedType) -> None:
        """Add the cast to a type."""
        if kind.fraction >= self.fraction and kind.low <= self.low and self.high <= kind.high:
            return
        self.steps.append(kind.quantize(self.shape))
        self.fraction, self.low, self.high = kind.fraction, kind.low, kind.high

    def flatten(self) -> None:
        """Flatten an image; nothing for what is flat."""
        if len(self.shape) > 1:
            self.steps.append(Flatten())
            self.shape = (int(np.prod(self.shape)),)

    def network(self) -> QuantizedNetwork:
        """Return what was put together; DataError when it does not end in one score."""
        if self.shape != (1,):
            raise DataError(f"its last layer has shape {self.shape}; a student gives one score")
        return QuantizedNetwork(INPUT_SHAPE, tuple(self.steps))
