"""Launchers: what each starts works on a study to its end, can be stopped, and tells no password."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from sweep.errors import LaunchError
from sweep.launch.launch import ENGINES, describe, launcher_for, order_of, refuse_sqlite, start, stop, summary
from sweep.launch.launcher import Launcher, Resources
from sweep.storage.database import open_storage
from sweep.storage.register import workers_of
from sweep.storage.slots import Slots
from sweep.study import Study, create_or_resume
from tests.sweep import slurm_cluster
from tests.sweep.fleet import FAULTS, audit, simulated

SECRET = "sesame"
SECRET_URL = f"postgresql+psycopg://user:{SECRET}@host/sweep"


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a Slurm that was started for these tests."""
    why = slurm_cluster.missing()
    if why is not None:
        pytest.skip(why)
    with (
        tempfile.TemporaryDirectory(prefix="sweep-slurm-", ignore_cleanup_errors=True) as name,
        slurm_cluster.cluster(Path(name)) as environment,
    ):
        yield environment


@pytest.fixture(params=["local", "slurm"])
def launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """Each launcher that can be had here, in turn."""
    if request.param == "slurm":
        for name, value in request.getfixturevalue("slurm").items():
            monkeypatch.setenv(name, value)
    return launcher_for(request.param)


@pytest.fixture
def make_study(postgresql_url: str, sweep_home: Path) -> Iterator[Callable[..., Study]]:
    """Makes simulated studies on PostgreSQL, and stops what was launched for them."""
    made: list[Study] = []

    def make(runs: int, seconds: float) -> Study:
        made.append(create_or_resume(open_storage(postgresql_url), simulated(runs, seconds))[0])
        return made[-1]

    yield make
    for study in made:
        stop(study)
        wait_for(lambda study=study: not summary(study.storage.engine, study.id), 60)
        study.storage.engine.dispose()


RESOURCES = Resources(memory_gib=1.0, minutes=10)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.2)


def slots_of(study: Study) -> Slots:
    return Slots(study.storage.engine, study.id, "watching")


# ---- every launcher -----------------------------------------------------------------------------


