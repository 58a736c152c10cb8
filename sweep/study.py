"""A study in the database: an Optuna study that carries its study file."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweep import home
from sweep.errors import StudyError
from sweep.storage.database import StudyStorage
from sweep.storage.trial_rows import Excerpt
from sweep.study_file import StudyFile

#: User attribute of the Optuna study that holds the study file.
STUDY_FILE = "sweep:study_file"
#: User attribute of the Optuna study that says where its artifacts are kept, besides `SWEEP_HOME`.
ARTIFACTS = "sweep:artifacts"
#: States of trials that have ended.
FINISHED = tuple(state for state in TrialState if state.is_finished())
#: Sections that may change when a study goes on; they decide nothing about a student that is there.
MAY_CHANGE = ("budget", "continuation", "description", "promotion", "synthesis", "sampler", "reference_point")


@dataclass(frozen=True)
class Study:
    """An Optuna study with its study file."""

    file: StudyFile
    optuna: optuna.Study
    storage: RDBStorage

    @property
    def name(self) -> str:
        return self.file.study

    @property
    def id(self) -> int:
        return int(self.optuna._study_id)

    @property
    def artifacts(self) -> str | None:
        """Where artifacts are kept for all machines: a folder or a bucket; None if only in `SWEEP_HOME`."""
        place = self.optuna.user_attrs.get(ARTIFACTS)
        return None if place is None else str(place)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return all trials, or those in the given states, in order of their numbers."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    def runs(self) -> list[FrozenTrial]:
        """Return the training runs."""
        return [t for t in self.trials() if t.user_attrs.get("role") == "run"]

    def is_finished(self, number: int) -> bool:
        """Tell whether a trial has its result."""
        return self.trials()[number].state.is_finished()

    def attributes(self, *names: str, states: Collection[TrialState] = FINISHED) -> list[Excerpt]:
        """Return the trials that have one of these user attributes, in order of their numbers.

        Of ten thousand trials it takes a fraction of the time that `trials` does: nothing else is read.
        """
        if isinstance(self.storage, StudyStorage):
            return self.storage.read_attributes(self.id, names, states)
        return [
            Excerpt(t._trial_id, t.number, t.user_attrs)
            for t in self.trials(*states)
            if not t.user_attrs.keys().isdisjoint(names)
        ]

    def whole(self, excerpts: Sequence[Excerpt]) -> list[FrozenTrial]:
        """Return all that is known of some trials, in their order."""
        if isinstance(self.storage, StudyStorage):
            read = self.storage.read_some(self.id, [excerpt.id for excerpt in excerpts])
            known = {trial.number: trial for trial in read}
            return [known[excerpt.number] for excerpt in excerpts]
        trials = self.trials()
        return [trials[excerpt.number] for excerpt in excerpts]

    def run_seconds(self) -> list[float]:
        """Return the processor time that each finished run took, in seconds."""
        return [float(run.user_attrs["core_seconds"]) for run in self.attributes("core_seconds")]

    def core_seconds(self) -> float:
        """Return the processor time that the finished runs took, in seconds."""
        return sum(self.run_seconds())

    def hours_are_spent(self) -> bool:
        """Tell whether the finished runs took the `core_hours` of the budget, if it has any."""
        hours = self.file.budget.core_hours
        return hours is not None and self.core_seconds() >= hours * 3600

    def measured(self) -> list[Excerpt]:
        """Return the scores and the cost of every measured student, as `points` gives all of it."""
        found = self.attributes("cost", "validation", states=[TrialState.COMPLETE])
        return [student for student in found if "cost" in student.user_attrs]

    def points(self) -> Iterator[FrozenTrial]:
        """Yield every measured student: harvested epochs and the ends of runs."""
        return (t for t in self.trials(TrialState.COMPLETE) if "cost" in t.user_attrs)


def create_or_resume(storage: RDBStorage, file: StudyFile) -> tuple[Study, bool]:
    """Return the study of `file` and whether it was there before.

    What its trials leave is kept where `SWEEP_ARTIFACTS` says when it is made, for good. Raises StudyError
    when a study of that name was made from another file, ArtifactError when nothing can be written there.
    """
    try:
        study = optuna.create_study(
            study_name=file.study,
            storage=storage,
            directions=list(file.directions),
            sampler=optuna.samplers.RandomSampler(seed=file.seed),
        )
    except optuna.exceptions.DuplicatedStudyError:
        study = _load_optuna(storage, file.study)
        if not _is_unfinished(study, file):
            return resume(load(storage, file.study), file), True
    with _experiments_allowed():
        study.set_metric_names(list(file.objectives))
    _set_artifacts(study)
    _write_file(study, file)
    return Study(file, study, storage), False


def _is_unfinished(study: optuna.Study, file: StudyFile) -> bool:
    """Tell whether the maker of a study was killed, or is about, to write its file."""
    directions = [direction.name.lower() for direction in study.directions]
    return study.user_attrs.keys() <= {ARTIFACTS} and not study.trials and directions == list(file.directions)


def _set_artifacts(study: optuna.Study) -> None:
    chosen = home.artifacts_place()
    if chosen is not None:
        from sweep.artifacts.stores import check_place, place_of

        place = place_of(chosen)
        check_place(place, create=True)
        study.set_user_attr(ARTIFACTS, place)


def resume(known: Study, file: StudyFile, *, write: bool = True) -> Study:
    """Return a study of the database with its file as it is now; StudyError when it is another study's.

    Without `write`, the database keeps the file that it has.
    """
    changed = _changed_sections(known.file, file)
    # Nothing was learnt yet from a study whose data, say, could not be read.
    if changed and (known.trials() or "objectives" in changed):
        raise StudyError(
            f"study {file.study!r} is in the database with another {', '.join(changed)};"
            " give this one a name of its own (`study:`), or go on with the file that it was made from"
        )
    if write:
        _write_file(known.optuna, file)
    return Study(file, known.optuna, known.storage)


def load(storage: RDBStorage, name: str) -> Study:
    """Return the study called `name`; raises StudyError when there is none, or it is not of this program."""
    study = _load_optuna(storage, name)
    text = study.user_attrs.get(STUDY_FILE)
    if text is None:
        raise StudyError(f"study {name!r} was not made by sweep; choose another name")
    try:
        file = StudyFile.model_validate_json(text, strict=True)
    except ValueError as error:
        raise StudyError(
            f"study {name!r} was made by another version of sweep, which this one cannot read; use that one"
        ) from error
    return Study(file, study, storage)


def _load_optuna(storage: RDBStorage, name: str) -> optuna.Study:
    try:
        return optuna.load_study(
            study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0)
        )
    except KeyError:
        names = ", ".join(optuna.get_all_study_names(storage)) or "none"
        raise StudyError(
            f"study {name!r} is not in the database (there: {names}); `sweep run` makes one"
        ) from None


def _write_file(study: optuna.Study, file: StudyFile) -> None:
    study.set_user_attr(STUDY_FILE, file.model_dump_json())


def _changed_sections(old: StudyFile, new: StudyFile) -> list[str]:
    mine, theirs = (file.model_dump(mode="json", exclude=set(MAY_CHANGE)) for file in (new, old))
    return [name for name in mine if mine[name] != theirs[name]]


def sampler_for(file: StudyFile, slot: int, finished_runs: int) -> optuna.samplers.BaseSampler:
    """Return the study's sampler for the run in `slot`.

    Its seed comes from the study's and the slot, so no two workers draw the same numbers. The first
    runs are random whatever was harvested: the points of one trajectory say little about the rest.
    """
    seed = (file.seed * 1_000_003 + slot) % 2**32
    settings = file.sampler
    if settings.name == "random" or finished_runs < settings.startup_trials:
        return optuna.samplers.RandomSampler(seed=seed)
    if settings.name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, constant_liar=True)
    kinds: dict[str, Any] = {"nsga2": optuna.samplers.NSGAIISampler, "nsga3": optuna.samplers.NSGAIIISampler}
    with _experiments_allowed():
        sampler: optuna.samplers.BaseSampler = kinds[settings.name](
            seed=seed, population_size=settings.population
        )
    return sampler


def with_fixed(
    sampler: optuna.samplers.BaseSampler, params: Mapping[str, Any]
) -> optuna.samplers.BaseSampler:
    """Return a sampler that gives these parameters their values, and leaves the others to `sampler`."""
    with _experiments_allowed():
        return optuna.samplers.PartialFixedSampler(dict(params), sampler)


@contextmanager
def _experiments_allowed() -> Iterator[None]:
    """Keep Optuna's warnings about what it calls experimental from the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
