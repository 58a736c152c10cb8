"""What Alembic runs: our migrations, on the connection that `sweep.storage.database` hands over."""

from alembic import context

from sweep.storage.schema import TABLES, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
