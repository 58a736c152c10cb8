"""The database: opened, or refused in one line; and SQLite as several processes at once need it."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from sweep.errors import StorageError
from sweep.storage.database import BUSY_TIMEOUT, masked, open_storage
from sweep.storage.slots import SLOTS, Slots

SECRET = "sesame"


def refusal(url: str, *, create: bool = True) -> str:
    with pytest.raises(StorageError) as refused:
        open_storage(url, create=create)
    text = str(refused.value)
    assert text
    assert text.isprintable(), "one line"
    assert SECRET not in text
    return text


# ---- what cannot be opened ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "not a database URL"),
        ("sweep.db", "not a database URL"),
        ("/folder/sweep.db", "not a database URL"),
        ("://", "not a database URL"),
        ("sqlite:/one-slash.db", "not a database URL"),
        (f"postgresql+psycopg://user:{SECRET}@host:port/name", "not a database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:shared?mode=memory&uri=true", "names no file"),
        ("sqlite:///two\nlines.db", "not the name of a file"),
        ("sqlite:///null\0.db", "not the name of a file"),
        (f"sqlite://user:{SECRET}@host/sweep.db", "Invalid SQLite URL"),
        ("nosuch://host/name", "driver is not installed"),
        ("sqlite+nosuch:///sweep.db", "driver is not installed"),
        (f"oracle://user:{SECRET}@host/name", "driver is not installed"),
        (f"mssql+pymssql://user:{SECRET}@host/name", "driver is not installed"),
        (f"mssql+pymssql://host/name?user=user&password={SECRET}", "driver is not installed"),
        (f"mssql+pymssql://user:half@{SECRET}@host/name", "driver is not installed"),
    ],
)
def test_a_url_that_cannot_be_is_refused(
    url: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert part in refusal(url)
    refusal(url, create=False)
    assert not list(tmp_path.glob("*.db"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(f"sqlite:///{tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_made_only_where_it_may_be(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "sweep.db"
    assert "no such database yet" in refusal(f"sqlite:///{file}", create=False)
    assert list(tmp_path.iterdir()) == []
    open_storage(f"sqlite:///{file}").engine.dispose()
    assert file.is_file()
    open_storage(f"sqlite:///{file}", create=False).engine.dispose()


@pytest.mark.parametrize("content", [b"no database\n" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    assert "cannot be opened as a study database" in refusal(f"sqlite:///{file}")
    assert file.read_bytes() == content


@pytest.mark.parametrize("table", ["invoices", "studies"])
def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path, table: str) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute(f"CREATE TABLE {table} (name TEXT)")
        connection.execute(f"INSERT INTO {table} VALUES ('kept')")
    connection.close()
    before = hashlib.sha256(file.read_bytes()).digest()
    for create in (True, False):
        assert "another program" in refusal(f"sqlite:///{file}", create=create)
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_studies_of_optuna_alone_are_welcome(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    theirs = RDBStorage(url)
    theirs.create_new_study([StudyDirection.MINIMIZE], "theirs")
    theirs.engine.dispose()
    storage = open_storage(url, create=False)
    assert [study.study_name for study in storage.get_all_studies()] == ["theirs"]
    assert Slots(storage.engine, 1, "a").claim(1) is not None
    storage.engine.dispose()


def test_tables_of_another_optuna_are_refused(storage: RDBStorage, storage_url: str) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v9.9.9.z'")
    assert "optuna" in refusal(storage_url, create=False)


def test_a_folder_that_cannot_be_made_or_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be made" in refusal(f"sqlite:///{tmp_path / 'file' / 'sweep.db'}")
    assert "cannot be opened" in refusal(f"sqlite:///{tmp_path / ('x' * 300)}")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if not os.access(locked, os.W_OK):  # nothing is locked for root
        assert "cannot be opened" in refusal(f"sqlite:///{locked / 'sweep.db'}")
        assert "cannot be made" in refusal(f"sqlite:///{locked / 'deep' / 'sweep.db'}")
    locked.chmod(0o700)


# ---- what may be shown --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///sweep.db", "sqlite:///sweep.db"),
        ("postgresql://host/name", "postgresql://host/name"),
        (f"postgresql://user:{SECRET}@host:5432/name", "postgresql://user:***@host:5432/name"),
        (f"postgresql://user:{SECRET}/{SECRET}@host/name", "postgresql://user:***@host/name"),
        (f"postgresql://user:a@{SECRET}@host/name", "postgresql://user:***@host/name"),
        (f"postgresql://host/name?password={SECRET}", "postgresql://host/name?password=hidden"),
        (f"postgresql://host/name?sslpassword={SECRET}", "postgresql://host/name?sslpassword=hidden"),
        (f"postgresql://user:{SECRET}@host:port/name", "the storage URL"),
        (f"{SECRET}", "the storage URL"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


# ---- SQLite for several processes ---------------------------------------------------------------


def test_a_pooler_may_stand_before_the_server(postgresql_url: str) -> None:
    """PgBouncer gives each transaction any connection to the server: nothing is prepared on one of them."""
    engine = open_storage(postgresql_url).engine
    with engine.connect() as connection:
        for _ in range(10):  # psycopg prepares what it sees for the sixth time
            connection.execute(sa.text("SELECT version_num FROM sweep_version"))
        prepared = connection.execute(sa.text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
    engine.dispose()
    assert prepared == 0


def test_every_connection_writes_ahead_and_waits(storage: RDBStorage) -> None:
    for _ in range(3):
        with storage.engine.begin() as connection:
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "busy_timeout", "synchronous")
            ]
        assert pragmas == ["wal", BUSY_TIMEOUT * 1000, 1]
        storage.engine.dispose()  # the next one is a new connection


def test_a_transaction_takes_the_write_lock_before_it_reads(storage: RDBStorage, storage_url: str) -> None:
    other = sqlite3.connect(storage_url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
    with storage.engine.begin() as connection:
        connection.execute(sa.select(SLOTS)).all()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM sweep_slots").fetchone() == (0,), "readers go on"
    other.execute("BEGIN IMMEDIATE")
    other.close()


WRITER = """
import sys, time
from pathlib import Path
import optuna
from sweep.storage.database import open_storage
url, folder, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
optuna.create_study  # imported before the start signal
(folder / f"ready-{number}").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
storage = open_storage(url)
try:
    study = optuna.create_study(study_name="shared", storage=storage, direction="minimize")
except optuna.exceptions.DuplicatedStudyError:
    study = optuna.load_study(study_name="shared", storage=storage, sampler=optuna.samplers.RandomSampler())
for step in range(15):
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("writer", number)
    study.tell(trial, step)
"""


def test_processes_make_and_fill_one_database_together(storage_url: str, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WRITER, storage_url, str(tmp_path), str(number)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("ready-*"))) < len(writers):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (tmp_path / "go").touch()
    for writer in writers:
        _, stderr = writer.communicate(timeout=120)
        assert (writer.returncode, stderr) == (0, "")
    storage = open_storage(storage_url, create=False)
    trials = storage.get_all_trials(storage.get_study_id_from_name("shared"))
    assert sorted(trial.number for trial in trials) == list(range(45))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert all(trial.params and trial.user_attrs for trial in trials)
    storage.engine.dispose()
