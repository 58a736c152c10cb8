"""Many synthesis workers on one queue, a third of them killed at any moment: all is done, and done once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.trial import create_trial

from sweep import home
from sweep.storage.database import open_storage
from sweep.study import create_or_resume
from sweep.study_file import StudyFile
from sweep.synthesis.jobs import DONE, Candidate, Jobs
from sweep.synthesis.result import Outcome
from sweep.synthesis.target import Target

WORKERS = 8
#: Of 12 workers, for each that is killed is followed by another one.
KILLS = 4
TRIALS = 100
#: Each trial waits for two jobs, which often end at once.
TARGETS = (Target(tool="vivado"), Target(tool="vivado", stage="routed"))
MANY = TRIALS * len(TARGETS)
#: What has to be done before the last one is killed: then enough is left for the others.
LAST_KILL = MANY * 2 // 3


class Nursery:
    """Where workers come from; see `queue_worker.py`."""

    def __init__(self, *arguments: str) -> None:
        program = Path(__file__).with_name("queue_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.workers: list[int] = []
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write("one more\n")
        self.process.stdin.flush()
        self.workers.append(int(self._answer()))
        return self.workers[-1]

    def exit_codes(self) -> dict[int, int]:
        """Wait until all workers have ended, and return how."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        codes = json.loads(self._answer())
        assert self.process.wait(60) == 0
        return {int(worker): code for worker, code in codes.items()}

    def close(self) -> None:
        """Leave nothing behind, whatever the test has come to."""
        if self.process.poll() is None:
            for worker in psutil.Process(self.process.pid).children():
                worker.kill()
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def test_workers_that_are_killed_lose_nothing_and_double_nothing(
    any_storage_url: str,
    study_file: Callable[..., StudyFile],
    sweep_home: Path,
    tmp_path: Path,
    marked_processes: Callable[[], list[psutil.Process]],
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    storage = open_storage(any_storage_url)
    study, _ = create_or_resume(storage, study_file())
    asking = Jobs(storage.engine, "asking")
    expected = {}
    for number in range(TRIALS):
        trial = storage.create_new_trial(study.id, create_trial(values=[0.9, 4000.0]))
        for target in TARGETS:
            candidate = Candidate(study.id, trial, number, "front", {})
            job, new = asking.add(candidate, f"design {number}", target, f"/students/{number}", {})
            assert new
            expected[job.id] = (number, target.stage)

    log = tmp_path / "tool.log"
    nursery = Nursery(any_storage_url, study.name, str(log))
    deadline = time.monotonic() + 300
    killed = set()

    def wait_until_done(number: int) -> None:
        while sum(job.state == DONE for job in asking.of_study(study.id)) < number:
            assert time.monotonic() < deadline
            assert nursery.process.poll() is None
            time.sleep(0.1)

    try:
        for _ in range(WORKERS):
            nursery.start()
        for number in sorted(random.sample(range(LAST_KILL), KILLS)):
            wait_until_done(number)
            time.sleep(random.uniform(0, 0.3))
            victim = random.choice([worker for worker in nursery.workers if worker not in killed])
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            nursery.start()
        wait_until_done(MANY)
        codes = nursery.exit_codes()
    finally:
        nursery.close()

    assert codes == {worker: -signal.SIGKILL if worker in killed else 0 for worker in nursery.workers}
    eventually(lambda: not marked_processes())

    jobs = {job.id: job for job in asking.of_study(study.id)}
    assert set(jobs) == set(expected)
    assert Counter(job.outcome for job in jobs.values()) == {Outcome.OK: MANY}
    for job in jobs.values():
        number, stage = expected[job.id]
        assert [(result["lut"], result["stage"]) for result in job.results] == [(number, stage)]
        assert (job.token, job.evidence, set(job.artifacts)) == ("", (), {"result"})
    again = {job.id: job.attempt - 1 for job in jobs.values() if job.attempt > 1}
    assert sum(again.values()) <= KILLS, "only what a killed worker held was tried again"

    runs = Counter(tuple(line.rsplit(" ", 1)) for line in log.read_text().splitlines())
    for job in jobs.values():
        number, stage = expected[job.id]
        started, ended = (runs.pop((f"{number} {stage}", what), 0) for what in ("started", "ended"))
        # A worker can be killed after its claim and before its tool, or after its tool and before its end.
        assert 1 <= ended <= started <= job.attempt
    assert not runs

    store = home.artifacts_folder()
    kept = FileSystemArtifactStore(str(store))
    for trial in study.optuna.get_trials(deepcopy=False):
        found = [(result["lut"], result["stage"]) for result in trial.user_attrs["synthesis"]]
        assert found == [(trial.number, target.stage) for target in TARGETS]
        assert [job["outcome"] for job in trial.user_attrs["synthesis_jobs"]] == ["ok", "ok"]
        artifacts = get_all_artifact_meta(trial, storage=storage)
        assert len(artifacts) == len(TARGETS)
        for artifact in artifacts:
            with kept.open_reader(artifact.artifact_id) as file:
                assert file.read() == f"{trial.number}\n".encode()
    assert MANY <= len(list(store.iterdir())) <= MANY + KILLS
    left = list(home.synthesis_folder(study.name).iterdir())
    assert len(left) <= KILLS, "only a killed worker leaves its folder"
    storage.engine.dispose()
