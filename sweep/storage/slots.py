"""Who trains what: the runs of a study as numbered slots, each held by a lease.

A slot is one training run of the study's budget. A worker claims a slot in one transaction, renews
its lease from a thread of its own, and ends it in the transaction that stores what the run gave. A slot
whose lease ran out belongs to whoever claims it next; the token tells the late worker that it is no
longer the holder, and takes back all that it was about to write. Nothing is lost and nothing is stored
twice, whenever a worker dies. A run that `MAX_LOSSES` workers died over is left alone, as failed.
"""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from sweep.storage import lease, trial_rows
from sweep.storage.database import READS
from sweep.storage.patience import waited_out
from sweep.storage.schema import ATTEMPTS, SLOTS

T = TypeVar("T")

#: Workers that may die, or stop with an error, over one run.
MAX_LOSSES = 3
#: How an attempt may end.
DONE, HANDED_BACK, LOST, FAILED = "done", "handed back", "lost", "failed"


class ClaimLost(Exception):
    """A worker came too late: its slot belongs to another one, and nothing was written."""


@dataclass(frozen=True)
class Claim:
    """A slot that this worker holds; `trial_id` where an earlier attempt has begun its trial."""

    study_id: int
    slot: int
    trial_id: int | None
    attempt: int
    token: str


class _Again:
    """What was found was not to be claimed; there may be more."""


