"""Vitis HLS: a student as hls4ml's C++, synthesized to RTL, and that RTL through Vivado.

Three programs run one after the other: `hls_project.py` in an interpreter of its own writes the C++,
Vitis HLS makes Verilog of it, and Vivado synthesizes that as it does an adder graph's. There is a
result for each of the last two: what C synthesis estimates, which reads LUTs too high by a factor of
two to four, and what Vivado counts. All of them are called `vitis`, for they are of the same design.
"""

import importlib.util
import json
import math
import re
import secrets
import shutil
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from objectives.costs.config import Hardware
from objectives.costs.rtl import Rtl
from objectives.errors import SchemeError
from sweep import qkeras_environment
from sweep.errors import ReportError, SynthesisError
from sweep.synthesis import hls_project, vivado
from sweep.synthesis.evidence import classify, has_errors, read_lines, verdict
from sweep.synthesis.process import Ending, Limits, run_process
from sweep.synthesis.reports.csynth import CSynthesis, read_csynth_xml
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.synthesis.target import Target, ToolName
from sweep.synthesis.tcl import STEP, quote
from sweep.synthesis.tool import Command, Tool
from sweep.synthesis.vivado import Vivado

TOP = "student"
STUDENT = "student.keras"
#: The C++ that hls4ml writes, and the project that Vitis HLS keeps about it.
SOURCES = "hls"
PROJECT = "student_prj"
SCRIPT = "hls.tcl"
RUN = "vitis.json"
#: Written last of all by the script of C synthesis: holds the token of `RUN`.
SENTINEL = "csynth.finished"
CONVERSION_LOG = "conversion.log"
LOG = "csynth.log"
#: The Verilog of C synthesis, all in one file, for its files are not known before.
VERILOG = "src/student.v"
CONSTRAINTS = "src/student.xdc"

#: From one collision to the next.
EVENT_NS = 25.0
#: As alkaid constrains an adder graph: shares of the clock period that lie outside of the design.
_IO_DELAY = {"max": 0.4, "min": 0.2}

_SOLUTION = f"{PROJECT}/solution1"
_REPORT = f"{_SOLUTION}/syn/report/{TOP}_csynth"
_VERSION = re.compile(r"\bv\.?(20\d\d\.\d+(?:\.\d+)?)\b")
_VERSION_LIMITS = Limits(seconds=120, memory_bytes=8 * 2**30)
_TO_INSTALL = "source the settings64.sh of Vitis (of Vivado before 2020.2) first, so that it is found"

# ROMs, if there are any, are read from files beside the Verilog.
_COLLECT = f"""\
proc collect {{}} {{
    file mkdir src
    set verilog [open {quote(VERILOG)} w]
    foreach name [lsort [glob {_SOLUTION}/syn/verilog/*.v]] {{
        set file [open $name r]
        fcopy $file $verilog
        close $file
        puts $verilog {{}}
    }}
    close $verilog
    foreach name [glob -nocomplain {_SOLUTION}/syn/verilog/*.dat] {{
        file copy -force $name src
    }}
}}
"""


@dataclass(frozen=True)
class _Program:
    """A name that Vitis HLS goes by, how it is asked for its version and given a script."""

    name: str
    version: tuple[str, ...]
    script: tuple[str, ...]
    backend: str = "Vitis"


#: 2023.1 and newer; 2020.2 to 2024.1; before. Where two are there, both run the script, but newer
#: releases only leave the first.
_PROGRAMS = (
    _Program("vitis-run", ("--version",), ("--mode", "hls", "--tcl")),
    _Program("vitis_hls", ("-version",), ("-f",)),
    _Program("vivado_hls", ("-version",), ("-f",), backend="Vivado"),
)


