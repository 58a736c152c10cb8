"""One small study through the real command line: trained, measured, stopped, killed, resumed, reproduced."""

import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from objectives.data.h5 import write_regions
from objectives.recipe import Recipe
from sweep.front import front_of
from sweep.search.history import STARTS_FROM
from sweep.storage.database import open_storage
from sweep.study import Study, load
from sweep.worker.name import is_dead

STUDY = """
study: tiny
dataset:
  source:
    kind: h5
    zero_bias: [zero_bias.h5]
    signals: {jets: [jets.h5], soup: [soup.h5]}
    exposure: {noise: [noise.h5]}
teacher: {epochs: 1}
student: {filters: 2, kernel: 3, stride: 3, hidden: 4}
quantization:
  weights: {bits: {low: 3, high: 5}, integer_bits: 1}
  data: {fractional_bits: {low: 0, high: 2}}
training:
  epochs: 16
  batch: 128
  learning_rate: {low: 3e-3, high: 1e-2, log: true}
  beta: {initial: 1e-7, final: {low: 1e-7, high: 1e-2, log: true}}
objectives: [mean_auc, lut]
constraints: {latency_ns: {max: 200}}
sampler: {startup_trials: 2}
budget: {trials: 3}
harvest: {points: 3}
continuation: {share: 0.2, epochs: 10}
seed: 3
"""
RUNS = 3
CONTINUED = 2  # the slot that, with this seed, goes on from a point of those before
PATIENCE = 240.0  # seconds for anything here, on a machine with other work to do


# ---- running it ---------------------------------------------------------------------------------


def write_events(folder: Path) -> None:
    """Write region files that a student can tell apart in seconds."""
    rng = np.random.default_rng(5)

    def zero_bias(events: int) -> Any:
        shape = (events, 18, 14)
        return np.where(rng.random(shape) < 0.3, rng.exponential(4, shape), 0).astype(np.uint16)

    jets = zero_bias(300)
    for event in jets:
        for _ in range(2):
            phi, eta = rng.integers(0, 17), rng.integers(0, 13)
            event[phi : phi + 2, eta : eta + 2] += rng.integers(5, 60, (2, 2)).astype(np.uint16)
    soup = zero_bias(300) + rng.poisson(1.0, (300, 18, 14)).astype(np.uint16)
    noise = rng.integers(0, 60, (300, 18, 14)).astype(np.uint16)
    samples = {"zero_bias": zero_bias(3000), "jets": jets, "soup": soup, "noise": noise}
    for name, events in samples.items():
        write_regions(folder / f"{name}.h5", events)


def environment(folder: Path, home: Path) -> dict[str, str]:
    """Return what commands run with; compiled graphs are kept, for only the first worker to compile."""
    flags = f"--tf_xla_persistent_cache_directory={folder / 'graphs'}"
    return {**os.environ, "SWEEP_HOME": str(home), "SWEEP_STORAGE": "", "TF_XLA_FLAGS": flags}


@dataclass
class Running:
    """A `sweep run` in a process group of its own, as a terminal or a batch system starts one."""

    home: Path
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, folder: Path, home: Path, *arguments: str) -> "Running":
        process = subprocess.Popen(
            [sys.executable, "-m", "sweep", "run", "tiny.yaml", *arguments],
            cwd=folder,
            env=environment(folder, home),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        run = cls(home, process)
        STARTED.append(run)
        threading.Thread(target=run._read, daemon=True).start()
        return run

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, number: int = 1) -> None:
        """Wait until so many lines match."""
        end = time.monotonic() + PATIENCE
        while sum(bool(re.search(pattern, line)) for line in list(self.lines)) < number:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.02)

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, as Ctrl-C does."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def family(self) -> list[psutil.Process]:
        """Return all processes that it has started, and they."""
        return psutil.Process(self.process.pid).children(recursive=True)


STARTED: list[Running] = []


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_behind() -> Iterator[None]:
    yield
    for run in STARTED:
        run.kill()


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone(processes: list[psutil.Process], seconds: float = 20.0) -> None:
    """Wait until none of the processes is alive."""
    end = time.monotonic() + seconds
    while alive := [process for process in processes if is_alive(process)]:
        assert time.monotonic() < end, alive
        time.sleep(0.05)


