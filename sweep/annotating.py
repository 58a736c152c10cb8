"""Notes and figures for other Optuna dashboards, brought up to date while a study runs (`sweep annotate`).

A worker does so between two of its runs, in a process of its own that cannot hurt it. All workers of
a study together take at most `SHARE` of the processor time of its runs for it: what was spent stands in
the database, and whoever changes it first has the turn. A study of less than ten minutes is too short.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass

import psutil
import sqlalchemy as sa
from optuna.storages._rdb.models import StudySystemAttributeModel
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from sweep.messages import Noticed, Tell
from sweep.study import Study
from sweep.worker.name import worker_name

#: Of the processor time of a study's runs, what its notes and figures may take, and with the last writing.
SHARE, SHARE_AT_END = 0.005, 0.01
#: Seconds of processor time that the first writing is expected to take; later ones, what the last took.
FIRST = 6.0
#: Seconds that a writing may take.
PATIENCE = 120.0
#: Attribute of the study that says what was spent.
KEY = "sweep:annotated"

ATTRIBUTES = StudySystemAttributeModel.__table__


@dataclass(frozen=True)
class Account:
    """Processor seconds: all that was spent, what one writing takes, and of the study at the last."""

    spent: float = 0.0
    takes: float = FIRST
    at: float = 0.0

    def is_due(self, seconds: float, *, over: bool) -> bool:
        """Tell whether a study whose runs took so many seconds is to be annotated again."""
        share = SHARE_AT_END if over else SHARE
        return seconds > self.at and self.spent + self.takes <= share * seconds


class Annotating:
    """Lets notes and figures of one study be written, as seldom as they must."""

    def __init__(self, study: Study, url: str, tell: Tell, stop: threading.Event) -> None:
        self.study = study
        self.url = url
        self.tell = tell
        self.stop = stop
        #: As it was when it was last looked at: until there is time to spend nobody looks again.
        self._known = Account()

    def after_run(self, seconds: float, *, over: bool = False) -> None:
        """Write if it is due in a study whose finished runs took `seconds`; `over` when these were the last.

        Nothing that goes wrong stops the worker.
        """
        if self.study.file.simulation is not None or not self._known.is_due(seconds, over=over):
            return
        try:
            if self._take_turn(seconds, over=over):
                took = self._write()
                self._put(Account(self._known.spent - self._known.takes + took, took, seconds))
        except IntegrityError:  # another worker was the first
            return
        except (OSError, SQLAlchemyError, ValueError, LookupError, TypeError, psutil.Error) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            self.tell(Noticed(worker_name(), f"notes and figures are not up to date: {said[-1]}"))

    def _take_turn(self, seconds: float, *, over: bool) -> bool:
        """Book a writing; False where it is not due, or another worker does it."""
        with self.study.storage.engine.begin() as connection:
            text = connection.execute(
                sa.select(ATTRIBUTES.c.value_json).where(self._mine).with_for_update()
            ).scalar()
            self._known = Account(**json.loads(text)) if text is not None else Account()
            if not self._known.is_due(seconds, over=over):
                return False
            self._known = Account(self._known.spent + self._known.takes, self._known.takes, seconds)
            self._save(connection, text is None)
        return True

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return sa.and_(ATTRIBUTES.c.study_id == self.study.id, ATTRIBUTES.c.key == KEY)

    def _put(self, account: Account) -> None:
        self._known = account
        with self.study.storage.engine.begin() as connection:
            self._save(connection, new=False)

    def _save(self, connection: sa.Connection, new: bool) -> None:
        text = json.dumps(asdict(self._known))
        if new:  # two that are the first at once stand in each other's way: one goes on without
            row = {"study_id": self.study.id, "key": KEY, "value_json": text}
            connection.execute(sa.insert(ATTRIBUTES).values(row))
        else:
            connection.execute(sa.update(ATTRIBUTES).where(self._mine).values(value_json=text))

    def _write(self) -> float:
        """Run `sweep annotate`; return the processor seconds that it took.

        The URL, which may hold a password, is in no list of processes.
        """
        command = [sys.executable, "-m", "sweep", "annotate", self.study.name, "--json"]
        environment = {**os.environ, "SWEEP_STORAGE": self.url, "OPENBLAS_NUM_THREADS": "1"}
        end = time.monotonic() + PATIENCE
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaint:
            child = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=complaint
            )
            try:
                psutil.Process(child.pid).nice(19)
                while child.poll() is None and time.monotonic() < end and not self.stop.wait(0.1):
                    pass
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()
            for file in (said, complaint):
                file.seek(0)
            if child.returncode:
                raise OSError(complaint.read().strip() or f"`sweep annotate` ended with {child.returncode}")
            return float(json.loads(said.read())["cpu_seconds"])
