"""Running the searches that are missing, side by side, and then the measuring of anchors.

Nothing is measured while something is searched, so that it disturbs no search.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil

from objectives.costs.compiler import compiler
from objectives.data.dataset import load_dataset
from objectives.errors import CicadaError
from sweep import home
from sweep.display import Display
from sweep.study_file import parse_study
from tests.benchmarks.search.curves import chosen_front, hypervolume
from tests.benchmarks.search.kept import (
    OF_FIXED_LENGTH,
    Job,
    Search,
    SearchError,
    Spent,
    read_candidates,
    read_readings,
    read_search,
    read_spent,
    write_done,
    write_search,
)
from tests.benchmarks.search.measured import STUDY_FILE
from tests.benchmarks.search.running import Running, keep_readings
from tests.benchmarks.search.study import points, start_study, study_of

#: Seconds between two looks at the searches that run, and readings of their processor time.
LOOK = 0.25
#: Looks between two times that the readings of studies are written down.
KEEP_EVERY = 40


class Searches:
    """Searches of `core_seconds` each; `problems` are the names of those that failed."""

    def __init__(self, jobs: Sequence[Job], core_seconds: float, at_once: int, display: Display) -> None:
        self.jobs = jobs
        self.core_seconds = core_seconds
        self.at_once = at_once
        self.display = display
        self.problems: list[str] = []

    def run(self) -> None:
        """Run what is missing; what is complete stays as it is, and what is not goes on if it can."""
        missing = [job for job in self.jobs if not job.is_complete(self.core_seconds)]
        self._show_done()
        if not missing:
            return
        self._prepare()
        self._search([job for job in missing if not job.has_searched(self.core_seconds)])
        searched = [job for job in missing if job.is_anchor and job.has_searched(self.core_seconds)]
        self._measure_anchors(searched)

    # --- searching ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make data and teacher, if they are not there, so that no search is charged for them."""
        from objectives.teacher import load_teacher  # TensorFlow
        from tests.benchmarks.search.problem import Problem

        self.display.under_way({"preparation": "data and teacher"})
        Problem().mean_target()
        file = parse_study(study_of("this_project"), STUDY_FILE)
        load_teacher(file.teacher, load_dataset(file.dataset, home.data_cache()), home.teacher_cache())
        self.display.under_way({})

    def _search(self, jobs: list[Job]) -> None:
        waiting, running, looks = jobs[::-1], dict[Job, Running](), 0
        try:
            while waiting or running:
                looks += 1
                while waiting and len(running) < self.at_once:
                    job = waiting.pop()
                    with self._noted(job):
                        _make_folder(job, anew=not (job.goes_on and read_readings(job.folder)[1]))
                        running[job] = self._start(job)
                for job in [job for job, process in running.items() if process.has_ended()]:
                    with self._noted(job):
                        self._end(job, running.pop(job))
                self.display.under_way(
                    {job.name: f"{p.spent.core_seconds:,.0f} core-seconds" for job, p in running.items()}
                )
                if looks % KEEP_EVERY == 0:
                    self._keep_readings(running)
                time.sleep(LOOK)
        finally:
            for process in running.values():
                process.stop()
                process.has_ended()
            self._keep_readings(running)

    def _keep_readings(self, running: Mapping[Job, Running]) -> None:
        for job, process in running.items():
            if job.goes_on:
                keep_readings(job.folder, process)

    def _start(self, job: Job) -> Running:
        if not job.is_anchor:
            return start_study(job.folder, job.seed, self.core_seconds, study_of(job.method))
        earlier, _ = read_readings(job.folder)
        numbers = (job.seed, self.core_seconds, earlier.core_seconds)
        arguments = [job.method, *map(str, numbers), str(job.folder)]
        return Running("tests.benchmarks.search.one", arguments, job.folder / "log.txt", earlier)

    def _end(self, job: Job, process: Running) -> None:
        process.check()
        if job.goes_on:
            keep_readings(job.folder, process)
        if job.is_anchor:
            write_done(job, process.spent, self.core_seconds)
            self._show_searched(job, len(read_candidates(job.folder)), process.spent)
            return
        measured = points(job.folder, read_readings(job.folder)[1])
        self._show_searched(job, len(measured), process.spent)
        found_at = [student.core_seconds for student in measured]
        sampler = study_of(job.method)["sampler"]
        self._keep(job, Search(found_at, measured, self.core_seconds, process.spent, sampler))

    # --- measuring ---------------------------------------------------------------------------

    def _measure_anchors(self, jobs: list[Job]) -> None:
        from tests.benchmarks.search.problem import Problem, measure  # TensorFlow

        problem = Problem()
        with compiler(problem.file.hardware) as graphs:
            for job in jobs:

                def progress(what: str, done: int, total: int, name: str = job.name) -> None:
                    self.display.under_way({name: f"{what} {done + 1} of {total}"})

                known = read_search(job) if job.is_measured else Search([], [])
                found = read_candidates(job.folder)
                new = [candidate for candidate in found if candidate.core_seconds not in known.found_at]
                measured = [*known.measured, *measure(problem, job.folder, new, graphs, progress)]
                self.display.under_way({})
                found_at = [candidate.core_seconds for candidate in found]
                budget = None if job.method in OF_FIXED_LENGTH else self.core_seconds
                self._keep(job, Search(found_at, measured, budget, read_spent(job)))

    # --- what the user sees ------------------------------------------------------------------

    @contextmanager
    def _noted(self, job: Job) -> Iterator[None]:
        """Note that a search failed; the others go on."""
        try:
            yield
        except CicadaError as error:
            self.problems.append(job.name)
            self.display.line(f"{job.name} failed: {error}")

    def _keep(self, job: Job, search: Search) -> None:
        write_search(job, search)
        worth = hypervolume(chosen_front(search.within(self.core_seconds).measured))
        self.display.line(f"{job.name}: {len(search.measured)} students measured, hypervolume {worth:.4f}")
        self._show_done()

    def _show_searched(self, job: Job, found: int, spent: Spent) -> None:
        self.display.line(
            f"{job.name} found {found} students in {spent.core_seconds:,.0f} core-seconds"
            f" ({spent.wall_seconds:,.0f} s)"
        )

    def _show_done(self) -> None:
        self.display.advance(sum(job.is_complete(self.core_seconds) for job in self.jobs), len(self.jobs))


def _make_folder(job: Job, *, anew: bool = True) -> None:
    """Make a search's folder, empty if `anew`; raises SearchError if another process works in it."""
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if {str(job.folder), str(job.folder / "study.yaml")} & set(arguments):
            raise SearchError(f"process {process.pid} works in {job.folder}; wait for it, or end it")
    if anew and job.folder.exists():
        shutil.rmtree(job.folder)
    job.folder.mkdir(parents=True, exist_ok=not anew)