def seconds_at(line: str) -> float:
    found = re.match(r"\[ *([0-9.]+) s\]", line)
    assert found
    return float(found[1])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_events(folder)
    (folder / "graphs").mkdir()
    (folder / "tiny.yaml").write_text(STUDY)
    return folder


@dataclass
class Undisturbed:
    home: Path
    lines: list[str]
    seconds: float  # that the worker takes for a run once it has compiled

    def study(self) -> Study:
        return study_in(self.home)


@pytest.fixture(scope="session")
def undisturbed(folder: Path) -> Undisturbed:
    """The study as one worker makes it when nothing happens; all tests below look at it."""
    run = Running.start(folder, folder / "home", "--workers", "1")
    code = run.wait()
    assert code == 0, run.text
    ends = [seconds_at(line) for line in run.lines if re.search(r"\] run \d+: \d+ points", line)]
    assert len(ends) == RUNS, run.text
    return Undisturbed(folder / "home", run.lines, (ends[-1] - ends[0]) / (RUNS - 1))


@pytest.fixture
def other_home(undisturbed: Undisturbed, folder: Path, tmp_path: Path) -> Path:
    """Another home with a database of its own, and the same teacher in its cache."""
    shutil.copytree(undisturbed.home / "teachers", tmp_path / "home" / "teachers")
    return tmp_path / "home"


def study_in(home: Path) -> Study:
    return load(open_storage(f"sqlite:///{home / 'sweep.db'}", create=False), "tiny")


def slots_in(home: Path) -> list[dict[str, Any]]:
    connection = sqlite3.connect(home / "sweep.db")
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM sweep_slots ORDER BY slot")]
    finally:
        connection.close()


def content_of(home: Path) -> list[str]:
    connection = sqlite3.connect(home / "sweep.db")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


# ---- what must hold of every study that ended, whatever happened on the way ---------------------


def assert_whole(home: Path, runs: int) -> None:
    """Exactly `runs` runs, all ended; every point once, with its student on disk."""
    study = study_in(home)
    slots = slots_in(home)
    assert [slot["slot"] for slot in slots] == list(range(runs))
    assert all(slot["done"] for slot in slots)
    trials = study.trials()
    assert all(trial.state.is_finished() for trial in trials), "no trial is stuck"
    by_slot = {trial._trial_id: trial for trial in trials}
    trained = [by_slot[slot["trial_id"]] for slot in slots]
    assert [run.user_attrs["slot"] for run in trained] == list(range(runs))
    assert {run.user_attrs["role"] for run in trained} == {"run"}
    assert len({run.user_attrs["digest"] for run in trained}) == runs, "no recipe is trained twice"
    assert all("core_seconds" in run.user_attrs and "versions" in run.user_attrs for run in trained)

    points = list(study.points())
    assert all(point.user_attrs["role"] in ("run", "point") for point in points)
    assert [run.number for run in points if run.user_attrs["role"] == "run"] == sorted(
        run.number for run in trained if run.state == TrialState.COMPLETE
    )
    numbers = {run.number for run in trained}
    harvested = [trial for trial in trials if trial.user_attrs.get("role") == "point"]
    origins = Counter((trial.user_attrs["parent"], trial.user_attrs["epoch"]) for trial in harvested)
    assert {parent for parent, _ in origins} <= numbers
    origins.update((run.number, run.user_attrs["epoch"]) for run in trained if "epoch" in run.user_attrs)
    assert max(origins.values()) == 1, "no epoch of a run is in the study twice"

    students = home / "studies" / "tiny" / "students"
    wanted = {point.user_attrs["student"] for point in points}
    assert len(wanted) == len(points)
    assert wanted <= {path.name for path in students.iterdir()}
    for point in points:
        student = students / point.user_attrs["student"]
        kept = {"student.keras", "network.npz", "adder_graph.json.gz", "student.json"}
        assert {p.name for p in student.iterdir()} == kept
        about = json.loads((student / "student.json").read_text())
        for key in ("design", "epoch", "validation", "test", "cost"):
            assert about[key] == point.user_attrs[key]


