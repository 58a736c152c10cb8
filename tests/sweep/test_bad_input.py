"""What cannot be is refused: one line that says what to do, an exit code, and nothing changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from objectives.data.h5 import write_regions
from sweep.storage.database import open_storage
from sweep.study import create_or_resume
from sweep.study_file import parse_study

Sweep = Callable[..., Any]

GOOD: dict[str, Any] = {
    "study": "good",
    "dataset": {"source": {"kind": "pythia", "zero_bias": 1000, "signal_events": 100, "pool": 200}},
    "student": {"hidden": [4, 8]},
    "training": {"beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}}},
    "objectives": ["mean_auc", "lut"],
    "budget": {"trials": 2},
}


def but(**sections: Any) -> str:
    """Return a good study file but for some sections; None leaves one out."""
    content = {name: value for name, value in {**GOOD, **sections}.items() if value is not None}
    return yaml.safe_dump(content)


def beta(**values: Any) -> str:
    return but(training={"beta": values})


# ---- the scene, in which nothing may change -----------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study file, a database that holds its study, and a file of regions."""
    folder = tmp_path_factory.mktemp("scene")
    (folder / "good.yaml").write_text(but())
    storage = open_storage(f"sqlite:///{folder / 'good.db'}")
    create_or_resume(storage, parse_study(GOOD, folder / "good.yaml"))
    storage.engine.dispose()
    write_regions(folder / "good.h5", regions())
    return folder


