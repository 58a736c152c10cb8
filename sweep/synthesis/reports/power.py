"""Power of a design from `report_power` of Vivado, in watts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweep.synthesis.reports.source import quoted, read_text, refuse
from sweep.synthesis.reports.table import Row, Table, VivadoReport, label

_TOTAL: Final = "Total On-Chip Power (W)"
_DYNAMIC: Final = "Dynamic (W)"
_STATIC: Final = "Device Static (W)"
_WITH_MEMORY: Final = ("FPGA Power (W)", "HBM Power (W)")  # parts with high-bandwidth memory
_ROUNDING_W: Final = 0.0015 + 1e-9  # three figures of three decimals each

_WATTS: Final = re.compile(r"((?:0|[1-9][0-9]{0,5})\.[0-9]{1,6})(?: \(Junction temp exceeded!\))?")


@dataclass(frozen=True)
class Power:
    """Estimated power on the chip, in watts: `total_w` is `dynamic_w` + `static_w`, but for rounding."""

    version: str
    part: str
    total_w: float
    dynamic_w: float
    static_w: float


def read_power(path: Path) -> Power:
    """Read the text report at `path`; raises ReportError as `parse_power` does."""
    return parse_power(read_text(path), str(path))


def parse_power(text: str, name: str) -> Power:
    """Return the power in a text report; `name` stands for the file in errors.

    Raises ReportError unless all sections of its table of contents are there and its summary has
    the total, the dynamic and the static power, which must add up.
    """
    report = VivadoReport(text, name, "Power Report")
    version, part = report.version(), report.part()
    sections = report.sections()
    if "Summary" not in sections:
        raise refuse(name, "sections", len(report.lines), "section 'Summary'", "none")
    table = report.table("Summary", sections["Summary"])
    rows = _rows(table)
    total, dynamic, static = (_watts(table, rows, wanted) for wanted in (_TOTAL, _DYNAMIC, _STATIC))
    _check_sum(table, rows[_TOTAL], total, (dynamic, static))
    if any(wanted in rows for wanted in _WITH_MEMORY):
        _check_sum(table, rows[_TOTAL], total, tuple(_watts(table, rows, wanted) for wanted in _WITH_MEMORY))
    return Power(version, part, total, dynamic, static)


def _rows(table: Table) -> dict[str, Row]:
    if table.rows:
        raise table.refuse(table.rows[0].line, "a table without a header")
    rows: dict[str, Row] = {}
    for row in table.header:
        if len(row.cells) != 2:
            raise table.refuse(row.line, "a name and a value", f"{len(row.cells)} cells")
        if label(row) in rows:
            raise table.refuse(row.line, f"one row {label(row)}", "two")
        rows[label(row)] = row
    return rows


def _watts(table: Table, rows: dict[str, Row], wanted: str) -> float:
    if wanted not in rows:
        raise table.refuse(table.line, f"a row {wanted}", "none")
    cell = rows[wanted].cells[1].strip()
    found = _WATTS.fullmatch(cell)
    if found is None:
        raise table.refuse(rows[wanted].line, f"watts for {wanted}", quoted(cell))
    return float(found[1])


def _check_sum(table: Table, row: Row, total: float, parts: tuple[float, ...]) -> None:
    if abs(sum(parts) - total) > _ROUNDING_W:
        raise table.refuse(row.line, f"the sum of its parts, {sum(parts):.3f} W", f"{total:.3f} W")
