"""What tests of exports share: students of every kind, events, one export of all forms."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from numpy.typing import NDArray

from sweep.export.exporter import Order, export_student
from sweep.export.tools import NotVerifiedError, Verilator, compiler, make
from tests.sweep.export.subject import ABOUT, TARGET, Exported, Student


@pytest.fixture(scope="session", autouse=True)
def tools_that_exports_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where there is no compiler or simulator; continuous integration has both."""
    try:
        compiler()
        make()
        Verilator(tmp_path_factory.mktemp("verilator"))
    except NotVerifiedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def collisions() -> dict[str, NDArray[np.uint16]]:
    """Soft events, of which most students give scores between their ends."""
    rng = np.random.default_rng(5)

    def soft(count: int) -> NDArray[np.uint16]:
        energies = np.minimum(rng.exponential(8, (count, 252)), 1023)
        return (energies * (rng.random((count, 252)) < 0.4)).astype(np.uint16)

    return {"zero_bias": soft(300), "tt": soft(200)}


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Student]:
    """Saves an HGQ student as a worker does."""
    from objectives.costs.adder_graph import compile_adder_graph
    from objectives.costs.config import Hardware
    from objectives.recipe import Recipe
    from objectives.schemes import hgq
    from sweep.records import save_student

    def make(name: str, model: Any, architecture: Any) -> Student:
        network = hgq.describe(model)
        graph = compile_adder_graph(network, Hardware())
        recipe = Recipe.model_validate({"student": architecture.model_dump()})
        parent = tmp_path_factory.mktemp("students")
        return Student(save_student(parent, name, model, network, graph, recipe, {}), model, network)

    return make


@pytest.fixture(scope="session")
def clipped(save: Callable[..., Student]) -> Student:
    """A v2 student with clipped inputs, some of which have no bits, and a channel that is pruned away."""
    from objectives.quantization import Quantization
    from objectives.schemes import hgq
    from objectives.students.architecture import Architecture
    from tests.objectives.students import student

    architecture = Architecture(filters=3, kernel=2, stride=2, hidden=3, input_clip=64)
    model = student(architecture, Quantization(), 3)
    first = hgq.quantized_layers(model)[0]
    set_bits(first.iq.quantizer._i, np.s_[0, :2], -12)
    set_bits(first.kq.quantizer._b, np.s_[..., 1], 0)
    return save("clipped", model, architecture)


@pytest.fixture(scope="session")
def flat(save: Callable[..., Student]) -> Student:
    """A v1 student that sees all ten bits; hot events saturate its score."""
    from objectives.quantization import Quantization
    from objectives.schemes import hgq
    from objectives.students.architecture import Architecture
    from tests.objectives.students import student

    architecture = Architecture(family="cicada-v1", hidden=2, batch_norm=False)
    model = student(architecture, Quantization(), 5)
    hidden, last = hgq.quantized_layers(model)
    # Wide activations and a large weight: the sum goes far beyond 256.
    for name, bits in {"_i": 10, "_f": -1}.items():
        set_bits(getattr(last.iq.quantizer, name), np.s_[...], bits)
    last.kernel.assign(np.full(last.kernel.shape, 0.75, np.float32))
    for name, bits in {"_b": 4, "_i": 1}.items():
        set_bits(getattr(last.kq.quantizer, name), np.s_[...], bits)
    hidden.kernel.assign(np.abs(hidden.kernel.numpy()))
    return save("flat", model, architecture)


@pytest.fixture(scope="session")
def constant(save: Callable[..., Student]) -> Student:
    """A v1 student that gives every event the same score: it has no input left."""
    from objectives.quantization import Quantization
    from objectives.schemes import hgq
    from objectives.students.architecture import Architecture
    from tests.objectives.students import student

    architecture = Architecture(family="cicada-v1", hidden=2, batch_norm=False)
    model = student(architecture, Quantization(), 5)
    kernel = hgq.quantized_layers(model)[0].kernel
    kernel.assign(np.zeros(kernel.shape, np.float32))
    return save("constant", model, architecture)


def set_bits(bits: Any, where: Any, value: float) -> None:
    changed = bits.numpy().copy()
    changed[where] = value
    bits.assign(changed)


@pytest.fixture(scope="session")
def exported(
    clipped: Student,
    collisions: dict[str, NDArray[np.uint16]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """The clipped student in all forms, under a name that is hard to live with; not to be changed."""
    folder = tmp_path_factory.mktemp("exports") / "an [odd] $name & 'more'"
    order = Order(("keras", "rtl", "hls", "cmssw"), folder, events=4000)
    return Exported(folder, export_student(clipped.folder, TARGET, ABOUT, collisions, order, "# A card\n"))


@pytest.fixture
def convert_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """hls4ml converts in this process: another one would take longer to start than it converts."""
    from sweep.export import hls_form, tools
    from sweep.synthesis import hls_project

    def run(arguments: tuple[str, ...], folder: Path, what: str) -> None:
        if what != "hls4ml":
            tools.run(arguments, folder, what)
            return
        with contextlib.chdir(folder):
            assert hls_project.main(arguments[2:]) == 0

    monkeypatch.setattr(hls_form, "run", run)
