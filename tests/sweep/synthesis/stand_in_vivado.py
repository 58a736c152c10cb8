"""A STAND-IN for Vivado, for tests: it is not Vivado, and synthesizes nothing.

It takes the command line that `sweep.synthesis.vivado` gives, reads from the script what reports are
wanted, and plays the ending that the variable STAND_IN_ENDING names. Its figures are made up, the
layout of its reports is Vivado's, and each of them says where it comes from.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

VERSION = "2023.2"
ORIGIN = "STAND-IN for Vivado, not Vivado"

LUT = {"synthesized": 1234, "routed": 1198}
FF = {"synthesized": 2026, "routed": 2026}
DSP = 3
#: Available in an xc7vx690t.
AVAILABLE = {"LUT": 433200, "FF": 866400, "RAMB36": 1470, "RAMB18": 2940, "DSP": 3600}
WNS_NS = {"synthesized": 2.345, "routed": -0.123}
POWER_W = {"synthesized": (0.456, 0.123, 0.333), "routed": (0.567, 0.234, 0.333)}

LICENCE = """\
WARNING: [Common 17-348] Failed to get the license for feature 'Synthesis' and/or device 'xc7vx690t'
ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xc7vx690t'.
synth_design failed"""
DESIGN_ERROR = "ERROR: [Synth 8-439] module 'logic0' not found [student.v:20]"
WRAPPER = '/opt/Xilinx/Vivado/2023.2/bin/rdiArgs.sh: line 312:  4105 Killed                  "$RDI_PROG" "$@"'


def main(arguments: list[str]) -> int:
    if arguments == ["-version"]:
        print(f"vivado v{VERSION} (64-bit)\n{ORIGIN}")
        return 0
    with Path(arguments[arguments.index("-log") + 1]).open("w") as log:

        def say(text: str) -> None:
            print(text, flush=True)
            print(text, file=log, flush=True)

        say(f"****** Vivado v{VERSION} (64-bit)\n  **** {ORIGIN}")
        ending = os.environ.get("STAND_IN_ENDING", "ok")
        script = Path(arguments[arguments.index("-source") + 1]).read_text()
        return ENDINGS[ending](Run(script, say))


class Run:
    """The script of a run, as far as a stand-in has to understand it."""

    def __init__(self, script: str, say: Callable[[str], None]) -> None:
        self.script = script
        self.say = say
        self.part = _found(r"-part \"([^\"]+)\"", script)
        self.top = _found(r"-top \"([^\"]+)\"", script)

    def play(
        self,
        *,
        sentinel: bool = True,
        spoil: str | None = None,
        part: str | None = None,
        xml_lut: int | None = None,
    ) -> int:
        """Do what the script says, line by line."""
        stage = "synthesized"
        for line in self.script.splitlines():
            words = re.findall(r"[^\s\"]+|\"[^\"]*\"", line)
            words = [word.strip('"') for word in words]
            file = Path(words[words.index("-file") + 1].rstrip("}")) if "-file" in words else None
            if words[:2] == ["step", "read_verilog"] and not Path(words[2]).is_file():
                self.say(f"ERROR: [Common 17-55] no such file {words[2]}")
                return 1
            if words[:2] == ["step", "route_design"]:
                stage = "routed"
            if words[:1] == ["puts"] and len(words) > 1 and words[1].startswith("sweep:"):
                self.say(words[1])
            if words[:1] == ["catch"] and file is not None:
                if xml_lut is None:
                    self.say("ERROR: [Common 17-170] Unknown option '-format'")
                else:
                    file.write_text(_xml(self, stage, xml_lut))
            elif file is not None:
                file.parent.mkdir(exist_ok=True)
                text = REPORTS[words[1]](self, stage, part or self.part)
                file.write_text(text[: len(text) // 2] if spoil == words[1] else text)
            if words[1:2] == ["write_checkpoint"]:
                Path(words[-1]).write_text(ORIGIN)
        if sentinel:
            path = Path(_found(r"\[open \"([^\"]+)\" w\]", self.script))
            path.write_text(_found(r"puts -nonewline \$sentinel \"([^\"]+)\"", self.script))
        self.say("INFO: [Common 17-206] Exiting Vivado at Thu Jan  1 00:00:00 1970...")
        return 0

    def banner(self, title: str, part: str, stage: str) -> str:
        rule = "-" * 90
        fields = {
            "Tool Version": f"Vivado v.{VERSION} (lin64) Build 4029153 Fri Oct 13 20:13:54 MDT 2023",
            "Date": "Thu Jan  1 00:00:00 1970",
            "Host": ORIGIN,
            "Command": "report",
            "Design": self.top,
            "Device": part,
            "Speed File": "-2  PRODUCTION 1.12 2014-09-11",
            "Design State": stage.capitalize(),
        }
        lines = [f"| {name:<12} : {value}" for name, value in fields.items()]
        return "\n".join([ORIGIN, rule, *lines, rule, "", title, ""])


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, pattern
    return found[1]


# ---- reports --------------------------------------------------------------------------------------

Rows = list[tuple[str, ...]]


def _sites(stage: str) -> dict[str, Rows]:
    def row(name: str, used: int, kind: str) -> tuple[str, ...]:
        return (name, str(used), "0", "0", str(AVAILABLE[kind]), f"{100 * used / AVAILABLE[kind]:.2f}")

    header = ("Site Type", "Used", "Fixed", "Prohibited", "Available", "Util%")
    lut, ff = LUT[stage], FF[stage]
    star = "*" if stage == "synthesized" else ""
    return {
        "1. Slice Logic": [
            header,
            row(f"Slice LUTs{star}", lut, "LUT"),
            row("  LUT as Logic", lut, "LUT"),
            ("  LUT as Memory", "0", "0", "0", "174200", "0.00"),
            row("Slice Registers", ff, "FF"),
            row("  Register as Flip Flop", ff, "FF"),
            row("  Register as Latch", 0, "FF"),
        ],
        "1.1 Summary of Registers by Type": [
            ("Total", "Clock Enable", "Synchronous", "Asynchronous"),
            (str(ff), "Yes", "-", "-"),
        ],
        "2. Memory": [
            header,
            row("Block RAM Tile", 0, "RAMB36"),
            row("  RAMB36/FIFO*", 0, "RAMB36"),
            row("  RAMB18", 0, "RAMB18"),
        ],
        "3. DSP": [header, row("DSPs", DSP, "DSP"), ("  DSP48E1 only", str(DSP), "", "", "", "")],
        "4. Primitives": [
            ("Ref Name", "Used", "Functional Category"),
            ("FDRE", str(ff), "Flop & Latch"),
            ("LUT6", str(lut), "LUT"),
            ("CARRY4", "77", "CarryLogic"),
            ("DSP48E1", str(DSP), "Block Arithmetic"),
        ],
    }


def _table(rows: Rows, *, header: bool = True) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    border = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([border, *lines[:1], *([border] if header else []), *lines[1:], border])


def _document(banner: str, sections: dict[str, str]) -> str:
    contents = ["Table of Contents", "-----------------", *sections, ""]
    bodies = [f"{title}\n{'-' * len(title)}\n\n{text}\n\n" for title, text in sections.items()]
    return "\n".join([banner, *contents, *bodies])


def _utilization(run: Run, stage: str, part: str) -> str:
    banner = run.banner("Utilization Design Information", part, stage)
    return _document(banner, {title: _table(rows) for title, rows in _sites(stage).items()})


def _power(run: Run, stage: str, part: str) -> str:
    total, dynamic, static = POWER_W[stage]
    rows = [
        ("Total On-Chip Power (W)", f"{total:.3f}"),
        ("Dynamic (W)", f"{dynamic:.3f}"),
        ("Device Static (W)", f"{static:.3f}"),
    ]
    return _document(run.banner("Power Report", part, stage), {"1. Summary": _table(rows, header=False)})


#: Slacks of setup, hold and pulse width: worst, sum of the negative, failing endpoints, all of them.
_SLACKS = [
    name
    for worst, total in (("WNS", "TNS"), ("WHS", "THS"), ("WPWS", "TPWS"))
    for name in (f"{worst}(ns)", f"{total}(ns)", f"{total} Failing Endpoints", f"{total} Total Endpoints")
]


def _timing(run: Run, stage: str, part: str) -> str:
    # As timing reports of 7-series spell a part: without family prefix and speed grade.
    device = re.sub(r"^xc(\w+?t)(ff\w+)-\w+$", r"\1-\2", part)
    wns = WNS_NS[stage]
    setup = [f"{wns:.3f}", f"{min(wns, 0):.3f}", "1" if wns < 0 else "0", "4321"]
    values = [*setup, "0.050", "0.000", "0", "4321", "2.725", "0.000", "0", "4321"]
    met = "Timing constraints are not met." if wns < 0 else "All user specified timing constraints are met."
    text = run.banner("Timing Summary Report", device, stage)
    text += _headed("Design Timing Summary", f"{_aligned(['', *_SLACKS], ['', *values])}\n\n\n{met}\n")
    text += _headed("Intra Clock Table", _aligned(["Clock", *_SLACKS], ["sys_clk", *values]))
    for title, names in (
        ("Inter Clock Table", ["From Clock", "To Clock"]),
        ("Other Path Groups Table", ["Path Group", "From Clock", "To Clock"]),
    ):
        text += _headed(title, _aligned([*names, *_SLACKS[:8]]))
    return text


def _headed(title: str, body: str) -> str:
    rule = "-" * 96
    return f"\n{rule}\n| {title}\n| {'-' * len(title)}\n{rule}\n\n{body}\n\n"


def _aligned(names: list[str], values: list[str] | None = None) -> str:
    """Return a header, dashes below it, and `values`, whose numbers end where the dashes end."""
    header, dashes, row = "", "", values[0] if values else ""
    for at, name in enumerate(names):
        dashes = dashes.ljust(len(header)) + "-" * len(name)
        header += name.ljust(10) + "    "
        if values and at:
            row = row.ljust(len(dashes) - len(values[at])) + values[at]
    return "\n".join([header, dashes, row] if values else [header, dashes])


def _xml(run: Run, stage: str, lut: int) -> str:
    sections = []
    for title, rows in _sites(stage).items():
        lines = []
        for at, row in enumerate(rows):
            tag = "tablecell" if at else "tableheader"
            cells = [cell.replace(str(LUT[stage]), str(lut)).replace("&", "&amp;") for cell in row]
            if lut != LUT[stage] and cells[0].strip().startswith(("Slice LUTs", "LUT as Logic")):
                cells[-1] = f"{100 * lut / AVAILABLE['LUT']:.2f}"
            lines.append("<tablerow>" + "".join(f'<{tag} contents="{c}"/>' for c in cells) + "</tablerow>")
        name = title.split(" ", 1)[1]
        sections.append(f'<section title="{name}"><table>{"".join(lines)}</table></section>')
    return (
        f'<?xml version="1.0"?>\n<!-- {ORIGIN} -->\n<RptDoc title="Utilization Design Information"'
        f' partname="{run.part}" designstate="{stage.capitalize()}">{"".join(sections)}</RptDoc>\n'
    )


REPORTS: dict[str, Callable[[Run, str, str], str]] = {
    "report_utilization": _utilization,
    "report_timing_summary": _timing,
    "report_power": _power,
}


# ---- endings --------------------------------------------------------------------------------------


def _says(*lines: str, code: int) -> Callable[[Run], int]:
    def play(run: Run) -> int:
        for line in lines:
            run.say(line)
        return code

    return play


def _licence_once(run: Run) -> int:
    """No licence at the first start, one at the next."""
    started_before = Path(os.environ["STAND_IN_FOLDER"]) / "started before"
    if not started_before.exists():
        started_before.touch()
        return _says(LICENCE, code=1)(run)
    run.say(LICENCE.splitlines()[0])
    run.say("INFO: [Common 17-349] Got license for feature 'Synthesis' and/or device 'xc7vx690t'")
    return run.play()


def _error_and_yet_all_there(run: Run) -> int:
    run.say(DESIGN_ERROR)
    return run.play()


def _hang(run: Run) -> int:
    run.say("Starting synth_design")
    time.sleep(600)
    return 0


def _daemon(run: Run) -> int:
    """Leave a process behind that has its own session, holds stdout open and does not end when asked."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path("daemon").touch()
        time.sleep(600)
    while not Path("daemon").exists():
        time.sleep(0.01)
    return run.play()


