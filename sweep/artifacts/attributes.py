"""How a trial says which artifacts are its: as Optuna's own `upload_artifact` would."""

import json
from collections.abc import Mapping
from typing import Any

#: What begins the system attributes of artifacts. Optuna has this name, too, but beside all of its stores.
PREFIX = "artifacts:"

_MIMETYPES = {".json": "application/json", ".zip": "application/zip", ".gz": "application/gzip"}


def attribute(name: str, artifact: str) -> tuple[str, str]:
    """Return the system attribute of an artifact called `name`, key and value."""
    mimetype = next((kind for suffix, kind in _MIMETYPES.items() if name.endswith(suffix)), "text/plain")
    about = {"artifact_id": artifact, "filename": name, "mimetype": mimetype, "encoding": None}
    return PREFIX + artifact, json.dumps(about)


def attributes(artifacts: Mapping[str, str]) -> dict[str, str]:
    """Return the system attributes of artifacts, {name: id}."""
    return dict(attribute(name, artifact) for name, artifact in artifacts.items())


def artifact_called(name: str, system_attrs: Mapping[str, Any]) -> str | None:
    """Return the id of a trial's artifact, None where it has none of that name."""
    for key, text in system_attrs.items():
        if key.startswith(PREFIX):
            about = json.loads(text)
            if about["filename"] == name:
                return str(about["artifact_id"])
    return None
