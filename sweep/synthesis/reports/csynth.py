"""Estimates of a design from the C synthesis report of Vivado HLS or Vitis HLS: XML or text."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweep.errors import ReportError
from sweep.synthesis.reports.markup import Element, parse_xml
from sweep.synthesis.reports.source import (
    clean,
    part_name,
    quoted,
    read_bytes,
    read_text,
    refuse,
    tool_version,
)
from sweep.synthesis.reports.table import Row, Table, check_tables_end, label, read_table

_TITLE: Final = re.compile(r"== (?:Vitis|Vivado) HLS Report for '[^']*'")
_FIELD: Final = re.compile(r"\* ([A-Z][a-z]*(?: [a-z]+)*): *(\S.*)")
_SECTIONS: Final = ("Performance Estimates", "Utilization Estimates", "Interface")
_DSPS: Final = ("DSP", "DSP48E")
_UNKNOWN: Final = ("?", "undef", "-", "NA", "N/A")
_SECONDS: Final = {"ns": 1.0, "us": 1e3, "ms": 1e6, "sec": 1e9}

_CYCLES: Final = re.compile(r"0|[1-9][0-9]{0,14}")
_PERIOD: Final = re.compile(r"((?:0|[1-9][0-9]{0,5})\.[0-9]{1,6})(?: ns)?")
_DURATION: Final = re.compile(r"((?:0|[1-9][0-9]{0,8})(?:\.([0-9]{1,6}))?) (ns|us|ms|sec)")


@dataclass(frozen=True)
class CSynthesis:
    """Estimates before logic synthesis: counts (`bram` of 18 kbit), clock cycles, nanoseconds.

    Latencies and intervals are None where the tool cannot say them, as for loops without a bound;
    `clock_uncertainty_ns` where it says none.
    """

    version: str
    part: str
    lut: int
    ff: int
    dsp: int
    bram: int
    uram: int
    latency_min: int | None
    latency_max: int | None
    interval_min: int | None
    interval_max: int | None
    clock_target_ns: float
    clock_estimated_ns: float
    clock_uncertainty_ns: float | None


def read_csynth_xml(path: Path) -> CSynthesis:
    """Read the XML report at `path`; raises ReportError as `parse_csynth_xml` does."""
    return parse_csynth_xml(read_bytes(path), str(path))


def parse_csynth_xml(content: bytes | str, name: str) -> CSynthesis:
    """Return the estimates in the XML report of the topmost function.

    Raises ReportError when it is not whole XML, has a document type or entities, lacks a figure, or
    its cycles do not agree with its times.
    """
    root = parse_xml(content, name, "profile")
    version = root.get("ReportVersion").get("Version")
    assignments = root.get("UserAssignments")
    performance = root.get("PerformanceEstimates")
    analysis = performance.get("SummaryOfTimingAnalysis")
    latency = performance.get("SummaryOfOverallLatency")
    for element, unit in ((assignments, "ns"), (analysis, "ns"), (latency, "clock cycles")):
        found = element.find("unit")
        if found is not None and found.value() != unit:
            raise _xml_refuse(found, quoted(unit), quoted(found.value()))
    clocks = _Clocks(
        _xml_period(assignments.get("TargetClockPeriod")),
        _xml_period(analysis.get("EstimatedClockPeriod")),
        _xml_optional_period(assignments.get("ClockUncertainty")),
    )
    if not clocks.plausible():
        raise _xml_refuse(assignments.get("TargetClockPeriod"), "a clock period above its uncertainty")

    cycles = [_xml_cycles(latency.get(f"{case}-caseLatency")) for case in ("Best", "Worst")]
    interval = [_xml_cycles(latency.get(f"Interval-{end}")) for end in ("min", "max")]
    average = latency.find("Average-caseLatency")
    middle = _xml_cycles(average) if average is not None else None
    for low, high in (
        (cycles[0], cycles[1]),
        (cycles[0], middle),
        (middle, cycles[1]),
        (interval[0], interval[1]),
    ):
        if low is not None and high is not None and low > high:
            raise _xml_refuse(latency, "cycles in rising order", f"{low} before {high}")
    for case, count in (("Best", cycles[0]), ("Average", middle), ("Worst", cycles[1])):
        time = latency.find(f"{case}-caseRealTimeLatency")
        if time is not None and not clocks.agrees(count, time.value()):
            raise _xml_refuse(time, f"the time of {count} cycles", quoted(time.value()))
    _check_throughput(latency, interval)

    resources = _xml_resources(root)
    part = assignments.get("Part")
    return CSynthesis(
        tool_version(version.value(), name, "<Version>", version.line),
        part_name(part.value(), name, "<Part>", part.line),
        resources["LUT"],
        resources["FF"],
        resources["DSP"],
        resources["BRAM_18K"],
        resources["URAM"],
        cycles[0],
        cycles[1],
        interval[0],
        interval[1],
        clocks.target,
        clocks.estimated,
        clocks.uncertainty,
    )


def _xml_resources(root: Element) -> dict[str, int]:
    """Return the counts in the area estimates; DSPs under DSP whatever the release calls them."""
    area = root.get("AreaEstimates")
    resources, available = area.get("Resources"), area.get("AvailableResources")
    found: dict[str, int] = {}
    for kind in ("BRAM_18K", "DSP", "FF", "LUT", "URAM"):
        counts = []
        for group in (resources, available):
            present = [tag for tag in (_DSPS if kind == "DSP" else (kind,)) if group.find(tag) is not None]
            if len(present) != 1:
                raise _xml_refuse(group, f"one <{kind}>", f"{len(present) or 'none'}")
            element = group.get(present[0])
            if not _CYCLES.fullmatch(element.value()):
                raise _xml_refuse(element, "a count", quoted(element.value()))
            counts.append(int(element.value()))
        if counts[0] and not counts[1]:
            raise _xml_refuse(resources, f"no {kind} where none is available", f"{counts[0]}")
        found[kind] = counts[0]
    return found


def _check_throughput(latency: Element, interval: list[int | None]) -> None:
    throughput = latency.find("DataflowPipelineThroughput")
    if throughput is None:
        return
    bounds = throughput.find("range")
    ends = [bounds.get("min"), bounds.get("max")] if bounds is not None else [throughput, throughput]
    for end, found in zip(ends, interval, strict=True):
        expected = _xml_cycles(end)
        if expected is not None and found is not None and expected != found:
            raise _xml_refuse(end, f"the interval, {found} cycles", f"{expected}")


def _xml_cycles(element: Element) -> int | None:
    text = element.value()
    if text in _UNKNOWN:
        return None
    if not _CYCLES.fullmatch(text):
        raise _xml_refuse(element, "clock cycles", quoted(text))
    return int(text)


def _xml_period(element: Element) -> float:
    found = _PERIOD.fullmatch(element.value())
    if found is None:
        raise _xml_refuse(element, "a period in ns", quoted(element.value()))
    return float(found[1])


def _xml_optional_period(element: Element) -> float | None:
    return None if element.value() in _UNKNOWN else _xml_period(element)


def _xml_refuse(element: Element, expected: str, found: str = "") -> ReportError:
    return refuse(element.name, f"<{element.tag}>", element.line, expected, found)


@dataclass(frozen=True)
class _Clocks:
    """Clock periods in ns, and how cycles become time with them."""

    target: float
    estimated: float
    uncertainty: float | None

    def plausible(self) -> bool:
        """Return whether some of the target period is left for logic."""
        return self.target > (self.uncertainty or 0.0)

    def agrees(self, cycles: int | None, time: str) -> bool:
        """Return whether `time`, such as ``1.975 us``, is that of `cycles`; unknown ones agree."""
        if cycles is None or time in _UNKNOWN:
            return True
        found = _DURATION.fullmatch(time)
        if found is None:
            return False
        # The slower clock counts: the estimate, where the target cannot be met. The target is
        # printed with two decimals, and so is off by up to 5 ps a cycle.
        nanoseconds = cycles * max(self.target, self.estimated)
        digit = _SECONDS[found[3]] * 10.0 ** -len(found[2] or "")
        return abs(float(found[1]) * _SECONDS[found[3]] - nanoseconds) <= cycles * 0.005 + digit / 2 + 1e-6


def read_csynth(path: Path) -> CSynthesis:
    """Read the text report at `path`; raises ReportError as `parse_csynth` does."""
    return parse_csynth(read_text(path), str(path))


def parse_csynth(text: str, name: str) -> CSynthesis:
    """Return the estimates in the text report of one function, ``TOP_csynth.rpt``.

    Raises ReportError when a section, table or figure is missing, parts do not add up to totals, or
    percentages and times do not agree with counts and cycles.
    """
    lines = clean(text, name).split("\n")
    titles = [
        at for at, line in enumerate(lines) if line.startswith("== ") and _TITLE.fullmatch(line.rstrip())
    ]
    if len(titles) != 1:
        at = titles[1] if titles else 0
        wanted = "one report of a function of Vitis HLS or Vivado HLS (TOP_csynth.rpt)"
        raise refuse(name, "title", at + 1, wanted, str(len(titles)) if titles else "none")
    sections = _text_sections(lines, name)
    check_tables_end(lines, 0, name)
    fields = _text_fields(lines[: sections[_SECTIONS[0]]], titles[0], name)

    def table(title: str, section: str, headings: tuple[str, ...]) -> Table:
        return _text_table(lines, name, title, sections[section], headings)

    clocks = _text_clocks(table("Timing", "Performance Estimates", ("+ Timing:", "+ Timing (ns):")))
    latency = table("Latency", "Performance Estimates", ("+ Latency:", "+ Latency (clock cycles):"))
    cycles, interval = _text_latency(latency, clocks)
    resources = _text_resources(table("Utilization Estimates", "Utilization Estimates", ()))
    return CSynthesis(
        tool_version(fields["Version"][1], name, "header", fields["Version"][0]),
        part_name(fields["Target device"][1], name, "header", fields["Target device"][0]),
        resources["LUT"],
        resources["FF"],
        resources["DSP"],
        resources["BRAM_18K"],
        resources["URAM"],
        cycles[0],
        cycles[1],
        interval[0],
        interval[1],
        clocks.target,
        clocks.estimated,
        clocks.uncertainty,
    )


def _text_sections(lines: list[str], name: str) -> dict[str, int]:
    """Return the line, counted from 0, below the heading of each section."""
    found: dict[str, int] = {}
    for at, line in enumerate(lines):
        title = line[3:].rstrip()
        if line.startswith("== ") and title in _SECTIONS:
            if title in found:
                raise refuse(name, f"section {quoted(title)}", at + 1, "it once", "it twice")
            found[title] = at + 2
    if tuple(found) != _SECTIONS:
        missing = [title for title in _SECTIONS if title not in found]
        found_instead = f"no {', '.join(missing)}" if missing else "another order"
        raise refuse(name, "sections", len(lines), f"{', '.join(_SECTIONS)} in order", found_instead)
    return found


def _text_fields(lines: list[str], start: int, name: str) -> dict[str, tuple[int, str]]:
    fields: dict[str, tuple[int, str]] = {}
    for at in range(start, len(lines)):
        if found := _FIELD.fullmatch(lines[at].rstrip()):
            if found[1] in fields:
                raise refuse(name, "header", at + 1, f"one {quoted(found[1])}", "two")
            fields[found[1]] = (at + 1, found[2])
    for wanted in ("Version", "Target device"):
        if wanted not in fields:
            raise refuse(name, "header", start + 1, quoted(wanted), "none")
    return fields


def _text_table(lines: list[str], name: str, title: str, below: int, headings: tuple[str, ...]) -> Table:
    """Return the table under ``* Summary:``, which follows one of `headings`, or the section's if none."""
    at = below
    if headings:
        while at < len(lines) and lines[at].strip() not in headings and not lines[at].startswith("== "):
            at += 1
        at += 1
    if at + 1 >= len(lines) or lines[at].strip() != "* Summary:":
        raise refuse(
            name, f"table {quoted(title)}", min(at, len(lines) - 1) + 1, "a summary below its heading", "none"
        )
    return read_table(lines, at + 1, name, title)


