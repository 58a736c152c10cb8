"""The queue of syntheses: jobs in the study's database, each held by a lease.

A job is one design for one tool and target, however many trials and studies wait for it. A worker
claims it in one transaction, renews its lease from a thread, and finishes it with the token that the
claim gave: a worker that comes late changes nothing. A job whose worker died goes to the next one; one
that outlived `MAX_ATTEMPTS` workers ends as killed.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from sweep.storage import lease
from sweep.storage.patience import waited_out
from sweep.storage.schema import CANDIDATES, JOBS
from sweep.synthesis import trial_results
from sweep.synthesis.result import Outcome, Verdict
from sweep.synthesis.target import Target
from sweep.worker.name import is_dead

#: Workers that may die over a job, and tool failures after which it is left alone.
MAX_ATTEMPTS = 3
#: Seconds before a job is tried again after the tool failed, and after the first missing licence.
RETRY_AFTER = 5.0
LICENCE_WAIT = 30.0
LONGEST_LICENCE_WAIT = 1800.0
#: Times that a job waits for a licence: about two days.
MAX_LICENCE_WAITS = 100

WAITING, RUNNING, DONE = "waiting", "running", "done"


@dataclass(frozen=True)
class Job:
    """A row of the queue, as it was read."""

    id: int
    design: str
    target: Target
    student: str
    estimate: Mapping[str, Any]
    state: str
    attempt: int
    not_before: float
    licence_waits: int
    worker: str
    token: str
    lease_until: float
    last_line: str
    outcome: Outcome | None
    evidence: tuple[str, ...]
    results: tuple[Mapping[str, Any], ...]
    artifacts: Mapping[str, str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what users are told of a job."""
        return {
            "job": self.id,
            "design": self.design,
            "tool": self.target.tool,
            "stage": self.target.stage,
            "part": self.target.hardware.part,
            "state": self.state,
            "attempt": self.attempt,
            "worker": self.worker,
            "last_line": self.last_line,
            "outcome": self.outcome,
            "evidence": list(self.evidence),
            "results": list(self.results),
            "seconds": self.seconds,
        }


def job_of(row: Mapping[Any, Any]) -> Job:
    """Return a job from its row."""
    plain = {name: row[name] for name in row if name not in ("tool", "target_digest")}
    return Job(
        **{
            **plain,
            "target": Target.model_validate_json(row["target"]),
            "outcome": Outcome(row["outcome"]) if row["outcome"] else None,
            "estimate": json.loads(row["estimate"]),
            "evidence": tuple(json.loads(row["evidence"])),
            "results": tuple(json.loads(row["results"])),
            "artifacts": json.loads(row["artifacts"]),
        }
    )


@dataclass(frozen=True)
class Candidate:
    """A trial chosen for synthesis: why, its scores on the test part, and their spread over seeds."""

    study_id: int
    trial_id: int
    number: int
    reason: str
    test: Mapping[str, Any]
    spread: Mapping[str, Any] | None = None


