"""A synthesis worker with a stand-in for Vivado: what its runs leave in the database, on disk, running."""

import errno
import gzip
import io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import create_trial

from sweep import home
from sweep.artifacts.stores import FolderStore
from sweep.storage import lease
from sweep.storage.schema import JOBS
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile
from sweep.synthesis import jobs as queue
from sweep.synthesis import keeping
from sweep.synthesis import worker as working
from sweep.synthesis.jobs import DONE, MAX_ATTEMPTS, RUNNING, WAITING, Candidate, Job, Jobs
from sweep.synthesis.process import Ending, Limits, run_process
from sweep.synthesis.result import Outcome, Verdict
from sweep.synthesis.tool import Command
from sweep.synthesis.vivado import Vivado
from sweep.synthesis.worker import JobEnded, SynthesisWorker
from sweep.worker.name import worker_name
from tests.sweep.synthesis import stand_in_vivado as figures

Processes = Callable[[], list[psutil.Process]]
Eventually = Callable[[Callable[[], bool]], None]

#: A worker on another machine, of which nobody here knows whether it lives.
ELSEWHERE = "elsewhere:1:1"


class Bench:
    """A study whose only candidates are made by hand, and workers for it."""

    def __init__(self, study: Study, student: Path) -> None:
        self.study = study
        self.student = student
        self.jobs = Jobs(study.storage.engine, worker_name())
        self.told: list[JobEnded] = []
        self.stop = threading.Event()

    def add(self, design: str = "design", student: Path | None = None) -> tuple[Job, int]:
        """Queue a design; return its job and the trial that waits for it."""
        trial = self.study.storage.create_new_trial(self.study.id, create_trial(values=[0.9, 4000.0]))
        number = self.study.storage.get_trial(trial).number
        candidate = Candidate(self.study.id, trial, number, "front", {})
        folder = str(student or self.student)
        return self.jobs.add(candidate, design, self.study.file.target, folder, {})[0], trial

    def worker(self, **options: Any) -> SynthesisWorker:
        return SynthesisWorker(self.study, self.jobs, stop=self.stop, tell=self.told.append, **options)

    @contextmanager
    def at_work(self) -> Iterator["Future[int]"]:
        """Let a worker work beside the block, and no longer."""
        with ThreadPoolExecutor(1) as pool:
            try:
                yield pool.submit(self.worker().work)
            finally:
                self.stop.set()

    def job(self, number: int = 0) -> Job:
        return self.jobs.of_study(self.study.id)[number]

    def attributes(self, trial: int) -> dict[str, Any]:
        return dict(self.study.storage.get_trial(trial).user_attrs)

    def artifacts(self, trial: int) -> dict[str, bytes]:
        """Return what Optuna lists as the artifacts of a trial, and what they hold."""
        store = FileSystemArtifactStore(str(home.artifacts_folder()))
        found = {}
        frozen = self.study.storage.get_trial(trial)
        for each in get_all_artifact_meta(frozen, storage=self.study.storage):
            with store.open_reader(each.artifact_id) as file:
                found[each.filename] = file.read()
        return found

    def folders(self) -> list[Path]:
        folder = home.synthesis_folder(self.study.name)
        return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "POLL", 0.02)
    monkeypatch.setattr(working, "TELL_EVERY", 0.0)
    monkeypatch.setattr(queue, "RETRY_AFTER", 0.001)
    monkeypatch.setattr(queue, "LICENCE_WAIT", 0.05)


@pytest.fixture
def bench_of(
    storage: RDBStorage,
    study_file: Callable[..., StudyFile],
    sweep_home: Path,
    adder_graph_folder: Path,
    stand_in_vivado: Callable[[str], None],
    marked_processes: Processes,
) -> Iterator[Callable[..., Bench]]:
    """Makes a bench for a study with these settings of synthesis, where nothing may be left behind."""
    made: list[Bench] = []

    def make(**synthesis: Any) -> Bench:
        file = study_file(synthesis={"tool": "vivado", **synthesis})
        made.append(Bench(create_or_resume(storage, file)[0], adder_graph_folder))
        return made[-1]

    yield make
    for bench in made:
        bench.stop.set()
        assert bench.folders() == []


@pytest.fixture
def bench(bench_of: Callable[..., Bench]) -> Bench:
    return bench_of()


# ---- how a run ends -------------------------------------------------------------------------------


