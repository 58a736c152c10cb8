"""Exports as a user meets them: whole and proven, or not there at all."""

import json
import resource
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.costs.adder_graph import predict
from objectives.costs.rtl import load_logic
from objectives.costs.score_port import raw_scores
from sweep.errors import ExportError
from sweep.export import exporter
from sweep.export.certificate import Comparison, file_digests
from sweep.export.cmssw_form import CmsswForm
from sweep.export.exporter import Order, export_student
from sweep.export.form import Answer
from sweep.export.keras_form import KerasForm
from sweep.export.verification import Verified, verify_folder
from tests.sweep.export.subject import ABOUT, TARGET

ALL = ("keras", "rtl", "hls", "cmssw")


def test_every_form_is_verified(exported: Any) -> None:
    certificate = json.loads((exported.folder / "certificate.json").read_text())
    assert certificate["verified"]
    assert set(certificate["compared"]) == {"adder_graph", *ALL}
    for said in certificate["compared"].values():
        assert (said["events"], said["mismatches"], said["verified"]) == (4000, 0, True)
        assert said["scores_sha256"] == certificate["scores"]["sha256"]
        assert said["tools"]
    assert certificate["events"]["kinds"].keys() >= {"zero_bias", "tt", "all_zero", "all_1023", "hot_region"}
    assert certificate["scores"]["different"] > 50
    assert certificate["files"] == file_digests(exported.folder)
    for form in ALL:
        own = json.loads((exported.folder / form / "certificate.json").read_text())
        assert set(own["compared"]) == {"adder_graph", "keras", form}
        assert own["files"] == file_digests(exported.folder / form)
    assert exported.found.complete
    assert [path.name for path in exported.folder.parent.iterdir()] == [exported.folder.name]


