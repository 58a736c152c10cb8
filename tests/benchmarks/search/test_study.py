"""The studies that the benchmark runs can be read, and differ in what they are to differ in."""

from typing import Any

import pytest

from sweep.study_file import StudyFile, load_study_file, parse_study, read_yaml
from tests.benchmarks.search.kept import VARIATIONS, VARIATIONS_FILE
from tests.benchmarks.search.measured import STUDY_FILE
from tests.benchmarks.search.study import study_of


def file_of(method: str) -> StudyFile:
    return parse_study(study_of(method), STUDY_FILE)


@pytest.mark.parametrize("method", ["this_project", "random_search"])
def test_a_study_has_the_problems_space_and_events(method: str) -> None:
    problem, mine = load_study_file(STUDY_FILE), file_of(method)
    for section in ("student", "quantization", "objectives", "constraints", "teacher", "reference_point"):
        assert getattr(mine, section) == getattr(problem, section)
    assert mine.dataset.model_copy(update={"deposits": 0}) == problem.dataset
    assert without_schedule(mine) == without_schedule(problem)
    assert problem.training.beta.final.low <= mine.training.beta.final.low, "a part of the same range"
    assert mine.training.beta.final.high == problem.training.beta.final.high


def without_schedule(file: StudyFile) -> dict[str, Any]:
    """Return how students are trained, but for how long and along which ramp."""
    return file.training.model_dump(exclude={"epochs", "beta"})


def test_random_search_has_our_training_and_neither_learns_nor_continues() -> None:
    ours, random = file_of("this_project"), file_of("random_search")
    assert ours.continuation.share > 0
    assert ours.sampler.first
    assert (random.sampler.name, random.sampler.first, random.continuation.share) == ("random", (), 0)
    changed = {"sampler", "continuation"}
    assert ours.model_dump(exclude=changed) == random.model_dump(exclude=changed)


@pytest.mark.parametrize("method", VARIATIONS)
def test_a_variation_differs_from_this_project_in_one_section(method: str) -> None:
    ours, varied = file_of("this_project").model_dump(), file_of(method).model_dump()
    (section,) = read_yaml(VARIATIONS_FILE.read_bytes(), "variations.yaml")[method]
    assert [key for key in ours if ours[key] != varied[key]] == [section]
