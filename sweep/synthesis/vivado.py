"""Vivado: a student's adder graph as RTL, synthesized out of context, and placed and routed if asked.

The script runs in non-project mode and ends with exit code 1 after the first command that fails. Vivado
itself can end with exit code 0 after errors, and with another one and not a word about it, so a run
counts as a success only if every sign of one is there: see `Vivado.judge`.
"""

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

from objectives.costs.rtl import Rtl, write_rtl
from objectives.errors import CostError
from sweep.errors import ReportError, SynthesisError
from sweep.synthesis.evidence import classify, has_errors, read_lines, verdict
from sweep.synthesis.process import Ending, Limits, run_process
from sweep.synthesis.reports.power import read_power
from sweep.synthesis.reports.timing import read_timing
from sweep.synthesis.reports.utilization import Utilization, read_utilization, read_utilization_xml
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.synthesis.target import Stage, Target, ToolName
from sweep.synthesis.tcl import STEP, quote
from sweep.synthesis.tool import Command, Tool

SCRIPT = "synthesize.tcl"
REPORTS = "reports"
#: Vivado's own log, and what it and its wrapper script print, who is killed included.
LOG = "vivado.log"
OUTPUT = "output.log"
#: Written last of all by the script: holds the token of `RUN`.
SENTINEL = "finished"
RUN = "run.json"

#: Around commands of the script whose errors do not matter.
_OPTIONAL_BEGINS = "sweep: what follows is optional"
_OPTIONAL_ENDS = "sweep: end of what is optional"

_VERSION = re.compile(r"vivado v\.?(20\d\d\.\d+(?:\.\d+)?)", re.IGNORECASE)
_VERSION_LIMITS = Limits(seconds=120, memory_bytes=8 * 2**30)
_TO_INSTALL = "source Vivado's settings64.sh first, so that vivado is found"