def test_a_success_is_stored_with_all_that_belongs_to_it(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(stage="routed", keep_checkpoint=True)
    job, trial = bench.add()
    assert bench.worker().work() == 1
    done = bench.job()
    assert (done.id, done.state, done.outcome, done.attempt) == (job.id, DONE, Outcome.OK, 1)
    assert (done.token, done.evidence, done.worker) == ("", (), worker_name())
    assert done.seconds > 0
    assert [(r["stage"], r["lut"], r["ff"], r["dsp"]) for r in done.results] == [
        (stage, figures.LUT[stage], figures.FF[stage], figures.DSP) for stage in ("synthesized", "routed")
    ]
    about = bench.attributes(trial)
    assert about["synthesis"] == list(done.results)
    assert about["synthesis_jobs"] == [
        {"job": job.id, "tool": "vivado", "outcome": "ok", "evidence": [], "seconds": done.seconds}
    ]
    artifacts = bench.artifacts(trial)
    assert set(artifacts) == set(done.artifacts)
    assert {"vivado.log", "synthesize.tcl", "rtl.zip", "synthesized.dcp", "routed.dcp"} < set(artifacts)
    assert figures.ORIGIN.encode() in artifacts["reports-routed_timing.rpt"]
    assert b"synth_design" in artifacts["synthesize.tcl"]
    with zipfile.ZipFile(io.BytesIO(artifacts["rtl.zip"])) as rtl:
        assert any(name.endswith(".v") for name in rtl.namelist())
    (ended,) = bench.told
    assert (ended.job.id, ended.verdict.outcome, ended.state) == (job.id, Outcome.OK, DONE)


@pytest.mark.parametrize(
    ("ending", "outcome", "attempts"),
    [
        ("error, exit 1", Outcome.DESIGN_FAILED, 1),
        ("error, all there", Outcome.DESIGN_FAILED, 1),
        ("killed", Outcome.KILLED, 1),
        ("crash", Outcome.KILLED, 1),
        ("exit 12, all there", Outcome.TOOL_FAILED, MAX_ATTEMPTS),
        ("no sentinel", Outcome.TOOL_FAILED, MAX_ATTEMPTS),
        ("cut timing", Outcome.TOOL_FAILED, MAX_ATTEMPTS),
    ],
)
def test_a_failure_is_stored_with_its_evidence_and_never_figures(
    bench: Bench, stand_in_vivado: Callable[[str], None], ending: str, outcome: Outcome, attempts: int
) -> None:
    stand_in_vivado(ending)
    _, trial = bench.add()
    assert bench.worker().work() == 1
    job = bench.job()
    assert (job.state, job.outcome, job.attempt, job.results) == (DONE, outcome, attempts, ())
    assert job.evidence
    assert all(line.isprintable() for line in job.evidence)
    about = bench.attributes(trial)
    assert about["synthesis"] == []
    assert [(each["outcome"], each["evidence"]) for each in about["synthesis_jobs"]] == [
        (outcome.value, list(job.evidence))
    ]
    assert figures.ORIGIN.encode() in bench.artifacts(trial)["vivado.log"], "the log is kept"
    assert [ended.state for ended in bench.told] == [WAITING] * (attempts - 1) + [DONE]


def test_a_daemon_does_not_outlive_its_run(
    bench: Bench, stand_in_vivado: Callable[[str], None], marked_processes: Processes
) -> None:
    stand_in_vivado("daemon")
    bench.add()
    assert bench.worker().work() == 1
    assert bench.job().outcome is Outcome.OK
    assert marked_processes() == []


def test_a_missing_licence_is_waited_for(bench: Bench, stand_in_vivado: Callable[[str], None]) -> None:
    stand_in_vivado("licence at the second start")
    _, trial = bench.add()
    assert bench.worker().work() == 1
    assert [(ended.verdict.outcome, ended.state) for ended in bench.told] == [
        (Outcome.LICENCE_MISSING, WAITING),
        (Outcome.OK, DONE),
    ]
    job = bench.job()
    assert (job.outcome, job.attempt, job.licence_waits, job.evidence) == (Outcome.OK, 1, 1, ())
    assert [result["lut"] for result in bench.attributes(trial)["synthesis"]] == [figures.LUT["synthesized"]]


def test_a_student_that_is_gone_is_said_in_one_line(bench: Bench, tmp_path: Path) -> None:
    gone, there = tmp_path / "no such student", bench.student
    _, trial = bench.add("gone", gone)
    bench.add("there", there)
    assert bench.worker().work() == 2
    job, other = bench.job(0), bench.job(1)
    assert (job.outcome, job.attempt, job.seconds) == (Outcome.TOOL_FAILED, MAX_ATTEMPTS, 0.0)
    (line,) = job.evidence
    assert line.isprintable()
    assert str(gone) in line
    assert bench.artifacts(trial) == {}
    assert other.outcome is Outcome.OK, "the next one is none the worse for it"


def test_a_tool_that_is_not_installed_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench.add()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench.worker().work() == 1
    assert bench.job().outcome is Outcome.TOOL_FAILED
    assert "vivado is not installed" in bench.job().evidence[0]


# ---- limits ---------------------------------------------------------------------------------------


def test_the_studys_time_limit_ends_a_run_for_good(
    bench_of: Callable[..., Bench], stand_in_vivado: Callable[[str], None], marked_processes: Processes
) -> None:
    stand_in_vivado("hang")
    bench = bench_of(timeout_s=1.0)
    _, trial = bench.add()
    assert bench.worker().work() == 1
    job = bench.job()
    assert (job.outcome, job.attempt) == (Outcome.TIMED_OUT, 1)
    assert job.seconds >= 1.0
    assert "timed out" in job.evidence[0]
    assert bench.attributes(trial)["synthesis_jobs"][0]["outcome"] == "timed out"
    assert marked_processes() == []


def test_the_studys_memory_limit_ends_a_run_for_good(
    bench_of: Callable[..., Bench], stand_in_vivado: Callable[[str], None], marked_processes: Processes
) -> None:
    stand_in_vivado("memory")
    bench = bench_of(memory_gib=0.1)
    bench.add()
    assert bench.worker().work() == 1
    job = bench.job()
    assert (job.outcome, job.attempt) == (Outcome.KILLED, 1)
    assert "memory limit" in job.evidence[0]
    assert marked_processes() == []


class Steps(Vivado):
    """A few commands of a shell instead of Vivado's; notes what was judged."""

    scripts: tuple[str, ...] = ()
    judged: tuple[Ending, ...] = ()

    def commands(self, folder: Path) -> tuple[Command, ...]:
        return tuple(Command(("/bin/sh", "-c", script), "output.log") for script in self.scripts)

    def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
        type(self).judged = endings
        return Verdict(Outcome.DESIGN_FAILED, ("judged",))


def test_commands_run_in_order_until_one_ends_badly_within_one_limit(
    bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Limits] = []

    def run(*arguments: Any, **options: Any) -> Ending:
        limits.append(arguments[3])
        return run_process(*arguments, **options)

    monkeypatch.setattr(working, "run_process", run)
    bench = bench_of(timeout_s=3.0)
    bench.add("fails")
    kind = type("Fails", (Steps,), {"scripts": ("true", "exit 3", "echo never")})
    bench.worker(tools=kind).work()
    assert [ending.exit_code for ending in kind.judged] == [0, 3]
    bench.add("hangs")
    kind = type("Hangs", (Steps,), {"scripts": ("sleep 1", "sleep 600", "echo never")})
    bench.worker(tools=kind).work()
    assert [ending.reason for ending in kind.judged] == ["exited", "timed out"]
    first, second = limits[-2:]
    assert second.seconds <= first.seconds - kind.judged[0].seconds
    assert first.seconds <= 3.0


# ---- stopped, killed, overtaken -------------------------------------------------------------------


def test_a_stop_hands_the_job_back_as_if_it_had_not_been_tried(
    bench: Bench,
    stand_in_vivado: Callable[[str], None],
    marked_processes: Processes,
    eventually: Eventually,
) -> None:
    stand_in_vivado("hang")
    _, trial = bench.add()
    with bench.at_work() as worker:
        eventually(lambda: bench.job().last_line == "Starting synth_design")
        assert bench.job().attempt == 1
        bench.stop.set()
        assert worker.result(timeout=60) == 0
    job = bench.job()
    assert (job.state, job.attempt, job.outcome, job.token) == (WAITING, 0, None, "")
    assert marked_processes() == []
    assert bench.attributes(trial) == {}
    assert bench.told == []
    stand_in_vivado("ok")
    bench.stop.clear()
    assert bench.worker().work() == 1
    assert (bench.job().outcome, bench.job().attempt) == (Outcome.OK, 1)


def test_a_run_that_takes_long_keeps_its_lease(
    bench: Bench,
    stand_in_vivado: Callable[[str], None],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.2)
    stand_in_vivado("hang")
    bench.add()
    with bench.at_work():
        eventually(lambda: bench.job().state == RUNNING)
        first = bench.job().lease_until
        eventually(lambda: bench.job().lease_until > first)
        second = bench.job().lease_until
        eventually(lambda: bench.job().lease_until > second)


@pytest.mark.parametrize("lost", [False, True])
def test_a_lease_is_renewed_until_it_is_lost_whenever_the_database_is_away(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.02)
    calls: list[int] = []

    def renew() -> bool:
        calls.append(len(calls))
        if len(calls) % 2:
            raise sa.exc.OperationalError("UPDATE", {}, ValueError("connection refused"))
        return not lost

    threads = threading.active_count()
    with lease.kept(renew):
        if lost:
            eventually(lambda: threading.active_count() == threads)
        else:
            eventually(lambda: len(calls) >= 5)
    assert threading.active_count() == threads
    assert not lost or len(calls) == 2


def test_a_worker_that_is_to_stop_takes_nothing(bench: Bench) -> None:
    bench.add()
    bench.stop.set()
    assert bench.worker().work() == 0
    assert bench.job().attempt == 0


def test_a_run_that_a_person_has_ended_is_not_begun_again(
    bench: Bench, stand_in_vivado: Callable[[str], None], eventually: Eventually
) -> None:
    """Handed back, it would be taken again at once, and again."""
    stand_in_vivado("hang")
    bench.add()
    with bench.at_work() as worker:
        eventually(lambda: bench.job().last_line == "Starting synth_design")
        # Other tests of this process may have left it children of their own.
        children = psutil.Process().children()
        (keeper,) = (p for p in children if any("keeper.py" in part for part in p.cmdline()))
        keeper.send_signal(signal.SIGTERM)
        assert worker.result(timeout=60) == 1
    assert (bench.job().outcome, bench.job().attempt) == (Outcome.KILLED, 1)


WORKER = """
import sys
from sweep.storage.database import open_storage
from sweep.study import load
from sweep.synthesis.jobs import Jobs
from sweep.synthesis.worker import SynthesisWorker
from sweep.worker.name import worker_name
study = load(open_storage(sys.argv[1]), sys.argv[2])
SynthesisWorker(study, Jobs(study.storage.engine, worker_name())).work()
"""


def test_a_killed_worker_leaves_no_tool_and_its_job_to_the_next(
    bench: Bench,
    storage_url: str,
    stand_in_vivado: Callable[[str], None],
    marked_processes: Processes,
    eventually: Eventually,
) -> None:
    stand_in_vivado("hang")
    _, trial = bench.add()
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER, storage_url, bench.study.name])
    try:
        eventually(lambda: bench.job().last_line != "")
        assert len(marked_processes()) >= 3, "worker, keeper, tool"
        assert bench.job().worker == worker_name(process.pid)
    finally:
        process.kill()
    # Its parent, here, has not waited for it yet: a zombie is dead enough.
    eventually(lambda: not marked_processes())
    assert len(bench.folders()) == 1
    stand_in_vivado("ok")
    assert bench.worker().work() == 1
    process.wait()
    job = bench.job()
    assert (job.outcome, job.attempt, job.worker) == (Outcome.OK, 2, worker_name())
    assert [result["lut"] for result in bench.attributes(trial)["synthesis"]] == [figures.LUT["synthesized"]]
    (folder,) = bench.folders()  # what the killed one could not remove
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()


