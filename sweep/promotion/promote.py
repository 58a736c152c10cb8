"""Promotion: the best of a front becomes candidates, each with a job in the queue of syntheses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from objectives.data.dataset import load_dataset
from objectives.progress import Progress
from sweep import home
from sweep.artifacts.students import student_folder
from sweep.calibration.correction import raw_cost
from sweep.errors import SynthesisError
from sweep.processes import compile_sooner, limit_threads
from sweep.promotion.choice import Chosen
from sweep.promotion.remeasure import test_scores
from sweep.study import Study
from sweep.synthesis.jobs import Candidate, Job, Jobs
from sweep.synthesis.tools import tool_for
from sweep.worker.name import worker_name


@dataclass(frozen=True)
class Promoted:
    """A candidate and its job; `new` is false when the design was in the queue before."""

    candidate: Candidate
    job: Job
    new: bool

    def as_json(self) -> dict[str, Any]:
        """Return the form of `sweep promote --json`."""
        return {
            "trial": self.candidate.number,
            "reason": self.candidate.reason,
            "test": self.candidate.test,
            "spread": self.candidate.spread,
            "new": self.new,
            **self.job.as_json(),
        }


def promote(study: Study, chosen: list[Chosen], progress: Progress) -> list[Promoted]:
    """Measure `chosen` again, and queue those designs that have no job for the study's target yet.

    Raises StudyError when a saved student is not what the study recorded, and SynthesisError for a
    target that the study's tool cannot have.
    """
    file = study.file
    tool_for(file.target)  # refuses an impossible target before anything is queued
    jobs = Jobs(study.storage.engine, worker_name())
    test = load_dataset(file.dataset, home.data_cache(), processes=1, progress=progress).test
    measured = []
    for number, choice in enumerate(chosen):
        progress("measuring on the test part", number, len(chosen))
        student = _student(study, choice)
        if not student.is_dir():
            raise SynthesisError(f"trial {choice.trial.number}: its student is not in {student}")
        measured.append(test_scores(study, choice.trial, test, file.rate_khz))
    progress("measuring on the test part", len(chosen), len(chosen))
    spreads = _spreads(study, chosen, jobs, progress)
    promoted = []
    for choice, scores, spread in zip(chosen, measured, spreads, strict=True):
        about = choice.trial.user_attrs
        candidate = Candidate(
            study.id, choice.trial._trial_id, choice.trial.number, choice.reason, scores, spread
        )
        folder = str(_student(study, choice))
        job, new = jobs.add(candidate, about["design"], file.target, folder, raw_cost(about["cost"]))
        promoted.append(Promoted(candidate, job, new))
    return promoted


def try_again(study: Study, promoted: list[Promoted]) -> list[Promoted]:
    """Queue again what ended badly in a study; return `promoted` with their jobs as they are now."""
    jobs = Jobs(study.storage.engine, worker_name())
    jobs.retry(study.id)
    now = {job.id: job for job in jobs.of_study(study.id)}
    return [replace(each, job=now[each.job.id]) for each in promoted]


def _student(study: Study, choice: Chosen) -> Path:
    return student_folder(study, choice.trial)


def _spreads(
    study: Study, chosen: list[Chosen], jobs: Jobs, progress: Progress
) -> Sequence[Mapping[str, Any] | None]:
    seeds = study.file.promotion.seeds
    if not seeds:
        # What an earlier promotion trained took its time; it stays with the candidate.
        known = {c.number: c.spread for c, _ in jobs.candidates(study.id) if c.spread is not None}
        return [known.get(choice.trial.number) for choice in chosen]
    # As workers train: otherwise a seed would not lead to the same student twice.
    limit_threads(1)
    compile_sooner()
    from sweep.promotion.seeds import seed_spreads  # brings TensorFlow, which takes seconds

    return seed_spreads(study, [choice.trial for choice in chosen], seeds, progress)
