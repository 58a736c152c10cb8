"""Vivado's script, and every way in which a run can end, played by a STAND-IN for Vivado."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from objectives.costs.config import Hardware
from sweep.errors import SynthesisError
from sweep.synthesis.process import Ending, Limits, run_process
from sweep.synthesis.result import Outcome, Verdict
from sweep.synthesis.target import Target
from sweep.synthesis.vivado import LOG, OUTPUT, RUN, SCRIPT, SENTINEL, Vivado

AMPLE = Limits(seconds=120, memory_bytes=2**36)
SYNTHESIZED = Target(tool="vivado")
ROUTED = Target(tool="vivado", stage="routed")

Play = Callable[..., Verdict]


@pytest.fixture
def play(
    adder_graph_folder: Path,
    tmp_path: Path,
    stand_in_vivado: Callable[[str], None],
    marked_processes: Callable[[], list[psutil.Process]],
) -> Play:
    """Runs the stand-in with an ending, in `tmp_path`, and returns the verdict."""

    def run(ending: str, target: Target = SYNTHESIZED, limits: Limits = AMPLE, write: bool = True) -> Verdict:
        stand_in_vivado(ending)
        tool = Vivado(target)
        if write:
            tool.write(adder_graph_folder, tmp_path)
        endings = tuple(
            run_process(command.arguments, tmp_path, tmp_path / command.log, limits)
            for command in tool.commands(tmp_path)
        )
        assert not marked_processes()
        return tool.judge(tmp_path, endings)

    return run


# ---- endings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["ok", "ok, xml", "daemon"])
def test_success(play: Play, ending: str) -> None:
    verdict = play(ending)
    assert (verdict.outcome, verdict.evidence) == (Outcome.OK, ())
    [result] = verdict.results
    assert (result.tool, result.version, result.stage) == ("vivado", "2023.2", "synthesized")
    assert result.part == SYNTHESIZED.hardware.part
    assert (result.lut, result.ff, result.dsp, result.bram, result.carry) == (1234, 2026, 3, 0.0, 77)
    assert (result.wns_ns, result.clock_ns, result.power_w) == (2.345, None, 0.456)
    assert result.latency_cycles is not None
    assert result.latency_cycles > 0


def test_success_of_both_stages(play: Play) -> None:
    verdict = play("ok", ROUTED)
    assert verdict.outcome is Outcome.OK
    assert [result.stage for result in verdict.results] == ["synthesized", "routed"]
    assert [result.lut for result in verdict.results] == [1234, 1198]
    assert verdict.results[1].wns_ns == -0.123  # a clock that is missed is a result too


@pytest.mark.parametrize(
    ("ending", "outcome", "evidence"),
    [
        ("error, exit 0", Outcome.DESIGN_FAILED, "[Synth 8-439]"),
        ("error, all there", Outcome.DESIGN_FAILED, "[Synth 8-439]"),
        ("error, exit 1", Outcome.DESIGN_FAILED, "[Synth 8-439]"),
        ("exit 12", Outcome.TOOL_FAILED, "exit code 12"),
        ("exit 12, all there", Outcome.TOOL_FAILED, "exit code 12"),
        ("no part", Outcome.TOOL_FAILED, "Specified part could not be found"),
        ("no licence", Outcome.LICENCE_MISSING, "[Common 17-345]"),
        ("killed", Outcome.KILLED, "exit code -9 (SIGKILL)"),
        ("killed, exit 137", Outcome.KILLED, "Killed"),
        ("killed, exit 1", Outcome.KILLED, "Killed"),
        ("crash", Outcome.KILLED, "Abnormal program termination (11)"),
        ("nothing", Outcome.TOOL_FAILED, "finished: is missing"),
        ("no sentinel", Outcome.TOOL_FAILED, "finished: is missing"),
        ("cut utilization", Outcome.TOOL_FAILED, "synthesized_utilization.rpt"),
        ("cut timing", Outcome.TOOL_FAILED, "synthesized_timing.rpt"),
        ("cut power", Outcome.TOOL_FAILED, "synthesized_power.rpt"),
        ("another part", Outcome.TOOL_FAILED, "expected xc7vx690tffg1927-2 in all reports"),
        ("xml disagrees", Outcome.TOOL_FAILED, "synthesized_utilization.xml: lut: expected 1234"),
    ],
)
def test_failure(play: Play, ending: str, outcome: Outcome, evidence: str) -> None:
    verdict = play(ending)
    assert verdict.outcome is outcome
    assert verdict.results == ()
    assert any(evidence in line for line in verdict.evidence), verdict.evidence


def test_a_licence_that_is_there_at_the_second_start(play: Play) -> None:
    assert play("licence at the second start").outcome is Outcome.LICENCE_MISSING
    assert play("licence at the second start").outcome is Outcome.OK


def test_time_limit(play: Play) -> None:
    verdict = play("hang", limits=Limits(0.5, 2**36))
    assert verdict.outcome is Outcome.TIMED_OUT
    assert "Starting synth_design" in verdict.evidence


def test_memory_limit(play: Play) -> None:
    verdict = play("memory", limits=Limits(120, 150 << 20))
    assert verdict.outcome is Outcome.KILLED
    assert "memory limit" in verdict.evidence[0]


# ---- runs before this one -------------------------------------------------------------------------


def test_what_an_earlier_run_left_does_not_count(play: Play, tmp_path: Path) -> None:
    assert play("ok").outcome is Outcome.OK
    old = (tmp_path / SENTINEL).read_bytes()
    shutil.copytree(tmp_path / "reports", tmp_path / "kept")
    assert play("nothing").outcome is Outcome.TOOL_FAILED
    # Even if it comes back, from a backup say.
    shutil.copytree(tmp_path / "kept", tmp_path / "reports")
    (tmp_path / SENTINEL).write_bytes(old)
    verdict = play("nothing", write=False)
    assert verdict.outcome is Outcome.TOOL_FAILED
    assert any("is another run's" in line for line in verdict.evidence)


def test_a_stage_that_was_not_reached(play: Play, tmp_path: Path) -> None:
    assert play("ok").outcome is Outcome.OK
    ended = (Ending("exited", 0, 1.0),)
    assert Vivado(SYNTHESIZED).judge(tmp_path, ended).outcome is Outcome.OK
    assert Vivado(ROUTED).judge(tmp_path, ended).outcome is Outcome.TOOL_FAILED
    for report in (tmp_path / "reports").glob("*.rpt"):
        shutil.copy(report, report.with_name(report.name.replace("synthesized", "routed")))
    verdict = Vivado(ROUTED).judge(tmp_path, ended)
    assert verdict.outcome is Outcome.TOOL_FAILED
    assert "expected a design that is routed, found Synthesized" in verdict.evidence[0]


@pytest.mark.parametrize("name", [SENTINEL, RUN, "rtl.json", "reports/synthesized_power.rpt"])
@pytest.mark.parametrize("content", [None, b"", b"\0\xff", b"[]"])
def test_every_sign_of_success_is_needed(
    play: Play, tmp_path: Path, name: str, content: bytes | None
) -> None:
    assert play("ok").outcome is Outcome.OK
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    verdict = Vivado(SYNTHESIZED).judge(tmp_path, (Ending("exited", 0, 1.0),))
    assert verdict.outcome is Outcome.TOOL_FAILED
    assert Path(name).name in verdict.evidence[0]


def test_errors_in_either_log_count(play: Play, tmp_path: Path) -> None:
    for log in (LOG, OUTPUT):
        assert play("ok").outcome is Outcome.OK
        with (tmp_path / log).open("a") as file:
            file.write("ERROR: [Route 35-7] Design has 3 unroutable pins\n")
        verdict = Vivado(SYNTHESIZED).judge(tmp_path, (Ending("exited", 0, 1.0),))
        assert verdict.outcome is Outcome.DESIGN_FAILED


# ---- the script -----------------------------------------------------------------------------------


class FakeTcl:
    """Runs the script in a real Tcl interpreter, with Vivado's commands noted down instead of done."""

    def __init__(self, folder: Path, failing: str = "") -> None:
        tkinter = pytest.importorskip("tkinter")
        self.tcl: Any = tkinter.Tcl()
        self.folder = folder
        self.calls: list[tuple[str, ...]] = []
        self.exit_code: int | None = None
        self.printed: list[str] = []
        for name in (
            *("read_verilog", "read_xdc", "synth_design", "opt_design", "place_design", "phys_opt_design"),
            *("route_design", "report_utilization", "report_timing_summary", "report_power"),
            "write_checkpoint",
        ):
            self.tcl.createcommand(
                f"noted_{name}", lambda *words, name=name: self.calls.append((name, *words))
            )
            body = 'error "ERROR: it failed\\nbadly"' if name == failing else f"noted_{name} {{*}}$args"
            self.tcl.eval(f"proc {name} {{args}} {{{body}}}")
        self.tcl.createcommand("noted_exit", self._exit)
        self.tcl.createcommand("noted_puts", self.printed.append)
        self.tcl.eval("proc exit {code} {noted_exit $code; return -level 100 -code error ended}")
        self.tcl.eval(
            "rename puts real_puts; proc puts {args} {"
            "if {[llength $args] == 1} {noted_puts {*}$args} else {real_puts {*}$args}}"
        )

    def _exit(self, code: str) -> None:
        self.exit_code = int(code)

    def run(self) -> None:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            self.tcl.eval("catch {source " + SCRIPT + "}")
        finally:
            os.chdir(before)


