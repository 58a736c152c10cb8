"""Compiling in a second process gives what compiling here gives, and outlives what goes wrong there."""

import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.compiler import Compiler, compiler
from objectives.costs.config import Hardware
from objectives.errors import CostError
from objectives.students.network import Dense, Quantize, QuantizedNetwork, Relu

#: Time enough for a small network on a busy machine, the start of the process included.
PATIENCE_S = 8.0


def dense_network(inputs: int, hidden: int, bits: int) -> QuantizedNetwork:
    """A random student of `inputs` regions, with not a bit pruned."""
    rng = np.random.default_rng(inputs)
    none = np.zeros(inputs, np.int64)
    kernel = rng.integers(-(2**bits), 2**bits, (inputs, hidden)).astype(float)
    eight = np.full(1, 8)
    return QuantizedNetwork(
        (inputs,),
        (
            Quantize(none, none + 10, none, "WRAP", "TRN"),
            Dense(kernel, np.arange(hidden).astype(float)),
            Relu(),
            Dense(np.full((hidden, 1), 2.0**-8), np.zeros(1)),
            Quantize(eight * 0, eight, eight, "SAT", "TRN"),
        ),
    )


SMALL = dense_network(12, 3, 4)
#: Minutes of solving.
ENDLESS = dense_network(252, 128, 10)


@pytest.fixture(scope="module")
def short_of_time() -> Iterator[Compiler]:
    with compiler(Hardware(compile_timeout_s=PATIENCE_S)) as graphs:
        yield graphs


def test_it_is_the_same_graph(short_of_time: Compiler) -> None:
    events = np.random.default_rng(0).integers(0, 1024, (500, 12)).astype(np.uint16)
    direct = compile_adder_graph(SMALL, Hardware())
    pending = [short_of_time.submit(SMALL), short_of_time.submit(dense_network(10, 2, 3))]
    sent, other = (short_of_time.result(future) for future in pending)
    assert (sent.lut, sent.ff, sent.latency_cycles) == (direct.lut, direct.ff, direct.latency_cycles)
    assert (sent.predict(events) == direct.predict(events)).all()
    assert (sent.predict(events) == SMALL.predict(events)).all()
    assert other.lut < sent.lut


def test_the_hardware_is_passed_on() -> None:
    hardware = Hardware(clock_ns=2)
    with compiler(hardware) as graphs:
        sent = graphs.result(graphs.submit(SMALL))
    assert sent.latency_ns == compile_adder_graph(SMALL, hardware).latency_ns
    assert sent.latency_cycles > compile_adder_graph(SMALL, Hardware()).latency_cycles


def test_what_takes_too_long_is_stopped_and_the_next_is_compiled(short_of_time: Compiler) -> None:
    endless, small = short_of_time.submit(ENDLESS), short_of_time.submit(SMALL)
    with pytest.raises(CostError, match=r"took over 8 s: raise hardware\.compile_timeout_s") as caught:
        short_of_time.result(endless)
    assert "\n" not in str(caught.value)
    assert short_of_time.result(small).lut > 0


def workers() -> list[psutil.Process]:
    """Return the child processes that were spawned to work."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_process_that_dies_is_an_error_and_is_replaced() -> None:
    # As the kernel does it when memory runs out.
    others = workers()
    with compiler(Hardware()) as graphs:
        assert graphs.result(graphs.submit(SMALL)).lut > 0
        (worker,) = (child for child in workers() if child not in others)
        future = graphs.submit(ENDLESS)
        while not future.running():
            time.sleep(0.01)
        time.sleep(0.5)
        worker.kill()
        with pytest.raises(CostError, match="ended its process") as caught:
            graphs.result(future)
        assert "\n" not in str(caught.value)
        assert graphs.result(graphs.submit(SMALL)).lut > 0
    assert not [child for child in workers() if child not in others]


def test_what_alkaid_refuses_is_an_error_of_one_line_and_ends_nothing() -> None:
    strange = Quantize(np.zeros(12, int), np.full(12, 4), np.zeros(12, int), "SIDEWAYS", "TRN")
    with compiler(Hardware()) as graphs:
        future = graphs.submit(QuantizedNetwork((12,), (strange,)))
        with pytest.raises(CostError, match="alkaid cannot compile this student") as caught:
            graphs.result(future)
        assert "\n" not in str(caught.value)
        assert graphs.result(graphs.submit(SMALL)).lut > 0
