"""What Alembic runs: our migrations, on the connection that `sweep.storage` hands over."""

from alembic import context

from sweep.migrations.upgrade import VERSION_TABLE
from sweep.schema import TABLES

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
