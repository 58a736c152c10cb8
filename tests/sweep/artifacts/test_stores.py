"""Stores of artifacts: what every kind must do, what a crash leaves, and what is said when one is away."""

import errno
import io
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.artifacts.exceptions import ArtifactNotFound

from sweep.artifacts import stores
from sweep.artifacts.attributes import PREFIX
from sweep.artifacts.stores import FolderStore, KeptArtifacts, check_place, get, open_place, place_of, put
from sweep.errors import ArtifactError
from tests.sweep.artifacts.conftest import KEY, SECRET, S3Server

LARGE = os.urandom(9_000_000)  # above what S3 takes in one piece


# ---- what every kind must do --------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"few", LARGE], ids=["nothing", "few bytes", "many parts"])
def test_what_is_put_is_got(place: str, content: bytes) -> None:
    check_place(place)
    artifact = put(place, content)
    assert get(place, artifact) == content
    assert put(place, content) == artifact, "the same again is there once"


def test_what_is_not_there_is_said(place: str) -> None:
    with pytest.raises(ArtifactNotFound):
        open_place(place).open_reader("0" * 64)
    with pytest.raises(ArtifactError, match="is missing in"):
        get(place, "0" * 64)


def test_what_was_changed_is_found_out(place: str) -> None:
    artifact = put(place, b"as it was")
    open_place(place).write(artifact, io.BytesIO(b"as it is"))
    with pytest.raises(ArtifactError, match="not what was written there"):
        get(place, artifact)


def test_a_check_leaves_nothing(tmp_path: Path, s3: S3Server) -> None:
    check_place(str(tmp_path / "new"), create=True)
    check_place("s3://sweep-tests/checked")
    assert list((tmp_path / "new").iterdir()) == []
    assert [p for p in (s3.folder / "sweep-tests").rglob("*") if "probe" in p.name] == []


def test_optunas_own_store_reads_a_folder(tmp_path: Path) -> None:
    artifact = put(str(tmp_path), b"content")
    with FileSystemArtifactStore(tmp_path).open_reader(artifact) as stream:
        assert stream.read() == b"content"
    assert PREFIX == ARTIFACTS_ATTR_PREFIX


def test_who_knows_no_place_finds_it_in_any(tmp_path: Path, place: str) -> None:
    artifact = put(place, b"content")
    kept = KeptArtifacts(tmp_path, lambda: [place])
    with kept.open_reader(artifact) as stream:
        assert stream.read() == b"content"
    with pytest.raises(ArtifactNotFound):
        kept.open_reader("0" * 64)
    kept.write("note", io.BytesIO(b"a person's"))
    assert (tmp_path / "note").read_bytes() == b"a person's"
    kept.remove("note")


# ---- half-written files -------------------------------------------------------------------------


class Torn(io.RawIOBase):
    """Gives half of what it should, then fails."""

    def __init__(self, error: Exception) -> None:
        self.error, self.given = error, False

    def read(self, size: int = -1) -> bytes:
        if self.given:
            raise self.error
        self.given = True
        return b"half"


@pytest.mark.parametrize("store", [FolderStore, FileSystemArtifactStore])
def test_a_write_that_fails_halfway_is_never_seen(store: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="stale"):
        store(tmp_path).write("artifact", Torn(OSError(errno.ESTALE, "stale")))
    # Optuna's own store is the counterexample: why there is another one here.
    assert (tmp_path / "artifact").exists() == (store is FileSystemArtifactStore)
    assert len(list(tmp_path.iterdir())) == (store is FileSystemArtifactStore)


def test_a_write_that_is_killed_halfway_is_never_seen(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from sweep.artifacts.stores import FolderStore\n"
        "class Stream:\n"
        "    asked = 0\n"
        "    def read(self, size):\n"
        "        self.asked += 1\n"
        "        return b'x' * size if self.asked < 5 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "FolderStore(Path(sys.argv[1])).write('artifact', Stream())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], timeout=120, check=False)
    assert done.returncode == -9
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
    with pytest.raises(ArtifactNotFound):
        FolderStore(tmp_path).open_reader("artifact")


def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path: Path) -> None:
    """The kernel refuses in the middle of a file: here by a limit, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ArtifactError, match=r"cannot be written \(File too large\)"):
            put(str(tmp_path), LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# ---- what is said -------------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[ArtifactError]) -> str:
    text = str(error.value)
    assert text.isprintable()
    assert SECRET not in text
    assert KEY not in text
    return text


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "so that it can be written"),
        (errno.EACCES, "the right to"),
    ],
)
def test_a_folder_that_refuses(
    number: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(stores.shutil, "copyfileobj", refuse)
    with pytest.raises(ArtifactError, match=rf"{os.strerror(number)}.*{advice}") as said:
        put(str(tmp_path), b"content")
    one_line(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(ArtifactError, match="the right to|not there") as said:
            check_place(str(folder))
    finally:
        os.seteuid(0)
    one_line(said)
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_not_mounted_here(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not there on this machine; mount the folder") as said:
        check_place(str(tmp_path / "away"))
    one_line(said)
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"bucket": "not-there"}, "NoSuchBucket.*make the bucket"),
        ({"AWS_SECRET_ACCESS_KEY": "another"}, "SignatureDoesNotMatch.*check AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "another"}, "InvalidAccessKeyId.*check AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "NoCredentials.*check AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "EndpointConnection.*the network"),
        ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "cannot be reached"),
    ],
    ids=str,
)
def test_a_bucket_that_refuses(
    change: dict[str, str], part: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    bucket = change.pop("bucket", "sweep-tests")
    for name, value in change.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(ArtifactError, match=part) as said:
        check_place(f"s3://{bucket}/prefix")
    assert f"s3://{bucket}/prefix" in one_line(said)


def test_without_boto3_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ArtifactError, match=r"needs boto3; install it: .*cicada-sweep\[s3\]"):
        check_place("s3://sweep-tests")


# ---- names of places ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("/data/artifacts/", "/data/artifacts"),
    ],
)
def test_a_place_is_recorded_in_one_form(given: str, place: str) -> None:
    assert place_of(given) == place


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("here") == str(tmp_path.resolve() / "here")


@pytest.mark.parametrize(
    "given",
    [
        f"s3://{KEY}:{SECRET}@bucket/x",
        f"s3://bucket/x?secret={SECRET}",
        f"https://{SECRET}@host/b",
        "s3://",
        "s3://B",
    ],
)
def test_a_place_that_cannot_be_is_refused_without_what_it_holds(given: str) -> None:
    with pytest.raises(ArtifactError, match="give a folder or s3://BUCKET/PREFIX") as said:
        place_of(given)
    one_line(said)


def test_a_refused_place_makes_no_study(
    storage: Any, study_file: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.study import create_or_resume

    taken = tmp_path / "file"
    taken.touch()
    monkeypatch.setenv("SWEEP_ARTIFACTS", str(taken / "below"))
    with pytest.raises(ArtifactError):
        create_or_resume(storage, study_file())
    monkeypatch.setenv("SWEEP_ARTIFACTS", str(tmp_path / "good"))
    study, resumed = create_or_resume(storage, study_file())
    assert (resumed, study.artifacts) == (False, str(tmp_path / "good"))
