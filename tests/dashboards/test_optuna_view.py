"""What the Optuna dashboard is shown: constraints, notes, figures, artifacts; and nothing is written."""

import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna_dashboard import _note
from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_MAX_LENGTH, get_plotly_graph_objects

from dashboards.explorer.points import points_of
from dashboards.explorer.student import about_student
from dashboards.optuna_view import notes, stored
from dashboards.optuna_view.app import feasible_front
from dashboards.optuna_view.artifacts import DerivedArtifacts, artifacts_of, log_of
from dashboards.optuna_view.notes import annotations, drawn, plain
from dashboards.optuna_view.storage import AnnotatedView, StudyView
from dashboards.optuna_view.stored import store
from dashboards.study_figures import hypervolume_curve
from sweep.export.remembered import MOST, all_exports, exports_of, remember
from sweep.front import front_of
from sweep.study import Study
from sweep.synthesis.jobs import Candidate, Jobs
from sweep.synthesis.result import Outcome, StageResult, Verdict
from tests.dashboards.conftest import NASTY, SIGNAL, Example

Copied = tuple[Study, StudyView]


@pytest.fixture
def shown(view: StudyView) -> AnnotatedView:
    return AnnotatedView(view, annotations, artifacts_of)


def contents(home: Path) -> list[str]:
    """Return all that a study's database holds."""
    with sqlite3.connect(home / "sweep.db") as connection:
        return list(connection.iterdump())


def synthesize(study: Study, number: int, lut: int = 777) -> None:
    """Let a tool have counted `lut` LUTs for a trial's student, as a synthesis worker writes it."""
    trial, file = study.trials()[number], study.file
    jobs = Jobs(study.storage.engine, "tester")
    candidate = Candidate(study.id, trial._trial_id, number, "named", trial.user_attrs["test"])
    jobs.add(candidate, trial.user_attrs["design"], file.target, "folder", trial.user_attrs["cost"])
    job = jobs.claim(study.id)
    assert job is not None
    said = StageResult("yosys", "0.70", "synthesized", file.hardware.part, lut=lut, ff=5, dsp=0, bram=0.0)
    assert jobs.finish(job, Verdict(Outcome.OK, (), (said,)), {}, 1.0)


def certificate(study: Study, number: int) -> dict[str, Any]:
    """Return what an export of a student is certified as: one form equal, and one not compared."""
    design = study.trials()[number].user_attrs["design"]
    said = {"verified": True, "events": 1000, "mismatches": 0, "scores_sha256": "x", "tools": {"alkaid": "1"}}
    missing = {"verified": False, "not_verified_because": f"no {NASTY}"}
    return {
        "created": "2026-01-02T03:04:05+00:00",
        "verified": False,
        "student": {"trial": number, "emulator_version": "0.0.1", "scheme": "hgq", "design": design},
        "events": {"count": 1000},
        "scores": {},
        "compared": {"adder_graph": said, "rtl": missing},
        "tools": {},
    }


# ---- constraints --------------------------------------------------------------------------------


def test_constraints_stand_where_the_dashboard_looks(shown: AnnotatedView, view: StudyView) -> None:
    for trial, seen in zip(view.get_all_trials(1), shown.get_all_trials(1), strict=True):
        assert seen._system_attrs.get("constraints", []) == list(trial.constraints.values())
        assert seen.values == trial.values
        assert shown.get_trial(trial._trial_id)._system_attrs == seen._system_attrs


def test_best_trials_keep_their_constraints() -> None:
    def trial(
        auc: float, lut: float, excess: float = -1.0, state: TrialState = TrialState.COMPLETE
    ) -> FrozenTrial:
        values = [auc, lut] if state == TrialState.COMPLETE else None
        return create_trial(values=values, constraints={"latency_ns": excess}, state=state)

    good = [trial(0.9, 100.0), trial(0.8, 50.0), trial(0.9, 100.0)]
    others = [trial(0.99, 1.0, excess=0.1), trial(0.7, 60.0), trial(0, 0, state=TrialState.FAIL)]
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert feasible_front([*others, *good], directions) in ([*good[:2]], [*good], [*good[1:]])
    assert feasible_front(others[:1], directions) == []


# ---- what is written later ----------------------------------------------------------------------