def points_by_origin(study: Study) -> Mapping[tuple[int, int], tuple[Any, ...]]:
    """Map (slot, epoch) to all that a point is, whatever number its trial got."""

    def run_of(trial: FrozenTrial) -> FrozenTrial:
        return study.trials()[trial.user_attrs.get("parent", trial.number)]

    return {
        (run_of(point).user_attrs["slot"], point.user_attrs["epoch"]): (
            point.values,
            point.params,
            point.constraints,
            point.user_attrs["design"],
            point.user_attrs["beta"],
            point.user_attrs["validation"],
            point.user_attrs["test"],
            point.user_attrs["cost"],
        )
        for point in study.points()
    }


# ---- undisturbed --------------------------------------------------------------------------------


def test_a_study_is_whole(undisturbed: Undisturbed) -> None:
    assert_whole(undisturbed.home, RUNS)
    students = undisturbed.home / "studies" / "tiny" / "students"
    points = list(undisturbed.study().points())
    assert len(points) > RUNS, "runs were harvested"
    assert {path.name for path in students.iterdir()} == {point.user_attrs["student"] for point in points}


def test_what_a_user_sees(undisturbed: Undisturbed) -> None:
    text = "".join(undisturbed.lines)
    points = list(undisturbed.study().points())
    assert text.startswith(f"Study tiny begins: {RUNS} runs, in sqlite:///")
    assert len(re.findall(r"\] point \d+ \(", text)) == len(points)
    assert "Front of tiny" in text
    for noise in ("Warning", "Traceback", "cuda", "oneDNN"):
        assert noise not in text


def test_front_and_status_of_it(
    undisturbed: Undisturbed, sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, contract: Any
) -> None:
    monkeypatch.setenv("SWEEP_HOME", str(undisturbed.home))
    study = undisturbed.study()
    front = contract(sweep("front", "tiny", "--json").out)
    assert front.points
    assert front.hypervolume > 0
    assert all(Path(point.student).is_dir() for point in front.points)
    assert [point.trial for point in front.points] == [trial.number for trial in front_of(study).points]

    status = json.loads(sweep("status", "tiny", "--json").out)
    assert status["runs"] == {"done": RUNS, "budget": RUNS, "running": []}
    assert status["points"] == len(list(study.points()))
    assert status["front"] == len(front.points)
    assert status["core_seconds"] > 0
    assert status["core_seconds_left"] == 0

    rows = list(csv.DictReader(io.StringIO(sweep("front", "tiny", "--csv").out)))
    assert [int(row["trial"]) for row in rows] == [point.trial for point in front.points]
    figure = undisturbed.home / "front.html"
    assert sweep("front", "tiny", "--plot", figure).code == 0
    assert "plotly" in figure.read_text()[:100_000].lower()


