"""The Optuna dashboard, given a view of the storage in which there is more to see."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import moocore
import numpy as np
import optuna_dashboard
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import _app

from dashboards.optuna_view.artifacts import DerivedArtifacts, artifacts_of
from dashboards.optuna_view.notes import annotations
from dashboards.optuna_view.storage import AnnotatedView, StudyView
from sweep import home
from sweep.artifacts.stores import KeptArtifacts
from sweep.references import Reference

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def optuna_app(view: StudyView, references: Mapping[str, Sequence[Reference]]) -> "WSGIApplication":
    """Return the Optuna dashboard of all studies in `view`, with references by study."""
    folder = home.artifacts_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # It asks for the trials that are the best of a study, and knows no constraints.
    _app.get_pareto_front_trials = feasible_front
    store = DerivedArtifacts(view, KeptArtifacts(folder, view.artifact_places))
    shown = AnnotatedView(view, partial(annotations, references=references), artifacts_of)
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
