"""Students as hls4ml projects, really converted; C synthesis and Vivado are played by STAND-INs."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from objectives.costs.config import Hardware
from sweep.errors import SynthesisError
from sweep.qkeras_environment import QKERAS_PYTHON
from sweep.synthesis import hls_project, vivado
from sweep.synthesis.process import Ending, Limits, run_process
from sweep.synthesis.reports.csynth import read_csynth, read_csynth_xml
from sweep.synthesis.result import Outcome, Verdict
from sweep.synthesis.target import Target
from sweep.synthesis.vitis import (
    CONVERSION_LOG,
    LOG,
    RUN,
    SCRIPT,
    SENTINEL,
    VERILOG,
    Vitis,
    cycles_between_events,
)

AMPLE = Limits(seconds=300, memory_bytes=2**36)
SYNTHESIZED = Target(tool="vitis")
ROUTED = Target(tool="vitis", stage="routed")
EXITED = Ending("exited", 0, 1.0)
HAVE_DA4ML = importlib.util.find_spec("da4ml") is not None

Put = Callable[..., Path]


@pytest.fixture(scope="session")
def converted(student_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which only the conversion has taken place; to be copied."""
    folder = tmp_path_factory.mktemp("converted") / "[a] {folder} $with \"all\" 'of it'"
    folder.mkdir()
    tool = Vitis(ROUTED)
    tool.write(student_folder, folder)
    run = json.loads((folder / RUN).read_text())
    command = tool._conversion(run["scheme"], run["token"], "Vitis")
    assert run_process(command, folder, folder / CONVERSION_LOG, AMPLE).exit_code == 0
    return folder


@pytest.fixture
def play(
    converted: Path,
    tmp_path: Path,
    install: Put,
    stand_in_vivado: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    marked_processes: Callable[[], list[psutil.Process]],
) -> Callable[..., Verdict]:
    """Runs what follows the conversion, with an ending of each stand-in, and returns the verdict."""
    install("vitis_hls")
    # Odd names are harmless everywhere, for nothing but the working folder has them.
    folder = tmp_path / converted.name
    shutil.copytree(converted, folder)

    def run(
        ending: str = "ok", vivado_ending: str = "ok", target: Target = SYNTHESIZED, limits: Limits = AMPLE
    ) -> Verdict:
        monkeypatch.setenv("STAND_IN_VITIS_ENDING", ending)
        stand_in_vivado(vivado_ending)
        tool = Vitis(target)
        endings = [EXITED]
        for command in tool.commands(folder)[1:]:
            endings.append(run_process(command.arguments, folder, folder / command.log, limits))
            if endings[-1].exit_code != 0:
                break
        assert not marked_processes()
        return tool.judge(folder, tuple(endings))

    return run


@pytest.fixture
def run_folder(tmp_path: Path, converted: Path) -> Path:
    """Where `play` runs."""
    return tmp_path / converted.name


# ---- endings --------------------------------------------------------------------------------------


def test_success(play: Callable[..., Verdict], run_folder: Path) -> None:
    verdict = play(target=ROUTED)
    assert (verdict.outcome, verdict.evidence) == (Outcome.OK, ())
    assert [result.stage for result in verdict.results] == ["estimated", "synthesized", "routed"]
    estimated, synthesized, routed = verdict.results
    assert (estimated.lut, estimated.ff, estimated.dsp, estimated.bram) == (9876, 1843, 17, 1.5)
    assert (estimated.clock_ns, estimated.wns_ns) == (5.117, None)
    assert (synthesized.lut, routed.lut, routed.wns_ns) == (1234, 1198, -0.123)
    for result in verdict.results:
        assert (result.tool, result.version, result.latency_cycles) == ("vitis", "2023.2", 11)
        assert result.part == ROUTED.hardware.part
    names = {path.relative_to(run_folder).as_posix() for path in Vitis(ROUTED).reports(run_folder)}
    assert {SCRIPT, RUN, SENTINEL, LOG, CONVERSION_LOG, VERILOG, "hls/firmware/student.cpp"} <= names
    assert {"student_prj/solution1/syn/report/student_csynth.xml", "reports/routed_timing.rpt"} <= names


