"""Optuna's artifact stores for a folder and for S3, in which nothing half-written is ever seen.

A study's place is a folder, or a bucket as ``s3://BUCKET/PREFIX``. How a bucket is reached is boto3's to
know: keys, regions and endpoints stand in the environment or in `~/.aws`, never in a place, which is shown
and written to the database. An artifact's id is the SHA-256 of its bytes, so that what is written twice is
there once, and what was damaged is found out.
"""

import errno
import functools
import hashlib
import io
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from sweep.errors import ArtifactError

S3 = "s3://"
#: Bucket and prefix of a place on S3; keys and passwords have no room in it.
_S3_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w./=-]*))?")
#: Seconds that a bucket may take to answer, and how often it is asked; boto3 pauses in between.
TIMEOUT, ATTEMPTS = 20, 5


class Store(Protocol):
    """What is kept of trials, by id."""

    def open_reader(self, artifact_id: str) -> BinaryIO: ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None: ...

    def remove(self, artifact_id: str) -> None: ...


def place_of(text: str) -> str:
    """Return a place as it is recorded: a bucket, or the absolute path of a folder.

    Raises ArtifactError for one that cannot be, which is not repeated if it may hold a password.
    """
    if "://" not in text:
        return str(Path(text).expanduser().resolve())
    found = _S3_PLACE.fullmatch(text)
    if found is None:
        raise ArtifactError(
            "SWEEP_ARTIFACTS: give a folder or s3://BUCKET/PREFIX; keys and endpoints belong into the"
            " environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, …) or into ~/.aws"
        )
    bucket, prefix = found.group(1), (found.group(2) or "").strip("/")
    return f"{S3}{bucket}/{prefix}".rstrip("/")


@functools.cache  # boto3 takes half a second to make a client, which threads may share
def open_place(place: str) -> Store:
    """Return the store of a place; raises ArtifactError for a bucket where boto3 is not installed."""
    if not place.startswith(S3):
        return FolderStore(Path(place))
    bucket, _, prefix = place.removeprefix(S3).partition("/")
    return BucketStore(bucket, prefix)


def check_place(place: str, *, create: bool = False) -> None:
    """Write to a place and take it back; raises ArtifactError when that cannot be done.

    With `create` a folder that is missing is made: otherwise it may be one that is not mounted here.
    """
    if not place.startswith(S3):
        folder = Path(place)
        if create:
            with _explained(place):
                folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise ArtifactError(
                f"artifacts: {place} is not there on this machine; mount the folder, or make it"
            )
    store, probe = open_place(place), f"probe-{uuid.uuid4().hex}"
    with _explained(place):
        store.write(probe, io.BytesIO(b"probe"))
        store.remove(probe)


def put(place: str, content: bytes) -> str:
    """Keep `content` in a place, whole or not at all; return its id. Raises ArtifactError."""
    artifact = hashlib.sha256(content).hexdigest()
    with _explained(place):
        open_place(place).write(artifact, io.BytesIO(content))
    return artifact


def get(place: str, artifact: str) -> bytes:
    """Return what was kept; raises ArtifactError where it is not there or not what it was."""
    with _explained(place, reading=True), open_place(place).open_reader(artifact) as stream:
        content = stream.read()
    if hashlib.sha256(content).hexdigest() != artifact:
        raise ArtifactError(f"artifacts: {artifact[:16]}… in {place} is not what was written there")
    return content


@contextmanager
def _explained(place: str, *, reading: bool = False) -> Iterator[None]:
    """Say in one line what is wrong with a place, and what to do."""
    verb = "read" if reading else "written"
    try:
        yield
    except ArtifactNotFound as error:
        raise ArtifactError(f"artifacts: one is missing in {place}; was it removed?") from error
    except OSError as error:
        todo = {
            errno.ENOSPC: "make room",
            errno.EDQUOT: "make room",
            errno.EROFS: "mount it so that it can be written",
            errno.EACCES: "give this user the right to",
            errno.EPERM: "give this user the right to",
        }.get(error.errno or 0, "check SWEEP_ARTIFACTS")
        said = error.strerror or type(error).__name__
        raise ArtifactError(f"artifacts: {place} cannot be {verb} ({said}); {todo}") from error


class FolderStore(FileSystemArtifactStore):
    """A folder. Optuna's store writes in place, where a crash would leave half a file under its name."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        final = self._get_filepath(artifact_id)
        temporary = final.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(content_body, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, final)
        finally:
            with suppress(OSError):
                temporary.unlink()


class BucketStore(Boto3ArtifactStore):
    """A bucket, below a prefix. S3 shows what is uploaded when it is whole."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.place = f"{S3}{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise ArtifactError(
                f"artifacts: {self.place} needs boto3; install it: uv pip install 'cicada-sweep[s3]'"
            ) from error
        settings = Config(
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        )
        try:
            with self._explained():
                super().__init__(bucket, boto3.session.Session().client("s3", config=settings))
        except ValueError as error:  # from boto3, of an endpoint
            raise ArtifactError(
                f"artifacts: {self.place} cannot be reached; AWS_ENDPOINT_URL_S3 is no URL"
            ) from error

    def open_reader(self, artifact_id: str) -> BinaryIO:
        with self._explained():
            return super().open_reader(self._prefix + artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with self._explained():
            super().write(self._prefix + artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        with self._explained():
            super().remove(self._prefix + artifact_id)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one line what S3 refused. What it answers may name a key, so none of it is repeated."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            raise ArtifactError(
                f"artifacts: {self.place} refuses ({code}); {_ADVICE.get(code, 'ask who keeps it')}"
            ) from error
        except (BotoCoreError, Boto3Error) as error:
            kind = type(error).__name__
            raise ArtifactError(
                f"artifacts: {self.place} cannot be reached ({kind}); {_ADVICE.get(kind, 'try again later')}"
            ) from error


_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws"
_ADVICE = {
    "NoSuchBucket": "make the bucket, or name another in SWEEP_ARTIFACTS",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "403": _KEYS,
    "AccessDenied": "let this key read and write there",
    "NoCredentialsError": _KEYS,
    "PartialCredentialsError": _KEYS,
    "NoRegionError": "set AWS_REGION",
    "EndpointConnectionError": "check AWS_ENDPOINT_URL_S3 and the network",
}


class KeptArtifacts:
    """Artifacts of all studies of a database, for who knows an id and not its study.

    They are read from `folder` or else from the first of `places` that has them, and written to `folder`.
    """

    def __init__(self, folder: Path, places: Callable[[], Sequence[str]]) -> None:
        self._own = FolderStore(folder)
        self._places = places

    def open_reader(self, artifact_id: str) -> BinaryIO:
        with suppress(ArtifactNotFound):
            return self._own.open_reader(artifact_id)
        for place in self._places():
            with suppress(ArtifactNotFound):
                return open_place(place).open_reader(artifact_id)
        raise ArtifactNotFound("not found")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._own.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        self._own.remove(artifact_id)
