"""Compilation of adder graphs beside training, in a process that can be stopped.

The solver is one long call into C++: nothing inside this process could interrupt it.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from objectives.costs.adder_graph import AdderGraph, compile_adder_graph
from objectives.costs.config import Hardware
from objectives.errors import CostError
from objectives.students.network import QuantizedNetwork


class Compiler:
    """Compiles students one at a time in a second process, each for at most `compile_timeout_s`."""

    def __init__(self, pool: ProcessPool, hardware: Hardware) -> None:
        self._pool = pool
        self._hardware = hardware

    def submit(self, network: QuantizedNetwork) -> ProcessFuture:
        """Start compiling `network` as soon as those before it are done."""
        return self._pool.schedule(
            compile_adder_graph, args=[network, self._hardware], timeout=self._hardware.compile_timeout_s
        )

    def result(self, future: ProcessFuture) -> AdderGraph:
        """Wait for a compiled student; raises CostError when it took too long or stopped."""
        try:
            graph: AdderGraph = future.result()
        except FutureTimeoutError as error:
            raise CostError(
                f"compiling the adder graph took over {self._hardware.compile_timeout_s:g} s:"
                " raise hardware.compile_timeout_s, or anneal further"
            ) from error
        except ProcessExpired as error:
            raise CostError(
                f"compiling the adder graph ended its process (exit code {error.exitcode})"
            ) from error
        except (
            ArithmeticError,
            AssertionError,
            LookupError,
            RuntimeError,
            StopIteration,
            ValueError,
        ) as error:
            # alkaid reports what it cannot compile in all these ways; a point is lost, not the worker.
            raise CostError(
                f"alkaid cannot compile this student ({type(error).__name__}: {_first_line(error)})"
            ) from error
        return graph


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no reason given")


@contextmanager
def compiler(hardware: Hardware) -> Iterator[Compiler]:
    """Yield a `Compiler`; its process ends with the block."""
    # spawn: a fork of a process that holds TensorFlow's threads may hang.
    pool = ProcessPool(max_workers=1, context=multiprocessing.get_context("spawn"))
    try:
        yield Compiler(pool, hardware)
    finally:
        pool.stop()
        pool.join()
