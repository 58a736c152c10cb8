"""The database: Optuna's tables and ours, through one SQLAlchemy engine.

SQLite holds for the processes of one machine: write-ahead log, a long busy timeout, and a write
lock taken at the start of each transaction, since one that reads first and writes later can meet
a writer in between.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from alembic.util import CommandError
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from sweep.errors import StorageError
from sweep.migrations.upgrade import is_current, upgrade

#: Seconds that a process waits for another's write.
BUSY_TIMEOUT = 100
#: Tables by which a database of studies is known.
OPTUNA_TABLES = {"studies", "trials", "version_info"}


def masked(url: str) -> str:
    """Return `url` as it may be shown: without its password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "the storage URL"
    # A password may stand in the query, too; and the end of one with an unquoted @ is taken for a host.
    query = {key: "hidden" if "pass" in key.lower() else value for key, value in parsed.query.items()}
    host = parsed.host.rpartition("@")[2] if parsed.host else None
    return parsed.set(query=query, host=host).render_as_string(hide_password=True)


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """Open the database at `url`, with its tables made if they are not there.

    With `create` false, a missing SQLite file is an error instead of an empty database.
    Raises StorageError for a URL that is none, a driver that is missing, a file that is no
    database and a server that does not answer.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StorageError(
            "storage: not a database URL; give one like sqlite:///sweep.db or postgresql+psycopg://HOST/NAME"
        ) from error
    shown = masked(url)
    try:
        if parsed.get_backend_name() != "sqlite":
            # A server may have been started anew, or have closed what was idle, while a student was trained.
            return _opened(url, pool_pre_ping=True)
        file = _sqlite_file(parsed, shown, create)
        # Tables are not made in one transaction: of two processes that find none, one would stop.
        with FileLock(file.with_name(f".{file.name}.lock")):
            _refuse_foreign(file, shown)
            return _opened(url, connect_args={"timeout": BUSY_TIMEOUT})
    except (NoSuchModuleError, ImportError) as error:
        raise StorageError(
            f"{shown}: its database driver is not installed; install it or use sqlite:///FILE"
        ) from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
        raise StorageError(
            f"{shown}: cannot be opened as a study database ({reason.strip().splitlines()[0]}); check the URL"
        ) from error
    except CommandError as error:
        raise StorageError(f"{shown}: was made by a newer version of sweep; use that one") from error
    except RuntimeError as error:  # Optuna: tables of another version
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{shown}: {str(error).splitlines()[0]}") from error


def _opened(url: str, **arguments: Any) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _one_at_a_time(url):
        storage = RDBStorage(url, engine_kwargs=arguments)
        if storage.engine.dialect.name == "sqlite":
            _configure_sqlite(storage.engine)
        with storage.engine.connect() as connection:
            current = is_current(connection)
        if not current:
            with storage.engine.begin() as connection:
                upgrade(connection)
    return storage


@contextmanager
def _one_at_a_time(url: str) -> Iterator[None]:
    """Let one process at a time make tables; SQLite's are guarded by a lock beside the file."""
    if make_url(url).get_backend_name() != "postgresql":
        yield
        return
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        # The number is arbitrary, and ours; the lock goes with the connection.
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(7233049)"))
        yield


def _sqlite_file(url: URL, shown: str, create: bool) -> Path:
    """Return the file of an SQLite URL, in a folder that is there."""
    name = url.database
    if not name or name == ":memory:" or "uri" in url.query:
        raise StorageError(f"{shown}: names no file, and nothing would be kept; give sqlite:///FILE")
    if not name.isprintable():
        raise StorageError(f"{shown}: is not the name of a file; give sqlite:///FILE")
    file = Path(name)
    if file.is_dir():
        raise StorageError(f"{shown}: is a folder; give sqlite:///FILE")
    if not file.exists():
        if not create:
            raise StorageError(f"{shown}: there is no such database yet; `sweep run STUDY` makes it")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{shown}: its folder cannot be made ({error.strerror}); give another path"
            ) from error
    return file


def _refuse_foreign(file: Path, shown: str) -> None:
    """Leave another program's database as it is."""
    if not file.exists():
        return
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT)
    try:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    finally:
        connection.close()
    if tables and not tables >= OPTUNA_TABLES:
        raise StorageError(f"{shown}: is the database of another program; give a file of its own")


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
