"""What the readers of reports say of every layout, and what they refuse."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from sweep.errors import ReportError
from sweep.synthesis.reports import source
from sweep.synthesis.reports.csynth import CSynthesis, read_csynth, read_csynth_xml
from sweep.synthesis.reports.power import Power, parse_power, read_power
from sweep.synthesis.reports.timing import Timing, parse_timing, read_timing
from sweep.synthesis.reports.utilization import (
    Utilization,
    parse_utilization,
    parse_utilization_xml,
    read_utilization,
    read_utilization_xml,
)
from tests.sweep.synthesis.report_samples import OWN, Figures, Sample, manifest, own, real, shared_folder

EXPECTED: dict[str, Figures] = {
    "utilization_7_series_2019.rpt": Utilization(
        "2019.2", "7z020clg484-1", "Synthesized", lut=3597, ff=2330, dsp=23, bram=14.5, carry=188
    ),
    "utilization_ultrascale_plus_2023.rpt": Utilization(
        "2023.2",
        "xczu7ev-ffvc1156-2-e",
        "Routed",
        lut=10482,
        ff=15320,
        dsp=342,
        bram=12.5,
        uram=24,
        carry=871,
    ),
    "utilization_versal_2025.rpt": Utilization(
        "2025.1",
        "xcv80-lsva4737-2MHP-e-S",
        "Physopt postRoute",
        lut=116420,
        ff=233693,
        dsp=57,
        bram=87,
        uram=12,
        carry=6544,
    ),
    "utilization_hierarchical_2024.rpt": Utilization(
        "2024.1", "xcu280-fsvh2892-2L-e", "Optimized", lut=8354, ff=5005, dsp=32, bram=17.5, uram=14
    ),
    # More LUTs than the part has: legal before placement.
    "utilization_overfull_2020.rpt": Utilization(
        "2020.1", "xa7a35tcpg236-2I", "Synthesized", lut=21785, ff=59, dsp=0, bram=0
    ),
    "utilization_2024.xml": Utilization(
        "", "xcku040-ffva1156-2-e", "Routed", lut=6541, ff=8117, dsp=45, bram=20.5, carry=311
    ),
    "timing_met_2022.rpt": Timing("2022.1.2", "xczu9eg-ffvb1156", "Routed", 0.312, 0.0, 0.011, True),
    "timing_failed_2019.rpt": Timing("2019.1", "xcvu9p-flga2104", None, -0.241, -3.404, -4.915, False),
    "timing_pulse_width_2021.rpt": Timing("2021.2", "7k325t-ffg676", "Routed", 0.030, 0.0, 0.029, False),
    "timing_unconstrained_2025.rpt": Timing("2025.1", "7a35t-cpg236", "Routed", None, None, None, None),
    "power_2021.rpt": Power("2021.1", "xc7z045ffg900-2", 1.796, 1.576, 0.219),
    "power_hbm_2022.rpt": Power("2022.2", "xcu280-fsvh2892-2L-e", 18.571, 15.972, 2.599),
    "power_exceeded_2020.rpt": Power("2020.2", "xc7a35tcpg236-1", 95.342, 94.857, 0.485),
    "csynth_2019.1.rpt": CSynthesis(
        "2019.1", "xcvu9p-flgb2104-2-i", 79591, 11003, 1454, 40, 0, 13, 13, 10, 10, 5.0, 4.367, 0.62
    ),
    "csynth_2022.rpt": CSynthesis(
        "2022.2", "xc7z020-clg400-1", 3523, 7029, 32, 16, 0, 241, 517, 242, 518, 10.0, 7.09, 2.7
    ),
    # The estimate is slower than the target, so times follow the estimate.
    "csynth_slow_2021.rpt": CSynthesis(
        "2021.1", "xcu250-figd2104-2L-e", 34517, 70301, 1167, 45, 26, 79, 79, 32, 32, 5.0, 7.289, 1.35
    ),
    "csynth_unbounded_2020.rpt": CSynthesis(
        "2020.1", "xcu250-figd2104-2L-e", 3242, 5795, 67, 45, 0, 18, None, 19, None, 3.33, 2.431, 0.42
    ),
    "csynth_2023.xml": CSynthesis(
        "2023.2", "xcu250-figd2104-2L-e", 123917, 70301, 1171, 128, 16, 333, 351, 48, 52, 2.5, 1.812, 0.68
    ),
    "csynth_undefined_2020.xml": CSynthesis(
        "2020.1", "xc7z020-clg400-1", 19834, 9744, 171, 14, 0, None, None, None, None, 10.0, 8.75, 1.25
    ),
}
SAMPLES = {sample.name: sample for sample in own()}


def refusal(sample: Sample, text: str) -> str:
    """Return the one line with which `text` is refused."""
    with pytest.raises(ReportError) as caught:
        sample.parse(text, sample.name)
    message = str(caught.value)
    assert message.startswith(f"{sample.name}: ")
    assert "\n" not in message
    return message


def replaced(name: str, *changes: tuple[str, str]) -> str:
    """Return the text of a sample with each pair replaced, once."""
    text = SAMPLES[name].text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_every_layout_has_its_figures() -> None:
    assert {name: sample.figures() for name, sample in SAMPLES.items()} == EXPECTED


def test_real_reports_have_the_figures_of_the_manifest() -> None:
    rows = manifest()
    if not rows:
        pytest.skip(
            f"no real reports: {shared_folder()} has no manifest.tsv (SWEEP_SHARED names the folder above)"
        )
    columns = {"LUT": "lut", "FF": "ff", "DSP": "dsp", "BRAM": "bram", "WNS": "wns_ns"}
    for row, sample in zip(rows, real(), strict=True):
        found = sample.figures()
        assert found.version == row["vivado"], row["file"]
        assert found.part == row["part"], row["file"]
        if row["state"]:
            assert getattr(found, "state") == row["state"], row["file"]  # noqa: B009
        for column, field in columns.items():
            if row[column]:
                expected = None if row[column] == "NA" else float(row[column])
                assert getattr(found, field) == expected, (row["file"], field)


def test_edalize_reads_the_same_figures() -> None:
    reporting = pytest.importorskip("edalize.vivado_reporting").VivadoReporting
    files = [shared_folder() / row["file"] for row in manifest() if row["kind"] == "utilization"] + [
        OWN / "utilization_7_series_2019.rpt",
        OWN / "utilization_ultrascale_plus_2023.rpt",
    ]
    for path in files:
        tables = {
            title: table.set_index("Site Type")
            for title, table in reporting.report_resources(str(path)).items()
            if "Site Type" in table
        }
        kind = "Slice" if "Slice Logic" in tables else "CLB"
        memory = tables["Memory" if kind == "Slice" else "BLOCKRAM"]
        dsps = tables["DSP" if kind == "Slice" else "ARITHMETIC"]
        luts = [name for name in tables[f"{kind} Logic"].index if name.startswith(f"{kind} LUTs")]
        found = read_utilization(path)
        assert found.lut == int(tables[f"{kind} Logic"].loc[luts[0], "Used"])
        assert found.ff == int(tables[f"{kind} Logic"].loc[f"{kind} Registers", "Used"])
        assert found.bram == float(memory.loc["Block RAM Tile", "Used"])
        assert found.dsp == int(dsps.loc["DSPs", "Used"])


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_line_ends_and_byte_order_marks_change_nothing(name: str) -> None:
    sample = SAMPLES[name]
    for text in (sample.text.replace("\n", "\r\n"), "\ufeff" + sample.text, sample.text.rstrip("\n")):
        assert sample.parse(text, name) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("utilization_7_series_2019.rpt", read_utilization),
        ("utilization_2024.xml", read_utilization_xml),
        ("timing_met_2022.rpt", read_timing),
        ("power_2021.rpt", read_power),
        ("csynth_2022.rpt", read_csynth),
        ("csynth_2023.xml", read_csynth_xml),
    ],
)
def test_files(name: str, read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(OWN / name) == EXPECTED[name]

    def refused(path: Path, expected: str) -> None:
        with pytest.raises(ReportError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert expected in message
        assert "\n" not in message

    path = tmp_path / name
    refused(path, "No such file")
    refused(tmp_path, "expected a regular file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "expected a regular file")
    path.write_bytes(b"")
    refused(path, "found an empty file")
    path.write_bytes(b"first\n\xff\xfe second\n")
    refused(path, "line 2: expected UTF-8 text, found byte 0xff")
    path.write_bytes((OWN / name).read_bytes() + b"\0" * 4096)
    refused(path, "character 0x00")
    path.write_text(SAMPLES[name].text, encoding="utf-16")
    refused(path, "expected UTF-8 text")
    monkeypatch.setattr(source, "LARGEST", 1000)
    path.write_bytes((OWN / name).read_bytes())
    refused(path, "found more than")


def test_each_reader_refuses_the_reports_of_the_others() -> None:
    parsers = {sample.parse for sample in SAMPLES.values()}
    for sample in SAMPLES.values():
        for parse in parsers - {sample.parse}:
            with pytest.raises(ReportError):
                parse(sample.text, sample.name)


UTILIZATION = "utilization_ultrascale_plus_2023.rpt"


@pytest.mark.parametrize(
    ("changes", "place", "problem"),
    [
        (
            [("| CLB LUTs                   | 10482 |", "| CLB LUTs                   | 10483 |")],
            "table 'CLB Logic', line 30",
            "CLB LUTs to be LUT as Logic + LUT as Memory = 10482, found 10483",
        ),
        (
            [("|  4.55 |", "|  5.55 |")],
            "table 'CLB Logic', line 30",
            "percentage of 10482 of 230400 CLB LUTs",
        ),
        (
            [("|   LUT as Memory            |   604 |", "|   LUT as Mem               |   604 |")],
            "table 'CLB Logic'",
            "one row LUT as Memory below CLB LUTs",
        ),
        (
            [("| CARRY8                     |   871 |", "| CARRY8                     |   870 |")],
            "table 'CLB Logic'",
            "CARRY8 as among the primitives, 871, found 870",
        ),
        (
            [("| 15200 |          Yes |", "| 15201 |          Yes |")],
            "table 'Summary of Registers by Type'",
            "add up to the 15320 registers, found 15321",
        ),
        (
            [("| Block RAM Tile    | 12.5 |", "| Block RAM Tile    | 12.0 |")],
            "table 'BLOCKRAM'",
            "found '12.0'",
        ),
        (
            [
                (
                    "|   RAMB18          |    5 |     0 |          0 |       624 |  0.80 |",
                    "|   RAMB18          |    6 |     0 |          0 |       624 |  0.96 |",
                )
            ],
            "table 'BLOCKRAM'",
            "RAMB36 + RAMB18 / 2 = 13, found 12.5",
        ),
        (
            [("| URAM              |   24 |", "| URAN              |   24 |")],
            "table 'BLOCKRAM'",
            "a row URAM, since the primitives have 24",
        ),
        (
            [("| DSPs           |  342 |     0 |          0 |      1728 | 19.79 |\n", "")],
            "table 'ARITHMETIC'",
            "one row DSPs or DSP Slices, found none",
        ),
        (
            [("| DSPs           |  342 |", "| DSPs           | -342 |")],
            "table 'ARITHMETIC'",
            "a count of DSPs",
        ),
        (
            [
                (
                    "| DSPs           |  342 |     0 |          0 |      1728 | 19.79 |",
                    "| DSPs           | 3420 |     0 |          0 |      1728 |197.92 |",
                )
            ],
            "table 'ARITHMETIC'",
            "at most 1728 of DSPs, found 3420 used",
        ),
        ([("| Prohibited |", "| Forbidden  |")], "table 'CLB Logic', line 28", "columns Site Type, Used"),
        (
            [("|     0 |          0 |      1728 |", "|     0 |      1728 |")],
            "table 'ARITHMETIC'",
            "a row between the bars of the border",
        ),
        ([("\n4. ARITHMETIC\n-------------\n", "\n\n")], "table of contents", "section '4. ARITHMETIC'"),
        ([("| Design State : Routed\n", "")], "banner", "'Design State', found none"),
        ([("Vivado v.2023.2", "Vivado v2023")], "banner, line 3", "a version of Vivado"),
        ([("| Device       : xczu7ev-ffvc1156-2-e", "| Device       : ")], "banner", "'Device', found none"),
    ],
)
def test_utilization_is_refused_at_its_line(changes: list[tuple[str, str]], place: str, problem: str) -> None:
    message = refusal(SAMPLES[UTILIZATION], replaced(UTILIZATION, *changes))
    assert place in message
    assert problem in message


def test_two_reports_in_a_file_are_refused() -> None:
    for name in (UTILIZATION, "timing_met_2022.rpt", "power_2021.rpt"):
        assert "found a second" in refusal(SAMPLES[name], SAMPLES[name].text * 2)
    assert "found 2" in refusal(SAMPLES["csynth_2022.rpt"], SAMPLES["csynth_2022.rpt"].text * 2)


def test_a_hierarchical_report_that_leaves_cells_out_is_read() -> None:
    name = "utilization_hierarchical_2024.rpt"
    kept = [line for line in SAMPLES[name].text.split("\n") if "|   second" not in line]
    assert "FFs to add up to those of top, 5005, found 4823" in refusal(SAMPLES[name], "\n".join(kept))
    option = "report_utilization -hierarchical_min_primitive_count 500"
    assert parse_utilization("\n".join(kept).replace("report_utilization", option), name) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        (
            "timing_met_2022.rpt",
            [("0.312", "0.313")],
            "WNS to be the worst of the tables of clocks, 0.312 ns",
        ),
        (
            "timing_met_2022.rpt",
            [("        0.312        0.000", "       -0.312        0.000")],
            "0 failing endpoints",
        ),
        ("timing_met_2022.rpt", [("  WNS(ns)      TNS(ns)", "  TNS(ns)      WNS(ns)")], "columns WNS(ns)"),
        ("timing_met_2022.rpt", [("are met.", "are fine.")], "a verdict"),
        (
            "timing_met_2022.rpt",
            [("All user specified timing constraints are met.", "Timing constraints are not met.")],
            "slacks that agree with the verdict, found no failing endpoint",
        ),
        (
            "timing_failed_2019.rpt",
            [("Timing constraints are not met.", "All user specified timing constraints are met.")],
            "slacks that agree with the verdict, found failing endpoints",
        ),
        ("timing_failed_2019.rpt", [("-3.404", "-9.404")], "slacks of 31 failing endpoints"),
        (
            "timing_failed_2019.rpt",
            [("-0.241       -3.404                     31", "-0.241       -3.404                      0")],
            "slacks of 0 failing",
        ),
        (
            "timing_unconstrained_2025.rpt",
            [
                (
                    "There are no user specified timing constraints.",
                    "All user specified timing constraints are met.",
                )
            ],
            "slacks with constraints, found NA for all",
        ),
        ("timing_unconstrained_2025.rpt", [("NA           NA", " 0           NA")], "or NA for all four"),
        ("timing_met_2022.rpt", [("| Inter Clock Table", "| Inter Clock Tabel")], "'Inter Clock Table'"),
    ],
)
def test_timing_is_refused(name: str, changes: list[tuple[str, str]], problem: str) -> None:
    assert problem in refusal(SAMPLES[name], replaced(name, *changes))


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("power_2021.rpt", [("1.796", "1.799")], "the sum of its parts, 1.795 W, found 1.799 W"),
        ("power_2021.rpt", [("| 1.576        |", "| NA           |")], "watts for Dynamic (W), found 'NA'"),
        (
            "power_2021.rpt",
            [("| 1.576        |", "| <0.001       |")],
            "watts for Dynamic (W), found '<0.001'",
        ),
        (
            "power_2021.rpt",
            [("Device Static (W) ", "Device Dynamic (W)")],
            "a row Device Static (W), found none",
        ),
        ("power_hbm_2022.rpt", [("16.533", "16.433")], "the sum of its parts, 18.471 W, found 18.571 W"),
    ],
)
def test_power_is_refused(name: str, changes: list[tuple[str, str]], problem: str) -> None:
    message = refusal(SAMPLES[name], replaced(name, *changes))
    assert "table 'Summary', line " in message
    assert problem in message


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("csynth_2022.rpt", [("|   1418|", "|   1417|")], "LUT to add up to 3522, found 3523"),
        (
            "csynth_2022.rpt",
            [("241|      517|", "242|      517|")],
            "the time of 242 cycles, found '2.410 us'",
        ),
        ("csynth_2022.rpt", [("  2.410 us", "   241 ns.")], "the time of 241 cycles"),
        ("csynth_2022.rpt", [("|   FF   |  LUT  |", "|   LUT  |  FF   |")], "columns Name, BRAM_18K"),
        ("csynth_2022.rpt", [("|  7.090 ns|", "|      ? ns|")], "a period in ns"),
        ("csynth_2022.rpt", [("== Interface", "== Interfaces")], "Interface in order, found no Interface"),
        ("csynth_2022.rpt", [("* Target device:", "* Targeted:")], "'Target device', found none"),
        (
            "csynth_2022.rpt",
            [("for 'student'", "of all modules")],
            "report of a function of Vitis HLS or Vivado HLS",
        ),
        (
            "csynth_2023.xml",
            [("<DSP>1171</DSP>", "<DSP>?</DSP>")],
            "<DSP>, line 44: expected a count, found '?'",
        ),
        (
            "csynth_2023.xml",
            [("<DSP>1171</DSP>\n", "")],
            "<Resources>, line 42: expected one <DSP>, found none",
        ),
        (
            "csynth_2023.xml",
            [("<LUT>123917</LUT>", "<LUT>1</LUT><LUT>2</LUT>")],
            "expected one <LUT>, found 2",
        ),
        (
            "csynth_2023.xml",
            [("<Best-caseLatency>333", "<Best-caseLatency>433")],
            "rising order, found 433 before",
        ),
        ("csynth_2023.xml", [("<min>48</min>", "<min>47</min>")], "the interval, 48 cycles, found 47"),
        ("csynth_2023.xml", [("<unit>ns</unit>", "<unit>ps</unit>")], "expected 'ns', found 'ps'"),
        ("csynth_2023.xml", [("</profile>", "")], "whole XML"),
        ("csynth_undefined_2020.xml", [(">8.750<", ">undef<")], "a period in ns, found 'undef'"),
    ],
)
def test_csynth_is_refused(name: str, changes: list[tuple[str, str]], problem: str) -> None:
    assert problem in refusal(SAMPLES[name], replaced(name, *changes))


@pytest.mark.parametrize("name", ["csynth_2023.xml", "utilization_2024.xml"])
def test_document_types_and_entities_are_refused_unread(name: str) -> None:
    root = "profile" if name.startswith("csynth") else "RptDoc"
    levels = "\n".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<!DOCTYPE {root} [<!ENTITY a0 "ha">{levels}]><{root}>&a11;</{root}>'
    outside = f'<!DOCTYPE {root} SYSTEM "file:///etc/passwd"><{root}/>'
    for text in (laughs, outside, f'<?xml-stylesheet href="x"?><{root}/>'):
        assert "no document type and no entities" in refusal(SAMPLES[name], text)
    assert "whole XML" in refusal(SAMPLES[name], f"<{root}>&a11;</{root}>")
    assert "nested elements" in refusal(SAMPLES[name], f"<{root}>" + "<a>" * 100_000)
    with pytest.raises(ReportError, match="UTF-8"):
        SAMPLES[name].parse(laughs.encode("utf-16"), name)  # type: ignore[arg-type]


def test_a_hierarchy_in_xml_is_read() -> None:
    columns = ["Instance", "Module", "Total LUTs", "FFs", "RAMB36", "RAMB18", "URAM", "DSP Blocks"]
    rows = [
        ["top", "(top)", "100", "200", "3", "1", "2", "14"],
        ["  part", "part", "90", "150", "3", "1", "2", "14"],
    ]

    def row(tag: str, cells: list[str]) -> str:
        return "<tablerow>" + "".join(f'<{tag} contents="{cell}"/>' for cell in cells) + "</tablerow>"

    text = (
        '<RptDoc title="Utilization Design Information" partname="xc7k70t" designstate="Routed">'
        '<section title="Utilization by Hierarchy"><table>'
        + row("tableheader", columns)
        + "".join(row("tablecell", cells) for cells in rows)
        + "</table></section></RptDoc>"
    )
    expected = Utilization("", "xc7k70t", "Routed", lut=100, ff=200, dsp=14, bram=3.5, uram=2)
    assert parse_utilization_xml(text, "tree.xml") == expected


def test_names_of_files_cannot_break_the_line() -> None:
    with pytest.raises(ReportError) as caught:
        parse_power("nothing", "a\nb\x1b[31m.rpt")
    assert str(caught.value).isprintable()
    with pytest.raises(ReportError):
        read_power(Path("a\0b"))


HOSTILE = {
    "spaces in the banner": "-----\n| A" + " " * 200_000 + "\n-----\n",
    "fields in the banner": "-----\n| " + "A " * 100_000 + "\n-----\n",
    "rows": "+-+\n" + "| |\n" * 50_000,
    "bars": "+" + "-+" * 100_000 + "\n" + "|" * 200_001 + "\n",
    "digits": "| Slice LUTs | " + "9" * 200_000 + " |\n",
    "rules": "1. A\n----\n" * 20_000,
    "fields": "* Version:" + " " * 200_000 + "\n",
    "elements": "<profile>" + "<a/>\n" * 50_000 + "</profile>",
    "characters": "<profile>" + "a&lt;" * 50_000 + "</profile>",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_is_refused_quickly(case: str) -> None:
    bad = HOSTILE[case]
    for name in (
        "utilization_7_series_2019.rpt",
        "timing_met_2022.rpt",
        "csynth_2022.rpt",
        "csynth_2023.xml",
    ):
        sample = SAMPLES[name]
        lines = sample.text.split("\n")
        for text in (
            bad,
            "\n".join([*lines[:2], bad, *lines[2:]]),
            "\n".join([*lines[:24], bad, *lines[24:]]),
        ):
            start = time.thread_time()
            with contextlib.suppress(ReportError):
                assert sample.parse(text, name) == EXPECTED[name]
            assert time.thread_time() - start < 10.0  # backtracking would take minutes


def test_large_reports_are_read_quickly() -> None:
    details = "\n".join(
        f"    SLICE_X{n}Y{n}    FDRE (Prop_fdre_C_Q)    0.456    {n}.000 r" for n in range(100_000)
    )
    text = SAMPLES["timing_met_2022.rpt"].text + details
    assert parse_timing(text, "timing_met_2022.rpt") == EXPECTED["timing_met_2022.rpt"]


def test_a_table_cut_off_at_the_end_is_refused_at_its_line() -> None:
    sample = SAMPLES[UTILIZATION]
    lines = sample.text.rstrip("\n").split("\n")
    assert f"a table, line {len(lines) - 1}: " in refusal(sample, "\n".join(lines[:-1]))
    assert f"a table, line {len(lines)}: expected a whole border" in refusal(sample, "\n".join(lines)[:-4])


def test_a_report_without_a_command_is_read() -> None:
    name = "utilization_hierarchical_2024.rpt"
    text = replaced(name, ("report_utilization -file util.rpt -hierarchical", ""))
    assert parse_utilization(text, name) == EXPECTED[name]
