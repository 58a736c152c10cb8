"""The queue of syntheses: one job a design, one holder a job, every trial that waits gets the results."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from sweep.artifacts.stores import FolderStore
from sweep.storage.database import open_storage
from sweep.storage.lease import LEASE
from sweep.storage.schema import CANDIDATES, JOBS
from sweep.synthesis import jobs as queue
from sweep.synthesis import keeping, trial_results
from sweep.synthesis.jobs import DONE, MAX_ATTEMPTS, RUNNING, WAITING, Candidate, Job, Jobs
from sweep.synthesis.result import Outcome, StageResult, Verdict
from sweep.synthesis.target import Target
from sweep.worker.name import worker_name

VIVADO, ROUTED, YOSYS = Target(tool="vivado"), Target(tool="vivado", stage="routed"), Target()
ESTIMATE = {"lut": 1000.0, "source": "estimated"}


class Clock:
    """The time that the queue sees."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still until it is told to go on."""
    clock = Clock()
    monkeypatch.setattr("sweep.storage.lease.now", lambda connection: clock.now)
    return clock


class World:
    """A database with studies whose trials are finished."""

    def __init__(self, storage: RDBStorage) -> None:
        self.storage = storage
        self.engine = storage.engine

    def study(self) -> int:
        return int(self.storage.create_new_study([StudyDirection.MINIMIZE]))

    def candidate(self, study: int, reason: str = "front") -> Candidate:
        trial = self.storage.create_new_trial(study, create_trial(values=[1.0], user_attrs={"mine": 1}))
        number = self.storage.get_trial(trial).number
        return Candidate(study, trial, number, reason, {"mean_auc": 0.8})

    def jobs(self, worker: str = "ada") -> Jobs:
        return Jobs(self.engine, worker)

    def add(self, candidate: Candidate, design: str = "d", target: Target = VIVADO) -> Job:
        return self.jobs().add(candidate, design, target, "/students/d", ESTIMATE)[0]

    def attributes(self, candidate: Candidate) -> dict[str, Any]:
        """Return what synthesis wrote to a candidate's trial, and that nothing else has changed."""
        trial = self.storage.get_trial(candidate.trial_id)
        assert trial.state is TrialState.COMPLETE
        about = dict(trial.user_attrs)
        assert about.pop("mine") == 1
        return about

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            order = list(table.primary_key.columns)
            return [dict(row) for row in connection.execute(sa.select(table).order_by(*order)).mappings()]


@pytest.fixture
def world(any_storage_url: str) -> Iterator[World]:
    storage = open_storage(any_storage_url)
    yield World(storage)
    storage.engine.dispose()


def ok(lut: int = 100) -> Verdict:
    result = StageResult("vivado", "2023.2", "synthesized", "part", lut, 20, 3, 0.5, wns_ns=1.25)
    return Verdict(Outcome.OK, (), (result,))


def bad(outcome: Outcome) -> Verdict:
    return Verdict(outcome, (f"ERROR: {outcome}",))


def claimed(jobs: Jobs, study: int) -> Job:
    job = jobs.claim(study)
    assert job is not None
    return job


# ---- asking ---------------------------------------------------------------------------------------


def test_a_job_is_noted_with_all_that_a_worker_needs(world: World) -> None:
    study = world.study()
    candidate = replace(world.candidate(study, "lowest lut"), spread={"lut": [90, 110]})
    job, new = world.jobs().add(candidate, "d", ROUTED, "/students/d", ESTIMATE)
    assert new
    assert (job.design, job.target, job.student, job.estimate) == ("d", ROUTED, "/students/d", ESTIMATE)
    assert (job.state, job.attempt, job.outcome, job.results, job.evidence) == (WAITING, 0, None, (), ())
    assert world.jobs().of_study(study) == [job]
    assert world.jobs().candidates(study) == [(candidate, job.id)]
    assert world.attributes(candidate) == {}, "a trial that waits says nothing"
    assert json.loads(json.dumps(job.as_json()))["state"] == WAITING