def test_the_script_does_what_it_should(adder_graph_folder: Path, tmp_path: Path) -> None:
    Vivado(ROUTED, keep_checkpoint=True).write(adder_graph_folder, tmp_path)
    fake = FakeTcl(tmp_path)
    fake.run()
    assert fake.exit_code == 0, fake.printed
    part = ROUTED.hardware.part
    sources = [call[1] for call in fake.calls if call[0] == "read_verilog"]
    assert sources[-1] == "src/student.v"
    assert all((tmp_path / source).is_file() for source in sources)
    rest = [call for call in fake.calls if call[0] != "read_verilog"]

    def reports(stage: str) -> list[tuple[str, ...]]:
        return [
            ("report_utilization", "-file", f"reports/{stage}_utilization.rpt"),
            ("report_timing_summary", "-file", f"reports/{stage}_timing.rpt"),
            ("report_power", "-file", f"reports/{stage}_power.rpt"),
            ("report_utilization", "-format", "xml", "-file", f"reports/{stage}_utilization.xml"),
            ("write_checkpoint", "-force", f"{stage}.dcp"),
        ]

    options = ("-top", "student", "-part", part, "-mode", "out_of_context", "-flatten_hierarchy", "full")
    assert rest == [
        ("read_xdc", "-mode", "out_of_context", "src/student.xdc"),
        ("synth_design", *options),
        *reports("synthesized"),
        *[(f"{step}_design",) for step in ("opt", "place", "phys_opt", "route")],
        *reports("routed"),
    ]
    assert (tmp_path / SENTINEL).read_text() == json.loads((tmp_path / RUN).read_text())["token"]


