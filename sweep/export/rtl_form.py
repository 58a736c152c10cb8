"""The form `rtl`: pipelined Verilog with the ports of the card, its test bench and scripts.

The stages are those that were costed and synthesized. Around them lies a top module that only renames
wires: whatever bits a student looks at, it takes all 252 regions of ten bits and gives a score of sixteen.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from alkaid.types import CombLogic
from numpy.typing import NDArray

from objectives.costs.adder_graph import predict
from objectives.costs.rtl import Rtl, write_rtl
from objectives.costs.score_port import (
    REGION_BITS,
    REGIONS,
    SCORE_FRACTION,
    SCORE_WIDTH,
    raw_scores,
    result_port,
)
from sweep.errors import ExportError
from sweep.export.form import Answer, Form, FormName, Source
from sweep.export.tools import Verilator, compiler, copy_files, run, version_of
from sweep.export.vectors import Vectors
from sweep.synthesis.tcl import quote
from sweep.synthesis.vivado import Vivado

TOP = "cicada_student"
BENCH = "testbench"
VECTORS = "vectors.txt"
_IN, _OUT = REGIONS * REGION_BITS, SCORE_WIDTH


class RtlForm(Form):
    """Verilog of the adder graph, pipelined for the study's clock."""

    name: ClassVar[FormName] = "rtl"

    def write(self, source: Source, folder: Path) -> None:
        hardware = source.target.hardware
        design = write_rtl(source.folder, hardware, folder)
        # What alkaid adds for its own simulation, with dates in it.
        for name in ("sim", "model"):
            shutil.rmtree(folder / name)
        for name in ("metadata.json", "rtl.json", "build_vivado_prj.tcl", "build_quartus_prj.tcl"):
            (folder / name).unlink()
        (folder / f"src/{design.top}_wrapper.v").unlink()
        top = Path(f"src/{TOP}.v")
        (folder / top).write_text(_top_module(source.logic, design.top))
        if not _live(source.logic):
            # A constant has no ports inside: nothing but the top module is left of it.
            for inner in design.sources:
                (folder / inner).unlink()
            shutil.rmtree(folder / "src/static", ignore_errors=True)
        sources = (*(design.sources if _live(source.logic) else ()), top)
        exported = Rtl(TOP, sources, design.constraints, design.latency_cycles, design.register_bits)
        exported.save(folder)
        vivado = Vivado(source.target.model_copy(update={"tool": "vivado", "stage": "routed"}))
        (folder / "vivado.tcl").write_text(vivado.script(exported, "finished"))
        (folder / "quartus.tcl").write_text("\n".join(_quartus(exported)) + "\n")
        (folder / f"{BENCH}.v").write_text(_bench(design.latency_cycles, hardware.clock_ns))
        (folder / VECTORS).write_text(vector_lines(*source.bench()))

    def answer(self, folder: Path, scheme: str, vectors: Vectors, scratch: Path) -> Answer:
        verilator = Verilator(scratch)
        rtl = Rtl.load(folder)
        copy_files(folder / "src", scratch / "src")
        for name in (f"{BENCH}.v", VECTORS):
            shutil.copyfile(folder / name, scratch / name)
        sources = (f"{BENCH}.v", *(path.as_posix() for path in rtl.sources))
        program = verilator.build(sources, BENCH)
        # As a user would: the vectors that came with it, which it checks itself.
        run((f"./{program}",), scratch, "test bench")
        zeros = np.zeros(len(vectors), np.uint16)
        (scratch / "all.txt").write_text(vector_lines(vectors.regions, zeros))
        run((f"./{program}", "+vectors=all.txt", "+scores=scores.txt"), scratch, "simulation")
        scores = _read_scores(scratch / "scores.txt", len(vectors))
        return Answer(scores, {"verilator": verilator.version(), "c++": version_of(compiler())})


def vector_lines(regions: NDArray[np.uint16], scores: NDArray[np.uint16]) -> str:
    """Return a line for each event, in hex: its bits, region 0 being the lowest ten, and its raw score."""
    bits = (regions[:, ::-1, None] >> np.arange(REGION_BITS - 1, -1, -1)) & 1
    packed = np.packbits(bits.astype(np.uint8).reshape(len(regions), _IN), axis=1)
    rows = zip(packed, scores, strict=True)
    return "".join(f"{row.tobytes().hex()} {score:04x}\n" for row, score in rows)


def _read_scores(file: Path, events: int) -> NDArray[np.uint16]:
    try:
        scores = np.array([int(line, 16) for line in file.read_text().split()], np.uint16)
    except (OSError, ValueError) as error:
        raise ExportError(f"simulation: its scores cannot be read ({error})") from error
    if len(scores) != events:
        raise ExportError(f"simulation: {len(scores)} scores came out for {events} events")
    return scores


# ---- Verilog -------------------------------------------------------------------------------------


def _live(logic: CombLogic) -> int:
    """Return how many bits of the regions the design looks at."""
    return int(np.sum(logic.inp_kifs)) if result_port(logic).width else 0