def test_a_worker_that_was_overtaken_stores_nothing(bench: Bench) -> None:
    _, trial = bench.add()
    heir = Jobs(bench.study.storage.engine, ELSEWHERE)
    taken: list[Job] = []

    class Overtaken(Vivado):
        def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
            with bench.study.storage.engine.begin() as connection:
                connection.execute(sa.update(JOBS).values(lease_until=0.0))
            job = heir.claim(bench.study.id)
            assert job is not None
            taken.append(job)
            return super().judge(folder, endings)

    def heir_ends(ended: JobEnded) -> None:
        bench.told.append(ended)
        assert bench.attributes(trial) == {}
        assert heir.finish(taken[0], Verdict(Outcome.DESIGN_FAILED, ("heir's",)), {}, 1.0) == DONE

    worker = SynthesisWorker(bench.study, bench.jobs, tell=heir_ends, tools=Overtaken)
    assert worker.work() == 0
    assert [ended.state for ended in bench.told] == [None]
    assert (bench.job().outcome, bench.job().evidence) == (Outcome.DESIGN_FAILED, ("heir's",))
    assert bench.attributes(trial)["synthesis"] == []
    assert bench.artifacts(trial) == {}


def test_workers_side_by_side_share_the_queue(bench: Bench) -> None:
    trials = [bench.add(f"design {number}")[1] for number in range(6)]
    worker = bench.worker()
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(lambda _: worker.work(), range(3))) == len(trials)
    assert sorted(ended.job.id for ended in bench.told) == [
        job.id for job in bench.jobs.of_study(bench.study.id)
    ]
    for trial in trials:
        assert len(bench.attributes(trial)["synthesis"]) == 1
        assert bench.artifacts(trial)


