"""Holding every form of an export against its adder graph, bit by bit; nothing but the folder is needed."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.costs.adder_graph import predict
from objectives.costs.rtl import load_logic
from objectives.costs.score_port import raw_scores
from objectives.progress import Progress, silent
from sweep.errors import ExportError
from sweep.export.certificate import (
    EVENTS_FILE,
    Comparison,
    changed_files,
    compare,
    load_certificate,
)
from sweep.export.cmssw_form import CmsswForm
from sweep.export.form import Answer, Form
from sweep.export.hls_form import HlsForm
from sweep.export.keras_form import KerasForm
from sweep.export.rtl_form import RtlForm
from sweep.export.tools import NotVerifiedError
from sweep.export.vectors import Vectors, digest, load_vectors

#: In the order in which they are written and verified. `keras` holds what the others are compared with.
FORMS: Mapping[str, Form] = {form.name: form for form in (KerasForm(), RtlForm(), HlsForm(), CmsswForm())}


@dataclass(frozen=True)
class Verified:
    """What a folder's check found."""

    folder: Path
    events: int
    comparisons: dict[str, Comparison]

    @property
    def complete(self) -> bool:
        return all(each.verified for each in self.comparisons.values())

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        compared = {name: each.as_json() for name, each in self.comparisons.items()}
        return {
            "folder": str(self.folder),
            "events": self.events,
            "verified": self.complete,
            "compared": compared,
        }


def verify_folder(folder: Path, progress: Progress = silent) -> Verified:
    """Check an export again, as it lies there; raises ExportError when a bit or a file has changed.

    It builds and runs what is in the folder, as every build does.
    """
    content = load_certificate(folder)
    if not (folder / EVENTS_FILE).is_file() and (folder.absolute().parent / EVENTS_FILE).is_file():
        raise ExportError(f"{folder}: is one form of an export; verify the folder that it lies in")
    vectors, scores = load_vectors(folder / EVENTS_FILE)
    for what, numbers in (("events", vectors.regions), ("scores", scores)):
        if digest(numbers) != content[what]["sha256"]:
            raise ExportError(f"{folder / EVENTS_FILE}: its {what} are not those that were exported")
    forms = [name for name in FORMS if name in content["compared"]]
    try:
        comparisons = compare_forms(folder, forms, content["student"]["scheme"], vectors, scores, progress)
        changed = changed_files(folder, content)
    except OSError as error:
        where = error.filename or folder
        raise ExportError(f"{where}: {error.strerror or error}; the export cannot be verified") from error
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ExportError(f"{folder / changed[0]}{more}: is not what was exported, though no score differs")
    return Verified(folder, len(vectors), comparisons)


def compare_forms(
    folder: Path,
    forms: Sequence[str],
    scheme: str,
    vectors: Vectors,
    scores: NDArray[np.uint16],
    progress: Progress = silent,
) -> dict[str, Comparison]:
    """Compare the adder graph's interpreter and each form with `scores`; ExportError if one differs."""
    total = len(forms) + 1
    progress("comparing adder graph", 0, total)
    found = raw_scores(predict(load_logic(folder / "keras"), vectors.images()))
    interpreter = Answer(found, {"alkaid": version("alkaid")})
    comparisons = {"adder_graph": compare("adder_graph", interpreter, scores, vectors)}
    for number, name in enumerate(forms, start=1):
        progress(f"comparing {name}", number, total)
        with tempfile.TemporaryDirectory(prefix="sweep-verify-") as scratch:
            try:
                answer = FORMS[name].answer(folder / name, scheme, vectors, Path(scratch))
            except NotVerifiedError as error:
                comparisons[name] = Comparison(missing=str(error))
                continue
        comparisons[name] = compare(name, answer, scores, vectors)
    return comparisons
