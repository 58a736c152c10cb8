"""What tests of promotion share: a small study whose students are real, made without a training framework."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.data.dataset import load_dataset
from objectives.data.h5 import write_regions
from objectives.measurement import all_events, measure_point
from objectives.students.network import Dense, Flatten, Quantize, QuantizedNetwork, Relu
from sweep import home, records
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile, parse_study

#: Regions that each student adds up: more see more, and cost more.
REGIONS_SEEN = (6, 14, 40, 90)


@dataclass(frozen=True)
class Students:
    """Saved students of hidden sums, in `folder`, and what a worker would have recorded of each."""

    file: StudyFile
    folder: Path
    recorded: tuple[dict[str, Any], ...]


def write_events(folder: Path) -> dict[str, Any]:
    """Write region files; return the dataset section of a study of them."""
    rng = np.random.default_rng(3)
    shape = (400, 18, 14)
    quiet = np.where(rng.random(shape) < 0.3, rng.exponential(4, shape), 0)
    # Two signals out of one draw, so that they differ from each other and from zero bias.
    louder = np.where(rng.random(shape) < 0.3, rng.exponential(5.5, shape), 0)
    samples = {"zero_bias": quiet, "soft": louder[:150], "hard": 2 * louder[150:300]}
    for name, events in samples.items():
        write_regions(folder / f"{name}.h5", events.astype(np.uint16))
    files = {name: [str(folder / f"{name}.h5")] for name in samples}
    return {"source": {"kind": "h5", "zero_bias": files.pop("zero_bias"), "signals": files}}


def network(regions: int, seed: int) -> QuantizedNetwork:
    """Return a student that adds up so many regions."""
    rng = np.random.default_rng(seed)
    shape = (18, 14, 1)
    kernel = np.zeros((252, 2))
    kernel[rng.permutation(252)[:regions]] = rng.integers(1, 3, (regions, 2))
    return QuantizedNetwork(
        shape,
        (
            Quantize(np.zeros(shape), np.full(shape, 5), np.zeros(shape), "SAT", "RND"),
            Flatten(),
            Dense(kernel, np.array([1.0, 2.0])),
            Relu(),
            Dense(np.array([[1.0], [1.0]]), np.array([0.0])),
        ),
    )


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> Students:
    """Real students, compiled, scored and saved; not to be changed."""
    folder = tmp_path_factory.mktemp("students")
    content = {
        "study": "small",
        "dataset": write_events(folder),
        "training": {"exposure_fraction": 0, "epochs": [1, 2]},
        "objectives": ["mean_auc", "lut"],
        "budget": {"trials": 1},
    }
    file = parse_study(content, folder / "small.yaml")
    dataset = load_dataset(file.dataset, folder / "cache")
    recorded = []
    for epoch, regions in enumerate(REGIONS_SEEN):
        made = network(regions, seed=epoch)
        graph = compile_adder_graph(made, Hardware())
        outputs = made.predict(all_events(dataset.validation))
        point = measure_point(made, graph, outputs, 10 * regions, dataset.validation, dataset.test)
        name = f"0-{epoch}-{made.digest()}"
        (folder / name).mkdir()
        graph.logic.save(folder / name / "adder_graph.json.gz")
        about = records.point_attributes(
            point,
            point.cost.as_json(),
            epoch=epoch,
            beta=1e-6,
            loss=1.0,
            design=made.digest(),
            student=name,
        )
        (folder / name / "student.json").write_text(json.dumps(about))
        recorded.append(about)
    return Students(file, folder, tuple(recorded))


@pytest.fixture
def make_small(storage: RDBStorage, sweep_home: Path, students: Students) -> Callable[..., Study]:
    """Puts the students into a study, all of them on its front; whole sections of its file may be given.

    Trial 0 is the run that they come from, without a student of its own; they are trials 1 to 4.
    """

    def make(name: str = "small", **sections: Any) -> Study:
        content = students.file.model_dump(mode="json") | {"study": name} | sections
        study, _ = create_or_resume(storage, parse_study(content, students.folder / "small.yaml"))
        run = study.optuna.ask()
        recipe = study.file.recipe_space().suggest(run)
        for key, value in {"role": "run", "seed": 7, "recipe": recipe.model_dump_json()}.items():
            run.set_user_attr(key, value)
        study.optuna.tell(run, state=TrialState.FAIL)
        for about in students.recorded:
            values = [about["validation"]["mean_auc"], about["cost"]["lut"]]
            study.optuna.add_trial(
                create_trial(values=values, user_attrs={"role": "point", "parent": 0, **about})
            )
            shutil.copytree(students.folder / about["student"], home.students_folder(name) / about["student"])
        return study

    return make


@pytest.fixture
def small(make_small: Callable[..., Study]) -> Study:
    return make_small()


@pytest.fixture
def database(storage_url: str) -> Callable[[], list[str]]:
    """Reads all that the database holds, to say that nothing changed."""

    def dump() -> list[str]:
        connection = sqlite3.connect(storage_url.removeprefix("sqlite:///"))
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    return dump
