"""Why a run of Vivado or Vitis HLS failed, from its log and its ending, and the lines that show it.

Outcomes are tried in this order, for what comes first explains what comes later: without a licence
the design is refused, and a killed tool leaves errors of all kinds.

1. licence missing: messages 17-345 and 17-348, or the sentence that says so; unless the licence of
   the same name was got afterwards (17-349)
2. timed out, killed: by a limit or signal, or as the log says of the tool or one of its helpers
3. design failed: an error of the parts of the tools that work on the design
4. tool failed: all else
"""

import re
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from sweep.synthesis.process import Ending, clean
from sweep.synthesis.result import Outcome, Verdict

#: Lines that a verdict shows.
MOST_LINES = 20

#: Bytes of a line that are read; the rest of a longer one is passed over.
_LONGEST_READ = 8192

#: The loader's complaint about LD_PRELOAD, which clusters set, is no error of the tool.
_ERROR = re.compile(
    r"ERROR:(?! ld\.so:)\s*(?:\[(?P<family>[A-Za-z_+]+(?: [A-Z]+)?)[ -](?P<number>[\d-]+)\])?"
)

_LICENCE_FAILED = re.compile(
    r"\[\w+ 17-34[58]\]|valid license was not found|[Ff]ailed to get (?:a|the) license"
    r"|[Ll]icense check-?out (?:failed|unsuccessful)|FL[Ee][Xx](?:net|NET|lm) (?:[Ll]icensing )?error"
)
_LICENCE_GOT = re.compile(r"\[\w+ 17-349\]|^Feature available: ")
_FEATURE = re.compile(r"[Ff]eature:? '([^']+)'")

#: The wrapper script, the tool's own last words, and the compiler of Vitis HLS when memory runs out.
_KILLED = re.compile(
    r"rdiArgs\.sh: line \d+:\s+\d+ (?:Killed|Terminated|Aborted|Segmentation fault|Bus error)"
    r"|[Aa]bnormal program termination|An unexpected error has occurred \(\d+\)"
    r"|^segfault in .* -exec |unable to execute command: (?:Killed|Terminated)"
    r"|std::bad_alloc|Cannot allocate memory|^ERROR: .*\b[Oo]ut [Oo]f [Mm]emory\b"
)

#: Parts of Vivado and of Vitis HLS that read, check, map, place and route a design. `Common`,
#: `Coretcl`, `Project`, `Vivado` and `IMPL` are about commands, parts, files and the installation.
_DESIGN_FAMILIES = frozenset(
    {"Synth", "Opt", "Place", "Physopt", "Route", "DRC", "Vivado_Tcl"}
    | {"HLS", "SYN", "SYNCHK", "XFORM", "SCHED", "BIND", "RTGEN", "SIM", "COSIM"}
)
#: Errors of those that are not the design's: an unknown option, an exception, a part not installed.
_NOT_THE_DESIGN = frozenset({("HLS", "200-101"), ("HLS", "200-103"), ("HLS", "200-1023")})


def classify(log: Iterable[str], ending: Ending) -> Verdict:
    """Return why a run failed that is known to have failed.

    The evidence is the lines that say so, or the last lines of the log where none does.
    `log` is read in one pass; no more than a few lines of it are kept.
    """
    licence: dict[str, _Lines] = {}
    killed, design, errors = _Lines(), _Lines(), _Lines()
    last: deque[str] = deque(maxlen=3)
    for line in log:
        if line.strip():
            last.append(line)
        if _LICENCE_GOT.search(line):
            _forget(licence, line)
        elif _LICENCE_FAILED.search(line):
            if len(licence) < MOST_LINES:
                licence.setdefault(_feature(line), _Lines()).add(line)
        elif _KILLED.search(line):
            killed.add(line)
        elif (error := _ERROR.match(line)) is not None:
            (design if _is_of_design(error) else errors).add(line)
    how = _of_ending(ending)
    if licence:
        return verdict(Outcome.LICENCE_MISSING, [line for lines in licence.values() for line in lines])
    if ending.reason == "timed out":
        return verdict(Outcome.TIMED_OUT, [how, *last])
    if killed or ending.reason != "exited" or _signal(ending.exit_code) is not None:
        return verdict(Outcome.KILLED, [how, *killed, *last])
    if design:
        return verdict(Outcome.DESIGN_FAILED, [*design, *errors])
    return verdict(Outcome.TOOL_FAILED, [*errors, how, *([] if errors else last)])


def verdict(outcome: Outcome, lines: Iterable[str]) -> Verdict:
    """Return the verdict on a failed run: its evidence as it can be shown, each line once."""
    evidence = dict.fromkeys(filter(None, map(clean, lines)))
    return Verdict(outcome, tuple(evidence)[:MOST_LINES])


def read_lines(*logs: Path) -> Iterator[str]:
    """Yield the lines of one log after the other; a log that is not there has none.

    What no line can be as long as is left out, so that a log of any size and content can be read.
    """
    for log in logs:
        try:
            file = log.open("rb")
        except OSError:
            continue
        with file:
            while line := file.readline(_LONGEST_READ):
                yield line.decode(errors="replace").rstrip("\r\n")
                while line and not line.endswith(b"\n"):
                    line = file.readline(_LONGEST_READ)


def has_errors(lines: Iterable[str]) -> bool:
    """Return whether a line of a log reports an error."""
    return any(_ERROR.match(line) for line in lines)


class _Lines(list[str]):
    """The first lines of a kind."""

    def add(self, line: str) -> None:
        if len(self) < MOST_LINES:
            self.append(line)


def _is_of_design(error: re.Match[str]) -> bool:
    family = (error["family"] or "").split()[0:1]
    return (
        bool(family) and family[0] in _DESIGN_FAMILIES and (family[0], error["number"]) not in _NOT_THE_DESIGN
    )


def _feature(line: str) -> str:
    feature = _FEATURE.search(line)
    return feature[1] if feature else ""


def _forget(licence: dict[str, _Lines], line: str) -> None:
    """Forget failures to get a licence that has been got now."""
    licence.pop("", None)
    if feature := _feature(line):
        licence.pop(feature, None)


def _signal(exit_code: int | None) -> str | None:
    """Return the signal that an exit code stands for, be it reported by a shell (128 and more)."""
    if exit_code is None:
        return None
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def _of_ending(ending: Ending) -> str:
    if ending.reason == "exited":
        name = _signal(ending.exit_code)
        return f"exit code {ending.exit_code}" + (f" ({name})" if name else "")
    if ending.reason == "out of memory":
        return f"memory limit reached with {ending.peak_memory_bytes / 2**30:.2f} GiB"
    return f"{ending.reason} after {ending.seconds:.0f} s"