class Jobs:
    """The queue, as one worker sees it."""

    def __init__(self, engine: sa.Engine, worker: str) -> None:
        self.engine = engine
        self.worker = worker

    # --- asking ------------------------------------------------------------------------------

    @waited_out
    def add(
        self, candidate: Candidate, design: str, target: Target, student: str, estimate: Mapping[str, Any]
    ) -> tuple[Job, bool]:
        """Note that a candidate wants `design` synthesized; return its job and whether it is new.

        `student` is the folder of the student, `estimate` its cost as estimated. A design that was
        synthesized for this tool and target, or is about to be, is not queued again.
        """
        row = {
            "design": design,
            "tool": target.tool,
            "target_digest": target.digest(),
            "target": target.model_dump_json(),
            "student": student,
            "estimate": json.dumps(estimate),
            "state": WAITING,
            "attempt": 0,
            "not_before": 0.0,
            "licence_waits": 0,
            "worker": "",
            "token": "",
            "lease_until": 0.0,
            "last_line": "",
            "evidence": "[]",
            "results": "[]",
            "artifacts": "{}",
            "seconds": 0.0,
        }
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(JOBS).values(row))
            new = True
        except IntegrityError:
            new = False
        key = sa.and_(
            JOBS.c.design == design, JOBS.c.tool == target.tool, JOBS.c.target_digest == target.digest()
        )
        with self.engine.begin() as connection:
            found = connection.execute(sa.select(JOBS).where(key).with_for_update()).mappings().one()
            self._note(connection, candidate, found["id"])
            if found["state"] == DONE:
                trial_results.write(connection, found["id"])
        return job_of(found), new

    def _note(self, connection: sa.Connection, candidate: Candidate, job_id: int) -> None:
        key = {"study_id": candidate.study_id, "trial_id": candidate.trial_id, "job_id": job_id}
        where = [CANDIDATES.c[name] == value for name, value in key.items()]
        connection.execute(sa.delete(CANDIDATES).where(*where))
        connection.execute(
            sa.insert(CANDIDATES).values(
                **key,
                number=candidate.number,
                reason=candidate.reason,
                test=json.dumps(candidate.test),
                spread=None if candidate.spread is None else json.dumps(candidate.spread),
            )
        )

    def retry(self, study_id: int) -> int:
        """Queue again what ended badly and could end otherwise; return how many jobs."""
        worth = [o for o in Outcome if o not in (Outcome.OK, Outcome.DESIGN_FAILED)]
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(JOBS)
                .where(JOBS.c.id.in_(_ids(study_id)), JOBS.c.state == DONE, JOBS.c.outcome.in_(worth))
                .values(state=WAITING, outcome=None, attempt=0, licence_waits=0, not_before=0.0)
            )
        return int(done.rowcount)

    # --- looking -----------------------------------------------------------------------------

    @waited_out
    def of_study(self, study_id: int) -> list[Job]:
        """Return the jobs that trials of a study wait for, or waited, oldest first."""
        with self.engine.begin() as connection:
            rows = connection.execute(
                sa.select(JOBS).where(JOBS.c.id.in_(_ids(study_id))).order_by(JOBS.c.id)
            )
            return [job_of(row) for row in rows.mappings()]

    def candidates(self, study_id: int) -> list[tuple[Candidate, int]]:
        """Return the candidates of a study, by trial, each with its job's number."""
        with self.engine.begin() as connection:
            rows = connection.execute(
                sa.select(CANDIDATES)
                .where(CANDIDATES.c.study_id == study_id)
                .order_by(CANDIDATES.c.number, CANDIDATES.c.job_id)
            )
            return [
                (
                    Candidate(
                        row["study_id"],
                        row["trial_id"],
                        row["number"],
                        row["reason"],
                        json.loads(row["test"]),
                        None if row["spread"] is None else json.loads(row["spread"]),
                    ),
                    row["job_id"],
                )
                for row in rows.mappings()
            ]

    # --- working -----------------------------------------------------------------------------

    @waited_out
    def claim(self, study_id: int) -> Job | None:
        """Take a job of the study that waits, or whose worker's lease ran out; None if there is none now.

        A job that `MAX_ATTEMPTS` workers died over is ended as killed instead.
        """
        while True:
            with self.engine.begin() as connection:
                now = lease.now(connection)
                row = self._next(connection, study_id, now)
                if row is None:
                    return None
                if row["attempt"] >= MAX_ATTEMPTS:
                    why = f"{row['worker']} died over it, in attempt {row['attempt']} of {MAX_ATTEMPTS}"
                    self._end(connection, row, Outcome.KILLED, (why, *json.loads(row["evidence"])))
                    continue
                taken = {
                    "state": RUNNING,
                    "attempt": row["attempt"] + 1,
                    "worker": self.worker,
                    "token": uuid.uuid4().hex,
                    "lease_until": now + lease.LEASE,
                    "last_line": "",
                }
                # On PostgreSQL the row is locked; on SQLite the whole database is.
                connection.execute(sa.update(JOBS).where(JOBS.c.id == row["id"]).values(taken))
                return job_of({**row, **taken})

    def _next(self, connection: sa.Connection, study_id: int, now: float) -> Mapping[Any, Any] | None:
        free = sa.or_(
            sa.and_(JOBS.c.state == WAITING, JOBS.c.not_before <= now),
            sa.and_(JOBS.c.state == RUNNING, JOBS.c.lease_until < now),
        )
        query = sa.select(JOBS).where(free, JOBS.c.id.in_(_ids(study_id))).order_by(JOBS.c.id).limit(1)
        return connection.execute(query.with_for_update(skip_locked=True)).mappings().first()

    def _update(self, job: Job, **values: object) -> bool:
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(JOBS).where(JOBS.c.id == job.id, JOBS.c.token == job.token).values(values)
            )
        return done.rowcount == 1

    def renew(self, job: Job) -> bool:
        """Hold the job for another lease; False when it was lost."""
        with self.engine.begin() as connection:
            held = sa.and_(JOBS.c.id == job.id, JOBS.c.token == job.token)
            until = lease.now(connection) + lease.LEASE
            done = connection.execute(sa.update(JOBS).where(held).values(lease_until=until))
        return done.rowcount == 1

    def tell(self, job: Job, line: str) -> bool:
        """Note the last line of a job's log; False when the job was lost."""
        return self._update(job, last_line=line)

    @contextmanager
    def held(self, job: Job) -> Iterator[None]:
        """Renew the job's lease from a thread for as long as the block runs."""
        with lease.kept(lambda: self.renew(job)):
            yield

    @waited_out
    def release(self, job: Job, *, tried: bool = False) -> bool:
        """Hand the job back at once; unless it was `tried`, as if it had not been."""
        attempt = job.attempt if tried else job.attempt - 1
        return self._update(job, state=WAITING, attempt=attempt, token="", lease_until=0.0)

    @waited_out
    def finish(self, job: Job, verdict: Verdict, artifacts: Mapping[str, str], seconds: float) -> str | None:
        """Store what came of a job, for all that wait for it; return the state that it is in now.

        A missing licence and a tool that failed put it back into the queue for later, a design that
        failed never. `artifacts` are {name: id}; `seconds` is what the tool took. None means that the
        job was lost to another worker, and nothing was stored.
        """
        values = {
            "evidence": json.dumps(verdict.evidence),
            "artifacts": json.dumps(artifacts),
            "seconds": seconds,
            "lease_until": 0.0,
        }
        with self.engine.begin() as connection:
            held = sa.select(JOBS).where(JOBS.c.id == job.id, JOBS.c.token == job.token)
            row = connection.execute(held.with_for_update()).mappings().first()
            if row is None:
                return None
            again = self._later(job, verdict, lease.now(connection))
            if again is not None:
                connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(values | again))
                return WAITING
            connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(values))
            self._end(connection, row, verdict.outcome, verdict.evidence, verdict)
        return DONE

    def _later(self, job: Job, verdict: Verdict, now: float) -> dict[str, object] | None:
        """Return how a job waits that is worth another try, None for one that is not."""
        common = {"state": WAITING, "token": "", "outcome": None}
        if verdict.outcome is Outcome.LICENCE_MISSING and job.licence_waits < MAX_LICENCE_WAITS:
            wait = min(LICENCE_WAIT * 2**job.licence_waits, LONGEST_LICENCE_WAIT)
            # Nobody is to blame: the attempt does not count.
            waits = {"licence_waits": job.licence_waits + 1, "attempt": job.attempt - 1}
            return {**common, **waits, "not_before": now + wait}
        if verdict.outcome is Outcome.TOOL_FAILED and job.attempt < MAX_ATTEMPTS:
            return {**common, "not_before": now + RETRY_AFTER * 2**job.attempt}
        return None

    def _end(
        self,
        connection: sa.Connection,
        row: Mapping[Any, Any],
        outcome: Outcome,
        evidence: Sequence[str],
        verdict: Verdict | None = None,
    ) -> None:
        results = [result.as_json() for result in verdict.results] if verdict else []
        connection.execute(
            sa.update(JOBS)
            .where(JOBS.c.id == row["id"])
            .values(
                state=DONE,
                outcome=outcome.value,
                evidence=json.dumps(evidence),
                results=json.dumps(results),
                token="",
                lease_until=0.0,
            )
        )
        trial_results.write(connection, row["id"])

    def reap(self, study_id: int) -> int:
        """Hand back the jobs of workers of this machine that are dead; return how many."""
        dead = [job for job in self.of_study(study_id) if job.state == RUNNING and is_dead(job.worker)]
        return sum(self._update(job, lease_until=0.0) for job in dead)


def _ids(study_id: int) -> sa.Select[tuple[int]]:
    return sa.select(CANDIDATES.c.job_id).where(CANDIDATES.c.study_id == study_id)
