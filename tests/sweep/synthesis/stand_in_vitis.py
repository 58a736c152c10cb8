"""A STAND-IN for Vitis HLS, for tests: it is not Vitis HLS, and synthesizes nothing.

It plays `vitis-run`, `vitis_hls` or `vivado_hls`, as its first argument says: takes the command line
that `sweep.synthesis.vitis` gives, reads from the script what project it is about, and plays the ending
that the variable STAND_IN_VITIS_ENDING names. Its figures are made up, the layout of its reports is
that of Vitis HLS, and each of them says where it comes from.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

VERSION = "2023.2"
ORIGIN = "STAND-IN for Vitis HLS, not Vitis HLS"

BRAM_18K, DSP, FF, LUT, URAM = 3, 17, 1843, 9876, 0
#: In the order of the counts above, in an xc7vx690t.
AVAILABLE = (2940, 3600, 866400, 433200, 0)
LATENCY, INTERVAL = 11, 4
ESTIMATED_NS = 5.117

OPTIONS = {
    "vitis-run": ("--version", ["--mode", "hls", "--tcl"]),
    "vitis_hls": ("-version", ["-f"]),
    "vivado_hls": ("-version", ["-f"]),
}
PRE_SYNTHESIS = """\
ERROR: [HLS 200-1715] Encountered problem during source synthesis
ERROR: [HLS 200-70] Pre-synthesis failed."""
UNROLL = (
    "ERROR: [HLS 214-272] In function 'dense_latency', the loop is unrolled into too many instructions"
    " (hls/firmware/nnet_utils/nnet_dense_latency.h:40:5)"
)
LICENCE = "ERROR: [Common 17-345] A valid license was not found for feature 'HLS' and/or device 'xc7vx690t'."
UNKNOWN_PART = "ERROR: [HLS 200-1023] Part 'xc7vx690tffg1927-2' is not installed."


def main(program: str, arguments: list[str]) -> int:
    version, options = OPTIONS[program]
    if arguments == [version]:
        print(f"\n****** {program} v{VERSION} (64-bit)\n  **** {ORIGIN}")
        return 0
    assert arguments[:-1] == options, arguments
    print(f"****** Vitis HLS - {ORIGIN} v{VERSION} (64-bit)")
    return ENDINGS[os.environ.get("STAND_IN_VITIS_ENDING", "ok")](Run(Path(arguments[-1]).read_text()))


class Run:
    """The script of a run, as far as a stand-in has to understand it."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.project = self.found(r'open_project -reset "([^"]+)"')
        self.solution = Path(self.project, self.found(r'open_solution -reset "([^"]+)"'))
        self.top = self.found(r'set_top "([^"]+)"')
        self.source = Path(self.found(r'add_files "([^"]+)"'))
        self.part = self.found(r'set_part "([^"]+)"')
        self.clock_ns = float(self.found(r"create_clock -period (\S+)"))
        self.uncertainty_ns = float(self.found(r"set_clock_uncertainty (\S+)"))
        self.verilog = Path(self.found(r'set verilog \[open "([^"]+)" w\]'))
        self.sentinel = Path(self.found(r'set sentinel \[open "([^"]+)" w\]'))
        self.token = self.found(r'puts -nonewline \$sentinel "([^"]+)"')

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.script)
        assert match is not None, pattern
        return match[1]

    def play(
        self,
        *,
        sentinel: str | None = None,
        report: float = 1.0,
        part: str | None = None,
        clock_ns: float | None = None,
        interval: int | str = INTERVAL,
    ) -> int:
        """Do what the script says; `report` is the share of the XML report that gets written."""
        if not self.source.is_file():
            print(f"ERROR: [HLS 200-642] The {self.source} is not found.")
            return 1
        reports, verilog = self.solution / "syn/report", self.solution / "syn/verilog"
        for folder in (reports, verilog, self.verilog.parent):
            folder.mkdir(parents=True, exist_ok=True)
        part, clock_ns = part or self.part, clock_ns or self.clock_ns
        xml = self.xml(part, clock_ns, interval)
        if report:
            (reports / f"{self.top}_csynth.xml").write_text(xml[: int(len(xml) * report)])
        (reports / f"{self.top}_csynth.rpt").write_text(self.text(part, clock_ns, interval))
        module = f"// {ORIGIN}\nmodule {self.top} (input ap_clk);\nendmodule\n"
        (verilog / f"{self.top}.v").write_text(module)
        self.verilog.write_text(module)
        if sentinel != "":
            self.sentinel.write_text(sentinel or self.token)
        print("INFO: [HLS 200-112] Total CPU user time: 0 seconds.")
        return 0

    def xml(self, part: str, clock_ns: float, interval: int | str) -> str:
        names = ("BRAM_18K", "DSP", "FF", "LUT", "URAM")
        used, available = (
            "\n".join(f"<{name}>{count}</{name}>" for name, count in zip(names, counts, strict=True))
            for counts in ((BRAM_18K, DSP, FF, LUT, URAM), AVAILABLE)
        )
        cases = ("Best", "Average", "Worst")
        latency = "\n".join(f"<{case}-caseLatency>{LATENCY}</{case}-caseLatency>" for case in cases)
        nanoseconds = f"{LATENCY * clock_ns:.3f} ns"
        times = "\n".join(
            f"<{case}-caseRealTimeLatency>{nanoseconds}</{case}-caseRealTimeLatency>" for case in cases
        )
        return f"""<!-- {ORIGIN} -->
<profile>

<ReportVersion>
<Version>{VERSION}</Version>
</ReportVersion>

<UserAssignments>
<unit>ns</unit>
<ProductFamily>virtex7</ProductFamily>
<Part>{_dashed(part)}</Part>
<TopModelName>{self.top}</TopModelName>
<TargetClockPeriod>{clock_ns:.2f}</TargetClockPeriod>
<ClockUncertainty>{self.uncertainty_ns:.2f}</ClockUncertainty>
<FlowTarget>vivado</FlowTarget>
</UserAssignments>

<PerformanceEstimates>
<PipelineType>dataflow</PipelineType>
<SummaryOfTimingAnalysis>
<unit>ns</unit>
<EstimatedClockPeriod>{ESTIMATED_NS:.3f}</EstimatedClockPeriod>
</SummaryOfTimingAnalysis>
<SummaryOfOverallLatency>
<unit>clock cycles</unit>
{latency}
{times}
<DataflowPipelineThroughput>{interval}</DataflowPipelineThroughput>
<Interval-min>{interval}</Interval-min>
<Interval-max>{interval}</Interval-max>
</SummaryOfOverallLatency>
</PerformanceEstimates>

<AreaEstimates>
<Resources>
{used}
</Resources>
<AvailableResources>
{available}
</AvailableResources>
</AreaEstimates>

</profile>
"""

    def text(self, part: str, clock_ns: float, interval: int | str) -> str:
        time = f"{LATENCY * clock_ns:.3f} ns"
        counts = (BRAM_18K, DSP, FF, LUT, URAM)
        shares = [_share(used, available) for used, available in zip(counts, AVAILABLE, strict=True)]
        return "\n\n\n".join(
            (
                ORIGIN,
                _headed(
                    f"Vitis HLS Report for '{self.top}'",
                    "* Date:           Thu Jan  1 00:00:00 1970\n\n"
                    f"* Version:        {VERSION} (Build 4023990 on Oct 11 2023)\n"
                    f"* Project:        {self.project}\n"
                    f"* Solution:       {self.solution.name} (Vivado IP Flow Target)\n"
                    "* Product family: virtex7\n"
                    f"* Target device:  {_dashed(part)}",
                ),
                _headed(
                    "Performance Estimates",
                    "+ Timing: \n    * Summary: \n"
                    + _table(
                        ["Clock", "Target", "Estimated", "Uncertainty"],
                        [
                            "ap_clk",
                            f"{clock_ns:.2f} ns",
                            f"{ESTIMATED_NS:.3f} ns",
                            f"{self.uncertainty_ns:.2f} ns",
                        ],
                    )
                    + "\n\n+ Latency: \n    * Summary: \n"
                    "    +---------+---------+----------+----------+-----+-----+---------+\n"
                    "    |  Latency (cycles) |  Latency (absolute) |  Interval | Pipeline|\n"
                    "    |   min   |   max   |    min   |    max   | min | max |   Type  |\n"
                    "    +---------+---------+----------+----------+-----+-----+---------+\n"
                    f"    |{LATENCY:9}|{LATENCY:9}|{time:>10}|{time:>10}|{interval:>5}|{interval:>5}|"
                    " dataflow|\n"
                    "    +---------+---------+----------+----------+-----+-----+---------+",
                ),
                _headed(
                    "Utilization Estimates",
                    "* Summary: \n"
                    + _table(
                        ["Name", "BRAM_18K", "DSP", "FF", "LUT", "URAM"],
                        ["Instance", *map(str, counts)],
                        ["Total", *map(str, counts)],
                        ["Available", *map(str, AVAILABLE)],
                        ["Utilization (%)", *shares],
                        indent=0,
                    ),
                ),
                _headed("Interface", "* Summary: \n"),
            )
        )


def _dashed(part: str) -> str:
    """Return a part as Vitis HLS spells those of 7 series: xc7vx690t-ffg1927-2."""
    return re.sub(r"^(xc7\w+?t)(ff\w+)", r"\1-\2", part)


def _share(used: int, available: int) -> str:
    percent = 100 * used // available if available else 0
    return "~0" if used and not percent else str(percent)


def _headed(title: str, body: str) -> str:
    rule = "=" * 64
    return f"{rule}\n== {title}\n{rule}\n{body}"


def _table(*rows: list[str], indent: int = 4) -> str:
    widths = [max(map(len, column)) + 1 for column in zip(*rows, strict=True)]
    border = "+" + "+".join("-" * width for width in widths) + "+"
    lines = [border]
    for row in rows:
        lines.append("|" + "|".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + "|")
        lines.append(border)
    return "\n".join(" " * indent + line for line in lines)


# ---- endings --------------------------------------------------------------------------------------


def _says(*lines: str, code: int) -> Callable[[Run], int]:
    def play(_: Run) -> int:
        for line in lines:
            print(line, flush=True)
        return code

    return play


def _error_and_yet_all_there(run: Run) -> int:
    print(PRE_SYNTHESIS)
    return run.play()


def _hang(_: Run) -> int:
    print("INFO: [HLS 200-10] Starting code transformations ...", flush=True)
    time.sleep(600)
    return 0


def _kill_itself(_: Run) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


ENDINGS: dict[str, Callable[[Run], int]] = {
    "ok": Run.play,
    "slow": lambda run: run.play(interval=9),
    "unbounded": lambda run: run.play(interval="?"),
    "pre-synthesis failed": _says(PRE_SYNTHESIS, code=1),
    "pre-synthesis failed, exit 0": _says(PRE_SYNTHESIS, code=0),
    "error, all there": _error_and_yet_all_there,
    "unroll": _says(UNROLL, PRE_SYNTHESIS, code=1),
    "no licence": _says(LICENCE, code=1),
    "no part": _says(UNKNOWN_PART, code=1),
    "no memory": _says("terminate called after throwing an instance of 'std::bad_alloc'", code=1),
    "killed": _kill_itself,
    "hang": _hang,
    "exit 12, all there": lambda run: run.play() or 12,
    "nothing": _says(code=0),
    "no sentinel": lambda run: run.play(sentinel=""),
    "another sentinel": lambda run: run.play(sentinel="0123456789abcdef"),
    "no report": lambda run: run.play(report=0),
    "cut report": lambda run: run.play(report=0.6),
    "another part": lambda run: run.play(part="xc7vx485tffg1157-1"),
    "another clock": lambda run: run.play(clock_ns=8.0),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
