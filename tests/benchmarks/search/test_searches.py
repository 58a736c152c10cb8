"""Running searches: processor time, failures, and folders that somebody works in."""

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from sweep.display import Display
from tests.benchmarks.search.kept import (
    Job,
    SearchError,
    Spent,
    jobs,
    read_candidates,
    read_readings,
    read_search,
    read_spent,
)
from tests.benchmarks.search.measured import Candidate, Measured
from tests.benchmarks.search.problem import Keeper
from tests.benchmarks.search.running import Running
from tests.benchmarks.search.searches import Searches, _make_folder

#: Arguments of the module timeit: about a second of processor time in a child, a mistake, and a long sleep.
BUSY = [
    "-n1",
    "-r1",
    "-s",
    "import subprocess, sys",
    "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1: pass'])",
]
WRONG = ["-n1", "1 / 0"]
LONG = ["-n1", "-r1", "import time; time.sleep(600)"]


def wait_for(process: Running) -> None:
    while not process.has_ended():
        time.sleep(0.05)


def test_processor_time_of_children_counts(tmp_path: Path) -> None:
    with Running("timeit", BUSY, tmp_path / "log.txt") as process:
        wait_for(process)
    process.check()
    assert 1 <= process.spent.core_seconds < 5
    assert process.spent.wall_seconds > 0
    used = [reading for _, reading in process.readings]
    assert used == sorted(used)


def test_an_error_is_told_with_its_log(tmp_path: Path) -> None:
    with Running("timeit", WRONG, tmp_path / "log.txt") as process:
        wait_for(process)
    with pytest.raises(SearchError, match=r"exit code 1; .*log\.txt says why"):
        process.check()
    assert "ZeroDivisionError" in (tmp_path / "log.txt").read_text()


def test_a_search_ends_with_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Running("timeit", LONG, tmp_path / "log.txt") as process:
        raise KeyboardInterrupt
    assert process.process.returncode is not None


def test_a_failed_search_is_noted_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wrong, busy) = anchors = list(jobs(tmp_path, ["hgq_ramp"], 2))
    done: list[Job] = []
    arguments = {wrong: WRONG, busy: BUSY}
    monkeypatch.setattr(Searches, "_prepare", lambda self: None)
    monkeypatch.setattr(
        Searches, "_start", lambda self, job: Running("timeit", arguments[job], job.folder / "log.txt")
    )
    monkeypatch.setattr(Searches, "_measure_anchors", lambda self, jobs: done.extend(jobs))
    stream = io.StringIO()
    with Display(Console(file=stream), len(anchors), 0, "searches") as display:
        searches = Searches(anchors, 600, 2, display)
        searches.run()
        assert searches.problems == [wrong.name]
        assert f"{wrong.name} failed: exit code 1" in stream.getvalue()
        assert done == [busy], "a failed search is not measured"
        assert not wrong.has_searched(600)
        spent = read_spent(busy)
        assert spent.core_seconds >= 1
        assert f"{busy.name} found 0 students in " in stream.getvalue()
        searches.run()
        assert done == [busy, busy], "what has been searched is measured, not searched again"


def test_a_study_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = jobs(tmp_path, ["this_project"], 1)

    def start(self: Searches, job: Job) -> Running:
        (job.folder / "sweep.db").open("a").write("x")
        return Running("timeit", BUSY, job.folder / "log.txt", read_readings(job.folder)[0])

    monkeypatch.setattr(Searches, "_prepare", lambda self: None)
    monkeypatch.setattr(Searches, "_start", start)
    monkeypatch.setattr("tests.benchmarks.search.searches.points", lambda folder, readings: [])
    taken = []
    with Display(Console(file=io.StringIO()), 1, 0, "searches") as display:
        for core_seconds in (600, 500, 3600):
            Searches([job], core_seconds, 1, display).run()
            spent = read_search(job).spent
            assert spent is not None
            taken.append(spent.core_seconds)
            times, used = zip(*read_readings(job.folder)[1], strict=True)
            assert [*times] == sorted({*times})
            assert [*used] == sorted(used)
            assert used[-1] == spent.core_seconds
    assert taken[0] == taken[1], "had as much already"
    assert taken[2] >= taken[0] + 1
    assert (job.folder / "sweep.db").read_text() == "xx", "nothing is thrown away"
    assert read_search(job).budget == 3600


def test_an_anchor_goes_on_where_it_was_and_only_what_is_new_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = jobs(tmp_path, ["plain_optuna"], 1)
    asked: list[list[str]] = []
    measured: list[list[str]] = []

    def search(module: str, arguments: list[str], log: Path, earlier: Spent) -> Running:
        assert module == "tests.benchmarks.search.one"
        method, _, core_seconds, before, folder = arguments
        asked.append([method, core_seconds, before])
        keeper = Keeper(Path(folder), float(core_seconds), float(before))
        keeper.note(Path(folder) / f"{len(keeper.candidates)}.keras", float(core_seconds) - float(before))
        return Running("timeit", BUSY, log, earlier)

    def measure(problem: object, folder: Path, candidates: list[Candidate], *_: object) -> list[Measured]:
        measured.append([candidate.model for candidate in candidates])
        return [Measured(candidate.core_seconds, 0.9, 0.9, 1000, 100) for candidate in candidates]

    monkeypatch.setattr(Searches, "_prepare", lambda self: None)
    monkeypatch.setattr("tests.benchmarks.search.searches.Running", search)
    monkeypatch.setattr("tests.benchmarks.search.problem.measure", measure)
    with Display(Console(file=io.StringIO()), 1, 0, "searches") as display:
        for core_seconds in (0.5, 0.25, 1000):
            Searches([job], core_seconds, 1, display).run()
    first, second = (found.core_seconds for found in read_candidates(job.folder))
    (_, _, spent_before) = asked[1]
    assert asked == [["plain_optuna", "0.5", "0.0"], ["plain_optuna", "1000", spent_before]]
    assert float(spent_before) >= 1
    assert (first, second) == (0.5, pytest.approx(1000))
    assert measured == [["0.keras"], ["1.keras"]]
    search_kept = read_search(job)
    assert search_kept.budget == 1000
    assert search_kept.found_at == [first, second]
    assert [student.core_seconds for student in search_kept.measured] == search_kept.found_at


def test_a_half_finished_folder_is_emptied(tmp_path: Path) -> None:
    job = Job("hgq_ramp", 1, tmp_path / "hgq_ramp-1")
    _make_folder(job)
    (job.folder / "0.keras").touch()
    _make_folder(job)
    assert list(job.folder.iterdir()) == []


def test_a_folder_in_which_somebody_searches_is_left_alone(tmp_path: Path) -> None:
    job = Job("hgq_ramp", 1, tmp_path / "hgq_ramp-1")
    job.folder.mkdir()
    (job.folder / "0.keras").touch()
    with subprocess.Popen([sys.executable, "-c", "input()", str(job.folder)], stdin=subprocess.PIPE) as other:
        with pytest.raises(SearchError, match=f"process {other.pid} works in {job.folder}"):
            _make_folder(job)
        other.kill()
    assert (job.folder / "0.keras").exists()
