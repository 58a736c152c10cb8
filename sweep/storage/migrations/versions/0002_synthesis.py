"""Synthesis: jobs, and the candidates that wait for them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "sweep_jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("design", sa.String(16), nullable=False),
        sa.Column("tool", sa.String(20), nullable=False),
        sa.Column("target_digest", sa.String(16), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("student", sa.Text, nullable=False),
        sa.Column("estimate", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("licence_waits", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(100), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("last_line", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=True),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("results", sa.Text, nullable=False),
        sa.Column("artifacts", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.UniqueConstraint("design", "tool", "target_digest", name="sweep_jobs_key"),
    )
    op.create_index("sweep_jobs_state", "sweep_jobs", ["state"])
    op.create_table(
        "sweep_candidates",
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("trial_id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.Integer, sa.ForeignKey("sweep_jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("test", sa.Text, nullable=False),
        sa.Column("spread", sa.Text, nullable=True),
    )
    op.create_index("sweep_candidates_job", "sweep_candidates", ["job_id"])


def downgrade() -> None:
    """Remove both tables."""
    op.drop_table("sweep_candidates")
    op.drop_table("sweep_jobs")