class Slots:
    """The slots of one study, as one worker sees them."""

    def __init__(self, engine: sa.Engine, study_id: int, worker: str) -> None:
        self.engine = engine
        self.study_id = study_id
        self.worker = worker

    # --- claiming ----------------------------------------------------------------------------

    def claim(self, budget: int) -> Claim | None:
        """Take an abandoned slot, or a new one below `budget`; None when there is nothing to take."""
        token = uuid.uuid4().hex
        while True:
            try:
                found = self._claim(budget, token)
            except IntegrityError:  # somebody else opened the same new slot first
                continue
            if not isinstance(found, _Again):
                return found

    @waited_out
    def _claim(self, budget: int, token: str) -> "Claim | _Again | None":
        with self.engine.begin() as connection:
            # A connection may be lost between a commit and its answer.
            mine = connection.execute(sa.select(SLOTS).where(self._all(), SLOTS.c.token == token)).first()
            if mine is not None:
                return Claim(self.study_id, mine.slot, mine.trial_id, mine.attempt, token)
            abandoned = connection.execute(
                sa.select(SLOTS)
                .where(self._all(), sa.not_(SLOTS.c.done), SLOTS.c.lease_until < lease.Now())
                .order_by(SLOTS.c.slot)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).first()
            if abandoned is not None:
                return self._adopt(connection, abandoned, token)
            last = connection.execute(sa.select(sa.func.max(SLOTS.c.slot)).where(self._all())).scalar()
            slot = 0 if last is None else last + 1
            if slot >= budget:
                return None
            row = {"study_id": self.study_id, "slot": slot, "done": False, "attempt": 1}
            held = {"worker": self.worker, "token": token, "lease_until": lease.end()}
            connection.execute(sa.insert(SLOTS).values(**row, **held))
            self._begin_attempt(connection, slot, 1)
            return Claim(self.study_id, slot, None, 1, token)

    def _adopt(self, connection: sa.Connection, row: Any, token: str) -> "Claim | _Again":
        """Take the slot of `row`, or end it when too many workers were lost over it."""
        self._end_attempt(connection, row.slot, row.attempt, LOST, "its lease ran out")
        losses = self._losses(connection, row.slot)
        if len(losses) >= MAX_LOSSES:
            self._give_up(connection, row, losses)
            return _Again()
        held = {"worker": self.worker, "token": token, "lease_until": lease.end()}
        connection.execute(sa.update(SLOTS).where(self._is(row.slot)).values(attempt=row.attempt + 1, **held))
        self._begin_attempt(connection, row.slot, row.attempt + 1)
        return Claim(self.study_id, row.slot, row.trial_id, row.attempt + 1, token)

    def _give_up(self, connection: sa.Connection, row: Any, losses: list[Any]) -> None:
        told = "; ".join(f"attempt {a.attempt} at {a.worker}: {a.evidence or a.ending}" for a in losses)
        problem = f"given up after {len(losses)} attempts ({told})"
        connection.execute(sa.update(SLOTS).where(self._is(row.slot)).values(done=True, token=""))
        if row.trial_id is not None:
            trial_rows.complete(connection, row.trial_id, None, {"problem": problem}, {})

    # --- the history of attempts -------------------------------------------------------------

    def _begin_attempt(self, connection: sa.Connection, slot: int, attempt: int) -> None:
        row = {"study_id": self.study_id, "slot": slot, "attempt": attempt, "worker": self.worker}
        connection.execute(sa.insert(ATTEMPTS).values(**row, started=lease.Now(), evidence=""))

    def _end_attempt(
        self, connection: sa.Connection, slot: int, attempt: int, ending: str, evidence: str = ""
    ) -> None:
        """Note how an attempt ended, unless that is known."""
        connection.execute(
            sa.update(ATTEMPTS)
            .where(
                ATTEMPTS.c.study_id == self.study_id,
                ATTEMPTS.c.slot == slot,
                ATTEMPTS.c.attempt == attempt,
                ATTEMPTS.c.ended.is_(None),
            )
            .values(ended=lease.Now(), ending=ending, evidence=evidence)
        )

    def _losses(self, connection: sa.Connection, slot: int) -> list[Any]:
        query = sa.select(ATTEMPTS).where(ATTEMPTS.c.study_id == self.study_id, ATTEMPTS.c.slot == slot)
        bad = query.where(ATTEMPTS.c.ending.in_((LOST, FAILED))).order_by(ATTEMPTS.c.attempt)
        return list(connection.execute(bad))

    @waited_out
    def attempts(self, *, only_repeated: bool = False) -> list[Mapping[str, Any]]:
        """Return the history of attempts, in order; `only_repeated` that of slots with more than one."""
        query = sa.select(ATTEMPTS).where(ATTEMPTS.c.study_id == self.study_id)
        if only_repeated:
            again = sa.select(ATTEMPTS.c.slot).where(
                ATTEMPTS.c.study_id == self.study_id, ATTEMPTS.c.attempt > 1
            )
            query = query.where(ATTEMPTS.c.slot.in_(again))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(ATTEMPTS.c.slot, ATTEMPTS.c.attempt)).mappings()
            return [{name: row[name] for name in row if name != "study_id"} for row in rows]

    # --- holding -----------------------------------------------------------------------------

    def begin(self, claim: Claim, digest: str, insert: Callable[[sa.Connection], int]) -> int | None:
        """Give the claim its configuration and its trial, which `insert` makes; return the trial's id.

        All in one transaction: no trial is ever without its slot. None means that another slot has the
        configuration. Raises ClaimLost.
        """
        try:
            return self._begin(claim, digest, insert)
        except IntegrityError:
            return None

    @waited_out
    def _begin(self, claim: Claim, digest: str, insert: Callable[[sa.Connection], int]) -> int:
        with self.engine.begin() as connection:
            noted = self._fence(connection, claim).trial_id
            if noted is not None:  # by this claim, in a transaction whose answer was lost
                return int(noted)
            connection.execute(sa.update(SLOTS).where(self._is(claim.slot)).values(digest=digest))
            trial_id = insert(connection)
            connection.execute(sa.update(SLOTS).where(self._is(claim.slot)).values(trial_id=trial_id))
        return trial_id

    @waited_out
    def finish(self, claim: Claim, store: Callable[[sa.Connection], T]) -> T | None:
        """Mark the slot done in the transaction in which `store` writes what its run gave.

        Returns what `store` returns, None when that was stored before. Raises ClaimLost, with nothing
        written, when the slot has another holder.
        """
        with self.engine.begin() as connection:
            if self._fence(connection, claim).done:  # by this claim, in a transaction whose answer was lost
                return None
            stored = store(connection)
            connection.execute(sa.update(SLOTS).where(self._is(claim.slot)).values(done=True))
            self._end_attempt(connection, claim.slot, claim.attempt, DONE)
        return stored

    def _fence(self, connection: sa.Connection, claim: Claim) -> Any:
        """Lock the slot until the transaction ends; raise ClaimLost if it is not this claim's."""
        held = sa.select(SLOTS).where(self._is(claim.slot), SLOTS.c.token == claim.token)
        row = connection.execute(held.with_for_update()).first()
        if row is None:
            raise ClaimLost
        return row

    def renew(self, claim: Claim) -> bool:
        """Hold the claim for another lease; False when it was lost."""
        with self.engine.begin() as connection:
            held = sa.and_(self._is(claim.slot), SLOTS.c.token == claim.token)
            done = connection.execute(sa.update(SLOTS).where(held).values(lease_until=lease.end()))
        return done.rowcount == 1

    @waited_out
    def release(self, claim: Claim, ending: str = HANDED_BACK, evidence: str = "") -> bool:
        """Hand the slot back at once, and say why; False when it was lost."""
        with self.engine.begin() as connection:
            held = sa.and_(self._is(claim.slot), SLOTS.c.token == claim.token)
            done = connection.execute(sa.update(SLOTS).where(held).values(lease_until=0.0))
            if done.rowcount == 1:
                self._end_attempt(connection, claim.slot, claim.attempt, ending, evidence)
        return done.rowcount == 1

    @waited_out
    def release_of(self, worker: str, evidence: str = "its process is gone") -> int:
        """Hand back all that a worker holds which is known to be dead; return how many."""
        with self.engine.begin() as connection:
            held = sa.and_(self._all(), SLOTS.c.worker == worker, sa.not_(SLOTS.c.done))
            rows = connection.execute(sa.select(SLOTS).where(held).with_for_update()).all()
            for row in rows:
                self._end_attempt(connection, row.slot, row.attempt, LOST, evidence)
            connection.execute(sa.update(SLOTS).where(held).values(lease_until=0.0))
        return len(rows)

    @contextmanager
    def held(self, claim: Claim) -> Iterator[threading.Event]:
        """Renew the claim from a thread for as long as the block runs; yields what is set if it is lost."""
        with lease.kept(lambda: self.renew(claim)) as lost:
            yield lost

    # --- looking -----------------------------------------------------------------------------

    def _all(self) -> sa.ColumnElement[bool]:
        return SLOTS.c.study_id == self.study_id

    def _is(self, slot: int) -> sa.ColumnElement[bool]:
        return sa.and_(self._all(), SLOTS.c.slot == slot)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self.engine.connect().execution_options(**READS) as connection:
            yield connection

    def open(self) -> dict[int, str]:
        """Return {slot: worker} of all that is claimed and not done."""
        return {holder["slot"]: holder["worker"] for holder in self.holders()}

    @waited_out
    def holders(self) -> list[dict[str, Any]]:
        """Return who holds which run, and whether the lease has run out."""
        late = (SLOTS.c.lease_until < lease.Now()).label("abandoned")
        query = sa.select(SLOTS.c.slot, SLOTS.c.worker, SLOTS.c.attempt, late)
        with self._reading() as connection:
            rows = connection.execute(query.where(self._all(), sa.not_(SLOTS.c.done)).order_by(SLOTS.c.slot))
            return [{**row, "abandoned": bool(row["abandoned"])} for row in rows.mappings()]

    @waited_out
    def trial_ids(self) -> set[int]:
        """Return the trials that belong to a slot."""
        query = sa.select(SLOTS.c.trial_id).where(self._all(), SLOTS.c.trial_id.is_not(None))
        with self._reading() as connection:
            return set(connection.execute(query).scalars())

    @waited_out
    def done(self) -> int:
        """Return how many slots are done."""
        with self._reading() as connection:
            query = sa.select(sa.func.count()).select_from(SLOTS).where(self._all(), SLOTS.c.done)
            return int(connection.execute(query).scalar_one())
