"""`sweep storage check`: what a database is, whether it is up to date, how fast, and what is stuck in it."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from sweep.errors import StorageError
from sweep.storage import lease
from sweep.storage.database import existing_file, masked
from sweep.storage.migrations.upgrade import revisions
from sweep.storage.patience import reason
from sweep.storage.schema import SLOTS
from sweep.storage.trial_rows import STUDIES, TRIALS

#: Round trips that are timed.
ROUND_TRIPS = 20


@dataclass(frozen=True)
class Check:
    """What was found. Times are in ms; `clock_offset_s` is how far this machine's clock is ahead."""

    url: str
    server: str
    version: str | None
    newest: str
    studies: int
    trials: int
    stuck: int
    round_trip_ms: float
    clock_offset_s: float

    @property
    def state(self) -> str:
        """Whether this program's tables are there: current, missing, older or newer."""
        if self.version is None:
            return "missing"
        if self.version == self.newest:
            return "current"
        return "older" if self.version < self.newest else "newer"

    @property
    def advice(self) -> str:
        """What to do about the state; nothing where it is current."""
        return {
            "current": "",
            "missing": "`sweep storage init` makes the tables",
            "older": "`sweep storage upgrade` brings them up to date, once no older worker is at work",
            "newer": "they were made by a newer version of sweep; use that one",
        }[self.state]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "state": self.state, "advice": self.advice}


def check(url: str) -> Check:
    """Look at a database and change nothing. Raises StorageError when it does not answer."""
    existing_file(url)
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return _look(connection, masked(url))
    except sa.exc.SQLAlchemyError as error:
        raise StorageError(f"{masked(url)}: cannot be looked at ({reason(error)}); check the URL") from error
    finally:
        engine.dispose()


def _look(connection: sa.Connection, shown: str) -> Check:
    tables = set(sa.inspect(connection).get_table_names())
    found, newest = revisions(connection)
    began = time.perf_counter()
    for _ in range(ROUND_TRIPS):
        connection.execute(sa.select(1))
    seconds = (time.perf_counter() - began) / ROUND_TRIPS
    there = {"studies", "trials"} <= tables
    name = connection.dialect.name
    query = "SHOW server_version" if name == "postgresql" else "SELECT sqlite_version()"
    return Check(
        url=shown,
        server=f"{name} {connection.exec_driver_sql(query).scalar()}",
        version=found,
        newest=newest,
        studies=_count(connection, STUDIES) if there else 0,
        trials=_count(connection, TRIALS) if there else 0,
        stuck=_stuck(connection) if there and "sweep_slots" in tables else 0,
        round_trip_ms=round(1e3 * seconds, 2),
        clock_offset_s=round(time.time() - lease.now(connection), 1),
    )


def _count(connection: sa.Connection, table: Any) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _stuck(connection: sa.Connection) -> int:
    """Return the running trials that no slot holds: nobody would ever end them."""
    owned = sa.select(SLOTS.c.trial_id).where(SLOTS.c.trial_id.is_not(None))
    query = sa.select(sa.func.count()).select_from(TRIALS)
    orphans = query.where(TRIALS.c.state == TrialState.RUNNING, TRIALS.c.trial_id.not_in(owned))
    return int(connection.execute(orphans).scalar_one())
