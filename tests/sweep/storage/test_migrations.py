"""Our tables beside Optuna's: made, changed from older versions with what is in them, never made twice."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.storages import RDBStorage

from sweep.errors import StorageError
from sweep.storage.database import open_storage
from sweep.storage.migrations import upgrade as upgrading
from sweep.storage.schema import OPTUNA_VERSION, SLOTS, TABLES, VERSION, VERSION_TABLE
from sweep.storage.slots import Slots

OURS = {
    "sweep_slots",
    "sweep_jobs",
    "sweep_candidates",
    "sweep_attempts",
    "sweep_workers",
    "sweep_launches",
    VERSION_TABLE,
}
NEWEST = ScriptDirectory(str(Path(upgrading.__file__).parent)).get_current_head()


@pytest.fixture
def opened(any_storage_url: str) -> Iterator[Callable[[], sa.Engine]]:
    """Opens the test's database as every command does."""
    engines: list[sa.Engine] = []

    def open_() -> sa.Engine:
        engines.append(open_storage(any_storage_url).engine)
        return engines[-1]

    yield open_
    for engine in engines:
        engine.dispose()


@pytest.fixture
def plain(any_storage_url: str) -> Iterator[sa.Engine]:
    """A connection to the test's database that passes our code by."""
    if any_storage_url.startswith("sqlite"):
        Path(any_storage_url.removeprefix("sqlite:///")).parent.mkdir(exist_ok=True)
    engine = sa.create_engine(any_storage_url)
    yield engine
    engine.dispose()


def content(engine: sa.Engine) -> dict[str, Any]:
    """Return all there is: how every table is defined, and its rows."""
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        return {
            table.name: (
                [_definition(column) for column in table.columns],
                sorted(str(sorted(map(str, unique.columns))) for unique in _uniques(table)),
                sorted(str(index.name) for index in table.indexes),
                sorted(map(repr, connection.execute(sa.select(table)).all())),
            )
            for table in tables.tables.values()
        }


def _definition(column: sa.Column[Any]) -> tuple[object, ...]:
    default = column.server_default
    preset = str(default.arg) if isinstance(default, sa.DefaultClause) else None
    return column.name, str(column.type), column.nullable, column.primary_key, preset


def _uniques(table: sa.Table) -> list[sa.UniqueConstraint]:
    return [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]


def versions(engine: sa.Engine) -> dict[str, list[str]]:
    """Return what the version tables of Optuna and of ours say."""
    with engine.connect() as connection:
        return {
            table: list(connection.execute(sa.text(f"SELECT version_num FROM {table}")).scalars())
            for table in ("alembic_version", VERSION_TABLE)
            if sa.inspect(connection).has_table(table)
        }


def differences(engine: sa.Engine) -> list[Any]:
    """Return what Alembic would change to make the database what `sweep.storage.schema` says."""
    options = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "include_name": lambda name, kind, _: kind != "table" or name.startswith("sweep_"),
    }
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), TABLES))


def unique_names(engine: sa.Engine, table: str) -> set[str | None]:
    return {unique["name"] for unique in sa.inspect(engine).get_unique_constraints(table)}


# ---- from where a database may be -----------------------------------------------------------------


def test_an_empty_database_gets_all_tables(opened: Callable[[], sa.Engine]) -> None:
    engine = opened()
    tables = set(sa.inspect(engine).get_table_names())
    assert {name for name in tables if name.startswith("sweep")} == OURS
    assert versions(engine)[VERSION_TABLE] == [NEWEST]
    assert differences(engine) == []


def test_the_schema_names_what_migrations_name(opened: Callable[[], sa.Engine]) -> None:
    """A later migration drops a constraint by its name, which Alembic does not compare on SQLite."""
    engine = opened()
    for table in TABLES.sorted_tables:
        assert unique_names(engine, table.name) == {unique.name for unique in _uniques(table)}
        found = {index["name"] for index in sa.inspect(engine).get_indexes(table.name)}
        assert {index.name for index in table.indexes} == found - unique_names(engine, table.name)


