"""Files of several studies: what each is called and has, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from sweep.errors import StudyFileError
from sweep.status import status_of
from sweep.storage.database import open_storage
from sweep.study import Study, create_or_resume
from sweep.study_file import find_study_file, load_study_file
from sweep.variants import groups_of, load_studies
from tests.sweep.fleet import simulated

FILE: dict[str, Any] = {
    "study": "widths",
    "variants": {
        "fine": {"quantization.weights.granularity": "parameter"},
        "coarse": {"quantization.weights.granularity": "layer", "training.epochs": 7},
    },
    "seeds": [4, 9],
    "dataset": {"source": {"kind": "pythia"}},
    "student": {"hidden": [4, 8]},
    "training": {"epochs": 5},
    "objectives": ["mean_auc", "lut"],
    "budget": {"trials": 4},
}


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Writes a file of several studies, in which whole sections may be given; None leaves one out."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "widths.yaml"
        content = {key: value for key, value in (FILE | sections).items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def test_a_study_of_each_variant_and_seed(file: Any) -> None:
    studies = load_studies(file())
    assert [(v.name, v.file.study, v.file.seed) for v in studies] == [
        ("fine", "widths-fine-4", 4),
        ("coarse", "widths-coarse-4", 4),
        ("fine", "widths-fine-9", 9),
        ("coarse", "widths-coarse-9", 9),
    ]
    fixed = [variant.file.recipe_space().fixed for variant in studies]
    assert [values["quantization.weights.granularity"] for values in fixed[:2]] == ["parameter", "layer"]
    assert [values["training.epochs"] for values in fixed[:2]] == [5, 7]
    assert len({variant.file.budget for variant in studies}) == 1


def test_variants_or_seeds_alone(file: Any) -> None:
    assert [v.file.study for v in load_studies(file(seeds=None))] == ["widths-fine", "widths-coarse"]
    alone = load_studies(file(variants=None))
    assert [(v.name, v.file.study) for v in alone] == [("widths", "widths-4"), ("widths", "widths-9")]


def test_a_file_of_one_study_is_itself(file: Any) -> None:
    path = file(variants=None, seeds=None, seed=3)
    [only] = load_studies(path)
    assert (only.name, only.file) == ("widths", load_study_file(path))


def test_groups(file: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert groups_of(str(file())) == {
        "fine": ["widths-fine-4", "widths-fine-9"],
        "coarse": ["widths-coarse-4", "widths-coarse-9"],
    }
    assert groups_of("quickstart") is groups_of("something-else") is None
    assert list(groups_of("granularity") or {}) == ["parameter", "channel", "layer"]


def test_the_granularity_study_is_about_nothing_else() -> None:
    studies = load_studies(find_study_file("granularity"))
    assert len(studies) == 9
    spaces = [variant.file.recipe_space() for variant in studies]
    differ = {path for path in spaces[0].fixed if len({str(space.fixed.get(path)) for space in spaces}) > 1}
    assert differ == {"quantization.weights.granularity", "quantization.data.granularity"}
    assert len({str(space.distributions) for space in spaces}) == 1


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"variants": ["fine"]}, "variants: must give each variant a name"),
        ({"variants": {}}, "variants: must give each variant a name"),
        ({"variants": {"fine": 3}}, "variants: must give each variant a name"),
        ({"variants": {"so fine": {}}}, "variants: a name is letters"),
        (
            {"variants": {"a": {"budget.trials": 9}}},
            "variants.a: budget.trials: studies of one file share budget",
        ),
        (
            {"variants": {"a": {"training.epochs.x": 9}}},
            "variants.a: training.epochs.x: epochs is no section",
        ),
        ({"variants": {"a": {"student.hiden": 9}}}, "student.hiden: unknown key (did you mean hidden?)"),
        ({"seeds": []}, "seeds: must be a list of different whole numbers"),
        ({"seeds": [1, 1]}, "seeds: must be a list of different whole numbers"),
        ({"seeds": [True]}, "seeds: must be a list of different whole numbers"),
        ({"seeds": 3}, "seeds: must be a list of different whole numbers"),
        ({"seed": 3}, "seed: must not be given beside seeds"),
        ({"study": None}, "study"),
    ],
)
def test_what_is_refused(file: Any, sections: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyFileError) as refused:
        load_studies(file(**sections))
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_where_one_study_is_wanted(file: Any) -> None:
    with pytest.raises(StudyFileError, match="holds several studies"):
        load_study_file(file())


def test_run_takes_each_study_in_turn(
    file: Any, sweep: Callable[..., Any], sweep_home: Path, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does with one study is tested elsewhere; here the work is stood in for by spent hours."""
    path = file(budget={"trials": 4, "core_hours": 0.01})
    worked = []

    def work(study: Study, *_: Any) -> None:
        worked.append(study.name)
        run = study.optuna.ask()
        for name, value in {"role": "run", "core_seconds": 36.0}.items():
            run.set_user_attr(name, value)
        study.optuna.tell(run, state=TrialState.FAIL)

    monkeypatch.setattr("sweep.local.run_here", work)
    said = sweep("run", path, "--storage", storage_url, "--json")
    names = ["widths-fine-4", "widths-coarse-4", "widths-fine-9", "widths-coarse-9"]
    assert worked == names
    assert [front["study"] for front in json.loads(said.out)] == names
    again = sweep("run", path, "--storage", storage_url)
    assert worked == names, "their hours are spent"
    assert again.out.count("is done: 0 runs took 0.01 core-hours, the budget is 0.01") == 4
    assert "has no feasible point" in sweep("compare", path, "--storage", storage_url).err


def test_status_knows_the_hours_of_a_budget(sweep_home: Path, storage_url: str) -> None:
    file = simulated(50, 0.0, budget={"trials": 50, "core_hours": 0.01})
    study, _ = create_or_resume(open_storage(storage_url), file)
    for left in (24.0, 12.0, 0.0, 0.0):
        run = study.optuna.ask()
        for name, value in {"role": "run", "core_seconds": 12.0}.items():
            run.set_user_attr(name, value)
        study.optuna.tell(run, state=TrialState.FAIL)
        assert status_of(study)["core_seconds_left"] == pytest.approx(left)