def test_asking_again_adds_nothing_and_takes_the_last_reason(world: World) -> None:
    study = world.study()
    candidate = world.candidate(study)
    first = world.add(candidate)
    claim = claimed(world.jobs(), study)
    again, new = world.jobs().add(
        replace(candidate, reason="knee", test={"mean_auc": 0.9}), "d", VIVADO, "/elsewhere", {}
    )
    assert not new
    assert again.id == first.id
    assert again.student == "/students/d"
    assert again.state == RUNNING, "it is held as before"
    assert world.jobs().renew(claim)
    ((noted, _),) = world.jobs().candidates(study)
    assert (noted.reason, noted.test) == ("knee", {"mean_auc": 0.9})


@pytest.mark.parametrize(
    ("design", "target"),
    [
        ("other", VIVADO),
        ("d", ROUTED),
        ("d", YOSYS),
        ("d", VIVADO.model_copy(update={"hardware": VIVADO.hardware.model_copy(update={"clock_ns": 9.0})})),
    ],
)
def test_what_decides_the_figures_makes_another_job(world: World, design: str, target: Target) -> None:
    study = world.study()
    candidate = world.candidate(study)
    first, second = world.add(candidate), world.add(candidate, design, target)
    assert first.id != second.id
    assert [job_id for _, job_id in world.jobs().candidates(study)] == [first.id, second.id]


def test_studies_share_a_job_and_both_trials_get_the_results(world: World) -> None:
    one, two = world.study(), world.study()
    candidates = [world.candidate(one), world.candidate(two), world.candidate(two)]
    assert len({world.add(candidate).id for candidate in candidates}) == 1
    claim = claimed(world.jobs("of two"), two)
    assert world.jobs().claim(one) is None, "the other study's worker has it"
    assert world.jobs("of two").finish(claim, ok(), {}, 2.5) == DONE
    for candidate in candidates:
        about = world.attributes(candidate)
        assert [result["lut"] for result in about["synthesis"]] == [100]
        assert about["synthesis_jobs"] == [
            {"job": claim.id, "tool": "vivado", "outcome": "ok", "evidence": [], "seconds": 2.5}
        ]


def test_a_candidate_that_comes_after_the_end_gets_the_results_at_once(world: World) -> None:
    one, two = world.study(), world.study()
    first = world.candidate(one)
    world.add(first)
    world.jobs().finish(claimed(world.jobs(), one), ok(), {"power.rpt": "some-id"}, 1.0)
    late = world.candidate(two)
    job = world.add(late)
    assert job.state == DONE
    assert world.attributes(late) == world.attributes(first)
    assert len(get_all_artifact_meta(world.storage.get_trial(late.trial_id), storage=world.storage)) == 1
    assert world.jobs().claim(two) is None


def test_a_trial_has_the_results_of_all_its_jobs_in_their_order(world: World) -> None:
    study = world.study()
    candidate = world.candidate(study)
    for target in (VIVADO, ROUTED, YOSYS):
        world.add(candidate, "d", target)
    claims = [claimed(world.jobs(), study) for _ in range(3)]
    jobs = world.jobs()
    jobs.finish(claims[2], ok(3), {}, 1.0)
    jobs.finish(claims[0], ok(1), {}, 1.0)
    assert [result["lut"] for result in world.attributes(candidate)["synthesis"]] == [1, 3]
    jobs.finish(claims[1], bad(Outcome.DESIGN_FAILED), {}, 1.0)
    about = world.attributes(candidate)
    assert [result["lut"] for result in about["synthesis"]] == [1, 3]
    assert [job["outcome"] for job in about["synthesis_jobs"]] == ["ok", "design failed", "ok"]
    assert about["synthesis_jobs"][1]["evidence"] == ["ERROR: design failed"]


