"""A study as one HTML file that can be mailed, printed and read without this program or the internet."""

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from dashboards.figure_file import write_figure
from dashboards.front_figure import front_figure
from dashboards.optuna_view.notes import drawn
from dashboards.student import Student
from dashboards.student_figures import bits_figure, roc_figure
from dashboards.study_figures import estimates_figure, hypervolume_figure, importance_figure
from objectives.errors import CicadaError
from objectives.progress import Progress, silent
from sweep.errors import StudyError
from sweep.export.remembered import FORMS, all_exports
from sweep.front import Front
from sweep.records import at_rates, efficiency_at
from sweep.references import Reference
from sweep.status import status_of
from sweep.synthesis.jobs import Jobs
from sweep.text_file import write_text
from sweep.worker.name import worker_name

#: Chosen students that are shown with their curves and bitwidths; each takes seconds and 100 kB.
MOST_SHOWN = 8
#: Rows of the table of the front.
MOST_ROWS = 60


@dataclass(frozen=True)
class Chosen:
    """A student that was chosen for synthesis, why, and what became of it."""

    trial: int
    reason: str
    cost: Mapping[str, Any]
    test: Mapping[str, Any]
    drawn: str
    outcome: str
    synthesis: Sequence[Mapping[str, Any]]
    roc: str = ""
    bits: str = ""
    problem: str = ""


def write_report(
    front: Front, path: Path, references: Sequence[Reference] = (), progress: Progress = silent
) -> None:
    """Write the report of a study, whole or not at all; StudyError where it cannot be written."""
    if path.suffix != ".html":
        raise StudyError(f"{path}: a report is an .html file; give it a name that ends so")
    if not front.costs:
        raise StudyError(
            f"study {front.study.name!r} has no measured student yet; there is nothing to report"
        )
    write_text(path, report_html(front, references, progress))


def write_figures(front: Front, folder: Path, kind: str, references: Sequence[Reference] = ()) -> list[Path]:
    """Write the figures of a report as files of a kind (pdf, png, svg or html); return their paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"{folder}: cannot be made ({error.strerror}); give a folder in one of yours"
        ) from error
    written = []
    for name, figure in _figures(front, references).items():
        write_figure(figure, folder / f"{front.study.name}-{name}.{kind}")
        written.append(folder / f"{front.study.name}-{name}.{kind}")
    return written


def report_html(front: Front, references: Sequence[Reference] = (), progress: Progress = silent) -> str:
    """Return the report; everything that a study names is text in it."""

    def efficiency(scores: Mapping[str, Any], rate_khz: float) -> str:
        found = efficiency_at(scores, rate_khz)
        return "-" if found is None else f"{found:.3f}"

    environment = Environment(
        loader=PackageLoader("dashboards.report", "."),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study, file = front.study, front.study.file
    contract = front.as_json()
    space = file.recipe_space()
    return environment.get_template("report.html").render(
        study=study.name,
        file=file,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        status=status_of(study),
        died=Counter(_cause(r.user_attrs["problem"]) for r in study.runs() if "problem" in r.user_attrs),
        points=contract["points"][:MOST_ROWS],
        rates=sorted({each["rate_khz"] for p in contract["points"] for each in at_rates(p["test"])}),
        efficiency=efficiency,
        more=max(len(contract["points"]) - MOST_ROWS, 0),
        searched={name: _range(d) for name, d in sorted(space.distributions.items())},
        fixed={name: value for name, value in sorted(space.fixed.items()) if value is not None},
        references=references,
        chosen=_chosen(front, progress),
        exports=all_exports(study),
        forms=FORMS,
        # Scripts that Plotly writes; names in them are escaped as JSON within HTML.
        plotly=get_plotlyjs(),
        figures={name: _embedded(figure, name) for name, figure in _figures(front, references).items()},
        versions=_versions(front),
        study_file=yaml.safe_dump(json.loads(file.model_dump_json(exclude_defaults=True)), sort_keys=False),
    )


def _cause(problem: str) -> str:
    """Return what ended a run, without the epoch that it ended in."""
    return re.sub(r" in epoch \d+", "", problem.partition(":")[0])


def _figures(front: Front, references: Sequence[Reference]) -> dict[str, go.Figure]:
    study = front.study
    return {
        "front": front_figure(front, references),
        "hypervolume": hypervolume_figure(study, front),
        "estimates": estimates_figure(study),
        "importance": importance_figure(study),
    }


def _embedded(figure: go.Figure, name: str) -> str:
    figure.update_layout(title=None, margin={"t": 20})
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config={"displaylogo": False}
    )
    return html


def _range(distribution: Any) -> str:
    """Return what a parameter is searched over, in words."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return "one of " + ", ".join(map(str, choices))
    log = ", in its logarithm" if distribution.log else ""
    return f"{distribution.low:g} to {distribution.high:g}{log}"


def _chosen(front: Front, progress: Progress) -> list[Chosen]:
    """Return the candidates for synthesis in the order of their cost."""
    study = front.study
    jobs = Jobs(study.storage.engine, worker_name())
    outcomes = {job.id: job.outcome or job.state for job in jobs.of_study(study.id)}
    trials = study.trials()
    known: dict[int, tuple[str, list[str]]] = {}
    for candidate, job in jobs.candidates(study.id):
        known.setdefault(candidate.number, (candidate.reason, []))[1].append(str(outcomes[job]))
    order = sorted(known, key=lambda number: front.cost(trials[number])["lut"])
    found = []
    for place, number in enumerate(order):
        progress("scoring chosen students", place, len(order))
        trial, (reason, ended) = trials[number], known[number]
        run = trials[trial.user_attrs.get("parent", number)]
        found.append(
            Chosen(
                number,
                reason,
                front.cost(trial),
                trial.user_attrs["test"],
                drawn(json.loads(run.user_attrs["recipe"])["student"]),
                ", ".join(sorted(set(ended))),
                trial.user_attrs.get("synthesis", []),
                **(_pictures(front, number) if place < MOST_SHOWN else {}),
            )
        )
    progress("scoring chosen students", len(order), len(order))
    return found


def _pictures(front: Front, number: int) -> dict[str, str]:
    """Return a student's figures as addresses of pictures, or why there are none."""
    try:
        student = Student.of(front.study, number)
        title = f"trial {number}"
        roc = roc_figure(student.performance("test"), title)
        bits = bits_figure(student.layers(), title)
    except CicadaError as error:
        return {"problem": str(error)}
    return {name: _picture(svg) for name, svg in {"roc": roc, "bits": bits}.items()}


def _picture(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _versions(front: Front) -> dict[str, str]:
    """Return the versions that the study's runs recorded; several where they differ."""
    found: dict[str, set[str]] = {}
    for run in front.study.runs():
        for name, version in run.user_attrs.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}
