"""Who trains what: the runs of a study as numbered slots, each held by a lease.

A slot is one training run of the study's budget. A worker claims a slot in one transaction, renews
its lease from a thread of its own, and marks it done. A slot whose lease ran out belongs to whoever
claims it next; the token tells the late worker that it is no longer the holder. Nothing is lost and
nothing is trained twice, whenever a worker dies.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from sweep import lease
from sweep.schema import SLOTS


@dataclass(frozen=True)
class Claim:
    """A slot that this worker holds; `trial_id` where an earlier attempt has begun its trial."""

    study_id: int
    slot: int
    trial_id: int | None
    attempt: int
    token: str


class Slots:
    """The slots of one study, as one worker sees them."""

    def __init__(self, engine: sa.Engine, study_id: int, worker: str) -> None:
        self.engine = engine
        self.study_id = study_id
        self.worker = worker

    def claim(self, budget: int) -> Claim | None:
        """Take an abandoned slot, or a new one below `budget`; None when there is nothing to take."""
        while True:
            now = time.time()
            with self.engine.begin() as connection:
                rows = connection.execute(self._mine()).mappings().all()
                abandoned = next((r for r in rows if not r["done"] and r["lease_until"] < now), None)
                token = uuid.uuid4().hex
                if abandoned is not None:
                    taken = connection.execute(
                        sa.update(SLOTS)
                        .where(self._is(abandoned["slot"]), SLOTS.c.token == abandoned["token"])
                        .values(
                            token=token,
                            worker=self.worker,
                            attempt=abandoned["attempt"] + 1,
                            lease_until=now + lease.LEASE,
                        )
                    )
                    if taken.rowcount == 1:
                        return Claim(
                            self.study_id,
                            abandoned["slot"],
                            abandoned["trial_id"],
                            abandoned["attempt"] + 1,
                            token,
                        )
                    continue
            if len(rows) >= budget:
                return None
            claim = self._open(len(rows), token, now)
            if claim is not None:
                return claim

    def _open(self, slot: int, token: str, now: float) -> Claim | None:
        row = {
            "study_id": self.study_id,
            "slot": slot,
            "done": False,
            "attempt": 1,
            "worker": self.worker,
            "token": token,
            "lease_until": now + lease.LEASE,
        }
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(SLOTS).values(row))
        except IntegrityError:  # somebody else opened it first
            return None
        return Claim(self.study_id, slot, None, 1, token)

    def _mine(self) -> sa.Select[tuple[object, ...]]:
        return sa.select(SLOTS).where(SLOTS.c.study_id == self.study_id).order_by(SLOTS.c.slot)

    def _is(self, slot: int) -> sa.ColumnElement[bool]:
        return sa.and_(SLOTS.c.study_id == self.study_id, SLOTS.c.slot == slot)

    def _update(self, claim: Claim, **values: object) -> bool:
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(SLOTS).where(self._is(claim.slot), SLOTS.c.token == claim.token).values(values)
            )
        return done.rowcount == 1

    def reserve(self, claim: Claim, digest: str) -> bool:
        """Note the claim's configuration; False when another slot has it, or the claim was lost."""
        try:
            return self._update(claim, digest=digest)
        except IntegrityError:
            return False

    def begin(self, claim: Claim, trial_id: int) -> bool:
        """Note the claim's trial; False when the claim was lost."""
        return self._update(claim, trial_id=trial_id)

    def renew(self, claim: Claim) -> bool:
        """Hold the claim for another lease; False when it was lost."""
        return self._update(claim, lease_until=time.time() + lease.LEASE)

    def finish(self, claim: Claim) -> bool:
        """Mark the slot done; False when the claim was lost."""
        return self._update(claim, done=True)

    def release(self, claim: Claim) -> bool:
        """Hand the slot back at once."""
        return self._update(claim, lease_until=0.0)

    def release_of(self, worker: str) -> int:
        """Hand back all that a worker holds which is known to be dead; return how many."""
        with self.engine.begin() as connection:
            released = connection.execute(
                sa.update(SLOTS)
                .where(
                    SLOTS.c.study_id == self.study_id,
                    SLOTS.c.worker == worker,
                    sa.not_(SLOTS.c.done),
                )
                .values(lease_until=0.0)
            )
        return int(released.rowcount)

    def open(self) -> dict[int, str]:
        """Return {slot: worker} of all that is claimed and not done."""
        with self.engine.begin() as connection:
            rows = connection.execute(self._mine()).mappings().all()
        return {r["slot"]: r["worker"] for r in rows if not r["done"]}

    def holders(self, now: float) -> list[dict[str, object]]:
        """Return who holds which run, and whether the lease has run out."""
        with self.engine.begin() as connection:
            rows = connection.execute(self._mine()).mappings().all()
        return [
            {
                "slot": r["slot"],
                "worker": r["worker"],
                "attempt": r["attempt"],
                "abandoned": r["lease_until"] < now,
            }
            for r in rows
            if not r["done"]
        ]

    def trial_ids(self) -> set[int]:
        """Return the trials that belong to a slot."""
        with self.engine.begin() as connection:
            rows = connection.execute(self._mine()).mappings().all()
        return {r["trial_id"] for r in rows if r["trial_id"] is not None}

    def drawing(self, claim: Claim | None = None) -> bool:
        """Tell whether a worker, other than the holder of `claim`, is about to note its slot's trial."""
        now = time.time()
        with self.engine.begin() as connection:
            rows = connection.execute(self._mine()).mappings().all()
        return any(
            r["trial_id"] is None
            and not r["done"]
            and r["lease_until"] >= now
            and (claim is None or r["slot"] != claim.slot)
            for r in rows
        )

    def done(self) -> int:
        """Return how many slots are done."""
        with self.engine.begin() as connection:
            rows = connection.execute(self._mine()).mappings().all()
        return sum(bool(r["done"]) for r in rows)

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Renew the claim from a thread for as long as the block runs."""
        with lease.kept(lambda: self.renew(claim)):
            yield
