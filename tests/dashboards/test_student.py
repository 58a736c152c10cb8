"""One student, looked at closely: the figures are those that the study recorded, or there are none."""

import io
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from dashboards import student as students
from dashboards.optuna_view.artifacts import artifacts_of
from dashboards.optuna_view.storage import StudyView
from dashboards.student import Student
from dashboards.student_figures import bits_figure, roc_figure
from objectives.errors import StudentError
from objectives.scores import BUNCH_RATE_KHZ
from objectives.students.network_file import NETWORK
from sweep.errors import StudyError
from sweep.study import Study
from tests.dashboards.conftest import FILE, SIGNAL, Example

Copied = tuple[Study, StudyView]


@pytest.fixture
def looked_at(view: StudyView, example: Example) -> Student:
    return Student.of(view.study("looked-at"), example.points[0])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_scores_are_those_that_the_study_recorded(looked_at: Student, split: students.Split) -> None:
    recorded = looked_at.trial.user_attrs[split]
    found = looked_at.performance(split)
    assert list(found.signals) == [SIGNAL, "soup"]
    for name, curve in found.signals.items():
        assert curve.auc == recorded["auc"][name]
        assert curve.counts.sum() == curve.events
        assert (np.diff(curve.rate_khz) >= 0).all()
        assert (np.diff(curve.efficiency) >= 0).all()
        assert (curve.rate_khz[0], curve.efficiency[0]) == (0, 0)
        assert (curve.rate_khz[-1], curve.efficiency[-1]) == (pytest.approx(BUNCH_RATE_KHZ), 1)
        # The curve passes through the recorded working point: the last of its points at or below the rate.
        below = curve.efficiency[curve.rate_khz <= found.working_point_khz]
        assert below[-1] == pytest.approx(curve.at_rate)


def test_layers_cost_what_the_student_was_estimated_at(looked_at: Student) -> None:
    assert sum(looked_at.lut_by_layer().values()) == pytest.approx(looked_at.trial.user_attrs["cost"]["lut"])
    assert [layer.name for layer in looked_at.layers()] == ["conv", "dense 1", "dense 2"]


@pytest.mark.parametrize("number", [-1, 0, 10_000])
def test_a_trial_without_a_student_says_so(view: StudyView, number: int) -> None:
    with pytest.raises(StudyError, match=f"trial {number} of study 'looked-at' holds no student"):
        Student.of(view.study("looked-at"), number)


def test_a_student_that_is_elsewhere_says_so(copied: Copied, example: Example) -> None:
    study, _ = copied
    student = Student.of(study, example.points[0])
    shutil.rmtree(student.folder)
    with pytest.raises(StudyError, match="set SWEEP_HOME"):
        student.performance("test")


def test_a_student_that_was_changed_is_not_drawn(copied: Copied, example: Example) -> None:
    study, _ = copied
    one, other = (Student.of(study, number) for number in example.points[:2])
    shutil.copy(other.folder / "adder_graph.json.gz", one.folder / "adder_graph.json.gz")
    with pytest.raises(StudyError, match="otherwise than the study recorded"):
        one.performance("test")


def test_an_older_student_is_read_by_keras_once(copied: Copied, example: Example) -> None:
    study, _ = copied
    student = Student.of(study, example.points[0])
    network = student.network()
    (student.folder / NETWORK).unlink()
    students._describe(student.folder)
    assert students._network(student.folder).digest() == network.digest()


def test_a_network_is_saved_beside_no_other_design(copied: Copied, example: Example) -> None:
    from dashboards.describe import describe

    study, _ = copied
    one, other = (Student.of(study, number) for number in example.points[:2])
    (one.folder / NETWORK).unlink()
    shutil.copy(other.folder / "student.keras", one.folder / "student.keras")
    with pytest.raises(SystemExit, match="not the design that was measured"):
        describe(one.folder)
    assert not (one.folder / NETWORK).exists()


def test_a_student_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students.sys, "executable", "/bin/false")  # what Keras says is tested above
    with pytest.raises(StudentError, match="its layers could not be read"):
        students._describe(tmp_path)


def test_figures_are_pictures_with_the_names_as_text(looked_at: Student) -> None:
    for figure in (
        roc_figure(looked_at.performance("test"), "$x$ <i>"),
        bits_figure(looked_at.layers(), "$x$ <i>"),
    ):
        root = ElementTree.parse(io.BytesIO(figure)).getroot()
        assert root.tag.endswith("svg")
        text = "".join(root.itertext())
        assert "$x$ <i>" in text
    assert SIGNAL in "".join(
        ElementTree.parse(io.BytesIO(roc_figure(looked_at.performance("test"), "x"))).getroot().itertext()
    )


def test_events_that_are_not_here_are_not_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.study_file import parse_study

    monkeypatch.setenv("SWEEP_HOME", str(tmp_path))
    pythia = {
        **FILE,
        "dataset": {"source": {"kind": "pythia", "zero_bias": 1000, "signal_events": 100, "pool": 200}},
    }
    with pytest.raises(StudyError, match="sweep data generate looked-at"):
        students.part_of(parse_study(pythia, tmp_path / "x.yaml"), "test")


def test_only_trials_with_a_student_offer_artifacts(view: StudyView, example: Example) -> None:
    trials = view.study("looked-at").trials()
    assert {t.number for t in trials if artifacts_of(1, t)} == set(example.points)
