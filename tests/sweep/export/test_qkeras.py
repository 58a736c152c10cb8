"""Students of QKeras, whose Keras model and hls4ml project are another interpreter's."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.recipe import Recipe
from sweep import qkeras_environment
from sweep.errors import ExportError
from sweep.export.exporter import Order, export_student
from sweep.records import save_student
from tests.sweep.export.subject import ABOUT, TARGET


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The legacy student as it is before training, saved as a worker saves it."""
    if not os.environ.get(qkeras_environment.QKERAS_PYTHON):
        pytest.skip(f"needs {qkeras_environment.QKERAS_PYTHON}")
    from objectives.schemes.qkeras.remote import Child, RemoteTrainer
    from objectives.training.graphs import TrainingData

    recipe = Recipe.model_validate(
        {"student": {"hidden": 4, "input_clip": 128}, "quantization": {"scheme": "qkeras"}}
    )
    python = qkeras_environment.interpreter()
    assert python is not None
    regions = np.random.default_rng(1).integers(0, 40, (recipe.training.batch, 18, 14)).astype(np.uint16)
    child = Child(python, TrainingData.load(regions, np.ones(len(regions)), len(regions) // 2, regions))
    try:
        trainer = RemoteTrainer(child, recipe)
        trainer.start(recipe.quantization, 3)
        network = trainer.finish()[0]
        graph = compile_adder_graph(network, Hardware())
        folder = tmp_path_factory.mktemp("students")
        return save_student(folder, "0-1-qkeras", trainer, network, graph, recipe, {})
    finally:
        child.close()


def test_every_form(student: Path, collisions: Any, tmp_path: Path) -> None:
    order = Order(("keras", "rtl", "hls", "cmssw"), tmp_path / "export", events=4000)
    found = export_student(student, TARGET, ABOUT, collisions, order, "# A card\n")
    assert found.complete
    assert {each.mismatches for each in found.comparisons.values()} == {0}
    certificate = json.loads((tmp_path / "export/certificate.json").read_text())
    assert certificate["student"]["scheme"] == "qkeras"
    assert "qkeras-v3" in certificate["compared"]["keras"]["tools"]
    assert certificate["scores"]["different"] > 100


def test_without_its_environment(
    student: Path, collisions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(qkeras_environment.QKERAS_PYTHON)
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    order = Order(("keras",), tmp_path / "export", events=1000)
    found = export_student(student, TARGET, ABOUT, collisions, order, "# A card\n")
    assert "`sweep qkeras install`" in str(found.comparisons["keras"].missing)
    with pytest.raises(ExportError, match="`sweep qkeras install`"):
        export_student(
            student, TARGET, ABOUT, collisions, Order(("hls",), tmp_path / "hls", events=1000), "# A card\n"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