# ---- what should not happen -----------------------------------------------------------------------


@pytest.mark.parametrize(("problem", "attempts"), [(ZeroDivisionError, 1), (KeyboardInterrupt, 0)])
def test_what_ends_a_worker_hands_its_job_back(
    bench: Bench, problem: type[BaseException], attempts: int, marked_processes: Processes
) -> None:
    bench.add()

    class Broken(Vivado):
        def judge(self, folder: Path, endings: tuple[Ending, ...]) -> Verdict:
            raise problem

    with pytest.raises(problem):
        bench.worker(tools=Broken).work()
    job = bench.job()
    assert (job.state, job.attempt, job.token) == (WAITING, attempts, "")
    assert marked_processes() == []


def test_a_job_over_which_every_worker_trips_does_not_stop_the_queue_for_ever(bench: Bench) -> None:
    bench.add("trips")
    bench.add("works")

    class Trips(Vivado):
        def write(self, student: Path, folder: Path) -> None:
            if "trips" in folder.name:
                raise ZeroDivisionError
            super().write(student, folder)

    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            bench.worker(tools=Trips).work()
    assert bench.worker(tools=Trips).work() == 1
    assert [job.outcome for job in bench.jobs.of_study(bench.study.id)] == [Outcome.KILLED, Outcome.OK]