def test_a_student_of_it_is_exported(
    undisturbed: Undisturbed, sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the command line, on the study's own events; the forms have their tests in `export/`."""
    if not os.environ.get("CI") and not (shutil.which("g++") and shutil.which("make")):
        pytest.skip("needs g++ and make")
    monkeypatch.setenv("SWEEP_HOME", str(undisturbed.home))
    output = tmp_path / "export"
    for wanted in ("nonsense", "lut<=0", "999"):
        said = sweep("export", "tiny", wanted, "--as", "cmssw", "-o", output)
        assert (said.code, len(said.err.splitlines())) == (2, 1), said.err
    said = sweep("export", "tiny", "best-auc", "--as", "cmssw", "-o", output, "--events", 6000, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    best = max(front_of(undisturbed.study()).points, key=lambda t: t.user_attrs["validation"]["mean_auc"])
    assert (found["trial"], found["verified"], found["events"]) == (best.number, True, 6000)
    assert set(found["compared"]) == {"adder_graph", "keras", "cmssw"}
    certificate = json.loads((output / "certificate.json").read_text())
    assert certificate["events"]["kinds"].keys() >= {"zero_bias", "jets", "soup", "hot_region"}
    assert certificate["scores"]["different"] > 10
    assert f"# CICADA student {best.number} of tiny" in (output / "README.md").read_text()
    assert (output / "cmssw" / f"CICADA_v0p0p{best.number}" / "Makefile").is_file()
    said = sweep("export", "tiny", "best-auc", "-o", output)
    assert (said.code, "is there already" in said.err) == (2, True)


def test_the_front_is_chosen_on_validation_events(undisturbed: Undisturbed) -> None:
    points = list(undisturbed.study().points())
    for point in points:
        assert point.values == [
            point.user_attrs["validation"]["mean_auc"],
            point.user_attrs["cost"]["lut"],
        ]
        assert point.constraints == {"latency_ns": point.user_attrs["cost"]["latency_ns"] - 200}
    feasible = [point for point in points if point.constraints["latency_ns"] <= 0]

    def beaten(one: FrozenTrial) -> bool:
        auc, lut = one.values
        return any(
            other.values[0] >= auc and other.values[1] <= lut and other.values != one.values
            for other in feasible
        )

    best = {tuple(point.values) for point in feasible if not beaten(point)}
    assert {tuple(point.values) for point in front_of(undisturbed.study()).points} == best
    assert any(
        point.user_attrs["test"]["mean_auc"] != point.user_attrs["validation"]["mean_auc"] for point in points
    )


def test_points_carry_the_beta_they_were_found_at(undisturbed: Undisturbed) -> None:
    study = undisturbed.study()
    trials = study.trials()
    for point in study.points():
        applied = point.user_attrs["beta"]
        assert point.params["training.beta.final"] == pytest.approx(applied, rel=1e-5)
        run = trials[point.user_attrs.get("parent", point.number)]
        same = {name for name in run.params if name != "training.beta.final"}
        assert {name: point.params[name] for name in same} == {name: run.params[name] for name in same}


def test_a_run_goes_on_from_a_point_of_those_before(undisturbed: Undisturbed) -> None:
    study = undisturbed.study()
    trials, space = study.trials(), study.file.recipe_space()
    runs = {run.user_attrs["slot"]: run for run in study.runs() if "core_seconds" in run.user_attrs}
    assert [slot for slot, run in runs.items() if STARTS_FROM in run.user_attrs] == [CONTINUED]
    run = runs[CONTINUED]
    parent = trials[run.user_attrs[STARTS_FROM]]
    assert "design" in parent.user_attrs
    begun = trials[parent.user_attrs.get("parent", parent.number)]
    assert begun.user_attrs["slot"] < CONTINUED
    recipe = Recipe.model_validate_json(run.user_attrs["recipe"])
    assert recipe.student == Recipe.model_validate_json(begun.user_attrs["recipe"]).student
    assert recipe.training.epochs == 10
    beta = recipe.training.beta
    assert 1e-7 <= beta.initial <= parent.user_attrs["beta"] <= beta.final <= 1e-2
    # Its own points are of the space, and betas are those of their epochs.
    points = [p for p in study.points() if p.user_attrs.get("parent", p.number) == run.number]
    assert points
    for trial in (run, *points):
        space.resolve(trial.params)
    assert all(beta.initial <= p.user_attrs["beta"] <= beta.final * 1.00001 for p in points)


def test_what_was_measured_is_what_is_built_and_what_training_again_gives(
    undisturbed: Undisturbed, folder: Path
) -> None:
    study = undisturbed.study()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("check_students.py")), "tiny", "3"],
        env=environment(folder, undisturbed.home),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    trials = study.trials()
    front = front_of(study).points
    assert len(found["points"]) == len(front)
    for point in front:
        seen = found["points"][str(point.number)]
        assert seen["events"] > 500
        assert seen["values"] > 1
        assert seen["differ"] == 0, "Keras and the adder graph agree in every bit"
        assert seen["mean_auc"] == point.user_attrs["test"]["mean_auc"]
        assert seen["lut"] == point.user_attrs["cost"]["lut"]
    assert len(found["designs"]) == 3
    again = {trials[trials[int(n)].user_attrs.get("parent", int(n))].number for n in found["designs"]}
    assert any(STARTS_FROM in trials[number].user_attrs for number in again), "a run that went on, too"
    for number, design in found["designs"].items():
        assert trials[int(number)].user_attrs["design"] == design


def test_what_is_done_is_done(undisturbed: Undisturbed, folder: Path, snapshot: Any) -> None:
    students = undisturbed.home / "studies"
    before = content_of(undisturbed.home), snapshot(students)
    run = Running.start(folder, undisturbed.home, "--workers", "2")
    assert run.wait() == 0, run.text
    assert run.text.startswith(f"Study tiny is done: {RUNS} of {RUNS} runs.")
    assert "Front of tiny" in run.text
    assert (content_of(undisturbed.home), snapshot(students)) == before


# ---- disturbed ----------------------------------------------------------------------------------


