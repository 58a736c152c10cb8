"""Slots: each run of a budget is claimed once, survives its worker, and knows its holder."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import RDBStorage

from sweep.storage.database import open_storage
from sweep.storage.slots import MAX_LOSSES, SLOTS, Claim, ClaimLost, Slots
from sweep.worker.name import worker_name


@pytest.fixture
def engine(storage: RDBStorage) -> sa.Engine:
    return storage.engine


def rows(engine: sa.Engine) -> list[dict[str, Any]]:
    with engine.begin() as connection:
        return [dict(row) for row in connection.execute(sa.select(SLOTS).order_by(SLOTS.c.slot)).mappings()]


def expire(engine: sa.Engine, study: int, slot: int) -> None:
    """Let the time of a lease pass."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(SLOTS)
            .where(SLOTS.c.study_id == study, SLOTS.c.slot == slot)
            .values(lease_until=time.time() - 1)
        )


def begin(slots: Slots, claim: Claim, trial: int = 77, digest: str | None = None) -> int | None:
    """Begin a claim with a trial that is only a number."""
    return slots.begin(claim, digest or f"{trial:016x}", lambda _: trial)


def held_by(slots: Slots, claim: Claim, action: str, *arguments: int) -> bool:
    """Tell whether a claim could still be used; what is told to the database only then is told."""
    try:
        if action == "begin":
            return begin(slots, claim, *arguments) is not None
        if action == "finish":
            slots.finish(claim, lambda _: None)
            return True
        return bool(getattr(slots, action)(claim))
    except ClaimLost:
        return False


ACTIONS = ("begin", "renew", "finish", "release")


# ---- one worker after the other -----------------------------------------------------------------


def test_a_configuration_belongs_to_one_slot(engine: sa.Engine) -> None:
    """Two workers have drawn the same at the same moment: neither has seen the other's."""
    one, two = Slots(engine, 1, "a"), Slots(engine, 1, "b")
    first, second = one.claim(2), two.claim(2)
    assert first
    assert second
    assert begin(one, first, 1, "same") == 1
    assert begin(two, second, 2, "same") is None
    assert [row["trial_id"] for row in rows(engine)] == [1, None]
    assert begin(two, second, 2, "other") == 2
    elsewhere = Slots(engine, 2, "a")
    claim = elsewhere.claim(1)
    assert claim
    assert begin(elsewhere, claim, 3, "same") == 3, "another study is another matter"


def test_a_run_begins_once(engine: sa.Engine) -> None:
    """The connection was lost after the commit: beginning again finds what was begun."""
    slots = Slots(engine, 1, "a")
    claim = slots.claim(1)
    assert claim
    assert begin(slots, claim, 5) == 5
    assert begin(slots, claim, 6) == 5


def test_what_a_late_worker_writes_is_taken_back(engine: sa.Engine) -> None:
    """Whatever it stores goes into the transaction that asks whether it still holds the slot."""
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE notes (worker TEXT)"))
    late, heir = Slots(engine, 1, "late"), Slots(engine, 1, "heir")
    old = late.claim(1)
    assert old
    expire(engine, 1, 0)
    new = heir.claim(1)
    assert new

    def note(worker: str) -> Any:
        insert = sa.text("INSERT INTO notes VALUES (:worker)")
        return lambda connection: connection.execute(insert, {"worker": worker}).rowcount

    with pytest.raises(ClaimLost):
        late.finish(old, note("late"))
    assert heir.finish(new, note("heir")) == 1
    assert heir.finish(new, note("heir")) is None, "the answer to the first commit was lost"
    with pytest.raises(ClaimLost):
        late.begin(old, "digest", note("late"))
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT worker FROM notes")).scalars().all() == ["heir"]


def test_what_cannot_be_stored_leaves_the_slot_open(engine: sa.Engine) -> None:
    slots = Slots(engine, 1, "a")
    claim = slots.claim(1)
    assert claim

    def fail(connection: sa.Connection) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        slots.finish(claim, fail)
    assert slots.open() == {0: "a"}
    assert slots.release(claim)


