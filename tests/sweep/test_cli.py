"""The command line on a study that is there: what it prints, its exit codes, and what it leaves alone."""

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import RDBStorage

from objectives.data.dataset import load_dataset
from objectives.data.h5 import write_regions
from sweep.home import data_cache
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile, load_study_file

Sweep = Callable[..., Any]

COMMANDS = (
    ["run"],
    ["status"],
    ["front"],
    ["promote"],
    ["synthesize"],
    ["calibration"],
    ["data"],
    ["data", "inspect"],
    ["data", "validate"],
    ["data", "generate"],
    ["doctor"],
)


@pytest.fixture
def at(measured: Study, storage_url: str, study_file: Callable[..., StudyFile], tmp_path: Path) -> list[str]:
    """Where the measured study is, as options say it."""
    (tmp_path / "hand-made.yaml").write_text(study_file().model_dump_json())
    return ["--storage", storage_url]


# ---- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str], sweep: Sweep) -> None:
    said = sweep(*command, "--help")
    assert (said.code, said.err) == (0, "")
    assert "Usage: sweep " + " ".join(command) in said.out


def test_the_help_names_every_command(sweep: Sweep) -> None:
    said = sweep("--help")
    assert said.code == 0
    for command in COMMANDS:
        assert command[0] in said.out


def test_without_a_command_there_is_help(sweep: Sweep) -> None:
    said = sweep()
    assert "Usage: sweep" in said.out + said.err
    assert "quickstart" in said.out + said.err


# ---- status -------------------------------------------------------------------------------------


def test_status_counts(sweep: Sweep, at: list[str]) -> None:
    said = sweep("status", "hand-made", "--json", *at)
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["study"] == "hand-made"
    assert found["runs"] == {"done": 0, "budget": 4, "running": []}
    assert (found["points"], found["front"]) == (6, 3)
    assert found["hypervolume"] == pytest.approx(7200)
    assert found["core_seconds"] == 30
    assert found["problems"] == [{"trial": 7, "parent": 0, "problem": "broken"}]


def test_status_is_readable(sweep: Sweep, at: list[str]) -> None:
    said = sweep("status", "hand-made", *at)
    assert (said.code, said.err) == (0, "")
    assert "0 of 4 runs done" in said.out
    assert "6 points, 3 on the front" in said.out
    assert "trial 7: broken" in said.out


def test_a_study_may_be_named_by_its_file(sweep: Sweep, at: list[str], tmp_path: Path) -> None:
    for command in ("status", "front"):
        by_name = sweep(command, "hand-made", "--json", *at)
        by_file = sweep(command, tmp_path / "hand-made.yaml", "--json", *at)
        assert by_file == by_name


# ---- front --------------------------------------------------------------------------------------


def test_front_as_json_keeps_the_contract(
    sweep: Sweep, at: list[str], contract: Callable[[str], Any]
) -> None:
    said = sweep("front", "hand-made", "--json", *at)
    assert (said.code, said.err) == (0, "")
    assert [point.trial for point in contract(said.out).points] == [6, 4, 1]


