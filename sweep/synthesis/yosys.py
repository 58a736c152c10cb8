"""Yosys, the embedded tool: a student's RTL mapped to the cells of a Xilinx family.

There is no placement and no timing: Yosys's static timing has no arcs for carry chains and
registers, so no clock is stated. Its counts are Yosys's and never called Vivado's.
"""

import json
import re
import secrets
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from objectives.costs.rtl import Rtl, write_rtl
from objectives.errors import CostError
from sweep.errors import ReportError, SynthesisError
from sweep.synthesis.evidence import classify
from sweep.synthesis.process import Ending
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.synthesis.target import Target, ToolName
from sweep.synthesis.tool import Command, Tool

LOG = "yosys.log"
SCRIPT = "synthesize.ys"
SENTINEL = "finished.txt"
STATISTICS = "statistics.json"

#: Which of Yosys's families a part belongs to, by the start of its name.
FAMILIES = (
    (r"xc7", "xc7"),
    (r"xc[kv]u[0-9]+p|xczu|xcau|xck[0-9]|xcu[0-9]", "xcup"),  # UltraScale+, Alveo and Kria among them
    (r"xc[kv]u[0-9]", "xcu"),
)
#: An inverter that nothing absorbs is a LUT; so is a short shift register.
_LUT = re.compile(r"LUT[1-6]|INV|SRL16E|SRLC(16|32)E")
_CARRY = re.compile(r"CARRY[48]")
_FF = re.compile(r"FD[RSCP]E(_1)?|LD[CP]E")
_DSP = re.compile(r"DSP48E[12]?|DSP58")
_BRAM = {"RAMB36E1": 1.0, "RAMB36E2": 1.0, "RAMB18E1": 0.5, "RAMB18E2": 0.5}
#: Cells that take none of the resources counted here.
_FREE = re.compile(r"BUFG(CTRL|CE)?|GND|VCC|IBUF|OBUF|MUXF[789]|\$scopeinfo")


def family_of(part: str) -> str:
    """Return Yosys's name of the family of `part`; raises SynthesisError for one it has no cells of."""
    for pattern, family in FAMILIES:
        if re.match(pattern, part.lower()):
            return family
    raise SynthesisError(
        f"hardware.part {part}: Yosys is used for Xilinx 7 series, UltraScale and UltraScale+ parts"
        " (xc7…, xcku…, xcvu…, xczu…); use another tool for this part"
    )


class Yosys(Tool):
    """Synthesis by Yosys's `synth_xilinx`, from PyPI."""

    name: ClassVar[ToolName] = "yosys"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        if target.stage != "synthesized":
            raise SynthesisError("synthesis.stage routed: Yosys does not place and route; use vivado")
        self._family = family_of(target.hardware.part)

    def version(self) -> str:
        """Return the version of pyosys."""
        try:
            return version("pyosys")
        except PackageNotFoundError as error:
            raise SynthesisError("yosys: the package pyosys is not installed here; `uv sync`") from error

    def write(self, student: Path, folder: Path) -> None:
        """Write the student's RTL and Yosys's script."""
        try:
            rtl = write_rtl(student, self.target.hardware, folder)
        except CostError as error:
            raise SynthesisError(str(error)) from error
        token = secrets.token_hex(16)
        (folder / "token.txt").write_text(token)
        (folder / SCRIPT).write_text("\n".join(self._script(rtl, token)) + "\n")

    def _script(self, rtl: Rtl, token: str) -> list[str]:
        # All names here are ours; the folder's, which is the user's, does not appear.
        sources = " ".join(source.as_posix() for source in rtl.sources)
        dsp = "" if self.target.dsp else " -nodsp"
        return [
            f"read_verilog -defer {sources}",
            f"synth_xilinx -family {self._family} -top {rtl.top} -flatten -noiopad{dsp} -abc9",
            f"tee -q -o {STATISTICS} stat -json -tech xilinx",
            f"tee -q -o {SENTINEL} log {token}",  # last of all
        ]

    def commands(self, folder: Path) -> tuple[Command, ...]:
        """Return one: Yosys in an interpreter of its own."""
        shell = Path(__file__).with_name("yosys_shell.py")
        return (Command((sys.executable, "-I", str(shell), SCRIPT), LOG),)

    def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
        """Return `ok` if Yosys ended well, wrote its last line and statistics that hold together."""
        ending = endings[-1] if endings else None
        failed = _failure(folder, ending)
        if failed is not None:
            return failed
        try:
            rtl = Rtl.load(folder)
            cells = read_statistics(folder / STATISTICS, rtl.top)
            return Verdict(Outcome.OK, (), (self._result(cells, rtl),))
        except (ReportError, CostError) as error:
            return Verdict(Outcome.TOOL_FAILED, (str(error),))

    def _result(self, cells: dict[str, int], rtl: Rtl) -> StageResult:
        def count(pattern: re.Pattern[str]) -> int:
            return sum(n for cell, n in cells.items() if pattern.fullmatch(cell))

        return StageResult(
            tool=self.name,
            version=self.version(),
            stage="synthesized",
            part=self.target.hardware.part,
            lut=count(_LUT),
            ff=count(_FF),
            dsp=count(_DSP),
            bram=sum(_BRAM.get(cell, 0.0) * n for cell, n in cells.items()),
            carry=count(_CARRY),
            latency_cycles=rtl.latency_cycles,
        )

    def reports(self, folder: Path) -> tuple[Path, ...]:
        """Return the statistics, the log, the script and the RTL."""
        names = (STATISTICS, LOG, SCRIPT, "rtl.json")
        found = [folder / name for name in names if (folder / name).exists()]
        return (*found, *sorted((folder / "src").rglob("*.v")), *sorted((folder / "src").glob("*.xdc")))