def test_what_synthesis_says_later_is_seen(copied: Copied, example: Example) -> None:
    study, view = copied
    number = example.points[0]
    assert "synthesis" not in view.study("looked-at").trials()[number].user_attrs
    synthesize(study, number)
    seen = view.study("looked-at").trials()[number].user_attrs["synthesis"]
    assert [said["lut"] for said in seen] == [777]
    shown = AnnotatedView(view, annotations, artifacts_of)
    note = _note.get_note_from_system_attrs(
        shown.get_study_system_attrs(study.id), study.trials()[number]._trial_id
    )
    assert "| yosys 0\\.70, synthesized | 777 | 5 | 0 | |" in note["body"]


# ---- notes and figures --------------------------------------------------------------------------


def test_every_trial_and_the_study_carry_a_note(shown: AnnotatedView, example: Example) -> None:
    attributes = shown.get_study_system_attrs(1)
    trials = shown.get_all_trials(1)
    bodies = {t.number: _note.get_note_from_system_attrs(attributes, t._trial_id)["body"] for t in trials}
    for trial in trials:
        body = bodies[trial.number]
        if trial.number in example.points:
            about = trial.user_attrs
            assert f"Epoch {about['epoch']} of run {about['parent']}" in body
            low, high = about["test"]["intervals"]["mean_auc"]
            assert f"{about['test']['mean_auc']:.4f} ({low:.4f} to {high:.4f})" in body
            assert f"| estimate | {about['cost']['lut']:,.0f} |" in body
            assert "18x14 → clip 64 → conv 2 of 3x3, stride 2 → dense" in body
            assert "| conv |" in body
        else:
            assert "No student came of it: died of" in body
    assert "(/explorer/looked-at)" in _note.get_note_from_system_attrs(attributes, None)["body"]
    assert all(len(v) <= SYSTEM_ATTR_MAX_LENGTH for v in attributes.values() if isinstance(v, str))


def test_figures_say_what_the_study_says(shown: AnnotatedView, view: StudyView) -> None:
    figures = {
        name: json.loads(text)
        for name, text in get_plotly_graph_objects(shown.get_study_system_attrs(1)).items()
    }
    assert set(figures) == {"sweep-front", "sweep-hypervolume", "sweep-estimates", "sweep-importance"}
    front = front_of(view.study("looked-at"))
    (curve,) = figures["sweep-hypervolume"]["data"]
    assert curve["y"][-1] == pytest.approx(front.hypervolume)
    assert curve["x"][-1] == pytest.approx(60 / 3600, abs=1e-5)
    assert sum(len(json.dumps(figure)) for figure in figures.values()) < 50_000


def test_hypervolume_grows_run_by_run(view: StudyView) -> None:
    front = front_of(view.study("looked-at"))
    hours, volumes = hypervolume_curve(front)
    assert hours == pytest.approx([30 / 3600, 60 / 3600])
    assert (np.diff(volumes) >= 0).all()
    assert volumes[-1] == pytest.approx(front.hypervolume)


def test_looking_writes_nothing(shown: AnnotatedView, example: Example) -> None:
    before = contents(example.home)
    for study in shown.get_all_studies():
        assert study.system_attrs.items()
    shown.get_all_trials(1)
    assert contents(example.home) == before


def test_a_list_of_studies_makes_no_notes(view: StudyView) -> None:
    def annotate(study: Study) -> dict[str, str]:
        raise AssertionError("nobody looked")

    for study in AnnotatedView(view, annotate, artifacts_of).get_all_studies():
        assert study.system_attrs.get("preferential:study", False) is False


def test_notes_are_made_again_only_when_the_study_changed(copied: Copied, example: Example) -> None:
    study, view = copied
    made = []
    shown = AnnotatedView(view, lambda s: made.append(s) or {"dashboard:x": len(made)}, artifacts_of)  # type: ignore[func-returns-value]

    def look() -> object:
        for known in shown._annotations.values():
            known.not_before = 0.0
        return shown.get_study_system_attrs(study.id)["dashboard:x"]

    assert [look(), look()] == [1, 1]
    synthesize(study, example.points[0])
    assert [look(), look()] == [2, 2]