def test_what_is_launched_works_to_the_end_of_the_study(
    launcher: Launcher, make_study: Callable[..., Study], postgresql_url: str
) -> None:
    study = make_study(12, 0.5)
    number, jobs = start(study, launcher, postgresql_url, 4, RESOURCES)
    assert len(set(jobs)) == 4
    (told,) = summary(study.storage.engine, study.id)
    assert (told["launch"], told["engine"], sum(told["jobs"].values())) == (number, launcher.name, 4)
    wait_for(lambda: slots_of(study).done() == 12)
    wait_for(lambda: set(launcher.states(jobs).values()) == {"ended"})
    assert summary(study.storage.engine, study.id) == []
    assert {name: audit(study)[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)
    workers = workers_of(study.storage.engine, study.id)
    assert {worker["launch_id"] for worker in workers} == {number}
    assert {(worker["state"], worker["error"]) for worker in workers} == {("ended", "")}
    logs = Path(told["folder"])
    assert any("runs of fleet ended here" in log.read_text() for log in logs.glob("*.log*")) or any(
        "runs of fleet ended here" in log.read_text() for log in logs.glob("*.out")
    )


def test_what_is_stopped_hands_its_runs_back(
    launcher: Launcher, make_study: Callable[..., Study], postgresql_url: str
) -> None:
    """Nothing counts as lost, and the same command goes on where it was."""
    study = make_study(6, 5.0)
    _, jobs = start(study, launcher, postgresql_url, 2, RESOURCES)
    wait_for(lambda: len(slots_of(study).trial_ids()) >= 2)
    assert stop(study)["jobs_stopped"] == 2
    wait_for(lambda: set(launcher.states(jobs).values()) == {"ended"})
    endings = [attempt["ending"] for attempt in slots_of(study).attempts()]
    assert set(endings) <= {"handed back", "done"}
    assert "handed back" in endings
    assert all(holder["abandoned"] for holder in slots_of(study).holders()), "free at once"
    assert summary(study.storage.engine, study.id) == []


def test_a_dry_run_shows_what_would_be_started_and_no_password(
    sweep: Callable[..., Any], tmp_path: Path
) -> None:
    file = write_study(tmp_path, 2, 0.0)
    for engine in ENGINES:
        arguments = ["--engine", engine, "--workers", 7, "--dry-run", "--storage", SECRET_URL]
        said = sweep("launch", file, *arguments, "--memory-gib", 2, "--minutes", 90, "--max-trials", 5)
        assert said.code == 0, said.err
        assert SECRET not in said.out + said.err
        assert "sweep worker fleet" in said.out.replace("-m ", "") or "submitit" in said.out
        wanted = {
            "local": ["7 x ", "user:***@host", "--max-trials 5"],
            "slurm": ["#SBATCH --array=0-6", "#SBATCH --time=90", "#SBATCH --mem=2048M", "--signal=USR2@90"],
            "htcondor": ["queue 7", "request_memory = 2048M", "+MaxRuntime = 5400", "--max-trials 5"],
        }[engine]
        assert [part for part in wanted if part not in said.out] == [], said.out
    assert not list(tmp_path.glob("**/sweep.db")), "nothing was made"


def write_study(folder: Path, runs: int, seconds: float) -> Path:
    content = json.loads(simulated(runs, seconds).model_dump_json(exclude_defaults=True))
    (folder / "fleet.yaml").write_text(yaml.safe_dump(content))
    return folder / "fleet.yaml"


def test_a_command_holds_no_password(sweep_home: Path) -> None:
    order = order_of("fleet", SECRET_URL, 2, RESOURCES, number=3)
    assert SECRET not in " ".join(order.command), "every user of a machine sees it"
    assert SECRET not in describe(launcher_for("htcondor"), order)


def test_what_cannot_be_launched_is_refused_in_one_line(
    sweep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_study(tmp_path, 2, 0.0)
    for engine, part in (
        ("slurm", "SQLite serves"),
        ("htcondor", "SQLite serves"),
        ("pbs", "none of that name"),
    ):
        said = sweep("launch", file, "--engine", engine)
        assert said.code == 2
        assert part in said.err
        assert len(said.err.strip().splitlines()) == 1
    monkeypatch.setenv("PATH", str(tmp_path))
    for engine, program in (("slurm", "sbatch"), ("htcondor", "condor_submit")):
        with pytest.raises(LaunchError, match=program):
            launcher_for(engine).start(order_of("fleet", SECRET_URL, 1, RESOURCES))
    with pytest.raises(LaunchError, match="one machine"):
        refuse_sqlite(launcher_for("slurm"), "sqlite:///sweep.db")


def test_a_launch_that_fails_is_not_noted(
    make_study: Callable[..., Study], postgresql_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = make_study(1, 0.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError):
        start(study, launcher_for("htcondor"), postgresql_url, 1, RESOURCES)
    with study.storage.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sweep_launches")).scalar() == 0


# ---- Slurm alone --------------------------------------------------------------------------------


def test_a_job_that_is_requeued_loses_nothing(
    slurm: dict[str, str],
    make_study: Callable[..., Study],
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    study, launcher = make_study(2, 4.0), launcher_for("slurm")
    _, (job,) = start(study, launcher, postgresql_url, 1, RESOURCES)
    wait_for(lambda: len(slots_of(study).trial_ids()) >= 1)
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: launcher.states([job])[job] == "waiting")
    # Slurm would wait two minutes.
    at_once = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
    wait_for(lambda: subprocess.run(at_once, check=False).returncode == 0)
    wait_for(lambda: slots_of(study).done() == 2)
    attempts = slots_of(study).attempts()
    assert [attempt["ending"] for attempt in attempts].count("handed back") == 1
    assert not [attempt for attempt in attempts if attempt["ending"] == "lost"]
    assert len({attempt["worker"] for attempt in attempts}) == 2, "another process of the same job"
