"""Students in a study's artifact store: there before their trials are, and fetched by who needs them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from sweep import home
from sweep.artifacts import stores
from sweep.artifacts.attributes import artifact_called, attributes
from sweep.artifacts.stores import KeptArtifacts, get, put
from sweep.artifacts.students import LOG, STUDENT, archive, student_folder
from sweep.comparison.contender import Axes, front_students
from sweep.errors import ArtifactError
from sweep.messages import Noticed
from sweep.storage import trial_rows
from sweep.storage.database import open_storage
from sweep.study import Study, create_or_resume, load
from sweep.synthesis.jobs import Jobs
from sweep.synthesis.worker import SynthesisWorker
from sweep.testing import SimulatedRuns
from sweep.worker.runs import Measured, Result, Watch
from sweep.worker.worker import Options, Worker
from tests.sweep.conftest import Students
from tests.sweep.fleet import simulated


class SavedRuns(SimulatedRuns):
    """Simulated runs that leave a folder for each student, as real ones do."""

    def train(self, run: FrozenTrial, watch: Watch) -> Result:
        result = super().train(run, watch)
        assert result.end is not None
        return Result(tuple(map(self._saved, result.points)), self._saved(result.end), None)

    def _saved(self, measured: Measured) -> Measured:
        folder = home.students_folder(self.study.name) / measured.attributes["student"]
        folder.mkdir(parents=True)
        (folder / "student.json").write_text(json.dumps(measured.attributes))
        (folder / "network.npz").write_bytes(bytes(range(256)) * 40)
        return Measured.of(self.study.file, measured.attributes, folder)


@pytest.fixture
def make(
    storage_url: str, sweep_home: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Worker]]:
    """Makes a worker of a study whose artifacts are kept at `place`."""
    monkeypatch.setenv("SWEEP_ARTIFACTS", place)
    opened = []

    def make() -> Worker:
        study = create_or_resume(open_storage(storage_url), simulated(2, 0.0))[0]
        opened.append(study.storage.engine)
        return Worker(study, lambda _: None, runs=SavedRuns(study), options=Options(max_trials=2))

    yield make
    for engine in opened:
        engine.dispose()


def move(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Be on another machine from now on: another SWEEP_HOME, and nothing in the environment."""
    monkeypatch.setenv("SWEEP_HOME", str(folder))
    monkeypatch.delenv("SWEEP_ARTIFACTS", raising=False)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_another_machine_fetches_what_a_worker_made(
    make: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    worker = make()
    assert worker.work() == 2
    study = load(worker.study.storage, "fleet")
    points = list(study.points())
    assert len(points) == 10
    made = {point.number: files(student_folder(study, point)) for point in points}
    move(monkeypatch, tmp_path / "elsewhere")
    assert not home.students_folder("fleet").exists()
    assert {point.number: files(student_folder(study, point)) for point in points} == made
    # What was fetched stays: the store is not asked again.
    monkeypatch.setattr(stores, "get", None)
    assert files(student_folder(study, points[0])) == made[points[0].number]


def test_optuna_lists_what_a_trial_left(make: Callable[[], Worker], tmp_path: Path, place: str) -> None:
    worker = make()
    worker.work()
    run = next(t for t in worker.study.runs() if t.state == TrialState.COMPLETE)
    listed = {meta.filename: meta for meta in get_all_artifact_meta(run, storage=worker.study.storage)}
    assert {name: meta.mimetype for name, meta in listed.items()} == {
        STUDENT: "application/zip",
        LOG: "text/plain",
    }
    log = get(place, listed[LOG].artifact_id).decode()
    assert f"run {run.number}, attempt 1, worker {worker.name}" in log
    assert "points" in log.splitlines()[-1]
    with KeptArtifacts(tmp_path, lambda: [place]).open_reader(listed[STUDENT].artifact_id) as stream:
        assert stream.read() == archive(student_folder(worker.study, run))


def test_a_store_that_fails_hands_the_run_back_and_nothing_is_told(
    make: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run's five students three are there when the disk is full."""
    worker, written = make(), []

    def fill(place: str, content: bytes) -> str:
        written.append(put(place, content))
        if len(written) == 3:
            raise ArtifactError(f"artifacts: {place} cannot be written (No space left on device); make room")
        return written[-1]

    monkeypatch.setattr(stores, "put", fill)
    with pytest.raises(ArtifactError, match="make room"):
        worker.work()
    (attempt,) = worker.slots.attempts()
    assert (attempt["ending"], "No space left" in attempt["evidence"]) == ("handed back", True)
    assert [t.state for t in worker.study.trials()] == [TrialState.RUNNING]
    monkeypatch.setattr(stores, "put", put)
    shutil.rmtree(home.students_folder("fleet"))
    again = make()
    assert again.work() == 2, "when there is room again"
    trials = again.study.trials()
    assert sum(t.state == TrialState.COMPLETE for t in trials) == len(trials) == 10
    assert all(artifact_called(STUDENT, t.system_attrs) for t in trials)


def test_a_place_that_is_away_is_said_before_any_training(
    make: Callable[[], Worker], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make()
    if place.startswith("s3"):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        stores.open_place.cache_clear()
    else:
        Path(place).rmdir()
    with pytest.raises(ArtifactError, match=r"refuses|not there on this machine"):
        worker.work()
    assert worker.slots.attempts() == []


def test_the_place_is_the_studys_whatever_a_worker_has_in_its_environment(
    make: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    make()
    monkeypatch.setenv("SWEEP_ARTIFACTS", str(tmp_path / "another"))
    worker = make()
    worker.work()
    assert worker.study.artifacts == place
    assert not (tmp_path / "another").exists()


def test_a_study_without_a_place_keeps_all_in_its_home(
    storage_url: str, sweep_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_ARTIFACTS", raising=False)
    study = create_or_resume(open_storage(storage_url), simulated(1, 0.0))[0]
    Worker(study, lambda _: None, runs=SavedRuns(study)).work()
    assert study.artifacts is None
    points = list(study.points())
    assert points
    assert all(not artifact_called(STUDENT, point.system_attrs) for point in points)
    assert all(student_folder(study, point).is_dir() for point in points)
    study.storage.engine.dispose()


def test_a_log_holds_what_was_noticed(make: Callable[[], Worker], place: str) -> None:
    worker = make()

    class Noticing(SavedRuns):
        def train(self, run: FrozenTrial, watch: Watch) -> Result:
            worker.tell(Noticed(worker.name, f"odd thing in run {run.number}"))
            return Result((), None, "the student died")

    worker.runs = Noticing(worker.study)
    worker.work()
    first, second = worker.study.runs()
    for run, other in ((first, second), (second, first)):
        log = get(place, str(artifact_called(LOG, run.system_attrs))).decode()
        assert f"odd thing in run {run.number}\n" in log
        assert f"odd thing in run {other.number}\n" not in log
        assert log.endswith("the student died\n")


# ---- who needs students -------------------------------------------------------------------------


@pytest.fixture
def moved(
    make_small: Callable[..., Study],
    students: Students,
    tmp_path: Path,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Study:
    """A study of real students, all of them in its store, seen from another machine."""
    monkeypatch.setenv("SWEEP_ARTIFACTS", place)
    study = make_small()
    with study.storage.engine.begin() as connection:
        for trial in study.points():
            artifact = put(place, archive(student_folder(study, trial)))
            for key, value in attributes({STUDENT: artifact}).items():
                row = {"trial_id": trial._trial_id, "key": key, "value_json": json.dumps(value)}
                connection.execute(sa.insert(trial_rows.SYSTEM), row)
    move(monkeypatch, tmp_path / "elsewhere")
    return load(study.storage, study.name)


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_promotion_and_synthesis_fetch(moved: Study, sweep: Callable[..., Any], tmp_path: Path) -> None:
    (home.home()).mkdir(parents=True)
    url = moved.storage.engine.url.render_as_string(hide_password=False)
    said = sweep("promote", "small", "--storage", url, "--top", 1, "--json")
    assert said.code == 0, said.err
    (job,) = Jobs(moved.storage.engine, "somebody").of_study(moved.id)
    assert Path(job.student).is_dir()
    shutil.rmtree(job.student)  # a third machine
    assert SynthesisWorker(moved, Jobs(moved.storage.engine, "somebody"))._student(job).is_dir()


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_comparison_fetches(moved: Study) -> None:
    found = front_students(moved, Axes("mean_auc", "lut", 3.0, (0.5, 20_000.0)))
    assert len(found) == 4
    assert all((student.folder / "adder_graph.json.gz").exists() for student in found)


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_the_dashboards_student_is_fetched(moved: Study) -> None:
    from dashboards.student import Student

    assert (Student.of(moved, 1).folder / "adder_graph.json.gz").exists()


@pytest.mark.parametrize("content", [b"no archive", b"half"], ids=str)
@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_what_is_no_student_is_not_unpacked(moved: Study, place: str, content: bytes) -> None:
    trial = moved.trials()[1]
    whole = get(place, str(artifact_called(STUDENT, trial.system_attrs)))
    bad = put(place, whole[: len(whole) // 2] if content == b"half" else content)
    for key in [key for key in trial.system_attrs if key.startswith("artifacts:")]:
        del trial.system_attrs[key]
    trial.system_attrs.update(attributes({STUDENT: bad}))
    with pytest.raises(ArtifactError, match="no archive"):
        student_folder(moved, trial)
    assert not home.students_folder("small").exists()


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_an_archive_cannot_write_elsewhere(moved: Study, place: str, tmp_path: Path) -> None:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("../../../escaped", b"x")
    trial = moved.trials()[1]
    trial.system_attrs.clear()
    trial.system_attrs.update(attributes({STUDENT: put(place, buffer.getvalue())}))
    with pytest.raises(ArtifactError, match="no student's archive"):
        student_folder(moved, trial)
    assert not list(tmp_path.rglob("escaped"))
