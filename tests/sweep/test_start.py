"""A study of QKeras students, and one of HGQ students that starts from one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from objectives.data.h5 import write_regions
from objectives.errors import StudentError
from objectives.measurement import all_events
from objectives.recipe import Recipe
from objectives.students.network import QuantizedNetwork, Relu
from objectives.students.network_file import read_network, write_network
from sweep import home
from sweep.errors import StudyError, StudyFileError
from sweep.messages import Message, Noticed
from sweep.qkeras_environment import interpreter
from sweep.search.continuation import parent_state
from sweep.start import START_DESIGN, start_network
from sweep.storage.database import open_storage
from sweep.study import Study, create_or_resume
from sweep.study_file import parse_study
from sweep.worker.worker import Worker

NETWORK = {"filters": 2, "kernel": 3, "stride": 3, "hidden": 4}
QKERAS: dict[str, Any] = {
    "study": "given-bits",
    "dataset": {
        "source": {
            "kind": "h5",
            "zero_bias": ["zero_bias.h5"],
            "signals": {"jets": ["jets.h5"]},
        },
        "deposits": 300,
    },
    "teacher": {"file": "teacher.keras"},
    "student": NETWORK,
    "quantization": {"scheme": "qkeras", "layers": {"dense1": {"bits": [5, 8]}}},
    "training": {"epochs": 4, "batch": 64, "learning_rate": 1e-2},
    "objectives": ["mean_auc", "lut"],
    "reference_point": [0.5, 100_000],
    "budget": {"trials": 1},
    "continuation": {"share": 0},
}
HGQ: dict[str, Any] = {
    **QKERAS,
    "study": "from-given-bits",
    "quantization": {
        "scheme": "hgq",
        "data": {"overflow": "SAT", "rounding": "RND_CONV"},
        "score_rounding": "RND_CONV",
    },
    "training": {
        "epochs": 3,
        "batch": 64,
        "learning_rate": {"low": 1e-4, "high": 1e-3, "log": True},
        "beta": {"schedule": "constant", "final": 1e-6},
    },
    "budget": {"trials": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Region files, and a teacher that takes the energy of an event for its anomaly."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(1)
    soft = (rng.exponential(8, (1600, 18, 14)) * (rng.random((1600, 18, 14)) < 0.3)).astype(np.uint16)
    write_regions(folder / "zero_bias.h5", soft[:1200])
    hot = soft[1200:].copy()
    hot[:, 4:6, 3:5] += rng.integers(5, 60, (400, 2, 2)).astype(np.uint16)
    write_regions(folder / "jets.h5", hot)
    keras.Sequential([keras.Input((18, 14)), keras.layers.Rescaling(0.5)]).save(folder / "teacher.keras")
    return folder


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        python = interpreter()
        if python is None:
            pytest.skip("needs the environment of QKeras students: `sweep qkeras install`")
        patch.setenv("SWEEP_QKERAS_PYTHON", str(python))
        patch.setenv("SWEEP_HOME", str(tmp_path_factory.mktemp("home")))
        yield home.home()


@pytest.fixture(scope="module")
def storage(own_home: Path) -> Any:
    opened = open_storage(f"sqlite:///{own_home / 'sweep.db'}")
    yield opened
    opened.engine.dispose()


def run(storage: RDBStorage, folder: Path, content: dict[str, Any]) -> Worker:
    study, _ = create_or_resume(storage, parse_study(content, folder / "study.yaml"))
    SAID.clear()
    worker = Worker(study, SAID.append)
    worker.work()
    return worker


#: What the last worker said.
SAID: list[Message] = []


@pytest.fixture(scope="module")
def given_bits(storage: RDBStorage, folder: Path) -> Study:
    return run(storage, folder, QKERAS).study


@pytest.fixture(scope="module")
def worker(given_bits: Study, storage: RDBStorage, folder: Path) -> Worker:
    return run(storage, folder, {**HGQ, "start_from": f"given-bits/{end(given_bits).number}"})


def end(study: Study) -> FrozenTrial:
    """Return the study's only run, which is the point at its end."""
    [run] = study.runs()
    return run


# ---- a study of QKeras students -------------------------------------------------------------------


def test_bitwidths_are_searched(given_bits: Study) -> None:
    run = end(given_bits)
    assert run.params["quantization.layers.dense1.bits"] in (5, 8)
    assert "problem" not in run.user_attrs
    for point in given_bits.points():
        about = point.user_attrs
        assert about["beta"] == 0
        assert about["environment"]["qkeras-v3"] == "1.2.1"
        assert point.params == run.params, "the sampler learns from every point"
        assert min(about["cost"][name] for name in ("lut", "ff", "latency_ns", "hls_lut", "ebops")) > 0


# ---- HGQ students that start from one of them -----------------------------------------------------


