"""The database: Optuna's tables and ours, through one SQLAlchemy engine.

SQLite holds for the processes of one machine: write-ahead log, a long busy timeout, and a write
lock taken at the start of each transaction that may write, since one that reads first and writes later
can meet a writer in between. PostgreSQL is the database of many machines: what is lost with a
connection is done again (`sweep.storage.patience`).
"""

import sqlite3
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, orm
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from sweep.errors import StorageError
from sweep.storage import trial_rows
from sweep.storage.patience import reason, retried, waited_out
from sweep.storage.schema import is_current
from sweep.storage.trial_rows import Excerpt

#: Seconds that a process waits for another's write.
BUSY_TIMEOUT = 100
#: Connections that a process holds to a server, and opens besides when all of them are in use. A worker
#: needs two: its own and that of the thread that renews its lease.
CONNECTIONS, MORE_CONNECTIONS = 2, 8
#: Execution option of a transaction that only reads; on SQLite it keeps no writer waiting.
READS = {"sweep_reads": True}
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


class StudyStorage(RDBStorage):
    """Optuna's storage, which reads trials ten times faster and waits for a server that is away."""

    @classmethod
    def as_it_is(cls, url: str, engine_kwargs: dict[str, Any]) -> Self:
        """Return the storage of tables that are as this program wants them.

        It has what Optuna's constructor gives it, but for the look at the tables, which imports Alembic.
        """
        storage = cls.__new__(cls)
        storage.url = cls._fill_storage_url_template(url)
        storage.engine_kwargs = engine_kwargs
        storage.skip_compatibility_check = False
        storage.heartbeat_interval = storage.grace_period = None
        storage.heartbeat_stale_trial_callback = storage.failed_trial_callback = None
        storage.engine = sqlalchemy.create_engine(storage.url, **engine_kwargs)
        storage.scoped_session = orm.scoped_session(orm.sessionmaker(bind=storage.engine))
        return storage

    @waited_out
    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        with self.engine.connect().execution_options(**READS) as connection:
            found = trial_rows.read(
                connection, study_id, after=trial_id_greater_than, and_ids=included_trial_ids
            )
        return found if states is None else [trial for trial in found if trial.state in states]

    @waited_out
    def read_attributes(
        self, study_id: int, names: Collection[str], states: Collection[TrialState]
    ) -> list[Excerpt]:
        """Return the trials of a study that have one of the named user attributes; only these are read."""
        with self.engine.connect().execution_options(**READS) as connection:
            return trial_rows.read_attributes(connection, study_id, names, states)

    @waited_out
    def read_some(self, study_id: int, ids: Collection[int]) -> list[FrozenTrial]:
        """Return the trials of a study with these ids."""
        with self.engine.connect().execution_options(**READS) as connection:
            return trial_rows.read(connection, study_id, after=trial_rows.LAST_ID, and_ids=ids)


#: What of Optuna's storage is one transaction that may be repeated.
_PATIENT = (
    "create_new_trial",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_system_attr",
    "set_trial_user_attr",
)
for _name in _PATIENT:
    setattr(StudyStorage, _name, waited_out(getattr(RDBStorage, _name)))


def open_storage(url: str, *, create: bool = True, patient: bool = False) -> StudyStorage:
    """Open the database at `url`, with its tables made if they are not there.

    With `create` false, a missing SQLite file is an error instead of an empty database. A `patient`
    program waits for a server that does not answer yet. Raises StorageError for a URL that is none, a
    driver that is missing, a file that is no database and a server that does not answer.
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
            pool: dict[str, Any] = {
                "pool_pre_ping": True,
                "pool_size": CONNECTIONS,
                "max_overflow": MORE_CONNECTIONS,
            }
            if parsed.get_driver_name() == "psycopg":
                # A pooler between here and the server may give each transaction another connection to it,
                # where what was prepared before is not known.
                pool["connect_args"] = {"prepare_threshold": None}
            return (retried(_opened) if patient else _opened)(url, **pool)
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
        said = str(getattr(error, "strerror", None) or reason(error))
        raise StorageError(
            f"{shown}: cannot be opened as a study database ({said}); check the URL"
        ) from error
    except RuntimeError as error:  # Optuna: tables of another version
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{shown}: {str(error).splitlines()[0]}") from error


def _opened(url: str, **arguments: Any) -> StudyStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = StudyStorage.as_it_is(url, arguments)
    with storage.engine.connect() as connection:
        current = is_current(connection)
    if not current:
        storage.engine.dispose()
        return _upgraded(url, arguments)
    if storage.engine.dialect.name == "sqlite":
        _configure_sqlite(storage.engine)
    return storage


def _upgraded(url: str, arguments: dict[str, Any]) -> StudyStorage:
    from sweep.storage.migrations.upgrade import upgrade  # Alembic, for those who need it

    with _one_at_a_time(url):
        storage = StudyStorage(url, engine_kwargs=arguments)
        if storage.engine.dialect.name == "sqlite":
            _configure_sqlite(storage.engine)
        with storage.engine.begin() as connection:
            try:
                upgrade(connection)
            except StorageError as error:
                raise StorageError(f"{masked(url)}: {error}") from error
    return storage


@contextmanager
def _one_at_a_time(url: str) -> Iterator[None]:
    """Let one process at a time make tables; SQLite's are guarded by a lock beside the file."""
    if make_url(url).get_backend_name() != "postgresql":
        yield
        return
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        # The number is arbitrary, and ours. The lock goes with the transaction, which ends with the block: a
        # pooler would keep one that goes with the connection.
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(7233049)"))
        yield


def existing_file(url: str) -> None:
    """Raise StorageError for a URL that is none, or names an SQLite file that is not there."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StorageError("storage: not a database URL") from error
    if parsed.get_backend_name() == "sqlite":
        _sqlite_file(parsed, masked(url), create=False)


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
        reads = connection.get_execution_options().get("sweep_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    engine.dispose()  # connections made before these listeners