class Vitis(Tool):
    """Vitis HLS (Vivado HLS before 2020.2) and Vivado, for one target; `keep_checkpoint` as for Vivado."""

    name: ClassVar[ToolName] = "vitis"

    def __init__(self, target: Target, *, keep_checkpoint: bool = False) -> None:
        super().__init__(target)
        self._vivado = _HlsRtl(target, keep_checkpoint=keep_checkpoint)

    def version(self) -> str:
        """Return the version of Vitis HLS; raises SynthesisError when it or Vivado is not found."""
        program, path = _program()
        self._vivado.commands(Path())
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / LOG
            ending = run_process((path, *program.version), Path(folder), log, _VERSION_LIMITS)
            found = next(filter(None, map(_VERSION.search, read_lines(log))), None)
        if found is None:
            how = ending.reason if ending.exit_code is None else f"ended with exit code {ending.exit_code}"
            asked = " ".join((path, *program.version))
            raise SynthesisError(f"{asked}: {how} and named no version; {_TO_INSTALL}")
        return found[1]

    def write(self, student: Path, folder: Path) -> None:
        """Copy the student, write the scripts, and take away what an earlier run left.

        Raises SynthesisError when the student cannot be read, or nothing here can convert it.
        """
        for name in (SOURCES, PROJECT):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (SENTINEL, LOG, CONVERSION_LOG):
            (folder / name).unlink(missing_ok=True)
        scheme = scheme_of(student / "student.json")
        interpreter_of(scheme)
        arithmetic = self.target.strategy == "distributed_arithmetic"
        if arithmetic and scheme == "hgq" and importlib.util.find_spec("da4ml") is None:
            raise SynthesisError("strategy distributed_arithmetic: install the packages of hls4ml[da] first")
        if not zipfile.is_zipfile(student / STUDENT):
            raise SynthesisError(f"{student / STUDENT}: is no Keras model; train this student again")
        shutil.copyfile(student / STUDENT, folder / STUDENT)
        token = secrets.token_hex(16)
        (folder / RUN).write_text(json.dumps({"token": token, "scheme": scheme}))
        script = "\n".join(_script(self.target.hardware, token)) + "\n"
        (folder / SCRIPT).write_text(script, encoding="ascii")
        self._vivado.write(student, folder)

    def commands(self, folder: Path) -> tuple[Command, ...]:
        """Return conversion, C synthesis and synthesis.

        Raises SynthesisError when a program is not found, or no run was written into `folder`.
        """
        program, path = _program()
        try:
            run = _run(folder)
        except _NotFinished as error:
            raise SynthesisError(str(error)) from None
        return (
            Command(self._conversion(run["scheme"], run["token"], program.backend), CONVERSION_LOG),
            Command((path, *program.script, SCRIPT), LOG),
            *self._vivado.commands(folder),
        )

    def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
        """Return `ok`, with the estimate and a result for each stage of Vivado, only if all of this holds.

        The exit codes are 0; what each program writes last is there, with this run's token; no log
        has an error; all reports can be read, and are of the target's part and clock. A student that
        hls4ml refuses has failed, not the tool.

        Evidence of an `ok` is a warning: that the design cannot take every event.
        """
        for at, judge in enumerate((self._judge_conversion, self._judge_estimate)):
            if len(endings) <= at:
                return verdict(Outcome.TOOL_FAILED, [f"{('hls4ml', 'C synthesis')[at]} was not started"])
            judged = judge(folder, endings[at])
            if judged.outcome is not Outcome.OK:
                return judged
        [estimated] = judged.results
        implemented = self._vivado.judge(folder, endings[2:])
        if implemented.outcome is not Outcome.OK:
            return implemented
        # Only C synthesis knows how long its design takes.
        cycles = estimated.latency_cycles
        stages = (replace(result, latency_cycles=cycles) for result in implemented.results)
        return Verdict(Outcome.OK, judged.evidence, (estimated, *stages))

    def reports(self, folder: Path) -> tuple[Path, ...]:
        """Return scripts, logs, reports, C++ and Verilog: those that are there."""
        names = [SCRIPT, RUN, SENTINEL, CONVERSION_LOG, LOG, f"{SOURCES}/{hls_project.RECORD}"]
        patterns = [
            *(f"{_REPORT}.{suffix}" for suffix in ("xml", "rpt")),
            *(f"{SOURCES}/firmware/{pattern}" for pattern in ("*.cpp", "*.h", "weights/*.h")),
        ]
        found = [folder / name for name in names]
        found += [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        own = tuple(path for path in found if path.is_file())
        return (*own, *(path for path in self._vivado.reports(folder) if path not in own))

    # --- conversion ---------------------------------------------------------------------------

    def _conversion(self, scheme: str, token: str, backend: str) -> tuple[str, ...]:
        return conversion_command(self.target, scheme, token, backend)

    def _judge_conversion(self, folder: Path, ending: Ending) -> Verdict:
        log = folder / CONVERSION_LOG
        if ending.exit_code == 0:
            try:
                _check_token(folder, _recorded(folder), folder / SOURCES / hls_project.RECORD)
            except _NotFinished as error:
                return verdict(Outcome.TOOL_FAILED, [str(error), *_last(log)])
            return Verdict(Outcome.OK)
        failed = classify(read_lines(log), ending)
        last = _last(log)
        if failed.outcome is Outcome.TOOL_FAILED and ending.exit_code == 1 and last:  # an exception
            return verdict(Outcome.DESIGN_FAILED, last)
        return failed

    # --- C synthesis --------------------------------------------------------------------------

    def _judge_estimate(self, folder: Path, ending: Ending) -> Verdict:
        missing: tuple[str, ...] = ()
        log = folder / LOG
        if ending.exit_code == 0 and not has_errors(read_lines(log)):
            try:
                _check_token(folder, _text(folder / SENTINEL), folder / SENTINEL)
                return self._estimate(folder / f"{_REPORT}.xml")
            except (ReportError, _NotFinished) as error:
                missing = (str(error),)
        failed = classify(read_lines(log), ending)
        return verdict(failed.outcome, (*missing, *failed.evidence))

    def _estimate(self, file: Path) -> Verdict:
        """Return what C synthesis reports; raises ReportError when it cannot be read or believed."""
        report = read_csynth_xml(file)
        hardware = self.target.hardware
        if not vivado.same_part(report.part, hardware.part):
            raise ReportError(f"{file}: part: expected {hardware.part}, found {report.part}")
        if abs(report.clock_target_ns - hardware.clock_ns) > 0.005 + 1e-9:
            raise ReportError(
                f"{file}: clock: expected {hardware.clock_ns} ns, found {report.clock_target_ns}"
            )
        result = StageResult(
            tool=self.name,
            version=report.version,
            stage="estimated",
            part=hardware.part,
            lut=report.lut,
            ff=report.ff,
            dsp=report.dsp,
            bram=report.bram / 2,  # of 18 kbit there, of 36 kbit here
            clock_ns=report.clock_estimated_ns,
            latency_cycles=report.latency_max,
        )
        return Verdict(Outcome.OK, tuple(_too_slow(report, hardware)), (result,))


class _HlsRtl(Vivado):
    """Vivado on the Verilog that C synthesis will have left in the folder."""

    name: ClassVar[ToolName] = "vitis"

    def write(self, student: Path, folder: Path) -> None:
        for name in (vivado.REPORTS, "src"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (vivado.SENTINEL, vivado.LOG, vivado.OUTPUT):
            (folder / name).unlink(missing_ok=True)
        (folder / "src").mkdir()
        (folder / CONSTRAINTS).write_text("\n".join(_constraints(self.target.hardware)) + "\n")
        rtl = Rtl(TOP, (Path(VERILOG),), Path(CONSTRAINTS), latency_cycles=0, register_bits=0)
        rtl.save(folder)
        self.write_script(rtl, folder)


def conversion_command(
    target: Target, scheme: str, token: str, backend: str = "Vitis", student: str = STUDENT
) -> tuple[str, ...]:
    """Return the command that writes a student's hls4ml project into the folder `SOURCES` beside it.

    Raises SynthesisError when there is no interpreter for students of `scheme`.
    """
    hardware = target.hardware
    return (
        *(interpreter_of(scheme), str(Path(hls_project.__file__).resolve()), student, SOURCES),
        *("--top", TOP, "--scheme", scheme, *own_classes(scheme)),
        *("--backend", backend, "--strategy", target.strategy),
        *("--part", hardware.part, "--clock-ns", str(hardware.clock_ns)),
        *("--clock-uncertainty", str(hardware.clock_uncertainty)),
        *("--cycles", str(cycles_between_events(hardware)), "--token", token),
    )


def own_classes(scheme: str) -> tuple[str, ...]:
    """Return the option that names the module of what students are made of beyond their package's classes."""
    return ("--register", "objectives.schemes.hgq") if scheme == "hgq" else ()


def cycles_between_events(hardware: Hardware) -> int:
    """Return the clock cycles from one event to the next, at least one: 4 at 160 MHz."""
    return max(math.floor(EVENT_NS / hardware.clock_ns + 1e-9), 1)


def _too_slow(report: CSynthesis, hardware: Hardware) -> Iterator[str]:
    allowed = cycles_between_events(hardware)
    if report.interval_max is None or report.interval_max > allowed:
        cycles = "an unknown number of" if report.interval_max is None else report.interval_max
        yield f"takes an event every {cycles} cycles, not every {allowed}: some would be lost"


# ---- scripts -------------------------------------------------------------------------------------


def _script(hardware: Hardware, token: str) -> Iterator[str]:
    """Yield the lines of C synthesis: what hls4ml's own script does, and how it came to its end."""
    yield STEP
    yield _COLLECT
    yield f"step open_project -reset {quote(PROJECT)}"
    yield f"step set_top {quote(TOP)}"
    yield f"step add_files {quote(f'{SOURCES}/firmware/{TOP}.cpp')} -cflags {quote('-std=c++0x')}"
    yield f"step open_solution -reset {quote('solution1')}"
    # Vitis HLS has no such limit, and takes the option for an error, which it prints.
    yield "if {[string match vivado_hls* [file tail [info nameofexecutable]]]} {"
    yield "    step config_array_partition -maximum_size 4096"
    yield "}"
    yield "step config_compile -name_max_length 80"
    yield f"step set_part {quote(hardware.part)}"
    yield "step config_schedule -enable_dsp_full_reg=false"
    yield f"step create_clock -period {hardware.clock_ns:.6g} -name default"
    yield f"step set_clock_uncertainty {hardware.clock_ns * hardware.clock_uncertainty:.6g} default"
    yield "step csynth_design"
    yield "step collect"
    yield f"set sentinel [open {quote(SENTINEL)} w]"
    yield f"puts -nonewline $sentinel {quote(token)}"
    yield "close $sentinel"
    yield "exit 0"


def _constraints(hardware: Hardware) -> Iterator[str]:
    """Yield the timing constraints that alkaid gives an adder graph, for the ports of Vitis HLS."""
    yield f"create_clock -period {hardware.clock_ns:.6g} -name sys_clk [get_ports ap_clk]"
    for bound, share in _IO_DELAY.items():
        delay = f"-clock sys_clk -{bound} {share * hardware.clock_ns:.6g}"
        yield f"set_input_delay {delay} [get_ports -filter {{DIRECTION == IN && NAME != ap_clk}}]"
        yield f"set_output_delay {delay} [get_ports -filter {{DIRECTION == OUT}}]"
    uncertainty = hardware.clock_ns * hardware.clock_uncertainty
    for check in ("setup", "hold"):
        yield f"set_clock_uncertainty -{check} {uncertainty:.6g} [get_clocks sys_clk]"


# ---- what is installed ---------------------------------------------------------------------------


def _program() -> tuple[_Program, str]:
    for program in _PROGRAMS:
        path = shutil.which(program.name)
        if path is not None:
            return program, path
    names = ", ".join(program.name for program in _PROGRAMS)
    raise SynthesisError(f"Vitis HLS is not installed or not on PATH (none of {names}): {_TO_INSTALL}")


def interpreter_of(scheme: str) -> str:
    """Return the Python that has what students of `scheme` are made of; raises SynthesisError."""
    if scheme == "hgq":
        return sys.executable
    try:
        python = qkeras_environment.interpreter()
    except SchemeError as error:
        raise SynthesisError(str(error)) from None
    if python is None:
        raise SynthesisError(
            "a student of the scheme qkeras: `sweep qkeras install` makes the environment that it needs"
        )
    return str(python)


# ---- what is in the folder -----------------------------------------------------------------------


class _NotFinished(Exception):
    """A program did not come to its end, or it was another run's."""


def scheme_of(file: Path) -> str:
    """Return the scheme of a student from its student.json; raises SynthesisError."""
    try:
        scheme = json.loads(file.read_bytes())["recipe"].get("quantization", {}).get("scheme", "hgq")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SynthesisError(f"{file}: cannot be read ({type(error).__name__}); train it again") from error
    if scheme not in hls_project.PACKAGES:
        raise SynthesisError(f"{file}: recipe.quantization.scheme: {scheme!r} cannot be converted by hls4ml")
    return str(scheme)


def _run(folder: Path) -> dict[str, Any]:
    try:
        run = json.loads((folder / RUN).read_bytes())
        return {"token": str(run["token"]), "scheme": str(run["scheme"])}
    except (OSError, ValueError, LookupError, TypeError):
        raise _NotFinished(f"{folder / RUN}: cannot be read: no run was written here") from None


def _recorded(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / SOURCES / hls_project.RECORD).read_bytes())["token"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _text(file: Path) -> str | None:
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return None


def _check_token(folder: Path, found: str | None, file: Path) -> None:
    token = _run(folder)["token"]
    if found is None:
        raise _NotFinished(f"{file}: is missing: the program did not come to its end")
    if found != token:
        raise _NotFinished(f"{file}: is another run's")


def _last(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log that say something."""
    return tuple(deque((line for line in read_lines(log) if line.strip()), maxlen=3))