@pytest.mark.parametrize(
    ("ending", "outcome", "evidence"),
    [
        ("pre-synthesis failed", Outcome.DESIGN_FAILED, "[HLS 200-70]"),
        ("pre-synthesis failed, exit 0", Outcome.DESIGN_FAILED, "[HLS 200-70]"),
        ("error, all there", Outcome.DESIGN_FAILED, "[HLS 200-1715]"),
        ("unroll", Outcome.DESIGN_FAILED, "too many instructions"),
        ("no licence", Outcome.LICENCE_MISSING, "[Common 17-345]"),
        ("no part", Outcome.TOOL_FAILED, "is not installed"),
        ("no memory", Outcome.KILLED, "bad_alloc"),
        ("killed", Outcome.KILLED, "exit code -9 (SIGKILL)"),
        ("exit 12, all there", Outcome.TOOL_FAILED, "exit code 12"),
        ("nothing", Outcome.TOOL_FAILED, f"{SENTINEL}: is missing"),
        ("no sentinel", Outcome.TOOL_FAILED, f"{SENTINEL}: is missing"),
        ("another sentinel", Outcome.TOOL_FAILED, f"{SENTINEL}: is another run's"),
        ("no report", Outcome.TOOL_FAILED, "student_csynth.xml"),
        ("cut report", Outcome.TOOL_FAILED, "student_csynth.xml"),
        ("another part", Outcome.TOOL_FAILED, "part: expected xc7vx690tffg1927-2, found xc7vx485t-ffg1157-1"),
        ("another clock", Outcome.TOOL_FAILED, "clock: expected 6.25 ns, found 8.0"),
    ],
)
def test_c_synthesis_fails(
    play: Callable[..., Verdict], ending: str, outcome: Outcome, evidence: str
) -> None:
    verdict = play(ending)
    assert (verdict.outcome, verdict.results) == (outcome, ())
    assert any(evidence in line for line in verdict.evidence), verdict.evidence


def test_time_limit(play: Callable[..., Verdict]) -> None:
    verdict = play("hang", limits=Limits(0.5, 2**36))
    assert verdict.outcome is Outcome.TIMED_OUT
    assert any("Starting code transformations" in line for line in verdict.evidence)


@pytest.mark.parametrize(
    ("ending", "outcome", "evidence"),
    [
        ("error, exit 0", Outcome.DESIGN_FAILED, "[Synth 8-439]"),
        ("no licence", Outcome.LICENCE_MISSING, "[Common 17-345]"),
        ("no sentinel", Outcome.TOOL_FAILED, "finished: is missing"),
        ("cut utilization", Outcome.TOOL_FAILED, "synthesized_utilization.rpt"),
    ],
)
def test_vivado_fails(play: Callable[..., Verdict], ending: str, outcome: Outcome, evidence: str) -> None:
    verdict = play(vivado_ending=ending)
    assert (verdict.outcome, verdict.results) == (outcome, ())
    assert any(evidence in line for line in verdict.evidence), verdict.evidence


@pytest.mark.parametrize(("ending", "cycles"), [("slow", "9"), ("unbounded", "an unknown number of")])
def test_a_design_that_cannot_take_every_event_is_told(
    play: Callable[..., Verdict], ending: str, cycles: str
) -> None:
    verdict = play(ending)
    assert verdict.outcome is Outcome.OK
    assert verdict.evidence == (f"takes an event every {cycles} cycles, not every 4: some would be lost",)


