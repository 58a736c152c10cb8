"""`sweep run` and `sweep worker`: when a study is over, when only a process is, and who was told to stop."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.storages import RDBStorage
from rich.console import Console

from sweep.display import Display
from sweep.errors import StudyError
from sweep.local import run_here
from sweep.storage.database import open_storage
from sweep.storage.register import Register, ask_to_stop, workers_of
from sweep.study import create_or_resume, load
from sweep.study_file import StudyFile
from tests.sweep.fleet import simulated


def test_a_study_whose_hours_are_spent_ends_well(
    sweep: Callable[..., Any], storage_url: str, tmp_path: Path
) -> None:
    file = simulated(1000, 0.01, budget={"trials": 1000, "core_hours": 1e-9})
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(file.model_dump(mode="json", exclude_none=True)))
    said = sweep("run", path, "--storage", storage_url, "--workers", "1")
    assert (said.code, "error" in said.err) == (0, False), said.err
    study = load(open_storage(storage_url), "fleet")
    assert len(study.runs()) == 1, "after the first run the hours are spent"
    assert "is done: 1 runs took" in sweep("run", path, "--storage", storage_url).out


def test_a_study_that_was_told_to_stop_says_so(
    storage: RDBStorage, storage_url: str, sweep_home: Path
) -> None:
    study, _ = create_or_resume(storage, simulated(1000, 0.01))

    class StopsAfterOne(Display):
        def advance(self, done: int, total: int | None = None) -> None:
            ask_to_stop(storage.engine, study.id)

    with (
        StopsAfterOne(Console(quiet=True), 1000, 0) as display,
        pytest.raises(StudyError, match=r"told to stop with \d+ of 1000 runs done; the same command goes on"),
    ):
        run_here(study, storage_url, 1, display)
    assert {run.state.name for run in study.runs()} <= {"COMPLETE", "RUNNING"}


# ---- processes that are worn out ------------------------------------------------------------------


def wearing_out(runs: int) -> StudyFile:
    """Return a study in which a process is worn out after two runs."""
    return simulated(runs, 0.01, simulation={"seconds": 0.01, "points": 2, "runs_of_a_process": 2})


def test_another_process_goes_on_when_one_is_worn_out(
    storage: RDBStorage, storage_url: str, sweep_home: Path
) -> None:
    study, _ = create_or_resume(storage, wearing_out(7))
    with Display(Console(quiet=True), 7, 0) as display:
        run_here(study, storage_url, 1, display)
    assert [run.state.name for run in study.runs()] == ["COMPLETE"] * 7
    workers = workers_of(storage.engine, study.id)
    assert sorted(worker["runs"] for worker in workers) == [1, 2, 2, 2]
    assert {worker["state"] for worker in workers} == {"ended"}


def test_a_worker_that_is_worn_out_becomes_another_program(
    storage: RDBStorage, storage_url: str, sweep_home: Path
) -> None:
    """To a batch system it is the same process; the limit of runs holds for all of them together."""
    study, _ = create_or_resume(storage, wearing_out(7))
    command = [sys.executable, "-m", "sweep", "worker", study.name, "--storage", storage_url]
    for options, ended, left in ((["--max-trials", "5"], [2, 2, 1], 2), ([], [2, 0], 0)):
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
            said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert [int(line.split()[0]) for line in said.splitlines() if " ended here" in line] == ended
        assert study.file.budget.trials - len(study.runs()) == left
        (worker,) = (w for w in workers_of(storage.engine, study.id) if f":{process.pid}:" in w["name"])
        assert worker["state"] == "ended"


def test_who_takes_the_place_of_another_is_told_what_that_was_told(storage: RDBStorage) -> None:
    study, _ = create_or_resume(storage, wearing_out(7))
    registers = [Register(storage.engine, study.id, name) for name in ("host:1:1", "host:2:2", "host:2:2")]
    succeeds = None
    for register in registers:
        with register.entered(succeeds=succeeds):
            assert register.stop is (succeeds is not None)
            register.has_successor = register is not registers[-1]
        assert ask_to_stop(storage.engine, study.id) == (1 if register.has_successor else 0)
        succeeds = register.worker
    assert {worker["state"] for worker in workers_of(storage.engine, study.id)} == {"ended"}