def test_before_any_training_the_student_is_the_one_it_starts_from(worker: Worker, given_bits: Study) -> None:
    ground, trial = worker.runs.ground, end(worker.study)
    trainer = ground.trainer(Recipe.model_validate_json(trial.user_attrs["recipe"]))
    parent = parent_state(worker.study, trial.user_attrs, trainer)
    assert parent is not None
    trainer.load(parent)
    network, outputs, _ = trainer.finish()
    folder = home.students_folder("given-bits") / end(given_bits).user_attrs["student"]
    wanted = read_network(folder / "network.npz").predict(all_events(ground.dataset.validation))
    assert len(np.unique(wanted)) > 10
    assert (outputs == wanted).all()
    [notice] = [message.text for message in SAID if isinstance(message, Noticed)]
    assert "starts from given-bits/0: 0 of " in notice
    assert (network.predict(all_events(ground.dataset.test)) != 0).any()


def test_a_run_starts_where_it_is_told(worker: Worker, given_bits: Study) -> None:
    trial = end(worker.study)
    assert trial.user_attrs[START_DESIGN] == end(given_bits).user_attrs["design"]
    assert trial.user_attrs.get("problem") is None
    before, after = (run.user_attrs["validation"]["mean_auc"] for run in (end(given_bits), trial))
    assert abs(before - after) < 0.1, "three epochs at a low rate lead nowhere else"


def test_what_is_not_there(given_bits: Study, storage: RDBStorage, folder: Path, tmp_path: Path) -> None:
    number = end(given_bits).number
    student = home.students_folder("given-bits") / end(given_bits).user_attrs["student"]
    cases: list[tuple[str, type[Exception], str]] = [
        ("given-bits/999", StudyError, "trial 999 of study 'given-bits' holds no student"),
        ("nobody/1", StudyError, "study 'nobody' is not in the database"),
        (str(tmp_path), StudentError, "network.npz: there is no such file"),
    ]
    for source, kind, problem in cases:
        file = parse_study({**HGQ, "study": "wrong", "start_from": source}, folder / "study.yaml")
        with pytest.raises(kind, match=problem):
            start_network(Study(file, given_bits.optuna, storage))
    for other in ({"hidden": 5}, {"family": "cicada-v1"}, {"stride": 2}, {"hidden_2": 2}):
        content = {**HGQ, "student": {**NETWORK, **other}, "start_from": f"given-bits/{number}"}
        file = parse_study(content, folder / "study.yaml")
        with pytest.raises(StudyError, match=r"has layers of 3x3x1x2x3, 48x4, 4x1, the study's"):
            start_network(Study(file, given_bits.optuna, storage))
    file = parse_study({**HGQ, "start_from": str(student)}, folder / "study.yaml")
    found = start_network(Study(file, given_bits.optuna, storage))
    assert found is not None
    assert found.digest() == end(given_bits).user_attrs["design"]


def test_a_start_that_has_changed(worker: Worker, given_bits: Study) -> None:
    file = home.students_folder("given-bits") / end(given_bits).user_attrs["student"] / "network.npz"
    kept = read_network(file)
    write_network(file, QuantizedNetwork(kept.input_shape, (*kept.steps, Relu())))
    try:
        with pytest.raises(StudyError, match="holds another student than"):
            parent_state(worker.study, end(worker.study).user_attrs, None)  # type: ignore[arg-type]
    finally:
        write_network(file, kept)


# ---- the study file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"student": {"hidden": [4, 8]}}, "student.hidden: start_from decides it"),
        (
            {"quantization": {"weights": {"bits": {"low": 3, "high": 5}}}},
            "quantization.weights.bits: start_from decides it",
        ),
        ({"quantization": {"scheme": "qkeras"}}, "start_from: only students of the scheme hgq"),
        ({"start_from": 3}, "start_from"),
    ],
)
def test_study_files_that_cannot_start(
    study_file: Callable[..., Any], sections: dict[str, Any], problem: str
) -> None:
    base = {"student": {}, "training": {"beta": {"final": 1e-3}}, "start_from": "mine/3"}
    with pytest.raises(StudyFileError, match=problem):
        study_file(**{**base, **sections})


def test_a_folder_is_relative_to_the_study_file(study_file: Callable[..., Any]) -> None:
    base = {"student": {}, "training": {"beta": {"final": 1e-3}}}
    assert study_file(**base, start_from="mine/3").start_from == "mine/3"
    file = study_file(**base, start_from="./mine/3")
    assert file.start_from == Path.cwd() / "mine" / "3"
    assert type(file).model_validate_json(file.model_dump_json(), strict=True) == file


@pytest.mark.parametrize(
    ("quantization", "problem"),
    [
        ({"scheme": ["hgq", "qkeras"]}, "quantization.scheme: must be fixed"),
        (
            {"scheme": "qkeras", "weights": {"bits": [4, 8]}},
            "unless quantization.scheme is hgq",
        ),
        ({"layers": {"conv": {"bits": [4, 8]}}}, "decides nothing unless quantization.scheme is qkeras"),
        (
            {"scheme": "qkeras", "layers": {"conv": {"bits": {"low": 3, "high": 8}}}},
            "integer_bits 3 does not fit into bits 3 besides the sign",
        ),
    ],
)
def test_schemes_of_study_files(
    study_file: Callable[..., Any], quantization: dict[str, Any], problem: str
) -> None:
    with pytest.raises(StudyFileError, match=problem):
        study_file(quantization=quantization, training={"beta": {"final": 1e-3}})