@pytest.mark.parametrize("name", [RUN, SENTINEL, "hls/conversion.json", vivado.RUN, vivado.SENTINEL])
@pytest.mark.parametrize("content", [None, b"", b"\0\xff", b"[]"])
def test_every_sign_of_success_is_needed(
    play: Callable[..., Verdict], run_folder: Path, name: str, content: bytes | None
) -> None:
    assert play().outcome is Outcome.OK
    (run_folder / name).unlink()
    if content is not None:
        (run_folder / name).write_bytes(content)
    verdict = Vitis(SYNTHESIZED).judge(run_folder, (EXITED,) * 3)
    assert verdict.outcome is Outcome.TOOL_FAILED
    assert Path(name).name in verdict.evidence[0]


def test_what_was_not_started_is_not_ok(play: Callable[..., Verdict], run_folder: Path) -> None:
    assert play().outcome is Outcome.OK
    for count, name in enumerate(["hls4ml", "C synthesis", "vivado"]):
        verdict = Vitis(SYNTHESIZED).judge(run_folder, (EXITED,) * count)
        assert verdict == Verdict(Outcome.TOOL_FAILED, (f"{name} was not started",))


def test_what_an_earlier_run_left_does_not_count(
    play: Callable[..., Verdict], run_folder: Path, student_folder: Path, tmp_path: Path
) -> None:
    assert play().outcome is Outcome.OK
    kept = tmp_path / "kept"
    shutil.copytree(run_folder, kept)
    tool = Vitis(SYNTHESIZED)
    tool.write(student_folder, run_folder)
    assert tool.judge(run_folder, (EXITED,) * 3).outcome is Outcome.TOOL_FAILED
    for name in ("hls", "student_prj", "reports"):
        shutil.copytree(kept / name, run_folder / name)
    for name in (SENTINEL, vivado.SENTINEL):
        shutil.copy(kept / name, run_folder / name)
    verdict = tool.judge(run_folder, (EXITED,) * 3)
    assert verdict.outcome is Outcome.TOOL_FAILED
    assert "is another run's" in verdict.evidence[0]


def test_the_reports_of_the_stand_in_say_the_same(play: Callable[..., Verdict], run_folder: Path) -> None:
    assert play().outcome is Outcome.OK
    report = run_folder / "student_prj/solution1/syn/report/student_csynth.rpt"
    assert read_csynth(report) == read_csynth_xml(report.with_suffix(".xml"))


# ---- conversion -----------------------------------------------------------------------------------


def convert(student: Path, folder: Path, *options: str) -> int:
    target = ("--part", "xc7vx690tffg1927-2", "--clock-ns", "6.25", "--clock-uncertainty", "0.1")
    ours = ("--register", "objectives.schemes.hgq", "--cycles", "4")
    return hls_project.main([str(student / "student.keras"), str(folder), *target, *ours, *options])


def types(folder: Path) -> dict[str, str]:
    """Return the types that a project defines."""
    text = (folder / "firmware/defines.h").read_text()
    return {name: kind for kind, name in re.findall(r"typedef (\S+) (\w+);", text)}


def test_the_project(converted: Path) -> None:
    folder = converted / "hls"
    record = json.loads((folder / hls_project.RECORD).read_text())
    assert record["token"] == json.loads((converted / RUN).read_text())["token"]
    assert (record["scheme"], record["strategy"], record["backend"]) == ("hgq", "latency", "Vitis")
    # 8 x 6 positions, and 4 cycles from event to event.
    assert record["parallelization"] == {"conv": 12}
    parameters = (folder / "firmware/parameters.h").read_text()
    assert "static const unsigned n_partitions = 4;" in parameters
    assert "static const unsigned reuse_factor = 1;" in parameters
    settings = (folder / "project.tcl").read_text()
    for words in ('set part "xc7vx690tffg1927-2"', "set clock_period 6.25", "set clock_uncertainty 10%"):
        assert words in settings
    found = types(folder)
    assert found["input_t"] == "ap_ufixed<10,10>"
    assert found["result_t"] == "ap_ufixed<16,8,AP_TRN,AP_SAT,0>"
    # The student clips, and does so on the chip.
    assert "nnet::clip<input_t, clip_t>" in (folder / "firmware/student.cpp").read_text()