def _kill_itself(run: Run) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _memory(run: Run) -> int:
    held = []
    for _ in range(64):
        held.append(b"x" * (16 << 20))
        time.sleep(0.02)
    time.sleep(600)
    return len(held)


ENDINGS: dict[str, Callable[[Run], int]] = {
    "ok": Run.play,
    "ok, xml": lambda run: run.play(xml_lut=LUT["synthesized"]),
    "xml disagrees": lambda run: run.play(xml_lut=LUT["synthesized"] + 1),
    "error, exit 0": _says(DESIGN_ERROR, code=0),
    "error, all there": _error_and_yet_all_there,
    "error, exit 1": _says(DESIGN_ERROR, "ERROR: [Common 17-69] Command failed: failed", code=1),
    "exit 12": _says("Starting synth_design", code=12),
    "exit 12, all there": lambda run: run.play() or 12,
    "no part": _says("ERROR: [Coretcl 2-106] Specified part could not be found.", code=1),
    "no licence": _says(LICENCE, code=1),
    "licence at the second start": _licence_once,
    "hang": _hang,
    "daemon": _daemon,
    "killed": _kill_itself,
    "killed, exit 137": _says(WRAPPER, code=137),
    "killed, exit 1": _says(WRAPPER, code=1),
    "crash": _says("Abnormal program termination (11)", code=1),
    "memory": _memory,
    "nothing": _says("INFO: [Common 17-206] Exiting Vivado", code=0),
    "no sentinel": lambda run: run.play(sentinel=False),
    "cut utilization": lambda run: run.play(spoil="report_utilization"),
    "cut timing": lambda run: run.play(spoil="report_timing_summary"),
    "cut power": lambda run: run.play(spoil="report_power"),
    "another part": lambda run: run.play(part="xc7vx485tffg1157-1"),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
