"""Who works on a study: each worker says now and then that it is there, and looks whether it is to stop."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from sweep.storage import lease
from sweep.storage.database import READS
from sweep.storage.patience import waited_out
from sweep.storage.schema import WORKERS

#: Seconds between two signs of life.
EVERY = 10.0
#: Seconds without a sign of life after which a worker counts as lost.
LOST_AFTER = 60.0
#: Seconds that the database remembers workers that have ended.
REMEMBERED = 7 * 86400.0


class Register:
    """One worker's entry among those of its study."""

    def __init__(self, engine: sa.Engine, study_id: int, worker: str) -> None:
        self.engine = engine
        self.study_id = study_id
        self.worker = worker
        self.doing = "starting"
        self.runs = 0
        self.stop = False
        #: Whether another worker takes this one's place: until it does, this one counts as there.
        self.has_successor = False

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return sa.and_(WORKERS.c.name == self.worker, WORKERS.c.study_id == self.study_id)

    @contextmanager
    def entered(self, launch: int | None = None, succeeds: str | None = None) -> Iterator[None]:
        """Be listed for as long as the block runs; say how it ended.

        `succeeds` is the worker whose place this one takes: what that was asked to, this one is.
        """
        self._enter(launch, succeeds)
        error = ""
        try:
            with lease.kept(self.sign, EVERY):
                yield
        except Exception as problem:
            error = str(problem) or type(problem).__name__
            raise
        finally:
            self._leave(error)

    @waited_out
    def _enter(self, launch: int | None, succeeds: str | None) -> None:
        with self.engine.begin() as connection:
            earlier = sa.and_(WORKERS.c.name == succeeds, WORKERS.c.study_id == self.study_id)
            self.stop = bool(connection.execute(sa.select(WORKERS.c.stop).where(earlier)).scalar())
            connection.execute(sa.update(WORKERS).where(earlier).values(ended=lease.Now()))
            long_ago = sa.and_(WORKERS.c.study_id == self.study_id, WORKERS.c.seen < lease.Now() - REMEMBERED)
            connection.execute(sa.delete(WORKERS).where(sa.or_(self._mine, long_ago)))
            now = {"started": lease.Now(), "seen": lease.Now()}
            about = {"name": self.worker, "study_id": self.study_id, "launch_id": launch}
            state = {"doing": self.doing, "runs": 0, "stop": self.stop, "error": ""}
            connection.execute(sa.insert(WORKERS).values(**about, **now, **state))

    def sign(self) -> bool:
        """Say that the worker is there and what it does; note whether it is to stop."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(WORKERS)
                .where(self._mine)
                .values(seen=lease.Now(), doing=self.doing[:200], runs=self.runs)
            )
            self.stop = bool(connection.execute(sa.select(WORKERS.c.stop).where(self._mine)).scalar())
        return True

    @waited_out
    def _leave(self, error: str) -> None:
        with self.engine.begin() as connection:
            left = {"seen": lease.Now(), "runs": self.runs, "error": error}
            ended = {"doing": "starting again"} if self.has_successor else {"ended": lease.Now()}
            connection.execute(sa.update(WORKERS).where(self._mine).values(**left, **ended))


@waited_out
def workers_of(engine: sa.Engine, study_id: int) -> list[Mapping[str, Any]]:
    """Return the workers of a study, the latest first, each as `working`, `lost` or `ended`.

    `silent` are the seconds since it was last heard of; `elapsed` those that it worked, or has so far.
    """
    silent = (lease.Now() - WORKERS.c.seen).label("silent")
    elapsed = (WORKERS.c.seen - WORKERS.c.started).label("elapsed")
    query = sa.select(WORKERS, silent, elapsed).where(WORKERS.c.study_id == study_id)
    with engine.connect().execution_options(**READS) as connection:
        rows = connection.execute(query.order_by(WORKERS.c.started.desc())).mappings().all()
    return [{**row, "state": _state(row)} for row in rows]


def _state(row: Any) -> str:
    if row["ended"] is not None:
        return "ended"
    return "lost" if row["silent"] > LOST_AFTER else "working"


@waited_out
def ask_to_stop(engine: sa.Engine, study_id: int) -> int:
    """Ask every worker of a study to stop; return how many were asked."""
    with engine.begin() as connection:
        asked = connection.execute(
            sa.update(WORKERS)
            .where(WORKERS.c.study_id == study_id, WORKERS.c.ended.is_(None))
            .values(stop=True)
        )
    return int(asked.rowcount)
