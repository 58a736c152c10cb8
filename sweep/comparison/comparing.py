"""From names of studies and paths of references to a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from objectives.data.dataset import load_dataset
from objectives.progress import Progress, silent
from objectives.resampling import Resampling
from sweep import home
from sweep.comparison.compare import Comparison
from sweep.comparison.contender import (
    Contender,
    Member,
    Student,
    axes_of,
    front_students,
    measure,
    reference_student,
)
from sweep.errors import StudyError
from sweep.references import measure_references
from sweep.study import Study
from sweep.variants import groups_of


def parse_groups(studies: Sequence[str], groups: Sequence[str]) -> dict[str, list[str]]:
    """Return the studies of each contender by its name: each of `studies` alone, then ``NAME=A,B`` each.

    A file of several studies is its variants, each with its repeats.

    >>> parse_groups(["legacy"], ["hgq=a,b"])
    {'legacy': ['legacy'], 'hgq': ['a', 'b']}
    """
    found: dict[str, list[str]] = {}
    for study in studies:
        name = Path(study).stem if study.endswith((".yaml", ".yml")) else study
        for variant, repeats in (groups_of(study) or {name: [study]}).items():
            if variant in found:
                raise StudyError(f"{study}: {variant} is given twice; repeats are --group NAME=STUDY,STUDY")
            found[variant] = repeats
    for text in groups:
        name, equals, members = text.partition("=")
        parts = [part.strip() for part in members.split(",")]
        if not name or not equals or not all(parts):
            raise StudyError(f"--group {text}: give NAME=STUDY,STUDY and so on")
        if name in found or len(set(parts)) < len(parts):
            raise StudyError(f"--group {text}: {name if name in found else 'a study'} is given twice")
        found[name] = parts
    if not found:
        raise StudyError("there is nothing to compare; name studies, or give --group NAME=STUDY,STUDY")
    return found


def compare_studies(
    groups: Mapping[str, Sequence[Study]],
    references: Mapping[str, Path],
    *,
    score: str | None = None,
    cost: str | None = None,
    resamplings: int = 200,
    progress: Progress = silent,
) -> Comparison:
    """Score the fronts of studies and the references again, on the same resampled test events.

    Raises StudyError for studies that cannot be compared; see `axes_of`, `front_students` and `measure`.
    """
    studies = [study for members in groups.values() for study in members]
    axes = axes_of(studies, score, cost)
    fronts = {study.name: front_students(study, axes) for study in studies}
    measured = measure_references(studies[0], dict(references), progress)
    test = load_dataset(studies[0].file.dataset, home.data_cache(), processes=1, progress=progress).test
    drawn = Resampling(test, resamplings)

    def member(name: str, study: Study | None, students: tuple[Student, ...]) -> Member:
        return measure(name, study, students, axes, test, drawn, progress)

    contenders = [
        Contender(name, tuple(member(study.name, study, fronts[study.name]) for study in members))
        for name, members in groups.items()
    ]
    fixed = [member(each.name, None, (reference_student(each, axes),)) for each in measured]
    return Comparison(axes, tuple(contenders), tuple(fixed), test, resamplings)