def test_what_is_in_it(exported: Any) -> None:
    names = set(file_digests(exported.folder))
    assert names >= {
        *("README.md", "events.npz", "keras/student.keras", "keras/configuration.json", "keras/load.py"),
        *("rtl/src/cicada_student.v", "rtl/src/student.xdc", "rtl/src/student.sdc", "rtl/vivado.tcl"),
        *("rtl/quartus.tcl", "rtl/testbench.v", "rtl/vectors.txt", "hls/build_prj.tcl", "hls/csim.cpp"),
        *("hls/firmware/student.cpp", "hls/tb_data/tb_input_features.dat"),
        *(f"cmssw/CICADA_v0p0p7/{name}" for name in ("Makefile", "cicada.cpp", "CICADA_v0p0p7.cpp")),
    }
    for name in names:
        content = (exported.folder / name).read_bytes()
        assert str(exported.folder.parent).encode() not in content, name
    vivado = (exported.folder / "rtl/vivado.tcl").read_text()
    for source in json.loads((exported.folder / "rtl/rtl.json").read_text())["sources"]:
        assert f'read_verilog "{source}"' in vivado
        assert (exported.folder / "rtl" / source).is_file()
    assert 'synth_design -top "cicada_student" -part "xc7vx690tffg1927-2"' in vivado
    assert "-period 6.25" in (exported.folder / "hls/project.tcl").read_text() or (
        "set clock_period 6.25" in (exported.folder / "hls/project.tcl").read_text()
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras is not started again: its answer is the adder graph's, which `test_forms` compares with it."""

    def answer(self: KerasForm, folder: Path, scheme: str, vectors: Any, scratch: Path) -> Answer:
        return Answer(raw_scores(predict(load_logic(folder), vectors.images())), {"keras": "not started"})

    monkeypatch.setattr(KerasForm, "answer", answer)


@pytest.fixture
def export(clipped: Any, collisions: Any, tmp_path: Path, quick: None) -> Callable[..., Verified]:
    """Exports the clipped student to `tmp_path`/export."""

    def run(*forms: str, **changes: Any) -> Verified:
        order = replace(Order(forms, tmp_path / "export", events=3600), **changes)
        return export_student(clipped.folder, TARGET, ABOUT, collisions, order, "# A card\n")

    return run


@pytest.fixture
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert list(tmp_path.iterdir()) == []


def test_the_same_trial_gives_the_same_bytes(
    exported: Any,
    clipped: Any,
    collisions: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    convert_here: None,
) -> None:
    monkeypatch.setattr(exporter, "compare_forms", lambda *_: {"keras": Comparison(1, 0)})
    order = Order(ALL, tmp_path / "again", events=4000)
    export_student(clipped.folder, TARGET, ABOUT, collisions, order, "# A card\n")
    assert file_digests(tmp_path / "again") == file_digests(exported.folder)


def test_without_a_compiler(
    export: Callable[..., Verified], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    found = export("rtl", "cmssw")
    assert not found.complete
    certificate = json.loads((tmp_path / "export/certificate.json").read_text())
    assert not certificate["verified"]
    assert certificate["compared"]["keras"]["verified"]
    for form in ("rtl", "cmssw"):
        said = certificate["compared"][form]
        assert said == {
            "verified": False,
            "not_verified_because": "no C++ compiler: g++ is not on the PATH; install g++",
        }
        assert not json.loads((tmp_path / f"export/{form}/certificate.json").read_text())["verified"]
    assert (tmp_path / "export/rtl/src/cicada_student.v").is_file()


@pytest.mark.usefixtures("nothing_is_left")
def test_one_wrong_bit(export: Callable[..., Verified], monkeypatch: pytest.MonkeyPatch) -> None:
    answer = KerasForm.answer

    def wrong(*arguments: Any) -> Answer:
        right = answer(*arguments)
        right.scores[301] ^= 4
        return right

    monkeypatch.setattr(KerasForm, "answer", wrong)
    with pytest.raises(ExportError, match=r"^keras: .* 1 of 3,600 events; the first is event 301 \(tt\): "):
        export()


def test_a_folder_that_is_there(export: Callable[..., Verified], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    with pytest.raises(ExportError, match=r"is there already; give another folder, or --force"):
        export()
    with pytest.raises(ExportError, match=r"is no export, and not replaced even with --force"):
        export(force=True)
    assert (folder / "mine").read_text() == "mine"
    shutil.rmtree(folder)
    export()
    before = json.loads((folder / "certificate.json").read_text())
    with pytest.raises(ExportError, match=r"is there already"):
        export()
    export(force=True, events=3700)
    after = json.loads((folder / "certificate.json").read_text())
    assert (before["events"]["count"], after["events"]["count"]) == (3600, 3700)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.usefixtures("nothing_is_left")
def test_a_full_disk(export: Callable[..., Verified]) -> None:
    """A limit on the size of files stops a write as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ExportError, match=r"export: cannot be exported: File too large; nothing is left"):
            export()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("nothing_is_left")
def test_an_interrupted_export(export: Callable[..., Verified], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Answer:
        raise KeyboardInterrupt

    monkeypatch.setattr(KerasForm, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export()


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from sweep.export.exporter import Order, export_student
from sweep.export.keras_form import KerasForm
from sweep.synthesis.target import Target
KerasForm.answer = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
about = {"study": "s", "trial": 1, "design": "d", "emulator_version": "0.0.1"}
order = Order(("keras",), Path(sys.argv[2]), force=True, events=1000)
events = {"zero_bias": np.zeros((2, 252), np.uint16)}
export_student(Path(sys.argv[1]), Target(tool="vitis"), about, events, order, "card")
"""


def test_a_killed_export_leaves_what_was_there(
    export: Callable[..., Verified], clipped: Any, tmp_path: Path
) -> None:
    export()
    before = file_digests(tmp_path / "export")
    command = [sys.executable, "-c", KILLED, str(clipped.folder), str(tmp_path / "export")]
    assert subprocess.run(command, check=False).returncode == -9
    assert file_digests(tmp_path / "export") == before
    left = [path.name for path in tmp_path.iterdir() if path.name != "export"]
    assert len(left) == 1
    assert left[0].startswith(".export.")


# ---- verify ---------------------------------------------------------------------------------------


@pytest.fixture
def copy(exported: Any, tmp_path: Path) -> Path:
    """The export, elsewhere; of its forms only the emulator is compared again."""
    folder = tmp_path / "another place"
    shutil.copytree(exported.folder, folder)
    certificate = json.loads((folder / "certificate.json").read_text())
    for form in ("rtl", "hls"):
        del certificate["compared"][form]
    (folder / "certificate.json").write_text(json.dumps(certificate))
    return folder


@pytest.fixture
def quick_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator is not built either."""

    def same(self: Any, folder: Path, *arguments: Any) -> Answer:
        return KerasForm().answer(folder.parent / "keras", *arguments)

    monkeypatch.setattr(CmsswForm, "answer", same)


@pytest.mark.usefixtures("quick", "quick_emulator")
def test_verify(copy: Path, sweep: Callable[..., Any]) -> None:
    said = sweep("verify", copy, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["verified"]
    assert {name: each["mismatches"] for name, each in found["compared"].items()} == {
        "adder_graph": 0,
        "keras": 0,
        "cmssw": 0,
    }


def test_verify_names_what_differs(copy: Path, quick: None, sweep: Callable[..., Any]) -> None:
    source = copy / "cmssw/CICADA_v0p0p7/cicada.cpp"
    code = source.read_text()
    assert code.count("return std::uint16_t(") == 1
    source.write_text(code.replace("return std::uint16_t(", "return std::uint16_t(region[251] == 512 ? 3 : "))
    for path in copy.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    said = sweep("verify", copy)
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("error: cmssw: differs from the adder graph on ")
    assert "the first is event " in said.err


@pytest.mark.usefixtures("quick", "quick_emulator")
def test_verify_names_what_was_changed(copy: Path, sweep: Callable[..., Any]) -> None:
    assert verify_folder(copy).complete
    for name in ("hls/firmware/defines.h", "README.md"):
        (copy / name).write_text("changed")
    said = sweep("verify", copy)
    assert said.code == 2
    assert "README.md and 1 more: is not what was exported, though no score differs" in said.err
    with np.load(copy / "events.npz") as content:
        arrays = dict(content)
    arrays["scores"][7] ^= 1
    np.savez_compressed(copy / "events.npz", **arrays)
    said = sweep("verify", copy)
    assert (said.code, "its scores are not those that were exported" in said.err) == (2, True)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"format": 2}', "[1]"])
def test_verify_of_what_is_no_export(tmp_path: Path, content: str | None, sweep: Callable[..., Any]) -> None:
    if content is not None:
        (tmp_path / "certificate.json").write_text(content)
    said = sweep("verify", tmp_path)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert "certificate.json" in said.err


def test_verify_of_one_form(exported: Any, sweep: Callable[..., Any]) -> None:
    said = sweep("verify", exported.folder / "rtl")
    assert said.code == 2
    assert "is one form of an export; verify the folder that it lies in" in said.err


def test_load_py_runs(exported: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What the export says of loading is what a user can do."""
    runpy.run_path(str(exported.folder / "keras/load.py"))
    assert capsys.readouterr().out.startswith("500 events, mean score ")


@pytest.mark.parametrize("version", ["", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "1.2.3/../..", "1.2.3\n"])
def test_versions_that_are_none(version: str, clipped: Any, collisions: Any, tmp_path: Path) -> None:
    order = Order(("keras",), tmp_path / "export", events=1000)
    with pytest.raises(ExportError, match="expected three numbers, such as 2.2.0"):
        export_student(
            clipped.folder, TARGET, {**ABOUT, "emulator_version": version}, collisions, order, "card"
        )
    assert not list(tmp_path.iterdir())


def test_a_student_that_cannot_be_read(collisions: Any, tmp_path: Path) -> None:
    order = Order(("keras",), tmp_path / "exports" / "export", events=1000)
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "student.json").write_text('{"recipe": {}}')
    (tmp_path / "student" / "adder_graph.json.gz").write_bytes(b"nothing")
    with pytest.raises(ExportError, match="is no adder graph"):
        export_student(tmp_path / "student", TARGET, ABOUT, collisions, order, "card")
    assert not (tmp_path / "exports").exists()
