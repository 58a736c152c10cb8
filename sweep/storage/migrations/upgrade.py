"""Bring the tables of a database to this version of the program."""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from sweep.errors import StorageError
from sweep.storage.schema import VERSION_TABLE


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "sweep.storage:migrations")
    config.attributes["connection"] = connection
    return config


def revisions(connection: sa.Connection) -> tuple[str | None, str]:
    """Return the version of our tables, None where there are none, and the newest that there is."""
    found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    head = ScriptDirectory.from_config(_config(connection)).get_current_head()
    return found.get_current_revision(), str(head)


def upgrade(connection: sa.Connection) -> None:
    """Make our tables, or change those of an older version, in the transaction of `connection`.

    Raises StorageError for a version that this program does not know.
    """
    found, newest = revisions(connection)
    if found == newest:
        return
    try:
        command.upgrade(_config(connection), "head")
    except CommandError as error:
        raise StorageError("was made by a newer version of sweep; use that one") from error
