"""The Optuna dashboard, given a view of the storage in which there is more to see."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import moocore
import numpy as np
import optuna_dashboard
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import _app, _note

from dashboards.optuna_view.artifacts import DerivedArtifacts, offered
from dashboards.optuna_view.notes import annotations
from dashboards.optuna_view.storage import AnnotatedView, StudyView, note_from
from sweep import home
from sweep.artifacts.stores import KeptArtifacts
from sweep.references import Reference

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def annotated(view: StudyView, references: Mapping[str, Sequence[Reference]]) -> AnnotatedView:
    """Return `view` as the Optuna dashboard is to see it, with references by study."""
    return AnnotatedView(view, partial(annotations, references=references, known={}), offered)


def optuna_app(shown: AnnotatedView) -> "WSGIApplication":
    """Return the Optuna dashboard of all studies in `shown`."""
    folder = home.artifacts_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # It asks for the trials that are the best of a study, and knows no constraints.
    _app.get_pareto_front_trials = feasible_front
    _note.get_note_from_system_attrs = note_from
    store = DerivedArtifacts(shown.view, KeptArtifacts(folder, shown.view.artifact_places))
    app: WSGIApplication = optuna_dashboard.wsgi(shown, artifact_store=store)
    return app


def feasible_front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Return the trials that keep their constraints and that no other such trial dominates."""
    feasible = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and all(value <= 0 for value in trial.constraints.values())
    ]
    if not feasible:
        return []
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
    losses = np.array([trial.values for trial in feasible], np.float64) * signs
    return [trial for trial, best in zip(feasible, moocore.is_nondominated(losses), strict=True) if best]