def _text_clocks(table: Table) -> _Clocks:
    if table.columns() != ("Clock", "Target", "Estimated", "Uncertainty"):
        found = ", ".join(map(quoted, table.columns()))
        raise table.refuse(table.header[0].line, "Clock, Target, Estimated, Uncertainty", f"{found}")
    if len(table.rows) != 1:
        raise table.refuse(table.line, "one clock", str(len(table.rows)))
    row = table.rows[0]
    cells = [cell.strip() for cell in row.cells[1:]]
    periods: list[float | None] = []
    for at, cell in enumerate(cells):
        period = _PERIOD.fullmatch(cell)
        if period is None and not (at == 2 and cell in _UNKNOWN):
            raise table.refuse(row.line, "a period in ns", quoted(cell))
        periods.append(float(period[1]) if period else None)
    target, estimated, uncertainty = periods
    if target is None or estimated is None or not _Clocks(target, estimated, uncertainty).plausible():
        raise table.refuse(row.line, "a clock period above its uncertainty", quoted(cells[0]))
    return _Clocks(target, estimated, uncertainty)


def _text_latency(table: Table, clocks: _Clocks) -> tuple[list[int | None], list[int | None]]:
    """Return the latencies, then the intervals, of the best and the worst case in clock cycles."""
    header = [[cell.strip() for cell in row.cells] for row in table.header]
    ends = ["min", "max"]
    with_times = [
        ["Latency (cycles)", "Latency (absolute)", "Interval", "Pipeline"],
        [*ends, *ends, *ends, "Type"],
    ]
    without = [["Latency", "Interval", "Pipeline"], [*ends, *ends, "Type"]]
    if header not in (with_times, without):
        found = ", ".join(map(quoted, header[0] if header else []))
        raise table.refuse(table.line, "columns Latency, Interval, Pipeline", f"{found}")
    if len(table.rows) != 1:
        raise table.refuse(table.line, "one row", str(len(table.rows)))
    row = table.rows[0]
    cells = [cell.strip() for cell in row.cells]
    places = (0, 1, 4, 5) if header == with_times else (0, 1, 2, 3)
    counts: list[int | None] = []
    for at in places:
        if cells[at] not in _UNKNOWN and not _CYCLES.fullmatch(cells[at]):
            raise table.refuse(row.line, "clock cycles", quoted(cells[at]))
        counts.append(None if cells[at] in _UNKNOWN else int(cells[at]))
    for low, high in (counts[:2], counts[2:]):
        if low is not None and high is not None and low > high:
            raise table.refuse(row.line, "cycles in rising order", f"{low} before {high}")
    if header == with_times:
        for count, time in zip(counts[:2], cells[2:4], strict=True):
            if not clocks.agrees(count, time):
                raise table.refuse(row.line, f"the time of {count} cycles", quoted(time))
    return counts[:2], counts[2:]