def test_artifacts_are_listed_and_read_as_optunas_own(world: World, tmp_path: Path) -> None:
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate)
    run, store = tmp_path / "run", tmp_path / "artifacts"
    (run / "reports").mkdir(parents=True)
    (run / "src").mkdir()
    files = [run / "vivado.log", run / "reports" / "power.rpt", run / "rtl.json", run / "src" / "a.v"]
    for file in files:
        file.write_text(f"content of {file.name}")
    large = run / "output.log"
    large.write_text("line\n" * keeping.LARGE)
    store.mkdir()
    artifacts = keeping.store(run, [*files, large], FolderStore(str(store)))
    world.jobs().finish(claimed(world.jobs(), study), ok(), artifacts, 1.0)
    listed = get_all_artifact_meta(world.storage.get_trial(candidate.trial_id), storage=world.storage)
    assert {(each.filename, each.mimetype) for each in listed} == {
        ("vivado.log", "text/plain"),
        ("reports-power.rpt", "text/plain"),
        ("rtl.json", "application/json"),
        ("rtl.zip", "application/zip"),
        ("output.log.gz", "application/gzip"),
    }
    ids = {each.filename: each.artifact_id for each in listed}
    assert ids == artifacts
    with FileSystemArtifactStore(str(store)).open_reader(ids["reports-power.rpt"]) as file:
        assert file.read() == b"content of power.rpt"


# ---- holding --------------------------------------------------------------------------------------


def test_claims_come_in_order_and_once(world: World) -> None:
    study, other = world.study(), world.study()
    added = [world.add(world.candidate(study), f"d{number}") for number in range(3)]
    world.add(world.candidate(other), "theirs")
    claims = [world.jobs(name).claim(study) for name in ("ada", "ben", "cem", "dan")]
    assert [claim and claim.id for claim in claims] == [*(job.id for job in added), None]
    assert len({claim.token for claim in claims if claim}) == 3
    for claim, name in zip(claims, ("ada", "ben", "cem"), strict=False):
        assert claim
        assert (claim.state, claim.attempt, claim.worker) == (RUNNING, 1, name)


def test_a_lease_that_ran_out_is_another_workers(world: World, clock: Clock) -> None:
    study = world.study()
    world.add(world.candidate(study))
    old = claimed(world.jobs("late"), study)
    clock.pass_(LEASE)
    assert world.jobs("heir").claim(study) is None, "to the second, it holds"
    assert world.jobs("late").renew(old)
    clock.pass_(LEASE)
    assert world.jobs("heir").claim(study) is None
    clock.pass_(0.001)
    new = claimed(world.jobs("heir"), study)
    assert (new.id, new.attempt, new.worker) == (old.id, 2, "heir")
    assert new.token != old.token
    assert world.jobs("third").claim(study) is None


@pytest.mark.parametrize("ended", [False, True])
def test_a_late_worker_changes_nothing(world: World, clock: Clock, ended: bool) -> None:
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate)
    late, heir = world.jobs("late"), world.jobs("heir")
    old = claimed(late, study)
    clock.pass_(LEASE + 1)
    new = claimed(heir, study)
    if ended:
        assert heir.finish(new, ok(1), {}, 1.0) == DONE
    before = world.rows(JOBS), world.attributes(candidate)
    clock.pass_(1)
    for verdict in (ok(2), bad(Outcome.TOOL_FAILED), bad(Outcome.LICENCE_MISSING), bad(Outcome.KILLED)):
        assert late.finish(old, verdict, {"a": "b"}, 9.0) is None
    assert [late.renew(old), late.tell(old, "x"), late.release(old), late.release(old, tried=True)] == [
        False
    ] * 4
    assert (world.rows(JOBS), world.attributes(candidate)) == before
    assert world.storage.get_trial_system_attrs(candidate.trial_id) == {}
    if not ended:
        assert heir.finish(new, ok(1), {}, 1.0) == DONE
    assert [result["lut"] for result in world.attributes(candidate)["synthesis"]] == [1]


def test_what_is_released_was_not_tried(world: World) -> None:
    study = world.study()
    world.add(world.candidate(study))
    for _ in range(2 * MAX_ATTEMPTS):
        claim = claimed(world.jobs(), study)
        assert claim.attempt == 1
        assert world.jobs().release(claim)
        assert not world.jobs().release(claim)
    claim = claimed(world.jobs(), study)
    assert world.jobs().release(claim, tried=True)
    assert claimed(world.jobs(), study).attempt == 2


