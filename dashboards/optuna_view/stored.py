"""Notes and figures in the database, for an Optuna dashboard that is not ours.

Only what this program wrote is written over or taken away: figures by their names, notes as long as
nobody has edited them. What is stored is bounded, and changes row by row with what it says.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import StudySystemAttributeModel
from sqlalchemy.exc import IntegrityError

from dashboards.optuna_view.notes import by_interest, study_attributes, trial_attributes
from dashboards.optuna_view.storage import DASHBOARD, generated, note_of
from sweep.errors import StudyError
from sweep.front import Front, front_of
from sweep.storage.patience import waited_out
from sweep.study import Study

#: Trials whose notes are stored: those of the front and the newest. A plain Optuna dashboard goes through
#: all notes for each trial that it shows.
MOST_STORED = 300

ATTRIBUTES: Any = StudySystemAttributeModel.__table__


@dataclass(frozen=True)
class Stored:
    """What the database holds now, how many rows of it are new or gone, and what it took."""

    notes: int
    figures: int
    bytes: int
    written: int
    removed: int
    cpu_seconds: float


def store(study: Study) -> Stored:
    """Bring the notes and figures that the database holds of a study up to date.

    Raises StudyError where somebody writes notes at the same moment: then nothing was written.
    """
    front = front_of(study)
    wanted = _wanted(front)
    try:
        written, removed = _write(study, wanted)
    except IntegrityError:
        raise StudyError(f"notes of study {study.name!r} are being written by somebody else") from None
    return Stored(
        notes=sum(key.endswith("note_ver") for key in wanted),
        figures=len({key.split(":")[2] for key in wanted if not note_of(key)}),
        bytes=sum(len(key) + len(str(value)) for key, value in wanted.items()),
        written=written,
        removed=removed,
        cpu_seconds=round(time.process_time(), 2),
    )


def _wanted(front: Front) -> dict[str, Any]:
    trials = by_interest(front)[:MOST_STORED]
    # The explorer is beside our own dashboard alone.
    return study_attributes(front, linked=False) | trial_attributes(front, trials, linked=False)


@waited_out
def _write(study: Study, wanted: dict[str, Any]) -> tuple[int, int]:
    """Write what is wanted and not there; return how many rows were written, and how many removed."""
    mine = sa.and_(ATTRIBUTES.c.study_id == study.id, ATTRIBUTES.c.key.startswith(DASHBOARD, autoescape=True))
    with study.storage.engine.begin() as connection:
        rows = connection.execute(
            sa.select(ATTRIBUTES.c.key, ATTRIBUTES.c.value_json).where(mine).with_for_update()
        )
        there = {key: json.loads(text) for key, text in rows}
        ours = set(generated(there))
        theirs = there.keys() - ours
        new = {
            key: value
            for key, value in wanted.items()
            if key not in theirs and f"{note_of(key)}note_ver" not in theirs
        }
        gone = [key for key in ours if key not in new]
        changed = {key: value for key, value in new.items() if key not in there or there[key] != value}
        for keys in (gone, [key for key in changed if key in there]):
            for start in range(0, len(keys), 500):
                some = ATTRIBUTES.c.key.in_(keys[start : start + 500])
                connection.execute(sa.delete(ATTRIBUTES).where(mine, some))
        if changed:
            connection.execute(
                sa.insert(ATTRIBUTES),
                [
                    {"study_id": study.id, "key": key, "value_json": json.dumps(value)}
                    for key, value in changed.items()
                ],
            )
    return len(changed), len(gone)