def _text_resources(table: Table) -> dict[str, int]:
    columns = table.columns()
    kinds = ["DSP" if name in _DSPS else name for name in columns[1:]]
    if columns[0] != "Name" or kinds != ["BRAM_18K", "DSP", "FF", "LUT", "URAM"]:
        wanted = "columns Name, BRAM_18K, DSP, FF, LUT, URAM"
        raise table.refuse(table.line, wanted, ", ".join(map(quoted, columns)))
    rows: dict[str, Row] = {}
    for row in table.rows:
        if label(row) in rows:
            raise table.refuse(row.line, f"one row {label(row)}", "two")
        rows[label(row)] = row
    for wanted in ("Total", "Available", "Utilization (%)"):
        if wanted not in rows:
            raise table.refuse(table.line, f"a row {wanted}", "none")
    total = rows["Total"]
    parts = [row for row in table.rows if row.line < total.line]
    if not parts:
        raise table.refuse(total.line, "the rows that the total adds up", "none")
    found_kinds: dict[str, int] = {}
    for at, kind in enumerate(kinds, start=1):
        count = table.integer(total, total.cells[at])
        added = sum(0 if row.cells[at].strip() == "-" else table.integer(row, row.cells[at]) for row in parts)
        if added != count:
            raise table.refuse(total.line, f"{kind} to add up to {added}", f"{count}")
        for region in ("", " SLR"):
            if f"Available{region}" in rows:
                available = table.integer(rows[f"Available{region}"], rows[f"Available{region}"].cells[at])
                share = rows.get(f"Utilization{region} (%)")
                if share is None:
                    raise table.refuse(table.line, f"a row Utilization{region} (%)", "none")
                _check_share(table, share, kind, count, available, share.cells[at].strip())
        found_kinds[kind] = count
    return found_kinds


def _check_share(table: Table, row: Row, kind: str, count: int, available: int, text: str) -> None:
    if not available:
        if count:
            raise table.refuse(row.line, f"no {kind} where none is available", f"{count}")
        return
    percent = 100 * count // available
    expected = "~0" if count and not percent else str(percent)
    if text != expected:
        raise table.refuse(row.line, f"{expected} % of {kind} ({count} of {available})", quoted(text))
