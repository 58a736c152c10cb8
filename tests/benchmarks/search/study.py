"""Searches by this project: `sweep run` with one worker, for every other method is one process too."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sweep.storage.database import open_storage
from sweep.study import load
from sweep.study_file import read_yaml
from tests.benchmarks.search.kept import VARIATIONS, VARIATIONS_FILE, Reading, read_readings
from tests.benchmarks.search.measured import STUDY_FILE, Measured
from tests.benchmarks.search.running import Running

#: What the study of each method adds to the problem's; random search neither learns nor continues.
THIS_PROJECT = Path(__file__).with_name("this_project.yaml")
RANDOM = {"sampler": {"name": "random"}, "continuation": {"share": 0.0}}


def study_of(method: str) -> dict[str, Any]:
    """Return the content of the study file of `this_project`, `random_search` or a variation."""
    content = _merged(_read(STUDY_FILE), _read(THIS_PROJECT))
    if method in VARIATIONS:
        return _merged(content, _read(VARIATIONS_FILE)[method])
    return content if method == "this_project" else content | RANDOM


def _read(file: Path) -> dict[str, Any]:
    return read_yaml(file.read_bytes(), file.name)


def _merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `content` with `changes`, section by section."""
    result = dict(content)
    for key, value in changes.items():
        mine = result.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            result[key] = _merged(mine, value)
        else:
            result[key] = value
    return result


def start_study(folder: Path, seed: int, core_seconds: float, content: dict[str, Any]) -> Running:
    """Start a study of `core_seconds` with one worker, or go on with it."""
    budget = {"trials": 100_000, "core_hours": core_seconds / 3600}
    content = content | {"study": _name(folder), "seed": seed, "budget": budget}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    arguments = ["run", str(folder / "study.yaml"), "--storage", _storage(folder), "--workers", "1"]
    return Running("sweep", arguments, folder / "log.txt", read_readings(folder)[0])


def points(folder: Path, readings: list[Reading]) -> list[Measured]:
    """Return what a study measured.

    A point's time is all the processor time that the command and its children had used by then, so
    the last ones may be later than the study's budget.
    """
    times, used = np.array(readings).T
    return [
        Measured(
            float(np.interp(point.datetime_complete.timestamp(), times, used)),
            point.user_attrs["validation"]["mean_auc"],
            point.user_attrs["test"]["mean_auc"],
            point.user_attrs["cost"]["lut"],
            point.user_attrs["cost"]["latency_ns"],
        )
        for point in load(open_storage(_storage(folder), create=False), _name(folder)).points()
        if point.datetime_complete is not None
    ]


def _name(folder: Path) -> str:
    return f"search-{folder.name}"


def _storage(folder: Path) -> str:
    return f"sqlite:///{folder / 'sweep.db'}"
