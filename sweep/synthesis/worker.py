"""A synthesis worker: takes jobs of a study, runs their tools, and stores what came of it."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import OperationalError

from sweep import home
from sweep.artifacts.stores import FolderStore, Store, open_place
from sweep.artifacts.students import student_folder
from sweep.errors import ArtifactError, SynthesisError
from sweep.storage.trial_rows import Excerpt
from sweep.study import Study
from sweep.study_file import Synthesis
from sweep.synthesis import keeping
from sweep.synthesis.jobs import DONE, RUNNING, Job, Jobs
from sweep.synthesis.process import Ending, Limits, clean, run_process
from sweep.synthesis.result import Outcome, Verdict
from sweep.synthesis.tool import Tool
from sweep.synthesis.tools import tool_for

#: Seconds between two looks for work that others may leave behind.
POLL = 1.0
#: Seconds between two lines of a log that are written to the database.
TELL_EVERY = 2.0


@dataclass(frozen=True)
class JobEnded:
    """A job's run is over; `state` is None when the job had been lost to another worker."""

    job: Job
    verdict: Verdict
    state: str | None
    seconds: float


class SynthesisWorker:
    """Works off the jobs of one study, one at a time; any number may do so side by side."""

    def __init__(
        self,
        study: Study,
        jobs: Jobs,
        *,
        stop: threading.Event | None = None,
        tell: Callable[[JobEnded], None] | None = None,
        tools: Callable[..., Tool] = tool_for,
    ) -> None:
        self.study = study
        self.jobs = jobs
        self.stop = stop or threading.Event()
        self.tell = tell or (lambda _: None)
        self.tools = tools

    @property
    def _settings(self) -> Synthesis:
        return self.study.file.synthesis

    def work(self) -> int:
        """Take jobs until none is left, waiting for those that others hold; return how many ended here."""
        ended = 0
        while not self.stop.is_set():
            job = self.jobs.claim(self.study.id)
            if job is not None:
                ended += self._do(job)
            elif not self._wait_for_more():
                return ended
        return ended

    def _wait_for_more(self) -> bool:
        """Wait a moment for a job to come free; False when all are done."""
        left = [job for job in self.jobs.of_study(self.study.id) if job.state != DONE]
        if any(job.state == RUNNING for job in left):
            self.jobs.reap(self.study.id)
        if left:
            self.stop.wait(POLL)
        return bool(left)

    def _do(self, job: Job) -> bool:
        try:
            with self.jobs.held(job):
                return self._synthesize(job)
        except BaseException as error:
            # What one worker trips over would stop the next one, too, and for ever if it did not count.
            self.jobs.release(job, tried=isinstance(error, Exception))
            raise

    @contextmanager
    def _folder(self, job: Job) -> Iterator[Path]:
        runs = home.synthesis_folder(self.study.name)
        runs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{job.design}-{job.target.tool}-{job.attempt}-", dir=runs))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what is worth keeping is in the artifact store

    def _synthesize(self, job: Job) -> bool:
        started = time.monotonic()
        artifacts: dict[str, str] = {}
        endings: tuple[Ending, ...] = ()
        try:
            tool = self.tools(job.target, keep_checkpoint=self._settings.keep_checkpoint)
            with self._folder(job) as folder:
                tool.write(self._student(job), folder)
                endings = self._run(job, tool, folder)
                # A person, too, can have stopped it: then it is the tool's to say what became of it.
                if endings[-1].reason == "stopped" and self.stop.is_set():
                    self.jobs.release(job)
                    return False
                verdict = tool.judge(folder, endings)
                artifacts = keeping.store(folder, tool.reports(folder), self._store())
        except (SynthesisError, ArtifactError) as error:
            verdict = Verdict(Outcome.TOOL_FAILED, (clean(str(error)),))
        except OSError as error:  # a full disk, say, which may have room again
            verdict = Verdict(Outcome.TOOL_FAILED, (clean(f"{error.filename or 'disk'}: {error.strerror}"),))
        state = self.jobs.finish(job, verdict, artifacts, sum(ending.seconds for ending in endings))
        self.tell(JobEnded(job, verdict, state, time.monotonic() - started))
        return state == DONE

    def _student(self, job: Job) -> Path:
        """Return the folder of the job's student, which may have been promoted on another machine."""
        folder = Path(job.student)
        if folder.is_dir() or self.study.artifacts is None:
            return folder
        candidates = self.jobs.candidates(self.study.id)
        mine = [Excerpt(c.trial_id, c.number, {}) for c, job_id in candidates if job_id == job.id]
        return student_folder(self.study, self.study.whole(mine[:1])[0]) if mine else folder

    def _store(self) -> Store:
        """Return where reports are kept: with what the study's trials leave, or in `SWEEP_HOME`."""
        place = self.study.artifacts
        if place is not None:
            return open_place(place)
        home.artifacts_folder().mkdir(parents=True, exist_ok=True)
        return FolderStore(home.artifacts_folder())

    def _run(self, job: Job, tool: Tool, folder: Path) -> tuple[Ending, ...]:
        """Run the tool's commands in order until one ends badly; all share one time limit."""
        end = time.monotonic() + self._settings.timeout_s
        memory = int(self._settings.memory_gib * 2**30)
        endings: list[Ending] = []
        for command in tool.commands(folder):
            ending = run_process(
                command.arguments,
                folder,
                folder / command.log,
                Limits(max(end - time.monotonic(), 0.0), memory),
                stop=self.stop,
                on_line=self._teller(job),
            )
            endings.append(ending)
            if ending.exit_code != 0:
                break
        return tuple(endings)

    def _teller(self, job: Job) -> Callable[[str], None]:
        last = 0.0

        def tell(line: str) -> None:
            nonlocal last
            if time.monotonic() - last >= TELL_EVERY:
                last = time.monotonic()
                with suppress(OperationalError):  # the database is away; the tool runs on without it
                    self.jobs.tell(job, line)

        return tell
