"""A student's cost as logic: its adder graph, compiled by alkaid, and the pipeline cut from it.

alkaid (Sun et al., "da4ml: Distributed Arithmetic for Real-time Neural Networks on FPGAs",
arXiv:2507.04535) turns constant matrices into shared additions. The sum of its operators' costs
estimates LUTs: a mean error of 4.2 % against Yosys on 38 CICADA students, and of 3.9 % against Vivado
post-route on ten published JEDI-linear models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from alkaid.codegen import RTLModel
from alkaid.trace import FVArray, HWConfig, trace
from alkaid.trace.fixed_variable import FVariable
from alkaid.types import CombLogic
from numpy.typing import NDArray

from objectives.costs import msb_wraps
from objectives.costs.config import Hardware
from objectives.costs.registers import live_register_bits
from objectives.students.network import Convolve, Dense, Flatten, Quantize, QuantizedNetwork, Relu

msb_wraps.mend()

Symbols = NDArray[np.object_]

#: Costs count one LUT a full-adder bit; latencies count adders in a row.
_HARDWARE = HWConfig(1, 1, -1)
#: Depth of an adder tree may exceed its minimum by this many adders to save logic.
_SOLVER_OPTIONS = {"hard_dc": 5}


@dataclass(frozen=True)
class AdderGraph:
    """A compiled student: `logic` before pipelining, and what the pipelined design needs."""

    logic: CombLogic
    lut: float
    ff: int
    latency_cycles: int
    latency_ns: float

    def predict(self, events: NDArray[np.uint16]) -> NDArray[np.float64]:
        """Return the scores (n,) that the logic gives the events (n, 18, 14), every bit."""
        return predict(self.logic, events)


def predict(logic: CombLogic, events: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the scores (n,) that `logic` gives the events (n, 18, 14), every bit."""
    inputs = np.ascontiguousarray(events.reshape(len(events), -1), np.float64)
    return np.asarray(logic.predict(inputs, n_threads=1)[:, 0], np.float64)


def compile_adder_graph(network: QuantizedNetwork, hardware: Hardware) -> AdderGraph:
    """Compile `network` and cut it into stages for the clock of `hardware`."""
    logic = _trace(network)
    design = RTLModel(
        logic,
        "unwritten",
        "student",
        latency_cutoff=hardware.adders_per_stage,
        part_name=hardware.part,
        clock_period=hardware.clock_ns,
        clock_uncertainty=hardware.clock_uncertainty,
    )
    cycles = int(design.latency or 0)
    return AdderGraph(
        logic, float(logic.cost), live_register_bits(design.fsm), cycles, cycles * hardware.clock_ns
    )


def cumulative_lut(network: QuantizedNetwork, ends: Sequence[int]) -> list[float]:
    """Return, for each of `ends`, the LUTs of what the student needs of its steps before that one.

    `ends` ascend; the whole student's are those of ``len(network.steps)``. What a cut costs more
    than the one before is what the steps between them add.
    """
    inputs = _inputs(network)
    values = list(_propagate(inputs, network))
    used = _ancestors(values[-1])
    costs = []
    for end in ends:
        kept = [v for v in values[end].ravel() if isinstance(v, FVariable) and v.id in used]
        outputs = FVArray(np.array(kept, object), _SOLVER_OPTIONS, hwconf=_HARDWARE)
        costs.append(float(trace(inputs, outputs, keep_dead_inputs=True).cost) if kept else 0.0)
    return costs


def _ancestors(outputs: Symbols) -> set[Any]:
    """Return the ids of all variables that `outputs` are made from, and of those among them."""
    found = set()
    waiting = [v for v in outputs.ravel() if isinstance(v, FVariable)]
    while waiting:
        variable = waiting.pop()
        if variable.id not in found:
            found.add(variable.id)
            waiting.extend(variable._from)
    return found


def _trace(network: QuantizedNetwork) -> CombLogic:
    inputs = _inputs(network)
    *_, values = _propagate(inputs, network)
    outputs = FVArray(values, _SOLVER_OPTIONS, hwconf=_HARDWARE)
    return trace(inputs, outputs, keep_dead_inputs=True)


def _inputs(network: QuantizedNetwork) -> FVArray:
    shape = network.input_shape
    return FVArray.from_kif(
        np.zeros(shape, np.int8),
        np.full(shape, 10, np.int8),
        np.zeros(shape, np.int8),
        _HARDWARE,
        0.0,
        _SOLVER_OPTIONS,
    )


def _propagate(inputs: FVArray, network: QuantizedNetwork) -> Iterator[Symbols]:
    """Yield `inputs`, and what comes out of each step."""
    values: Symbols = np.asarray(inputs)
    yield values
    for step in network.steps:
        match step:
            case Quantize():
                values = _quantize(values, step)
            case Convolve():
                windows = step.windows(values)
                matrix = step.matrix()
                flat = windows.reshape(-1, windows.shape[-1])
                products = np.stack([_multiply(window, matrix) for window in flat])
                values = products.reshape(*windows.shape[:-1], matrix.shape[1])
            case Dense():
                values = _multiply(values, step.kernel) + step.bias
            case Relu():
                values = _each(values, lambda v: v.relu() if isinstance(v, FVariable) else max(v, 0.0))
            case Flatten():
                values = values.reshape(-1)
        yield values


def _quantize(values: Symbols, step: Quantize) -> Symbols:
    k, i, f = (np.broadcast_to(bits, values.shape).ravel() for bits in (step.k, step.i, step.f))
    result = np.empty(values.size, object)
    for n, value in enumerate(values.ravel()):
        if k[n] + i[n] + f[n] <= 0:
            result[n] = 0.0
        elif isinstance(value, FVariable):
            result[n] = _folded(value.quantize(int(k[n]), int(i[n]), int(f[n]), step.overflow, step.rounding))
        else:
            one = Quantize(k[n], i[n], f[n], step.overflow, step.rounding)
            result[n] = float(one(np.asarray(value, np.float64)))
    return result.reshape(values.shape)


def _multiply(values: Symbols, matrix: NDArray[Any]) -> Symbols:
    """Return values (n,) @ matrix (n, m), constants folded.

    alkaid's solver wants variables only, and stops where a pruned student leaves it none.
    """
    alive = np.array([isinstance(v, FVariable) for v in values])
    constant = np.asarray(values[~alive], np.float64) @ matrix[~alive]
    alive[alive] = np.any(matrix[alive] != 0, axis=1)
    result: Symbols = constant.astype(object)
    if not alive.any():
        return result
    used = np.flatnonzero(np.any(matrix[alive] != 0, axis=0))
    product = FVArray(values[alive], _SOLVER_OPTIONS, hwconf=_HARDWARE) @ matrix[np.ix_(alive, used)]
    result[used] += np.asarray(product)
    return _each(result, _folded)


def _each(values: Symbols, function: Any) -> Symbols:
    result: Symbols = np.empty(values.shape, object)
    result.ravel()[:] = [function(v) for v in values.ravel()]
    return result


def _folded(value: Any) -> Any:
    """Return a variable that can take one value as that value."""
    if isinstance(value, FVariable) and value.low == value.high:
        return float(value.low)
    return value