def _failure(folder: Path, ending: Ending | None) -> Verdict | None:
    """Return what went wrong, None if every sign of success is there."""
    if ending is None:
        return Verdict(Outcome.TOOL_FAILED, ("yosys was not started",))
    if ending.reason != "exited" or (ending.exit_code is not None and ending.exit_code < 0):
        return classify((), ending)
    errors = _errors(folder / LOG)
    if ending.exit_code != 0 and errors:
        # Yosys stops with a line of its own where it does not accept a design.
        return Verdict(Outcome.DESIGN_FAILED, errors)
    if ending.exit_code != 0:
        return Verdict(Outcome.TOOL_FAILED, (f"yosys ended with exit code {ending.exit_code}",))
    try:
        token, found = (folder / "token.txt").read_text(), (folder / SENTINEL).read_text().strip()
    except OSError as error:
        return Verdict(Outcome.TOOL_FAILED, (f"yosys did not reach its end: no {error.filename}",))
    if token != found:
        return Verdict(Outcome.TOOL_FAILED, (f"{SENTINEL} is of another run",))
    return None


def _errors(log: Path) -> tuple[str, ...]:
    try:
        with log.open(errors="replace") as lines:
            return tuple(line.strip()[:500] for line in lines if line.startswith("ERROR:"))[:20]
    except OSError:
        return ()


def read_statistics(file: Path, top: str) -> dict[str, int]:
    """Return {cell: how many} of the flattened design; raises ReportError for what is no statistics.

    Cells of a kind unknown here are refused: a count that leaves some out would be too good.
    """
    try:
        report: Any = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ReportError(f"{file.name}: is not Yosys's `stat -json` ({error}); run it again") from error
    try:
        modules, cells = report["modules"], report["design"]["num_cells_by_type"]
        total = report["design"]["num_cells"]
    except (LookupError, TypeError) as error:
        raise ReportError(f"{file.name}: has no table of cells; another version of Yosys?") from error
    if list(modules) != [f"\\{top}"]:
        raise ReportError(f"{file.name}: is of {', '.join(modules)}, not of the flattened {top}")
    known = all(type(n) is int and n >= 0 for n in cells.values())
    if not known or sum(cells.values()) != total:
        raise ReportError(f"{file.name}: design.num_cells_by_type does not add up to num_cells, {total}")
    for cell in cells:
        counted = any(p.fullmatch(cell) for p in (_LUT, _CARRY, _FF, _DSP, _FREE)) or cell in _BRAM
        if not counted:
            raise ReportError(f"{file.name}: cell {cell} is of a kind that is not known here")
    return dict(cells)
