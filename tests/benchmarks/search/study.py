"""Searches by this project: `sweep run` as its users start it, on two cores."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from objectives.progress import Progress, silent
from sweep.storage import open_storage
from sweep.study import load
from tests.benchmarks.search.kept import Spent
from tests.benchmarks.search.measured import STUDY_FILE, Measured
from tests.benchmarks.search.running import Running

#: Seconds between two readings of the processor time.
READING = 0.25
WORKERS = 2


def run_study(
    folder: Path, seed: int, core_seconds: float, sampler: dict[str, Any], progress: Progress = silent
) -> tuple[list[Measured], Spent]:
    """Run the problem's study for `core_seconds` on two cores; return what it measured and took.

    A point's time is all the processor time that the command and its children had used by then, so
    the last ones may be later than `core_seconds`. Raises SearchError when the command failed.
    """
    content = yaml.safe_load(STUDY_FILE.read_text())
    content |= {"study": f"search-{folder.name}", "seed": seed, "sampler": sampler}
    content["budget"] = {"trials": 100_000, "core_hours": core_seconds / 3600}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    storage = f"sqlite:///{folder / 'sweep.db'}"
    arguments = ["run", str(folder / "study.yaml"), "--storage", storage, "--workers", str(WORKERS)]
    with Running("sweep", arguments, folder / "log.txt") as command:
        while not command.has_ended():
            progress("searching", round(command.spent.core_seconds), round(core_seconds))
            time.sleep(READING)
    command.check()
    return _points(storage, content["study"], command.readings), command.spent


def _points(storage: str, name: str, readings: list[tuple[float, float]]) -> list[Measured]:
    times, used = np.array(readings).T
    return [
        Measured(
            float(np.interp(point.datetime_complete.timestamp(), times, used)),
            point.user_attrs["validation"]["mean_auc"],
            point.user_attrs["test"]["mean_auc"],
            point.user_attrs["cost"]["lut"],
            point.user_attrs["cost"]["latency_ns"],
        )
        for point in load(open_storage(storage, create=False), name).points()
        if point.datetime_complete is not None
    ]
