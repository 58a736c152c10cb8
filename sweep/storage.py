"""The database: Optuna's tables and ours, through one SQLAlchemy engine.

SQLite holds for the processes of one machine: write-ahead log, a long busy timeout, and a write
lock taken at the start of each transaction, since one that reads first and writes later can meet
a writer in between.
"""

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from sweep.errors import StorageError
from sweep.slots import TABLES

#: Seconds that a process waits for another's write.
BUSY_TIMEOUT = 100


def masked(url: str) -> str:
    """Return `url` as it may be shown: without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the storage URL"


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """Open the database at `url`, with its tables made if they are not there.

    With `create` false, a missing SQLite file is an error instead of an empty database.
    Raises StorageError for a URL that is none, a driver that is missing, a file that is no
    database and a server that does not answer.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StorageError(
            "storage: not a database URL; give one like sqlite:///sweep.db or postgresql+psycopg://HOST/NAME"
        ) from error
    shown = masked(url)
    arguments: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite_file(parsed.database, shown, create)
        arguments = {"connect_args": {"timeout": BUSY_TIMEOUT}}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = RDBStorage(url, engine_kwargs=arguments)
        if parsed.get_backend_name() == "sqlite":
            _configure_sqlite(storage.engine)
        TABLES.create_all(storage.engine)
    except (NoSuchModuleError, ImportError) as error:
        raise StorageError(f"{shown}: its database driver is not installed; install it or use sqlite:///FILE") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StorageError(f"{shown}: cannot be opened as a study database ({reason}); check the URL") from error
    except RuntimeError as error:  # Optuna: tables of another version
        raise StorageError(f"{shown}: {str(error).splitlines()[0]}") from error
    return storage


def _prepare_sqlite_file(name: str | None, shown: str, create: bool) -> None:
    if not name or name == ":memory:":
        raise StorageError(f"{shown}: names no file, and nothing would be kept; give sqlite:///FILE")
    file = Path(name)
    if file.is_dir():
        raise StorageError(f"{shown}: is a folder; give sqlite:///FILE")
    if not file.exists():
        if not create:
            raise StorageError(f"{shown}: there is no such database yet; `sweep run STUDY` makes it")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{shown}: its folder cannot be made ({error.strerror}); give another path") from error


def _configure_sqlite(engine: sqlalchemy.Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin when we say so, below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before these listeners
