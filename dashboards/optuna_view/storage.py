"""A study's storage as the Optuna dashboard should see it.

Notes, figures and artifacts are made from what is there when somebody looks, so they are never stale.
Those that were written to the database for other dashboards (`stored.py`) give way to them. That
dashboard reads constraints where Optuna 4 kept them; here they stand there, too.
"""

import copy
import threading
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA
from optuna_dashboard._note import note_str_key_prefix, note_ver_key

from sweep.errors import StudyError
from sweep.export.remembered import all_exports
from sweep.storage.database import READS
from sweep.storage.schema import CANDIDATES, JOBS
from sweep.study import ARTIFACTS, STUDY_FILE, Study, load
from sweep.synthesis.jobs import DONE

#: The key where the Optuna dashboard looks for constraints, and what all of its own keys begin with.
CONSTRAINTS, DASHBOARD = "constraints", "dashboard:"
#: What the keys of our figures begin with.
FIGURES = f"{SYSTEM_ATTR_PLOT_DATA}sweep-"
#: Notes and figures are made again at most once in this many seconds, and in so many times as long as
#: it took: watching a running study takes at most this share of one core.
PAUSE, SHARE = 10.0, 0.01

Annotate = Callable[[Study], dict[str, Any]]
Artifacts = Callable[[int, FrozenTrial], dict[str, str]]


@dataclass
class _Annotations:
    """What a study's notes and figures were made from, and when the next ones may be made."""

    state: object = None
    attributes: dict[str, Any] = field(default_factory=dict)
    not_before: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class StudyView(_CachedStorage):
    """All studies of a database with up-to-date trials; `annotated` adds what that dashboard shows."""

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__(storage)
        self._synthesized: dict[int, set[tuple[object, ...]]] = {}
        self._opened: dict[str, tuple[str, Study]] = {}

    @property
    def engine(self) -> sa.Engine:
        return self._backend.engine

    def study(self, name: str) -> Study:
        """Return a study as it is now; StudyError where there is none, or it is not one of sweep's."""
        try:
            text = self.get_study_user_attrs(self.get_study_id_from_name(name)).get(STUDY_FILE, "")
        except KeyError:
            text = ""
        known = self._opened.get(name)
        if known is None or known[0] != text:
            known = self._opened[name] = (text, load(cast(RDBStorage, self), name))
        return known[1]

    def artifact_places(self) -> list[str]:
        """Return where studies keep their artifacts, besides `SWEEP_HOME`."""
        return sorted(
            {str(s.user_attrs[ARTIFACTS]) for s in self.get_all_studies() if ARTIFACTS in s.user_attrs}
        )

    def get_all_studies(self) -> list[FrozenStudy]:
        return sorted(super().get_all_studies(), key=lambda study: study._study_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy=False, states=states)
        if self._reread(study_id):
            trials = super().get_all_trials(study_id, deepcopy=False, states=states)
        return copy.deepcopy(trials) if deepcopy else trials

    def synthesized(self, study_id: int) -> frozenset[tuple[object, ...]]:
        """Return which finished syntheses the trials last read of a study hold."""
        return frozenset(self._synthesized.get(study_id, ()))

    def _reread(self, study_id: int) -> bool:
        """Read the trials again that synthesis wrote to since; the cache takes them for finished."""
        columns = (CANDIDATES.c.trial_id, JOBS.c.id, JOBS.c.attempt, JOBS.c.outcome, JOBS.c.seconds)
        with self.engine.connect().execution_options(**READS) as connection:
            rows = connection.execute(
                sa.select(*columns)
                .join(JOBS, CANDIDATES.c.job_id == JOBS.c.id)
                .where(CANDIDATES.c.study_id == study_id, JOBS.c.state == DONE)
            )
            found = {tuple(row) for row in rows}
        new = found - self._synthesized.get(study_id, set())
        for trial_id in {cast(int, row[0]) for row in new}:
            trial = self._backend.get_trial(trial_id)
            with self._lock:
                self._add_trials_to_cache(study_id, [trial])
        self._synthesized[study_id] = found
        return bool(new)


