"""Why a run failed, from logs whose lines are as Vivado and Vitis HLS write them."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.synthesis.evidence import MOST_LINES, classify, has_errors, read_lines
from sweep.synthesis.process import LONGEST_LINE, Ending
from sweep.synthesis.result import Outcome

FAILED = Ending("exited", 1, 10.0)
CLEAN = Ending("exited", 0, 10.0)

INFO = "INFO: [Synth 8-7079] Multithreading enabled for synth_design using a maximum of 2 processes."
EXITING = "INFO: [Common 17-206] Exiting Vivado at Thu Jan  1 00:00:00 1970..."
NO_LICENCE = (
    "WARNING: [Common 17-348] Failed to get the license for feature 'Synthesis' and/or device 'xcku060'"
)
LICENCE_ERROR = (
    "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xcku060'."
)
LICENCE_GOT = "INFO: [Common 17-349] Got license for feature 'Synthesis' and/or device 'xcku060'"
OTHER_LICENCE = (
    "ERROR: [Common 17-345] A valid license was not found for feature 'Implementation' and/or device 'x'."
)
WRAPPER = (
    '/tools/Xilinx/Vivado/2020.2/bin/rdiArgs.sh: line 309: 3801495 Killed                  "$RDI_PROG" "$@"'
)
DESIGN = "ERROR: [Synth 8-439] module 'sync_event' not found [axi_jesd204_rx.v:127]"
COMMON = "ERROR: [Common 17-69] Command failed: Synthesis failed - please see the console or run log file"


def outcome(*lines: str, ending: Ending = FAILED) -> Outcome:
    return classify(lines, ending).outcome


# ---- one sign -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        NO_LICENCE,
        LICENCE_ERROR,
        "ERROR: Vivado Design Suite cannot be launched because a valid license was not found.",
        "WARNING: [VPL 17-301] Failed to get a license for 'ap_opencl'. Explanation: could not be found.",
        "ERROR: License check-out failed for 'vivado_implementation'. Error code: -15",
        "FLEXnet Licensing error:-15,570.",
    ],
)
def test_licence_missing(line: str) -> None:
    verdict = classify([INFO, line, EXITING], FAILED)
    assert verdict.outcome is Outcome.LICENCE_MISSING
    assert verdict.evidence == (line,)


def test_a_licence_that_was_got_in_the_end() -> None:
    assert outcome(NO_LICENCE, LICENCE_GOT, DESIGN) is Outcome.DESIGN_FAILED
    assert outcome(NO_LICENCE, LICENCE_GOT, COMMON) is Outcome.TOOL_FAILED
    optional = "WARNING: [VPL 17-301] Failed to get a license for 'ap_opencl'."
    assert outcome(optional, "Feature available: ap_sdsoc") is Outcome.TOOL_FAILED
    # Another one, or lost again.
    assert outcome(NO_LICENCE, LICENCE_GOT, OTHER_LICENCE) is Outcome.LICENCE_MISSING
    assert outcome(OTHER_LICENCE, LICENCE_GOT) is Outcome.LICENCE_MISSING
    assert outcome(LICENCE_GOT, NO_LICENCE) is Outcome.LICENCE_MISSING


@pytest.mark.parametrize(
    "line",
    [
        WRAPPER,
        '/opt/Xilinx/Vivado/2022.2/bin/rdiArgs.sh: line 312:  2247 Aborted  (core dumped) "$RDI_PROG" "$@"',
        "Abnormal program termination (11)",
        "# An unexpected error has occurred (6)",
        "segfault in /opt/vivado -exec vivado -notrace -mode batch -source task_worker.tcl, exiting",
        "clang: error: unable to execute command: Killed",
        "ERROR: [HLS 200-103] Unexpected exception occurred: Out of Memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_killed_as_the_log_says(line: str) -> None:
    verdict = classify([INFO, line, EXITING], FAILED)
    assert verdict.outcome is Outcome.KILLED
    assert line in verdict.evidence


@pytest.mark.parametrize(
    ("ending", "expected", "said"),
    [
        (Ending("exited", -9, 1.0), Outcome.KILLED, "exit code -9 (SIGKILL)"),
        (Ending("exited", -11, 1.0), Outcome.KILLED, "exit code -11 (SIGSEGV)"),
        (Ending("exited", 137, 1.0), Outcome.KILLED, "exit code 137 (SIGKILL)"),
        (Ending("exited", 143, 1.0), Outcome.KILLED, "exit code 143 (SIGTERM)"),
        (Ending("out of memory", None, 1.0, 3 << 30), Outcome.KILLED, "memory limit reached with 3.00 GiB"),
        (Ending("stopped", None, 7.0), Outcome.KILLED, "stopped after 7 s"),
        (Ending("timed out", None, 60.0), Outcome.TIMED_OUT, "timed out after 60 s"),
        (Ending("exited", 12, 1.0), Outcome.TOOL_FAILED, "exit code 12"),
        (Ending("exited", 255, 1.0), Outcome.TOOL_FAILED, "exit code 255"),
        (Ending("exited", 0, 1.0), Outcome.TOOL_FAILED, "exit code 0"),
    ],
)
def test_endings(ending: Ending, expected: Outcome, said: str) -> None:
    verdict = classify([INFO, "Starting synth_design"], ending)
    assert (verdict.outcome, verdict.evidence[0]) == (expected, said)
    assert "Starting synth_design" in verdict.evidence  # where it stopped


@pytest.mark.parametrize(
    "line",
    [
        DESIGN,
        "ERROR: [Synth 8-5834] Design needs 17067 RAMB18 which is more than device capacity of 1590",
        "ERROR: [DRC UTLZ-1] Resource utilization: LUT as Logic over-utilized in Top Level Design",
        "ERROR: [DRC 23-20] Rule violation (INBB-3) Black Box Instances",
        "ERROR: [Place 30-640] Place Check : This design requires more RAMB36 cells than are available",
        "ERROR: [Route 35-7] Design has 12 unroutable pins",
        "ERROR: [Opt 31-67] Problem: A LUT2 cell in the design is missing a connection",
        "ERROR: [Vivado_Tcl 4-23] Error(s) found during DRC. Placer not run.",
        "ERROR: [HLS 200-70] Pre-synthesis failed.",
        "ERROR: [HLS 214-298] Struct type with pointer type inside on top function argument",
        "ERROR: [HLS 207-3776] use of undeclared identifier 'x'",
        "ERROR: [SYNCHK 200-61] unsupported memory access on variable",
        "ERROR: [XFORM 203-504] Stop unrolling loop because it may cause large runtime",
        "ERROR: [SIM 211-100] 'csim_design' failed: compilation error(s).",
        "ERROR: [COSIM 212-4] *** C/RTL co-simulation finished: FAIL ***",
    ],
)
def test_design_failed(line: str) -> None:
    verdict = classify([INFO, line, COMMON, EXITING], FAILED)
    assert (verdict.outcome, verdict.evidence) == (Outcome.DESIGN_FAILED, (line, COMMON))
    assert outcome(line, ending=CLEAN) is Outcome.DESIGN_FAILED


@pytest.mark.parametrize(
    "line",
    [
        COMMON,
        "ERROR: [Common 17-69] Command failed: Part 'xc7k410tfbg676-1' not found",
        "ERROR: [Common 17-356] Failed to install all user apps",
        "ERROR: [Coretcl 2-106] Specified part could not be found.",
        "ERROR: [HLS 200-1023] Part 'xck26-sfvc784-2LV-c' is not installed.",
        "ERROR: [HLS 200-101] config_array_partition: Unknown option '-maximum_size'",
        "ERROR: [IMPL 213-28] Failed to generate IP.",
        "ERROR: [USF-XSim-62] 'compile' step failed with error(s)",
        "ERROR: 213-28 Failed to generate IP.",
        "ERROR: synth_design: invalid command name",
        "ERROR:",
    ],
)
def test_tool_failed(line: str) -> None:
    verdict = classify([INFO, line, EXITING], FAILED)
    assert (verdict.outcome, verdict.evidence) == (Outcome.TOOL_FAILED, (line, "exit code 1"))
    assert has_errors([line])


def test_what_is_no_error() -> None:
    for line in [
        INFO,
        EXITING,
        "CRITICAL WARNING: [Vivado 12-1790] Evaluation License Warning",
        "3 Infos, 1 Warnings, 0 Critical Warnings and 1 Errors encountered.",
        " ERROR: [Synth 8-439] in a message that another one quotes",
        "ERROR: ld.so: object 'libtcmalloc.so.4' from LD_PRELOAD cannot be preloaded: ignored.",
    ]:
        assert not has_errors([line])
        assert outcome(line) is Outcome.TOOL_FAILED


# ---- several signs --------------------------------------------------------------------------------


def test_precedence() -> None:
    timed_out = Ending("timed out", None, 60.0)
    memory = Ending("out of memory", None, 60.0)
    everything = [COMMON, DESIGN, WRAPPER, LICENCE_ERROR]
    for ending in (FAILED, CLEAN, timed_out, memory, Ending("exited", -9, 1.0)):
        assert outcome(*everything, ending=ending) is Outcome.LICENCE_MISSING
        assert outcome(*reversed(everything), ending=ending) is Outcome.LICENCE_MISSING
    assert outcome(COMMON, DESIGN, WRAPPER, ending=timed_out) is Outcome.TIMED_OUT
    assert outcome(COMMON, DESIGN, ending=memory) is Outcome.KILLED
    assert outcome(COMMON, DESIGN, ending=Ending("exited", 137, 1.0)) is Outcome.KILLED
    assert outcome(COMMON, DESIGN, WRAPPER) is Outcome.KILLED
    assert outcome(COMMON, DESIGN) is Outcome.DESIGN_FAILED
    assert outcome(COMMON) is Outcome.TOOL_FAILED
    assert outcome() is Outcome.TOOL_FAILED


# ---- bounds ---------------------------------------------------------------------------------------


@given(st.lists(st.text() | st.sampled_from([DESIGN, COMMON, WRAPPER, NO_LICENCE, LICENCE_GOT]), max_size=60))
def test_evidence_can_be_shown(lines: list[str]) -> None:
    verdict = classify(lines, FAILED)
    assert 0 < len(verdict.evidence) <= MOST_LINES
    assert len(set(verdict.evidence)) == len(verdict.evidence)
    assert all(0 < len(line) <= LONGEST_LINE and len(line.splitlines()) == 1 for line in verdict.evidence)


def test_huge_logs_are_streamed() -> None:
    def log() -> Iterator[str]:
        for number in range(20_000):
            yield f"ERROR: [Synth 8-{number}] {'x' * 400}"
            yield f"WARNING: [Common 17-348] Failed to get the license for feature 'f{number}' {'x' * 400}"
            yield f"Abnormal program termination ({number})"

    tracemalloc.start()
    verdict = classify(log(), FAILED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.outcome is Outcome.LICENCE_MISSING
    assert len(verdict.evidence) == MOST_LINES
    assert peak < 2**20


def test_reading_logs(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    # The rest of a long line is not taken for a line.
    first.write_bytes(b"one\r\n" + b"x" * 8191 + b"ERROR: not at the start\n\xff\xfe\0\nlast")
    second.write_bytes(b"")
    lines = list(read_lines(first, tmp_path / "missing", tmp_path, second, first))
    assert [line[:5] for line in lines[:4]] == ["one", "xxxxx", "\ufffd\ufffd\0", "last"]
    assert len(lines) == 8
    assert not has_errors(lines)