def test_a_study_that_was_stopped_and_killed_ends_as_if_nothing_had_happened(
    undisturbed: Undisturbed, folder: Path, other_home: Path
) -> None:
    # Ctrl-C while it trains.
    run = Running.start(folder, other_home, "--workers", "1")
    run.wait_for(r"run \d+: training")
    # Well before the last run ends: most of the undisturbed seconds are start and compilation.
    delay = random.uniform(0, 0.04 * undisturbed.seconds)
    print(f"Ctrl-C after {delay:.3f} s")
    time.sleep(delay)
    family = run.family()
    run.signal(signal.SIGINT)
    assert run.wait() == 130, run.text
    assert "Stopped. `sweep run tiny.yaml` goes on where this was." in run.text
    assert "Traceback" not in run.text
    assert_gone(family)
    slots = slots_in(other_home)
    assert len(slots) <= 2
    assert all(slot["done"] or slot["lease_until"] < time.time() for slot in slots), "free at once"

    # Killed, all of it, at any moment of a later run.
    run = Running.start(folder, other_home, "--workers", "1")
    run.wait_for(r"run \d+: \d+ points")
    family = run.family()
    delay = random.uniform(0, 0.8 * undisturbed.seconds)
    print(f"killed after {delay:.3f} s")
    time.sleep(delay)
    run.kill()
    assert_gone(family)
    ended = [slot for slot in slots_in(other_home) if slot["done"]]
    assert ended

    # Had it died a moment earlier, or later, one could find these two as well:
    study = study_in(other_home)
    orphan = study.optuna.ask()  # drawn and not noted in its slot
    orphan.set_user_attr("role", "run")
    with study.storage.engine.begin() as connection:  # told and not noted as done
        connection.exec_driver_sql(
            f"UPDATE sweep_slots SET done = 0, lease_until = 0 WHERE slot = {ended[0]['slot']}"
        )
    study.storage.engine.dispose()

    # And on, to the end.
    run = Running.start(folder, other_home, "--workers", "1")
    assert run.wait() == 0, run.text
    assert run.text.startswith("Study tiny goes on after ")
    assert_whole(other_home, RUNS)
    again = study_in(other_home)
    assert again.trials()[orphan.number].state == TrialState.FAIL
    assert points_by_origin(again) == points_by_origin(undisturbed.study())


def test_a_worker_that_is_killed_is_replaced(
    undisturbed: Undisturbed, folder: Path, other_home: Path
) -> None:
    run = Running.start(folder, other_home, "--workers", "2", "--trials", "2")
    run.wait_for(r"run \d+: training", 2)
    holders = {slot["slot"]: slot["worker"] for slot in slots_in(other_home)}
    assert len(set(holders.values())) == 2, "two workers, a run each"
    open_slots = [slot["slot"] for slot in slots_in(other_home) if not slot["done"]]
    assert open_slots, "it trained faster than anybody could look"
    victim = random.choice(open_slots)
    family = run.family()
    time.sleep(random.uniform(0, 0.02 * undisturbed.seconds))  # training is the least of these seconds
    os.kill(int(holders[victim].split(":")[1]), signal.SIGKILL)
    assert run.wait() == 0, run.text
    assert "ended with exit code -9" in run.text
    assert is_dead(holders[victim])
    assert_gone(family)
    assert_whole(other_home, 2)
    slots = slots_in(other_home)
    assert [slot["attempt"] for slot in slots] == [2 if slot["slot"] == victim else 1 for slot in slots]
    # The first two runs are random draws, which depend on nothing but their slots. What of them is worth
    # measuring depends on what is known by then, but for their ends.
    found, expected = points_by_origin(study_in(other_home)), points_by_origin(undisturbed.study())
    both = found.keys() & expected.keys()
    assert {slot for slot, _ in both} == {0, 1}
    assert {origin: found[origin] for origin in both} == {origin: expected[origin] for origin in both}


def test_workers_do_not_outlive_who_started_them(
    undisturbed: Undisturbed, folder: Path, other_home: Path
) -> None:
    """The parent alone is killed, as by a system that runs out of memory."""
    run = Running.start(folder, other_home, "--workers", "1")
    run.wait_for(r"run \d+: compiling")
    family = run.family()
    assert family
    run.process.kill()
    run.process.wait()
    assert_gone(family, PATIENCE)
    (slot,) = slots_in(other_home)
    assert slot["lease_until"] == 0, "what it held is free at once"
