"""Files that a trial offers in the Optuna dashboard, made when somebody asks for one.

The id of such a file says what it is: study, trial and kind, each in hexadecimal.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

from bottle import HTTPError
from optuna.trial import FrozenTrial

from dashboards.optuna_view.run_log import run_log
from dashboards.optuna_view.storage import StudyView
from dashboards.student import Student
from dashboards.student_figures import bits_figure, roc_figure
from objectives.errors import CicadaError
from sweep.artifacts.attributes import PREFIX, artifact_called
from sweep.artifacts.stores import Store
from sweep.artifacts.students import LOG, STUDENT
from sweep.errors import ArtifactError

_KINDS = ("roc.svg", "bitwidths.svg", "student.zip")
_TYPES = {".svg": "image/svg+xml", ".zip": "application/zip"}
_ID = re.compile(r"([0-9a-f]+)-([0-9a-f]+)-([0-9a-f]+)")
#: The number of the kind that only runs have.
_LOG = len(_KINDS)


def offered(study_id: int, trial: FrozenTrial) -> dict[str, str]:
    """Return the system attributes by which the dashboard knows what is made of a trial: see below."""
    return artifacts_of(study_id, trial) | log_of(study_id, trial)


def log_of(study_id: int, trial: FrozenTrial) -> dict[str, str]:
    """Return the attribute of a finished run's log; nothing where its worker's own is stored."""
    if trial.user_attrs.get("role") != "run" or not trial.state.is_finished():
        return {}
    if artifact_called(LOG, trial._system_attrs) is not None:
        return {}
    artifact, name = f"{study_id:x}-{trial.number:x}-{_LOG:x}", f"run-{trial.number}-log.txt"
    about = {"artifact_id": artifact, "filename": name, "mimetype": "text/plain", "encoding": None}
    return {PREFIX + artifact: json.dumps(about)}


def artifacts_of(study_id: int, trial: FrozenTrial) -> dict[str, str]:
    """Return the system attributes by which the dashboard knows a trial's artifacts."""
    if "student" not in trial.user_attrs:
        return {}
    found = {}
    stored = artifact_called(STUDENT, trial._system_attrs) is not None
    for kind, name in enumerate(_KINDS):
        if stored and name == STUDENT:
            continue
        artifact = f"{study_id:x}-{trial.number:x}-{kind:x}"
        about = {
            "artifact_id": artifact,
            "filename": f"trial-{trial.number}-{name}",
            "mimetype": _TYPES[Path(name).suffix],
            "encoding": None,
        }
        found[PREFIX + artifact] = json.dumps(about)
    return found


class DerivedArtifacts:
    """Optuna's artifact store, and beside it what is made from the students on disk."""

    def __init__(self, view: StudyView, stored: Store) -> None:
        self.view = view
        self.stored = stored

    def open_reader(self, artifact_id: str) -> BinaryIO:
        found = _ID.fullmatch(artifact_id)
        if found is None:
            try:
                return self.stored.open_reader(artifact_id)
            except ArtifactError as error:  # a bucket that refuses, say
                raise HTTPError(404, str(error)) from error
        study_id, number, kind = (int(part, 16) for part in found.groups())
        try:
            return io.BytesIO(self._make(study_id, number, kind))
        except (CicadaError, KeyError, IndexError) as error:
            raise HTTPError(404, str(error)) from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.stored.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        if _ID.fullmatch(artifact_id) is None:  # what is not stored cannot be removed
            self.stored.remove(artifact_id)

    def _make(self, study_id: int, number: int, kind: int) -> bytes:
        study = self.view.study(self.view.get_study_name_from_id(study_id))
        if kind == _LOG:
            return run_log(study, study.trials()[number]).encode()
        student = Student.of(study, number)
        name = _KINDS[kind]
        if name == "student.zip":
            return _zipped(student.folder)
        if name == "roc.svg":
            return roc_figure(student.performance("test"), f"{study.name}, trial {number}")
        return bits_figure(student.layers(), f"{study.name}, trial {number}")


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return buffer.getvalue()
