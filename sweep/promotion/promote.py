"""Promotion: the best of a front becomes candidates, each with a job in the queue of syntheses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from objectives.data.dataset import load_dataset
from objectives.progress import Progress
from objectives.scores import WORKING_POINT_KHZ
from sweep import home
from sweep.calibration.correction import raw_cost
from sweep.errors import SynthesisError
from sweep.promotion.choice import Chosen
from sweep.promotion.remeasure import test_scores
from sweep.study import Study
from sweep.study_file import trigger_rate_khz
from sweep.synthesis.jobs import Candidate, Job, Jobs
from sweep.synthesis.tools import tool_for
from sweep.worker_name import worker_name


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
    rates = (trigger_rate_khz(name) for name in file.objectives)
    rate = next((rate for rate in rates if rate is not None), WORKING_POINT_KHZ)
    jobs = Jobs(study.storage.engine, worker_name())
    test = load_dataset(file.dataset, home.data_cache(), processes=1, progress=progress).test
    measured = []
    for number, choice in enumerate(chosen):
        progress("measuring on the test part", number, len(chosen))
        measured.append(test_scores(study, choice.trial, test, rate))
    progress("measuring on the test part", len(chosen), len(chosen))
    spreads = _spreads(study, chosen, progress)
    promoted = []
    for choice, scores, spread in zip(chosen, measured, spreads, strict=True):
        about = choice.trial.user_attrs
        candidate = Candidate(
            study.id, choice.trial._trial_id, choice.trial.number, choice.reason, scores, spread
        )
        student = home.students_folder(study.name) / about["student"]
        if not student.is_dir():
            raise SynthesisError(f"trial {choice.trial.number}: its student is not in {student}")
        job, new = jobs.add(candidate, about["design"], file.target, str(student), raw_cost(about["cost"]))
        promoted.append(Promoted(candidate, job, new))
    return promoted


def _spreads(study: Study, chosen: list[Chosen], progress: Progress) -> Sequence[dict[str, Any] | None]:
    seeds = study.file.promotion.seeds
    if not seeds:
        return [None for _ in chosen]
    from sweep.promotion.seeds import seed_spreads  # brings TensorFlow, which takes seconds

    return seed_spreads(study, [choice.trial for choice in chosen], seeds, progress)