@pytest.mark.skipif(not HAVE_DA4ML, reason="needs da4ml: the packages of hls4ml[da]")
def test_distributed_arithmetic(student_folder: Path, tmp_path: Path) -> None:
    assert convert(student_folder, tmp_path, "--strategy", "distributed_arithmetic") == 0
    assert "dense_da_" in (tmp_path / "firmware/student.cpp").read_text()
    assert types(tmp_path)["input_t"] == "ap_ufixed<10,10>"


@pytest.mark.skipif(HAVE_DA4ML, reason="da4ml is there")
def test_distributed_arithmetic_without_da4ml(
    student_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SynthesisError, match=r"^strategy distributed_arithmetic: .*hls4ml\[da\].*$"):
        Vitis(Target(tool="vitis", strategy="distributed_arithmetic")).write(student_folder, tmp_path)
    strategy = ("--strategy", "distributed_arithmetic")
    assert convert(student_folder, tmp_path, *strategy) == hls_project.SURROUNDINGS
    [line] = capsys.readouterr().out.splitlines()
    assert "hls4ml[da]" in line


@pytest.mark.parametrize(
    ("family", "granularity", "clip"), [("cicada-v2", "channel", 0), ("cicada-v1", "layer", 64)]
)
def test_students_that_hls4ml_gets_wrong_by_itself(
    tmp_path: Path, family: Any, granularity: str, clip: int
) -> None:
    from objectives.quantization import Quantization
    from objectives.students.architecture import Architecture
    from tests.objectives.students import student

    data = {"weights": {"granularity": granularity}, "data": {"granularity": granularity}}
    architecture = Architecture(family=family, filters=2, hidden=3, input_clip=clip)
    student(architecture, Quantization.model_validate(data), 3).save(tmp_path / "student.keras")
    assert convert(tmp_path, tmp_path / "hls", "--backend", "Vivado") == 0
    found = types(tmp_path / "hls")
    assert found["input_t"] == "ap_ufixed<10,10>"
    # A narrower type would saturate at less than the largest score.
    assert found["result_t"] == "ap_ufixed<16,8,AP_TRN,AP_SAT,0>"
    code = (tmp_path / "hls/firmware/student.cpp").read_text()
    assert ("nnet::clip<input_t, " in code) == bool(clip)


@pytest.mark.parametrize(("clock_ns", "cycles"), [(6.25, 4), (25.0, 1), (2.5, 10), (3.0, 8), (100.0, 1)])
def test_cycles_between_events(clock_ns: float, cycles: int) -> None:
    assert cycles_between_events(Hardware(clock_ns=clock_ns)) == cycles


@pytest.mark.parametrize(
    ("code", "said", "outcome"),
    [
        (1, "Traceback\nValueError: Layer not found in registry", Outcome.DESIGN_FAILED),
        (hls_project.SURROUNDINGS, "python: No module named 'hls4ml'; …", Outcome.TOOL_FAILED),
        (2, "error: the following arguments are required: --part", Outcome.TOOL_FAILED),
        (-9, "", Outcome.KILLED),
        (1, "", Outcome.TOOL_FAILED),
    ],
)
def test_conversion_fails(tmp_path: Path, code: int, said: str, outcome: Outcome) -> None:
    (tmp_path / CONVERSION_LOG).write_text(said)
    verdict = Vitis(SYNTHESIZED).judge(tmp_path, (Ending("exited", code, 1.0),))
    assert (verdict.outcome, verdict.results) == (outcome, ())
    assert verdict.evidence
    assert not said or said.splitlines()[-1] in verdict.evidence


# ---- QKeras ---------------------------------------------------------------------------------------

