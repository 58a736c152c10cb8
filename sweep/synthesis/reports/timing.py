"""Slack of a design from `report_timing_summary` of Vivado, in nanoseconds."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweep.errors import ReportError
from sweep.synthesis.reports.source import quoted, read_text, refuse
from sweep.synthesis.reports.table import VivadoReport

_SUMMARY: Final = "Design Timing Summary"
_BY_CLOCK: Final = ("Intra Clock Table", "Inter Clock Table", "Other Path Groups Table")
_COLUMNS: Final = tuple(
    column
    for worst, total in (("WNS", "TNS"), ("WHS", "THS"), ("WPWS", "TPWS"))
    for column in (f"{worst}(ns)", f"{total}(ns)", f"{total} Failing Endpoints", f"{total} Total Endpoints")
)
_VERDICTS: Final[dict[str, bool | None]] = {
    "All user specified timing constraints are met.": True,
    "Timing constraints are not met.": False,
    "There are no user specified timing constraints.": None,
}
_ROUNDING_NS: Final = 0.0005

_SLACK: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,8})\.[0-9]{3}")
_ENDPOINTS: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_TOKEN: Final = re.compile(r"\S+")


@dataclass(frozen=True)
class Timing:
    """Slacks in nanoseconds: worst and total setup (`wns_ns`, `tns_ns`) and worst hold (`whs_ns`).

    They are None where the report says NA, as without constraints. `met` is the report's own
    verdict, with pulse widths; None without constraints. `state` is None for a release that does
    not write it here (2019).
    """

    version: str
    part: str
    state: str | None
    wns_ns: float | None
    tns_ns: float | None
    whs_ns: float | None
    met: bool | None


@dataclass(frozen=True)
class _Group:
    """One kind of slack, such as setup: the worst and the sum of the negative ones, in ns, and endpoints."""

    worst: float | None
    total: float | None
    failing: int | None


def read_timing(path: Path) -> Timing:
    """Read the text report at `path`; raises ReportError as `parse_timing` does."""
    return parse_timing(read_text(path), str(path))


def parse_timing(text: str, name: str) -> Timing:
    """Return the slacks in a text report; `name` stands for the file in errors.

    Raises ReportError unless the summary is whole, agrees with the verdict below it, and its worst
    slacks are those of the tables of clocks and path groups, which must be there.
    """
    report = VivadoReport(text, name, "Timing Summary Report")
    version, part, state = report.version(), report.part(), report.state()
    sections = _sections(report)
    line, setup, hold, pulse, met = _summary(report, sections[_SUMMARY])
    worst: list[list[float]] = [[], []]
    for title in _BY_CLOCK:
        for at, values in enumerate(_worst_by_clock(report, title, sections[title])):
            worst[at] += values
    for kind, group, values in (("WNS", setup, worst[0]), ("WHS", hold, worst[1])):
        smallest = min(values, default=None)
        if smallest != group.worst:
            wanted = f"{kind} to be the worst of the tables of clocks, {_ns(smallest)}"
            raise _refuse(report, _SUMMARY, line, wanted, _ns(group.worst))
    _check_verdict(report, line, (setup, hold, pulse), met)
    return Timing(version, part, state, setup.worst, setup.total, hold.worst, met)


def _sections(report: VivadoReport) -> dict[str, int]:
    """Return the line, counted from 0, below the heading of each section that is needed."""
    lines = report.lines
    found: dict[str, int] = {}
    for at, line in enumerate(lines):
        # A title stands between rules and has a line of its own length below it.
        if line[:2] != "| " or at + 2 >= len(lines) or not lines[at + 1].startswith("| --"):
            continue
        title = line[2:].rstrip()
        if title not in (_SUMMARY, *_BY_CLOCK):
            continue
        underline, rules = lines[at + 1].rstrip(), (lines[at - 1].rstrip(), lines[at + 2].rstrip())
        if underline != "| " + "-" * len(title) or any(rule.strip("-") or len(rule) < 20 for rule in rules):
            raise _refuse(report, title, at + 1, "a heading between rules", "another")
        if title in found:
            raise _refuse(report, title, at + 1, "this section once", "it twice")
        found[title] = at + 3
    for wanted in (_SUMMARY, *_BY_CLOCK):
        if wanted not in found:
            raise _refuse(
                report, wanted, len(lines), "this section", "the end of the file: the report is cut off"
            )
    return found


def _summary(report: VivadoReport, below: int) -> tuple[int, _Group, _Group, _Group, bool | None]:
    """Return the line of the slacks, those of setup, hold and pulse width, and the verdict below them."""
    header, names = _header(report, _SUMMARY, below)
    if tuple(names) != _COLUMNS:
        raise _refuse(
            report,
            _SUMMARY,
            header + 1,
            f"columns {_COLUMNS[0]} ... {_COLUMNS[-1]}",
            quoted(report.lines[header]),
        )
    values = _aligned(report, _SUMMARY, header + 2, _columns(report, _SUMMARY, header, len(_COLUMNS)))
    if len(values) != len(_COLUMNS):
        raise _refuse(
            report,
            _SUMMARY,
            header + 3,
            f"{len(_COLUMNS)} values as in the header",
            f"{len(values)}",
        )
    cells = [values[at] for at in range(len(_COLUMNS))]
    groups = [_group(report, header + 3, cells[at : at + 4]) for at in (0, 4, 8)]
    at = _next_line(report, _SUMMARY, header + 3)
    verdict = report.lines[at].strip()
    if verdict not in _VERDICTS:
        wanted = quoted("Timing constraints are not met.")
        raise _refuse(report, _SUMMARY, at + 1, f"a verdict such as {wanted}", quoted(verdict))
    return header + 3, groups[0], groups[1], groups[2], _VERDICTS[verdict]


def _group(report: VivadoReport, line: int, cells: list[str]) -> _Group:
    if cells == ["NA"] * 4:
        return _Group(None, None, None)
    for cell, form in zip(cells, (_SLACK, _SLACK, _ENDPOINTS, _ENDPOINTS), strict=True):
        if not form.fullmatch(cell):
            raise _refuse(
                report, _SUMMARY, line, "slacks and endpoints, or NA for all four", quoted(" ".join(cells))
            )
    worst, total, failing, endpoints = float(cells[0]), float(cells[1]), int(cells[2]), int(cells[3])
    if failing > endpoints:
        raise _refuse(report, _SUMMARY, line, f"at most {endpoints} failing endpoints", f"{failing}")
    if failing:
        # Every failing endpoint adds its own slack to the sum, and none is worse than the worst.
        slack = failing * _ROUNDING_NS + _ROUNDING_NS + 1e-9
        agrees = worst <= 0 and failing * worst - slack <= total <= worst + 2 * _ROUNDING_NS + 1e-9
    else:
        agrees = worst >= 0 and total == 0
    if not agrees:
        worst_and_total = f"worst {cells[0]} and total {cells[1]} ns"
        raise _refuse(report, _SUMMARY, line, f"slacks of {failing} failing endpoints", worst_and_total)
    return _Group(worst, total, failing)


def _check_verdict(report: VivadoReport, line: int, groups: tuple[_Group, ...], met: bool | None) -> None:
    known = [group for group in groups if group.worst is not None]
    failing = any(group.failing for group in known)
    if met is None and known:
        raise _refuse(report, _SUMMARY, line, "NA for all slacks without constraints", "slacks")
    if met is not None and not known:
        raise _refuse(report, _SUMMARY, line, "slacks with constraints", "NA for all")
    if met is not None and met == failing:
        found = "failing endpoints" if failing else "no failing endpoint"
        raise _refuse(report, _SUMMARY, line, "slacks that agree with the verdict", f"{found}")


def _worst_by_clock(report: VivadoReport, title: str, below: int) -> tuple[list[float], list[float]]:
    """Return the worst setup and the worst hold slack of each row that has them."""
    header, names = _header(report, title, below)
    if "WNS(ns)" not in names or "WHS(ns)" not in names:
        raise _refuse(report, title, header + 1, "columns WNS(ns) and WHS(ns)", quoted(report.lines[header]))
    columns = _columns(report, title, header, len(names))
    setup, hold = names.index("WNS(ns)"), names.index("WHS(ns)")
    found: tuple[list[float], list[float]] = ([], [])
    for at in range(header + 2, len(report.lines)):
        if not report.lines[at].strip():
            return found
        values = _aligned(report, title, at, columns, names_before=setup)
        for place, column in enumerate((setup, hold)):
            if column in values:
                if not _SLACK.fullmatch(values[column]):
                    raise _refuse(report, title, at + 1, "a slack in ns", quoted(values[column]))
                found[place].append(float(values[column]))
    raise _refuse(report, title, len(report.lines), "the end of the table", "the end of the file")


def _header(report: VivadoReport, title: str, below: int) -> tuple[int, list[str]]:
    """Return the line of a table's header, counted from 0, and the names of its columns."""
    at = _next_line(report, title, below)
    if at + 2 >= len(report.lines):
        raise _refuse(report, title, at + 1, "a table", "the end of the file")
    return at, re.split(r" {2,}", report.lines[at].strip())


