"""How far a study is, from the database alone."""

import time
from typing import Any

from optuna.trial import TrialState

from sweep.front import front_of
from sweep.slots import Slots
from sweep.study import Study
from sweep.synthesis.jobs import Jobs
from sweep.worker_name import worker_name


def status_of(study: Study) -> dict[str, Any]:
    """Return the form of `sweep status --json`."""
    slots = Slots(study.storage.engine, study.id, worker_name())
    runs = study.runs()
    finished = [t for t in runs if t.state.is_finished()]
    seconds = [t.user_attrs["core_seconds"] for t in finished if "core_seconds" in t.user_attrs]
    front = front_of(study)
    budget, done = study.file.budget.trials, slots.done()
    return {
        "study": study.name,
        "runs": {"done": done, "budget": budget, "running": slots.holders(time.time())},
        "points": sum(1 for _ in study.points()),
        "front": len(front.points),
        "hypervolume": front.hypervolume,
        "core_seconds": sum(seconds),
        "core_seconds_left": (budget - done) * sum(seconds) / len(seconds) if seconds else None,
        "syntheses": [job.as_json() for job in Jobs(study.storage.engine, worker_name()).of_study(study.id)],
        "problems": [
            {"trial": t.number, "parent": t.user_attrs.get("parent"), "problem": t.user_attrs["problem"]}
            for t in study.trials(TrialState.FAIL)
            if "problem" in t.user_attrs
        ],
    }
