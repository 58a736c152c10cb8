"""Every form of every kind of student gives the scores that Keras gives, bit for bit."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from objectives.costs.score_port import raw_scores
from sweep.errors import ExportError
from sweep.export.certificate import compare
from sweep.export.cmssw_form import CmsswForm, build_host, build_library
from sweep.export.form import Answer, Source
from sweep.export.hls_form import HlsForm, check_bench, forget_when_and_where
from sweep.export.rtl_form import RtlForm, vector_lines
from sweep.export.tools import NotVerifiedError, Verilator, run
from sweep.synthesis.hls_project import RECORD


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder for a form, and one to build in."""
    made = tmp_path / "a form", tmp_path / "scratch"
    for folder in made:
        folder.mkdir()
    return made


@pytest.fixture
def source(flat: Any, collisions: Any) -> Source:
    """The v1 student; the v2 student is exported whole in `test_export`."""
    made: Source = flat.source(collisions, "1.1.0")
    assert (raw_scores(flat.network.predict(made.vectors.images())) == made.scores).all()
    return made


@pytest.mark.parametrize("stamp", ["d2b033ee", "12345678", "09876543"])
def test_a_project_of_hls4ml_keeps_nothing_of_its_random_stamp(tmp_path: Path, stamp: str) -> None:
    written = {"KerasModel": "/somewhere/keras_model.keras", "ProjectName": "student", "Stamp": stamp}
    (tmp_path / "hls4ml_config.yml").write_text(yaml.safe_dump(written))
    (tmp_path / "build_lib.sh").write_text(f"PROJECT=student\nLIB_STAMP={stamp}\n")
    (tmp_path / RECORD).write_text("{}")
    forget_when_and_where(tmp_path)
    assert (tmp_path / "hls4ml_config.yml").read_text() == (
        "KerasModel: null\nProjectName: student\nStamp: student\n"
    )
    assert (tmp_path / "build_lib.sh").read_text() == "PROJECT=student\nLIB_STAMP=student\n"


def test_students_are_what_their_names_say(collisions: Any, clipped: Any, flat: Any, constant: Any) -> None:
    dead = [sum(bits) == 0 for bits in np.transpose(clipped.source(collisions, "1.0.0").logic.inp_kifs)]
    assert any(dead)
    assert not all(dead)
    scores = flat.source(collisions, "1.0.0").scores
    assert 100 < (scores == 2**16 - 1).sum() < len(scores) - 100  # saturated, as the firmware does
    assert len(np.unique(scores)) > 100
    assert len(np.unique(constant.source(collisions, "1.0.0").scores)) == 1


def test_rtl_of_a_constant_student(constant: Any, collisions: Any, folders: tuple[Path, Path]) -> None:
    folder, scratch = folders
    source = constant.source(collisions, "1.0.0")
    RtlForm().write(source, folder)
    answer = RtlForm().answer(folder, "hgq", source.vectors, scratch)
    assert compare("rtl", answer, source.scores, source.vectors).mismatches == 0
    assert [path.name for path in (folder / "src").glob("**/*.v")] == ["cicada_student.v"]


def test_hls(source: Source, folders: tuple[Path, Path], convert_here: None) -> None:
    folder, scratch = folders
    HlsForm().write(source, folder)
    answer = HlsForm().answer(folder, "hgq", source.vectors, scratch)
    assert compare("hls", answer, source.scores, source.vectors).mismatches == 0
    data = scratch / "project" / "tb_data" / "tb_output_predictions.dat"
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines[:2], f"{float(lines[2]) + 1 / 256:.8f}", *lines[3:]]) + "\n")
    with pytest.raises(ExportError, match=rf"differs on 1 of {len(lines)} events of tb_data; .* 2:"):
        check_bench(data.parent)


