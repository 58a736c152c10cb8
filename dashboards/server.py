"""`sweep dashboard`: the Optuna dashboard and the explorer, in one server."""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import waitress
from waitress.server import BaseWSGIServer, MultiSocketServer

from dashboards.explorer.app import Explorer, explorer_app
from dashboards.guard import guarded, is_loopback, names_of_this_machine
from dashboards.optuna_view.app import annotated, optuna_app
from dashboards.optuna_view.storage import AnnotatedView, StudyView
from sweep.errors import StorageError
from sweep.references import Reference
from sweep.storage.database import open_storage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Requests that are answered at a time; a student that is scored takes a second or two.
THREADS = 8


@dataclass(frozen=True)
class Server:
    """A server that listens already; `serve` answers until it is interrupted."""

    annotated: AnnotatedView
    waitress: BaseWSGIServer | MultiSocketServer
    url: str

    @property
    def view(self) -> StudyView:
        """The studies of the database."""
        return self.annotated.view

    def serve(self, study: str | None = None) -> None:
        """Answer; the trials of `study`, which take a while to read, are read before somebody asks."""
        if study is not None:
            threading.Thread(target=self.view.study(study).trials, daemon=True).start()
        self.waitress.run()

    def close(self) -> None:
        self.waitress.close()


def make_app(
    shown: AnnotatedView,
    references: Mapping[str, Sequence[Reference]],
    names: Iterable[str] = (),
    *,
    read_only: bool = False,
) -> "WSGIApplication":
    """Return both dashboards as one application, behind the guard."""
    explorer = explorer_app(Explorer(shown.view, references))
    optuna_dashboard = optuna_app(shown)

    def dispatch(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/explorer" or path.startswith("/explorer/"):
            return explorer(environ, start_response)
        return optuna_dashboard(environ, start_response)

    return guarded(dispatch, names, read_only=read_only)


def listen(
    url: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    references: Mapping[str, Sequence[Reference]] = MappingProxyType({}),
    public: bool = False,
    read_only: bool = False,
) -> Server:
    """Open the storage at `url` and listen on `host`; port 0 takes any that is free.

    `references` are drawn beside the fronts of the studies that they are given for, by name.
    Raises StorageError for a storage that cannot be opened, or an address that cannot be had;
    without `public` that is any which other machines reach.
    """
    if not public and not is_loopback(host):
        raise StorageError(
            f"{host}: other machines would reach it, and there is no login; add --public if that is meant, or"
            " leave --host out and forward the port with ssh -L"
        )
    view = StudyView(open_storage(url, create=False))
    logging.getLogger("waitress").setLevel(logging.ERROR)
    view_of_notes = annotated(view, references)
    app = make_app(view_of_notes, references, names_of_this_machine(host), read_only=read_only)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=THREADS, ident=None)
    except OSError as error:
        raise StorageError(
            f"{host}:{port}: cannot be listened on ({error.strerror or error}); give another --port or --host"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    return Server(view_of_notes, server, f"http://{shown}:{_port(server)}")


def _port(server: BaseWSGIServer | MultiSocketServer) -> int:
    if isinstance(server, MultiSocketServer):  # a name of several addresses
        return int(server.effective_listen[0][1])
    return int(server.effective_port)


def pages(server: Server, name: str | None = None) -> dict[str, str]:
    """Return the addresses to open, by name; StudyError for a study that is not there."""
    if name is None:
        return {"Optuna dashboard": f"{server.url}/dashboard", "explorer": f"{server.url}/explorer"}
    found = server.view.study(name)
    return {
        "Optuna dashboard": f"{server.url}/dashboard/studies/{found.id}",
        "explorer": f"{server.url}/explorer/{found.name}",
    }
