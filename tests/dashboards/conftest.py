"""A small study with real students on disk, its events, a server that shows it, and a browser."""

import copy
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna.trial import TrialState, create_trial

from dashboards.optuna_view.storage import StudyView
from dashboards.server import Server, listen
from objectives.costs.adder_bits import adder_bits
from objectives.data.h5 import write_regions
from sweep import home, records
from sweep.storage.database import open_storage
from sweep.study import Study, create_or_resume
from sweep.study_file import parse_study

#: Text that would be a script if it were not shown as text.
NASTY = "<img src=x onerror=hacked()> <script>hacked()</script> $x$ [a](javascript:hacked())"
#: A signal whose name would be markup.
SIGNAL = "<b>jets</b>"
FILE: dict[str, Any] = {
    "study": "looked-at",
    "description": NASTY,
    "dataset": {
        "source": {
            "kind": "h5",
            "zero_bias": ["zero_bias.h5"],
            "signals": {SIGNAL: ["jets.h5"], "soup": ["soup.h5"]},
            "exposure": {"noise": ["noise.h5"]},
        }
    },
    "student": {"filters": 2, "kernel": 3, "stride": 2, "hidden": [3, 4]},
    "training": {"beta": {"initial": 1e-7, "final": {"low": 1e-7, "high": 1e-2, "log": True}}},
    "objectives": ["mean_auc", "lut"],
    "constraints": {"latency_ns": {"max": 200}},
    "budget": {"trials": 4},
    "seed": 1,
}
#: What a page may take, in ms; software draws, and other tests run.
PATIENCE = 120_000
#: Seeds of the students, which are not trained: their weights are anywhere.
SEEDS = range(6)


def _write_events(folder: Path) -> None:
    rng = np.random.default_rng(5)

    def zero_bias(events: int) -> NDArray[np.uint16]:
        shape = (events, 18, 14)
        return np.where(rng.random(shape) < 0.3, rng.exponential(4, shape), 0).astype(np.uint16)

    jets = zero_bias(200)
    jets[:, 3:6, 4:7] += rng.integers(5, 300, (200, 3, 3)).astype(np.uint16)
    soup = zero_bias(200) + rng.poisson(1.0, (200, 18, 14)).astype(np.uint16)
    noise = rng.integers(0, 60, (100, 18, 14)).astype(np.uint16)
    for name, events in {"zero_bias": zero_bias(2000), "jets": jets, "soup": soup, "noise": noise}.items():
        write_regions(folder / f"{name}.h5", events)


@dataclass(frozen=True)
class Example:
    """The study, and where it is; a test that changes it takes a copy."""

    url: str
    home: Path
    points: list[int]


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """A study of two runs and six measured students, one of them infeasible; not to be changed."""
    from objectives.costs.adder_graph import compile_adder_graph
    from objectives.costs.config import Hardware
    from objectives.data.dataset import load_dataset
    from objectives.measurement import all_events, measure_point
    from objectives.recipe import Recipe
    from objectives.schemes import hgq
    from tests.objectives.students import student

    folder = tmp_path_factory.mktemp("looked-at")
    _write_events(folder)
    url = f"sqlite:///{folder / 'sweep.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_HOME", str(folder))
        file = parse_study(copy.deepcopy(FILE), folder / "looked-at.yaml")
        study, _ = create_or_resume(open_storage(url), file)
        dataset = load_dataset(file.dataset, home.data_cache())
        for run in range(2):
            trial = study.optuna.ask()
            recipe = Recipe.model_validate(
                {"student": {"filters": 2, "kernel": 3, "stride": 2, "hidden": 3 + run, "input_clip": 64}}
            )
            study.file.recipe_space().suggest(trial)
            about = {"role": "run", "recipe": recipe.model_dump_json(), "core_seconds": 30.0, "seed": 3}
            for name, value in about.items():
                trial.set_user_attr(name, value)
            trial.set_user_attr("problem", f"died of {NASTY}")
            study.optuna.tell(trial, state=TrialState.FAIL)
            for seed in SEEDS[run::2]:
                model = student(recipe.student, recipe.quantization, seed)
                network = hgq.describe(model)
                graph = compile_adder_graph(network, Hardware())
                outputs = graph.predict(all_events(dataset.validation))
                point = measure_point(network, graph, outputs, 1000 + seed, dataset.validation, dataset.test)
                attributes = records.point_attributes(
                    point,
                    point.cost.as_json(),
                    epoch=seed,
                    beta=1e-5,
                    loss=1.5,
                    adder_bits=adder_bits(network),
                    design=network.digest(),
                    student=f"{trial.number}-{seed}-{network.digest()}",
                )
                records.save_student(
                    home.students_folder(study.name),
                    attributes["student"],
                    model,
                    network,
                    graph,
                    recipe,
                    attributes,
                )
                cost = attributes["cost"]
                if seed == SEEDS[-1]:
                    cost["latency_ns"] = 300.0
                study.optuna.add_trial(
                    create_trial(
                        values=[attributes["validation"]["mean_auc"], cost["lut"]],
                        params=trial.params,
                        distributions=trial.distributions,
                        constraints={"latency_ns": cost["latency_ns"] - 200},
                        user_attrs={"role": "point", "parent": trial.number, **attributes},
                    )
                )
        points = [trial.number for trial in study.points()]
        study.storage.engine.dispose()
        yield Example(url, folder, points)