def _columns(report: VivadoReport, title: str, header: int, count: int) -> dict[int, int]:
    """Return the column that ends at each place of a line; numbers are set flush with its dashes."""
    dashes = [found for found in _TOKEN.finditer(report.lines[header + 1])]
    if len(dashes) != count or any(found[0].strip("-") for found in dashes):
        raise _refuse(report, title, header + 2, f"dashes below each of {count} columns", "others")
    return {found.end(): at for at, found in enumerate(dashes)}


def _aligned(
    report: VivadoReport, title: str, at: int, columns: dict[int, int], names_before: int = 0
) -> dict[int, str]:
    """Return the value of each column of line `at` that has one; the first `names_before` hold names."""
    numbers_from = min(place for place, column in columns.items() if column == names_before)
    values: dict[int, str] = {}
    for found in _TOKEN.finditer(report.lines[at]):
        column = columns.get(found.end())
        if column is not None and column >= names_before:
            values[column] = found[0]
        elif found.end() >= numbers_from or not names_before:
            raise _refuse(report, title, at + 1, "a value below its column", quoted(found[0]))
    return values


def _next_line(report: VivadoReport, title: str, start: int) -> int:
    for at in range(start, len(report.lines)):
        if report.lines[at].strip():
            return at
    raise _refuse(report, title, len(report.lines), "a table", "the end of the file")


def _ns(value: float | None) -> str:
    return "NA" if value is None else f"{value:.3f} ns"


def _refuse(report: VivadoReport, title: str, line: int, expected: str, found: str = "") -> ReportError:
    return refuse(report.name, f"table {quoted(title)}", line, expected, found)
