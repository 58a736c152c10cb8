"""When workers let notes and figures be written, who does, and that nothing of it hurts them."""

import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sweep.annotating import FIRST, KEY, SHARE, SHARE_AT_END, Account, Annotating
from sweep.messages import Message
from sweep.study import Study


@given(st.lists(st.floats(0, 3000), max_size=60), st.floats(0.1, FIRST))
def test_all_writings_together_take_their_share_and_no_more(runs: list[float], takes: float) -> None:
    account, seconds, spent = Account(), 0.0, 0.0
    for more in runs:
        seconds += more
        if account.is_due(seconds, over=False):
            spent += takes
            account = Account(account.spent + takes, takes, seconds)
        assert spent <= SHARE * seconds
    if account.is_due(seconds, over=True):
        assert spent + takes <= SHARE_AT_END * seconds


def test_a_short_study_is_left_alone_and_a_long_one_is_not() -> None:
    assert not Account().is_due(FIRST / SHARE_AT_END - 1, over=True)
    assert Account().is_due(FIRST / SHARE_AT_END, over=True)
    assert not Account().is_due(FIRST / SHARE - 1, over=False)
    assert Account().is_due(FIRST / SHARE, over=False)
    assert not Account(at=2000.0).is_due(2000.0, over=True), "nothing has happened since"


def annotating(
    study: Study, write: Callable[[], float], said: list[Message] | None = None, url: str = ""
) -> Annotating:
    made = Annotating(study, url, (said if said is not None else []).append, threading.Event())
    made._write = write  # type: ignore[method-assign]
    return made


def test_of_many_workers_one_writes(study: Study) -> None:
    written = []

    def write() -> float:
        written.append(1)
        return 2.0

    workers = [annotating(study, write) for _ in range(8)]
    threads = [threading.Thread(target=worker.after_run, args=(2000.0,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(written) == 1
    account = study.storage.get_study_system_attrs(study.id)[KEY]
    assert account == {"spent": 2.0, "takes": 2.0, "at": 2000.0}
    for worker in workers:
        worker.after_run(2000.0, over=True)
    assert sum(written) == 1, "what is there is of the end already"
    workers[3].after_run(2100.0, over=True)
    assert sum(written) == 2


def test_a_writing_that_fails_is_said_and_counts(study: Study) -> None:
    said: list[Message] = []

    def write() -> float:
        raise OSError("no space left")

    worker = annotating(study, write, said)
    worker.after_run(2000.0)
    assert "no space left" in str(said[0])
    assert study.storage.get_study_system_attrs(study.id)[KEY]["spent"] == FIRST
    worker.after_run(2000.0)
    assert len(said) == 1, "it is not tried again until there is time for it"


def test_the_program_that_writes_may_fail_or_be_stopped(study: Study, tmp_path: Any) -> None:
    said: list[Message] = []
    worker = Annotating(study, f"sqlite:///{tmp_path / 'missing.db'}", said.append, threading.Event())
    worker.after_run(2000.0)
    assert "there is no such database" in str(said[0])
    stopped = threading.Event()
    stopped.set()
    worker = Annotating(study, str(study.storage.engine.url), said.append, stopped)
    worker.after_run(9000.0)
    assert len(said) == 2


def test_a_worker_writes_notes_and_books_what_they_took(study: Study) -> None:
    said: list[Message] = []
    Annotating(study, str(study.storage.engine.url), said.append, threading.Event()).after_run(2000.0)
    assert not said
    account = study.storage.get_study_system_attrs(study.id)[KEY]
    assert 0 < account["spent"] == account["takes"] != FIRST, "what it took, not what was feared"
    assert any("note" in key for key in study.storage.get_study_system_attrs(study.id))


def test_simulated_studies_are_not_annotated(study: Study) -> None:
    written = []

    def write() -> float:
        written.append(1)
        return 2.0

    annotating(study, write).after_run(1e6)
    assert len(written) == 1, "this one is"
    simulated = study.file.model_copy(update={"simulation": object()})
    annotating(Study(simulated, study.optuna, study.storage), write).after_run(9e6)
    assert len(written) == 1
