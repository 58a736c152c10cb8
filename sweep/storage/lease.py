"""Leases: what a worker holds belongs to it for as long as it says so in time.

Time is the database's: the clock of a node may be off by minutes without taking a lease from anybody.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

#: Seconds that a lease holds without renewal.
LEASE = 60.0


class Now(FunctionElement[float]):
    """Seconds since 1970 by the clock of the database."""

    type = sa.Float()
    inherit_cache = True


@compiles(Now, "postgresql")
def _now_in_postgresql(element: Now, compiler: Any, **_: Any) -> str:
    return "date_part('epoch', clock_timestamp())"


@compiles(Now, "sqlite")
def _now_in_sqlite(element: Now, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def now(connection: sa.Connection) -> float:
    """Return the time by the clock of the database, in seconds since 1970."""
    return float(connection.execute(sa.select(Now())).scalar_one())


def end() -> sa.ColumnElement[float]:
    """Return the end of a lease that begins now."""
    return Now() + LEASE


@contextmanager
def kept(renew: Callable[[], bool], every: float | None = None) -> Iterator[threading.Event]:
    """Renew a lease from a thread for as long as the block runs, or until `renew` says that it is lost.

    Yields an event that is set when it is lost.
    """
    stop, lost = threading.Event(), threading.Event()

    def keep() -> None:
        while not stop.wait(every or LEASE / 4):
            try:
                if not renew():
                    lost.set()
                    return
            except OperationalError:
                continue  # the database was away; the next renewal may still be in time

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        stop.set()
        thread.join()