class Vivado(Tool):
    """Vivado for one target; checkpoints are large, and written only if `keep_checkpoint`."""

    name: ClassVar[ToolName] = "vivado"

    def __init__(self, target: Target, *, keep_checkpoint: bool = False) -> None:
        super().__init__(target)
        self.keep_checkpoint = keep_checkpoint

    def version(self) -> str:
        """Return the version, such as 2023.2; raises SynthesisError when Vivado is not found or says none."""
        program = _program()
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / OUTPUT
            ending = run_process((program, "-version"), Path(folder), log, _VERSION_LIMITS)
            found = next(filter(None, map(_VERSION.search, read_lines(log))), None)
        if ending.exit_code != 0 or found is None:
            how = ending.reason if ending.exit_code is None else f"ended with exit code {ending.exit_code}"
            raise SynthesisError(f"{program} -version: {how} and named no version; {_TO_INSTALL}")
        return found[1]

    def write(self, student: Path, folder: Path) -> None:
        """Write RTL, constraints and script, and take away what an earlier run left.

        Raises SynthesisError when the student's adder graph cannot be read.
        """
        shutil.rmtree(folder / REPORTS, ignore_errors=True)
        for name in (SENTINEL, LOG, OUTPUT):
            (folder / name).unlink(missing_ok=True)
        try:
            rtl = write_rtl(student, self.target.hardware, folder)
        except CostError as error:
            raise SynthesisError(str(error)) from error
        self.write_script(rtl, folder)

    def write_script(self, rtl: Rtl, folder: Path) -> None:
        """Write the script for a design that is in `folder`, or will be when it runs."""
        token = secrets.token_hex(16)
        (folder / RUN).write_text(json.dumps({"token": token}))
        (folder / SCRIPT).write_text(self.script(rtl, token), encoding="ascii")

    def script(self, rtl: Rtl, token: str) -> str:
        """Return the script for a design in the folder it runs in; `token` is what its sentinel holds."""
        return "\n".join(self._script(rtl, token)) + "\n"

    def commands(self, folder: Path) -> tuple[Command, ...]:
        """Return the one command; raises SynthesisError when Vivado is not found."""
        options = ("-mode", "batch", "-notrace", "-nojournal", "-log", LOG, "-source", SCRIPT)
        return (Command((_program(), *options), OUTPUT),)

    def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
        """Return `ok` with a result for each stage only if all of this holds.

        The exit code is 0; the sentinel is there, with this run's token; no log has an error; the
        reports of every stage can be read, and are of the target's part and of that stage.
        """
        if not endings:
            return verdict(Outcome.TOOL_FAILED, ["vivado was not started"])
        missing: tuple[str, ...] = ()
        if endings[-1].exit_code == 0 and not has_errors(_log(folder)):
            try:
                return Verdict(Outcome.OK, results=self._results(folder))
            except (CostError, ReportError, _NotFinished) as error:
                missing = (str(error),)
        failed = classify(_log(folder), endings[-1])
        return verdict(failed.outcome, (*missing, *failed.evidence))

    def reports(self, folder: Path) -> tuple[Path, ...]:
        """Return reports, logs, script, RTL with its constraints and checkpoints: those that are there."""
        names = [SCRIPT, RUN, SENTINEL, LOG, OUTPUT, "rtl.json"]
        patterns = [f"{REPORTS}/*.rpt", f"{REPORTS}/*.xml", "src/**/*.v", "src/*.xdc", "*.dcp"]
        found = [folder / name for name in names]
        found += [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        return tuple(path for path in found if path.is_file())

    # --- the script ---------------------------------------------------------------------------

    def _stages(self) -> tuple[Stage, ...]:
        return ("synthesized",) if self.target.stage == "synthesized" else ("synthesized", "routed")

    def _script(self, rtl: Rtl, token: str) -> Iterator[str]:
        yield STEP
        yield f"file mkdir {quote(REPORTS)}"
        for source in rtl.sources:
            yield f"step read_verilog {quote(source.as_posix())}"
        yield f"step read_xdc -mode out_of_context {quote(rtl.constraints.as_posix())}"
        yield (
            f"step synth_design -top {quote(rtl.top)} -part {quote(self.target.hardware.part)}"
            " -mode out_of_context -flatten_hierarchy full"
        )
        yield from self._write_reports("synthesized")
        if self.target.stage == "routed":
            yield from (f"step {name}" for name in ("opt_design", "place_design", "phys_opt_design"))
            yield "step route_design"
            yield from self._write_reports("routed")
        yield f"set sentinel [open {quote(SENTINEL)} w]"
        yield f"puts -nonewline $sentinel {quote(token)}"
        yield "close $sentinel"
        yield "exit 0"

    def _write_reports(self, stage: Stage) -> Iterator[str]:
        for command, report in (
            ("report_utilization", "utilization"),
            ("report_timing_summary", "timing"),
            ("report_power", "power"),
        ):
            yield f"step {command} -file {quote(_report(stage, report))}"
        # Not in the documented syntax of every release, so its failure must not be one of the run.
        yield f"puts {quote(_OPTIONAL_BEGINS)}"
        xml = quote(_report(stage, "utilization", "xml"))
        yield f"catch {{report_utilization -format xml -file {xml}}}"
        yield f"puts {quote(_OPTIONAL_ENDS)}"
        if self.keep_checkpoint:
            yield f"step write_checkpoint -force {quote(f'{stage}.dcp')}"

    # --- the reports --------------------------------------------------------------------------

    def _results(self, folder: Path) -> tuple[StageResult, ...]:
        _check_sentinel(folder)
        rtl = Rtl.load(folder)
        return tuple(self._result(folder, stage, rtl) for stage in self._stages())

    def _result(self, folder: Path, stage: Stage, rtl: Rtl) -> StageResult:
        """Return what the reports of a stage say; raises ReportError when one cannot be read or believed."""
        file = folder / _report(stage, "utilization")
        utilization = read_utilization(file)
        timing = read_timing(folder / _report(stage, "timing"))
        power = read_power(folder / _report(stage, "power"))
        part = self.target.hardware.part
        for report in (utilization, timing, power):
            if not same_part(report.part, part):
                raise ReportError(f"{file}: part: expected {part} in all reports, found {report.part}")
            if report.version != utilization.version:
                raise ReportError(f"{file}: version: expected {report.version} as in the other reports")
        for state in filter(None, (utilization.state, timing.state)):
            if not re.search("synth" if stage == "synthesized" else "route", state, re.IGNORECASE):
                raise ReportError(f"{file}: Design State: expected a design that is {stage}, found {state}")
        _check_xml(folder / _report(stage, "utilization", "xml"), utilization)
        return StageResult(
            tool=self.name,
            version=utilization.version,
            stage=stage,
            part=part,
            lut=utilization.lut,
            ff=utilization.ff,
            dsp=utilization.dsp,
            bram=utilization.bram,
            carry=utilization.carry,
            wns_ns=timing.wns_ns,
            power_w=power.total_w,
            latency_cycles=rtl.latency_cycles,
        )


class _NotFinished(Exception):
    """The script did not come to its end."""


def _program() -> str:
    program = shutil.which("vivado")
    if program is None:
        raise SynthesisError(f"vivado is not installed or not on PATH: {_TO_INSTALL}")
    return program


def _report(stage: Stage, report: str, suffix: Literal["rpt", "xml"] = "rpt") -> str:
    return f"{REPORTS}/{stage}_{report}.{suffix}"


def _log(folder: Path) -> Iterator[str]:
    return chain.from_iterable(_required(read_lines(folder / name)) for name in (OUTPUT, LOG))


def _required(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a log without the errors of optional commands."""
    optional = False
    for line in lines:
        optional = (optional or line.startswith(_OPTIONAL_BEGINS)) and not line.startswith(_OPTIONAL_ENDS)
        if not (optional and has_errors([line])):
            yield line


def _check_sentinel(folder: Path) -> None:
    try:
        token = json.loads((folder / RUN).read_bytes())["token"]
    except (OSError, ValueError, LookupError, TypeError):
        raise _NotFinished(f"{folder / RUN}: cannot be read: no run was written here") from None
    try:
        found = (folder / SENTINEL).read_bytes()
    except OSError:
        raise _NotFinished(
            f"{folder / SENTINEL}: is missing: Vivado did not come to the script's end"
        ) from None
    if found != str(token).encode():
        raise _NotFinished(f"{folder / SENTINEL}: is another run's")


def same_part(found: str, part: str) -> bool:
    """Return whether a report's part is the target's: without `xc`, dashes or grades in some reports."""
    short, whole = (re.sub(r"^xc|[^a-z0-9]", "", name.lower()) for name in (found, part))
    return len(short) >= 4 and whole.startswith(short)


def _check_xml(file: Path, text: Utilization) -> None:
    """Raise ReportError when the XML report, if there is one that can be read, says something else."""
    try:
        xml = read_utilization_xml(file)
    except ReportError:
        return  # the text is what counts; XML is an extra that not every release writes
    for name in ("lut", "ff", "dsp", "bram"):
        if getattr(xml, name) != getattr(text, name):
            raise ReportError(
                f"{file}: {name}: expected {getattr(text, name)} as in the text, found {getattr(xml, name)}"
            )
