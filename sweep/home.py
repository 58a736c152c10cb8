"""Where runs and caches are kept on this machine: the folder `SWEEP_HOME`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def home() -> Path:
    """Return the folder of runs and caches: `SWEEP_HOME`, or the user's data folder."""
    chosen = os.environ.get("SWEEP_HOME")
    return Path(chosen).expanduser().resolve() if chosen else platformdirs.user_data_path("cicada-sweep")


def default_storage() -> str:
    """Return the URL of the database: `SWEEP_STORAGE`, or an SQLite file in `home()`."""
    return os.environ.get("SWEEP_STORAGE") or f"sqlite:///{home() / 'sweep.db'}"


def server_folder() -> Path:
    """The PostgreSQL of `sweep storage serve`."""
    return home() / "postgresql"


def data_cache() -> Path:
    """Generated collisions, by content."""
    return home() / "data"


def teacher_cache() -> Path:
    """Trained teachers and their targets, by content."""
    return home() / "teachers"


def environments() -> Path:
    """Environments of Python beside this one, a folder each."""
    return home() / "environments"


def references_folder() -> Path:
    """Measured references, a folder each, by content."""
    return home() / "references"


def students_folder(study: str) -> Path:
    """The measured students of a study, a folder each, by design."""
    return home() / "studies" / study / "students"


def checkpoint_file(study: str, run: int) -> Path:
    """Where the training of a run is kept while it is under way."""
    return home() / "studies" / study / "checkpoints" / f"{run}.npz"


def logs_folder(study: str) -> Path:
    """What workers of a study print."""
    return home() / "studies" / study / "logs"


def launches_folder(study: str) -> Path:
    """What `sweep launch` wrote and its workers print, a folder a launch."""
    return home() / "studies" / study / "launches"


def synthesis_folder(study: str) -> Path:
    """Running syntheses of a study, a folder each."""
    return home() / "studies" / study / "synthesis"


def artifacts_folder() -> Path:
    """Optuna's artifact store, one for all studies, for they may share a synthesis."""
    return home() / "artifacts"


def artifacts_place() -> str | None:
    """Where studies that are made now keep their artifacts, `SWEEP_ARTIFACTS`; None for this home alone."""
    return os.environ.get("SWEEP_ARTIFACTS") or None


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for as long as the block runs, for what it starts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
