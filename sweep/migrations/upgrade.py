"""Bring the tables of a database to this version of the program."""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

#: Optuna keeps its own version in `alembic_version` of the same database.
VERSION_TABLE = "sweep_version"


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "sweep:migrations")
    config.attributes["connection"] = connection
    return config


def revisions(connection: sa.Connection) -> tuple[str | None, str]:
    """Return the version of our tables, None where there are none, and the newest that there is."""
    found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    head = ScriptDirectory.from_config(_config(connection)).get_current_head()
    return found.get_current_revision(), str(head)


def is_current(connection: sa.Connection) -> bool:
    """Tell whether our tables are there, as this version of the program wants them."""
    found, newest = revisions(connection)
    return found == newest


def upgrade(connection: sa.Connection) -> None:
    """Make our tables, or change those of an older version, in the transaction of `connection`."""
    if not is_current(connection):
        command.upgrade(_config(connection), "head")
