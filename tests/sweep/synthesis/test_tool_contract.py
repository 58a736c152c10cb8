"""What every synthesis tool keeps to, whichever it is; Vivado is played by a STAND-IN here.

A tool is added by a `Case` in `CASES`, with what has to be there for it to run.
"""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import SynthesisError
from sweep.synthesis.process import Ending, Limits, run_process
from sweep.synthesis.result import Outcome, Verdict
from sweep.synthesis.target import Target
from sweep.synthesis.tool import Tool


@dataclass(frozen=True)
class Case:
    """A tool for a target: its class, by name, and the fixtures that install a stand-in for it."""

    module: str
    tool: str
    target: Target
    fixtures: tuple[str, ...] = ()
    stages: tuple[str, ...] = field(default=("synthesized",))

    def make(self, request: pytest.FixtureRequest) -> Tool:
        for fixture in self.fixtures:
            request.getfixturevalue(fixture)
        made: Tool = getattr(import_module(self.module), self.tool)(self.target)
        return made


CASES = {
    "yosys": Case("sweep.synthesis.yosys", "Yosys", Target(tool="yosys")),
    "vivado": Case("sweep.synthesis.vivado", "Vivado", Target(tool="vivado"), ("stand_in_vivado",)),
    "vivado, routed": Case(
        "sweep.synthesis.vivado",
        "Vivado",
        Target(tool="vivado", stage="routed"),
        ("stand_in_vivado",),
        ("synthesized", "routed"),
    ),
    "vitis": Case(
        "sweep.synthesis.vitis",
        "Vitis",
        Target(tool="vitis"),
        ("stand_in_vivado", "stand_in_vitis"),
        ("estimated", "synthesized"),
    ),
}

LIMITS = Limits(seconds=300, memory_bytes=2**35)


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def tool(case: Case, request: pytest.FixtureRequest) -> Tool:
    return case.make(request)


@pytest.fixture
def run(tool: Tool, tmp_path: Path) -> Callable[[Path], tuple[Path, Verdict]]:
    """Does what a worker does with a tool: returns the folder of the run, and the verdict."""

    def with_student(student: Path) -> tuple[Path, Verdict]:
        folder = tmp_path / "run of a tool"
        folder.mkdir()
        tool.write(student, folder)
        endings: list[Ending] = []
        for command in tool.commands(folder):
            endings.append(run_process(command.arguments, folder, folder / command.log, LIMITS))
            if endings[-1].exit_code != 0:
                break
        return folder, tool.judge(folder, tuple(endings))

    return with_student


def test_a_student_gets_results(run: Any, tool: Tool, case: Case, student_folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in student_folder.iterdir()}
    folder, verdict = run(student_folder)
    assert (verdict.outcome, verdict.evidence) == (Outcome.OK, ())
    assert tuple(result.stage for result in verdict.results) == case.stages
    for result in verdict.results:
        assert result.tool == tool.name == case.target.tool
        assert result.version == tool.version()
        assert result.part == case.target.hardware.part
        assert result.lut > 0
        assert result.ff > 0
        assert result.dsp >= 0
        assert result.bram >= 0
        assert result.latency_cycles is None or result.latency_cycles > 0
    reports = tool.reports(folder)
    assert reports
    assert len(set(reports)) == len(reports)
    for report in reports:
        assert report.is_file()
        assert report.resolve().is_relative_to(folder.resolve())
    assert {path.name: path.read_bytes() for path in student_folder.iterdir()} == before
    # Judged again, by another process say, it is the same.
    assert tool.judge(folder, (Ending("exited", 0, 1.0),) * len(tool.commands(folder))) == verdict


@pytest.mark.parametrize(
    "content",
    [None, b"", b"not an archive", gzip.compress(b"{"), gzip.compress(b"[1, 2]")],
    ids=["absent", "empty", "text", "half", "a list"],
)
def test_a_corrupted_student_is_refused_in_one_line(
    tool: Tool, adder_graph_folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    student, folder = tmp_path / "student", tmp_path / "folder"
    shutil.copytree(adder_graph_folder, student)
    folder.mkdir()
    graph = student / "adder_graph.json.gz"
    graph.unlink()
    if content is not None:
        graph.write_bytes(content)
    with pytest.raises(SynthesisError) as caught:
        tool.write(student, folder)
    assert "\n" not in str(caught.value)
    assert str(student) in str(caught.value)


ENDINGS = [
    Ending("exited", 0, 1.0),
    Ending("exited", 1, 1.0),
    Ending("exited", -9, 1.0),
    Ending("timed out", None, 1.0),
    Ending("out of memory", None, 1.0, 1 << 30),
    Ending("stopped", None, 1.0),
]


@pytest.mark.parametrize("ending", [None, *ENDINGS], ids=lambda ending: ending and ending.reason)
def test_a_folder_without_a_run_is_not_ok(tool: Tool, tmp_path: Path, ending: Ending | None) -> None:
    folder = tmp_path / "folder"
    for there in (False, True):
        if there:
            folder.mkdir()
        verdict = tool.judge(folder, (ending,) if ending else ())
        assert verdict.outcome is not Outcome.OK
        assert verdict.evidence
        assert verdict.results == ()
        assert tool.reports(folder) == ()


def test_a_project_that_was_not_run_is_not_ok(tool: Tool, student_folder: Path, tmp_path: Path) -> None:
    tool.write(student_folder, tmp_path)
    endings = (Ending("exited", 0, 1.0),) * len(tool.commands(tmp_path))
    for judged in ((), endings):
        assert tool.judge(tmp_path, judged).outcome is not Outcome.OK