@pytest.mark.parametrize("failing", ["read_verilog", "synth_design", "report_power", "route_design"])
def test_a_step_that_fails_ends_the_script(adder_graph_folder: Path, tmp_path: Path, failing: str) -> None:
    Vivado(ROUTED).write(adder_graph_folder, tmp_path)
    fake = FakeTcl(tmp_path, failing)
    fake.run()
    assert fake.exit_code == 1
    assert fake.printed[-1] == f"ERROR: {failing}: ERROR: it failed"
    assert not (tmp_path / SENTINEL).exists()
    assert not any(call[0] == "write_checkpoint" for call in fake.calls)


# ---- Vivado itself --------------------------------------------------------------------------------


def test_version(stand_in_vivado: Callable[[str], None]) -> None:
    assert Vivado(SYNTHESIZED).version() == "2023.2"


def test_no_vivado(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tool = Vivado(SYNTHESIZED)
    for ask in (tool.version, lambda: tool.commands(tmp_path)):
        with pytest.raises(SynthesisError, match=r"^vivado is not installed.*settings64\.sh.*$"):
            ask()


@pytest.mark.parametrize("body", ["exit 3", "echo something else"])
def test_a_vivado_that_names_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = tmp_path / "vivado"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(
        SynthesisError, match=r"-version: ended with exit code \d+ and named no version; source"
    ):
        Vivado(SYNTHESIZED).version()


def test_parts_of_other_families_are_known_by_their_reports() -> None:
    from sweep.synthesis.vivado import same_part

    for part, names in {
        "xc7vx690tffg1927-2": ["xc7vx690tffg1927-2", "7vx690t-ffg1927", "7vx690tffg1927-2"],
        "xcu250-figd2104-2L-e": ["xcu250figd2104-2L", "xcu250-figd2104-2L-e", "u250-figd2104"],
        "xcvu13p-fhga2104-3-e": ["xcvu13pfhga2104-3", "xcvu13p-fhga2104"],
    }.items():
        assert Hardware(part=part).part == part
        assert all(same_part(name, part) for name in names)
        assert not any(same_part(name, part) for name in ("xc7vx485t-ffg1157", "", "xc", "xc7a100t"))