def test_front_as_csv(sweep: Sweep, at: list[str]) -> None:
    said = sweep("front", "hand-made", "--csv", *at)
    assert (said.code, said.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [row["trial"] for row in rows] == ["6", "4", "1"]
    assert [float(row["lut"]) for row in rows] == [1000, 2000, 4000]


def test_front_as_a_table(sweep: Sweep, at: list[str]) -> None:
    said = sweep("front", "hand-made", *at)
    assert (said.code, said.err) == (0, "")
    for expected in ("Front of hand-made: 3 points", "4,000", "0.9000", "estimated", "7,200.0"):
        assert expected in said.out


def test_an_empty_front(
    sweep: Sweep,
    storage: RDBStorage,
    storage_url: str,
    study_file: Callable[..., StudyFile],
    contract: Callable[[str], Any],
) -> None:
    create_or_resume(storage, study_file(study="empty"))
    where = ["empty", "--storage", storage_url]
    assert contract(sweep("front", *where, "--json").out).points == []
    assert "no feasible point yet" in sweep("front", *where).out
    assert len(sweep("front", *where, "--csv").out.splitlines()) == 1
    assert json.loads(sweep("status", *where, "--json").out)["core_seconds_left"] is None
    assert sweep("status", *where).code == 0


def test_looking_changes_nothing(sweep: Sweep, at: list[str], tmp_path: Path, storage_url: str) -> None:
    file = Path(storage_url.removeprefix("sqlite:///"))

    def content() -> list[str]:
        connection = sqlite3.connect(file)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    before = content()
    for command in (["status"], ["front"], ["calibration"], ["promote", "--dry-run"]):
        for form in ([], ["--json"]):
            assert sweep(*command, "hand-made", *form, *at).code == 0
    assert sweep("calibration", *at).code == 0, "of all studies"
    assert content() == before
    assert not (tmp_path / "home").exists()


# ---- where studies are --------------------------------------------------------------------------


def test_the_database_may_stand_in_the_environment(
    sweep: Sweep, at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_STORAGE", at[1])
    assert sweep("status", "hand-made").code == 0
    monkeypatch.setenv("SWEEP_STORAGE", "sqlite:///nowhere.db")
    assert sweep("status", "hand-made").code == 2
    assert sweep("status", "hand-made", *at).code == 0, "the option goes before the environment"


def test_the_database_is_in_the_home_folder_otherwise(
    sweep: Sweep, measured: Study, storage_url: str, sweep_home: Path
) -> None:
    measured.optuna._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    sweep_home.mkdir()
    Path(storage_url.removeprefix("sqlite:///")).rename(sweep_home / "sweep.db")
    assert "6 points" in sweep("status", "hand-made").out


# ---- data ---------------------------------------------------------------------------------------


@pytest.fixture
def region_file(tmp_path: Path) -> Path:
    et = np.zeros((10, 18, 14), np.uint16)
    et[:, 3, 4] = 5
    et[7, 0, 0] = 1023
    write_regions(tmp_path / "good.h5", et, acceptance=np.arange(10) < 4)
    return tmp_path / "good.h5"


def test_inspect_tells_what_a_file_holds(sweep: Sweep, region_file: Path) -> None:
    said = sweep("data", "inspect", region_file, "--json")
    assert (said.code, said.err) == (0, "")
    (found,) = json.loads(said.out)
    assert (found["path"], found["layout"], found["events"]) == (str(region_file), "2026", 10)
    assert found["max_region_et"] == {"50": 5, "95": 1023, "99": 1023}
    assert found["accepted"] == 4
    assert found["zero_fraction"] == pytest.approx(1 - 11 / 2520)


def test_inspect_is_readable(sweep: Sweep, region_file: Path) -> None:
    said = sweep("data", "inspect", region_file)
    assert (said.code, said.err) == (0, "")
    for expected in ("good.h5", "2026", "10", "1023", "AcceptanceFlag"):
        assert expected in said.out


def test_validate_says_that_all_is_well(sweep: Sweep, region_file: Path) -> None:
    said = sweep("data", "validate", region_file)
    assert (said.code, said.out, said.err) == (0, "1 of 1 files are good\n", "")
    assert json.loads(sweep("data", "validate", region_file, "--json").out) == []


GENERATED = """
study: generated
dataset:
  source: {kind: pythia, zero_bias: 100, signal_events: 20, pool: 100, signals: [tt], exposure: []}
training: {exposure_fraction: 0, epochs: [1, 2]}
objectives: [mean_auc, lut]
budget: {trials: 1}
"""


def test_generated_events_are_those_that_a_run_uses(
    sweep: Sweep, sweep_home: Path, tmp_path: Path, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    file = tmp_path / "generated.yaml"
    file.write_text(GENERATED)
    said = sweep("data", "generate", file, "--processes", "1", "--json")
    assert said.code == 0
    files = json.loads(said.out)
    assert set(files) == {"zero_bias", "tt"}
    before = snapshot(sweep_home)
    dataset = load_dataset(load_study_file(file).dataset, data_cache())
    assert len(dataset.train.zero_bias) == 50
    assert (
        sum(len(part.signals["tt"]) for part in (dataset.validation, dataset.test, dataset.synthesis)) == 20
    )
    again = sweep("data", "generate", file)
    assert again.out.split() == [word for name in ("zero_bias", "tt") for word in (name, files[name])]
    assert snapshot(sweep_home) == before, "nothing was made twice"


# ---- doctor -------------------------------------------------------------------------------------


def test_doctor_looks_at_everything(sweep: Sweep, at: list[str]) -> None:
    said = sweep("doctor", "--json", *at)
    found = {finding["what"]: finding for finding in json.loads(said.out)}
    assert {"Python", "optuna", "alkaid", "machine", "SWEEP_HOME", "storage", "vivado"} <= set(found)
    assert {finding["status"] for finding in found.values()} <= {"ok", "absent", "broken"}
    assert found["storage"]["status"] == "ok"
    assert all(finding["advice"] for finding in found.values() if finding["status"] != "ok")
    assert said.code == (1 if any(f["status"] == "broken" for f in found.values()) else 0)


def test_doctor_makes_nothing(sweep: Sweep, sweep_home: Path) -> None:
    found = {f["what"]: f for f in json.loads(sweep("doctor", "--json").out)}
    assert found["storage"]["status"] == "absent"
    assert "sweep run" in found["storage"]["advice"]
    assert not sweep_home.exists()


def test_doctor_tells_of_a_broken_database_without_its_password(sweep: Sweep) -> None:
    said = sweep("doctor", "--json", "--storage", "mssql+pymssql://user:sesame@host/name")
    assert said.code == 1
    assert "sesame" not in said.out + said.err
    assert {f["what"]: f for f in json.loads(said.out)}["storage"]["status"] == "broken"
    assert sweep("doctor", "--storage", "mssql+pymssql://user:sesame@host/name").code == 1


# ---- in a real shell ----------------------------------------------------------------------------


def test_a_reader_that_leaves_early_sees_no_error(at: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "front", "hand-made", "--json", *at],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert done.stderr == ""


FRAMEWORKS = {"tensorflow", "keras", "hgq", "pythia8mc", "hls4ml"}


@pytest.mark.parametrize(
    ("command", "part", "slow"),
    [
        (["status"], "6 points", FRAMEWORKS | {"alembic", "alkaid"}),
        (["front"], "3 points", FRAMEWORKS | {"alembic", "alkaid"}),
        (["promote", "--dry-run"], "3 points", FRAMEWORKS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_looking_at_a_study_needs_nothing_that_is_slow_to_import(
    command: list[str], part: str, slow: set[str], at: list[str]
) -> None:
    code = (
        "import sys; from sweep.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"loaded = {slow} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "hand-made", *at],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert part in done.stdout
