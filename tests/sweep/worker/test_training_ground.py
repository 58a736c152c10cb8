"""What a run's preparation makes, its workers find, and train on."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from objectives.data.h5 import write_regions
from objectives.measurement import all_events, split_outputs
from objectives.recipe import Recipe
from objectives.scores import BUNCH_RATE_KHZ, score
from objectives.teacher import has_targets, target
from sweep import home
from sweep.messages import Message, Working
from sweep.processes import _prepare
from sweep.study_file import StudyFile, parse_study
from sweep.worker.training_ground import TrainingGround


def study(folder: Path, deposits: int, **sections: Any) -> StudyFile:
    """Return a study of few events, whose only exposure are deposits, and a teacher that says 0."""
    rng = np.random.default_rng(1)
    for name in ("zero_bias", "signal"):
        if not (folder / f"{name}.h5").exists():
            write_regions(folder / f"{name}.h5", rng.integers(0, 30, (100, 18, 14)))
    if not (folder / "teacher.keras").exists():
        teacher = keras.Sequential([keras.Input((18, 14)), keras.layers.Rescaling(0.0)])
        teacher.save(folder / "teacher.keras")
    content: dict[str, Any] = {
        "study": "deposits",
        "dataset": {
            "source": {"kind": "h5", "zero_bias": ["zero_bias.h5"], "signals": {"signal": ["signal.h5"]}},
            "deposits": deposits,
        },
        "teacher": {"file": "teacher.keras"},
        "training": {"exposure_fraction": [0.1, 0.3]},
        "objectives": ["mean_auc", "lut"],
        "budget": {"trials": 1},
        **sections,
    }
    return parse_study(content, folder / "study.yaml")


def prepare(file: StudyFile) -> list[Working]:
    """Return what the preparation of a run says."""
    said: list[Message] = []
    _prepare(1, said.append, file.model_dump_json())
    return [message for message in said if isinstance(message, Working)]


def test_deposits_are_prepared_once_and_trained_on(
    tmp_path: Path, sweep_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study(tmp_path, 60)
    said = [(message.what, message.done, message.total) for message in prepare(file)]
    assert said[-2:] == [("teacher scores of deposits", done, 60) for done in (0, 60)]
    again = {message.what for message in prepare(file)}
    assert again == {"reading zero_bias.h5", "reading signal.h5"}

    def refuse(*_: object) -> None:
        raise AssertionError("a worker computes no targets")

    monkeypatch.setattr("objectives.teacher._load_model", refuse)
    ground = TrainingGround(file)
    data = ground.training_data
    assert (data.zero_bias, data.exposure) == (50, 60)
    deposits = ground.dataset.train.exposure["deposits"]
    assert (data.events.numpy()[50:] == deposits).all()
    expected = target(np.mean(deposits.astype(np.float32) ** 2, axis=(1, 2)))
    assert data.targets.numpy()[50:] == pytest.approx(expected, abs=1.01 / 256)
    assert len(data.validation.numpy()[: data.validation_events]) == 15 + 30, "deposits are never scored"


def test_what_is_prepared_is_known_without_reading_it(tmp_path: Path, sweep_home: Path) -> None:
    def is_known(file: StudyFile) -> bool:
        return has_targets(file.teacher, file.dataset, home.teacher_cache())

    file, other = study(tmp_path, 60), study(tmp_path, 30)
    assert not is_known(file)
    prepare(file)
    assert is_known(file)
    assert not is_known(other), "its deposits have no targets yet"
    none = file.model_copy(update={"dataset": file.dataset.model_copy(update={"deposits": 0})})
    assert is_known(none)
    (folder,) = (path for path in home.teacher_cache().iterdir() if path.is_dir())
    (folder / "targets.npz").unlink()
    assert not is_known(file)


def test_a_process_compiles_so_many_graphs_and_no_more(
    tmp_path: Path, sweep_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.worker.training_ground.COMPILED_AT_MOST", 2)
    file = study(tmp_path, 60)
    prepare(file)
    ground = TrainingGround(file)
    worn_out = []
    for hidden in (2, 2, 3):
        ground.trainer(Recipe.model_validate({"student": {"hidden": hidden}}))
        worn_out.append(ground.is_worn_out)
    assert worn_out == [False, False, True], "the second one had its graphs already"


def test_studies_with_other_deposits_share_the_teacher(tmp_path: Path, sweep_home: Path) -> None:
    prepare(study(tmp_path, 60))
    prepare(study(tmp_path, 30))
    folders = [path for path in home.teacher_cache().iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert len(list(folders[0].glob("deposits-*.npy"))) == 2


def test_each_objective_is_judged_at_its_own_rate(tmp_path: Path, sweep_home: Path) -> None:
    half = BUNCH_RATE_KHZ / 2
    objectives = [f"efficiency@{half:g}kHz", "mean_auc", f"efficiency@{half / 2:g}kHz", "lut"]
    file = study(tmp_path, 10, objectives=objectives)
    ground = TrainingGround(file)
    part = ground.dataset.validation
    outputs = np.random.default_rng(3).normal(size=len(all_events(part)))
    outputs[len(part.zero_bias) :] += 1
    expected = {
        name: score(*split_outputs(part, outputs), rate_khz=rate).at_rate.mean_efficiency
        for name, rate in ((objectives[0], half), (objectives[2], half / 2))
    }
    judged = ground.judge(outputs)
    assert {name: judged[name] for name in expected} == expected
    assert expected[objectives[0]] > expected[objectives[2]] > 0