@pytest.fixture
def sweep_home(example: Example, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's home, as the environment names it."""
    monkeypatch.setenv("SWEEP_HOME", str(example.home))
    monkeypatch.delenv("SWEEP_STORAGE", raising=False)
    return example.home


@pytest.fixture
def view(example: Example, sweep_home: Path) -> Iterator[StudyView]:
    opened = StudyView(open_storage(example.url, create=False))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def copied(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Study, StudyView]]:
    """A copy of the example that may be changed, and a view of it."""
    shutil.copytree(example.home, tmp_path / "home")
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    url = f"sqlite:///{tmp_path / 'home' / 'sweep.db'}"
    from sweep.study import load

    writing, viewing = open_storage(url), StudyView(open_storage(url))
    yield load(writing, "looked-at"), viewing
    for engine in (writing.engine, viewing.engine):
        engine.dispose()


# ---- a server -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers that answer until the session ends."""
    started: list[Server] = []

    def start(url: str, **options: Any) -> Server:
        server = listen(url, port=0, **options)
        threading.Thread(target=server.serve, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def server(example: Example, serve: Callable[..., Server]) -> Iterator[Server]:
    """A server of the example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_HOME", str(example.home))
        yield serve(example.url)


# ---- a browser ----------------------------------------------------------------------------------


def chromium() -> str:
    """Return the path of a Chromium or Chrome, or skip the test."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("continuous integration installs chromium, and it is not there")
        pytest.skip("no Chromium or Chrome is installed (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    with playwright.sync_playwright() as running:
        # Without a graphics card WebGL is drawn in software; root has no sandbox to be in.
        arguments = ["--enable-unsafe-swiftshader", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        opened = running.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@dataclass
class Watched:
    """A page, and what must not happen on it."""

    page: Any
    problems: list[str]


@pytest.fixture
def page(browser: Any, server: Server, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page of the server at the size that `size` marks; no error and no request elsewhere is let pass."""
    marker = request.node.get_closest_marker("size")
    width, height = marker.args if marker else (1280, 900)
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=server.url)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    watched = Watched(opened, [])
    opened.expose_function("hacked", lambda: watched.problems.append("text ran as a script"))
    opened.on("pageerror", lambda error: watched.problems.append(f"error: {error}"))
    opened.on(
        "console",
        lambda said: watched.problems.append(f"console: {said.text}") if said.type == "error" else None,
    )
    opened.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((server.url, "data:", "blob:"))
            else watched.problems.append(f"request to {asked.url}")
        ),
    )
    yield watched
    context.close()
    assert watched.problems == []
