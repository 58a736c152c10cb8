"""The tables of reports: text between ``+---+`` borders, and the sections and banner around them."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sweep.errors import ReportError
from sweep.synthesis.reports.source import clean, design_state, part_name, quoted, refuse, tool_version

_BORDER: Final = re.compile(r"\+(?:-+\+)+")
_HEADING: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*\.? (\S.*)")
_FIELD: Final = re.compile(r"\| ([A-Za-z]+(?: [A-Za-z]+)*) *: ?(.*)")
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,11}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `cells` as they stand between the bars, with their spaces, and the line they are on."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of report `name` under `title`; `header` has one row for each line above the first rule.

    A table without a header has all its rows in `header`, and none in `rows`.
    """

    name: str
    title: str
    line: int
    header: tuple[Row, ...]
    rows: tuple[Row, ...]

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns; raises ReportError unless they are unlike and on one line."""
        if len(self.header) != 1:
            raise self.refuse(self.line, "a header of one line", str(len(self.header)))
        names = tuple(cell.strip() for cell in self.header[0].cells)
        if len(set(names)) != len(names):
            raise self.refuse(self.header[0].line, "unlike columns", f"{', '.join(map(quoted, names))}")
        return names

    def integer(self, row: Row, cell: str) -> int:
        """Return a count of `row`; raises ReportError when it is not one, or is negative."""
        text = cell.strip()
        if not _INTEGER.fullmatch(text):
            raise self.refuse(row.line, f"a count of {label(row)}", quoted(text))
        return int(text)

    def number(self, row: Row, cell: str) -> float:
        """Return a number of `row`, in the unit that the table says; raises ReportError when it is none."""
        text = cell.strip()
        if not _NUMBER.fullmatch(text):
            raise self.refuse(row.line, f"a number for {label(row)}", quoted(text))
        return float(text)

    def refuse(self, line: int, expected: str, found: str = "") -> ReportError:
        """Return the error that names this table and one of its lines."""
        return refuse(self.name, f"table {quoted(self.title)}", line, expected, found)


def label(row: Row) -> str:
    """Return the name in the first cell of a row, without the star of a footnote."""
    return row.cells[0].strip().rstrip("*").rstrip()


def read_table(lines: list[str], first: int, name: str, title: str) -> Table:
    """Return the table whose upper border is ``lines[first]`` (counted from 0).

    Raises ReportError when there is no border, a row does not stand between the bars that the
    border gives, or the lower border is missing.
    """
    border = lines[first].rstrip() if first < len(lines) else ""
    indent = len(border) - len(border.lstrip())
    border = border[indent:]
    here = first + 1
    if not _BORDER.fullmatch(border):
        raise refuse(name, f"table {quoted(title)}", here, "the border of a table", quoted(border))
    bars = [at for at, letter in enumerate(border) if letter == "+"]
    spans = [(left + 1, right) for left, right in pairwise(bars)]
    blocks: list[list[Row]] = [[]]
    at = first + 1
    closed = False
    while at < len(lines):
        line = lines[at].rstrip()
        body = line[indent:]
        if body[:1] not in ("|", "+") or line[:indent].strip():
            break
        if len(body) != len(border):
            raise _misaligned(name, title, at + 1, line)
        if body == border:
            blocks.append([])
            closed = True
        elif body[0] == body[-1] == "|":
            if len(blocks) == 1:
                # Cells of a header can span columns, so only its own bars count.
                blocks[0].append(Row(at + 1, tuple(body[1:-1].split("|"))))
            else:
                if any(body[bar] != "|" for bar in bars):
                    raise _misaligned(name, title, at + 1, line)
                blocks[-1].append(Row(at + 1, tuple([body[left:right] for left, right in spans])))
            closed = False
        else:
            raise _misaligned(name, title, at + 1, line)
        at += 1
    if not closed:
        raise refuse(name, f"table {quoted(title)}", at, "the border that ends the table", "no more of it")
    rows = tuple(row for block in blocks[1:] for row in block)
    header = tuple(blocks[0])
    for row in header[-1:]:
        if [len(cell) for cell in row.cells] != [right - left for left, right in spans]:
            raise _misaligned(name, title, row.line, lines[row.line - 1])
    return Table(name, title, first + 1, header, rows)


def check_tables_end(lines: list[str], first: int, name: str) -> None:
    """Check the tables from line `first` on, counted from 0.

    Raises ReportError when one is cut off: a row or border stops short, or none follows a row.
    """
    inside = False
    for at in range(first, len(lines)):
        text = lines[at].strip()
        mark = text[:1]
        if mark == "|":
            if text[-1] != "|" or len(text) < 2:
                raise refuse(name, "a table", at + 1, "a row between bars", quoted(text))
            inside = True
        elif mark == "+" and text[1:2] == "-":
            if not _BORDER.fullmatch(text):
                raise refuse(name, "a table", at + 1, "a whole border", quoted(text))
            inside = False
        elif inside:
            raise refuse(name, "a table", at + 1, "a row or the border that ends it", quoted(text))
    if inside:
        raise refuse(name, "a table", len(lines), "the border that ends it", "the end of the file")


class VivadoReport:
    """A report of Vivado in text: its banner, and its sections where it has a table of contents."""

    def __init__(self, text: str, name: str, title: str) -> None:
        """Read the banner of a report whose kind is `title`, such as ``Power Report``.

        Raises ReportError when it is another kind, holds several reports or has no banner.
        """
        self.name = name
        self.lines = clean(text, name).split("\n")
        self._fields, self._body = self._banner()
        for at in range(self._body, len(self.lines)):
            if self.lines[at].startswith("| Tool Version"):
                raise refuse(name, "banner", at + 1, "one report in a file", "a second")
        for at in range(self._body, len(self.lines)):
            if line := self.lines[at].strip():
                if line != title:
                    raise refuse(name, "title", at + 1, quoted(title), quoted(line))
                break
        else:
            raise refuse(name, "title", len(self.lines), quoted(title), "the end of the file")

    def _banner(self) -> tuple[dict[str, tuple[int, str]], int]:
        fields: dict[str, tuple[int, str]] = {}
        # The copyright comes first, and in captured output a few lines before it.
        for first in range(min(10, len(self.lines))):
            if _is_rule(self.lines[first]):
                break
        else:
            raise refuse(self.name, "banner", 1, "the banner of a report of Vivado", "none")
        at = first
        for at in range(first + 1, len(self.lines)):
            line = self.lines[at]
            if _is_rule(line):
                return fields, at + 1
            found = _FIELD.fullmatch(line.rstrip())
            if found is None:
                break
            if found[1] in fields:
                raise refuse(self.name, "banner", at + 1, f"one {quoted(found[1])}", "two")
            fields[found[1]] = (at + 1, found[2].strip())
        raise refuse(self.name, "banner", at + 1, "a field or the line that ends the banner")

    def field(self, key: str) -> str:
        """Return a field of the banner; raises ReportError when it is missing or empty."""
        line, value = self._fields.get(key, (1, ""))
        if not value:
            raise refuse(self.name, "banner", line, quoted(key), "none")
        return value

    def command(self) -> str:
        """Return the command that wrote the report; empty where the banner does not say."""
        return self._fields.get("Command", (1, ""))[1]

    def version(self) -> str:
        """Return Vivado's version, such as 2024.1; raises ReportError when the banner names none."""
        text = self.field("Tool Version")
        line = self._fields["Tool Version"][0]
        if not text.startswith("Vivado v."):
            raise refuse(self.name, "banner", line, "a version of Vivado", quoted(text))
        return tool_version(text.removeprefix("Vivado v."), self.name, "banner", line)

    def part(self) -> str:
        """Return the part as this report spells it; raises ReportError when the banner names none."""
        return part_name(self.field("Device"), self.name, "banner", self._fields["Device"][0])

    def state(self) -> str | None:
        """Return the state of the design, or None where this release does not write it."""
        if "Design State" not in self._fields:
            return None
        return design_state(self.field("Design State"), self.name, "banner", self._fields["Design State"][0])

    def sections(self) -> dict[str, int]:
        """Return the line, counted from 0, below the heading of each section.

        Numbers of sections shift with the stage of the design, so titles are the keys. Raises
        ReportError unless the headings are those of the table of contents, all and in its order,
        and every table ends.
        """
        try:
            start = self.lines.index("Table of Contents", self._body)
        except ValueError:
            raise refuse(self.name, "table of contents", self._body, "one", "none") from None
        contents: list[tuple[int, str]] = []
        for at in range(start + 2, len(self.lines)):
            if not self.lines[at].strip():
                break
            contents.append((at + 1, self.lines[at].rstrip()))
        headings: list[tuple[int, str]] = []
        for at in range(start + 2 + len(contents), len(self.lines)):
            line = self.lines[at]
            if line[:1] == "-" and _is_rule(line):
                above = self.lines[at - 1].rstrip()
                if len(above) == len(line.rstrip()) and _HEADING.fullmatch(above):
                    headings.append((at, above))
        for (line_number, entry), (_, heading) in zip(contents, headings, strict=False):
            if entry != heading:
                raise refuse(
                    self.name,
                    "table of contents",
                    line_number,
                    f"section {quoted(entry)}",
                    quoted(heading),
                )
        if len(contents) > len(headings):
            line_number, entry = contents[len(headings)]
            raise refuse(
                self.name,
                "table of contents",
                line_number,
                f"section {quoted(entry)}",
                "the end of the file: the report is cut off",
            )
        if len(headings) > len(contents) or not contents:
            at, heading = headings[len(contents)] if headings else (start, "none")
            raise refuse(self.name, "table of contents", at, f"no section {quoted(heading)}")
        check_tables_end(self.lines, headings[0][0], self.name)
        found: dict[str, int] = {}
        for at, heading in headings:
            title = heading.split(" ", 1)[1]
            if title in found:
                raise refuse(self.name, f"section {quoted(title)}", at, "it once", "it twice")
            found[title] = at + 1
        return found

    def table(self, title: str, below: int) -> Table:
        """Return the first table from line `below` (from 0) on; raises ReportError when it is cut off."""
        for at in range(below, len(self.lines)):
            if self.lines[at].strip():
                return read_table(self.lines, at, self.name, title)
        raise refuse(self.name, f"table {quoted(title)}", len(self.lines), "a table", "the end of the file")


def _misaligned(name: str, title: str, line: int, text: str) -> ReportError:
    return refuse(name, f"table {quoted(title)}", line, "a row between the bars of the border", quoted(text))


def _is_rule(line: str) -> bool:
    text = line.rstrip()
    return len(text) > 1 and not text.strip("-")