def test_a_job_that_outlives_its_workers_ends_as_killed_and_says_so(world: World, clock: Clock) -> None:
    study = world.study()
    candidate, other = world.candidate(study), world.candidate(study)
    deadly = world.add(candidate, "deadly")
    harmless = world.add(other, "harmless")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        job = claimed(world.jobs(f"victim {attempt}"), study)
        assert (job.id, job.attempt) == (deadly.id, attempt)
        clock.pass_(LEASE + 1)
    assert claimed(world.jobs("survivor"), study).id == harmless.id, "it goes on with the next one"
    job = world.jobs().of_study(study)[0]
    assert (job.state, job.outcome, job.attempt) == (DONE, Outcome.KILLED, MAX_ATTEMPTS)
    assert job.evidence == (
        f"victim {MAX_ATTEMPTS} died over it, in attempt {MAX_ATTEMPTS} of {MAX_ATTEMPTS}",
    )
    (about,) = world.attributes(candidate)["synthesis_jobs"]
    assert (about["outcome"], about["evidence"]) == ("killed", list(job.evidence))
    assert world.attributes(other) == {}


def test_only_what_the_dead_of_this_machine_held_is_handed_back(world: World) -> None:
    study = world.study()
    host, gone = socket.gethostname(), 2**22 + 1  # above the kernel's highest process
    names = [
        f"{host}:{gone}:1",
        f"elsewhere:{gone}:1",
        worker_name(),
        f"{host}:{gone}:2",
        f"{host}:{os.getpid()}:1",
    ]
    for number in range(len(names)):
        world.add(world.candidate(study), f"d{number}")
    claims = [claimed(world.jobs(name), study) for name in names]
    world.jobs(names[3]).finish(claims[3], ok(), {}, 1.0)
    reaper = world.jobs("reaper")
    assert reaper.reap(study) == 2
    assert [claimed(reaper, study).id for _ in range(2)] == [claims[0].id, claims[4].id]
    assert reaper.claim(study) is None
    assert world.jobs(names[1]).renew(claims[1])
    assert world.jobs(names[2]).renew(claims[2])
    assert not world.jobs(names[0]).renew(claims[0])


def test_the_last_line_of_a_log_is_told_and_forgotten_with_the_next_attempt(world: World) -> None:
    study = world.study()
    world.add(world.candidate(study))
    claim = claimed(world.jobs(), study)
    assert world.jobs().tell(claim, "Starting synth_design")
    assert world.jobs().of_study(study)[0].last_line == "Starting synth_design"
    world.jobs().release(claim)
    assert claimed(world.jobs(), study).last_line == ""


# ---- ends that are none ---------------------------------------------------------------------------


def test_a_missing_licence_is_waited_for_and_not_counted(world: World, clock: Clock) -> None:
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate)
    jobs = world.jobs()
    for waits in range(9):
        claim = claimed(jobs, study)
        assert (claim.attempt, claim.licence_waits) == (1, waits)
        assert jobs.finish(claim, bad(Outcome.LICENCE_MISSING), {}, 1.0) == WAITING
        (job,) = jobs.of_study(study)
        assert (job.state, job.outcome, job.evidence) == (WAITING, None, ("ERROR: licence missing",))
        wait = min(queue.LICENCE_WAIT * 2**waits, queue.LONGEST_LICENCE_WAIT)
        assert job.not_before == clock.now + wait
        clock.pass_(wait - 0.001)
        assert jobs.claim(study) is None
        clock.pass_(0.001)
    assert world.attributes(candidate) == {}, "nothing has ended yet"
    assert jobs.finish(claimed(jobs, study), ok(), {}, 1.0) == DONE
    assert [result["lut"] for result in world.attributes(candidate)["synthesis"]] == [100]
    assert jobs.of_study(study)[0].evidence == ()


def test_no_licence_is_waited_for_without_end(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_LICENCE_WAITS", 2)
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate)
    jobs = world.jobs()
    states = []
    for _ in range(3):
        states.append(jobs.finish(claimed(jobs, study), bad(Outcome.LICENCE_MISSING), {}, 1.0))
        clock.pass_(queue.LONGEST_LICENCE_WAIT)
    assert states == [WAITING, WAITING, DONE]
    assert world.attributes(candidate)["synthesis_jobs"][0]["outcome"] == "licence missing"
    assert jobs.retry(study) == 1
    assert jobs.finish(claimed(jobs, study), bad(Outcome.LICENCE_MISSING), {}, 1.0) == WAITING


