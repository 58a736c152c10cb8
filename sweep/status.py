"""How far a study is, from the database alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import TrialState

from sweep.front import front_of
from sweep.launch.launch import summary
from sweep.storage.register import workers_of
from sweep.storage.slots import Slots
from sweep.study import Study
from sweep.synthesis.jobs import Jobs
from sweep.worker.name import worker_name


def status_of(study: Study) -> dict[str, Any]:
    """Return the form of `sweep status --json`."""
    slots = Slots(study.storage.engine, study.id, worker_name())
    seconds = study.run_seconds()
    front = front_of(study)
    budget, done = study.file.budget.trials, slots.done()
    left = _runs_left(study, budget - done, seconds)
    workers = workers_of(study.storage.engine, study.id)
    return {
        "study": study.name,
        "runs": {"done": done, "budget": budget, "running": slots.holders()},
        "points": len(front.costs),
        "front": len(front.points),
        "hypervolume": front.hypervolume,
        "core_seconds": sum(seconds),
        "core_seconds_left": left * sum(seconds) / len(seconds) if seconds else None,
        **_pace(workers, left),
        "workers": [_worker(worker) for worker in workers if worker["state"] != "ended" or worker["error"]],
        "launches": summary(study.storage.engine, study.id),
        "retries": slots.attempts(only_repeated=True),
        "syntheses": [job.as_json() for job in Jobs(study.storage.engine, worker_name()).of_study(study.id)],
        "problems": [
            {"trial": t.number, "parent": t.user_attrs.get("parent"), "problem": t.user_attrs["problem"]}
            for t in study.attributes("problem", "parent", states=[TrialState.FAIL])
            if "problem" in t.user_attrs
        ],
    }


def _runs_left(study: Study, slots: int, seconds: Sequence[float]) -> float:
    """Return the runs that the budget still has, by its trials and by its core-hours."""
    hours = study.file.budget.core_hours
    if hours is None or not sum(seconds):
        return slots
    by_hours = (hours * 3600 - sum(seconds)) / (sum(seconds) / len(seconds))
    return min(slots, max(by_hours, 0.0))


def _worker(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "worker": row["name"],
        "state": row["state"],
        "doing": row["doing"],
        "runs": row["runs"],
        "seconds": row["elapsed"],
        "silent_seconds": row["silent"],
        "error": row["error"],
        "launch": row["launch_id"],
    }


def _pace(workers: Sequence[Mapping[str, Any]], left: float) -> dict[str, float | None]:
    """Return the runs an hour of the workers that are at work, and the seconds until all runs are done.

    None where no worker is at work, or none of them has ended a run yet.
    """
    working = [worker for worker in workers if worker["state"] == "working"]
    rates = [
        worker["runs"] / worker["elapsed"] for worker in working if worker["runs"] and worker["elapsed"] > 0
    ]
    if not rates:
        return {"runs_per_hour": None, "seconds_left": None}
    rate = sum(rates)
    return {"runs_per_hour": 3600 * rate, "seconds_left": max(left, 0) / rate}
