"""References: measured once on a study's events, beside its front and never on it."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import RDBStorage

from dashboards.front_figure import front_figure
from objectives.costs.adder_graph import predict
from objectives.costs.rtl import load_logic
from objectives.data.dataset import load_dataset
from objectives.errors import DataError
from objectives.measurement import all_events
from objectives.students.deployed import read_deployed
from sweep import home, references
from sweep.errors import StudyError
from sweep.front import front_of
from sweep.references import measure_references, parse_references
from sweep.start import start_network
from sweep.study import Study, create_or_resume
from sweep.study_file import StudyFile


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A released student of the v1 family, of released types."""
    rng = np.random.default_rng(8)
    path = tmp_path / "old.npz"
    np.savez(
        path,
        dense1=rng.integers(0, 3, (252, 2)) / 64,
        dense1_bias=np.array([0.5, 0.0]),
        dense2=np.array([[1.5], [0.75]]),
    )
    return path


def test_a_reference_is_scored_on_the_studys_events(small: Study, archive: Path) -> None:
    [found] = measure_references(small, {"old": archive})
    test = load_dataset(small.file.dataset, home.data_cache()).test
    outputs = read_deployed(archive).predict(all_events(test))
    assert (predict(load_logic(found.folder), all_events(test)) == outputs).all()
    wins = [(outputs[len(test.zero_bias) :][:, None] > outputs[: len(test.zero_bias)]).mean()]
    assert found.test["mean_auc"] == pytest.approx(wins[0], abs=0.05), "ties aside"
    assert found.cost["lut"] > 0
    assert (found.cost["dsp"], found.cost["ebops"], found.cost["source"]) == (0, None, "estimated")


def test_it_is_measured_once(small: Study, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [first] = measure_references(small, {"old": archive})
    copy = archive.with_name("same.npz")
    copy.write_bytes(archive.read_bytes())
    monkeypatch.setattr(references, "load_dataset", None)  # measuring again would need events
    [second] = measure_references(small, {"same": copy})
    assert (second.name, second.design) == ("same", first.design)
    assert (second.test, second.cost, second.folder) == (first.test, first.cost, first.folder)
    assert not list(home.references_folder().glob(".*"))


def test_a_reference_is_never_on_the_front(small: Study, archive: Path) -> None:
    front = front_of(small)
    [reference] = measure_references(small, {"old": archive})
    with_it, without = front.as_json([reference]), front.as_json()
    [shown] = with_it.pop("references")
    assert with_it == without
    assert shown["name"] == "old"
    assert shown["test"]["intervals"]["mean_auc"]
    assert shown["student"] not in [point["student"] for point in without["points"]]


def test_the_figure_marks_it(small: Study, archive: Path) -> None:
    [reference] = measure_references(small, {"old": archive})
    plain, marked = front_figure(front_of(small)), front_figure(front_of(small), [reference])
    assert len(marked.data) == len(plain.data) + 1
    [star] = [trace for trace in marked.data if trace.marker.symbol == "star"]
    assert star.name == "old (reference, test)"
    assert (star.x[0], star.y[0]) == (reference.cost["lut"], reference.test["mean_auc"])
    assert star.y[0] + star.error_y.array[0] == reference.test["intervals"]["mean_auc"][1]


def test_a_study_may_start_from_one(
    storage: RDBStorage, study_file: Callable[..., StudyFile], archive: Path
) -> None:
    file = study_file(start_from=str(archive), student={"family": "cicada-v1", "hidden": 2})
    study, _ = create_or_resume(storage, file)
    network = start_network(study)
    assert network is not None
    assert network.digest() == read_deployed(archive).digest()
    archive.write_bytes(b"")
    with pytest.raises(DataError, match="is no archive of arrays"):
        start_network(study)


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def front(small: Study, sweep: Callable[..., Any], storage_url: str) -> Callable[..., Any]:
    return lambda *arguments: sweep("front", small.name, "--storage", storage_url, *arguments)


def test_front_shows_references(front: Callable[..., Any], archive: Path) -> None:
    told = json.loads(front("--json", "--reference", archive).out)
    assert [reference["name"] for reference in told["references"]] == ["old"]
    assert "references" not in json.loads(front("--json").out)
    table = front("--reference", f"today={archive}").out
    assert "today" in table
    rows = list(csv.DictReader(io.StringIO(front("--csv", "--reference", archive).out)))
    assert [row["reference"] for row in rows] == ["", "", "", "", "old"]
    assert rows[-1]["trial"] == ""
    assert float(rows[-1]["lut"]) == told["references"][0]["cost"]["lut"]


def test_a_bad_reference_is_one_line(front: Callable[..., Any], archive: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.npz", tmp_path, f"x={archive}/defines.h"):
        said = front("--reference", wrong)
        assert said.code == 2
        assert said.out == ""
        [line] = [x for x in said.err.splitlines() if not x.startswith("[")]
        assert line.startswith("error: ")
    assert not home.references_folder().exists()


def test_names(tmp_path: Path) -> None:
    found = parse_references([f"{tmp_path}/CICADA_v1/", f"{tmp_path}/w.npz", f"mine={tmp_path}/w.npz"])
    assert list(found) == ["CICADA_v1", "w", "mine"]
    for wrong in (["=a.npz"], ["a.npz", "a.npz"]):
        with pytest.raises(StudyError, match="is no name of its own"):
            parse_references(wrong)