def test_a_tool_that_failed_is_tried_again_ever_later_but_not_for_ever(world: World, clock: Clock) -> None:
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate)
    jobs = world.jobs()
    waits = []
    for attempt in range(1, MAX_ATTEMPTS):
        claim = claimed(jobs, study)
        assert claim.attempt == attempt
        assert jobs.finish(claim, bad(Outcome.TOOL_FAILED), {}, 1.0) == WAITING
        waits.append(jobs.of_study(study)[0].not_before - clock.now)
        clock.pass_(waits[-1] - 0.001)
        assert jobs.claim(study) is None
        clock.pass_(0.001)
    assert waits == sorted(set(waits)), "each longer than the one before"
    assert min(waits) >= queue.RETRY_AFTER
    assert jobs.finish(claimed(jobs, study), bad(Outcome.TOOL_FAILED), {"log": "id"}, 1.0) == DONE
    clock.pass_(1e9)
    assert jobs.claim(study) is None
    (about,) = world.attributes(candidate)["synthesis_jobs"]
    assert (about["outcome"], about["evidence"]) == ("tool failed", ["ERROR: tool failed"])
    assert world.attributes(candidate)["synthesis"] == []


def test_the_tools_failures_stand_beside_the_workers_death(world: World, clock: Clock) -> None:
    study = world.study()
    world.add(world.candidate(study))
    for _ in range(MAX_ATTEMPTS - 1):
        world.jobs().finish(claimed(world.jobs(), study), bad(Outcome.TOOL_FAILED), {}, 1.0)
        clock.pass_(1e6)
    claimed(world.jobs("last"), study)
    clock.pass_(1e6)
    assert world.jobs().claim(study) is None
    (job,) = world.jobs().of_study(study)
    assert job.outcome is Outcome.KILLED
    assert job.evidence[0].startswith("last died over it")
    assert job.evidence[1:] == ("ERROR: tool failed",)


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.DESIGN_FAILED, Outcome.TIMED_OUT, Outcome.KILLED])
def test_other_ends_are_ends(world: World, clock: Clock, outcome: Outcome) -> None:
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate)
    jobs = world.jobs()
    claim = claimed(jobs, study)
    assert jobs.finish(claim, ok() if outcome is Outcome.OK else bad(outcome), {}, 3.5) == DONE
    clock.pass_(1e9)
    assert jobs.claim(study) is None
    assert jobs.reap(study) == 0
    (job,) = jobs.of_study(study)
    assert (job.outcome, job.seconds, job.attempt, job.token) == (outcome, 3.5, 1, "")
    assert world.attributes(candidate)["synthesis_jobs"][0]["outcome"] == outcome.value


def test_retry_takes_what_could_end_otherwise_of_this_study_only(world: World, clock: Clock) -> None:
    study, other = world.study(), world.study()
    jobs = world.jobs()
    for outcome in Outcome:
        world.add(world.candidate(study), outcome.value[:16])
    shared = world.candidate(other)
    world.add(shared, Outcome.KILLED.value)
    world.add(shared, "theirs")
    for _ in range(200):
        job = jobs.claim(study)
        if job is not None:
            outcome = Outcome(next(o for o in Outcome if o.value[:16] == job.design))
            jobs.finish(job, ok() if outcome is Outcome.OK else bad(outcome), {}, 1.0)
        clock.pass_(queue.LONGEST_LICENCE_WAIT)
    jobs.finish(claimed(jobs, other), bad(Outcome.KILLED), {}, 1.0)
    assert all(job.state == DONE for job in jobs.of_study(study))
    assert jobs.retry(study) == len(Outcome) - 2
    assert jobs.retry(study) == 0
    states = {job.design: (job.state, job.attempt) for job in jobs.of_study(study)}
    assert {design for design, (state, _) in states.items() if state == DONE} == {"ok", "design failed"}
    assert {attempt for state, attempt in states.values() if state == WAITING} == {0}
    assert {job.design: job.state for job in jobs.of_study(other)} == {"killed": WAITING, "theirs": DONE}
    while (job := jobs.claim(study)) is not None:
        assert job.attempt == 1
        jobs.finish(job, ok(7), {}, 1.0)
    (about,) = world.attributes(shared)["synthesis"]
    assert about["lut"] == 7, "the trial of the other study has what the second try found, too"