LEGACY = """
import sys, keras
from qkeras import QActivation, QConv2D, QDense, QDenseBatchnorm, quantized_bits, quantized_relu
bits = lambda *given: quantized_bits(*given, 1, alpha=1.0)
x = inputs = keras.Input((18, 14, 1))
x = QConv2D(4, 2, strides=2, use_bias=False, kernel_quantizer=bits(12, 3), name="conv")(x)
x = keras.layers.Flatten()(QActivation(quantized_relu(10, 6))(x))
x = keras.layers.Dropout(1 / 9)(x)
x = QDenseBatchnorm(16, kernel_quantizer=bits(8, 1), bias_quantizer=bits(8, 3))(x)
x = keras.layers.Dropout(1 / 8)(QActivation(quantized_relu(10, 6))(x))
x = QDense(1, use_bias=False, kernel_quantizer=bits(12, 3))(x)
keras.Model(inputs, QActivation(quantized_relu(16, 8))(x)).save(sys.argv[1])
"""


def qkeras_student(folder: Path) -> Path:
    folder.mkdir()
    (folder / "student.json").write_text(json.dumps({"recipe": {"quantization": {"scheme": "qkeras"}}}))
    return folder


@pytest.mark.skipif(not os.environ.get(QKERAS_PYTHON), reason=f"needs {QKERAS_PYTHON}")
def test_the_legacy_student(tmp_path: Path, install: Put, stand_in_vivado: Any) -> None:
    install("vitis-run")
    student, folder = qkeras_student(tmp_path / "student"), tmp_path / "run"
    command = [os.environ[QKERAS_PYTHON], "-c", LEGACY, str(student / "student.keras")]
    subprocess.run(command, check=True, timeout=120)
    folder.mkdir()
    tool = Vitis(SYNTHESIZED)
    tool.write(student, folder)
    conversion = tool.commands(folder)[0]
    ending = run_process(conversion.arguments, folder, folder / conversion.log, AMPLE)
    assert ending.exit_code == 0, (folder / conversion.log).read_text()
    found = types(folder / "hls")
    assert found["input_t"] == "ap_ufixed<10,10>"
    assert found["result_t"] == "ap_ufixed<16,8,AP_RND_CONV,AP_SAT,0>"
    # Between the layers there are no other types than those of the student's activations.
    kept = "ap_ufixed<10,6,AP_RND_CONV,AP_SAT,0>"
    assert {kind for name, kind in found.items() if re.fullmatch(r"layer\d+_t", name)} == {kept}


def test_qkeras_without_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = qkeras_student(tmp_path / "student")
    monkeypatch.delenv(QKERAS_PYTHON, raising=False)
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    with pytest.raises(SynthesisError, match=r"^a student of the scheme qkeras: `sweep qkeras install` .*$"):
        Vitis(SYNTHESIZED).write(student, tmp_path)
    monkeypatch.setenv(QKERAS_PYTHON, str(tmp_path / "no python"))
    with pytest.raises(SynthesisError, match=rf"^{QKERAS_PYTHON}=.*: there is no such program$"):
        Vitis(SYNTHESIZED).write(student, tmp_path)


