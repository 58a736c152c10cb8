"""Places for artifacts: a folder, and a bucket of a real S3 server that this session starts."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweep.artifacts.stores import open_place

KEY, SECRET = "a-key-of-tests", "a-secret-of-tests"


@dataclass(frozen=True)
class S3Server:
    """A running server, and where it keeps what is in its buckets."""

    url: str
    folder: Path


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """nanio, a small S3 server that checks signatures; skips where it is not installed."""
    program = shutil.which("nanio", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        if os.environ.get("CI"):
            raise FileNotFoundError("nanio is not installed")
        pytest.skip("nanio, an S3 server from PyPI, is not installed")
    pytest.importorskip("boto3", reason="boto3 is not installed")
    folder = Path(tempfile.mkdtemp(prefix="sweep-s3-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", "--data-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--no-access-log", "--log-level", "error"],
        env={**os.environ, "NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET},
    )
    try:
        for _ in range(300):
            assert server.poll() is None, "the S3 server ended"
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            raise TimeoutError("the S3 server does not answer")
        yield S3Server(f"http://127.0.0.1:{port}", folder)
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_store_is_open() -> None:
    """What a process keeps of a place, it made from the environment that it had."""
    open_place.cache_clear()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The environment in which boto3 finds that server, with a bucket called `sweep-tests`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    (s3_server.folder / "sweep-tests").mkdir(exist_ok=True)  # a bucket is a folder there
    return s3_server


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind in turn, as SWEEP_ARTIFACTS names it."""
    if request.param == "folder":
        folder = tmp_path / "artifacts"
        folder.mkdir()
        return str(folder)
    request.getfixturevalue("s3")
    return f"s3://sweep-tests/{tmp_path.name}"
