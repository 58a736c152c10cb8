"""The form `hls`: the student's hls4ml project for Vitis, whose C simulation is run here."""

import re
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np

from objectives.costs.score_port import REGIONS, SCORE_FRACTION, SCORE_WIDTH
from sweep.errors import ExportError
from sweep.export.form import Answer, Form, FormName, Source
from sweep.export.tools import compiler, copy_files, run, version_of
from sweep.export.vectors import Vectors
from sweep.synthesis import hls_project
from sweep.synthesis.vitis import SOURCES, STUDENT, TOP, conversion_command

CSIM = "csim.cpp"
_BENCH = "student_test.cpp"
_FLAGS = ("-std=c++17", "-O1", "-w", "-Ifirmware/ap_types", "-I.", '-DWEIGHTS_DIR="firmware/weights"')

_CSIM = f"""\
// Scores events: csim EVENTS SCORES. An event is {REGIONS} regions of 16 bits each; a score is 16 bits, in
// steps of 1/{2**SCORE_FRACTION}.
//   g++ -std=c++17 -O1 -Ifirmware/ap_types -I. -DWEIGHTS_DIR='"firmware/weights"' \
//       {CSIM} firmware/{TOP}.cpp -o csim
#include <cstdint>
#include <cstdio>

#include "firmware/{TOP}.h"

int main(int argc, char **argv) {{
    if (argc != 3) return 2;
    std::FILE *events = std::fopen(argv[1], "rb");
    std::FILE *scores = std::fopen(argv[2], "wb");
    if (events == nullptr || scores == nullptr) return 2;
    std::uint16_t counts[{REGIONS}];
    input_t regions[{REGIONS}];
    result_t result[1];
    while (std::fread(counts, sizeof counts, 1, events) == 1) {{
        for (int region = 0; region < {REGIONS}; ++region) regions[region] = counts[region];
        {TOP}(regions, result);
        const ap_ufixed<{SCORE_WIDTH}, {SCORE_WIDTH - SCORE_FRACTION}> score = result[0];
        const std::uint16_t raw = score.range({SCORE_WIDTH - 1}, 0).to_uint();
        if (std::fwrite(&raw, sizeof raw, 1, scores) != 1) return 1;
    }}
    return std::fclose(scores) == 0 ? 0 : 1;
}}
"""


class HlsForm(Form):
    """A Vitis project of hls4ml: the strategy, clock and interval between events are the study's."""

    name: ClassVar[FormName] = "hls"

    def write(self, source: Source, folder: Path) -> None:
        beside = folder.with_name(f"{folder.name}.converting")
        beside.mkdir()
        shutil.copyfile(source.folder / STUDENT, beside / STUDENT)
        run(conversion_command(source.target, source.scheme, token=""), beside, "hls4ml")
        project = beside / SOURCES
        forget_when_and_where(project)
        data = project / "tb_data"
        data.mkdir(exist_ok=True)
        regions, scores = source.bench()
        np.savetxt(data / "tb_input_features.dat", regions, fmt="%d")
        np.savetxt(data / "tb_output_predictions.dat", scores / 2**SCORE_FRACTION, fmt="%.8f")
        (project / CSIM).write_text(_CSIM)
        folder.rmdir()
        project.rename(folder)
        shutil.rmtree(beside)

    def answer(self, folder: Path, scheme: str, vectors: Vectors, scratch: Path) -> Answer:
        cxx = compiler()
        project = scratch / "project"
        copy_files(folder, project)
        flags = (*_FLAGS, "-c")
        run((cxx, *flags, f"firmware/{TOP}.cpp", "-o", "student.o"), project, "C++ of hls4ml")
        run((cxx, *_FLAGS, CSIM, "student.o", "-o", "csim"), project, "C simulation")
        run((cxx, *_FLAGS, _BENCH, "student.o", "-o", "bench"), project, "hls4ml's test bench")
        run(("./bench",), project, "hls4ml's test bench")
        check_bench(project / "tb_data")
        np.ascontiguousarray(vectors.regions, "<u2").tofile(project / "events.bin")
        run(("./csim", "events.bin", "scores.bin"), project, "C simulation")
        scores = np.fromfile(project / "scores.bin", "<u2").astype(np.uint16)
        return Answer(scores, {"c++": version_of(cxx)})


def forget_when_and_where(project: Path) -> None:
    """Take out what differs between two conversions of the same student: a random stamp and a copy of it."""
    (project / hls_project.RECORD).unlink()
    configuration = project / "hls4ml_config.yml"
    text = configuration.read_text()
    # The quotes are YAML's: a stamp of digits alone has them, others do not.
    stamp = re.search(r"^Stamp: '?([0-9a-f]{8})'?$", text, re.MULTILINE)
    if stamp is None:
        raise ExportError(f"hls: {configuration.name} has no stamp; another version of hls4ml?")
    (project / "keras_model.keras").unlink(missing_ok=True)
    text = re.sub(r"^KerasModel: .*$", "KerasModel: null", text, flags=re.MULTILINE)
    configuration.write_text(text.replace(stamp[0], "Stamp: student"))
    library = project / "build_lib.sh"
    library.write_text(library.read_text().replace(stamp[1], "student"))


def check_bench(data: Path) -> None:
    """Raise ExportError when hls4ml's own test bench did not print the scores of its events."""
    try:
        expected = np.loadtxt(data / "tb_output_predictions.dat", ndmin=1)
        found = np.loadtxt(data / "csim_results.log", ndmin=1)
    except (OSError, ValueError) as error:
        raise ExportError(f"hls: its test bench left no results ({error})") from error
    if found.shape != expected.shape:
        raise ExportError(f"hls: its test bench gives {len(found)} scores for {len(expected)} events")
    # It prints six digits.
    wrong = np.flatnonzero(~np.isclose(found, expected, rtol=5.1e-6, atol=0))
    if len(wrong):
        event = int(wrong[0])
        raise ExportError(
            f"hls: its test bench differs on {len(wrong)} of {len(expected)} events of tb_data; the first is"
            f" {event}: expected {expected[event]:.6g}, found {found[event]:g}"
        )
