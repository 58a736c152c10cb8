"""From a trial to a folder that somebody else can build on: written whole and proven, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from objectives.costs.adder_graph import predict
from objectives.costs.rtl import load_logic
from objectives.costs.score_port import raw_scores, result_port
from objectives.data.dataset import load_dataset
from objectives.errors import CostError
from objectives.progress import Progress, silent
from sweep import home
from sweep.artifacts.students import student_folder
from sweep.errors import ExportError, SynthesisError
from sweep.export.certificate import CERTIFICATE, EVENTS_FILE, certificate, save_certificates
from sweep.export.cmssw_form import package_name
from sweep.export.form import Source
from sweep.export.model_card import model_card
from sweep.export.vectors import EVENTS, Regions, collisions_of, make_vectors, save_vectors
from sweep.export.verification import FORMS, Verified, compare_forms
from sweep.front import Front
from sweep.synthesis.target import Target
from sweep.synthesis.vitis import scheme_of

CARD = "README.md"


@dataclass(frozen=True)
class Order:
    """What is to be exported, and where to."""

    #: keras is always among them: it holds what the others are compared with.
    forms: tuple[str, ...]
    folder: Path
    force: bool = False
    #: Of the emulator, as 2.2.0; by default 0.0.TRIAL, which no release has.
    version: str | None = None
    events: int = EVENTS


def export_trial(front: Front, trial: FrozenTrial, order: Order, progress: Progress = silent) -> Verified:
    """Write a trial's student in every form of `order`, compare all of them, and return what was found.

    The folder appears under its name when everything is in it. Raises ExportError when that is taken,
    when a form cannot be written, or when one bit differs; then nothing is left.
    """
    study = front.study
    _check_place(order)
    student = student_folder(study, trial)
    try:
        card = model_card(front, trial, order.forms)
    except (OSError, ValueError, LookupError) as error:
        raise ExportError(f"{student}: cannot be read ({error}); train this student again") from error
    progress("reading events", 0, 1)
    collisions = collisions_of(load_dataset(study.file.dataset, home.data_cache(), progress=progress))
    target = Target(tool="vitis", strategy=study.file.synthesis.strategy, hardware=study.file.hardware)
    about = {
        "study": study.name,
        "trial": trial.number,
        "design": trial.user_attrs["design"],
        "emulator_version": order.version or f"0.0.{trial.number}",
    }
    return export_student(student, target, about, collisions, order, card, progress)


def export_student(
    student: Path,
    target: Target,
    about: Mapping[str, Any],
    collisions: Mapping[str, Regions],
    order: Order,
    card: str,
    progress: Progress = silent,
) -> Verified:
    """Export the student of a folder, as `export_trial` does; `about` names it, `card` tells of it."""
    package_name(about["emulator_version"])
    _check_place(order)
    try:
        scheme = scheme_of(student / "student.json")
        logic = load_logic(student)
        result_port(logic)
        vectors = make_vectors(collisions, order.events)
        scores = raw_scores(predict(logic, vectors.images()))
    except (CostError, SynthesisError) as error:
        raise ExportError(str(error)) from error
    source = Source(student, scheme, logic, target, about["emulator_version"], vectors, scores)
    forms = [name for name in FORMS if name == "keras" or name in order.forms]
    with _whole_or_not_at_all(order) as folder:
        for number, name in enumerate(forms):
            progress(f"writing {name}", number, len(forms))
            (folder / name).mkdir()
            FORMS[name].write(source, folder / name)
        save_vectors(folder / EVENTS_FILE, vectors, scores)
        (folder / CARD).write_text(card, encoding="utf-8")
        comparisons = compare_forms(folder, forms, scheme, vectors, scores, progress)
        content = certificate({**about, "scheme": scheme}, vectors, scores, comparisons)
        save_certificates(folder, content, forms)
    return Verified(order.folder, len(vectors), comparisons)


def _check_place(order: Order) -> None:
    folder = order.folder
    if not os.path.lexists(folder):
        return
    if not order.force:
        raise ExportError(f"{folder}: is there already; give another folder, or --force to replace it")
    if folder.is_symlink() or not (folder / CERTIFICATE).is_file():
        raise ExportError(f"{folder}: is no export, and not replaced even with --force; remove it yourself")


@contextmanager
def _whole_or_not_at_all(order: Order) -> Iterator[Path]:
    """Yield a folder that gets its final name at the end, or is removed."""
    final = order.folder.absolute()
    partial: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".partial", dir=final.parent))
        yield partial
        partial.chmod(0o755)
        _put(partial, final, order)
    except (CostError, SynthesisError) as error:
        raise ExportError(str(error)) from error
    except OSError as error:
        raise ExportError(
            f"{final}: cannot be exported: {error.strerror or error}; nothing is left of it"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, final: Path, order: Order) -> None:
    """Give a whole export its name; one that is replaced goes aside first, and comes back if that fails."""
    _check_place(order)
    if not final.exists():
        partial.rename(final)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".replaced", dir=final.parent))
    final.rename(aside / "export")
    try:
        partial.rename(final)
    finally:
        if not final.exists():
            (aside / "export").rename(final)
        shutil.rmtree(aside, ignore_errors=True)
