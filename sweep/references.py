"""Fixed references: students that no study made, such as the deployed one, measured on a study's events.

A reference stands beside a front and is never a member of it. What was measured is kept in
`SWEEP_HOME`, by content: the same student on the same events is measured once.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.config import content_digest
from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.rtl import ADDER_GRAPH
from objectives.data.dataset import Dataset, dataset_digest, load_dataset
from objectives.measurement import all_events, measure_point
from objectives.progress import Progress, silent
from objectives.students.deployed import read_deployed
from objectives.students.network import QuantizedNetwork
from sweep import home, records
from sweep.calibration.correction import correction_for
from sweep.errors import StudyError
from sweep.study import Study
from sweep.study_file import StudyFile

#: What is kept of a reference, in a folder of its own beside its adder graph.
RECORD = "reference.json"


@dataclass(frozen=True)
class Reference:
    """A measured reference; `folder` holds its adder graph, `cost` is estimated, without EBOPs."""

    name: str
    path: Path
    design: str
    validation: dict[str, Any]
    test: dict[str, Any]
    cost: dict[str, Any]
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """Return what `sweep front --json` says of a reference."""
        return {
            "name": self.name,
            "path": str(self.path),
            "design": self.design,
            "validation": self.validation,
            "test": self.test,
            "cost": self.cost,
            "student": str(self.folder),
        }


def parse_references(texts: Sequence[str]) -> dict[str, Path]:
    """Return the paths of references by name, from ``PATH`` or ``NAME=PATH`` each.

    >>> parse_references(["today=CICADA_v2p1p2"])["today"].name
    'CICADA_v2p1p2'
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        given = Path(path if equals else text).expanduser()
        name = name if equals else given.resolve().name.removesuffix(".npz")
        if not name or name in found:
            raise StudyError(f"--reference {text}: {name!r} is no name of its own; give NAME=PATH")
        found[name] = given
    return found


def measure_references(study: Study, paths: dict[str, Path], progress: Progress = silent) -> list[Reference]:
    """Measure references on the events of a study, at its trigger rate and for its hardware.

    Their costs are corrected by calibration as those of the study's points are. Raises DataError for
    what is no student, and CostError if its adder graph gives one validation event another score.
    """
    networks = {name: read_deployed(path) for name, path in paths.items()}
    events: list[Dataset] = []  # loaded if one needs it
    references = []
    for number, (name, network) in enumerate(networks.items()):
        progress("measuring references", number, len(paths))
        folder = _folder(study.file, network)
        if not (folder / RECORD).exists():
            if not events:
                events.append(
                    load_dataset(study.file.dataset, home.data_cache(), processes=1, progress=progress)
                )
            _keep(folder, network, study.file, events[0])
        known = json.loads((folder / RECORD).read_text())
        cost = known["cost"]
        if study.file.synthesis.calibration:
            correction = correction_for(study.storage.engine, study.file.target)
            cost = correction.apply(cost, study.file.hardware.clock_ns)
        references.append(
            Reference(name, paths[name], network.digest(), known["validation"], known["test"], cost, folder)
        )
    progress("measuring references", len(paths), len(paths))
    return references


def _folder(file: StudyFile, network: QuantizedNetwork) -> Path:
    """Return where a reference is kept: by design, events, trigger rate, hardware and what costs it."""
    made_by = records.versions()
    about = {
        "versions": {package: made_by[package] for package in ("cicada-sweep", "alkaid")},
        "events": dataset_digest(file.dataset),
        "rates_khz": [file.rate_khz, *file.other_rates_khz],
        "hardware": file.hardware.model_dump(mode="json"),
    }
    return home.references_folder() / f"{network.digest()}-{content_digest(about)}"


def _keep(folder: Path, network: QuantizedNetwork, file: StudyFile, events: Dataset) -> None:
    """Measure a reference and write it into `folder`, whole or not at all."""
    graph = compile_adder_graph(network, file.hardware)
    exact = network.predict(all_events(events.validation))
    rates: dict[str, Any] = {"rate_khz": file.rate_khz, "other_rates_khz": file.other_rates_khz}
    point = measure_point(network, graph, exact, 0, events.validation, events.test, **rates)
    about = {
        "validation": point.validation.as_json(),
        "test": point.test.as_json(),
        "cost": {**point.cost.as_json(), "ebops": None},  # nobody trained it, so nobody counted them
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        try:
            graph.logic.save(temporary / ADDER_GRAPH)
            (temporary / RECORD).write_text(json.dumps(about, indent=1))
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not (folder / RECORD).exists():  # otherwise another process has measured the same
            raise StudyError(
                f"{folder}: cannot be written ({error.strerror}); set SWEEP_HOME to a folder of yours"
            ) from error