def _top_module(logic: CombLogic, inner: str) -> str:
    port = result_port(logic)
    head = [
        "`timescale 1 ns / 1 ps",
        "",
        f"// Region r = 14 * phi + eta, in counts of 0.5 GeV: model_inp[{REGION_BITS} * r +: {REGION_BITS}].",
        f"// The score is model_out / {2**SCORE_FRACTION}.",
        f"module {TOP} (",
        "    input wire clk,",
        "    // verilator lint_off UNUSEDSIGNAL",
        f"    input wire [{_IN - 1}:0] model_inp,",
        "    // verilator lint_on UNUSEDSIGNAL",
    ]
    if not _live(logic):
        score = int(raw_scores(predict(logic, np.zeros((1, REGIONS), np.uint16)))[0])
        body = [
            f"    output reg [{_OUT - 1}:0] model_out",
            ");",
            "",
            f"    always @(posedge clk) model_out <= {_OUT}'d{score};",
        ]
    else:
        shift = SCORE_FRACTION - port.fraction
        above = SCORE_WIDTH - shift - port.width
        pieces = [f"{above}'d0"] * (above > 0) + ["result"] + [f"{shift}'d0"] * (shift > 0)
        used = list(_used_bits(logic))
        body = [
            f"    output wire [{_OUT - 1}:0] model_out",
            ");",
            "",
            f"    wire [{_live(logic) - 1}:0] used;",
            f"    wire [{port.width - 1}:0] result;",
            "",
            *used,
            f"    assign model_out = {{{', '.join(pieces)}}};",
            "",
            f"    {inner} student (.clk(clk), .model_inp(used), .model_out(result));",
        ]
    return "\n".join([*head, *body, "", "endmodule", ""])


def _used_bits(logic: CombLogic) -> Iterator[str]:
    """Yield what connects the ports that alkaid left, the regions' live bits one after the other."""
    at = 0
    for region, (signed, integer, fraction) in enumerate(np.transpose(logic.inp_kifs)):
        width = int(signed + integer + fraction)
        if width <= 0:
            continue
        low = REGION_BITS * region - int(fraction)
        if signed or fraction > 0 or integer > REGION_BITS:
            raise ExportError(f"rtl: region {region} goes in with bits that a region of the card has not")
        yield f"    assign used[{at + width - 1}:{at}] = model_inp[{low + width - 1}:{low}];"
        at += width


def _bench(latency: int, clock_ns: float) -> str:
    return f"""\
`timescale 1 ns / 1 ps

// Gives the design an event in each clock cycle and compares what comes out {latency} cycles after it was
// taken in. Ends with PASS, or with FAIL and an exit code that is not 0.
//   +vectors=FILE  lines of regions and expected score, in hex ({VECTORS})
//   +scores=FILE   writes the scores there instead, and compares nothing
module {BENCH};
    localparam integer LATENCY = {latency};

    reg clk = 1'b0;
    reg [{_IN - 1}:0] regions = {_IN}'d0;
    wire [{_OUT - 1}:0] score;
    reg [{_OUT - 1}:0] expected [0:LATENCY + 1];
    reg [8 * 4096:1] vectors_name, scores_name;
    reg writes;
    integer vectors, scores, found, taken, seen, wrong, step;

    {TOP} dut (.clk(clk), .model_inp(regions), .model_out(score));

    always #{clock_ns / 2:g} clk = ~clk;

    initial begin
        if (!$value$plusargs("vectors=%s", vectors_name)) vectors_name = "{VECTORS}";
        vectors = $fopen(vectors_name, "r");
        if (vectors == 0) $fatal(1, "FAIL: the vectors cannot be read");
        writes = $value$plusargs("scores=%s", scores_name) != 0;
        scores = 0;
        if (writes) scores = $fopen(scores_name, "w");
        if (writes && scores == 0) $fatal(1, "FAIL: the scores cannot be written");
        taken = 0;
        seen = 0;
        wrong = 0;
        step = 0;
        found = 2;
        while (found == 2 || seen < taken) begin
            @(negedge clk);
            // The event given at the negative edge before last was taken in at the positive one after it.
            if (step > LATENCY && seen < taken) begin
                if (writes) $fdisplay(scores, "%h", score);
                else if (score !== expected[seen % (LATENCY + 2)]) begin
                    if (wrong < 10)
                        $display("event %0d: expected %h, found %h",
                                 seen, expected[seen % (LATENCY + 2)], score);
                    wrong = wrong + 1;
                end
                seen = seen + 1;
            end
            if (found == 2) begin
                found = $fscanf(vectors, "%h %h", regions, expected[taken % (LATENCY + 2)]);
                if (found == 2) taken = taken + 1;
            end
            step = step + 1;
        end
        if (writes) $fclose(scores);
        if (wrong != 0) $fatal(1, "FAIL: %0d of %0d events differ", wrong, seen);
        if (seen == 0) $fatal(1, "FAIL: there is no event in the vectors");
        $display("PASS: %0d events", seen);
        $finish;
    end
endmodule
"""


def _quartus(rtl: Rtl) -> Iterator[str]:
    """Yield a script for Quartus; family and device are given to it, for the study's part is not Intel's."""
    yield '# quartus_sh -t quartus.tcl "Stratix 10" 1SG280HN2F43E2VG'
    yield "package require ::quartus::project"
    yield "load_package flow"
    yield 'if {[llength $argv] != 2} { error "give the device\'s family and name" }'
    yield f"project_new {quote(TOP)} -overwrite"
    yield "set_global_assignment -name FAMILY [lindex $argv 0]"
    yield "set_global_assignment -name DEVICE [lindex $argv 1]"
    yield f"set_global_assignment -name TOP_LEVEL_ENTITY {quote(TOP)}"
    for source in rtl.sources:
        yield f"set_global_assignment -name VERILOG_FILE {quote(source.as_posix())}"
    yield f"set_global_assignment -name SDC_FILE {quote(rtl.constraints.with_suffix('.sdc').as_posix())}"
    # Out of context: the regions do not come from pins.
    yield "set_instance_assignment -name VIRTUAL_PIN ON -to model_inp"
    yield "set_instance_assignment -name VIRTUAL_PIN ON -to model_out"
    yield "execute_flow -compile"
    yield "project_close"
