"""Leases: what a worker holds belongs to it for as long as it says so in time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

#: Seconds that a lease holds without renewal.
LEASE = 60.0


@contextmanager
def kept(renew: Callable[[], bool]) -> Iterator[None]:
    """Renew a lease from a thread for as long as the block runs, or until `renew` says that it is lost."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(LEASE / 4):
            try:
                if not renew():
                    return
            except OperationalError:
                continue  # the database was away; the next renewal may still be in time

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
