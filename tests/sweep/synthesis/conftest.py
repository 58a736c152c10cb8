"""What tests of synthesis share: a saved student, a stand-in for Vivado, processes left behind."""

import os
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# Before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil
import pytest

#: A variable that marks every process started below a test.
MARK = "SWEEP_TEST_MARK"


@pytest.fixture
def marked_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[psutil.Process]]]:
    """Lists the processes that this test has started and that still run; at its end there must be none."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)

    def running() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    yield running
    left = running()
    for process in left:
        process.kill()
    assert not left, f"left behind: {[process.cmdline() for process in left]}"


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits for something to become true, far longer than it takes."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it has not come true in a minute"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def adder_graph_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder with an adder graph made by hand, and no Keras; not to be changed."""
    import numpy as np

    from objectives.costs.adder_graph import compile_adder_graph
    from objectives.costs.config import Hardware
    from objectives.students.network import Dense, Flatten, Quantize, QuantizedNetwork, Relu

    rng = np.random.default_rng(1)
    shape = (18, 14, 1)
    network = QuantizedNetwork(
        shape,
        (
            Quantize(np.zeros(shape), np.full(shape, 6), np.zeros(shape), "SAT", "RND"),
            Flatten(),
            Dense(rng.integers(-3, 4, (252, 3)) * (rng.random((252, 3)) < 0.2), np.array([1.0, 2.0, 3.0])),
            Relu(),
            Dense(np.array([[1.0], [2.0], [-1.0]]), np.array([20.0])),
        ),
    )
    folder = tmp_path_factory.mktemp("adder-graph")
    compile_adder_graph(network, Hardware()).logic.save(folder / "adder_graph.json.gz")
    return folder


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small student as a worker saves it, its weights being anywhere; not to be changed."""
    from objectives.costs.adder_graph import compile_adder_graph
    from objectives.costs.config import Hardware
    from objectives.quantization import Quantization
    from objectives.recipe import Recipe
    from objectives.schemes import hgq
    from objectives.students.architecture import Architecture
    from sweep.records import save_student
    from tests.objectives.students import student

    architecture = Architecture(
        filters=2, kernel=3, stride=2, hidden=3, hidden_2=3, batch_norm=False, input_clip=64
    )
    model = student(architecture, Quantization(), seed=3)
    network = hgq.describe(model)
    graph = compile_adder_graph(network, Hardware())
    recipe = Recipe.model_validate({"student": architecture.model_dump()})
    return save_student(tmp_path_factory.mktemp("students"), "0-1-small", model, network, graph, recipe, {})


@pytest.fixture
def stand_in_vivado(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Puts an executable `vivado` first on PATH that is a STAND-IN, not Vivado; call it with an ending."""
    folder = tmp_path_factory.mktemp("stand-in")
    program = folder / "vivado"
    code = Path(__file__).with_name("stand_in_vivado.py")
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(code))} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_FOLDER", str(folder))
    return lambda ending: monkeypatch.setenv("STAND_IN_ENDING", ending)


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts executables first on PATH that are a STAND-IN for Vitis HLS, under the names it goes by."""

    def put(*names: str) -> Path:
        folder = tmp_path_factory.mktemp("stand-in")
        code = Path(__file__).with_name("stand_in_vitis.py")
        for name in names:
            command = shlex.join([sys.executable, "-I", "-S", str(code), name])
            (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return put


@pytest.fixture
def stand_in_vitis(install: Callable[..., Path]) -> Path:
    """Puts an executable `vitis_hls` first on PATH that is a STAND-IN, not Vitis HLS."""
    return install("vitis_hls")
