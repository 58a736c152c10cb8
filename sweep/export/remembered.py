"""Exports that a study knows of: their certificates, kept in its database for whoever looks at it.

They stand among the attributes of the study, for Optuna leaves those of finished trials as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError

from sweep.errors import StorageError
from sweep.study import Study

#: What the attributes begin with; a trial's number follows.
KEY = "sweep:exports:"
#: Exports of one trial that are remembered, the newest.
MOST = 5
#: Forms that every export has been compared in, by the name that people read.
FORMS = {
    "adder_graph": "adder graph",
    "keras": "Keras",
    "rtl": "RTL",
    "hls": "hls4ml C++",
    "cmssw": "CMSSW emulator",
}


def remember(study: Study, number: int, folder: Path, certificate: Mapping[str, Any]) -> None:
    """Note an export of a trial with its study; it takes the place of an earlier one to the same folder.

    Raises StorageError where the database does not take it: the export is whole all the same.
    """
    parts = ("created", "verified", "student", "events", "scores", "compared", "tools")
    export = {"folder": str(folder.resolve()), **{name: certificate[name] for name in parts}}
    others = [one for one in exports_of(study, number) if one["folder"] != export["folder"]]
    try:
        study.storage.set_study_system_attr(study.id, f"{KEY}{number}", [export, *others][:MOST])
    except StorageInternalError as error:
        raise StorageError(f"the export is written, but study {study.name!r} could not note it") from error


def exports_of(study: Study, number: int) -> list[dict[str, Any]]:
    """Return the certificates of a trial's exports, the newest first, each with its `folder`."""
    design = study.trials()[number].user_attrs.get("design")
    known = study.storage.get_study_system_attrs(study.id).get(f"{KEY}{number}", [])
    return [one for one in known if one["student"]["design"] == design]


def all_exports(study: Study) -> dict[int, list[dict[str, Any]]]:
    """Return the certificates of all exports of a study, by trial."""
    attributes = study.storage.get_study_system_attrs(study.id)
    return {int(key.removeprefix(KEY)): known for key, known in attributes.items() if key.startswith(KEY)}