# ---- many at once ---------------------------------------------------------------------------------

AT_ONCE = 6


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Call all in the same moment, each in a thread of its own."""
    gate = threading.Barrier(len(calls))

    def start(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=300) for future in [pool.submit(start, call) for call in calls]]


def test_workers_at_once_never_claim_the_same(world: World) -> None:
    study = world.study()
    candidate = world.candidate(study)
    added = {world.add(candidate, f"d{number}").id for number in range(30)}

    def take(worker: str) -> list[int]:
        jobs, mine = world.jobs(worker), []
        while (job := jobs.claim(study)) is not None:
            mine.append(job.id)
        return mine

    taken = together(*(partial(take, f"w{number}") for number in range(AT_ONCE)))
    assert sorted(job for mine in taken for job in mine) == sorted(added)


def test_asking_at_once_makes_one_job(world: World) -> None:
    for number in range(5):
        study = world.study()
        candidates = [world.candidate(study) for _ in range(AT_ONCE)]
        asking = [*candidates, candidates[0]]
        answers = together(*(partial(world.jobs().add, c, f"d{number}", VIVADO, "s", {}) for c in asking))
        assert sum(new for _, new in answers) == 1
        assert len({job.id for job, _ in answers}) == 1
        assert {c.trial_id for c, _ in world.jobs().candidates(study)} == {c.trial_id for c in candidates}


def test_who_asks_while_a_job_ends_gets_its_results(world: World) -> None:
    """Neither may the end miss the candidate, nor the candidate the end."""
    for number in range(10):
        study = world.study()
        first, late = world.candidate(study), world.candidate(study)
        world.add(first, f"d{number}")
        claim = claimed(world.jobs(), study)
        together(partial(world.jobs().finish, claim, ok(), {}, 1.0), partial(world.add, late, f"d{number}"))
        assert world.attributes(late) == world.attributes(first) != {}


def test_jobs_of_one_trial_that_end_at_once_lose_nothing(world: World) -> None:
    targets = (VIVADO, ROUTED, YOSYS)
    for number in range(5):
        study = world.study()
        # Two trials with the same jobs: each end writes to both, and none may wait for the other for ever.
        candidates = [world.candidate(study), world.candidate(study)]
        for candidate in candidates:
            for target in targets:
                world.add(candidate, f"d{number}", target)
        claims = [claimed(world.jobs(), study) for _ in targets]
        finish = world.jobs().finish
        ended = together(*(partial(finish, c, ok(c.id), {f"{c.id}.rpt": str(c.id)}, 1.0) for c in claims))
        assert ended == [DONE] * len(targets)
        for candidate in candidates:
            about = world.attributes(candidate)
            assert [result["lut"] for result in about["synthesis"]] == [claim.id for claim in claims]
            assert len(about["synthesis_jobs"]) == len(targets)
            trial = world.storage.get_trial(candidate.trial_id)
            assert len(get_all_artifact_meta(trial, storage=world.storage)) == len(targets)


def test_the_second_end_of_a_trial_waits_for_the_first(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above leaves to chance: the first has written, and not yet committed."""
    storage = open_storage(postgresql_url)
    world = World(storage)
    study = world.study()
    candidate = world.candidate(study)
    world.add(candidate, "d", VIVADO)
    world.add(candidate, "d", ROUTED)
    first, second = (claimed(world.jobs(), study) for _ in range(2))
    written, write = threading.Event(), trial_results.write
    watcher = sa.create_engine(postgresql_url)
    ends: dict[str, Any] = {}

    def other_waits_or_is_through() -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with watcher.connect() as connection:
            return bool(connection.exec_driver_sql(query).scalar()) or "second" in ends

    def slow(connection: sa.Connection, job_id: int) -> None:
        write(connection, job_id)
        if job_id == first.id:
            written.set()
            deadline = time.monotonic() + 60
            while not other_waits_or_is_through():
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def finish_second() -> None:
        assert written.wait(60)
        ends["second"] = world.jobs().finish(second, ok(2), {}, 1.0)

    monkeypatch.setattr(trial_results, "write", slow)
    together(partial(world.jobs().finish, first, ok(1), {}, 1.0), finish_second)
    assert [result["lut"] for result in world.attributes(candidate)["synthesis"]] == [1, 2]
    watcher.dispose()
    storage.engine.dispose()