class AnnotatedView(StudyView):
    """The storage that the Optuna dashboard is given."""

    def __init__(self, view: StudyView, annotate: Annotate, artifacts: Artifacts) -> None:
        super().__init__(view._backend)
        self.view = view
        self.annotate, self.artifacts = annotate, artifacts
        self._annotations: dict[int, _Annotations] = {}
        #: Processor seconds that notes and figures have taken.
        self.cpu_seconds = 0.0
        self._shown: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = self.view.get_all_studies()
        for study in studies:
            study.system_attrs = LazyAttributes(study.system_attrs, self._maker(study))
        return studies

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        study = next(s for s in self.view.get_all_studies() if s._study_id == study_id)
        return LazyAttributes(study.system_attrs, self._maker(study)).everything()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self.view.get_all_trials(study_id, deepcopy=False, states=states)
        shown = [self._as_shown(study_id, trial) for trial in trials]
        return copy.deepcopy(shown) if deepcopy else shown

    def get_trial(self, trial_id: int) -> FrozenTrial:
        places = self.view._trial_id_to_study_id_and_number
        if trial_id not in places:
            for study in self.view.get_all_studies():
                self.view.get_all_trials(study._study_id, deepcopy=False)
        study_id, _ = places[trial_id]
        return self._as_shown(study_id, self.view.get_trial(trial_id))

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id)._system_attrs

    def _as_shown(self, study_id: int, trial: FrozenTrial) -> FrozenTrial:
        known = self._shown.get(trial._trial_id)
        if known is not None and known[0] is trial:
            return known[1]
        shown = copy.copy(trial)
        more: dict[str, Any] = dict(self.artifacts(study_id, trial))
        if trial.constraints:
            more[CONSTRAINTS] = list(trial.constraints.values())
        shown._system_attrs = {**trial._system_attrs, **more}
        self._shown[trial._trial_id] = (trial, shown)
        return shown

    def _maker(self, study: FrozenStudy) -> Callable[[], dict[str, Any]]:
        return lambda: self._annotated(study)

    def _annotated(self, frozen: FrozenStudy) -> dict[str, Any]:
        """Return the notes and figures of a study, made again if it has changed since."""
        known = self._annotations.setdefault(frozen._study_id, _Annotations())
        with known.lock:
            if time.monotonic() < known.not_before:
                return known.attributes
            started, cpu = time.monotonic(), time.thread_time()
            try:
                study = self.view.study(frozen.study_name)
            except StudyError:  # a study of another program
                return {}
            trials = study.trials()
            state = (
                len(trials),
                sum(trial.state.is_finished() for trial in trials),
                self.view.synthesized(frozen._study_id),
                frozen.user_attrs.get(STUDY_FILE),
                all_exports(study),
            )
            if state != known.state:
                known.attributes, known.state = self.annotate(study), state
            took = time.monotonic() - started
            self.cpu_seconds += time.thread_time() - cpu
            known.not_before = time.monotonic() + max(PAUSE, took / SHARE)
            return known.attributes


class LazyAttributes(dict[str, Any]):
    """A study's system attributes; what the dashboard keeps among them is made when it looks there.

    A list of all studies reads the attributes of each of them, but none of these. Notes of trials
    are found by their keys alone: whoever goes through all items does so once for each trial.
    """

    def __init__(self, plain: dict[str, Any], make: Callable[[], dict[str, Any]]) -> None:
        super().__init__(plain)
        self._make: Callable[[], dict[str, Any]] | None = make
        self._notes: dict[str, Any] = {}

    def _fill(self) -> None:
        if self._make is None:
            return
        make, self._make = self._make, None
        if made := make():
            for key in generated(dict(super().items())):
                super().__delitem__(key)
            written = set(self.keys())
            for key, value in made.items():
                # A note that somebody wrote stays, in one piece.
                if key not in written and f"{note_of(key)}note_ver" not in written:
                    super().__setitem__(key, value)
        for key in [key for key in super().__iter__() if (note_of(key) or DASHBOARD) != DASHBOARD]:
            self._notes[key] = super().pop(key)

    def everything(self) -> dict[str, Any]:
        """Return all attributes, notes of trials among them."""
        self._fill()
        return {**dict(super().items()), **self._notes}

    def get(self, key: str, default: Any = None) -> Any:
        if key.startswith(DASHBOARD):
            self._fill()
        return self._notes[key] if key in self._notes else super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._fill()
        return key in self._notes or super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self._fill()
        return self._notes[key] if key in self._notes else super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return super().__iter__()

    def items(self) -> Any:
        self._fill()
        return super().items()


def note_of(key: str) -> str:
    """Return what the keys of one note begin with, the empty text for a key of none.

    >>> note_of("dashboard:7:note_str:0"), note_of("dashboard:note_ver"), note_of("artifacts:x")
    ('dashboard:7:', 'dashboard:', '')
    """
    before, is_note, _ = key.rpartition("note_")
    return before if is_note and key.startswith(DASHBOARD) else ""


def generated(attributes: dict[str, Any]) -> list[str]:
    """Return the keys of the notes and figures that this program wrote, and nobody has changed since.

    Its notes have version 0; whoever edits one, in any dashboard, gives it the next.
    """
    return [
        key
        for key in attributes
        if key.startswith(FIGURES) or (note_of(key) and attributes.get(f"{note_of(key)}note_ver") == 0)
    ]


def note_from(attributes: dict[str, Any], trial_id: int | None) -> dict[str, Any]:
    """Return a note as the Optuna dashboard does, by its keys: it looks through all notes for each trial."""
    key, start = note_ver_key(trial_id), note_str_key_prefix(trial_id)
    if key not in attributes:
        return {"version": 0, "body": ""}
    parts: list[str] = []
    while (part := attributes.get(f"{start}{len(parts)}")) is not None:
        parts.append(str(part))
    return {"version": int(attributes[key]), "body": "".join(parts)}