def test_a_run_that_workers_die_over_is_given_up_with_the_evidence(engine: sa.Engine) -> None:
    for number in range(MAX_LOSSES):
        claim = Slots(engine, 1, f"worker {number}").claim(1)
        assert claim
        assert claim.attempt == number + 1
        expire(engine, 1, 0)
    slots = Slots(engine, 1, "heir")
    assert slots.claim(1) is None
    assert slots.done() == 1, "it is nobody's any more"
    history = slots.attempts()
    assert [(a["attempt"], a["worker"], a["ending"]) for a in history] == [
        (number + 1, f"worker {number}", "lost") for number in range(MAX_LOSSES)
    ]
    assert all(a["evidence"] == "its lease ran out" and a["ended"] >= a["started"] for a in history)
    assert slots.claim(2) is not None, "the others go on"


def test_what_is_handed_back_counts_as_no_loss(engine: sa.Engine) -> None:
    for _ in range(MAX_LOSSES + 2):
        slots = Slots(engine, 1, "preempted")
        claim = slots.claim(1)
        assert claim
        assert slots.release(claim, evidence="SIGTERM")
    assert [a["ending"] for a in slots.attempts(only_repeated=True)] == ["handed back"] * (MAX_LOSSES + 2)


def test_a_clock_that_is_wrong_takes_nothing_from_anybody(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node of the second worker is ten minutes ahead, that of the third ten minutes behind."""
    holder = Slots(engine, 1, "holder")
    claim = holder.claim(1)
    assert claim
    now = time.time()
    for offset in (600, -600):
        monkeypatch.setattr("time.time", lambda offset=offset: now + offset)
        other = Slots(engine, 1, "other")
        assert other.claim(1) is None
        assert other.holders()[0]["abandoned"] is False
        assert holder.renew(claim)
        assert other.claim(1) is None
    monkeypatch.undo()
    assert abs(rows(engine)[0]["lease_until"] - now - 60) < 20


def test_a_budget_is_claimed_once_and_in_order(engine: sa.Engine) -> None:
    slots = Slots(engine, 1, "a")
    claims = [slots.claim(3) for _ in range(5)]
    assert [claim and (claim.slot, claim.attempt, claim.trial_id) for claim in claims] == [
        (0, 1, None),
        (1, 1, None),
        (2, 1, None),
        None,
        None,
    ]
    assert len({claim.token for claim in claims if claim}) == 3


def test_a_larger_budget_gives_more_and_a_smaller_takes_nothing_away(engine: sa.Engine) -> None:
    slots = Slots(engine, 1, "a")
    assert slots.claim(1) is not None
    assert slots.claim(1) is None
    more = slots.claim(2)
    assert more is not None
    assert more.slot == 1
    assert slots.claim(1) is None
    slots.finish(more, lambda _: None)
    assert slots.done() == 1


def test_studies_do_not_see_each_others_slots(engine: sa.Engine) -> None:
    one, two = Slots(engine, 1, "a"), Slots(engine, 2, "a")
    first, second = one.claim(1), two.claim(1)
    assert first is not None
    assert second is not None
    one.finish(first, lambda _: None)
    assert (one.done(), two.done()) == (1, 0)
    assert two.release_of("a") == 1
    assert not two.renew(first), "a token is good for its own study only"


def test_an_expired_lease_is_adopted_once_with_its_trial(engine: sa.Engine) -> None:
    late, first, second = (Slots(engine, 1, name) for name in ("late", "first", "second"))
    claim = late.claim(1)
    assert claim is not None
    assert begin(late, claim)
    assert first.claim(1) is None, "a lease that holds is nobody else's"
    expire(engine, 1, 0)
    adopted = first.claim(1)
    assert adopted is not None
    assert (adopted.slot, adopted.trial_id, adopted.attempt) == (0, 77, 2)
    assert adopted.token != claim.token
    assert second.claim(1) is None, "what was adopted has a lease again"


def test_a_late_holder_changes_nothing(engine: sa.Engine) -> None:
    late, heir = Slots(engine, 1, "late"), Slots(engine, 1, "heir")
    old = late.claim(1)
    assert old is not None
    expire(engine, 1, 0)
    new = heir.claim(1)
    assert new is not None
    before = rows(engine)
    assert not any(held_by(late, old, action) for action in ACTIONS)
    assert rows(engine) == before
    assert begin(heir, new, 6)
    assert heir.renew(new)
    heir.finish(new, lambda _: None)
    before = rows(engine)
    assert not any(held_by(late, old, action) for action in ACTIONS)
    assert rows(engine) == before


def test_a_holder_whose_lease_ran_out_unnoticed_may_still_renew_it(engine: sa.Engine) -> None:
    slots = Slots(engine, 1, "slow")
    claim = slots.claim(1)
    assert claim is not None
    expire(engine, 1, 0)
    assert slots.renew(claim)
    assert Slots(engine, 1, "other").claim(1) is None


def test_what_is_released_is_free_at_once_and_what_is_done_never(engine: sa.Engine) -> None:
    slots = Slots(engine, 1, "a")
    one, two = slots.claim(2), slots.claim(2)
    assert one is not None
    assert two is not None
    slots.finish(one, lambda _: None)
    assert slots.release(one)
    assert slots.release(two)
    again = Slots(engine, 1, "b").claim(2)
    assert again is not None
    assert (again.slot, again.attempt) == (1, 2)


def test_only_what_the_dead_held_is_released(engine: sa.Engine) -> None:
    dead, alive = Slots(engine, 1, "dead"), Slots(engine, 1, "alive")
    finished, open_, kept = dead.claim(4), dead.claim(4), alive.claim(4)
    assert finished is not None
    assert open_ is not None
    assert kept is not None
    dead.finish(finished, lambda _: None)
    assert alive.release_of("dead") == 1
    assert alive.open() == {1: "dead", 2: "alive"}
    abandoned = {holder["slot"]: holder["abandoned"] for holder in alive.holders()}
    assert abandoned == {1: True, 2: False}
    adopted = alive.claim(3)
    assert adopted is not None
    assert adopted.slot == 1
    assert alive.claim(3) is None


def test_a_held_claim_outlives_its_first_lease_and_not_its_holder(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.storage.lease.LEASE", 0.8)
    holder, other = Slots(engine, 1, "holder"), Slots(engine, 1, "other")
    claim = holder.claim(1)
    assert claim is not None
    threads = threading.active_count()
    with holder.held(claim):
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            assert other.claim(1) is None
            time.sleep(0.1)
    assert threading.active_count() == threads, "the renewing thread ends with the block"
    deadline = time.monotonic() + 10
    while (heir := other.claim(1)) is None:
        assert time.monotonic() < deadline, "a claim that nobody holds must become free"
        time.sleep(0.1)
    assert heir.attempt == 2


# ---- any order of events, against a model -------------------------------------------------------

BUDGET = 3
WORKERS = ("ada", "ben", "cem")
workers = st.sampled_from(WORKERS)
numbers = st.integers(0, 50)


class SlotsMachine(RuleBasedStateMachine):
    """Whatever workers do in whatever order, the table says what this plain list says."""

    engine: sa.Engine
    studies = iter(range(1000, 10**6))
    trials = iter(range(1, 10**6))

    @initialize()
    def start(self) -> None:
        self.study = next(self.studies)
        self.model: list[dict[str, Any]] = []
        self.claims: list[Claim] = []

    def of(self, worker: str) -> Slots:
        return Slots(self.engine, self.study, worker)

    @rule(worker=workers)
    def claim(self, worker: str) -> None:
        free = None
        for number, slot in enumerate(self.model):
            if slot["done"] or slot["leased"]:
                continue
            slot["losses"] += slot["lost"]
            slot["lost"] = False
            if slot["losses"] < MAX_LOSSES:
                free = number
                break
            slot.update(done=True, token="")
        claim = self.of(worker).claim(BUDGET)
        if free is None and len(self.model) == BUDGET:
            assert claim is None
            return
        assert claim is not None
        assert claim.token not in {earlier.token for earlier in self.claims}
        if free is None:
            free = len(self.model)
            self.model.append({"attempt": 0, "trial": None, "done": False, "losses": 0})
        slot = self.model[free]
        slot.update(attempt=slot["attempt"] + 1, leased=True, lost=True, worker=worker, token=claim.token)
        assert (claim.slot, claim.attempt, claim.trial_id) == (free, slot["attempt"], slot["trial"])
        self.claims.append(claim)

    def update(self, number: int, action: str, *arguments: int) -> dict[str, Any] | None:
        """Let whoever made a claim, long ago perhaps, use it; return its slot if it still holds it."""
        claim = self.claims[number % len(self.claims)]
        slot = self.model[claim.slot]
        held = slot["token"] == claim.token
        assert held_by(self.of(slot["worker"]), claim, action, *arguments) is held
        return slot if held else None

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def begin(self, number: int) -> None:
        trial = next(self.trials)
        if slot := self.update(number, "begin", trial):
            slot["trial"] = slot["trial"] or trial

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def renew(self, number: int) -> None:
        if slot := self.update(number, "renew"):
            slot["leased"] = True

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def finish(self, number: int) -> None:
        if slot := self.update(number, "finish"):
            slot["done"] = True

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def release(self, number: int) -> None:
        if slot := self.update(number, "release"):
            # Whoever hands back what was done changes nothing; and what is noted as an end stays.
            slot.update(leased=False, lost=False)

    @rule(worker=workers, dead=workers)
    def release_of(self, worker: str, dead: str) -> None:
        held = [slot for slot in self.model if slot["worker"] == dead and not slot["done"]]
        assert self.of(worker).release_of(dead) == len(held)
        for slot in held:
            slot["losses"] += slot["lost"]
            slot.update(leased=False, lost=False)

    @precondition(lambda self: self.model)
    @rule(number=numbers)
    def lease_runs_out(self, number: int) -> None:
        slot = number % len(self.model)
        expire(self.engine, self.study, slot)
        self.model[slot]["leased"] = False

    @invariant()
    def agrees(self) -> None:
        slots = self.of("watcher")
        opened = {n: s for n, s in enumerate(self.model) if not s["done"]}
        assert slots.done() == len(self.model) - len(opened)
        assert slots.open() == {n: s["worker"] for n, s in opened.items()}
        assert slots.trial_ids() == {s["trial"] for s in self.model if s["trial"] is not None}
        assert slots.holders() == [
            {"slot": n, "worker": s["worker"], "attempt": s["attempt"], "abandoned": not s["leased"]}
            for n, s in opened.items()
        ]


def test_any_order_of_events(engine: sa.Engine) -> None:
    machine = type("Machine", (SlotsMachine,), {"engine": engine})
    case = machine.TestCase
    case.settings = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case("runTest").debug()


# ---- many processes at once, some of them killed ------------------------------------------------

PROCESSES = 3
MANY = 60
KILLS = 2


def read(logs: Path) -> list[dict[str, Any]]:
    lines = [line for log in sorted(logs.glob("*.log")) for line in log.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]  # a killed process may tear its last


def test_processes_that_are_killed_lose_nothing_and_double_nothing(tmp_path: Path, storage_url: str) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    processes: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + 120

    def start() -> None:
        command = [sys.executable, str(Path(__file__).with_name("slot_worker.py")), storage_url]
        processes.append(subprocess.Popen([*command, str(logs / f"{len(processes)}.log"), str(MANY)]))

    def wait_for(number: int, what: str) -> None:
        while sum(note["what"] == what for note in read(logs)) < number:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    try:
        for _ in range(PROCESSES):
            start()
        wait_for(PROCESSES, "ready")  # they made the database together, too
        engine = open_storage(storage_url).engine
        (logs / "go").touch()
        for victim in processes[:KILLS]:
            wait_for(5 * len(processes), "finished")
            time.sleep(random.uniform(0, 0.1))
            name = worker_name(victim.pid)
            victim.kill()
            victim.wait()
            Slots(engine, 1, "reaper").release_of(name)
            start()
        for process in processes:
            process.wait(timeout=deadline - time.monotonic())
    finally:
        for process in processes:
            process.kill()
            process.wait()

    assert [p.returncode for p in processes] == [-signal.SIGKILL] * KILLS + [0] * PROCESSES
    notes, table = read(logs), rows(engine)
    assert [row["slot"] for row in table] == list(range(MANY)), "the budget, no less and no more"
    assert all(row["done"] for row in table)
    claims = Counter((note["slot"], note["attempt"]) for note in notes if note["what"] == "claimed")
    assert max(claims.values()) == 1, "no attempt belongs to two workers"
    finishes = Counter(note["slot"] for note in notes if note["what"] == "finished")
    assert max(finishes.values()) == 1, "no run ends twice"
    assert len(finishes) >= MANY - KILLS, "a kill hides at most one note"
    assert sum(row["attempt"] - 1 for row in table) <= KILLS, "only what a killed worker held is tried again"
    for note in notes:
        if note["what"] == "begun":
            assert table[note["slot"]]["trial_id"] == note["trial"], "an adopted run keeps its trial"
    assert len({note["worker"] for note in notes if note["what"] == "finished"}) >= PROCESSES
    engine.dispose()
