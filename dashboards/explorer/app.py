"""The explorer's pages and what they ask for, as JSON."""

import functools
import gzip
import json
import mimetypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly
from bottle import Bottle, HTTPResponse, request

from dashboards.explorer.points import points_of
from dashboards.explorer.student import about_student, layers_json, performance_json
from dashboards.optuna_view.storage import StudyView
from dashboards.student import Split, Student
from objectives.errors import CicadaError
from sweep.front import Front, front_of
from sweep.references import Reference
from sweep.study import STUDY_FILE

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

STATIC = Path(__file__).parent / "static"
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
SCRIPTS = ("explorer.js", "front.js", "parameters.js", "student.js")
FILES = dict.fromkeys((*SCRIPTS, "explorer.css"), STATIC) | {"plotly.min.js": PLOTLY.parent}
#: Plotly draws with inline styles.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'self'"
)


@dataclass
class Explorer:
    """What the explorer knows of the studies in a storage, made again only when a study has changed.

    `references` are students of no study to draw beside a study's points, by the study's name.
    """

    view: StudyView
    references: Mapping[str, Sequence[Reference]] = field(default_factory=dict)
    _points: dict[str, tuple[object, bytes, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def studies(self) -> list[dict[str, Any]]:
        """Return name and description of each study of sweep's."""
        return [
            {"name": s.study_name, "description": json.loads(s.user_attrs[STUDY_FILE])["description"]}
            for s in self.view.get_all_studies()
            if STUDY_FILE in s.user_attrs
        ]

    def front(self, name: str) -> Front:
        return front_of(self.view.study(name))

    def points(self, name: str) -> tuple[bytes, str]:
        """Return the points of a study as zipped JSON, and the tag of that content."""
        study = self.view.study(name)
        with self._lock:
            trials = study.trials()
            finished = sum(trial.state.is_finished() for trial in trials)
            state = (finished, study.file.model_dump_json(), frozenset(self.view.synthesized(study.id)))
            known = self._points.get(name)
            if known is None or known[0] != state:
                found = points_of(front_of(study), self.references.get(name, ()))
                text = json.dumps(found, allow_nan=False, separators=(",", ":"))
                body = gzip.compress(text.encode(), 4)
                known = self._points[name] = (state, body, f'"{sha256(body).hexdigest()[:16]}"')
            return known[1], known[2]


def explorer_app(explorer: Explorer) -> "WSGIApplication":
    """Return the explorer's application; its paths begin with /explorer."""

    def points(study: str) -> HTTPResponse:
        try:
            body, tag = explorer.points(study)
        except CicadaError as error:
            return _json({"reason": str(error)}, 404)
        return _zipped(body, tag, "application/json")

    def student(study: str, number: int) -> HTTPResponse:
        return _answer(lambda: about_student(explorer.front(study), number))

    def performance(study: str, number: int, split: Split) -> HTTPResponse:
        return _answer(
            lambda: performance_json(Student.of(explorer.view.study(study), number).performance(split))
        )

    def layers(study: str, number: int) -> HTTPResponse:
        return _answer(lambda: layers_json(Student.of(explorer.view.study(study), number)))

    one = "/explorer/api/<study>/student/<number:int>"
    routes: dict[str, Callable[..., HTTPResponse]] = {
        "/explorer": lambda: _page(),
        "/explorer/": lambda: _page(),
        "/explorer/<study>": lambda study: _page(),
        "/explorer/static/<name>": _static,
        "/explorer/api/studies": lambda: _answer(lambda: {"studies": explorer.studies()}),
        "/explorer/api/<study>/points": points,
        one: student,
        f"{one}/<split:re:validation|test>": performance,
        f"{one}/layers": layers,
    }
    app = Bottle()
    for path, callback in routes.items():
        app.route(path, "GET", callback=callback)
    app.error_handler[404] = lambda error: "There is no such page."
    app.error_handler[500] = lambda error: "The terminal of `sweep dashboard` says what went wrong."
    application: WSGIApplication = app
    return application


def _answer(make: Callable[[], dict[str, Any]]) -> HTTPResponse:
    """Return what `make` gives as JSON, and its error as one line."""
    try:
        return _json(make(), 200)
    except CicadaError as error:
        return _json({"reason": str(error)}, 404)


def _json(content: dict[str, Any], status: int) -> HTTPResponse:
    body = json.dumps(content, allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return HTTPResponse(body, status, headers)


def _page() -> HTTPResponse:
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    return HTTPResponse((STATIC / "explorer.html").read_bytes(), 200, headers)


def _static(name: str) -> HTTPResponse:
    if name not in FILES:
        return _json({"reason": "there is no such file"}, 404)
    body, tag = _packed(FILES[name] / name)
    return _zipped(body, tag, mimetypes.guess_type(name)[0] or "text/plain")


@functools.lru_cache
def _packed(path: Path) -> tuple[bytes, str]:
    body = gzip.compress(path.read_bytes(), 6)
    return body, f'"{sha256(body).hexdigest()[:16]}"'


def _zipped(body: bytes, tag: str, kind: str) -> HTTPResponse:
    """Return zipped content, or nothing to a browser that has it already."""
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Type": kind}
    if request.headers.get("If-None-Match") == tag:
        return HTTPResponse(b"", 304, headers)
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return HTTPResponse(gzip.decompress(body), 200, headers)
    return HTTPResponse(body, 200, {**headers, "Content-Encoding": "gzip"})
