"""Reports with known figures, and ways in which a file on a disk can be damaged.

The reports under `reports/` were written for these tests, one for each layout. Real ones are used
too where there are some: a folder named by SWEEP_SHARED (`../shared` if unset) that has
`vivado-reports/manifest.tsv`.
"""

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

from sweep.errors import ReportError
from sweep.synthesis.reports.csynth import CSynthesis, parse_csynth, parse_csynth_xml
from sweep.synthesis.reports.power import Power, parse_power
from sweep.synthesis.reports.timing import Timing, parse_timing
from sweep.synthesis.reports.utilization import Utilization, parse_utilization, parse_utilization_xml

Figures = Utilization | Timing | Power | CSynthesis
Parser = Callable[[str, str], Figures]

OWN = Path(__file__).parent / "reports"
_PROJECT = Path(__file__).parents[3]
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_KINDS: dict[str, Parser] = {
    "utilization": parse_utilization,
    "utilization.xml": parse_utilization_xml,
    "timing_summary": parse_timing,
    "timing": parse_timing,
    "power": parse_power,
    "csynth": parse_csynth,
    "csynth.rpt(estimate)": parse_csynth,
    "csynth.xml": parse_csynth_xml,
    "csynth.xml(estimate)": parse_csynth_xml,
}


@dataclass(frozen=True)
class Sample:
    """A report as text, and the function that reads it."""

    name: str
    text: str
    parse: Parser

    def figures(self) -> Figures:
        """Return what the undamaged report says."""
        return self.parse(self.text, self.name)

    def important(self) -> list[int]:
        """Return the lines, from 0, without which the report is refused or says something else."""
        lines = self.text.split("\n")
        figures = self.figures()
        found = []
        for at in range(len(lines)):
            try:
                same = self.parse("\n".join(lines[:at] + lines[at + 1 :]), self.name) == figures
            except ReportError:
                same = False
            if not same:
                found.append(at)
        return found


def shared_folder() -> Path:
    """Return where real reports would be; it need not exist."""
    return Path(os.environ.get("SWEEP_SHARED", _PROJECT.parent / "shared")) / "vivado-reports"


def manifest() -> list[dict[str, str]]:
    """Return one entry for each real report, with its figures; none where there are no real reports."""
    path = shared_folder() / "manifest.tsv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["kind"] in _KINDS]


def own() -> list[Sample]:
    """Return the reports written for these tests."""
    samples = []
    for path in sorted(OWN.iterdir()):
        kind = path.name.split("_", 1)[0] + (".xml" if path.suffix == ".xml" else "")
        samples.append(Sample(path.name, path.read_text("utf-8"), _KINDS[kind]))
    return samples


def real() -> list[Sample]:
    """Return the real reports, if there are any."""
    folder = shared_folder()
    return [
        Sample(row["file"], (folder / row["file"]).read_text("utf-8"), _KINDS[row["kind"]])
        for row in manifest()
    ]