def test_rtl(source: Source, folders: tuple[Path, Path]) -> None:
    folder, scratch = folders
    RtlForm().write(source, folder)
    answer = RtlForm().answer(folder, "hgq", source.vectors, scratch)
    assert compare("rtl", answer, source.scores, source.vectors).mismatches == 0
    bench = scratch / "simulation" / "Vtestbench"
    lines = (folder / "vectors.txt").read_text().splitlines()
    lines[3] = lines[3][:-4] + f"{int(lines[3][-4:], 16) ^ 1:04x}"
    (scratch / "vectors.txt").write_text("\n".join(lines) + "\n")
    ended = subprocess.run([bench], cwd=scratch, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert f"event 3: expected {lines[3][-4:]}" in ended.stdout
    assert f"FAIL: 1 of {len(lines)} events differ" in ended.stdout + ended.stderr


def test_two_and_more_emulators_in_one_process(
    collisions: Any, clipped: Any, flat: Any, constant: Any, tmp_path: Path
) -> None:
    """Three versions loaded at once, all symbols global: each gives its own student's scores."""
    words: list[str] = []
    students = {"1.0.0": clipped, "1.1.0": flat, "2.0.0": constant}
    sources = {version: s.source(collisions, version) for version, s in students.items()}
    for version, source in sources.items():
        folder = tmp_path / version
        folder.mkdir()
        CmsswForm().write(source, folder)
        library = build_library(folder, tmp_path)
        words += [f"./{library}", f"scores-{version}.bin"]
        shown = subprocess.run(
            ["nm", "-D", "--defined-only", tmp_path / library], capture_output=True, text=True, check=True
        )
        names = {line.split()[-1] for line in shown.stdout.splitlines()}
        assert names == {"create_model", "destroy_model"}
    build_host(tmp_path)
    np.ascontiguousarray(source.vectors.regions, "<u2").tofile(tmp_path / "events.bin")
    run(("./host", "events.bin", *words), tmp_path, "host")
    for version, source in sources.items():
        found = np.fromfile(tmp_path / f"scores-{version}.bin", "<u2")
        assert (found == source.scores).all(), version


def test_regions_are_in_the_order_of_the_card() -> None:
    """Region 14 * phi + eta is at bit 10 * (14 * phi + eta) of the port."""
    event = np.zeros((1, 18, 14), np.uint16)
    event[0, 2, 5] = 0b1000000011
    [line] = vector_lines(event.reshape(1, 252), np.array([0xABC], np.uint16)).splitlines()
    bits, score = line.split()
    assert int(bits, 16) == 0b1000000011 << 10 * (14 * 2 + 5)
    assert (len(bits), score) == (630, "0abc")


def test_a_difference_names_event_and_value(source: Source) -> None:
    scores = source.scores.copy()
    event = len(source.vectors.collisions["zero_bias"]) + 3
    scores[event] ^= 1
    expected, found = (float(raw[event]) / 256 for raw in (source.scores, scores))
    message = (
        rf"^rtl: differs from the adder graph on 1 of 3,774 events; the first is event {event} \(tt\):"
        rf" expected {expected}, found {found}$"
    )
    with pytest.raises(ExportError, match=message):
        compare("rtl", Answer(scores, {}), source.scores, source.vectors)


def test_a_result_that_no_score_can_hold_is_refused() -> None:
    from alkaid.types import CombLogic

    from objectives.costs.adder_graph import compile_adder_graph
    from objectives.costs.config import Hardware
    from objectives.costs.score_port import result_port
    from objectives.errors import CostError
    from objectives.students.network import Dense, Flatten, Quantize, QuantizedNetwork

    def result(kernel: float) -> CombLogic:
        shape = (18, 14, 1)
        ten = Quantize(*(np.full(shape, bits) for bits in (0, 10, 0)), "WRAP", "TRN")
        weights = np.zeros((252, 1))
        weights[3] = kernel
        network = QuantizedNetwork(shape, (ten, Flatten(), Dense(weights, np.zeros(1))))
        return compile_adder_graph(network, Hardware()).logic

    assert result_port(result(0.125)).width == 10
    for kernel in (-0.125, 0.5, 2.0**-9):
        with pytest.raises(CostError, match=r"a score is ap_ufixed<16,8>, so its last layer has to clip"):
            result_port(result(kernel))


def test_verilator_where_make_cannot_build(tmp_path: Path) -> None:
    with pytest.raises(NotVerifiedError, match="set TMPDIR to a folder without spaces"):
        Verilator(tmp_path / "with a space")
