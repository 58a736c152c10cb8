"""The guard: who may call the server, by what name, and what may be changed."""

import io
import json
from typing import Any

import pytest

from dashboards.guard import guarded, is_loopback

NOTE = "/api/studies/1/note"


def ask(method: str = "GET", path: str = "/", *, read_only: bool = False, **headers: str) -> tuple[int, Any]:
    """Ask a guarded application that answers everything; return status, and headers or the reason."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("Content-Type", "text/html")])
        return [b"let through"]

    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "HTTP_HOST": "127.0.0.1:8080",
        "wsgi.input": io.BytesIO(),
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    answered: list[Any] = []
    body = b"".join(
        guarded(app, ["fpga.cern.ch"], read_only=read_only)(environ, lambda *answer: answered.append(answer))
    )
    status, sent = answered[0][0], dict(answered[0][1])
    return int(status[:3]), sent if body == b"let through" else json.loads(body)["reason"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "192.168.0.7",
        "fpga.cern.ch",
        "FPGA.cern.ch:80",
    ],
)
def test_addresses_and_the_servers_own_names_are_answered(host: str) -> None:
    assert ask(host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "[::1", "a@evil.example"],
)
def test_another_name_that_leads_here_is_refused(host: str) -> None:
    status, reason = ask(host=host)
    assert status == 421
    assert "address" in reason


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec_fetch_site": "none", "origin": "https://evil.example"},
    ],
)
def test_a_page_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    assert ask("PUT", NOTE, **headers)[0] == 403
    assert ask("GET", NOTE, **headers)[0] == 200, "and reads nothing that it may see"


@pytest.mark.parametrize(
    "headers",
    [{}, {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8080"}, {"sec_fetch_site": "none"}],
)
def test_a_page_of_ours_changes_notes_and_artifacts(headers: dict[str, str]) -> None:
    assert ask("PUT", NOTE, **headers)[0] == 200
    assert ask("PUT", "/api/studies/1/12/note", **headers)[0] == 200
    assert ask("POST", "/api/artifacts/1/12", **headers)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/7/tell"),
        ("POST", "/api/trials/7/user-attrs"),
        ("DELETE", "/api/artifacts/1/1/a-b"),
        ("POST", "/incompatible-rdb-schema"),
        ("PATCH", NOTE),
        ("PUT", NOTE + "/../../1"),
        ("PROPFIND", "/"),
    ],
)
def test_nothing_else_of_a_study_can_be_changed(method: str, path: str) -> None:
    status, reason = ask(method, path)
    assert status == 403
    assert "notes and artifacts" in reason


@pytest.mark.parametrize(("method", "path"), [("PUT", NOTE), ("POST", "/api/artifacts/1"), ("DELETE", "/x")])
def test_read_only_refuses_every_change(method: str, path: str) -> None:
    assert ask(method, path, read_only=True) == (403, "this dashboard is read-only")
    assert ask("GET", path, read_only=True)[0] == 200


def test_no_other_site_may_read_or_frame_what_is_sent() -> None:
    _, headers = ask("GET", "/artifacts/1/2/a")
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Content-Security-Policy"].startswith("sandbox")


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [("127.0.0.1 localhost ::1 127.9.9.9", True), ("0.0.0.0 :: 10.0.0.1 fpga.cern.ch", False)],
)
def test_what_only_this_machine_reaches(hosts: str, expected: bool) -> None:
    assert {is_loopback(host) for host in hosts.split()} == {expected}
