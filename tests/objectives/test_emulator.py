"""The C++ of an adder graph's operations, those that few students have, too, against alkaid's interpreter."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alkaid.trace import FVArray, HWConfig, trace
from alkaid.types import CombLogic

from objectives.costs.adder_graph import predict
from objectives.costs.emulator import score_function
from objectives.costs.score_port import raw_scores
from objectives.errors import CostError

Value = Any


def low(value: Value, integer: int, fractional: int = 0) -> Value:
    return value.quantize(0, integer, fractional, "WRAP", "TRN")


#: By name: a result of two regions, and the operations that it is there for.
RESULTS: Mapping[str, tuple[Callable[[Value, Value], Value], set[int]]] = {
    "any": (lambda a, b: low(a, 3).unary_bit_op("any") + low(b, 4, 3), {9}),
    "all": (lambda a, b: low(a, 2).unary_bit_op("all") + low(b, 4), {9}),
    "all_of_a_fraction": (lambda a, b: low(a * 0.25, 1, 2).unary_bit_op("all") + low(b, 4), {9}),
    "complement": (lambda a, b: low(~low(a, 6), 6), {9}),
    "conjunction": (lambda a, b: low(a, 6) & low(b * 4, 7), {10}),
    "disjunction": (lambda a, b: low(a, 6) | low(b * 0.5, 5, 1), {10}),
    "exclusive_or": (lambda a, b: low(a, 6) ^ low(b, 7), {10}),
    "product": (lambda a, b: low(a, 4) * low(b, 4), {7}),
    "convergent": (lambda a, b: (a * 0.125 + b * 0.25).quantize(0, 6, 1, "SAT", "RND_CONV"), {6}),
    "relu": (lambda a, b: (20 - low(a, 4) * 3).relu(), {2}),
    "difference": (lambda a, b: (low(a, 5, 0) * 0.125 - low(b, 5, 0) * 0.5 + 100).relu(), {1}),
}


def logic_of(result: Callable[[Value, Value], Value]) -> CombLogic:
    hardware, options = HWConfig(1, 1, -1), {"hard_dc": 5}
    bits = (np.full(252, width, np.int8) for width in (0, 10, 0))
    inputs = FVArray.from_kif(*bits, hardware, 0.0, options)
    regions = np.asarray(inputs)
    outputs = FVArray(np.array([result(regions[0], regions[251])], object), options, hwconf=hardware)
    return trace(inputs, outputs, keep_dead_inputs=True)


def test_every_operation(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        assert not os.environ.get("CI")
        pytest.skip("needs g++")
    graphs = {name: logic_of(result) for name, (result, _) in RESULTS.items()}
    for name, (_, there) in RESULTS.items():
        assert there <= {op.opcode for op in graphs[name].ops}, name
    functions = "\n".join(score_function(logic, name) for name, logic in graphs.items())
    calls = " ".join(f"score = {name}(event); std::fwrite(&score, 2, 1, stdout);" for name in graphs)
    (tmp_path / "all.cpp").write_text(
        f"#include <cstdint>\n#include <cstdio>\n{functions}\n"
        "int main() { std::uint16_t event[252], score;"
        f" while (std::fread(event, 2, 252, stdin) == 252) {{ {calls} }} }}\n"
    )
    command = ["g++", "-std=c++17", "-Wall", "-Werror", "-Wno-unused-variable", "all.cpp", "-o", "all"]
    subprocess.run(command, cwd=tmp_path, check=True)
    rng = np.random.default_rng(0)
    events = (rng.integers(0, 1024, (4000, 252)) >> rng.integers(0, 9, (4000, 1))).astype("<u2")
    said = subprocess.run(tmp_path / "all", input=events.tobytes(), capture_output=True, check=True).stdout
    found = np.frombuffer(said, "<u2").reshape(len(events), len(graphs))
    for column, (name, logic) in enumerate(graphs.items()):
        expected = raw_scores(predict(logic, events.astype(np.uint16)))
        assert len(np.unique(expected)) > 3, name
        assert (found[:, column] == expected).all(), name


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda a, b: a * 0.5, "result runs from 0 to 511.5 in steps of 0.5; a score is ap_ufixed<16,8>"),
        (lambda a, b: low(a, 4) - low(b, 4), "runs from -15 to 15"),
        (lambda a, b: low(a, 4) * 2.0**-9, "in steps of 0.00195312"),
    ],
)
def test_results_that_no_score_can_hold(result: Callable[[Value, Value], Value], message: str) -> None:
    with pytest.raises(CostError, match=message):
        score_function(logic_of(result), "score")


@pytest.mark.parametrize("scores", [[-0.5], [256.0], [1 / 512], [np.nan], [np.inf]])
def test_scores_that_are_none(scores: list[float]) -> None:
    with pytest.raises(CostError, match="event 1: .* is no score of 16 bits in steps of 1/256"):
        raw_scores(np.array([0.5, *scores]))