def test_a_server_that_was_away_is_found_again(postgresql_url: str) -> None:
    storage = open_storage(postgresql_url)
    world = World(storage)
    study = world.study()
    world.add(world.candidate(study))
    claim = claimed(world.jobs(), study)
    other = sa.create_engine(postgresql_url)
    with other.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert world.jobs().finish(claim, ok(), {}, 1.0) == DONE
    other.dispose()
    storage.engine.dispose()


# ---- any order of events, against a model ---------------------------------------------------------

ALIVE, DEAD = worker_name(), f"{socket.gethostname()}:{2**22 + 1}:1"
TARGETS = (VIVADO, ROUTED)
numbers = st.integers(0, 50)
studies = st.integers(0, 1)


class JobsMachine(RuleBasedStateMachine):
    """Whatever workers do in whatever order, the tables say what these plain lists say."""

    world: World
    clock: Clock
    rounds = iter(range(10**6))

    @initialize()
    def start(self) -> None:
        self.round = next(self.rounds)
        self.studies = [self.world.study(), self.world.study()]
        self.trials = [self.world.candidate(study) for study in self.studies for _ in range(2)]
        self.model: list[dict[str, Any]] = []
        self.claims: list[Job] = []
        self.written: dict[int, list[tuple[int, str]]] = {}

    def of_study(self, study: int) -> list[dict[str, Any]]:
        mine = {c.trial_id for c in self.trials if c.study_id == self.studies[study]}
        return [job for job in self.model if job["waiting"] & mine]

    def end(self, job: dict[str, Any], outcome: Outcome) -> None:
        job.update(state=DONE, outcome=outcome, token="")
        self.write(job)

    def write(self, job: dict[str, Any]) -> None:
        for trial in job["waiting"]:
            done = [j for j in self.model if trial in j["waiting"] and j["state"] == DONE]
            self.written[trial] = [(j["id"], j["outcome"].value) for j in done]

    @rule(trial=st.integers(0, 3), design=st.integers(0, 1), stage=st.integers(0, 1))
    def add(self, trial: int, design: int, stage: int) -> None:
        key = (f"{self.round}-{design}", stage)
        known = next((job for job in self.model if job["key"] == key), None)
        candidate = self.trials[trial]
        job, new = self.world.jobs().add(candidate, key[0], TARGETS[stage], "s", {})
        assert new is (known is None)
        if known is None:
            known = {"id": job.id, "key": key, "state": WAITING, "outcome": None, "attempt": 0, "waits": 0}
            known.update(not_before=0.0, lease=0.0, token="", worker="", waiting=set())
            self.model.append(known)
        assert (job.id, job.state) == (known["id"], known["state"])
        known["waiting"].add(candidate.trial_id)
        if known["state"] == DONE:
            self.write(known)

    @rule(study=studies, worker=st.sampled_from([ALIVE, DEAD]))
    def claim(self, study: int, worker: str) -> None:
        expected = None
        for job in self.of_study(study):
            free = job["state"] == WAITING and job["not_before"] <= self.clock.now
            if free or (job["state"] == RUNNING and job["lease"] < self.clock.now):
                if job["attempt"] < MAX_ATTEMPTS:
                    expected = job
                    break
                self.end(job, Outcome.KILLED)
        claim = self.world.jobs(worker).claim(self.studies[study])
        if expected is None:
            assert claim is None
            return
        assert claim is not None
        assert claim.token not in {earlier.token for earlier in self.claims}
        expected.update(state=RUNNING, attempt=expected["attempt"] + 1, worker=worker, token=claim.token)
        expected["lease"] = self.clock.now + LEASE
        assert (claim.id, claim.attempt) == (expected["id"], expected["attempt"])
        self.claims.append(claim)

    def holder(self, number: int) -> tuple[Job, dict[str, Any] | None]:
        """Return a claim, made long ago perhaps, and its job if the claim still holds it."""
        claim = self.claims[number % len(self.claims)]
        job = next(job for job in self.model if job["id"] == claim.id)
        return claim, job if job["token"] == claim.token else None

    @precondition(lambda self: self.claims)
    @rule(number=numbers, outcome=st.sampled_from(Outcome))
    def finish(self, number: int, outcome: Outcome) -> None:
        claim, job = self.holder(number)
        state = self.world.jobs().finish(claim, ok() if outcome is Outcome.OK else bad(outcome), {}, 1.0)
        if job is None:
            assert state is None
            return
        if outcome is Outcome.LICENCE_MISSING:
            wait = min(queue.LICENCE_WAIT * 2 ** job["waits"], queue.LONGEST_LICENCE_WAIT)
            job.update(attempt=job["attempt"] - 1, waits=job["waits"] + 1)
        elif outcome is Outcome.TOOL_FAILED and job["attempt"] < MAX_ATTEMPTS:
            wait = queue.RETRY_AFTER * 2 ** job["attempt"]
        else:
            assert state == DONE
            self.end(job, outcome)
            return
        assert state == WAITING
        job.update(state=WAITING, token="", not_before=self.clock.now + wait)

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def renew(self, number: int) -> None:
        claim, job = self.holder(number)
        assert self.world.jobs().renew(claim) is (job is not None)
        if job is not None:
            job["lease"] = self.clock.now + LEASE

    @precondition(lambda self: self.claims)
    @rule(number=numbers, tried=st.booleans())
    def release(self, number: int, tried: bool) -> None:
        claim, job = self.holder(number)
        assert self.world.jobs().release(claim, tried=tried) is (job is not None)
        if job is not None:
            job.update(state=WAITING, token="", attempt=job["attempt"] - (not tried))

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def tell(self, number: int) -> None:
        claim, job = self.holder(number)
        assert self.world.jobs().tell(claim, "line") is (job is not None)

    @rule(study=studies)
    def reap(self, study: int) -> None:
        dead = [j for j in self.of_study(study) if j["state"] == RUNNING and j["worker"] == DEAD]
        assert self.world.jobs().reap(self.studies[study]) == len(dead)
        for job in dead:
            job["lease"] = 0.0

    @rule(study=studies)
    def retry(self, study: int) -> None:
        worth = [
            job
            for job in self.of_study(study)
            if job["state"] == DONE and job["outcome"] not in (Outcome.OK, Outcome.DESIGN_FAILED)
        ]
        assert self.world.jobs().retry(self.studies[study]) == len(worth)
        for job in worth:
            job.update(state=WAITING, outcome=None, attempt=0, waits=0, not_before=0.0)

    @rule(seconds=st.sampled_from([1.0, 20.0, LEASE + 1, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_(seconds)

    @invariant()
    def agrees(self) -> None:
        with self.world.engine.connect() as connection:
            ids = [job["id"] for job in self.model]
            rows = (
                connection.execute(sa.select(JOBS).where(JOBS.c.id.in_(ids)).order_by(JOBS.c.id))
                .mappings()
                .all()
            )
            noted = (
                connection.execute(sa.select(CANDIDATES).where(CANDIDATES.c.job_id.in_(ids))).mappings().all()
            )
        assert [(r["id"], r["state"], r["attempt"], r["licence_waits"], r["token"]) for r in rows] == [
            (j["id"], j["state"], j["attempt"], j["waits"], j["token"]) for j in self.model
        ]
        for row, job in zip(rows, self.model, strict=True):
            assert row["outcome"] == (job["outcome"] and job["outcome"].value)
            assert row["state"] != RUNNING or (row["worker"], row["lease_until"]) == (
                job["worker"],
                job["lease"],
            )
            assert row["state"] != WAITING or row["not_before"] == job["not_before"]
            assert {c["trial_id"] for c in noted if c["job_id"] == row["id"]} == job["waiting"]
        for candidate in self.trials:
            about = self.world.attributes(candidate)
            expected = self.written.get(candidate.trial_id)
            if expected is None:
                assert about == {}
                continue
            assert [(job["job"], job["outcome"]) for job in about["synthesis_jobs"]] == expected
            assert len(about["synthesis"]) == sum(outcome == "ok" for _, outcome in expected)


def test_any_order_of_events(world: World, clock: Clock) -> None:
    machine = type("Machine", (JobsMachine,), {"world": world, "clock": clock})
    case = machine.TestCase
    case.settings = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case("runTest").debug()