def test_a_full_disk_is_said_and_its_room_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _, trial = bench.add()
    store = keeping.store
    full = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/file")]

    def store_if_room(*arguments: Any) -> dict[str, str]:
        if full:
            raise full.pop()
        return store(*arguments)

    monkeypatch.setattr(keeping, "store", store_if_room)
    assert bench.worker().work() == 1
    first, second = bench.told
    assert (first.verdict.outcome, first.state) == (Outcome.TOOL_FAILED, WAITING)
    assert first.verdict.evidence == (f"/store/file: {os.strerror(errno.ENOSPC)}",)
    assert (second.verdict.outcome, bench.job().attempt) == (Outcome.OK, 2)
    assert bench.artifacts(trial)


def test_a_folder_that_cannot_be_made_is_said(bench: Bench) -> None:
    bench.add()
    runs = home.synthesis_folder(bench.study.name)
    runs.parent.mkdir(parents=True)
    runs.touch()
    assert bench.worker().work() == 1
    assert bench.job().outcome is Outcome.TOOL_FAILED
    assert str(runs) in bench.job().evidence[0]
    runs.unlink()


def test_a_run_goes_on_while_the_database_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add()
    tries = []

    def away(job: Job, line: str) -> bool:
        tries.append(line)
        raise sa.exc.OperationalError("UPDATE", {}, ValueError("connection refused"))

    monkeypatch.setattr(bench.jobs, "tell", away)
    assert bench.worker().work() == 1
    assert tries
    assert bench.job().outcome is Outcome.OK


def test_what_is_large_is_kept_compressed_and_sources_together(tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "store"
    (run / "src" / "static").mkdir(parents=True)
    sources = [run / "src" / "a.v", run / "src" / "static" / "b.v"]
    for file in sources:
        file.write_text(file.name)
    log, checkpoint = run / "long.log", run / "routed.dcp"
    for file in (log, checkpoint):
        file.write_bytes(b"x" * (keeping.LARGE + 1))
    store.mkdir()
    found = keeping.store(run, [*sources, log, checkpoint], FolderStore(store))
    again = keeping.store(run, [*sources, log, checkpoint], FolderStore(store))
    assert set(found) == {"rtl.zip", "long.log.gz", "routed.dcp"}
    assert gzip.decompress((store / found["long.log.gz"]).read_bytes()) == log.read_bytes()
    assert (store / found["routed.dcp"]).read_bytes() == checkpoint.read_bytes()
    with zipfile.ZipFile(store / found["rtl.zip"]) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "src/a.v": b"a.v",
            "src/static/b.v": b"b.v",
        }
    for name, one in found.items():
        assert one != again[name]
        assert (store / one).read_bytes() == (store / again[name]).read_bytes(), "the same every time"
