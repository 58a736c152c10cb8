"""The tables that stand beside Optuna's in a study's database.

`sweep.storage.migrations` makes them and brings older ones up to date; `tests/sweep/test_migrations.py`
checks that both say the same.
"""

import sqlalchemy as sa

TABLES = sa.MetaData()

#: Where Optuna, and where we, note the version of the tables; and the newest version of each. Alembic knows
#: these too, but a command that only looks at a study need not import it, which takes a third of a second.
OPTUNA_VERSION_TABLE, OPTUNA_VERSION = "alembic_version", "v3.2.0.a"
VERSION_TABLE, VERSION = "sweep_version", "0003"


def is_current(connection: sa.Connection) -> bool:
    """Tell whether Optuna's tables and ours are there, as this version of the program wants them."""
    wanted = {OPTUNA_VERSION_TABLE: OPTUNA_VERSION, VERSION_TABLE: VERSION}
    inspector = sa.inspect(connection)
    return all(
        inspector.has_table(table) and _versions(connection, table) == [version]
        for table, version in wanted.items()
    )


def _versions(connection: sa.Connection, table: str) -> list[str]:
    query = sa.select(sa.column("version_num", sa.String)).select_from(sa.table(table))
    return list(connection.execute(query).scalars())


#: Training runs of a study's budget, each held by a lease (`sweep.storage.slots`).
SLOTS = sa.Table(
    "sweep_slots",
    TABLES,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer, nullable=True),
    sa.Column("digest", sa.String(16), nullable=True),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(100), nullable=False),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    # However many workers draw at once, a configuration belongs to one slot.
    sa.UniqueConstraint("study_id", "digest", name="sweep_slots_configuration"),
    # Where a worker looks for what was abandoned.
    sa.Index("sweep_slots_open", "study_id", "done"),
)

#: Who tried a run, when, and how that ended: the history of retries (`sweep.storage.slots`).
ATTEMPTS = sa.Table(
    "sweep_attempts",
    TABLES,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("worker", sa.String(100), nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float, nullable=True),
    sa.Column("ending", sa.String(20), nullable=True),
    sa.Column("evidence", sa.Text, nullable=False),
)

#: Workers of a study, and when each was last heard of (`sweep.storage.register`).
WORKERS = sa.Table(
    "sweep_workers",
    TABLES,
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

#: What `sweep launch` started, and how it is stopped (`sweep.launch`).
LAUNCHES = sa.Table(
    "sweep_launches",
    TABLES,
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

#: Syntheses, one row a design, tool and target, whichever studies ask for it (`sweep.synthesis.jobs`).
JOBS = sa.Table(
    "sweep_jobs",
    TABLES,
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
    sa.Index("sweep_jobs_state", "state"),
)

#: Points chosen for synthesis: which trial waits for which job, and why (`sweep.promotion`).
CANDIDATES = sa.Table(
    "sweep_candidates",
    TABLES,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.Integer, sa.ForeignKey("sweep_jobs.id"), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("test", sa.Text, nullable=False),
    sa.Column("spread", sa.Text, nullable=True),
    sa.Index("sweep_candidates_job", "job_id"),
)
