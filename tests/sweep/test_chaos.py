"""Many workers on one database while workers die and the server goes away: all there, once, nothing stuck.

The workers are the real ones, and so are their processes; only training is simulated. What takes minutes
(32 workers, a kill a second for a minute, five restarts) is `python -m tests.benchmarks.chaos`.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sweep.errors import StorageError
from sweep.front import front_of
from sweep.messages import Message, Noticed
from sweep.storage.database import open_storage
from sweep.storage.slots import Slots
from sweep.study import create_or_resume, load
from sweep.testing import best_auc
from sweep.worker.worker import Options, Worker
from tests.sweep.fleet import FAULTS, Fleet, Nursery, audit, simulated, storm

WORKERS, RUNS = 8, 48


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where workers are forked from: what takes seconds to import is imported once."""
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def own_home(sweep_home: Path) -> None:
    """No worker writes anywhere else."""


def assert_whole(figures: dict[str, Any]) -> None:
    assert {name: figures[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), figures
    assert set(figures.get("exit_codes", {0: 1})) == {0}, figures


def test_workers_that_are_killed_lose_nothing_and_double_nothing(
    nursery: Nursery, any_storage_url: str
) -> None:
    figures = storm(nursery, any_storage_url, simulated(RUNS, 0.3), WORKERS, kill_every=0.7, kills=6)
    assert_whole(figures)
    assert figures["killed"] > 0
    assert figures["attempts_lost"] <= figures["killed"], "only what a killed worker held is tried again"
    study = load(open_storage(any_storage_url), "fleet")
    found = front_of(study)
    assert found.points
    for point in found.points:  # what was stored is what the formula says
        auc, lut = point.values
        assert auc <= best_auc(lut) + 1e-9
    study.storage.engine.dispose()


def test_a_server_that_is_restarted_is_waited_for(
    nursery: Nursery, postgresql_url: str, restart_postgresql: Callable[[], None]
) -> None:
    figures = storm(nursery, postgresql_url, simulated(RUNS, 0.3), 6, restart=restart_postgresql, restarts=2)
    assert_whole(figures)
    assert (figures["restarts"], figures["killed"], figures["failed_runs"]) == (2, 0, 0)


def test_a_worker_that_is_told_to_stop_hands_its_run_back(nursery: Nursery, any_storage_url: str) -> None:
    """And exits with 0; the others go on, and nothing counts as lost."""
    file = simulated(6, 1.0)
    study = create_or_resume(open_storage(any_storage_url), file)[0]
    slots = Slots(study.storage.engine, study.id, "watching")
    fleet = Fleet(nursery, any_storage_url, file.study)
    try:
        fleet.start(2)
        while len(slots.open()) < 2:
            time.sleep(0.02)
        victim = fleet.kill(signal.SIGTERM)
        assert victim is not None
        while victim in fleet.alive():
            time.sleep(0.02)
        mine = [attempt for attempt in slots.attempts() if f":{victim}:" in attempt["worker"]]
        assert [attempt["ending"] for attempt in mine][-1] == "handed back"
        codes = fleet.exit_codes()
    finally:
        fleet.close()
    assert set(codes.values()) == {0}
    assert_whole(audit(study))
    assert not [attempt for attempt in slots.attempts() if attempt["ending"] == "lost"]
    study.storage.engine.dispose()


def test_a_worker_that_comes_late_changes_nothing(nursery: Nursery, any_storage_url: str) -> None:
    """It was stopped in the middle of its run for longer than its lease, as by a machine that sleeps."""
    file = simulated(1, 2.0, points=5)
    study = create_or_resume(open_storage(any_storage_url), file)[0]
    slots = Slots(study.storage.engine, study.id, "watching")
    fleet = Fleet(nursery, any_storage_url, file.study)
    try:
        fleet.start(1)
        while not slots.trial_ids():
            time.sleep(0.01)
        late = fleet.workers[0]
        time.sleep(0.3)  # it trains, and holds no lock of the database
        os.kill(late, signal.SIGSTOP)
        slots.release_of(next(iter(slots.open().values())), "its lease ran out")
        fleet.start(1)
        while slots.done() < 1:
            time.sleep(0.02)
        before = audit(study)
        os.kill(late, signal.SIGCONT)
        codes = fleet.exit_codes()
    finally:
        fleet.close()
    assert set(codes.values()) == {0}, "it is told, and does no harm"
    assert_whole(before)
    assert audit(study) == before
    assert [(a["attempt"], a["ending"]) for a in slots.attempts()] == [(1, "lost"), (2, "done")]
    study.storage.engine.dispose()


# ---- one worker, in this process ------------------------------------------------------------------


@pytest.fixture
def worker(storage_url: str) -> Iterator[Callable[..., Worker]]:
    """Makes a worker of a simulated study, which has as many runs as it is told."""
    opened = []

    def make(runs: int, seconds: float = 0.0, tell: Callable[[Message], None] = lambda _: None, **more: Any):  # type: ignore[no-untyped-def]
        study = create_or_resume(open_storage(storage_url), simulated(runs, seconds))[0]
        opened.append(study.storage.engine)
        return Worker(study, tell, **more)

    yield make
    for engine in opened:
        engine.dispose()


def test_a_worker_ends_after_as_many_runs_as_it_may_take(worker: Callable[..., Worker]) -> None:
    first = worker(5, options=Options(max_trials=2))
    assert first.work() == 2
    assert first.slots.done() == 2
    assert worker(5).work() == 3


def test_a_worker_waits_for_what_others_hold_as_long_as_it_may(worker: Callable[..., Worker]) -> None:
    other = worker(1)
    assert other.slots.claim(1)
    began = time.monotonic()
    assert worker(1, options=Options(idle_exit=0.5)).work() == 0
    assert 0.5 <= time.monotonic() - began < 20


def test_a_run_that_was_left_behind_is_taken_by_whoever_waits(worker: Callable[..., Worker]) -> None:
    left = worker(1)
    left.slots.worker = "elsewhere:1:1"
    assert left.slots.claim(1)
    waiting = worker(1)
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(waiting.work()))
    thread.start()
    time.sleep(0.3)
    assert left.slots.done() == 0, "its holder may be alive"
    left.slots.release_of("elsewhere:1:1")
    thread.join(30)
    assert ended == [1]


