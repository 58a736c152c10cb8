"""`sweep run`: when a study is over, and how that is told from one that was stopped."""

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
from sweep.register import ask_to_stop
from sweep.storage import open_storage
from sweep.study import create_or_resume, load
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
