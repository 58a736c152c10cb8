"""What a request must be before any page of the server sees it.

The server has no login, and a browser on this machine reaches it whatever site it shows. So a
request must name this server as its host (a foreign page that had its own name resolve to
127.0.0.1 does not), one that changes something must come from a page of this server, and only
notes and artifacts can be changed at all: nothing here deletes a study.
"""

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READING = ("GET", "HEAD", "OPTIONS")
#: What may be changed: notes of studies and trials, and artifacts that people add.
CHANGES = (
    ("PUT", re.compile(r"/api/studies/\d+(/\d+)?/note")),
    ("POST", re.compile(r"/api/artifacts/\d+(/\d+)?")),
)
#: Artifacts are files from anywhere: a browser may show them, and run nothing of them.
ARTIFACT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def guarded(
    app: "WSGIApplication", names: Iterable[str] = (), *, read_only: bool = False
) -> "WSGIApplication":
    """Return `app` behind the rules above; `names` are hosts that it may be called by, besides addresses.

    An address cannot be made to point elsewhere, so any is accepted. With `read_only` nothing can
    be changed.
    """
    known = {"localhost", *(name.lower() for name in names)}

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        problem = _problem(environ, known, read_only)
        if problem is not None:
            status, reason = problem
            body = json.dumps({"reason": reason}).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response(status, [*headers, ("X-Content-Type-Options", "nosniff")])
            return [body]
        return app(environ, _with_headers(start_response, environ.get("PATH_INFO", "")))

    return answer


def names_of_this_machine(host: str) -> set[str]:
    """Return the names that a server bound to `host` may be called by."""
    return {host, socket.gethostname(), socket.getfqdn()}


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that is bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _problem(environ: "WSGIEnvironment", known: set[str], read_only: bool) -> tuple[str, str] | None:
    """Return the status and reason with which a request is refused, None for one that is not."""
    host = environ.get("HTTP_HOST", "")
    if not _is_known(host, known):
        return "421 Misdirected Request", "this server is not called by that name; use its address"
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    if method in READING:
        return None
    if not _is_same_origin(environ, host):
        return "403 Forbidden", "a page of another site may change nothing here"
    if read_only:
        return "403 Forbidden", "this dashboard is read-only"
    if not any(method == allowed and pattern.fullmatch(path.rstrip("/")) for allowed, pattern in CHANGES):
        return "403 Forbidden", "this dashboard changes notes and artifacts, nothing else of a study"
    return None


def _is_known(host: str, known: set[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    if name in known:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same_origin(environ: "WSGIEnvironment", host: str) -> bool:
    """Tell whether a request came from a page of this server, or from no browser at all."""
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = environ.get("HTTP_ORIGIN")
    return origin is None or urlsplit(origin).netloc == host


def _with_headers(start_response: "StartResponse", path: str) -> "StartResponse":
    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
        # Artifacts come with leave for any site to read them.
        kept = [(name, value) for name, value in headers if name.lower() != "access-control-allow-origin"]
        kept += [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ]
        if path.startswith("/artifacts/"):
            kept.append(("Content-Security-Policy", ARTIFACT_POLICY))
        return start_response(status, kept, *error)

    return start