def test_what_somebody_wrote_stays(copied: Copied, example: Example) -> None:
    study, view = copied
    shown = AnnotatedView(view, annotations, artifacts_of)
    trial_id = study.trials()[example.points[0]]._trial_id
    ours = _note.get_note_from_system_attrs(shown.get_study_system_attrs(study.id), trial_id)
    _note.save_note_with_version(shown, study.id, trial_id, ours["version"] + 1, "mine")
    assert (
        _note.get_note_from_system_attrs(shown.get_study_system_attrs(study.id), trial_id)["body"] == "mine"
    )


def test_of_many_trials_the_front_and_the_newest_tell_of_their_layers(
    view: StudyView, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = front_of(view.study("looked-at"))
    order = notes.by_interest(front)
    assert order[: len(front.points)] == front.points, "those of the front come first"
    assert {t.number for t in order} == {t.number for t in view.get_all_trials(1)}
    monkeypatch.setattr(notes, "MOST_WITH_LAYERS", 3)
    made = annotations(view.study("looked-at"))
    bodies = [_note.get_note_from_system_attrs(made, trial._trial_id)["body"] for trial in order]
    assert all(bodies), "every trial has a note"
    assert ["| conv |" in body for body in bodies] == [True] * 3 + [False] * (len(order) - 3)


def test_a_note_is_made_again_when_it_is_no_longer_true(copied: Copied, example: Example) -> None:
    study, view = copied
    known: notes.Known = {}
    annotations(view.study(study.name), known=known)
    before = dict(known)
    annotations(view.study(study.name), known=known)
    assert all(known[key] is before[key] for key in before)
    synthesize(study, example.points[0])
    annotations(view.study(study.name), known=known)
    changed = study.trials()[example.points[0]]._trial_id
    assert [key for key in before if known[key] is not before[key]] == [changed]


def test_a_point_that_comes_in_the_middle_of_looking_waits_for_the_next_look(
    copied: Copied, example: Example
) -> None:
    study, view = copied
    front = front_of(view.study(study.name))
    study.optuna.add_trial(study.trials()[example.points[0]])
    assert len(list(front.study.points())) == len(example.points) + 1
    assert points_of(front)["trial"] == example.points
    assert set(notes.study_figures(front)) >= {"sweep-front", "sweep-hypervolume"}
    assert len(notes.trial_attributes(front, notes.by_interest(front))) == 2 * len(view.get_all_trials(1)) - 2


# ---- notes and figures in the database ----------------------------------------------------------


def plainly(study: Study) -> dict[str, Any]:
    """Return a study's system attributes as an Optuna dashboard elsewhere reads them."""
    return study.storage.get_study_system_attrs(study.id)


def test_another_dashboard_shows_what_is_stored(copied: Copied, example: Example) -> None:
    study, _ = copied
    found = store(study)
    attributes = plainly(study)
    assert set(get_plotly_graph_objects(attributes)) == {
        "sweep-front",
        "sweep-hypervolume",
        "sweep-estimates",
        "sweep-importance",
    }
    for trial in study.trials():
        body = _note.get_note_from_system_attrs(attributes, trial._trial_id)["body"]
        assert ("AUC" in body) == (trial.number in example.points)
        assert "/explorer/" not in body, "no page of ours is there"
    assert found.written == len([key for key in attributes if key.startswith("dashboard:")])
    assert found.bytes < 50_000
    assert (store(study).written, store(study).removed) == (0, 0), "nothing has changed"


def test_storing_writes_what_changed_and_nothing_else(copied: Copied, example: Example) -> None:
    study, view = copied
    store(study)
    before = plainly(study)
    synthesize(study, example.points[0])
    found = store(view.study(study.name))
    after = plainly(study)
    trial_id = study.trials()[example.points[0]]._trial_id
    assert {key for key in after if after[key] != before.get(key)} == {
        f"dashboard:{trial_id}:note_str:0",
        "dashboard:plot_data:sweep-estimates:0",
    }
    assert found.written == 2


def test_what_somebody_wrote_is_not_written_over(copied: Copied, example: Example) -> None:
    study, view = copied
    store(study)
    trial = study.trials()[example.points[0]]
    _note.save_note_with_version(study.storage, study.id, trial._trial_id, 1, "mine")
    _note.save_note_with_version(study.storage, study.id, None, 1, "")
    synthesize(study, example.points[0])
    store(study)
    for attributes in (
        plainly(study),
        AnnotatedView(view, annotations, artifacts_of).get_study_system_attrs(study.id),
    ):
        assert _note.get_note_from_system_attrs(attributes, trial._trial_id)["body"] == "mine"
        assert _note.get_note_from_system_attrs(attributes, None)["body"] == ""


def test_what_is_stored_is_bounded_and_goes_when_it_is_old(
    copied: Copied, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, view = copied
    store(study)
    monkeypatch.setattr(stored, "MOST_STORED", 2)
    assert store(study).removed == 2 * (len(study.trials()) - 2), "a version and a text each"
    attributes = plainly(study)
    noted = [t for t in study.trials() if f"dashboard:{t._trial_id}:note_ver" in attributes]
    assert {t.number for t in noted} == {t.number for t in front_of(study).points[:2]}
    shown = AnnotatedView(view, annotations, artifacts_of).get_study_system_attrs(study.id)
    assert all(f"dashboard:{t._trial_id}:note_ver" in shown for t in study.trials()), "ours shows all"


def test_markdown_shows_text_as_it_is() -> None:
    assert "<" not in plain(NASTY).replace("\\<", "")
    assert plain(SIGNAL) == "\\<b\\>jets\\</b\\>"
    assert plain("a|b") == "a\\|b"


def test_an_architecture_is_a_line() -> None:
    student = {"family": "cicada-v2", "filters": 4, "kernel": 2, "stride": 2, "hidden": 16, "hidden_2": 8}
    assert drawn(student) == "18x14 → conv 4 of 2x2, stride 2 → dense 16 → dense 8 → dense 1"


def test_an_export_is_told_with_what_was_compared(copied: Copied, example: Example, tmp_path: Path) -> None:
    study, view = copied
    number = example.points[0]
    content = certificate(study, number)
    remember(study, number, tmp_path / "export", content)
    (known,) = about_student(front_of(view.study(study.name)), number)["exports"]
    assert [(one["form"], one["mismatches"], one["missing"]) for one in known["compared"]] == [
        ("adder graph", 0, None),
        ("RTL", None, f"no {NASTY}"),
    ]
    shown = AnnotatedView(view, annotations, artifacts_of).get_study_system_attrs(study.id)
    body = _note.get_note_from_system_attrs(shown, study.trials()[number]._trial_id)["body"]
    assert plain("equal in every bit on 1,000 events: adder graph; not compared: RTL") in body
    another = {**content, "student": {**content["student"], "design": "another"}}
    remember(study, number, tmp_path / "other", another)
    assert len(exports_of(study, number)) == 1, "of another design it says nothing"
    for place in range(2 * MOST):
        remember(study, number, tmp_path / str(place), content)
    assert len(all_exports(study)[number]) == MOST


# ---- artifacts ----------------------------------------------------------------------------------


def test_artifacts_are_made_when_asked_for(view: StudyView, example: Example, tmp_path: Path) -> None:
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.artifacts.exceptions import ArtifactNotFound

    store = DerivedArtifacts(view, FileSystemArtifactStore(str(tmp_path)))
    trial = view.study("looked-at").trials()[example.points[0]]
    offered = [json.loads(text) for text in artifacts_of(1, trial).values()]
    kinds = {about["filename"].partition("-")[2].partition("-")[2]: about for about in offered}
    assert set(kinds) == {"roc.svg", "bitwidths.svg", "student.zip"}
    for about in offered:
        assert store.open_reader(about["artifact_id"]).read(2) in (b"<?", b"PK")
        store.remove(about["artifact_id"])
    with zipfile.ZipFile(
        io.BytesIO(store.open_reader(kinds["student.zip"]["artifact_id"]).read())
    ) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert names == {"student.keras", "network.npz", "adder_graph.json.gz", "student.json"}
    run = view.study("looked-at").trials()[0]
    (about,) = (json.loads(text) for text in log_of(1, run).values())
    log = store.open_reader(about["artifact_id"]).read().decode()
    assert about["filename"] == "run-0-log.txt"
    for number in [
        n for n in example.points if view.study("looked-at").trials()[n].user_attrs["parent"] == 0
    ]:
        assert f"trial {number}, epoch " in log
    assert "processor time: 30.0 s" in log
    assert log.endswith(f"died of {NASTY}\n")
    store.write("aa", io.BytesIO(b"stored"))
    assert store.open_reader("aa").read() == b"stored"
    with pytest.raises(ArtifactNotFound):
        store.open_reader("bb")
    assert [path.name for path in tmp_path.iterdir()] == ["aa"]
