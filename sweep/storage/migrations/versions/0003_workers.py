"""Workers: attempts at runs, who is at work, and what was launched."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables, and the index by which abandoned runs are found."""
    op.create_index("sweep_slots_open", "sweep_slots", ["study_id", "done"])
    op.create_table(
        "sweep_attempts",
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("worker", sa.String(100), nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("ended", sa.Float, nullable=True),
        sa.Column("ending", sa.String(20), nullable=True),
        sa.Column("evidence", sa.Text, nullable=False),
    )
    op.create_table(
        "sweep_workers",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("launch_id", sa.Integer, nullable=True),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.Column("ended", sa.Float, nullable=True),
        sa.Column("doing", sa.Text, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("stop", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_table(
        "sweep_launches",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("engine", sa.String(20), nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("jobs", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("host", sa.String(100), nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("stopped", sa.Float, nullable=True),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("sweep_launches")
    op.drop_table("sweep_workers")
    op.drop_table("sweep_attempts")
    op.drop_index("sweep_slots_open", table_name="sweep_slots")
