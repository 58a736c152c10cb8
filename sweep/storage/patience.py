"""Waiting for a database that is away: restarted, failed over, or out of reach for a while.

A function whose transaction may be repeated is decorated with `waited_out`. It is called again, with
growing pauses, until the database answers or `PATIENCE` is over; what does not pass by waiting, such as a
full disk, is said at once, in one line.
"""

import functools
import logging
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import optuna
from sqlalchemy.exc import DBAPIError, OperationalError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from sweep.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that an outage is waited out.
PATIENCE = 900.0
#: Seconds that are left for it in a process that was told to stop, which sets `leaving`.
LAST_PATIENCE = 15.0
leaving = threading.Event()
#: Seconds between two tries, at most; shared evenly by chance, so that workers do not return as one.
LONGEST_PAUSE = 4.0
#: SQLSTATE of PostgreSQL: connection lost, shut down, starting, too many connections, failed over to a
#: standby, and transactions that stood in each other's way.
AWAY = ("08", "57P01", "57P02", "57P03", "53300", "25006", "40001", "40P01")
#: What a server says while it refuses connections for a moment; libpq gives no SQLSTATE for these.
SOON_BACK = ("the database system is", "too many clients", "remaining connection slots")

_log = logging.getLogger(__name__)


def is_outage(error: BaseException) -> bool:
    """Tell whether a database error is one of those that pass by themselves."""
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        return is_outage(error.__cause__)
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(AWAY)
    text = str(error.orig)
    if "password" in text or "authentication" in text:
        return False
    if "FATAL" in text:  # a password, a role or a database that is not there will not come by waiting
        return any(phrase in text for phrase in SOON_BACK)
    # SQLite says "locked" when another process has written for longer than the busy timeout.
    lost = ("database is locked", "connection", "consuming input failed", "server closed")
    return isinstance(error, OperationalError) and any(phrase in text for phrase in lost)


def waited_out(function: Callable[P, T]) -> Callable[P, T]:
    """Let `function`, which must be one transaction that may be repeated, wait for its database.

    It then raises StorageError where a database fails. Other errors, such as those of constraints, pass.
    """
    patient = retried(function)

    @functools.wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return patient(*args, **kwargs)
        except (OperationalError, optuna.exceptions.StorageInternalError) as error:
            said = reason(error)
            full = "disk is full" in said or "No space left" in said
            todo = "make room" if full else "start again when it is back"
            raise StorageError(f"the database failed ({said}); what was stored is safe: {todo}") from error

    return plain


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Call `function` again for as long as its error is an outage, up to `PATIENCE`; then that is raised."""

    @functools.wraps(function)
    def patient(*args: P.args, **kwargs: P.kwargs) -> T:
        retrying = Retrying(
            retry=retry_if_exception(is_outage),
            stop=_is_over,
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_PAUSE),
            before_sleep=_note,
            reraise=True,
        )
        return retrying(function, *args, **kwargs)

    return patient


def _is_over(state: RetryCallState) -> bool:
    return (state.seconds_since_start or 0.0) > (LAST_PATIENCE if leaving.is_set() else PATIENCE)


def _note(state: RetryCallState) -> None:
    """Say once that the database is away."""
    if state.attempt_number == 3 and state.outcome is not None:
        _log.warning(
            "the database is away, waiting up to %.0f s (%s)", PATIENCE, reason(state.outcome.exception())
        )


def reason(error: BaseException | None) -> str:
    """Return the first line of what a database said."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