def test_the_newest_versions_are_those_that_alembic_knows(opened: Callable[[], sa.Engine]) -> None:
    engine = opened()
    assert NEWEST == VERSION
    assert versions(engine) == {"alembic_version": [OPTUNA_VERSION], VERSION_TABLE: [VERSION]}


@pytest.mark.parametrize("broken", ["column", "type", "constraint", "index", "table"])
def test_the_comparison_sees_what_differs(opened: Callable[[], sa.Engine], broken: str) -> None:
    engine = opened()
    with engine.begin() as connection:
        change = Operations(MigrationContext.configure(connection))
        if broken == "table":
            change.drop_table("sweep_candidates")
        elif broken == "index":
            change.drop_index("sweep_jobs_state", table_name="sweep_jobs")
        else:
            with change.batch_alter_table("sweep_jobs") as table:
                if broken == "column":
                    table.drop_column("seconds")
                elif broken == "type":
                    table.alter_column("seconds", type_=sa.Text())
                else:
                    table.drop_constraint("sweep_jobs_key", type_="unique")
    assert differences(engine)


def test_studies_of_plain_optuna_are_kept(
    any_storage_url: str, plain: sa.Engine, opened: Callable[[], sa.Engine]
) -> None:
    theirs = RDBStorage(any_storage_url)
    study = optuna.create_study(study_name="theirs", storage=theirs, directions=["minimize", "maximize"])
    study.set_user_attr("note", "kept")
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("number", number)
        study.tell(trial, (number, -number))
    theirs.engine.dispose()
    before, version = content(plain), versions(plain)
    assert OURS.isdisjoint(before)
    engine = opened()
    after = content(plain)
    assert set(after) - set(before) == OURS
    assert {name: after[name] for name in before} == before
    assert versions(plain) == {**version, VERSION_TABLE: [NEWEST]}, "Optuna's own version is its own"
    assert differences(engine) == []
    again = optuna.load_study(study_name="theirs", storage=any_storage_url)
    assert [(t.values, t.user_attrs) for t in again.trials] == [([n, -n], {"number": n}) for n in range(3)]
    again.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=1)
    assert len(again.trials) == 4