def differences(before: Figures, after: Figures) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ, with both values."""
    pairs = {
        field.name: (getattr(before, field.name), getattr(after, field.name)) for field in fields(before)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def wrongs(before: Figures, after: Figures, damaged: str) -> list[str]:
    """Return what is wrong with figures read from a damaged report: nothing may be made up.

    A figure can differ only if it stands in the text; none may become 0. A figure that became None
    is one that the report no longer states.
    """
    found = []
    numbers: set[float] | None = None
    for name, (old, new) in differences(before, after).items():
        if new is None:
            continue
        if isinstance(new, bool):
            # A verdict is a line of its own, so only another line of the kind can change it.
            found.append(f"{name}: {old} became {new}")
        elif isinstance(new, str):
            if new not in damaged:
                found.append(f"{name}: {new!r} is not in the text")
        elif new == 0:
            found.append(f"{name}: {old} became 0")
        else:
            if numbers is None:
                numbers = {float(number) for number in _NUMBER.findall(damaged)}
            # Hierarchical reports give block RAMs in two columns, so tiles are a sum.
            whole = name == "bram" and any(new - half / 2 in numbers for half in numbers)
            if float(new) not in numbers and not whole:
                found.append(f"{name}: {new} is not in the text")
    return found


Damage = Callable[[Random, list[str], int], str]


def _cut_lines(_: Random, lines: list[str], at: int) -> str:
    del lines[at:]
    return f"cut at line {at + 1}"


def _cut_within(random: Random, lines: list[str], at: int) -> str:
    place = random.randint(0, len(lines[at]))
    lines[at:] = [lines[at][:place]]
    return f"cut at line {at + 1}, character {place}"


def _delete_lines(random: Random, lines: list[str], at: int) -> str:
    count = random.choice((1, 1, 1, 2, 5, 20))
    del lines[at : at + count]
    return f"{count} lines deleted from line {at + 1}"


def _duplicate_line(_: Random, lines: list[str], at: int) -> str:
    lines.insert(at, lines[at])
    return f"line {at + 1} duplicated"


def _swap_lines(random: Random, lines: list[str], at: int) -> str:
    other = random.choice((min(at + 1, len(lines) - 1), random.randrange(len(lines))))
    lines[at], lines[other] = lines[other], lines[at]
    return f"lines {at + 1} and {other + 1} swapped"


def _change_digit(random: Random, lines: list[str], at: int) -> str:
    places = [place for place, letter in enumerate(lines[at]) if letter in "0123456789"]
    if not places:
        return _change_letter(random, lines, at)
    place = random.choice(places)
    digit = random.choice([digit for digit in "0123456789" if digit != lines[at][place]])
    lines[at] = lines[at][:place] + digit + lines[at][place + 1 :]
    return f"line {at + 1}, character {place} became {digit}"


def _change_letter(random: Random, lines: list[str], at: int) -> str:
    place = random.randint(0, len(lines[at]))
    new = random.choice(("", *'|+-. \t<>&"0519xé\u2028\x00\r\ufeff٣'))
    width = random.choice((0, 1))
    lines[at] = lines[at][:place] + new + lines[at][place + width :]
    return f"line {at + 1}, {width} characters from {place} became {new!r}"


def _insert_garbage(random: Random, lines: list[str], at: int) -> str:
    garbage = random.choice(
        (
            "",
            "ERROR: [Common 17-39] 'report_utilization' failed",
            "+------+",
            "| DSPs           |    0 |     0 |      1728 |  0.00 |",
            "|Total                |        0|      0|        0|        0|     0|",
            "1. CLB Logic",
            "------------",
            "<LUT>0</LUT>",
            "-->",
            "\x00" * 64,
            "".join(chr(random.randrange(32, 0x3000)) for _ in range(40)),
        )
    )
    lines.insert(at, garbage)
    return f"{garbage[:60]!r} inserted as line {at + 1}"


def _swap_cells(random: Random, lines: list[str], at: int) -> str:
    """Swap two cells of a row, or two whole columns of its table with their header and borders."""
    count = lines[at].count("|")
    if count < 3:
        return _change_digit(random, lines, at)
    left, right = sorted(random.sample(range(1, count), 2))
    if random.random() < 0.5:
        cells = lines[at].split("|")
        one, other = cells[left], cells[right]
        cells[left], cells[right] = other.strip().rjust(len(one)), one.strip().rjust(len(other))
        lines[at] = "|".join(cells)
        return f"cells {left} and {right} of line {at + 1} swapped"
    first = last = at
    while first > 0 and lines[first - 1].strip()[:1] in ("|", "+"):
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].strip()[:1] in ("|", "+"):
        last += 1
    for row in range(first, last + 1):
        mark = "|" if "|" in lines[row] else "+"
        cells = lines[row].split(mark)
        if len(cells) == count + 1:
            cells[left], cells[right] = cells[right], cells[left]
            lines[row] = mark.join(cells)
    return f"columns {left} and {right} of lines {first + 1} to {last + 1} swapped"


DAMAGES: tuple[Damage, ...] = (
    _cut_lines,
    _cut_within,
    _delete_lines,
    _duplicate_line,
    _swap_lines,
    _change_digit,
    _change_letter,
    _insert_garbage,
    _swap_cells,
)


def damage(random: Random, text: str, important: Sequence[int] = ()) -> tuple[str, str]:
    """Return `text` damaged in one to three ways, and what was done; half of it at `important` lines."""
    lines = text.split("\n")
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(lines))
        if important and random.random() < 0.5:
            at = min(random.choice(important), len(lines) - 1)
        done.append(random.choice(DAMAGES)(random, lines, at))
        if not lines:
            break
    return "\n".join(lines), "; ".join(done)


def cuts(text: str) -> Iterator[str]:
    """Yield `text` cut after each of its lines but the last."""
    end = text.find("\n")
    while 0 <= end < len(text) - 1:
        yield text[: end + 1]
        end = text.find("\n", end + 1)
