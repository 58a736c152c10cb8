"""How quick the dashboards are with 10,000 points, and what looking costs: prints JSON.

``python -m tests.benchmarks.dashboard`` makes a database of 10,000 points (invented, not measured), opens
it as a browser does, and times:

* `server_s`: until the points are there to be sent, for the first and for a later look
* `first_paint_s`, `drawn_s`, `ready_s`: of the page; the front is drawn, then the parameters
* `interaction_ms`: choosing another cost, one by one, until the figure is drawn anew
* `annotate_s`: making all notes and figures for the Optuna dashboard; it happens at most once in a
  hundred times as long, so a running study loses at most 1 % of a core
* `written_rows`: what looking changed in the database
"""

import argparse
import copy
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState, create_trial
from playwright.sync_api import sync_playwright

from dashboards.explorer.app import Explorer
from dashboards.optuna_view.notes import annotations
from dashboards.optuna_view.storage import SHARE, StudyView
from dashboards.server import listen
from sweep import trial_rows
from sweep.storage import open_storage
from sweep.study import create_or_resume
from sweep.study_file import parse_study
from tests.dashboards.conftest import FILE

SIGNALS = ("tt", "vbf_htautau", "ggh_bb", "zprime_qq")
POINTS_A_RUN = 9


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--points", type=int, default=10_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SWEEP_HOME"] = folder
        url = f"sqlite:///{folder}/sweep.db"
        make(url, given.points)
        before = rows(Path(folder))
        found = {"points": given.points, **serving(url), **browsing(url)}
        found["written_rows"] = rows(Path(folder)) - before
        print(json.dumps(found, indent=1))


def make(url: str, points: int) -> None:
    """Write a study of so many invented points into a database."""
    rng = np.random.default_rng(1)
    storage = open_storage(url)
    study, _ = create_or_resume(storage, parse_study(copy.deepcopy(FILE), Path("x.yaml")))
    space = study.file.recipe_space().distributions
    trials = []
    for start in range(0, points, POINTS_A_RUN):
        params = {
            "student.hidden": 3 + int(rng.integers(2)),
            "training.beta.final": 10 ** rng.uniform(-7, -2),
        }
        run = create_trial(
            state=TrialState.FAIL,
            user_attrs={"role": "run", "recipe": '{"student": {"family": "cicada-v1", "hidden": 3}}'},
        )
        trials.append(run)
        number = start // POINTS_A_RUN * (POINTS_A_RUN + 1)
        size, quality = 10 ** rng.uniform(2.5, 4.5), rng.uniform(0.9, 1)
        for epoch in range(min(POINTS_A_RUN, points - start)):
            lut = size * 0.8**epoch
            auc = float(quality * (1 - 0.4 * (300 / lut) ** 0.5))
            trials.append(point(params, space, number, epoch, lut, auc))
    with storage.engine.begin() as connection:
        trial_rows.insert(connection, study.id, trials)
    storage.engine.dispose()


def point(params: Any, space: Any, run: int, epoch: int, lut: float, auc: float) -> Any:
    scores = {
        "mean_auc": auc,
        "worst_auc": auc - 0.02,
        "auc": {name: auc + 0.01 * place for place, name in enumerate(SIGNALS)},
        "efficiency": dict.fromkeys(SIGNALS, 0.1),
        "mean_efficiency": 0.1,
        "rate_khz": 3.0,
        "passing": 2,
    }
    intervals = {name: [auc - 0.01, auc + 0.01] for name in ("mean_auc", "worst_auc", *SIGNALS)}
    cost = {"lut": lut, "ff": int(lut * 1.4), "dsp": 0.0, "ebops": int(lut), "latency_cycles": 4}
    cost |= {"latency_ns": 25.0, "hls_lut": 9 * lut, "hls_dsp": 3.0, "source": "estimated"}
    cost |= {"lut_equivalent": lut, "hls_lut_equivalent": 9 * lut + 165}
    about = {"role": "point", "parent": run, "epoch": epoch, "beta": 1e-5, "loss": 1.0, "cost": cost}
    about |= {"validation": scores, "test": {**scores, "intervals": intervals}}
    return create_trial(
        values=[auc, lut],
        params=params,
        distributions={name: space[name] for name in params},
        constraints={"latency_ns": -175.0},
        user_attrs={**about, "design": f"{run:08x}{epoch:08x}", "student": f"{run}-{epoch}-x"},
    )


def serving(url: str) -> dict[str, Any]:
    """Time what the server does before it can answer."""
    view = StudyView(open_storage(url, create=False))
    explorer = Explorer(view)
    first = timed(lambda: explorer.points("looked-at"))
    later = timed(lambda: explorer.points("looked-at"))
    study = view.study("looked-at")
    made: dict[str, Any] = {}
    started = time.process_time()
    made = annotations(study)
    annotate = time.process_time() - started
    view.engine.dispose()
    return {
        "server_s": {"first": round(first, 2), "later": round(later, 3)},
        "sent_bytes": len(explorer.points("looked-at")[0]),
        "annotate_s": round(annotate, 2),
        "annotations_bytes": sum(len(str(value)) for value in made.values()),
        "share_of_a_core": SHARE,
    }


def timed(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def browsing(url: str) -> dict[str, Any]:
    """Time what a person waits for."""
    server = listen(url, port=0)
    threading.Thread(target=server.serve, daemon=True).start()
    Explorer(server.view).points("looked-at")  # as after the first look of anyone
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--enable-unsafe-swiftshader", *(["--no-sandbox"] if os.geteuid() == 0 else [])],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(f"{server.url}/explorer/looked-at")
        page.wait_for_selector("html[data-ready]")
        page.reload()  # what a browser keeps is there now
        page.wait_for_selector("html[data-ready]")
        found = page.evaluate(
            """() => ({
                first_paint_s: performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000,
                drawn_s: performance.getEntriesByName("drawn")[0].startTime / 1000,
                ready_s: performance.getEntriesByName("ready")[0].startTime / 1000,
            })"""
        )
        found["interaction_ms"] = page.evaluate(
            """async () => {
                const found = {}, chosen = document.getElementById("axis");
                for (const axis of ["ff", "ebops", "lut"]) {
                    chosen.value = axis;
                    const started = performance.now();
                    await drawFront();
                    found[axis] = Math.round(performance.now() - started);
                }
                return found;
            }"""
        )
        found["brush_ms"] = page.evaluate(
            """async () => {
                byFront = new Set(all().slice(0, 3000));
                const started = performance.now();
                await drawFront();
                drawTable();
                return Math.round(performance.now() - started);
            }"""
        )
        browser.close()
    server.close()
    return {key: round(v, 2) if isinstance(v, float) else v for key, v in found.items()}


def rows(folder: Path) -> int:
    """Return how many rows the tables of a database have."""
    with sqlite3.connect(folder / "sweep.db") as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return sum(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)


if __name__ == "__main__":
    main()