def table_before_migrations(*, digest: bool = True) -> sa.Table:
    """Return `sweep_slots` as versions before migrations made it; the oldest knew no configurations."""
    configuration: list[Any] = [sa.Column("digest", sa.String(16), nullable=True)] if digest else []
    if digest:
        configuration.append(sa.UniqueConstraint("study_id", "digest"))
    return sa.Table(
        "sweep_slots",
        sa.MetaData(),
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("trial_id", sa.Integer, nullable=True),
        *configuration,
        sa.Column("done", sa.Boolean, nullable=False, default=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(100), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )


def slot(number: int, **values: Any) -> dict[str, Any]:
    return {
        "study_id": 1,
        "slot": number,
        "trial_id": 10 + number,
        "digest": f"{number:016x}",
        "done": True,
        "attempt": 1 + number,
        "worker": "host:1:2",
        "token": "t" * 32,
        "lease_until": 1.5e9 + number / 3,
        **values,
    }


#: Slots as workers leave them: finished, under way, and one whose configuration is not drawn yet.
ROWS = [slot(0), slot(1, done=False), slot(2, done=False, digest=None, trial_id=None), slot(0, study_id=2)]


def fill(any_storage_url: str, plain: sa.Engine, *, digest: bool = True) -> list[dict[str, Any]]:
    """Make the database of an older version, and return its slots."""
    RDBStorage(any_storage_url).engine.dispose()
    table = table_before_migrations(digest=digest)
    table.create(plain)
    rows = [{key: value for key, value in row.items() if key in table.columns} for row in ROWS]
    with plain.begin() as connection:
        connection.execute(sa.insert(table), rows)
    return rows


def slots_of(engine: sa.Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        query = sa.select(SLOTS).order_by(SLOTS.c.study_id, SLOTS.c.slot)
        return [dict(row) for row in connection.execute(query).mappings()]


@pytest.mark.parametrize("digest", [True, False], ids=["with digests", "older still"])
def test_slots_from_before_migrations_survive(
    any_storage_url: str, plain: sa.Engine, opened: Callable[[], sa.Engine], digest: bool
) -> None:
    rows = fill(any_storage_url, plain, digest=digest)
    unnamed = {"sweep_slots_study_id_digest_key"} if plain.dialect.name == "postgresql" else {None}
    assert unique_names(plain, "sweep_slots") == (unnamed if digest else set())
    engine = opened()
    assert slots_of(engine) == [{"digest": None, **row} for row in rows]
    assert unique_names(plain, "sweep_slots") == {"sweep_slots_configuration"}
    assert differences(engine) == []
    assert versions(engine)[VERSION_TABLE] == [NEWEST]
    # The tables are those that slots are to stand in, and the old rows are slots.
    other = Slots(engine, 1, "new")
    assert other.done() == 1
    claim = other.claim(3)
    assert claim
    assert claim.slot == 1, "its lease ran out"
    assert other.begin(claim, "another", lambda _: 99) == 11, "it keeps its trial"
    drawn = other.claim(3)
    assert drawn
    assert drawn.slot == 2
    if digest:
        assert other.begin(drawn, f"{0:016x}", lambda _: 99) is None, "slot 0 has it"
    assert other.begin(drawn, "another", lambda _: 99) == 99
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(SLOTS).values(slot(9, digest="another")))


# ---- again, together, and halfway -----------------------------------------------------------------


def test_opening_twice_changes_nothing(opened: Callable[[], sa.Engine], plain: sa.Engine) -> None:
    opened()
    with plain.begin() as connection:
        connection.execute(sa.insert(SLOTS), ROWS)
    before = content(plain)
    opened()
    opened()
    assert content(plain) == before


OPENERS = 6
#: Forks after its imports, which take seconds, and lets all go in the same moment.
OPENER = """
import os, sys
from sweep.storage.database import open_storage
url, number = sys.argv[1], int(sys.argv[2])
gate, opened = os.pipe()
children = []
for _ in range(number):
    child = os.fork()
    if child == 0:
        os.close(opened)
        os.read(gate, 1)
        open_storage(url)
        os._exit(0)
    children.append(child)
os.close(opened)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@pytest.mark.parametrize("old", [False, True], ids=["empty", "before migrations"])
def test_processes_that_open_a_database_at_once_all_succeed(
    any_storage_url: str, plain: sa.Engine, old: bool
) -> None:
    if old:
        fill(any_storage_url, plain)
    command = [sys.executable, "-W", "ignore", "-c", OPENER, any_storage_url, str(OPENERS)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert differences(plain) == []
    assert versions(plain)[VERSION_TABLE] == [NEWEST]
    assert slots_of(plain) == (ROWS if old else [])


@pytest.mark.parametrize("old", [False, True], ids=["empty", "before migrations"])
def test_a_migration_that_fails_midway_leaves_the_old_state(
    any_storage_url: str,
    plain: sa.Engine,
    opened: Callable[[], sa.Engine],
    monkeypatch: pytest.MonkeyPatch,
    old: bool,
) -> None:
    """The first migration has ended and the second has made a table when the power goes, say."""
    if old:
        fill(any_storage_url, plain)
    else:
        RDBStorage(any_storage_url).engine.dispose()
    before = content(plain)

    def fail(*_: Any, **__: Any) -> None:
        seen = set(sa.inspect(op.get_bind()).get_table_names())
        assert seen >= {"sweep_slots", "sweep_jobs", VERSION_TABLE}, "it is midway"
        raise sa.exc.OperationalError("CREATE INDEX", {}, ValueError("no space left"))

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail)
        with pytest.raises(StorageError, match="no space left"):
            opened()
    assert content(plain) == before
    engine = opened()  # and the next process does it all
    assert differences(engine) == []
    assert slots_of(engine) == (ROWS if old else [])


def test_a_database_of_a_newer_version_is_refused_in_one_line(
    any_storage_url: str, opened: Callable[[], sa.Engine], plain: sa.Engine
) -> None:
    opened()
    with plain.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    before = content(plain)
    with pytest.raises(StorageError, match="newer version of sweep") as refused:
        open_storage(any_storage_url)
    assert str(refused.value).isprintable()
    assert content(plain) == before
