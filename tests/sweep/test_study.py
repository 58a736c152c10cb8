"""Studies in the database: made, resumed, or refused in one line; and a sampler for every run."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.errors import StudyError
from sweep.study import MAY_CHANGE, STUDY_FILE, Study, create_or_resume, load, sampler_for
from sweep.study_file import StudyFile

MakeFile = Callable[..., StudyFile]


def refusal(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(StudyError) as refused:
        function(*arguments)
    text = str(refused.value)
    assert text.isprintable(), "one line"
    return text


# ---- made ---------------------------------------------------------------------------------------


def test_a_study_carries_its_file(storage: RDBStorage, study_file: MakeFile) -> None:
    file = study_file(description="two\nlines, and an ä", hardware={"clock_ns": 5.0})
    made, resumed = create_or_resume(storage, file)
    assert not resumed
    assert (made.name, made.file) == ("hand-made", file)
    found = load(storage, "hand-made")
    assert (found.file, found.id) == (file, made.id)
    assert [direction.name for direction in found.optuna.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert found.optuna.metric_names == ["mean_auc", "lut"]


def test_a_study_that_is_not_there_says_what_is(storage: RDBStorage, study_file: MakeFile) -> None:
    assert "'nobody' is not in the database (there: none)" in refusal(load, storage, "nobody")
    create_or_resume(storage, study_file(study="one"))
    create_or_resume(storage, study_file(study="two"))
    assert "(there: one, two)" in refusal(load, storage, "nobody")


def test_runs_and_points_are_told_from_the_rest(measured: Study) -> None:
    measured.optuna.ask()  # under way, and of no role yet
    assert [run.number for run in measured.runs()] == [0]
    assert [point.number for point in measured.points()] == [1, 2, 3, 4, 5, 6]
    assert [trial.number for trial in measured.trials(TrialState.FAIL)] == [0, 7]


# ---- resumed ------------------------------------------------------------------------------------

#: Another value for every section.
OTHER: dict[str, Any] = {
    "description": "said better",
    "dataset": {"source": {"kind": "pythia", "zero_bias": 2000}},
    "teacher": {"epochs": 3},
    "student": {"hidden": [4, 16]},
    "quantization": {"weights": {"bits": {"low": 4, "high": 8}}},
    "training": {"epochs": 81, "beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}}},
    "objectives": ["mean_auc", "ff"],
    "constraints": {"latency_ns": {"max": 100}},
    "hardware": {"clock_ns": 5.0},
    "sampler": {"name": "random"},
    "budget": {"trials": 40},
    "harvest": {"points": 3},
    "simulation": {"seconds": 2.0},
    "start_from": "legacy-qkeras/1",
    "continuation": {"share": 0.5},
    "seed": 2,
    "reference_point": [0.4, 9000],
    "promotion": {"size": 3},
    "synthesis": {"tool": "vivado"},
}


def test_every_section_is_tried() -> None:
    assert set(OTHER) == set(StudyFile.model_fields) - {"study"}
    assert set(MAY_CHANGE) <= set(OTHER)


def test_the_same_file_goes_on(measured: Study, storage: RDBStorage, study_file: MakeFile) -> None:
    again, resumed = create_or_resume(storage, study_file())
    assert resumed
    assert again.id == measured.id
    assert len(again.trials()) == len(measured.trials())


def test_a_study_from_before_deposits_goes_on(
    measured: Study, storage: RDBStorage, study_file: MakeFile
) -> None:
    content = json.loads(study_file().model_dump_json())
    assert content["dataset"].pop("deposits") == 0
    measured.optuna.set_user_attr(STUDY_FILE, json.dumps(content))
    assert load(storage, "hand-made").file == study_file()
    with_some = study_file(dataset={**content["dataset"], "deposits": 9})
    assert "with another dataset;" in refusal(create_or_resume, storage, with_some)
    again, resumed = create_or_resume(storage, study_file())
    assert (resumed, again.id, len(again.trials())) == (True, measured.id, len(measured.trials()))
    assert load(storage, "hand-made").file == study_file()


def test_a_study_from_before_continuation_goes_on(
    measured: Study, storage: RDBStorage, study_file: MakeFile
) -> None:
    content = json.loads(study_file().model_dump_json())
    del content["continuation"], content["sampler"]["first"]
    measured.optuna.set_user_attr(STUDY_FILE, json.dumps(content))
    again, resumed = create_or_resume(storage, study_file())
    assert (resumed, again.id, again.file) == (True, measured.id, study_file())


@pytest.mark.parametrize("section", sorted(set(OTHER) - set(MAY_CHANGE) - {"start_from"}))
def test_what_decides_a_student_may_not_change(
    section: str, measured: Study, storage: RDBStorage, study_file: MakeFile
) -> None:
    text = refusal(create_or_resume, storage, study_file(**{section: OTHER[section]}))
    assert f"with another {section};" in text
    assert load(storage, "hand-made").file == measured.file, "the study keeps its file"


def test_a_study_may_not_start_from_another_student(
    measured: Study, storage: RDBStorage, study_file: MakeFile
) -> None:
    weights = {"bits": 8, "integer_bits": 1}
    given = study_file(
        start_from=OTHER["start_from"], student={"hidden": 4}, quantization={"weights": weights}
    )
    assert "start_from" in refusal(create_or_resume, storage, given)
    assert load(storage, "hand-made").file.start_from is None


def test_all_that_changed_is_named(measured: Study, storage: RDBStorage, study_file: MakeFile) -> None:
    changed = {name: OTHER[name] for name in ("seed", "teacher", "budget", "harvest")}
    text = refusal(create_or_resume, storage, study_file(**changed))
    assert "with another teacher, harvest, seed;" in text


@pytest.mark.parametrize("section", MAY_CHANGE)
def test_what_decides_no_student_may_change(
    section: str, measured: Study, storage: RDBStorage, study_file: MakeFile
) -> None:
    file = study_file(**{section: OTHER[section]})
    again, resumed = create_or_resume(storage, file)
    assert resumed
    assert again.file == file
    assert load(storage, "hand-made").file == file


def test_a_study_without_a_trial_may_change(study: Study, storage: RDBStorage, study_file: MakeFile) -> None:
    file = study_file(dataset=OTHER["dataset"])
    again, resumed = create_or_resume(storage, file)
    assert (resumed, again.id) == (True, study.id)
    assert load(storage, "hand-made").file == file
    # Optuna keeps the directions that it was given.
    text = refusal(
        create_or_resume, storage, study_file(objectives=OTHER["objectives"], dataset=OTHER["dataset"])
    )
    assert "with another objectives;" in text


# ---- not ours -----------------------------------------------------------------------------------


def test_somebody_elses_study_is_refused_and_left_alone(storage: RDBStorage, study_file: MakeFile) -> None:
    theirs = optuna.create_study(
        storage=storage, study_name="hand-made", directions=["maximize", "minimize"], sampler=RandomSampler()
    )
    theirs.ask()
    for function, argument in ((load, "hand-made"), (create_or_resume, study_file())):
        assert "not made by sweep" in refusal(function, storage, argument)
    assert len(theirs.trials) == 1
    assert theirs.user_attrs == {}


def test_a_study_whose_maker_was_killed_is_made_to_its_end(storage: RDBStorage, study_file: MakeFile) -> None:
    half = optuna.create_study(
        storage=storage, study_name="hand-made", directions=["maximize", "minimize"], sampler=RandomSampler()
    )
    made, resumed = create_or_resume(storage, study_file())
    assert (made.id, resumed) == (half._study_id, False)
    assert load(storage, "hand-made").file == study_file()


def test_an_empty_study_of_other_directions_is_not_ours(storage: RDBStorage, study_file: MakeFile) -> None:
    optuna.create_study(
        storage=storage, study_name="hand-made", directions=["minimize", "minimize"], sampler=RandomSampler()
    )
    assert "not made by sweep" in refusal(create_or_resume, storage, study_file())


@pytest.mark.parametrize("text", ["", "{}", '{"study": "hand-made", "speed": 9}', "[1"])
def test_a_study_of_another_version_is_refused(storage: RDBStorage, study: Study, text: str) -> None:
    study.optuna.set_user_attr(STUDY_FILE, text)
    assert "another version" in refusal(load, storage, "hand-made")


MAKER = """
import sys, time
from pathlib import Path
from sweep.storage.database import open_storage
from sweep.study import create_or_resume
from sweep.study_file import load_study_file
url, folder, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
storage, file = open_storage(url), load_study_file(folder / "study.yaml")
(folder / f"ready-{number}").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
study, resumed = create_or_resume(storage, file)
print(study.id, resumed)
"""


def test_processes_that_begin_together_make_one_study(
    storage_url: str, tmp_path: Path, study_file: MakeFile
) -> None:
    (tmp_path / "study.yaml").write_text(study_file().model_dump_json())
    makers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MAKER, storage_url, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("ready-*"))) < len(makers):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (tmp_path / "go").touch()
    said = [maker.communicate(timeout=60)[0].split() for maker in makers]
    assert {maker.returncode for maker in makers} == {0}
    assert len({study_id for study_id, _ in said}) == 1


# ---- samplers -----------------------------------------------------------------------------------


def drawn(study: Study, sampler: BaseSampler) -> dict[str, Any]:
    study.optuna.sampler = sampler
    trial = study.optuna.ask()
    study.file.recipe_space().suggest(trial)
    study.optuna.tell(trial, state=TrialState.FAIL)
    return trial.params


@pytest.fixture
def filled(study: Study, point: Callable[..., FrozenTrial]) -> Study:
    """A study with finished trials that a sampler can learn from."""
    space = study.file.recipe_space()
    random = optuna.create_study(sampler=RandomSampler(seed=0))
    for number in range(6):
        space.suggest(asked := random.ask())
        trial = point(0.5 + 0.05 * number, 1000.0 * (number + 1), epoch=number)
        trial.params, trial.distributions = asked.params, space.distributions
        study.optuna.add_trial(trial)
    return study


def named(study_file: MakeFile, name: str, **more: Any) -> StudyFile:
    return study_file(sampler={"name": name, "startup_trials": 5, "population": 4}, **more)


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2", "nsga3"])
@pytest.mark.parametrize("finished", [0, 5])
def test_a_draw_is_decided_by_study_and_slot(
    name: str, finished: int, filled: Study, study_file: MakeFile
) -> None:
    file = named(study_file, name)
    draws = [drawn(filled, sampler_for(file, slot, finished)) for slot in range(3)]
    betas = {params["training.beta.final"] for params in draws}
    assert len(betas) == 3, "no two slots draw the same"
    again = [drawn(filled, sampler_for(file, slot, finished)) for slot in range(3)]
    assert again == draws, "and each draws the same again"
    other = named(study_file, name, seed=2)
    assert drawn(filled, sampler_for(other, 0, finished)) != draws[0]


def test_no_two_slots_share_a_seed(study: Study, study_file: MakeFile) -> None:
    firsts = {
        drawn(study, sampler_for(study_file(seed=seed), slot, 0))["training.beta.final"]
        for seed in (0, 1, 2**31 - 1)
        for slot in (0, 1, 2, 999)
    }
    assert len(firsts) == 12


@pytest.mark.parametrize(
    ("name", "kind"),
    [("random", RandomSampler), ("tpe", TPESampler), ("nsga2", NSGAIISampler), ("nsga3", NSGAIIISampler)],
)
def test_the_first_runs_are_random_however_many_points_there_are(
    name: str, kind: type[BaseSampler], filled: Study, study_file: MakeFile
) -> None:
    file = named(study_file, name)
    assert [type(sampler_for(file, 9, finished)) for finished in (0, 4)] == [RandomSampler] * 2
    assert [type(sampler_for(file, 9, finished)) for finished in (5, 6, 10_000)] == [kind] * 3


def test_the_runs_after_them_have_learnt_from_every_point(filled: Study, study_file: MakeFile) -> None:
    file = named(study_file, "tpe")
    random, learnt = (drawn(filled, sampler_for(file, 9, finished)) for finished in (4, 5))
    assert random == drawn(filled, RandomSampler(seed=1_000_012))
    assert learnt != random
