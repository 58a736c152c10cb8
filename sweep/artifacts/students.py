"""Students in a study's artifact store: the worker that made them puts them there, who needs them fetches.

The folder of students in `SWEEP_HOME` is all that a study needs whose machines share it. A study with a
place of its own for artifacts (`SWEEP_ARTIFACTS` when it was made) keeps each student there, too, as one
archive; then that folder is this machine's cache of it.
"""

import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from optuna.trial import FrozenTrial

from sweep import home
from sweep.artifacts import stores
from sweep.artifacts.attributes import artifact_called
from sweep.errors import ArtifactError
from sweep.study import Study

#: Names of a trial's artifacts.
STUDENT, LOG = "student.zip", "log.txt"
#: All files of an archive are dated alike, so that equal students are equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def archive(folder: Path) -> bytes:
    """Return a student's folder as a zip; its large files are packed already."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(folder.iterdir()):
            packed.writestr(zipfile.ZipInfo(file.name, _DATE), file.read_bytes())
    return buffer.getvalue()


def student_folder(study: Study, trial: FrozenTrial) -> Path:
    """Return the folder of a trial's student, fetched from the study's artifacts if it is not here.

    Where it is nowhere, its folder is not there either. Raises ArtifactError when it cannot be fetched.
    """
    folder = home.students_folder(study.name) / str(trial.user_attrs["student"])
    if folder.is_dir():
        return folder
    artifact, place = artifact_called(STUDENT, trial.system_attrs), study.artifacts
    if artifact is not None and place is not None:
        _unpack(stores.get(place, artifact), folder, place)
    return folder


def _unpack(content: bytes, final: Path, place: str) -> None:
    """Write an archive's files into a folder, which appears when all are there."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            files = {info.filename: packed.read(info) for info in packed.infolist()}
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"artifacts: what {place} has of {final.name} is no archive") from error
    if any(Path(name).name != name for name in files):
        raise ArtifactError(f"artifacts: what {place} has of {final.name} is no student's archive")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        try:
            for name, data in files.items():
                (temporary / name).write_bytes(data)
            os.replace(temporary, final)
        except OSError:
            if not final.is_dir():  # otherwise another process has fetched the same student
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise ArtifactError(
            f"{final}: cannot be written ({error.strerror}); make room, or set SWEEP_HOME to yours"
        ) from error