def test_an_environment_that_only_seems_to_have_qkeras(
    student_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(student_folder, tmp_path, "--scheme", "qkeras") == hls_project.SURROUNDINGS
    assert "students of the scheme qkeras need qkeras-v3" in capsys.readouterr().out


# ---- students that cannot be read -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["student.keras", "student.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"no archive", b'{"recipe": 1}'])
def test_a_student_that_cannot_be_read(
    student_folder: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    student = tmp_path / "student"
    shutil.copytree(student_folder, student)
    (student / name).unlink()
    if content is not None:
        (student / name).write_bytes(content)
    with pytest.raises(SynthesisError) as caught:
        Vitis(SYNTHESIZED).write(student, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(student / name) in str(caught.value)


def test_a_student_without_a_scheme_is_of_hgq(student_folder: Path, tmp_path: Path) -> None:
    student, folder = tmp_path / "student", tmp_path / "run"
    shutil.copytree(student_folder, student)
    (student / "student.json").write_text('{"recipe": {}}')
    folder.mkdir()
    Vitis(SYNTHESIZED).write(student, folder)
    assert json.loads((folder / RUN).read_text())["scheme"] == "hgq"
    (student / "student.json").write_text('{"recipe": {"quantization": {"scheme": "brevitas"}}}')
    with pytest.raises(SynthesisError, match=r"student\.json: recipe\.quantization\.scheme: 'brevitas'"):
        Vitis(SYNTHESIZED).write(student, folder)


# ---- the script -----------------------------------------------------------------------------------


class FakeTcl:
    """Runs the script in a real Tcl interpreter, with commands of Vitis HLS noted instead of done."""

    def __init__(self, folder: Path, program: str = "vitis_hls", failing: str = "") -> None:
        tkinter = pytest.importorskip("tkinter")
        self.tcl: Any = tkinter.Tcl()
        self.folder = folder
        self.calls: list[tuple[str, ...]] = []
        self.exit_code: int | None = None
        self.printed: list[str] = []
        for name in (
            *("open_project", "set_top", "add_files", "open_solution", "config_array_partition"),
            *("config_compile", "set_part", "config_schedule", "create_clock", "set_clock_uncertainty"),
            "csynth_design",
        ):
            self.tcl.createcommand(f"noted_{name}", partial(self._note, name, failing))
            body = 'error "it failed\\nbadly"' if name == failing else f"noted_{name} {{*}}$args"
            self.tcl.eval(f"proc {name} {{args}} {{{body}}}")
        self.tcl.createcommand("noted_exit", self._exit)
        self.tcl.createcommand("noted_puts", self.printed.append)
        self.tcl.eval("proc exit {code} {noted_exit $code; return -level 100 -code error ended}")
        self.tcl.eval(
            "rename puts real_puts; proc puts {args} {"
            "if {[llength $args] == 1} {noted_puts {*}$args} else {real_puts {*}$args}}"
        )
        self.tcl.eval(
            "rename info real_info; proc info {args} {"
            f"if {{$args eq {{nameofexecutable}}}} {{return /opt/bin/{program}}} else "
            "{uplevel 1 real_info $args}}"
        )

    def _note(self, name: str, failing: str, *words: str) -> None:
        self.calls.append((name, *words))
        if name == "csynth_design":
            verilog = self.folder / "student_prj/solution1/syn/verilog"
            verilog.mkdir(parents=True)
            (verilog / "student.v").write_text("module student; endmodule")
            (verilog / "relu.v").write_text("module relu; endmodule")
            (verilog / "rom.dat").write_text("00")

    def _exit(self, code: str) -> None:
        self.exit_code = int(code)

    def run(self) -> None:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            self.tcl.eval("catch {source " + SCRIPT + "}")
        finally:
            os.chdir(before)


@pytest.fixture
def written(student_folder: Path, tmp_path: Path) -> Path:
    Vitis(SYNTHESIZED).write(student_folder, tmp_path)
    return tmp_path


@pytest.mark.parametrize("program", ["vitis_hls", "vivado_hls"])
def test_the_script_does_what_it_should(written: Path, program: str) -> None:
    fake = FakeTcl(written, program)
    fake.run()
    assert fake.exit_code == 0, fake.printed
    old = program == "vivado_hls"
    assert fake.calls == [
        ("open_project", "-reset", "student_prj"),
        ("set_top", "student"),
        ("add_files", "hls/firmware/student.cpp", "-cflags", "-std=c++0x"),
        ("open_solution", "-reset", "solution1"),
        *([("config_array_partition", "-maximum_size", "4096")] if old else []),
        ("config_compile", "-name_max_length", "80"),
        ("set_part", "xc7vx690tffg1927-2"),
        ("config_schedule", "-enable_dsp_full_reg=false"),
        ("create_clock", "-period", "6.25", "-name", "default"),
        ("set_clock_uncertainty", "0.625", "default"),
        ("csynth_design",),
    ]
    assert (written / VERILOG).read_text() == "module relu; endmodule\nmodule student; endmodule\n"
    assert (written / "src/rom.dat").read_text() == "00"
    assert (written / SENTINEL).read_text() == json.loads((written / RUN).read_text())["token"]


@pytest.mark.parametrize("failing", ["open_project", "set_part", "csynth_design"])
def test_a_step_that_fails_ends_the_script(written: Path, failing: str) -> None:
    fake = FakeTcl(written, failing=failing)
    fake.run()
    assert fake.exit_code == 1
    assert fake.printed[-1] == f"ERROR: {failing}: it failed"
    assert not (written / SENTINEL).exists()


def test_no_verilog_ends_the_script(written: Path) -> None:
    fake = FakeTcl(written)
    fake.tcl.eval("proc csynth_design {} {}")
    fake.run()
    assert fake.exit_code == 1
    assert fake.printed[-1].startswith("ERROR: collect: no files matched")


def test_vivado_gets_what_c_synthesis_leaves(written: Path) -> None:
    script = (written / vivado.SCRIPT).read_text()
    assert f'step read_verilog "{VERILOG}"' in script
    assert 'read_xdc -mode out_of_context "src/student.xdc"' in script
    constraints = (written / "src/student.xdc").read_text()
    assert "create_clock -period 6.25 -name sys_clk [get_ports ap_clk]" in constraints
    assert "set_input_delay -clock sys_clk -max 2.5 " in constraints
    assert "set_clock_uncertainty -setup 0.625 " in constraints


# ---- what is installed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "program", "options", "backend"),
    [
        (("vitis-run", "vitis_hls"), "vitis-run", ("--mode", "hls", "--tcl", SCRIPT), "Vitis"),
        (("vitis_hls", "vivado_hls"), "vitis_hls", ("-f", SCRIPT), "Vitis"),
        (("vivado_hls",), "vivado_hls", ("-f", SCRIPT), "Vivado"),
    ],
)
def test_each_release_goes_by_another_name(
    written: Path,
    install: Put,
    stand_in_vivado: Any,
    names: tuple[str, ...],
    program: str,
    options: tuple[str, ...],
    backend: str,
) -> None:
    folder = install(*names)
    tool = Vitis(SYNTHESIZED)
    assert tool.version() == "2023.2"
    conversion, synthesis, _ = tool.commands(written)
    assert synthesis.arguments == (str(folder / program), *options)
    at = conversion.arguments.index("--backend")
    assert conversion.arguments[at + 1] == backend


def test_not_installed(written: Path, install: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = Vitis(SYNTHESIZED)
    monkeypatch.setenv("PATH", str(tmp_path))
    for ask in (tool.version, lambda: tool.commands(written)):
        with pytest.raises(SynthesisError, match=r"^Vitis HLS is not installed .*settings64\.sh.*$"):
            ask()
    install("vitis-run")
    for ask in (tool.version, lambda: tool.commands(written)):
        with pytest.raises(SynthesisError, match=r"^vivado is not installed"):
            ask()


def test_a_program_that_names_no_version(
    install: Put, stand_in_vivado: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = install("vitis_hls") / "vitis_hls"
    program.write_text("#!/bin/sh\necho something else\nexit 3\n")
    with pytest.raises(
        SynthesisError, match=r"-version: ended with exit code 3 and named no version; source"
    ):
        Vitis(SYNTHESIZED).version()


def test_a_folder_without_a_run(install: Put, tmp_path: Path) -> None:
    install("vitis_hls")
    with pytest.raises(SynthesisError, match=r"vitis\.json: cannot be read: no run was written here"):
        Vitis(SYNTHESIZED).commands(tmp_path)
