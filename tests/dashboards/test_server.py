"""The server as programs see it: both dashboards, their JSON, what is refused, and `sweep dashboard`."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.server import Server, listen, pages
from sweep.errors import StorageError, StudyError
from tests.dashboards.conftest import NASTY, SIGNAL, Example

STUDENT = "/explorer/api/looked-at/student"


def ask(
    server: Server, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, Any, Any]:
    """Return status, headers, and the body: JSON as an object, other things as bytes."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.url + path, data, {"Content-Type": "application/json", **headers}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, sent, content = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, sent, content = error.code, error.headers, error.read()
    is_json = "json" in sent.get("Content-Type", "")
    return status, sent, json.loads(content) if is_json and content else content


def test_points_are_those_of_the_front(server: Server, example: Example) -> None:
    status, headers, found = ask(server, "/explorer/api/looked-at/points")
    assert status == 200
    assert found["trial"] == example.points
    columns = [found["parent"], found["epoch"], found["on_front"], found["feasible"]]
    columns += [*found["cost"]["current"].values(), *(p["values"] for p in found["params"])]
    columns += [v for split in found["scores"].values() for v in split["values"].values()]
    assert {len(column) for column in columns} == {len(example.points)}
    assert sum(found["feasible"]) == len(example.points) - 1
    assert found["signals"] == [SIGNAL, "soup"]
    assert found["description"] == NASTY
    assert all(len(pair) == 2 for pair in found["scores"]["test"]["intervals"]["mean_auc"])
    again = urllib.request.Request(
        server.url + "/explorer/api/looked-at/points", headers={"If-None-Match": headers["ETag"]}
    )
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        urllib.request.urlopen(again, timeout=60)
    assert unchanged.value.code == 304


def test_a_student_is_told_whole(server: Server, example: Example) -> None:
    number = example.points[0]
    _, _, about = ask(server, f"{STUDENT}/{number}")
    assert about["export"] == f"sweep export looked-at {number} -o looked-at-{number}"
    assert {one["name"] for one in about["constraints"]} == {"latency_ns"}
    _, _, performance = ask(server, f"{STUDENT}/{number}/test")
    assert {one["name"]: one["auc"] for one in performance["signals"]} == about["test"]["auc"]
    assert sum(performance["zero_bias"]["share"]) == pytest.approx(1, abs=1e-3)
    _, _, layers = ask(server, f"{STUDENT}/{number}/layers")
    total = layers["input_lut"] + sum(layer["lut"] for layer in layers["layers"])
    assert total == pytest.approx(about["cost"]["lut"])
    assert len(layers["layers"][0]["input_bits"]) == 1
    assert (len(layers["layers"][0]["input_bits"][0]), len(layers["layers"][0]["input_bits"][0][0])) == (
        18,
        14,
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/explorer/api/missing/points", "is not in the database"),
        (f"{STUDENT}/0", "holds no student"),
        (f"{STUDENT}/99999999/test", "holds no student"),
        ("/explorer/static/..%2Fapp.py", "no such"),
        ("/explorer/static/app.py", "no such file"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(server: Server, path: str, said: str) -> None:
    status, _, content = ask(server, path)
    assert status == 404
    text = content["reason"] if isinstance(content, dict) else content.decode()
    assert said in text
    assert "Traceback" not in text


def test_the_page_may_ask_nobody_else(server: Server) -> None:
    status, headers, content = ask(server, "/explorer/looked-at")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert not re.search(rb"(src|href)=\"(https?:)?//", content)


def test_reading_is_all_that_read_only_allows(
    example: Example, serve: Callable[..., Server], sweep_home: object
) -> None:
    server = serve(example.url, read_only=True)
    assert ask(server, "/api/studies")[2]["study_summaries"][0]["study_name"] == "looked-at"
    detail = ask(server, "/api/studies/1")[2]
    assert detail["note"]["body"], "notes are shown there, too"
    for method, path in [("PUT", "/api/studies/1/note"), ("DELETE", "/api/studies/1")]:
        status, _, content = ask(server, path, method, {"version": 1, "body": "x"})
        assert (status, content["reason"]) == (403, "this dashboard is read-only")


def test_the_optuna_dashboard_knows_constraints_notes_figures_and_artifacts(
    server: Server, example: Example
) -> None:
    detail = ask(server, "/api/studies/1")[2]
    by_number = {trial["number"]: trial for trial in detail["trials"]}
    infeasible = [n for n in example.points if by_number[n]["constraints"] == [100.0]]
    assert len(infeasible) == 1
    assert infeasible[0] not in {trial["number"] for trial in detail["best_trials"]}
    assert len(detail["plotly_graph_objects"]) == 4
    trial = by_number[example.points[0]]
    assert "Epoch" in trial["note"]["body"]
    for artifact in trial["artifacts"]:
        status, headers, content = ask(server, f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}")
        assert status == 200
        assert headers["Content-Type"] == artifact["mimetype"]
        assert "Access-Control-Allow-Origin" not in headers
        assert len(content) > 1000
    assert ask(server, f"/artifacts/1/{trial['trial_id']}/1-0-0")[0] == 404, "a trial without a student"


def test_nothing_but_notes_and_artifacts_can_be_changed(server: Server) -> None:
    for method, path in [("DELETE", "/api/studies/1"), ("POST", "/api/studies/1/rename")]:
        assert ask(server, path, method, {"study_name": "x"})[0] == 403
    assert (
        ask(server, "/api/studies/1/note", "PUT", {"version": 1, "body": "x"}, Origin="http://a.example")[0]
        == 403
    )
    assert ask(server, "/api/studies", Host="evil.example")[0] == 421


def test_addresses_that_others_reach_are_not_listened_on_by_chance(
    example: Example, sweep_home: object
) -> None:
    with pytest.raises(StorageError, match=r"0\.0\.0\.0: other machines would reach it.*--public"):
        listen(example.url, "0.0.0.0", 0)
    public = listen(example.url, "0.0.0.0", 0, public=True)
    public.close()


def test_a_port_in_use_and_a_study_that_is_not_there(server: Server, example: Example) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(StorageError, match=f"127.0.0.1:{port}: cannot be listened on"):
        listen(example.url, port=port)
    with pytest.raises(StudyError, match="is not in the database"):
        pages(server, "missing")
    assert pages(server, "looked-at")["explorer"] == f"{server.url}/explorer/looked-at"


def test_sweep_dashboard_says_where_it_is_and_ends_with_ctrl_c(example: Example) -> None:
    command = [
        sys.executable,
        "-m",
        "sweep",
        "dashboard",
        "looked-at",
        "--storage",
        example.url,
        "--port",
        "0",
    ]
    environment = {**os.environ, "SWEEP_HOME": str(example.home)}
    # Where tests run in the background a shell lets them ignore Ctrl-C, and what they start, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(3)]
    address = re.search(r"http://127\.0\.0\.1:\d+/explorer/looked-at", "".join(lines))
    assert address, lines
    with urllib.request.urlopen(address[0], timeout=60) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