def test_a_run_that_takes_too_long_or_too_much_fails_and_says_so(worker: Callable[..., Worker]) -> None:
    from sweep.worker.runs import Limits

    slow = worker(1, 30.0, options=Options(limits=Limits(seconds=0.3)))
    assert slow.work() == 1
    (run,) = slow.study.runs()
    assert (run.state.name, "longer than its worker allows (0.3 s)" in run.user_attrs["problem"]) == (
        "FAIL",
        True,
    )


def test_a_disk_that_is_full_is_said_in_one_line_and_the_run_is_handed_back(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = worker(1)

    def fill(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "/students/0-1-abc")

    monkeypatch.setattr(full.runs, "train", fill)
    from sweep.errors import StudyError

    with pytest.raises(StudyError, match=r"/students/0-1-abc: cannot be written \(No space left on device\)"):
        full.work()
    assert [a["ending"] for a in full.slots.attempts()] == ["handed back"]
    assert worker(1).work() == 1, "when there is room again"


def test_a_database_that_is_full_is_said_in_one_line(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = worker(3)
    assert full.slots.done() == 0

    @sa.event.listens_for(full.study.storage.engine, "connect")
    def small(connection: Any, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then says that its disk is full

    full.study.storage.engine.dispose()
    with pytest.raises(StorageError, match=r"disk is full\); what was stored is safe: make room") as said:
        full.work()
    assert str(said.value).isprintable()


def test_what_does_not_pass_by_waiting_is_not_waited_for(postgresql_url: str) -> None:
    wrong = sa.make_url(postgresql_url).set(username="nobody_at_all").render_as_string(hide_password=False)
    began = time.monotonic()
    with pytest.raises(StorageError, match="does not exist"):
        open_storage(wrong, patient=True)
    assert time.monotonic() - began < 10


def test_two_launches_of_one_study_share_it(any_storage_url: str) -> None:
    """Two people start the same file at the same moment."""
    file = simulated(12, 0.1)
    messages: list[Message] = []

    def one() -> None:
        study = create_or_resume(open_storage(any_storage_url), file)[0]
        Worker(study, messages.append).work()
        study.storage.engine.dispose()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    study = load(open_storage(any_storage_url), file.study)
    assert_whole(audit(study))
    assert not [m for m in messages if isinstance(m, Noticed)]
    study.storage.engine.dispose()
