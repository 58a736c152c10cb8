"""Which trial is meant by what a user says."""

import pytest

from sweep.errors import ExportError, StudyError
from sweep.export.choice import choose_trial
from sweep.front import front_of
from sweep.study import Study

# The front of `measured`: trial 1 (AUC .90, 4,000 LUT), 4 or 5 (.80, 2,000), 6 (.70, 1,000).


@pytest.mark.parametrize(
    ("wanted", "lut"),
    [
        ("best-auc", 4000),
        ("lut<=2500", 2000),
        ("lut <= 1e3", 1000),
        ("lut<=99999", 4000),
        ("latency_ns<=50", 4000),
        ("knee", 2000),
    ],
)
def test_words(measured: Study, wanted: str, lut: float) -> None:
    front = front_of(measured)
    assert front.cost(choose_trial(front, wanted))["lut"] == lut


def test_the_best_under_a_limit_is_chosen_on_validation(measured: Study) -> None:
    """The point with the better test AUC costs less, and is not taken for it."""
    front = front_of(measured)
    chosen = choose_trial(front, "best-auc")
    assert chosen.user_attrs["test"]["mean_auc"] < max(t.user_attrs["test"]["mean_auc"] for t in front.points)


def test_a_number_need_not_be_on_the_front(measured: Study) -> None:
    assert choose_trial(front_of(measured), "2").number == 2


@pytest.mark.parametrize(
    "wanted", ["", "best", "-1", "lut", "lut<2000", "lut<=", "lut<=1e", "lut<=0", "weight<=3", "best-auc; rm"]
)
def test_words_that_say_nothing(measured: Study, wanted: str) -> None:
    with pytest.raises(ExportError, match=r"^TRIAL '"):
        choose_trial(front_of(measured), wanted)


def test_what_the_study_does_not_have(measured: Study, study: Study) -> None:
    for wanted, message in {
        "999": "holds no student",
        "0": "holds no student",
        "lut<=5": "the least is",
    }.items():
        with pytest.raises(StudyError, match=message):
            choose_trial(front_of(measured), wanted)


def test_a_study_without_points(study: Study) -> None:
    for wanted in ("knee", "best-auc"):
        with pytest.raises(StudyError, match="has no feasible point yet"):
            choose_trial(front_of(study), wanted)
