"""What synthesis found, written to the trials that waited for it.

Optuna's own interface leaves finished trials as they are. These attributes are added in the
transaction that ends the job: a trial has its results exactly when its job has.
"""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import (
    TrialModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
)

from sweep.artifacts.attributes import attribute
from sweep.storage.schema import CANDIDATES, JOBS

#: User attributes of a trial.
SYNTHESIS = "synthesis"
OUTCOMES = "synthesis_jobs"


def write(connection: sa.Connection, job_id: int) -> None:
    """Write the results of all jobs of each trial that waited for `job_id` to that trial."""
    waiting = connection.execute(sa.select(CANDIDATES.c.trial_id).where(CANDIDATES.c.job_id == job_id))
    for trial_id in sorted(waiting.scalars()):
        _write_trial(connection, trial_id)


def _write_trial(connection: sa.Connection, trial_id: int) -> None:
    trials = TrialModel.__table__
    # Two jobs of one trial may end at once: the second waits here, and sees the first one's results.
    connection.execute(sa.select(trials.c.trial_id).where(trials.c.trial_id == trial_id).with_for_update())
    jobs = connection.execute(
        sa.select(JOBS)
        .join(CANDIDATES, CANDIDATES.c.job_id == JOBS.c.id)
        .where(CANDIDATES.c.trial_id == trial_id, JOBS.c.state == "done")
        .order_by(JOBS.c.id)
    )
    results: list[Any] = []
    outcomes: list[dict[str, Any]] = []
    for job in jobs.mappings():
        results += json.loads(job["results"])
        outcomes.append(_summary(job))
        for name, artifact in json.loads(job["artifacts"]).items():
            key, about = attribute(name, artifact)
            _set(connection, TrialSystemAttributeModel.__table__, trial_id, key, about)
    _set(connection, TrialUserAttributeModel.__table__, trial_id, SYNTHESIS, results)
    _set(connection, TrialUserAttributeModel.__table__, trial_id, OUTCOMES, outcomes)


def _summary(job: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "job": job["id"],
        "tool": job["tool"],
        "outcome": job["outcome"],
        "evidence": json.loads(job["evidence"]),
        "seconds": job["seconds"],
    }


def _set(connection: sa.Connection, table: Any, trial_id: int, key: str, value: Any) -> None:
    connection.execute(sa.delete(table).where(table.c.trial_id == trial_id, table.c.key == key))
    connection.execute(sa.insert(table).values(trial_id=trial_id, key=key, value_json=json.dumps(value)))
