"""`sweep launch` and `sweep stop`: workers started through a launcher, and noted in the database."""

import json
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from sweep import home
from sweep.errors import LaunchError
from sweep.launch.htcondor import HtcondorLauncher
from sweep.launch.launcher import Launcher, Order, Resources
from sweep.launch.local import LocalLauncher
from sweep.storage import lease
from sweep.storage.database import READS, masked
from sweep.storage.patience import waited_out
from sweep.storage.register import ask_to_stop
from sweep.storage.schema import LAUNCHES
from sweep.study import Study

ENGINES = ("local", "slurm", "htcondor")


def launcher_for(engine: str) -> Launcher:
    """Return a launcher by its name; raises LaunchError for one that there is not."""
    if engine == "local":
        return LocalLauncher()
    if engine == "htcondor":
        return HtcondorLauncher()
    if engine == "slurm":
        from sweep.launch.slurm import SlurmLauncher  # submitit is needed for nothing else

        return SlurmLauncher()
    raise LaunchError(f"engine {engine!r}: there is none of that name, use {', '.join(ENGINES)}")


def order_of(
    study: str, url: str, workers: int, resources: Resources, *options: str, number: int | None = None
) -> Order:
    """Return the order of so many workers of a study; `number` is that of the launch."""
    command = [sys.executable, "-m", "sweep", "worker", study, "--threads", str(resources.cpus), *options]
    if number is not None:
        command += ["--launch", str(number)]
    folder = home.launches_folder(study) / ("N" if number is None else str(number))
    environment = {"SWEEP_STORAGE": url, "SWEEP_HOME": str(home.home())}
    return Order(study, workers, command, environment, folder, resources)


def describe(launcher: Launcher, order: Order) -> str:
    """Return what would be started, with no password in it."""
    shown = {**order.environment, "SWEEP_STORAGE": masked(order.environment["SWEEP_STORAGE"])}
    return launcher.describe(
        Order(order.study, order.workers, order.command, shown, order.folder, order.resources)
    )


def refuse_sqlite(launcher: Launcher, url: str) -> None:
    """Raise LaunchError where workers of many machines would share a file."""
    if launcher.many_machines and make_url(url).get_backend_name() == "sqlite":
        raise LaunchError(
            f"{masked(url)}: SQLite serves the processes of one machine, not the jobs of {launcher.name};"
            " give --storage postgresql+psycopg://…, `sweep storage serve` starts one"
        )


def start(
    study: Study, launcher: Launcher, url: str, workers: int, resources: Resources, *options: str
) -> tuple[int, list[str]]:
    """Start workers and note them; return the number of the launch and its jobs."""
    engine = study.storage.engine
    number = _note(engine, study.id, launcher.name, workers)
    try:
        order = order_of(study.name, url, workers, resources, *options, number=number)
        with home.environment(order.environment):
            jobs = launcher.start(order)
    except BaseException:
        with engine.begin() as connection:
            connection.execute(sa.delete(LAUNCHES).where(LAUNCHES.c.id == number))
        raise
    with engine.begin() as connection:
        values = {"jobs": json.dumps(jobs), "folder": str(order.folder)}
        connection.execute(sa.update(LAUNCHES).where(LAUNCHES.c.id == number).values(**values))
    return number, jobs


@waited_out
def _note(engine: sa.Engine, study_id: int, name: str, workers: int) -> int:
    row = {"study_id": study_id, "engine": name, "workers": workers, "jobs": "[]", "folder": ""}
    with engine.begin() as connection:
        insert = sa.insert(LAUNCHES).values(**row, host=socket.gethostname(), started=lease.Now())
        return int(connection.execute(insert.returning(LAUNCHES.c.id)).scalar_one())


@waited_out
def launches_of(engine: sa.Engine, study_id: int) -> list[Mapping[str, Any]]:
    """Return what was launched for a study, as it was noted."""
    query = sa.select(LAUNCHES).where(LAUNCHES.c.study_id == study_id).order_by(LAUNCHES.c.id)
    with engine.connect().execution_options(**READS) as connection:
        rows = connection.execute(query).mappings().all()
    return [{**row, "jobs": json.loads(row["jobs"])} for row in rows]


def summary(engine: sa.Engine, study_id: int) -> list[dict[str, Any]]:
    """Return the launches of a study whose workers have not all ended, with the states of their jobs."""
    found = []
    for row in launches_of(engine, study_id):
        if row["stopped"] is not None:
            continue
        states = Counter(launcher_for(row["engine"]).states(row["jobs"]).values())
        if set(states) - {"ended"}:
            about = {"launch": row["id"], "engine": row["engine"], "folder": row["folder"]}
            found.append({**about, "jobs": dict(sorted(states.items()))})
    return found


def stop(study: Study) -> dict[str, int]:
    """Ask every worker of a study to stop, and end what was launched; return how many of each."""
    engine = study.storage.engine
    asked = ask_to_stop(engine, study.id)
    ended = 0
    for row in launches_of(engine, study.id):
        if row["stopped"] is not None:
            continue
        launcher = launcher_for(row["engine"])
        left = [job for job, state in launcher.states(row["jobs"]).items() if state != "ended"]
        launcher.stop(left)
        ended += len(left)
        with engine.begin() as connection:
            connection.execute(
                sa.update(LAUNCHES).where(LAUNCHES.c.id == row["id"]).values(stopped=lease.Now())
            )
    return {"workers_asked": asked, "jobs_stopped": ended}
