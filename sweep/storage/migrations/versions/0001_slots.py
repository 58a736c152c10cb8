"""Slots of training runs."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table, unless a version from before migrations has."""
    found = sa.inspect(op.get_bind())
    if found.has_table("sweep_slots"):
        if all(column["name"] != "digest" for column in found.get_columns("sweep_slots")):
            op.add_column("sweep_slots", sa.Column("digest", sa.String(16), nullable=True))
        _name_the_constraint()
        return
    op.create_table(
        "sweep_slots",
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("trial_id", sa.Integer, nullable=True),
        sa.Column("digest", sa.String(16), nullable=True),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(100), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.UniqueConstraint("study_id", "digest", name="sweep_slots_configuration"),
    )


def _name_the_constraint() -> None:
    """Give the configuration's key the name that later migrations know it by, or make it."""
    uniques = sa.inspect(op.get_bind()).get_unique_constraints("sweep_slots")
    if any(unique["name"] == "sweep_slots_configuration" for unique in uniques):
        return
    found = next((u for u in uniques if u["column_names"] == ["study_id", "digest"]), None)
    if found is not None and found["name"] is not None:
        op.drop_constraint(found["name"], "sweep_slots", type_="unique")
    recreate: Literal["always", "auto"] = "always" if op.get_bind().dialect.name == "sqlite" else "auto"
    naming = {"uq": "unnamed_%(column_0_name)s"}
    with op.batch_alter_table("sweep_slots", recreate=recreate, naming_convention=naming) as table:
        if found is not None and found["name"] is None:
            table.drop_constraint("unnamed_study_id", type_="unique")
        table.create_unique_constraint("sweep_slots_configuration", ["study_id", "digest"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("sweep_slots")