@pytest.fixture(autouse=True)
def unchanged(
    scene: Path, sweep_home: Path, snapshot: Callable[[Path], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Every test here runs in the scene, and must leave it and the home folder as they were."""
    monkeypatch.chdir(scene)

    def look() -> dict[str, str]:
        ours = (".lock", "-wal", "-shm")  # what SQLite and we keep beside an open database
        return {name: digest for name, digest in snapshot(scene).items() if not name.endswith(ours)}

    before = look()
    yield
    assert look() == before
    assert not sweep_home.exists()


def regions(events: int = 8) -> Any:
    et = np.zeros((events, 18, 14), np.uint16)
    et[:, 2, 3] = np.arange(events)
    return et


def assert_refused(said: Any, part: str, *, out: str = "") -> None:
    assert said.code == 2
    assert said.out == out
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert said.err[:-1].isprintable()
    assert part in said.err


# ---- study files --------------------------------------------------------------------------------

STUDY_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "a comment only": ("# a study\n", "is empty"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "Latin-1": ("description: sch\xf6n".encode("latin-1"), "not UTF-8"),
    "UTF-16": (but().encode("utf-16"), "not UTF-8"),
    "null bytes": (b"study: a\0b\n", "not YAML"),
    "a tab": ("dataset:\n\tsource: 1\n", "tab"),
    "an open bracket": ("objectives: [mean_auc, lut\n", "not YAML"),
    "a list": ("- study\n- good\n", "a mapping"),
    "one word": ("good\n", "a mapping"),
    "two documents": (but() + "---\n" + but(), "document"),
    "an alias": ("a: &x 1\nb: *x\n", "alias"),
    "code": ("study: !!python/object/apply:os.system ['touch evil']\n", "tag"),
    "a key twice": ("study: a\nstudy: b\n", "given twice"),
    "not a number": (but() + "seed: .nan\n", "not a finite number"),
    "much too large": (b"# " + b"x" * 1_000_001, "larger than"),
    "much too deep": ("a: " + "[" * 100 + "]" * 100, "nested deeper"),
    "an unknown key": (but(speed=9), "speed: unknown key"),
    "a misspelt key": (but(training={"epoch": 3}), "did you mean epochs?"),
    "no objectives": (but(objectives=None), "objectives: this key is required"),
    "no budget": (but(budget=None), "budget: this key is required"),
    "text for a number": (but(training={"epochs": "many"}), "training.epochs: must be a whole number"),
    "a fraction for a count": (but(student={"hidden": 4.5}), "student.hidden: must be a whole number"),
    "a truth for a number": (but(seed=True), "seed: must be a whole number"),
    "a share of all runs": (but(continuation={"share": 1}), "continuation.share: must be less than 1, not 1"),
    "a first run of no such path": (
        but(sampler={"first": [{"student.hiden": 8}]}),
        "sampler.first[0].student.hiden: this study does not search it",
    ),
    "a first run outside the space": (
        but(sampler={"first": [{"student.hidden": 4}, {"training.beta.final": 0.1}]}),
        "sampler.first[1].training.beta.final: 0.1 is outside 1e-07..0.01",
    ),
    "a huge number": (but(seed=2**40), "seed: must be less than"),
    "below a bound": (but(teacher={"epochs": 0}), "teacher.epochs: must be greater than or equal to 1"),
    "a choice beyond a bound": (but(quantization={"weights": {"bits": [4, 99]}}), "choice 99"),
    "a choice twice": (but(student={"hidden": [4, 4]}), "listed twice"),
    "no choice": (but(student={"hidden": []}), "at least one"),
    "a range upside down": (but(student={"hidden": {"low": 8, "high": 4}}), "low 8 is above high 4"),
    "a range without an end": (but(student={"hidden": {"low": 8}}), "has no high"),
    "a logarithm of zero": (beta(final={"low": 0, "high": 1e-2, "log": True}), "training.beta.final"),
    "a ramp that starts elsewhere": (
        beta(initial=1e-6, final={"low": 1e-7, "high": 1e-2, "log": True}),
        "training.beta.initial",
    ),
    "an unknown objective": (but(objectives=["mean_auk", "lut"]), "did you mean mean_auc?"),
    "only scores": (but(objectives=["mean_auc", "worst_auc"]), "one cost to minimize"),
    "an objective twice": (but(objectives=["lut", "mean_auc", "lut"]), "listed twice"),
    "a constraint upside down": (but(constraints={"lut": {"min": 5}}), "takes max"),
    "a name that is a path": (but(study="../../evil"), "study: must be 1 to 64"),
    "no name": (but(study=""), "study: must be 1 to 64"),
    "no runs": (but(budget={"trials": 0}), "budget.trials"),
    "parts that do not add up": (
        but(dataset={"source": {"kind": "pythia"}, "split": {"train": 0.9}}),
        "must be 1",
    ),
    "an unknown source": (but(dataset={"source": {"kind": "root"}}), "pythia or h5"),
    "a reference of another length": (but(reference_point=[0.5]), "must have 2 entries"),
    "a part that is a command": (but(hardware={"part": "x; exec rm"}), "hardware.part"),
}


@pytest.mark.parametrize("name", STUDY_FILES)
def test_a_study_file_that_cannot_be(name: str, sweep: Sweep, tmp_path: Path) -> None:
    content, part = STUDY_FILES[name]
    file = tmp_path / "bad.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = sweep("run", file)
    assert_refused(said, part)
    assert said.err.startswith(f"error: {file}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize("command", [["run"], ["data", "generate"], ["status"], ["front"]], ids=" ".join)
@pytest.mark.parametrize(
    "name", ["missing.yaml", "no/such/folder.yaml", ".yaml", "null\0byte.yaml", "x" * 300]
)
def test_a_study_file_that_is_not_there(command: list[str], name: str, sweep: Sweep) -> None:
    assert_refused(sweep(*command, name), "")


def test_a_folder_is_no_study_file(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert_refused(sweep("run", tmp_path / "folder.yaml"), "no such study file")
    assert_refused(sweep("status", tmp_path / "folder.yaml"), "cannot be read")


def test_an_unknown_name_is_told_the_known(sweep: Sweep) -> None:
    assert_refused(sweep("run", "quickstar"), "did you mean quickstart?")


def test_events_from_files_are_not_generated(sweep: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "h5.yaml"
    source = {"kind": "h5", "zero_bias": ["z.h5"], "signals": {"s": ["s.h5"]}}
    file.write_text(but(dataset={"source": source}, training={"exposure_fraction": 0}))
    assert_refused(sweep("data", "generate", file), "only `kind: pythia` is generated")


def test_a_study_that_changed(sweep: Sweep, scene: Path, tmp_path: Path) -> None:
    database = tmp_path / "trained.db"
    shutil.copy(scene / "good.db", database)
    storage = open_storage(f"sqlite:///{database}")
    create_or_resume(storage, parse_study(GOOD, scene / "good.yaml"))[0].optuna.ask()
    storage.engine.dispose()
    changed = tmp_path / "changed.yaml"
    changed.write_text(but(seed=9, teacher={"epochs": 9}))
    said = sweep("run", changed, "--storage", f"sqlite:///{database}")
    assert_refused(said, "in the database with another teacher, seed;")


# ---- files of regions ---------------------------------------------------------------------------


def plain(path: Path, regions: Any, **more: Any) -> None:
    with h5py.File(path, "w") as file:
        file["CaloRegions"] = regions
        for key, values in more.items():
            file[key] = values


def truncated(path: Path) -> None:
    write_regions(path, regions(500))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path: Path) -> None:
    write_regions(path, regions(500))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def wrong_key(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["Regions"] = regions()


def group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("CaloRegions")


def with_value(value: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        et = regions().astype(np.float64)
        et[5, 6, 7] = value
        plain(path, et)

    return make


H5_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("regions\n" * 100), "is not an h5 file"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a pipe": (os.mkfifo, "not a regular file"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "no such file"),
    "truncated": (truncated, "truncated"),
    "damaged": (flipped, "damaged"),
    "another key": (wrong_key, "no dataset CaloRegions"),
    "a group": (group, "expected a dataset"),
    "another shape": (lambda path: plain(path, np.zeros((8, 14, 18))), "has shape (8, 14, 18)"),
    "one event": (lambda path: plain(path, np.zeros((18, 14))), "has shape (18, 14)"),
    "one number": (lambda path: plain(path, 5), "has shape ()"),
    "no events": (lambda path: plain(path, np.zeros((0, 18, 14))), "has no events"),
    "text for energies": (
        lambda path: plain(path, np.full((2, 18, 14), b"x")),
        "expected integers or floats",
    ),
    "complex energies": (lambda path: plain(path, np.zeros((2, 18, 14), complex)), "expected integers"),
    "not a number": (with_value(np.nan), "event 5, phi 6, eta 7 is nan"),
    "infinite": (with_value(np.inf), "event 5, phi 6, eta 7 is inf"),
    "negative": (with_value(-1), "negative"),
    "above ten bits": (with_value(1024), "above 1023"),
    "half a count": (with_value(0.5), "not whole"),
    "too few flags": (lambda path: plain(path, regions(), AcceptanceFlag=[1, 0]), "expected (8,)"),
    "flags that are none": (lambda path: plain(path, regions(), AcceptanceFlag=[2] * 8), "true or false"),
}


@pytest.mark.parametrize("name", H5_FILES)
def test_a_file_that_holds_no_regions(name: str, sweep: Sweep, tmp_path: Path, scene: Path) -> None:
    make, part = H5_FILES[name]
    file = tmp_path / "bad.h5"
    make(file)
    inspected = sweep("data", "inspect", scene / "good.h5", file)
    assert_refused(inspected, part)

    validated = sweep("data", "validate", scene / "good.h5", file)
    assert (validated.code, validated.err) == (1, "")
    problem, verdict = validated.out.splitlines()
    assert problem == inspected.err.removeprefix("error: ").rstrip("\n")
    assert verdict == "1 of 2 files are good"

    as_json = sweep("data", "validate", file, "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out) == [{"path": str(file), "problem": problem}]


def test_files_that_are_listed_twice(sweep: Sweep, scene: Path, tmp_path: Path) -> None:
    shutil.copy(scene / "good.h5", tmp_path / "copy.h5")
    (tmp_path / "link.h5").symlink_to(scene / "good.h5")
    good = scene / "good.h5"
    said = sweep("data", "validate", good, good, tmp_path / "copy.h5", tmp_path / "link.h5")
    assert (said.code, said.err) == (1, "")
    *problems, verdict = said.out.splitlines()
    assert len(problems) == 3
    assert all("same events as" in problem for problem in problems)
    assert verdict == "1 of 4 files are good"


# ---- databases and names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nonsense", "not a database URL"),
        ("sqlite:///", "names no file"),
        ("sqlite:///missing.db", "no such database yet"),
        ("sqlite:///good.yaml", "not a database"),
        ("sqlite:///.", "is a folder"),
        ("postgresql+nosuch://user:sesame@host/name", "driver is not installed"),
        ("postgresql://user:sesame@host:port/name", "not a database URL"),
    ],
)
@pytest.mark.parametrize("command", ["status", "front"])
def test_a_database_that_cannot_be(command: str, url: str, part: str, sweep: Sweep) -> None:
    said = sweep(command, "good", "--storage", url)
    assert_refused(said, part)
    assert "sesame" not in said.err


def test_a_database_that_cannot_be_made(sweep: Sweep) -> None:
    assert_refused(sweep("run", "good.yaml", "--storage", "sqlite:///good.yaml/x.db"), "cannot be made")
    assert_refused(sweep("run", "good.yaml", "--storage", "sqlite:///good.h5"), "not a database")


@pytest.mark.parametrize("name", ["nobody", "", "no such study", "x" * 600, "a'b\"c", "two\nlines", "%s"])
@pytest.mark.parametrize("command", ["status", "front"])
def test_a_study_that_is_not_there(command: str, name: str, sweep: Sweep) -> None:
    assert_refused(sweep(command, name, "--storage", "sqlite:///good.db"), "(there: good)")


@pytest.mark.parametrize(
    "figure", ["no/such/folder/front.html", ".", "good.yaml/front.html", "front.gif", "front"]
)
def test_a_figure_that_cannot_be_written(figure: str, sweep: Sweep) -> None:
    said = sweep("front", "good", "--storage", "sqlite:///good.db", "--plot", figure)
    assert_refused(said, figure)


def test_nonsense_in_the_environment(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_STORAGE", "nonsense")
    assert_refused(sweep("status", "good"), "not a database URL")


@pytest.mark.parametrize("home", ["good.yaml", "good.yaml/deeper", "/proc/nowhere"])
def test_a_home_that_is_no_folder(home: str, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_HOME", home)
    assert_refused(sweep("run", "good.yaml"), "")
    monkeypatch.setenv("SWEEP_STORAGE", "sqlite:///good.db")
    begun = "Study good goes on after 0 of 2 runs, in sqlite:///good.db\n"
    assert_refused(sweep("run", "good.yaml"), "set SWEEP_HOME", out=begun)


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run"], "Missing argument"),
        (["run", "good.yaml", "more"], "unexpected extra argument"),
        (["run", "good.yaml", "--workers", "0"], "--workers"),
        (["run", "good.yaml", "--workers", "-2"], "--workers"),
        (["run", "good.yaml", "--workers", "many"], "--workers"),
        (["run", "good.yaml", "--trials", "0"], "--trials"),
        (["run", "good.yaml", "--trials", "1.5"], "--trials"),
        (["run", "good.yaml", "--speed", "9"], "No such option"),
        (["run", "good.yaml", "--storage"], "requires an argument"),
        (["status"], "Missing argument"),
        (["front", "good", "--jsn"], "No such option"),
        (["data", "inspect"], "Missing argument"),
        (["data", "look"], "No such command"),
        (["fly"], "No such command"),
    ],
)
def test_an_option_that_cannot_be(arguments: list[str], part: str, sweep: Sweep) -> None:
    said = sweep(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "Error" in said.err
    assert "Traceback" not in said.err
    assert part in " ".join(said.err.split())


# ---- through a real shell, with real processes behind it ----------------------------------------


@pytest.mark.parametrize(
    ("sections", "part"),
    [
        (
            {"dataset": {"source": {"kind": "h5", "zero_bias": ["good.h5"], "signals": {"s": ["no.h5"]}}}},
            "no.h5",
        ),
        (
            {"dataset": {"source": {"kind": "h5", "zero_bias": ["good.h5"], "signals": {"s": ["good.h5"]}}}},
            "same events",
        ),
    ],
    ids=["missing events", "a signal that is background"],
)
def test_data_that_cannot_be_used_end_a_run(
    sections: dict[str, Any], part: str, scene: Path, tmp_path: Path
) -> None:
    shutil.copy(scene / "good.h5", tmp_path)
    (tmp_path / "bad.yaml").write_text(but(training={"epochs": [1, 2], "exposure_fraction": 0}, **sections))

    def run(file: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sweep", "run", file, "--workers", "1"],
            cwd=tmp_path,
            env={**os.environ, "SWEEP_HOME": str(tmp_path / "elsewhere")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = run("bad.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr
    assert "Traceback" not in done.stdout
    storage = open_storage(f"sqlite:///{tmp_path / 'elsewhere' / 'sweep.db'}", create=False)
    assert storage.get_all_trials(storage.get_study_id_from_name("good")) == []
    storage.engine.dispose()
