"""Resources of a design from `report_utilization` of Vivado: text, hierarchical text, or XML."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweep.errors import ReportError
from sweep.synthesis.reports.markup import Element, parse_xml
from sweep.synthesis.reports.source import design_state, part_name, quoted, read_bytes, read_text, refuse
from sweep.synthesis.reports.table import Row, Table, VivadoReport, label

# Titles of the same section: 7-series, UltraScale and UltraScale+, Versal.
_LOGIC: Final = ("Slice Logic", "CLB Logic", "Netlist Logic")
_MEMORY: Final = ("Memory", "BLOCKRAM")
_ARITHMETIC: Final = ("DSP", "ARITHMETIC")
_BY_TYPE: Final = "Summary of Registers by Type"
_PRIMITIVES: Final = "Primitives"
_HIERARCHY: Final = "Utilization by Hierarchy"

_LUTS: Final = ("Slice LUTs", "CLB LUTs")
_REGISTERS: Final = ("Slice Registers", "CLB Registers", "Registers")
_DSPS: Final = ("DSPs", "DSP Slices")
_CARRIES: Final = ("CARRY8", "LOOKAHEAD8")
_CARRY_7_SERIES: Final = "CARRY4"  # only among the primitives

_SITE_COLUMNS: Final = (  # `Prohibited` from 2021 on; `Fixed` not with -omit_locs
    ("Site Type", "Used", "Fixed", "Prohibited", "Available", "Util%"),
    ("Site Type", "Used", "Fixed", "Available", "Util%"),
    ("Site Type", "Used", "Prohibited", "Available", "Util%"),
    ("Site Type", "Used", "Available", "Util%"),
)
_MOST_SITES: Final = 1000  # rows of a table; real ones have a few dozen
_LUT_KINDS: Final = ("Logic LUTs", "LUTRAMs", "SRLs")
_CELL_COLUMNS: Final = tuple(
    ("Instance", "Module", "Total LUTs", *kinds, "FFs", *memories, dsps)
    for kinds in (_LUT_KINDS, ())
    for memories in (("RAMB36", "RAMB18"), ("RAMB36", "RAMB18", "URAM"), ("URAM", "RAMB36", "RAMB18"))
    for dsps in ("DSP Blocks", "DSP48 Blocks", "DSP Slices")
)
_PERCENT: Final = re.compile(r"(?:0|[1-9][0-9]{0,6})\.[0-9]{2}")
_SHARE: Final = re.compile(r"(0|[1-9][0-9]{0,11}) *(?:\( *<?[0-9]{1,6}\.[0-9]{2}%\))?")

_Find = Callable[[tuple[str, ...]], Table]


@dataclass(frozen=True)
class Utilization:
    """Resources of a design: counts, except `bram`, in tiles of 36 kbit, of which a half can be used.

    `version` is Vivado's, and empty for XML, which does not say it. `part` is spelled as the report
    spells it. `uram` is 0 for a part that has none. `carry` is the number of carry blocks as the
    part has them: CARRY4 (7-series), CARRY8 (UltraScale) or LOOKAHEAD8 (Versal); None where the
    report names none.
    """

    version: str
    part: str
    state: str | None
    lut: int
    ff: int
    dsp: int
    bram: float
    uram: int = 0
    carry: int | None = None


def read_utilization(path: Path) -> Utilization:
    """Read the text report at `path`; raises ReportError as `parse_utilization` does."""
    return parse_utilization(read_text(path), str(path))


def parse_utilization(text: str, name: str) -> Utilization:
    """Return the resources in a text report; `name` stands for the file in errors.

    Raises ReportError unless all sections of its table of contents are there and the rows for LUTs,
    registers, memory and DSPs are whole and agree: parts add up to sums, percentages to counts.
    """
    report = VivadoReport(text, name, "Utilization Design Information")
    version, part, state = report.version(), report.part(), report.state()
    if state is None:
        raise refuse(name, "banner", 1, "'Design State'", "none")
    sections = report.sections()

    def find(titles: tuple[str, ...]) -> Table:
        title = _select(titles, sections, name, len(report.lines))
        return report.table(title, sections[title])

    if _HIERARCHY in sections and not any(title in sections for title in _LOGIC):
        whole = "min_primitive_count" not in report.command()
        lut, ff, dsp, bram, uram = _hierarchy_figures(find((_HIERARCHY,)), whole)
        return Utilization(version, part, state, lut, ff, dsp, bram, uram)
    return _figures(version, part, state, find, set(sections))


def read_utilization_xml(path: Path) -> Utilization:
    """Read the report that ``-format xml`` wrote; raises ReportError as `parse_utilization_xml` does."""
    return parse_utilization_xml(read_bytes(path), str(path))


def parse_utilization_xml(content: bytes | str, name: str) -> Utilization:
    """Return the resources in a report that ``report_utilization -format xml`` wrote.

    `version` of the result is empty: this format does not say it. Raises ReportError as
    `parse_utilization` does, and when the content is not XML or has a document type or entities.
    """
    root = parse_xml(content, name, "RptDoc")
    if root.attribute("title") != "Utilization Design Information":
        raise refuse(
            name, "<RptDoc>", root.line, "'Utilization Design Information'", quoted(root.attribute("title"))
        )
    sections: dict[str, Element] = {}
    for element in root.walk():
        if element.tag == "section":
            title = element.attribute("title")
            if title in sections:
                raise refuse(name, f"section {quoted(title)}", element.line, "it once", "it twice")
            sections[title] = element

    def find(titles: tuple[str, ...]) -> Table:
        title = _select(titles, sections, name, root.line)
        return _xml_table(sections[title], title)

    part = part_name(root.attribute("partname"), name, "<RptDoc>", root.line)
    state = design_state(root.attribute("designstate"), name, "<RptDoc>", root.line)
    if _HIERARCHY in sections and not any(title in sections for title in _LOGIC):
        whole = "min_primitive_count" not in root.attributes.get("cmdline", "")
        lut, ff, dsp, bram, uram = _hierarchy_figures(find((_HIERARCHY,)), whole)
        return Utilization("", part, state, lut, ff, dsp, bram, uram)
    return _figures("", part, state, find, set(sections))


def _select(titles: tuple[str, ...], sections: Iterable[str], name: str, line: int) -> str:
    """Return the one of `titles` that the report has; raises ReportError, at `line`, when it has not one."""
    present = [title for title in titles if title in sections]
    if len(present) != 1:
        wanted = f"one section {' or '.join(map(quoted, titles))}"
        raise refuse(name, "sections", line, wanted, " and ".join(map(quoted, present)) or "none")
    return present[0]


def _figures(version: str, part: str, state: str, find: _Find, titles: set[str]) -> Utilization:
    placed = "placed" in state.lower() or "route" in state.lower()
    logic = _Sites(find(_LOGIC), placed)
    memory = _Sites(find(_MEMORY), placed)
    arithmetic = _Sites(find(_ARITHMETIC), placed)
    primitives = _primitives(find((_PRIMITIVES,))) if _PRIMITIVES in titles else None

    lut = logic.sum_of_parts(_LUTS, ("LUT as Logic", "LUT as Memory"))
    ff = logic.sum_of_parts(_REGISTERS, ("Register as Flip Flop", "Register as Latch"))
    if _BY_TYPE in titles:
        _check_registers_by_type(find((_BY_TYPE,)), logic, ff)
    dsp = _dsp(arithmetic)
    uram = _uram(memory, primitives)
    return Utilization(version, part, state, lut, ff, dsp, _bram(memory), uram, _carry(logic, primitives))


@dataclass(frozen=True, slots=True)
class _Site:
    """A row of a table of sites: `used` is a count, of tiles in halves; `depth` counts from 0."""

    row: Row
    name: str
    depth: int
    used: float


class _Sites:
    """The rows of a table of sites, each with its percentage checked."""

    def __init__(self, table: Table, placed: bool) -> None:
        self.table = table
        columns = table.columns()
        if columns not in _SITE_COLUMNS:
            found = ", ".join(map(quoted, columns))
            raise table.refuse(table.header[0].line, "columns Site Type, Used ... Util%", f"{found}")
        if len(table.rows) > _MOST_SITES:
            raise table.refuse(table.line, f"at most {_MOST_SITES} rows", f"{len(table.rows)}")
        self._used = columns.index("Used")
        self._placed = placed
        self.sites = [self._site(row) for row in table.rows]
        if not self.sites:
            raise table.refuse(table.line, "rows", "none")

    def _site(self, row: Row) -> _Site:
        table, cells = self.table, row.cells
        first = cells[0]
        depth, rest = divmod(len(first) - len(first.lstrip()) - 1, 2)
        name = label(row)
        if not name or not name.isascii() or rest or depth < 0:
            raise table.refuse(row.line, "the name of a site", quoted(first))
        used = _tiles(table, row, cells[self._used])
        for cell in cells[self._used + 1 : -2]:
            if cell.strip():
                table.integer(row, cell)
        self._check_percent(row, used, cells[-2].strip(), cells[-1].strip())
        return _Site(row, name, depth, used)

    def _check_percent(self, row: Row, used: float, available_cell: str, percent: str) -> None:
        table = self.table
        if not available_cell and not percent:
            return  # rows of one kind of cell share the sites of the row above
        available = table.integer(row, available_cell)
        if used > available and (self._placed or available == 0):
            raise table.refuse(row.line, f"at most {available} of {label(row)}", f"{used:g} used")
        share = 100 * used / available if available else 0.0
        if percent == "<0.01":
            agrees = 0 < share < 0.01
        elif _PERCENT.fullmatch(percent):
            agrees = abs(share - float(percent)) <= 0.005 + 1e-9
        else:
            raise table.refuse(row.line, f"a percentage of {label(row)}", quoted(percent))
        if not agrees:
            wanted = f"the percentage of {used:g} of {available} {label(row)}"
            raise table.refuse(row.line, wanted, quoted(percent))

    def top(self, names: tuple[str, ...]) -> _Site:
        """Return the only row of the first depth with one of `names`; raises ReportError without one."""
        found = [site for site in self.sites if site.depth == 0 and site.name in names]
        if len(found) != 1:
            line = found[1].row.line if found else self.table.line
            wanted = " or ".join(names)
            raise self.table.refuse(line, f"one row {wanted}", f"{len(found) or 'none'}")
        return found[0]

    def parts(self, site: _Site) -> list[_Site]:
        """Return the rows one deeper that follow `site`, up to the next row as deep as it."""
        found: list[_Site] = []
        for other in self.sites[self.sites.index(site) + 1 :]:
            if other.depth <= site.depth:
                break
            if other.depth == site.depth + 1:
                found.append(other)
        return found

    def count(self, site: _Site) -> int:
        """Return what a row uses as a whole number; raises ReportError when it is a half."""
        if site.used != int(site.used):
            raise self.table.refuse(site.row.line, f"a count of {site.name}", f"{site.used:g}")
        return int(site.used)

    def sum_of_parts(self, names: tuple[str, ...], required: tuple[str, ...]) -> int:
        """Return the count of the row with one of `names`, whose parts must be there and add up to it."""
        site = self.top(names)
        parts = self.parts(site)
        for name in required:
            if sum(part.name == name for part in parts) != 1:
                raise self.table.refuse(site.row.line, f"one row {name} below {site.name}", "none or two")
        self._check_sum(site, parts)
        for part in parts:
            if below := self.parts(part):
                self._check_sum(part, below)
        return self.count(site)

    def _check_sum(self, site: _Site, parts: list[_Site]) -> None:
        total = sum(part.used for part in parts)
        if total != site.used:
            names = " + ".join(part.name for part in parts)
            raise self.table.refuse(site.row.line, f"{site.name} to be {names} = {total:g}", f"{site.used:g}")


def _tiles(table: Table, row: Row, cell: str) -> float:
    """Return a count that can be a half, as that of block RAM tiles."""
    text = cell.strip()
    half = text.endswith(".5")
    return table.integer(row, text[:-2] if half else text) + (0.5 if half else 0.0)


def _bram(memory: _Sites) -> float:
    tile = memory.top(("Block RAM Tile",))
    parts = memory.parts(tile)
    large = [part for part in parts if part.name.startswith("RAMB36")]
    small = [part for part in parts if part.name.startswith("RAMB18")]
    if len(large) != 1 or len(small) != 1:
        raise memory.table.refuse(
            tile.row.line, "one row RAMB36 and one row RAMB18 below Block RAM Tile", "none or two"
        )
    total = large[0].used + small[0].used / 2
    # A tile that holds a FIFO18 has room for a RAMB18, so then there can be fewer tiles than the sum.
    shared = any(part.name.startswith("FIFO18") for part in memory.parts(large[0]))
    if not (tile.used == total or (shared and large[0].used <= tile.used <= total)):
        raise memory.table.refuse(
            tile.row.line, f"Block RAM Tile to be RAMB36 + RAMB18 / 2 = {total:g}", f"{tile.used:g}"
        )
    return tile.used


def _dsp(arithmetic: _Sites) -> int:
    site = arithmetic.top(_DSPS)
    kinds = [part for part in arithmetic.parts(site) if part.name.endswith(" only")]
    total = sum(kind.used for kind in kinds)
    if kinds and total != site.used:
        raise arithmetic.table.refuse(
            site.row.line, f"{site.name} to be the sum of its kinds, {total:g}", f"{site.used:g}"
        )
    return arithmetic.count(site)


def _primitives(table: Table) -> tuple[Table, dict[str, int]]:
    columns = table.columns()
    if columns != ("Ref Name", "Used", "Functional Category"):
        found = ", ".join(map(quoted, columns))
        raise table.refuse(table.header[0].line, "columns Ref Name, Used, Functional Category", f"{found}")
    counts: dict[str, int] = {}
    for row in table.rows:
        if label(row) in counts:
            raise table.refuse(row.line, f"one row {label(row)}", "two")
        counts[label(row)] = table.integer(row, row.cells[1])
    return table, counts


def _uram(memory: _Sites, primitives: tuple[Table, dict[str, int]] | None) -> int:
    listed: int | None = None
    if primitives is not None:
        listed = sum(count for name, count in primitives[1].items() if name.startswith("URAM"))
    if any(site.name == "URAM" for site in memory.sites):
        site = memory.top(("URAM",))
        uram = memory.count(site)
        if listed is not None and listed != uram:
            raise memory.table.refuse(site.row.line, f"URAM as among the primitives, {listed}", f"{uram}")
        return uram
    if listed:
        raise memory.table.refuse(
            memory.table.line, f"a row URAM, since the primitives have {listed} of them"
        )
    if listed is None and memory.table.title != "Memory":
        # 7-series has none; elsewhere only the primitives tell a part without them from a lost row.
        raise memory.table.refuse(
            memory.table.line, "a row URAM, or the primitives, which would list them", "neither"
        )
    return 0  # the part has none, or the design uses none


def _carry(logic: _Sites, primitives: tuple[Table, dict[str, int]] | None) -> int | None:
    if any(site.name in _CARRIES for site in logic.sites):
        site = logic.top(_CARRIES)
        carry = logic.count(site)
        if primitives is not None and primitives[1].get(site.name, 0) != carry:
            listed = primitives[1].get(site.name, 0)
            raise logic.table.refuse(
                site.row.line, f"{site.name} as among the primitives, {listed}", f"{carry}"
            )
        return carry
    if logic.table.title == "CLB Logic":
        raise logic.table.refuse(logic.table.line, "a row CARRY8", "none")
    if primitives is None:
        return None
    for name in _CARRIES:
        if name in primitives[1]:
            raise logic.table.refuse(
                logic.table.line, f"a row {name}, since the primitives have {primitives[1][name]} of them"
            )
    return primitives[1].get(_CARRY_7_SERIES)


def _check_registers_by_type(table: Table, logic: _Sites, ff: int) -> None:
    if table.columns()[0] != "Total":
        raise table.refuse(table.header[0].line, "column 'Total'", quoted(table.columns()[0]))
    total = sum(table.integer(row, row.cells[0]) for row in table.rows)
    # Gates made of registers are registers in the sum, and of no type.
    gates = sum(part.used for part in logic.parts(logic.top(_REGISTERS)) if "AND/OR" in part.name)
    if not ff - gates <= total <= ff:
        raise table.refuse(table.line, f"the types to add up to the {ff} registers", f"{total}")


def _hierarchy_figures(table: Table, whole: bool) -> tuple[int, int, int, float, int]:
    """Return LUTs, registers, DSPs, block RAM tiles and UltraRAMs of the topmost cell.

    `whole` is False when the command left small cells out, so that cells do not add up.
    """
    columns = table.columns()
    if columns not in _CELL_COLUMNS:
        wanted = "columns Instance, Module, Total LUTs ... DSP Blocks"
        raise table.refuse(table.line, wanted, ", ".join(map(quoted, columns)))
    numbers = {name: at for at, name in enumerate(columns)}
    dsps = columns[-1]
    if not table.rows:
        raise table.refuse(table.line, "rows", "none")

    def count(row: Row, name: str) -> int:
        cell = row.cells[numbers[name]].strip()
        found = _SHARE.fullmatch(cell)
        if found is None:
            raise table.refuse(row.line, f"a count of {name} of {label(row)}", quoted(cell))
        return int(found[1])

    def depth(row: Row) -> int:
        levels, rest = divmod(len(row.cells[0]) - len(row.cells[0].lstrip()) - 1, 2)
        if rest or levels < 0:
            raise table.refuse(row.line, "an instance", quoted(row.cells[0]))
        return levels

    top = table.rows[0]
    depths = [depth(row) for row in table.rows]
    if depths[0] != 0 or 0 in depths[1:]:
        raise table.refuse(top.line, "one topmost instance in the first row")
    luts = count(top, "Total LUTs")
    if "SRLs" in numbers and sum(count(top, name) for name in _LUT_KINDS) != luts:
        raise table.refuse(top.line, "Total LUTs to be Logic LUTs + LUTRAMs + SRLs", f"{luts}")
    below = [row for row, level in zip(table.rows, depths, strict=True) if level == 1]
    own = any(label(row) == f"({label(top)})" for row in below)
    # LUTs are shared between cells, so only the others add up.
    for name in ("FFs", "RAMB36", "RAMB18", dsps, *(("URAM",) if "URAM" in numbers else ())):
        total = sum(count(row, name) for row in below)
        if (total != count(top, name)) if own and whole else (total > count(top, name)):
            raise table.refuse(
                top.line, f"{name} to add up to those of {label(top)}, {count(top, name)}", f"{total}"
            )
    uram = count(top, "URAM") if "URAM" in numbers else 0
    bram = count(top, "RAMB36") + count(top, "RAMB18") / 2
    return luts, count(top, "FFs"), count(top, dsps), bram, uram


def _xml_table(section: Element, title: str) -> Table:
    table = section.get("table")
    header: list[Row] = []
    rows: list[Row] = []
    for child in table.children:
        if child.tag == "footnote":
            continue
        if child.tag != "tablerow":
            raise _xml_refuse(table, title, child.line, "<tablerow>", f"<{child.tag}>")
        tags = {cell.tag for cell in child.children}
        # The bar of the text report gives every cell a leading space, which depths count from.
        cells = tuple(" " + cell.attributes.get("contents", "") for cell in child.children)
        if any("contents" not in cell.attributes for cell in child.children):
            raise _xml_refuse(table, title, child.line, "cells with contents")
        if tags == {"tableheader"} and not rows:
            header.append(Row(child.line, cells))
        elif tags == {"tablecell"} and header:
            if len(cells) != len(header[-1].cells):
                raise _xml_refuse(
                    table,
                    title,
                    child.line,
                    f"{len(header[-1].cells)} cells as in the header",
                    str(len(cells)),
                )
            rows.append(Row(child.line, cells))
        else:
            found = ", ".join(sorted(tags)) or "nothing"
            raise _xml_refuse(table, title, child.line, "a header, then rows of cells", quoted(found))
    return Table(section.name, title, table.line, tuple(header), tuple(rows))


def _xml_refuse(table: Element, title: str, line: int, expected: str, found: str = "") -> ReportError:
    return refuse(table.name, f"table {quoted(title)}", line, expected, found)
